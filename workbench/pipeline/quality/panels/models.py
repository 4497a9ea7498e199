"""Panels on models: how often a model agrees with people, and what its margins tell."""

from __future__ import annotations

from collections.abc import Sequence

from scoring import shares
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.figures import ENOUGH
from workbench.pipeline.quality.model_accuracy import ModelAccuracy
from workbench.pipeline.quality.panels.panel import MOST_DRAWN, Column, Panel
from workbench.pipeline.quality.panels.words import bounds, count, in_words
from workbench.pipeline.quality.reports import (
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
        nothing = "Not enough data: no model has scored both answers of a pair with votes."
        return [Panel("accuracy", "Accuracy by kind of pair", nothing)]
    return [
        _accuracy(report, models[0], label_source),
        _reliability(models[0], label_source),
        _margins(models[0]),
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
    if has_value(every["accuracy"]):
        says = (
            f"{name} agrees with {source} on {in_words(every['accuracy'])} of "
            f"{count(every['accuracy']['n'], 'pair')}. {_beside_rule(every, model['rule'])}"
        )
        if has_value(every["ceiling"]):
            says += (
                f" {source.capitalize()} disagree too, so a perfect model would reach "
                f"{in_words(every['ceiling'])}."
            )
    else:
        says = (
            f"Not enough data: {name} has scored {count(every['accuracy']['n'], 'pair')} with a preferred "
            f"answer, on {count(every['accuracy']['prompts'], 'prompt')}."
        )
    remarks = (overall.warning, overall.left_out, overall.unknown)
    says = " ".join([says, *(sentence for sentence in remarks if sentence)])
    return Panel(
        name="accuracy",
        title="Accuracy by kind of pair",
        says=says,
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
        "answer. The ceiling is what a perfect model would reach, as votes on one pair differ.",
        described=f"A dot with its interval for {name} on "
        f"{count(len(dots), 'kind of pair', 'kinds of pair')}: " + "; ".join(dots[:8])
        if dots
        else "",
        drawn=MOST_DRAWN,
        context={"model": name},
    )


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
    n = sum(row["n"] for row in bins)
    if not model["calibrated"]:
        says = (
            f"{name} is not calibrated yet, so we show no percentages. Calibrate the model on the Models "
            "page once it has 100 votes."
        )
    elif not has_value(model["ece"]):
        says = f"Not enough data: {count(n, 'vote')} on pairs that {name} has scored."
    else:
        gap = sum(row["n"] * (row["predicted"] - row["observed"]) for row in bins) / max(1, n)
        tends = "well calibrated" if abs(gap) < 0.02 else "overconfident" if gap > 0 else "underconfident"
        says = (
            f"{name} is {tends}. Its expected calibration error is {in_words(model['ece'], 'number')} on "
            f"{count(n, 'vote')}."
        )
    return Panel(
        name="reliability",
        title="How sure the model is",
        says=says,
        columns=(
            Column("predicted", "Model was sure", "share"),
            Column("observed", f"{source.capitalize()} agreed", "share"),
            Column("n", "Votes", "count"),
        ),
        rows=rows,
        reading="How sure the model was of its pick, against how often "
        f"{source} agreed. Below the dashed line, the model is too sure.",
        described="; ".join(
            f"{shares.in_words(row['predicted'])} sure, {shares.in_words(row['observed'])} right"
            for row in bins
        )
        if has_value(model["ece"])
        else "",
        context={"model": name},
    )


def _figure(value: float, low: float | None, high: float | None, n: int) -> StoredFigure:
    return {"value": value, "low": low, "high": high, "n": n, "prompts": 0}


def _margins(model: ModelRow) -> Panel:
    name, histogram, auc = model["version"], model["histogram"], model["confidence_auc"]
    edges, votes = histogram["edges"], (histogram["a"], histogram["tie"], histogram["b"])
    rows = [
        {"from": low, "to": high, "a": a, "tie": tie, "b": b}
        for low, high, a, tie, b in zip(edges[:-1], edges[1:], *votes, strict=True)
    ]
    if model["n"] < ENOUGH:
        says = f"Not enough data: {count(model['n'], 'vote')} on pairs that {name} has scored."
    elif not has_value(auc):
        says = f"Not known whether {name} is right more often when it is surer: {in_words(auc)}."
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
        title="Model’s margin and votes",
        says=says,
        columns=(
            Column("from", "Margin from", "decimal"),
            Column("to", "to", "decimal"),
            Column("a", "a preferred", "count"),
            Column("tie", "Tie", "count"),
            Column("b", "b preferred", "count"),
        ),
        rows=rows,
        reading="Votes by the score of a minus the score of b. A good model has votes for a right of 0 and "
        "votes for b left of 0. The outermost bars include everything beyond. The share above is how often "
        "the model is surer of a right pick than of a wrong pick.",
        described=(
            f"{count(for_a, 'vote')} for a, {for_b:,} for b and {count(ties, 'tie')}, "
            f"in {len(rows)} bars from {edges[0]:.1f} to {edges[-1]:.1f}."
        )
        if model["n"] >= ENOUGH
        else "",
        context={"model": name},
    )


def _models(models: Sequence[ModelRow], report: Report, label_source: str) -> Panel:
    rows = [{**model, **model["slices"][0], "n": model["slices"][0]["accuracy"]["n"]} for model in models]
    warnings = [(model["version"], ModelAccuracy.of(label_source, model, report).warning) for model in models]
    return Panel(
        name="models",
        title="Models side by side",
        says=f"{count(len(models), 'model')} have scored pairs here. Each is measured on the pairs that it "
        "has scored, so compare only rows with the same number of pairs."
        + "".join(f" {name}: {warning}" for name, warning in warnings if warning),
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
    rows = [
        {
            "feature": FEATURES.get(key, key),
            "people": figure,
            "model": audit["model"].get(key),
            "excess": audit["excess"].get(key),
            "given": audit["people_given_margin"].get(key),
        }
        for key, figure in audit["people"].items()
    ]
    more = [key for key, figure in audit["excess"].items() if has_value(figure) and figure["low"] > 0]
    less = [key for key, figure in audit["excess"].items() if has_value(figure) and figure["high"] < 0]
    if not any(has_value(figure) for figure in audit["people"].values()):
        says = (
            f"Not enough data: {count(audit['n'], 'vote')} for one side, on "
            f"{count(audit['prompts'], 'prompt')}. This figure needs 100 votes on 20 prompts."
        )
    elif more or less:
        parts = [f"{_listed(more)} more than {source} do"] if more else []
        parts += [f"{_listed(less)} less"] if less else []
        says = f"{name} follows {' and '.join(parts)}."
    else:
        says = f"Length and formatting sway {name} about as much as {source}, as far as is known."
    side = audit["people"].get("side")
    if has_value(side) and (side["low"] > 0 or side["high"] < 0):
        where = "left" if side["low"] > 0 else "right"
        says += f" {source.capitalize()} lean to the {where} side."
    return Panel(
        name="audit",
        title="What sways choices: length, lists, side",
        says=says,
        columns=(
            Column("feature", "Feature"),
            Column("people", source.capitalize(), "log_odds"),
            Column("model", "Model", "log_odds"),
            Column("excess", f"Model minus {source}", "log_odds"),
            Column("given", f"{source.capitalize()}, at equal margin", "log_odds"),
        ),
        rows=rows,
        reading="How much the log-odds of being preferred rise when an answer has twice as much of a feature "
        "or is on the left: 0 = no effect, 0.7 = twice the odds. The last column keeps the model’s margin "
        f"fixed. It shows what {source} follow and the model does not.",
    )


def _listed(keys: Sequence[str]) -> str:
    words = [FEATURES.get(key, key).partition(",")[0].lower() for key in keys]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
