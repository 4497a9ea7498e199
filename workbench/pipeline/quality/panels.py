"""A report in panels, as the Quality page shows them: each has a sentence that says what it shows now, and
rows, of which the page makes a table, a download and a chart. Nothing is computed here but words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scoring import shares
from scoring.evaluate import above_ceiling
from workbench.models import Annotator
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.figures import ENOUGH, known
from workbench.pipeline.quality.reports import SOURCE_NAMES
from workbench.pipeline.text import learnt

Kind = Literal["text", "count", "decimal", "share", "number", "log_odds", "seconds"]
Row = dict[str, Any]

MOST_DRAWN = 20
"""Rows in a chart: more than that are read in the table."""

FEATURES = {
    "length": "Length",
    "headers": "Headers",
    "list items": "List items",
    "bold": "Bold",
    "code": "Code",
    "side": "Left side",
    "margin": "Model’s margin",
}


@dataclass(frozen=True)
class Column:
    """A column of a panel's rows. Cells of kind text, count and decimal are plain values, or None; those of
    the other kinds are Figures as a report stores them, or None."""

    key: str
    label: str
    kind: Kind = "text"

    @property
    def is_figure(self) -> bool:
        return self.kind not in ("text", "count", "decimal")


@dataclass(frozen=True)
class Panel:
    """name: of its files. says: a sentence about the data now. reading: how to read it. described: the chart
    in words; "" where there is none. single: about single annotators, and so for admins only. drawn: how many
    of the rows are in the chart (0 = all)."""

    name: str
    title: str
    says: str
    columns: tuple[Column, ...] = ()
    rows: Sequence[Row] = field(default_factory=list)
    reading: str = ""
    described: str = ""
    single: bool = False
    drawn: int = 0
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_chart(self) -> bool:
        return bool(self.described)

    @property
    def shown_in_chart(self) -> Sequence[Row]:
        return self.rows[: self.drawn or len(self.rows)]


def panels(report: Mapping[str, Any], label_source: str, names: Mapping[int, str]) -> list[Panel]:
    """Of the label source "people" or "imported"; names: of annotators, by primary key."""
    people = label_source == "people"
    found = [
        _agreement(report, label_source),
        *_of_models(report, label_source),
        _pace(report) if people else None,
        _left(report, names) if people else None,
        _agreement_by(report, label_source),
        *_tables_of_models(report, label_source),
        _seconds(report) if people else None,
        _annotators(report, label_source, names),
    ]
    return [panel for panel in found if panel]


def names_of(report: Mapping[str, Any]) -> dict[int, str]:
    """The names of the annotators that the report tells of, by primary key; one query."""
    told = [each["annotator"] for each in report["annotators"]]
    return {each.pk: str(each) for each in Annotator.objects.filter(pk__in=told).select_related("user")}


# --- words --------------------------------------------------------------------------------------------------


def number_of(value: float, kind: Kind) -> str:
    """One end of a figure, in the way of its kind."""
    if kind == "share":
        return shares.in_words(value)
    if kind == "seconds":
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    return f"{value:+.2f}" if kind == "log_odds" else f"{value:.2f}"


def in_words(figure: Mapping[str, Any] | None, kind: Kind = "share") -> str:
    """ "64 % (61 to 67)", or why there is none."""
    if figure is None:
        return shares.UNKNOWN
    if figure["value"] is None:
        return str(figure.get("why", shares.UNKNOWN))
    if kind == "share":
        return shares.with_interval(figure["value"], _bounds(figure))
    if figure["low"] is None:
        return number_of(figure["value"], kind)
    low, high = number_of(figure["low"], kind), number_of(figure["high"], kind)
    return f"{number_of(figure['value'], kind)} ({low.removesuffix(' s')} to {high})"


def _bounds(figure: Mapping[str, Any]) -> tuple[float, float] | None:
    return None if figure["low"] is None else (figure["low"], figure["high"])


def data_in_words(data: Mapping[str, Any]) -> str:
    """What the figures of a report are of: "120 votes and 2,589 imported labels on 9 pairs"."""
    votes, labels = _count(data["votes"], "vote"), _count(data["labels"], "imported label")
    told = f"{votes} and {labels}" if data["votes"] and data["labels"] else labels
    return f"{told if data['labels'] else votes} on {_count(data['comparisons'], 'pair')}"


def _count(n: float, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def plan(report: Mapping[str, Any]) -> list[str]:
    """What it takes to know more, a sentence a goal."""
    return [_goal(each) for each in report["plan"]]


def _goal(each: Mapping[str, Any]) -> str:
    if each["goal"] == "accuracy":
        goal, within = f"the accuracy of {each['version']}", shares.size(each["within"])
        now = None if each["now"] is None else shares.size(each["now"])
    else:
        goal, within = "agreement (Krippendorff’s alpha)", f"{each['within']:.2f}"
        now = None if each["now"] is None else f"{each['now']:.2f}"
    if each["judgments"] is None:
        return f"Not enough data to say how many more votes would narrow {goal} to ± {within}."
    if not each["judgments"]:
        return f"No more votes are needed for {goal}: the margin of error is ± {now}."
    hours = "" if each["hours"] is None else f", about {_hours(each['hours'])} of work,"
    today = f" The margin of error is ± {now} now." if now else ""
    return f"{_count(each['judgments'], 'more vote')}{hours} would narrow {goal} to ± {within}.{today}"


def _hours(hours: float) -> str:
    if hours < 1:
        return _count(round(hours * 60), "minute")
    return f"{hours:,.0f} hours" if hours >= 10 else f"{hours:.1f} hours"


# --- people against people ----------------------------------------------------------------------------------

_AGREEMENT = (
    Column("raw", "Agree", "share"),
    Column("alpha", "Alpha", "number"),
    Column("alpha_ordinal", "Alpha (ordinal)", "number"),
    Column("ac1", "AC1", "number"),
    Column("units", "Pairs", "count"),
    Column("opinions", "Votes", "count"),
)


def _agreement(report: Mapping[str, Any], label_source: str) -> Panel:
    found = report["agreement"][label_source]
    every, weeks = found["all"], found["by_week"]
    measured = [week for week in weeks if known(week["raw"])]
    if known(every["raw"]):
        says = (
            f"Two {SOURCE_NAMES[label_source]} agree in {in_words(every['raw'])} of cases, on "
            f"{_count(every['units'], 'pair')} with two or more votes. "
            f"Krippendorff’s alpha is {in_words(every['alpha'], 'number')}."
        )
        if len(measured) > 1:
            latest = measured[-1]
            says += f" In the latest week ({latest['label']}), they agreed in {in_words(latest['raw'])}."
    else:
        says = (
            f"Not enough data: {_count(every['units'], 'pair')} with two or more votes, and this figure "
            f"needs {ENOUGH}."
        )
        if label_source == "people":
            says += " To get more, raise “People per pair” in Settings."
    return Panel(
        name="agreement",
        title="Agreement over time",
        says=says,
        columns=(Column("label", "Week of"), *_AGREEMENT),
        rows=weeks,
        reading="How often two votes on a pair agree, by the week of the latest vote. Weeks start on "
        "Monday, 00:00 UTC. Bars and the band are 95 % intervals.",
        described=_over_weeks(measured) if len(measured) > 1 else "",
    )


def _over_weeks(weeks: Sequence[Row]) -> str:
    values = [week["raw"]["value"] for week in weeks]
    first, last, least, most = map(shares.in_words, (values[0], values[-1], min(values), max(values)))
    return (
        f"A line over {len(weeks)} weeks, from {weeks[0]['label']} to {weeks[-1]['label']}. The line starts "
        f"at {first}, ends at {last} and stays between {least} and {most}."
    )


def _agreement_by(report: Mapping[str, Any], label_source: str) -> Panel | None:
    found = report["agreement"][label_source]
    rows = [{"of": "All", **found["all"], "label": ""}]
    if found["unseen"]:
        rows.append({"of": "Independent votes", **found["unseen"], "label": ""})
    rows += [{"of": "Guidelines", **row} for row in found["by_guidelines"]]
    rows += [{"of": "Answers by", **row} for row in found["by_source"]]
    if len(rows) == 1:
        return None
    return Panel(
        name="agreement-by",
        title="Agreement by guidelines and source",
        says=_before_and_after(found["by_guidelines"]),
        columns=(Column("of", "Kind"), Column("label", ""), *_AGREEMENT),
        rows=rows,
        reading="A pair counts for the writers of both answers. Independent votes were given on random "
        "pairs, before the model’s pick was shown. Alpha and AC1 correct for chance. Ordinal alpha puts a "
        "tie between the two sides.",
    )


def _before_and_after(versions: Sequence[Row]) -> str:
    measured = [row for row in versions if known(row["raw"])]
    if len(measured) < 2:
        return "Not enough data to compare two versions of the guidelines yet."
    old, new = measured[-2]["raw"], measured[-1]["raw"]
    apart = old["high"] < new["low"] or new["high"] < old["low"]
    told = "" if apart else " The intervals overlap, so the difference may be chance."
    return (
        f"Agreement is {in_words(new)} with version {measured[-1]['label']} of the guidelines. With version "
        f"{measured[-2]['label']} it was {in_words(old)}.{told}"
    )


# --- models against people ----------------------------------------------------------------------------------


def _of_models(report: Mapping[str, Any], label_source: str) -> list[Panel]:
    models = report["against"].get(label_source, [])
    if not models:
        nothing = "Not enough data: no model has scored both answers of a pair with votes."
        return [Panel("accuracy", "Accuracy by kind of pair", nothing)]
    return [
        _accuracy(report, models[0], label_source),
        _reliability(models[0], label_source),
        _margins(models[0], label_source),
    ]


def _tables_of_models(report: Mapping[str, Any], label_source: str) -> list[Panel]:
    models, audited = report["against"].get(label_source, []), report["audit"].get(label_source, [])
    several = [_models(models)] if len(models) > 1 else []
    return [*several, *(_audit(found, label_source) for found in audited[:1])]


_SLICES = {
    "all": "All",
    "length": "Length",
    "preferred": "Preferred",
    "source": "Answer by",
    "topic": "Topic",
    "truncated": "Read by the model",
}


def _accuracy(report: Mapping[str, Any], model: Mapping[str, Any], label_source: str) -> Panel:
    name, every = model["version"], model["slices"][0]
    rows = [{**row, "of": _SLICES.get(row["kind"], row["kind"])} for row in model["slices"]]
    rows[0]["label"] = ""
    measured = [row for row in rows if known(row["accuracy"])]
    if known(every["accuracy"]):
        says = (
            f"{name} agrees with {SOURCE_NAMES[label_source]} on {in_words(every['accuracy'])} of "
            f"{_count(every['accuracy']['n'], 'pair')}. {_beside_rule(every, model['rule'])}"
        )
        if known(every["ceiling"]):
            says += (
                f" {SOURCE_NAMES[label_source].capitalize()} disagree too, so a perfect model would reach "
                f"{in_words(every['ceiling'])}."
            )
        says += _warned(every)
    else:
        says = (
            f"Not enough data: {name} has scored {_count(every['accuracy']['n'], 'pair')} with a preferred "
            f"answer, on {_count(every['accuracy']['prompts'], 'prompt')}."
        )
    says += _left_out(report.get("sample", {}).get(label_source, {}), model)
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
        rows=rows,
        reading="How often the model scores the preferred answer higher. Longest always picks the longer "
        "answer. The ceiling is what a perfect model would reach, as votes on one pair differ.",
        described=_slices_described(name, measured) if measured else "",
        drawn=MOST_DRAWN,
        context={"model": name},
    )


def _left_out(sample: Mapping[str, int], model: Mapping[str, Any]) -> str:
    """Which pairs and answers an accuracy is not of, and why."""
    aside = {key: sample.get(key, 0) for key in ("led", "picked", "asked_after")}
    said = [
        accuracy.left_out_in_words(model.get("learnt", 0), aside),
        learnt.beware(model.get("known", "yes")),
    ]
    return "".join(f" {sentence}" for sentence in said if sentence)


def warning_of(every: Row) -> str:
    """A sentence where the accuracy of a slice is above its ceiling, else ""."""
    value, twos = every["ceiling"]["value"], every["ceiling"]["n"]
    return above_ceiling(every["accuracy"]["value"], value, twos)


def _warned(every: Row) -> str:
    warning = warning_of(every)
    return f" {warning}" if warning else ""


def _beside_rule(every: Row, rule: str) -> str:
    over = every.get("over_rule")
    answer = "longer" if rule == "longest" else "shorter"
    if not over or not known(over):
        return f"How often picking the {answer} answer agrees is not known."
    length = f"Picking the {answer} answer agrees on {in_words(every['by_rule'])}"
    better = accuracy.beats_rule(over["low"], over["high"])
    if better:
        more = shares.points_with_interval(over["value"], _bounds(over))
        return f"{length}, so the model is ahead: {more}."
    return f"{length}, which is better." if better is False else f"{length}. The difference may be chance."


def _slices_described(name: str, rows: Sequence[Row]) -> str:
    return (
        f"A dot with its interval for {name} on {_count(len(rows), 'kind of pair', 'kinds of pair')}: "
        + "; ".join(
            f"{row['of']} {row['label']} {shares.in_words(row['accuracy']['value'])}".replace("  ", " ")
            for row in rows[:8]
        )
    )


def _reliability(model: Mapping[str, Any], label_source: str) -> Panel:
    name, bins = model["version"], model["bins"]
    rows = [
        {
            "predicted": _plain(each["predicted"], each["n"]),
            "observed": {"value": each["observed"], "low": each["low"], "high": each["high"], "n": each["n"]},
            "n": each["n"],
        }
        for each in bins
    ]
    n = sum(each["n"] for each in bins)
    if not model["calibrated"]:
        says = (
            f"{name} is not calibrated yet, so we show no percentages. Calibrate the model on the Models "
            "page once it has 100 votes."
        )
    elif not known(model["ece"]):
        says = f"Not enough data: {_count(n, 'vote')} on pairs that {name} has scored."
    else:
        gap = sum(each["n"] * (each["predicted"] - each["observed"]) for each in bins) / max(1, n)
        tends = "well calibrated" if abs(gap) < 0.02 else "overconfident" if gap > 0 else "underconfident"
        says = (
            f"{name} is {tends}. Its expected calibration error is {in_words(model['ece'], 'number')} on "
            f"{_count(n, 'vote')}."
        )
    return Panel(
        name="reliability",
        title="How sure the model is",
        says=says,
        columns=(
            Column("predicted", "Model was sure", "share"),
            Column("observed", f"{SOURCE_NAMES[label_source].capitalize()} agreed", "share"),
            Column("n", "Votes", "count"),
        ),
        rows=rows,
        reading="How sure the model was of its pick, against how often "
        f"{SOURCE_NAMES[label_source]} agreed. Below the dashed line, the model is too sure.",
        described="; ".join(
            f"{shares.in_words(each['predicted'])} sure, {shares.in_words(each['observed'])} right"
            for each in bins
        )
        if known(model["ece"])
        else "",
        context={"model": name},
    )


def _plain(value: float, n: int) -> Row:
    """A share that has no interval of its own."""
    return {"value": value, "low": None, "high": None, "n": n}


def _margins(model: Mapping[str, Any], label_source: str) -> Panel:
    name, told = model["version"], model["histogram"]
    edges = told["edges"]
    rows = [
        {"from": edges[i], "to": edges[i + 1], "a": told["a"][i], "tie": told["tie"][i], "b": told["b"][i]}
        for i in range(len(edges) - 1)
    ]
    if model["n"] < ENOUGH:
        says = f"Not enough data: {_count(model['n'], 'vote')} on pairs that {name} has scored."
    elif not known(model["confidence_auc"]):
        why = in_words(model["confidence_auc"])
        says = f"Not known whether {name} is right more often when it is surer: {why}."
    else:
        worth = model["confidence_auc"]
        tells = (
            f"{name} is right more often when it is surer"
            if worth["low"] > 0.5
            else f"{name} is wrong more often when it is surer"
            if worth["high"] < 0.5
            else f"How sure {name} is tells you nothing yet"
        )
        says = f"{tells}: {in_words(worth)}, where 50 % is chance."
    total = {outcome: sum(told[outcome]) for outcome in ("a", "tie", "b")}
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
            f"{_count(total['a'], 'vote')} for a, {total['b']:,} for b and {_count(total['tie'], 'tie')}, "
            f"in {len(rows)} bars from {edges[0]:.1f} to {edges[-1]:.1f}."
        )
        if model["n"] >= ENOUGH
        else "",
        context={"model": name},
    )


def _models(models: Sequence[Mapping[str, Any]]) -> Panel:
    rows = [
        {
            "version": each["version"],
            **{key: each["slices"][0][key] for key in ("accuracy", "longest", "ceiling")},
            "confidence_auc": each["confidence_auc"],
            "ece": each["ece"],
            "n": each["slices"][0]["accuracy"]["n"],
        }
        for each in models
    ]
    return Panel(
        name="models",
        title="Models side by side",
        says=f"{_count(len(models), 'model')} have scored pairs here. Each is measured on the pairs that it "
        "has scored, so compare only rows with the same number of pairs."
        + "".join(
            f" {each['version']}: {warning}" for each in models if (warning := warning_of(each["slices"][0]))
        ),
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


def _audit(found: Mapping[str, Any], label_source: str) -> Panel:
    name = found["version"]
    rows = [
        {"feature": FEATURES.get(key, key), "people": figure, **_of_feature(found, key)}
        for key, figure in found["people"].items()
    ]
    led = [key for key, figure in found["excess"].items() if known(figure) and figure["low"] > 0]
    less = [key for key, figure in found["excess"].items() if known(figure) and figure["high"] < 0]
    if not any(known(figure) for figure in found["people"].values()):
        says = (
            f"Not enough data: {_count(found['n'], 'vote')} for one side, on "
            f"{_count(found['prompts'], 'prompt')}. This figure needs 100 votes on 20 prompts."
        )
    elif led or less:
        parts = [f"{_listed(led)} more than {SOURCE_NAMES[label_source]} do"] if led else []
        parts += [f"{_listed(less)} less"] if less else []
        says = f"{name} follows {' and '.join(parts)}."
    else:
        says = (
            f"Length and formatting sway {name} about as much as {SOURCE_NAMES[label_source]}, as far as is "
            "known."
        )
    side = found["people"].get("side")
    if known(side) and (side["low"] > 0 or side["high"] < 0):
        where = "left" if side["low"] > 0 else "right"
        says += f" {SOURCE_NAMES[label_source].capitalize()} lean to the {where} side."
    return Panel(
        name="audit",
        title="What sways choices: length, lists, side",
        says=says,
        columns=(
            Column("feature", "Twice as much …"),
            Column("people", SOURCE_NAMES[label_source].capitalize(), "log_odds"),
            Column("model", "Model", "log_odds"),
            Column("excess", f"Model minus {SOURCE_NAMES[label_source]}", "log_odds"),
            Column("given", f"{SOURCE_NAMES[label_source].capitalize()}, at equal margin", "log_odds"),
        ),
        rows=rows,
        reading="Log-odds of being preferred, from one logistic regression on the differences between two "
        "answers: 0 = no effect, 0.7 = twice the odds. The last column keeps the model’s margin fixed. It "
        f"shows what {SOURCE_NAMES[label_source]} follow and the model does not.",
    )


def _of_feature(found: Mapping[str, Any], key: str) -> Row:
    return {
        "model": found["model"].get(key),
        "excess": found["excess"].get(key),
        "given": found["people_given_margin"].get(key),
    }


def _listed(keys: Sequence[str]) -> str:
    words = [FEATURES.get(key, key).partition(",")[0].lower() for key in keys]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --- annotators and their work ------------------------------------------------------------------------------


def _left(report: Mapping[str, Any], names: Mapping[int, str]) -> Panel:
    rows = [
        {"annotator": names.get(each["annotator"], "removed"), "left": each["left"]}
        for each in report["annotators"]
        if not each["imported"] and each["left"]["n"]
    ]
    measured = [row for row in rows if known(row["left"])]
    # Those whom the chart must not leave out first.
    measured.sort(key=lambda row: -abs(row["left"]["value"] - 0.5))
    leaning = [row for row in measured if row["left"]["low"] > 0.5 or row["left"]["high"] < 0.5]
    if not measured:
        says = f"Not enough data: nobody has chosen a side {ENOUGH} times yet."
    elif not leaning:
        says = f"No annotator favours a side more than chance explains ({len(measured)} checked)."
    else:
        worst = max(leaning, key=lambda row: abs(row["left"]["value"] - 0.5))
        says = (
            f"{len(leaning)} of {_count(len(measured), 'annotator')} seem{'s' * (len(leaning) == 1)} to "
            f"favour a side. The strongest case is {worst['annotator']}, who chose left in "
            f"{in_words(worst['left'])} of cases. By chance alone, one in 20 would."
        )
    return Panel(
        name="left",
        title="Position bias",
        says=says,
        columns=(Column("annotator", "Annotator"), Column("left", "Left chosen", "share")),
        rows=measured,
        reading="How often each annotator chose the left answer. Sides are shuffled, so a careful annotator "
        "is near 50 %.",
        described=_left_described(measured[:MOST_DRAWN]) if measured else "",
        single=True,
        drawn=MOST_DRAWN,
    )


def _left_described(rows: Sequence[Row]) -> str:
    return "A dot with its interval for each annotator: " + "; ".join(
        f"{row['annotator']} {in_words(row['left'])}" for row in rows
    )


def _pace(report: Mapping[str, Any]) -> Panel:
    weeks, per_hour = report["pace"]["by_week"], report["pace"]["per_hour"]
    if not weeks:
        return Panel("pace", "Pace", "Not enough data: nobody has voted yet.")
    last = weeks[-1]
    says = (
        f"In the week of {last['week']}, {_count(last['annotators'], 'person', 'people')} gave "
        f"{_count(last['judgments'], 'vote')} in about {_hours(last['hours'])} of work."
    )
    if known(per_hour):
        says += (
            f" One person gives about {per_hour['value']:.0f} votes an hour "
            f"({per_hour['low']:.0f} to {per_hour['high']:.0f})."
        )
    return Panel(
        name="pace",
        title="Pace",
        says=says,
        columns=(
            Column("week", "Week of"),
            Column("judgments", "Votes", "count"),
            Column("annotators", "People", "count"),
            Column("hours", "Hours", "decimal"),
        ),
        rows=weeks,
        reading="Votes per week, from Monday 00:00 UTC. Working time leaves out breaks of ten minutes or "
        "more.",
        described=f"A bar for each of {_count(len(weeks), 'week')}, from "
        f"{min(w['judgments'] for w in weeks):,} to {max(w['judgments'] for w in weeks):,} votes.",
    )


def _seconds(report: Mapping[str, Any]) -> Panel | None:
    found = report["seconds"]
    if not found["by_length"]:
        return None
    says = (
        f"A vote takes {in_words(found['all'], 'seconds')}, the median of {found['all']['n']:,} timed votes."
        if known(found["all"])
        else "Not enough data: too few votes were timed."
    )
    return Panel(
        name="seconds",
        title="Seconds per vote",
        says=says,
        columns=(Column("label", "Both answers"), Column("seconds", "Median", "seconds")),
        rows=found["by_length"],
    )


def _annotators(report: Mapping[str, Any], label_source: str, names: Mapping[int, str]) -> Panel | None:
    told = report["aggregation"]
    rows = [
        {**each, "name": names.get(each["annotator"], "removed")}
        for each in report["annotators"]
        if each["imported"] == (label_source == "imported")
    ]
    if not rows:
        return None
    if told["enough"]:
        says = (
            f"Skill gives {told['decided_by_skill']:,} of {_count(told['comparisons'], 'pair')} a final "
            f"label, the majority {told['decided_by_majority']:,}. They differ on {told['differ']:,}."
        )
    else:
        says = (
            f"Each annotator shares about {told['votes_per_annotator']:.0f} pairs with others, too few to "
            "estimate skill. The majority decides until there are 20."
        )
    columns = (
        Column("name", "Annotator"),
        Column("votes", "Votes", "count"),
        Column("skill", "Skill", "share"),
        Column("gold", "Right on gold", "share"),
        Column("consistent", "Same on repeats", "share"),
        Column("towards", "Switched to model", "share"),
        Column("seconds", "Seconds", "seconds"),
        Column("per_hour", "Votes per hour", "decimal"),
    )
    return Panel(
        name="annotators",
        title="Annotators",
        says=says,
        columns=columns if label_source == "people" else columns[:3],
        rows=rows,
        reading="Skill: the chance that a vote is right, estimated from who agrees with whom (one-coin "
        "Dawid-Skene). This is no ranking: annotators with overlapping intervals may be equally good.",
        single=True,
    )
