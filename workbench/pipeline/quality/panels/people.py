"""Panels on people: how far they agree, and how they work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from scoring import shares
from workbench.pipeline.quality.figures import ENOUGH
from workbench.pipeline.quality.panels.panel import MOST_DRAWN, Column, Panel
from workbench.pipeline.quality.panels.words import count, hours_of_work, in_words
from workbench.pipeline.quality.reports import (
    OPINIONS,
    SOURCE_NAMES,
    AgreementRow,
    AnnotatorRow,
    KnownFigure,
    Report,
    StoredFigure,
    has_value,
)

_AGREEMENT = (
    Column("raw", "Agree", "share"),
    Column("alpha", "Alpha", "number"),
    Column("alpha_ordinal", "Alpha (ordinal)", "number"),
    Column("ac1", "AC1", "number"),
    Column("units", "Pairs", "count"),
)


def _columns(label_source: str) -> tuple[Column, ...]:
    return (*_AGREEMENT, Column("opinions", OPINIONS[label_source].capitalize(), "count"))


def agreement(report: Report, label_source: str) -> Panel:
    rows, source = report["agreement"][label_source], SOURCE_NAMES[label_source]
    every, weeks = rows["all"], rows["by_week"]
    measured = [(week["label"], raw) for week in weeks if has_value(raw := week["raw"])]
    title, raw = "Agreement over time", every["raw"]
    if not has_value(raw):
        needs = f"needs {ENOUGH} pairs with two {OPINIONS[label_source]}; have {every['units']:,}"
        return Panel("agreement", title, lacks=f"agreement ({needs})")
    notes = [f"Krippendorff’s alpha is {in_words(every['alpha'], 'number')}."]
    if len(measured) > 1:
        label, latest = measured[-1]
        notes.append(f"In the latest week ({label}), they agreed in {in_words(latest)}.")
    return Panel(
        name="agreement",
        title=title,
        says=f"Two {source} agree in {in_words(raw)} of cases, on {count(every['units'], 'pair')} with two "
        f"or more {OPINIONS[label_source]}.",
        columns=(Column("label", "Week of"), *_columns(label_source)),
        rows=[{**every, "label": "All weeks"}, *weeks],
        reading=f"How often two {OPINIONS[label_source]} on a pair agree, by the week of the latest. Weeks "
        "start on Monday, 00:00 UTC. Bars and bands are 95 % intervals; the dashed line is all weeks.",
        described=_over_weeks(raw, measured),
        context={"opinions": OPINIONS[label_source]},
        notes=notes,
    )


def _over_weeks(every: KnownFigure, weeks: Sequence[tuple[str, KnownFigure]]) -> str:
    if len(weeks) < 2:
        return f"A dot at {in_words(every)}, with its interval."
    values = [raw["value"] for _, raw in weeks]
    first, last, least, most = map(shares.in_words, (values[0], values[-1], min(values), max(values)))
    return (
        f"A line over {len(weeks)} weeks, from {weeks[0][0]} to {weeks[-1][0]}. The line starts "
        f"at {first}, ends at {last} and stays between {least} and {most}. All weeks together: "
        f"{in_words(every)}."
    )


def agreement_by(report: Report, label_source: str) -> Panel | None:
    agreements = report["agreement"][label_source]
    rows: list[dict[str, object]] = [{"of": "All", **agreements["all"], "label": ""}]
    if agreements["unseen"]:
        rows.append({"of": f"Independent {OPINIONS[label_source]}", **agreements["unseen"], "label": ""})
    rows += [{"of": "Guidelines", **row} for row in agreements["by_guidelines"]]
    rows += [{"of": "Answers by", **row} for row in agreements["by_source"]]
    if len(rows) == 1 or not any(has_value(cast("AgreementRow", row)["raw"]) for row in rows):
        return None
    versions = agreements["by_guidelines"]
    return Panel(
        name="agreement-by",
        title="Agreement by guidelines and source",
        says=_before_and_after(versions) or f"{count(len(rows) - 1, 'part')}, each by itself.",
        columns=(Column("of", "Kind"), Column("label", ""), *_columns(label_source)),
        rows=rows,
        reading="A pair counts for the writers of both answers. Independent ones were given on random "
        "pairs, before the model’s pick was shown. Alpha and AC1 correct for chance. Ordinal alpha puts a "
        "tie between the two sides.",
    )


def guidelines(report: Report, label_source: str) -> Panel | None:
    """What a comparison of two versions of the guidelines needs; None where the table has it, and where
    people have judged under one version."""
    versions = report["agreement"][label_source]["by_guidelines"]
    if len(versions) < 2 or _before_and_after(versions):
        return None
    fewest = min(row["units"] for row in versions[-2:])
    needs = f"needs {ENOUGH} pairs with two {OPINIONS[label_source]} under each; have {fewest:,}"
    return Panel("guidelines", "Agreement by guidelines", lacks=f"agreement by guidelines version ({needs})")


def _before_and_after(versions: Sequence[AgreementRow]) -> str:
    """The last two versions that were measured, in a sentence; "" for fewer."""
    measured = [(row["label"], raw) for row in versions if has_value(raw := row["raw"])]
    if len(measured) < 2:
        return ""
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
        needs = f"needs {ENOUGH} votes for a side by one person"
        return Panel("left", "Position bias", lacks=f"position bias ({needs})", single=True)
    if not leaning:
        says = f"No annotator favours a side more than chance explains ({len(measured)} checked)."
    else:
        name, strongest = leaning[0]
        says = (
            f"{len(leaning)} of {count(len(measured), 'annotator')} seem{'s' * (len(leaning) == 1)} to "
            f"favour a side. The strongest case is {name}, who chose left in "
            f"{in_words(strongest)} of cases."
        )
    return Panel(
        name="left",
        title="Position bias",
        says=says,
        columns=(Column("annotator", "Annotator"), Column("left", "Left chosen", "share")),
        rows=[{"annotator": name, "left": left} for name, left in measured],
        reading="How often each annotator chose the left answer. Sides are shuffled, so a careful annotator "
        "is near 50 %. By chance alone, one in 20 seems to lean.",
        described="A dot with its interval for each annotator: "
        + "; ".join(f"{name} {in_words(left)}" for name, left in measured[:MOST_DRAWN]),
        single=True,
        drawn=MOST_DRAWN,
    )


def pace(report: Report) -> Panel:
    weeks, per_hour = report["pace"]["by_week"], report["pace"]["per_hour"]
    votes = [week["judgments"] for week in weeks]
    if not weeks:
        return Panel("pace", "Pace", lacks="pace (needs a vote)")
    last = weeks[-1]
    says = (
        f"In the week of {last['week']}, {count(last['annotators'], 'person', 'people')} gave "
        f"{count(last['judgments'], 'vote')} in about {hours_of_work(last['hours'])} of work."
    )
    notes = []
    if has_value(per_hour):
        notes.append(
            f"One person gives about {per_hour['value']:.0f} votes an hour "
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
        notes=notes,
    )


def seconds(report: Report) -> Panel | None:
    timed = report["seconds"]
    if not timed["by_length"]:
        return None
    title, every = "Seconds per vote", timed["all"]
    if not has_value(every):
        needs = f"needs {ENOUGH} timed votes; have {every['n']:,}"
        return Panel("seconds", title, lacks=f"seconds per vote ({needs})")
    return Panel(
        name="seconds",
        title=title,
        says=f"A vote takes {in_words(every, 'seconds')}, the median of {every['n']:,} timed votes.",
        columns=(Column("label", "Both answers"), Column("seconds", "Median", "seconds")),
        rows=timed["by_length"],
    )


def annotators(report: Report, label_source: str, names: Mapping[int, str]) -> Panel | None:
    """A row for each person, or for each label source of files: they are never in one table."""
    by_people = label_source == "people"
    rows = [
        {**row, "name": names.get(row["annotator"], "removed")}
        for row in report["annotators"]
        if row["imported"] != by_people
    ]
    if not rows:
        return None
    columns = (
        Column("name", "Annotator" if by_people else "Label source"),
        Column("votes", "Votes" if by_people else "Labels", "count"),
        Column("skill", "Skill", "share"),
        Column("gold", "Right on gold", "share"),
        Column("consistent", "Same on repeats", "share"),
        Column("left", "Left chosen", "share"),
        Column("towards", "Switched to model", "share"),
        Column("seconds", "Seconds", "seconds"),
        Column("per_hour", "Votes per hour", "decimal"),
    )
    who = "annotator" if by_people else "label source"
    return Panel(
        name="annotators",
        title="Annotators" if by_people else "Label sources",
        says=_who_stands_out(report, rows) if by_people else _most_skilled(rows),
        columns=columns if by_people else columns[:3],
        rows=rows,
        reading=(_READING_PEOPLE if by_people else "")
        + f"Skill is the chance that a {'vote' if by_people else 'label'} is right, estimated from who "
        f"agrees with whom (one-coin Dawid-Skene). This is no ranking: a{'n' * by_people} {who} with an "
        "overlapping interval may be equally good.",
        described=_in_the_strips(rows, by_people),
        single=True,
        drawn=MOST_DRAWN,
        notes=[_by_skill(report)],
    )


_READING_PEOPLE = (
    "Dots are shares or medians with 95 % intervals; the dashed line is 50 %. Someone is named whose "
    "interval excludes 50 % for the left side, or lies below the figure of everyone for gold, or below half "
    "of it for seconds. By chance alone, one in 20 would be. "
)


def _who_stands_out(report: Report, rows: Sequence[Mapping[str, object]]) -> str:
    """Who leans to a side, misses gold, or answers in half the time of everyone, beyond chance."""
    remarks = []
    gold, seconds = report["everybody"]["gold"], report["seconds"]["all"]
    for row in rows:
        name, of = row["name"], cast("AnnotatorRow", row)
        if _leans(of["left"]):
            remarks.append(f"{name}, left in {in_words(of['left'])}")
        if has_value(gold) and has_value(of["gold"]) and of["gold"]["high"] < gold["value"]:
            remarks.append(f"{name}, right on gold in {in_words(of['gold'])}")
        if has_value(seconds) and has_value(of["seconds"]) and 2 * of["seconds"]["high"] < seconds["value"]:
            remarks.append(f"{name}, {in_words(of['seconds'], 'seconds')} a vote")
    if not remarks:
        return "Nobody stands out beyond chance by side, gold or speed."
    more = f"; and {len(remarks) - 3} more" if len(remarks) > 3 else ""
    return f"Look at {'; '.join(remarks[:3])}{more}."


def _leans(left: StoredFigure) -> bool:
    return has_value(left) and not left["low"] <= 0.5 <= left["high"]


def _most_skilled(rows: Sequence[Mapping[str, object]]) -> str:
    measured = [(str(row["name"]), skill) for row in rows if has_value(skill := _skill(row))]
    if len(measured) < 2:
        return f"The labels come from {count(len(rows), 'source')}."
    name, worst = min(measured, key=lambda row: row[1]["high"])
    others = max(other["low"] for _, other in measured)
    if worst["high"] >= others:
        return "No label source stands out beyond chance."
    return f"{name} is right less often than others: skill {in_words(worst)}."


def _skill(row: Mapping[str, object]) -> StoredFigure:
    return cast("AnnotatorRow", row)["skill"]


STRIPS = {"left": "left chosen", "gold": "right on gold", "seconds": "seconds a vote", "skill": "skill"}
"""The columns that the picture draws, by key."""


def strips_of(rows: Sequence[Mapping[str, object]], by_people: bool) -> list[str]:
    """The keys of the columns that the picture draws: those in which somebody has a figure."""
    keys = [key for key in STRIPS if (key == "skill") != by_people]
    return [key for key in keys if any(has_value(cast("StoredFigure", row[key])) for row in rows)]


def _in_the_strips(rows: Sequence[Mapping[str, object]], by_people: bool) -> str:
    """The picture in words; "" where nobody has a figure."""
    keys = strips_of(rows, by_people)
    if not keys:
        return ""
    parts = [
        f"{row['name']}: " + ", ".join(f"{STRIPS[key]} {said}" for key in keys if (said := _said(row, key)))
        for row in rows[:MOST_DRAWN]
    ]
    return "A dot with its interval by " + ", ".join(STRIPS[key] for key in keys) + ". " + "; ".join(parts)


def _said(row: Mapping[str, object], key: str) -> str:
    figure = cast("StoredFigure", row[key])
    return in_words(figure, "seconds" if key == "seconds" else "share") if has_value(figure) else ""


def _by_skill(report: Report) -> str:
    decided = report["aggregation"]
    if decided["enough"]:
        return (
            f"Skill gives {decided['decided_by_skill']:,} of {count(decided['comparisons'], 'pair')} a final "
            f"label, the majority {decided['decided_by_majority']:,}. They differ on {decided['differ']:,}."
        )
    return (
        f"Each annotator shares about {decided['votes_per_annotator']:.0f} pairs with others, too few to "
        "estimate skill. The majority decides until there are 20."
    )
