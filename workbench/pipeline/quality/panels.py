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
from workbench.pipeline.text import learnt

Kind = Literal["text", "count", "decimal", "share", "number", "log_odds", "seconds"]
Row = dict[str, Any]

SOURCE_NAMES = {"people": "people", "imported": "labels of the file"}
MOST_DRAWN = 20
"""Rows in a chart: more than that are read in the table."""

FEATURES = {
    "length": "Length, per doubling",
    "headers": "Headers",
    "list items": "List items",
    "bold": "Bold",
    "code": "Code",
    "side": "Stood on the left",
    "margin": "The model’s margin",
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


def label_sources(report: Mapping[str, Any]) -> list[str]:
    """Those that have said something, people first."""
    return [label_source for label_source in SOURCE_NAMES if label_source in report["agreement"]]


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
    """What the figures of a report are of: "120 votes of people and 2,589 labels of the file on 9 pairs"."""
    votes, labels = _count(data["votes"], "vote"), f"{_count(data['labels'], 'label')} of the file"
    told = f"{votes} of people and {labels}" if data["votes"] and data["labels"] else labels
    return f"{told if data['labels'] else votes} on {_count(data['comparisons'], 'pair')}"


def _count(n: float, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def plan(report: Mapping[str, Any]) -> list[str]:
    """What it takes to know more, a sentence a goal."""
    return [_goal(each) for each in report["plan"]]


def _goal(each: Mapping[str, Any]) -> str:
    if each["goal"] == "accuracy":
        goal = f"how often {each['version']} is right within ± {shares.size(each['within'])}"
        now = None if each["now"] is None else shares.size(each["now"])
    else:
        goal = f"agreement (Krippendorff’s alpha) within ± {each['within']:.2f}"
        now = None if each["now"] is None else f"{each['now']:.2f}"
    if each["judgments"] is None:
        return f"To know {goal}: not enough data to say how many Judgments it takes."
    if not each["judgments"]:
        return f"To know {goal}: nothing more is needed. It is known within ± {now}."
    hours = "" if each["hours"] is None else f", about {_hours(each['hours'])} of work"
    today = f" It is known within ± {now} now." if now else " Nothing is known of it yet."
    return f"To know {goal}, {_count(each['judgments'], 'more Judgment')} are needed{hours}.{today}"


def _hours(hours: float) -> str:
    if hours < 1:
        return _count(round(hours * 60), "minute")
    return f"{hours:,.0f} hours" if hours >= 10 else f"{hours:.1f} hours"


# --- people against people ----------------------------------------------------------------------------------

_AGREEMENT = (
    Column("raw", "Say the same", "share"),
    Column("alpha", "Alpha", "number"),
    Column("alpha_ordinal", "Alpha, ordinal", "number"),
    Column("ac1", "AC1", "number"),
    Column("units", "Comparisons", "count"),
    Column("opinions", "Opinions", "count"),
)


def _agreement(report: Mapping[str, Any], label_source: str) -> Panel:
    found = report["agreement"][label_source]
    every, weeks = found["all"], found["by_week"]
    measured = [week for week in weeks if known(week["raw"])]
    if known(every["raw"]):
        says = (
            f"Two {SOURCE_NAMES[label_source]} say the same of a Comparison in {in_words(every['raw'])} of "
            "cases, on "
            f"{_count(every['units'], 'Comparison')} with two opinions or more; "
            f"Krippendorff’s alpha is {in_words(every['alpha'], 'number')}."
        )
        if len(measured) > 1:
            says += (
                f" In the latest week, of {measured[-1]['label']}, it was {in_words(measured[-1]['raw'])}."
            )
    else:
        says = (
            f"Not enough data: {_count(every['units'], 'Comparison')} of {ENOUGH} that it takes "
            "have two opinions or more. A larger overlap in the settings of the Dataset brings more."
        )
    return Panel(
        name="agreement",
        title="Agreement over time",
        says=says,
        columns=(Column("label", "Week of"), *_AGREEMENT),
        rows=weeks,
        reading="Share of pairs of opinions on one Comparison that are the same, by the week of its latest "
        "opinion. Weeks begin on Monday, 00:00 UTC. Bars and the band are 95 % intervals.",
        described=_over_weeks(measured) if len(measured) > 1 else "",
    )


def _over_weeks(weeks: Sequence[Row]) -> str:
    values = [week["raw"]["value"] for week in weeks]
    first, last, least, most = map(shares.in_words, (values[0], values[-1], min(values), max(values)))
    return (
        f"A line over {len(weeks)} weeks, from {weeks[0]['label']} to {weeks[-1]['label']}: it begins at "
        f"{first} and ends at {last}, between {least} and {most}."
    )


def _agreement_by(report: Mapping[str, Any], label_source: str) -> Panel | None:
    found = report["agreement"][label_source]
    rows = [{"of": "All", **found["all"], "label": ""}]
    if found["unseen"]:
        rows.append({"of": "Independent answers", **found["unseen"], "label": ""})
    rows += [{"of": "Guidelines", **row} for row in found["by_guidelines"]]
    rows += [{"of": "Text by", **row} for row in found["by_source"]]
    if len(rows) == 1:
        return None
    return Panel(
        name="agreement-by",
        title="Agreement by guidelines and source",
        says=_before_and_after(found["by_guidelines"]),
        columns=(Column("of", "Of"), Column("label", ""), *_AGREEMENT),
        rows=rows,
        reading="A text’s source is the model or person that wrote it: a Comparison counts for both of its "
        "sources. Independent: neither led by a Suggestion nor asked for by the queue. Alpha and AC1 take "
        "chance out; ordinal: a tie lies between the two sides.",
    )


def _before_and_after(versions: Sequence[Row]) -> str:
    measured = [row for row in versions if known(row["raw"])]
    if len(measured) < 2:
        return "Whether new guidelines help is said here once two versions of them have enough opinions."
    old, new = measured[-2]["raw"], measured[-1]["raw"]
    apart = old["high"] < new["low"] or new["high"] < old["low"]
    told = "" if apart else " The intervals overlap, so the two are not told apart yet."
    return (
        f"Under version {measured[-1]['label']} of the guidelines people say the same in {in_words(new)} of "
        f"cases, under version {measured[-2]['label']} before it in {in_words(old)}.{told}"
    )


# --- models against people ----------------------------------------------------------------------------------


def _of_models(report: Mapping[str, Any], label_source: str) -> list[Panel]:
    models = report["against"].get(label_source, [])
    if not models:
        nothing = "Not enough data: no model has scored both texts of a Comparison that was judged here."
        return [Panel("accuracy", "Accuracy by slice", nothing)]
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
    "source": "Text by",
    "topic": "Topic",
    "truncated": "Cut",
}


def _accuracy(report: Mapping[str, Any], model: Mapping[str, Any], label_source: str) -> Panel:
    name, every = model["version"], model["slices"][0]
    rows = [{**row, "of": _SLICES.get(row["kind"], row["kind"])} for row in model["slices"]]
    rows[0]["label"] = ""
    measured = [row for row in rows if known(row["accuracy"])]
    if known(every["accuracy"]):
        says = (
            f"{name} is right in {in_words(every['accuracy'])} of {_count(every['accuracy']['n'], 'pair')} "
            f"by {SOURCE_NAMES[label_source]}; {_beside_longest(every)}"
        )
        if known(every["ceiling"]):
            says += (
                f" The agreement of {SOURCE_NAMES[label_source]} with each other lets a perfect model reach "
                f"{in_words(every['ceiling'])}."
            )
        says += _warned(every)
    else:
        says = (
            f"Not enough data: {_count(every['accuracy']['n'], 'pair')} with a preferred side that {name} "
            f"has scored and not learnt, under {_count(every['accuracy']['prompts'], 'prompt')}."
        )
    says += _left_out(report.get("sample", {}).get(label_source, {}), model)
    return Panel(
        name="accuracy",
        title="Accuracy by slice",
        says=says,
        columns=(
            Column("of", "Of"),
            Column("label", ""),
            Column("accuracy", "Model", "share"),
            Column("longest", "longest", "share"),
            Column("random", "random", "share"),
            Column("ceiling", "Ceiling", "share"),
        ),
        rows=rows,
        reading="Share of pairs with a preferred side that the model’s "
        "margin "
        "predicts. longest: the rule that takes the longer text. Ceiling: what a perfect model would reach, "
        "as "
        "people agree no more than that.",
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


def _beside_longest(every: Row) -> str:
    over = every["over_longest"]
    if not known(over):
        return "how the rule “longest” does is not known."
    longest = f"the rule “longest” in {in_words(every['longest'])}"
    if over["low"] > 0:
        more = shares.points_with_interval(over["value"], _bounds(over))
        return f"{longest}: {more} for the model."
    if over["high"] < 0:
        return f"{longest}: taking the longer text is better."
    return f"{longest}, and the two are not told apart."


def _slices_described(name: str, rows: Sequence[Row]) -> str:
    return f"A dot with its interval for {name} in each of {_count(len(rows), 'slice')}: " + "; ".join(
        f"{row['of']} {row['label']} {shares.in_words(row['accuracy']['value'])}".replace("  ", " ")
        for row in rows[:8]
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
            f"{name} is uncalibrated: its margins are no probabilities. Staff fit its temperature on the "
            "Models page, from 100 Judgments on."
        )
    elif not known(model["ece"]):
        says = f"Not enough data: {_count(n, 'answer')} on Comparisons that {name} has scored."
    else:
        gap = sum(each["n"] * (each["predicted"] - each["observed"]) for each in bins) / max(1, n)
        tends = (
            "as sure as it may be" if abs(gap) < 0.02 else "surer than it may be" if gap > 0 else "too timid"
        )
        says = (
            f"{name} is {tends}: its probabilities and what {SOURCE_NAMES[label_source]} said lie "
            f"{in_words(model['ece'], 'number')} apart (expected calibration error, {_count(n, 'answer')})."
        )
    return Panel(
        name="reliability",
        title="Reliability",
        says=says,
        columns=(
            Column("predicted", "The model said", "share"),
            Column("observed", f"{SOURCE_NAMES[label_source].capitalize()} chose likewise", "share"),
            Column("n", "Answers", "count"),
        ),
        rows=rows,
        reading="What the model gave the side it prefers, against how often "
        f"{SOURCE_NAMES[label_source]} preferred it. "
        "On the line, it is right as often as it says; below, it claims too much.",
        described="; ".join(
            f"said {shares.in_words(each['predicted'])}, was right in {shares.in_words(each['observed'])}"
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
        says = f"Not enough data: {_count(model['n'], 'answer')} on Comparisons that {name} has scored."
    elif not known(model["confidence_auc"]):
        says = (
            f"Whether a larger margin of {name} means more is not known: {in_words(model['confidence_auc'])}."
        )
    else:
        worth = model["confidence_auc"]
        tells = (
            "a larger margin means that it is right more often"
            if worth["low"] > 0.5
            else "a larger margin means that it is wrong more often"
            if worth["high"] < 0.5
            else "nothing shows that a larger margin means more"
        )
        says = (
            f"For {name} {tells}: of one answer it gets right and one it gets wrong, it is surer of the "
            "right "
            f"one in {in_words(worth)} of cases; 50 % would be chance."
        )
    total = {outcome: sum(told[outcome]) for outcome in ("a", "tie", "b")}
    return Panel(
        name="margins",
        title="Margins by outcome",
        says=says,
        columns=(
            Column("from", "Margin from", "decimal"),
            Column("to", "to", "decimal"),
            Column("a", "a was preferred", "count"),
            Column("tie", "Tie", "count"),
            Column("b", "b was preferred", "count"),
        ),
        rows=rows,
        reading="Answers by the score of a minus the score of b. A model that is right has those for a to "
        "the "
        "right of 0 and those for b to the left. The outermost bars hold all that lies beyond.",
        described=(
            f"{_count(total['a'], 'answer')} for a, {total['b']:,} for b and {_count(total['tie'], 'tie')}, "
            "in "
            f"{len(rows)} bars from {edges[0]:.1f} to {edges[-1]:.1f}."
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
        says=f"{_count(len(models), 'model')} have scored Comparisons here; each is measured on those it has "
        "scored, so two rows are of the same answers only where their number is the same."
        + "".join(
            f" {each['version']}: {warning}" for each in models if (warning := warning_of(each["slices"][0]))
        ),
        columns=(
            Column("version", "Model"),
            Column("accuracy", "Right", "share"),
            Column("longest", "longest", "share"),
            Column("ceiling", "Ceiling", "share"),
            Column("confidence_auc", "Surer when right", "share"),
            Column("ece", "Calibration error", "number"),
            Column("n", "Answers", "count"),
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
            f"Not enough data: {_count(found['n'], 'answer')} for one side under "
            f"{_count(found['prompts'], 'prompt')}; it takes 100 under 20."
        )
    elif led or less:
        parts = [f"more than {SOURCE_NAMES[label_source]} are by {_listed(led)}"] if led else []
        parts += [f"less by {_listed(less)}"] if less else []
        says = f"{name} is led {', and '.join(parts)}."
    else:
        says = (
            f"{name} is led by length and markdown no more and no less than {SOURCE_NAMES[label_source]} "
            "are, as far as is known."
        )
    side = found["people"].get("side")
    if known(side) and (side["low"] > 0 or side["high"] < 0):
        where = "left" if side["low"] > 0 else "right"
        says += f" {SOURCE_NAMES[label_source].capitalize()} are drawn to the {where} side."
    return Panel(
        name="audit",
        title="What leads a choice besides quality",
        says=says,
        columns=(
            Column("feature", "One more doubling of"),
            Column("people", SOURCE_NAMES[label_source].capitalize(), "log_odds"),
            Column("model", "Model", "log_odds"),
            Column("excess", f"Model less {SOURCE_NAMES[label_source]}", "log_odds"),
            Column("given", f"{SOURCE_NAMES[label_source].capitalize()}, the margin given", "log_odds"),
        ),
        rows=rows,
        reading="Log-odds of being preferred, from one logistic regression on the differences of two texts; "
        "0 = "
        "no pull, 0.7 = twice the odds. The last column holds the model’s margin fixed: what "
        f"{SOURCE_NAMES[label_source]} follow that it does not.",
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
        says = f"Not enough data: nobody has given {ENOUGH} answers for one side yet."
    elif not leaning:
        says = f"Nobody of {_count(len(measured), 'annotator')} favours a side beyond what chance explains."
    else:
        worst = max(leaning, key=lambda row: abs(row["left"]["value"] - 0.5))
        says = (
            f"{len(leaning)} of {_count(len(measured), 'annotator')} favour a side, most of all "
            f"{worst['annotator']}, who chose the left one in {in_words(worst['left'])} of cases. By chance "
            "alone "
            "one in twenty would seem to."
        )
    return Panel(
        name="left",
        title="Position bias",
        says=says,
        columns=(Column("annotator", "Annotator"), Column("left", "Left chosen", "share")),
        rows=measured,
        reading="Share of answers for one side that chose the one on the left. Sides are drawn by the "
        "server, so "
        "50 % is what the texts deserve.",
        described=_left_described(measured[:MOST_DRAWN]) if measured else "",
        single=True,
        drawn=MOST_DRAWN,
    )


def _left_described(rows: Sequence[Row]) -> str:
    return "A dot with its interval an annotator: " + "; ".join(
        f"{row['annotator']} {in_words(row['left'])}" for row in rows
    )


def _pace(report: Mapping[str, Any]) -> Panel:
    weeks, per_hour = report["pace"]["by_week"], report["pace"]["per_hour"]
    if not weeks:
        return Panel("pace", "Pace", "Not enough data: nobody has judged anything here yet.")
    last = weeks[-1]
    says = (
        f"In the week of {last['week']}, {_count(last['annotators'], 'person', 'people')} gave "
        f"{_count(last['judgments'], 'Judgment')} in about {_hours(last['hours'])} of work."
    )
    if known(per_hour):
        says += (
            f" Somebody at work gives {per_hour['value']:.0f} an hour "
            f"({per_hour['low']:.0f} to {per_hour['high']:.0f})."
        )
    return Panel(
        name="pace",
        title="Pace",
        says=says,
        columns=(
            Column("week", "Week of"),
            Column("judgments", "Judgments", "count"),
            Column("annotators", "People", "count"),
            Column("hours", "Hours", "decimal"),
        ),
        rows=weeks,
        reading="Judgments a week, from Monday 00:00 UTC. Hours count the time from one answer to the "
        "next where it is under ten minutes.",
        described=f"A bar a week for {_count(len(weeks), 'week')}, from "
        f"{min(w['judgments'] for w in weeks):,} to "
        f"{max(w['judgments'] for w in weeks):,} Judgments.",
    )


def _seconds(report: Mapping[str, Any]) -> Panel | None:
    found = report["seconds"]
    if not found["by_length"]:
        return None
    says = (
        f"A Judgment takes {in_words(found['all'], 'seconds')}, as the median of {found['all']['n']:,} that "
        "pages "
        "have timed."
        if known(found["all"])
        else "Not enough data: pages have timed too few Judgments."
    )
    return Panel(
        name="seconds",
        title="Seconds a Judgment",
        says=says,
        columns=(Column("label", "Both texts"), Column("seconds", "Median", "seconds")),
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
            f"Weighing {_count(told['annotators'], 'annotator')} by skill decides "
            f"{told['decided_by_skill']:,} of {_count(told['comparisons'], 'Comparison')}, the majority "
            f"{told['decided_by_majority']:,}; they differ on {told['differ']:,}."
        )
    else:
        says = (
            f"With {told['votes_per_annotator']:.0f} votes an annotator on Comparisons that others judged "
            "too, skills "
            "are guesses: the majority decides until there are 20."
        )
    columns = (
        Column("name", "Annotator"),
        Column("votes", "Votes", "count"),
        Column("skill", "Skill", "share"),
        Column("gold", "Right on gold", "share"),
        Column("consistent", "Same as own earlier", "share"),
        Column("towards", "Changed to the model’s", "share"),
        Column("seconds", "Seconds", "seconds"),
        Column("per_hour", "An hour", "decimal"),
    )
    return Panel(
        name="annotators",
        title="Annotators",
        says=says,
        columns=columns if label_source == "people" else columns[:3],
        rows=rows,
        reading="Skill: the chance that a vote is the truth, by one-coin Dawid-Skene from nothing but who "
        "agrees "
        "with whom. No rank: intervals that overlap do not tell two people apart.",
        single=True,
    )
