"""Panels on people: how far they agree, and how they work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scoring import shares
from workbench.pipeline.quality.figures import ENOUGH
from workbench.pipeline.quality.panels.panel import MOST_DRAWN, Column, Panel
from workbench.pipeline.quality.panels.words import count, hours_of_work, in_words
from workbench.pipeline.quality.reports import SOURCE_NAMES, AgreementRow, KnownFigure, Report, has_value

_AGREEMENT = (
    Column("raw", "Agree", "share"),
    Column("alpha", "Alpha", "number"),
    Column("alpha_ordinal", "Alpha (ordinal)", "number"),
    Column("ac1", "AC1", "number"),
    Column("units", "Pairs", "count"),
    Column("opinions", "Votes", "count"),
)


def agreement(report: Report, label_source: str) -> Panel:
    rows, source = report["agreement"][label_source], SOURCE_NAMES[label_source]
    every, weeks = rows["all"], rows["by_week"]
    measured = [(week["label"], raw) for week in weeks if has_value(raw := week["raw"])]
    if has_value(every["raw"]):
        says = (
            f"Two {source} agree in {in_words(every['raw'])} of cases, on "
            f"{count(every['units'], 'pair')} with two or more votes. "
            f"Krippendorff’s alpha is {in_words(every['alpha'], 'number')}."
        )
        if len(measured) > 1:
            label, latest = measured[-1]
            says += f" In the latest week ({label}), they agreed in {in_words(latest)}."
    else:
        says = (
            f"Not enough data: {count(every['units'], 'pair')} with two or more votes, and this figure "
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


def _over_weeks(weeks: Sequence[tuple[str, KnownFigure]]) -> str:
    values = [raw["value"] for _, raw in weeks]
    first, last, least, most = map(shares.in_words, (values[0], values[-1], min(values), max(values)))
    return (
        f"A line over {len(weeks)} weeks, from {weeks[0][0]} to {weeks[-1][0]}. The line starts "
        f"at {first}, ends at {last} and stays between {least} and {most}."
    )


def agreement_by(report: Report, label_source: str) -> Panel | None:
    agreements = report["agreement"][label_source]
    rows: list[dict[str, object]] = [{"of": "All", **agreements["all"], "label": ""}]
    if agreements["unseen"]:
        rows.append({"of": "Independent votes", **agreements["unseen"], "label": ""})
    rows += [{"of": "Guidelines", **row} for row in agreements["by_guidelines"]]
    rows += [{"of": "Answers by", **row} for row in agreements["by_source"]]
    if len(rows) == 1:
        return None
    return Panel(
        name="agreement-by",
        title="Agreement by guidelines and source",
        says=_before_and_after(agreements["by_guidelines"]),
        columns=(Column("of", "Kind"), Column("label", ""), *_AGREEMENT),
        rows=rows,
        reading="A pair counts for the writers of both answers. Independent votes were given on random "
        "pairs, before the model’s pick was shown. Alpha and AC1 correct for chance. Ordinal alpha puts a "
        "tie between the two sides.",
    )


def _before_and_after(versions: Sequence[AgreementRow]) -> str:
    measured = [(row["label"], raw) for row in versions if has_value(raw := row["raw"])]
    if len(measured) < 2:
        return "Not enough data to compare two versions of the guidelines yet."
    (before, old), (after, new) = measured[-2:]
    apart = old["high"] < new["low"] or new["high"] < old["low"]
    doubt = "" if apart else " The intervals overlap, so the difference may be chance."
    return (
        f"Agreement is {in_words(new)} with version {after} of the guidelines. With version "
        f"{before} it was {in_words(old)}.{doubt}"
    )


def position_bias(report: Report, names: Mapping[int, str]) -> Panel:
    measured = [
        (names.get(row["annotator"], "removed"), left)
        for row in report["annotators"]
        if not row["imported"] and has_value(left := row["left"])
    ]
    # The strongest first: the chart leaves out the last.
    measured.sort(key=lambda row: -abs(row[1]["value"] - 0.5))
    leaning = [(name, left) for name, left in measured if left["low"] > 0.5 or left["high"] < 0.5]
    if not measured:
        says = f"Not enough data: nobody has chosen a side {ENOUGH} times yet."
    elif not leaning:
        says = f"No annotator favours a side more than chance explains ({len(measured)} checked)."
    else:
        name, strongest = leaning[0]
        says = (
            f"{len(leaning)} of {count(len(measured), 'annotator')} seem{'s' * (len(leaning) == 1)} to "
            f"favour a side. The strongest case is {name}, who chose left in "
            f"{in_words(strongest)} of cases. By chance alone, one in 20 would."
        )
    return Panel(
        name="left",
        title="Position bias",
        says=says,
        columns=(Column("annotator", "Annotator"), Column("left", "Left chosen", "share")),
        rows=[{"annotator": name, "left": left} for name, left in measured],
        reading="How often each annotator chose the left answer. Sides are shuffled, so a careful annotator "
        "is near 50 %.",
        described="A dot with its interval for each annotator: "
        + "; ".join(f"{name} {in_words(left)}" for name, left in measured[:MOST_DRAWN])
        if measured
        else "",
        single=True,
        drawn=MOST_DRAWN,
    )


def pace(report: Report) -> Panel:
    weeks, per_hour = report["pace"]["by_week"], report["pace"]["per_hour"]
    votes = [week["judgments"] for week in weeks]
    if not weeks:
        return Panel("pace", "Pace", "Not enough data: nobody has voted yet.")
    last = weeks[-1]
    says = (
        f"In the week of {last['week']}, {count(last['annotators'], 'person', 'people')} gave "
        f"{count(last['judgments'], 'vote')} in about {hours_of_work(last['hours'])} of work."
    )
    if has_value(per_hour):
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
        described=f"A bar for each of {count(len(weeks), 'week')}, from "
        f"{min(votes):,} to {max(votes):,} votes.",
    )


def seconds(report: Report) -> Panel | None:
    timed = report["seconds"]
    if not timed["by_length"]:
        return None
    says = (
        f"A vote takes {in_words(timed['all'], 'seconds')}, the median of {timed['all']['n']:,} timed votes."
        if has_value(timed["all"])
        else "Not enough data: too few votes were timed."
    )
    return Panel(
        name="seconds",
        title="Seconds per vote",
        says=says,
        columns=(Column("label", "Both answers"), Column("seconds", "Median", "seconds")),
        rows=timed["by_length"],
    )


def annotators(report: Report, label_source: str, names: Mapping[int, str]) -> Panel | None:
    decided = report["aggregation"]
    rows = [
        {**row, "name": names.get(row["annotator"], "removed")}
        for row in report["annotators"]
        if row["imported"] == (label_source == "imported")
    ]
    if not rows:
        return None
    if decided["enough"]:
        says = (
            f"Skill gives {decided['decided_by_skill']:,} of {count(decided['comparisons'], 'pair')} a final "
            f"label, the majority {decided['decided_by_majority']:,}. They differ on {decided['differ']:,}."
        )
    else:
        says = (
            f"Each annotator shares about {decided['votes_per_annotator']:.0f} pairs with others, too few to "
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
