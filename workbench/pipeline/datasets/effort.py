"""What the settings of a Dataset do together: how many votes are still to come, and the hours these take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count, OuterRef

from scoring import shares
from workbench.models import Comparison, Dataset, Judgment, Statistics
from workbench.models.counts import count_of
from workbench.pipeline.quality.panels.words import count, hours_of_work
from workbench.pipeline.quality.reports import FORMAT

SECONDS_A_VOTE = 30.0
"""Assumed where nobody has voted yet: two answers of some 60 words each, read once at 240 words a minute."""

PRESETS: Mapping[str, tuple[str, str, Mapping[str, object]]] = {
    "quick": (
        "Quick first look",
        "One person a pair, no checks. Shows whether the guidelines work.",
        {"overlap": 1, "max_overlap": 0, "gold_share": 0.0, "repeat_share": 0.0, "aggregation": "majority"},
    ),
    "careful": (
        "Careful",
        "Two people a pair, a third where they disagree. Measures agreement.",
        {"overlap": 2, "max_overlap": 3, "gold_share": 0.05, "repeat_share": 0.0, "aggregation": "majority"},
    ),
    "research": (
        "Research",
        "Three people a pair, up to five. Measures each person’s skill.",
        {"overlap": 3, "max_overlap": 5, "gold_share": 0.05, "repeat_share": 0.05, "aggregation": "skill"},
    ),
}
"""(title, what it is for, settings) by key. All of them take random pairs and hide the model's pick until the
vote, so that the figures hold for the whole Dataset."""

_OF_ALL: Mapping[str, object] = {
    "blind_share": 1.0,
    "single_vote_threshold": None,
    "order": Dataset.Order.RANDOM.value,
}


def settings_of(preset: str) -> dict[str, object]:
    """The settings of the preset by field; {} for an unknown one."""
    return {**_OF_ALL, **PRESETS[preset][2]} if preset in PRESETS else {}


def preset_of(dataset: Dataset) -> str:
    """The preset that the Dataset's settings follow, else ""."""
    return next((name for name in PRESETS if _follows(dataset, settings_of(name))), "")


def _follows(dataset: Dataset, settings: Mapping[str, object]) -> bool:
    return all(getattr(dataset, field) == value for field, value in settings.items())


@dataclass(frozen=True)
class Facts:
    """pairs: the number of Comparisons by (places of their own or None, votes of people); a pair of gold has
    no place. seconds: the median of the Dataset's votes; None before ten timed ones."""

    pairs: Mapping[tuple[int | None, int], int]
    seconds: float | None


def facts_of(dataset: Dataset) -> Facts:
    """What an Effort is computed from. Two queries."""
    by_people = Judgment.objects.current().by_people().filter(comparison=OuterRef("pk"))
    pairs = Comparison.objects.filter(dataset=dataset).order_by()
    counted = pairs.annotate(votes=count_of(by_people, "comparison")).values_list("required", "votes")
    stored = Statistics.objects.filter(dataset=dataset, report__format=FORMAT)
    seconds = stored.values_list("report__seconds__all__value", flat=True).first()
    return Facts(
        {(required, votes): n for required, votes, n in counted.annotate(n=Count("pk"))},
        None if seconds is None else float(seconds),
    )


@dataclass(frozen=True)
class Effort:
    """pairs: to be judged at all; votes: still to come, by the places of each pair and the votes that it has;
    checks: gold and repeats handed out among them; hours: for votes and checks, at `seconds` each."""

    pairs: int
    votes: int
    checks: int
    seconds: float
    is_measured: bool

    @property
    def hours(self) -> float:
        return (self.votes + self.checks) * self.seconds / 3600

    @property
    def cost(self) -> str:
        """ "2,400 votes, about 9 hours"."""
        return f"{count(self.votes, 'vote')}, about {hours_of_work(self.hours)}"


def effort(dataset: Dataset, facts: Facts) -> Effort:
    """The votes to come by the settings of `dataset`, which need not be stored.

    checks = votes c / (1 - c), where c is the share of gold and repeats in what people are handed."""
    initial = dataset.initial_overlap
    places = {key: initial if key[0] is None else key[0] for key in facts.pairs}
    votes = sum(n * max(0, places[key] - key[1]) for key, n in facts.pairs.items())
    share = min(0.9, dataset.gold_share + dataset.repeat_share)
    return Effort(
        pairs=sum(n for key, n in facts.pairs.items() if places[key]),
        votes=votes,
        checks=round(votes * share / (1 - share)),
        seconds=SECONDS_A_VOTE if facts.seconds is None else facts.seconds,
        is_measured=facts.seconds is not None,
    )


def in_words(dataset: Dataset, facts: Facts) -> str:
    """What the settings do together, in one sentence: "Each pair is judged by 2 people; about 1 in 20 is
    gold; ...: 2,400 votes to come and 126 checks, about 10 hours at 14 s a vote."."""
    planned = effort(dataset, facts)
    parts = [_people(dataset), _checks(dataset), _order(dataset), _model(dataset)]
    pace = f"{planned.seconds:.0f} s a vote{'' if planned.is_measured else ' (assumed)'}"
    more = " or more" if dataset.max_overlap > dataset.initial_overlap else ""
    if not planned.pairs:
        return f"{'; '.join(parts)}. There are no pairs yet."
    if not planned.votes:
        return f"{'; '.join(parts)}: all votes are given."
    votes = f"{count(planned.votes, 'vote')}{more} to come"
    checks = f" and {count(planned.checks, 'check')}" if planned.checks else ""
    return f"{'; '.join(parts)}: {votes}{checks}, about {hours_of_work(planned.hours)} at {pace}."


def _people(dataset: Dataset) -> str:
    judged = f"Each pair is judged by {count(dataset.overlap, 'person', 'people')}"
    if dataset.single_vote_threshold is not None:
        sure = shares.in_words(dataset.single_vote_threshold)
        judged += f", or by one where the model is {sure} sure of the same answer"
    if dataset.max_overlap > dataset.initial_overlap:
        judged += f", up to {dataset.max_overlap} where they disagree"
    return judged


def _checks(dataset: Dataset) -> str:
    gold, repeats = dataset.gold_share, dataset.repeat_share
    parts = [f"about 1 in {1 / gold:.0f} is gold"] if gold else []
    parts += [f"about 1 in {1 / repeats:.0f} is asked again"] if repeats else []
    return " and ".join(parts) or "none is a check"


def _order(dataset: Dataset) -> str:
    if dataset.order == Dataset.Order.MIXTURE:
        return f"{shares.in_words(dataset.random_share)} come at random"
    return {
        Dataset.Order.RANDOM: "they come at random",
        Dataset.Order.UNCERTAIN: "those the model is unsure of come first",
        Dataset.Order.DISAGREEMENT: "disputed pairs come first",
    }[Dataset.Order(dataset.order)]


def _model(dataset: Dataset) -> str:
    if dataset.blind_share == 1:
        return "the model is shown after the vote"
    if dataset.blind_share == 0:
        return "the model is shown before the vote"
    return f"the model is shown before the vote on {shares.in_words(1 - dataset.blind_share)} of pairs"
