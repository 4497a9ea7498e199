"""Panels on models: how often a model agrees with people, and what its margins tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scoring import shares
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.figures import ENOUGH, ENOUGH_PROMPTS
from workbench.pipeline.quality.model_accuracy import ModelAccuracy
from workbench.pipeline.quality.panels.panel import MOST_DRAWN, Column, Panel
from workbench.pipeline.quality.panels.words import bounds, count, in_words
from workbench.pipeline.quality.reports import (
    OPINION,
    OPINIONS,
    SOURCE_NAMES,
    AuditRow,
    ModelRow,
    Report,
    SliceRow,
    StoredFigure,
    has_value,
)

FEATURES = {
    "length": "Length",
    "headers": "Headers",
    "list items": "List items",
    "bold": "Bold",
    "code": "Code",
    "side": "Left side",
    "margin": "Model’s margin",
}


def charts(report: Report, label_source: str) -> list[Panel]:
    models = report["against"].get(label_source, [])
    if not models:
        nothing = f"accuracy (needs a model that has scored pairs with {OPINIONS[label_source]})"
        return [Panel("accuracy", "Accuracy by kind of pair", lacks=nothing)]
    return [
        _accuracy(report, models[0], label_source),
        _reliability(models[0], label_source),
        _margins(models[0], label_source),
    ]


def tables(report: Report, label_source: str) -> list[Panel]:
    models, audits = report["against"].get(label_source, []), report["audit"].get(label_source, [])
    several = [_models(models, report, label_source)] if len(models) > 1 else []
    return [*several, *(_audit(audit, label_source) for audit in audits[:1])]


_SLICES = {
    "all": "All",
    "length": "Length",
    "preferred": "Preferred",
    "source": "Answer by",
    "topic": "Topic",
    "truncated": "Read by the model",
}


def _accuracy(report: Report, model: ModelRow, label_source: str) -> Panel:
    name, every, source = model["version"], model["slices"][0], SOURCE_NAMES[label_source]
    overall = ModelAccuracy.of(label_source, model, report)
    names = [
        (_SLICES.get(row["kind"], row["kind"]), "" if row["kind"] == "all" else row["label"])
        for row in model["slices"]
    ]
    dots = [
        f"{' '.join(filter(None, names_of_slice))} {shares.in_words(row['accuracy']['value'])}"
        for names_of_slice, row in zip(names, model["slices"], strict=True)
        if has_value(row["accuracy"])
    ]
    title = "Accuracy by kind of pair"
    if not has_value(every["accuracy"]):
        have = f"{count(every['accuracy']['n'], 'pair')} on {count(every['accuracy']['prompts'], 'prompt')}"
        needs = (
            f"needs {ENOUGH} scored pairs with {OPINIONS[label_source]} on {ENOUGH_PROMPTS} prompts; "
            f"have {have}"
        )
        return Panel("accuracy", title, lacks=f"accuracy of {name} ({needs})", warning=overall.unknown)
    notes = [_beside_rule(every, model["rule"])]
    if has_value(every["ceiling"]):
        best = in_words(every["ceiling"])
        notes.append(f"{source.capitalize()} disagree too, so a perfect model would reach {best}.")
    notes += [sentence for sentence in (overall.left_out, overall.unknown) if sentence]
    return Panel(
        name="accuracy",
        title=title,
        says=f"{name} agrees with {source} on {in_words(every['accuracy'])} of "
        f"{count(every['accuracy']['n'], 'pair')}{_ahead(every, model['rule'])}.",
        columns=(
            Column("of", "Kind"),
            Column("label", ""),
            Column("accuracy", "Model", "share"),
            Column("longest", "Longest", "share"),
            Column("random", "Random", "share"),
            Column("ceiling", "Ceiling", "share"),
        ),
        rows=[
            {**row, "of": kind, "label": label}
            for (kind, label), row in zip(names, model["slices"], strict=True)
        ],
        reading="How often the model scores the preferred answer higher. Longest always picks the longer "
        f"answer. The ceiling is what a perfect model would reach, as {OPINIONS[label_source]} on one pair "
        "differ.",
        described=f"A dot with its interval for {name} on "
        f"{count(len(dots), 'kind of pair', 'kinds of pair')}: " + "; ".join(dots[:8])
        if dots
        else "",
        drawn=MOST_DRAWN,
        context={"model": name},
        notes=notes,
        warning=overall.warning,
    )


def _ahead(every: SliceRow, rule: str) -> str:
    """What the accuracy is worth beside the length rule, as the end of a sentence."""
    over, answer = every.get("over_rule"), "longer" if rule == "longest" else "shorter"
    if not has_value(over):
        return ""
    better = accuracy.beats_rule(over["low"], over["high"])
    verdict = "not told apart from" if better is None else "better than" if better else "worse than"
    return f", {verdict} picking the {answer} answer"


def _beside_rule(every: SliceRow, rule: str) -> str:
    over, by_rule = every.get("over_rule"), every.get("by_rule")
    answer = "longer" if rule == "longest" else "shorter"
    if not has_value(over):
        return f"How often picking the {answer} answer agrees is not known."
    length = f"Picking the {answer} answer agrees on {in_words(by_rule)}"
    better = accuracy.beats_rule(over["low"], over["high"])
    if better:
        more = shares.points_with_interval(over["value"], bounds(over))
        return f"{length}, so the model is ahead: {more}."
    return f"{length}, which is better." if better is False else f"{length}. The difference may be chance."


def _reliability(model: ModelRow, label_source: str) -> Panel:
    name, bins, source = model["version"], model["bins"], SOURCE_NAMES[label_source]
    rows = [
        {
            "predicted": _figure(row["predicted"], None, None, row["n"]),
            "observed": _figure(row["observed"], row["low"], row["high"], row["n"]),
            "n": row["n"],
        }
        for row in bins
    ]
    n, title = sum(row["n"] for row in bins), "How sure the model is"
    if not model["calibrated"]:
        needs = "needs 100 votes and a calibration on the Models page"
        return Panel("reliability", title, lacks=f"confidence of {name} ({needs})")
    if not has_value(model["ece"]):
        needs = (
            f"needs {ENOUGH} {OPINIONS[label_source]} on scored pairs that calibration left out; have {n:,}"
        )
        return Panel("reliability", title, lacks=f"confidence of {name} ({needs})")
    sure = sum(row["n"] * row["predicted"] for row in bins) / max(1, n)
    right = sum(row["n"] * row["observed"] for row in bins) / max(1, n)
    opinions = count(n, OPINION[label_source], OPINIONS[label_source])
    gap, error = sure - right, in_words(model["ece"], "number")
    tends = "well calibrated" if abs(gap) < 0.02 else "overconfident" if gap > 0 else "underconfident"
    return Panel(
        name="reliability",
        title=title,
        says=f"{name} is {tends}: it says {shares.in_words(sure)} on average, and {source} agree in "
        f"{shares.in_words(right)}.",
        columns=(
            Column("predicted", "Model was sure", "share"),
            Column("observed", f"{source.capitalize()} agreed", "share"),
            Column("n", OPINIONS[label_source].capitalize(), "count"),
        ),
        rows=rows,
        reading="How sure the model was of its pick, against how often "
        f"{source} agreed. Below the dashed line, the model is too sure.",
        described="; ".join(
            f"{shares.in_words(row['predicted'])} sure, {shares.in_words(row['observed'])} right"
            for row in bins
        ),
        context={"model": name, "source": source},
        notes=[f"The expected calibration error is {error} on {opinions}; 0 is perfect."],
    )


def _figure(value: float, low: float | None, high: float | None, n: int) -> StoredFigure:
    return {"value": value, "low": low, "high": high, "n": n, "prompts": 0}


def _margins(model: ModelRow, label_source: str) -> Panel:
    opinion, opinions = OPINION[label_source], OPINIONS[label_source]
    name, histogram, auc = model["version"], model["histogram"], model["confidence_auc"]
    edges, votes = histogram["edges"], (histogram["a"], histogram["tie"], histogram["b"])
    rows = [
        {"from": low, "to": high, "a": a, "tie": tie, "b": b}
        for low, high, a, tie, b in zip(edges[:-1], edges[1:], *votes, strict=True)
    ]
    title = f"Model’s margin and {opinions}"
    if model["n"] < ENOUGH:
        needs = f"needs {ENOUGH} {opinions} on pairs that {name} has scored; have {model['n']:,}"
        return Panel("margins", title, lacks=f"margins and {opinions} ({needs})")
    if not has_value(auc):
        says = f"Not known yet whether {name} is right more often when it is surer: too few picks."
    else:
        tells = (
            f"{name} is right more often when it is surer"
            if auc["low"] > 0.5
            else f"{name} is wrong more often when it is surer"
            if auc["high"] < 0.5
            else f"How sure {name} is tells you nothing yet"
        )
        says = f"{tells}: {in_words(auc)}, where 50 % is chance."
    for_a, ties, for_b = map(sum, votes)
    return Panel(
        name="margins",
        title=title,
        says=says,
        columns=(
            Column("from", "Margin from", "decimal"),
            Column("to", "to", "decimal"),
            Column("a", "a preferred", "count"),
            Column("tie", "Tie", "count"),
            Column("b", "b preferred", "count"),
        ),
        rows=rows,
        reading=f"{opinions.capitalize()} by the score of a minus the score of b. A good model has "
        f"{opinions} for a right of 0, and for b left of 0. The outermost bars include everything beyond. "
        "The share above is how often the model is surer of a right pick than of a wrong pick.",
        described=(
            f"{count(for_a, opinion, opinions)} for a, {for_b:,} for b and {count(ties, 'tie')}, "
            f"in {len(rows)} bars from {edges[0]:.1f} to {edges[-1]:.1f}."
        ),
        context={"model": name, "opinions": opinions},
    )


def _models(models: Sequence[ModelRow], report: Report, label_source: str) -> Panel:
    rows = [{**model, **model["slices"][0], "n": model["slices"][0]["accuracy"]["n"]} for model in models]
    warnings = [(model["version"], ModelAccuracy.of(label_source, model, report).warning) for model in models]
    return Panel(
        name="models",
        title="Models side by side",
        says=f"{count(len(models), 'model')} have scored pairs here.",
        reading="Each is measured on the pairs that it has scored, so compare only rows with the same number "
        "of pairs.",
        warning=" ".join(f"{name}: {warning}" for name, warning in warnings if warning),
        columns=(
            Column("version", "Model"),
            Column("accuracy", "Accuracy", "share"),
            Column("longest", "Longest", "share"),
            Column("ceiling", "Ceiling", "share"),
            Column("confidence_auc", "Surer when right", "share"),
            Column("ece", "Calibration error", "number"),
            Column("n", "Pairs", "count"),
        ),
        rows=rows,
    )


def _audit(audit: AuditRow, label_source: str) -> Panel:
    name, source = audit["version"], SOURCE_NAMES[label_source]
    title = "What sways choices: length, lists, side"
    rows: list[dict[str, StoredFigure | str | None]] = [
        {
            "feature": FEATURES.get(key, key),
            "people": figure,
            "model": audit["model"].get(key),
            "excess": audit["excess"].get(key),
            "given": audit["people_given_margin"].get(key),
        }
        for key, figure in audit["people"].items()
        if has_value(figure) or has_value(audit["model"].get(key))
    ]
    if not rows:
        opinion, opinions = OPINION[label_source], OPINIONS[label_source]
        have = f"{count(audit['n'], opinion, opinions)} on {count(audit['prompts'], 'prompt')}"
        return Panel(
            "audit",
            title,
            lacks=f"what sways choices (needs 100 {opinions} for a side on 20 prompts; have {have})",
        )
    more = [key for key, figure in audit["excess"].items() if has_value(figure) and figure["low"] > 0]
    less = [key for key, figure in audit["excess"].items() if has_value(figure) and figure["high"] < 0]
    if more or less:
        parts = [f"{_listed(more)} more than {source} do"] if more else []
        parts += [f"{_listed(less)} less"] if less else []
        says = f"{name} follows {' and '.join(parts)}."
    else:
        says = f"Length and formatting sway {name} about as much as {source}, as far as is known."
    side = audit["people"].get("side")
    notes = []
    if has_value(side) and (side["low"] > 0 or side["high"] < 0):
        where = "left" if side["low"] > 0 else "right"
        notes.append(f"{source.capitalize()} lean to the {where} side.")
    told = [
        f"{FEATURES.get(key, key).lower()} {_times(audit['people'].get(key))} with {source}, "
        f"{_times(audit['model'].get(key))} with {name}"
        for key in audit["people"]
        if has_value(audit["people"].get(key)) and has_value(audit["model"].get(key))
    ]
    return Panel(
        name="audit",
        title=title,
        says=says,
        columns=(
            Column("feature", "Feature"),
            Column("people", source.capitalize(), "log_odds"),
            Column("model", "Model", "log_odds"),
            Column("excess", f"Model minus {source}", "log_odds"),
            Column("given", f"{source.capitalize()}, at equal margin", "log_odds"),
        ),
        rows=rows,
        reading="How the odds of being preferred change when an answer has twice as much of a feature or is "
        "on the left: × 1 = no effect, × 2 = twice the odds. The table has log-odds: 0 = no effect, "
        "0.7 = twice the odds. Its last column keeps the model’s margin fixed, so it shows what "
        f"{source} follow and the model does not.",
        described=f"A dot with its interval for {source} and for {name} by feature; odds of being preferred: "
        + "; ".join(told)
        if told
        else "",
        context={"model": name, "source": source},
        notes=notes,
    )


def _times(log_odds: StoredFigure | None) -> str:
    """ "× 1.6" for log-odds of 0.47."""
    return f"× {math.exp(log_odds['value']):.1f}" if has_value(log_odds) else ""


def _listed(keys: Sequence[str]) -> str:
    words = [FEATURES.get(key, key).partition(",")[0].lower() for key in keys]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
