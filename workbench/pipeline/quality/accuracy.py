"""How often a ModelVersion prefers what people prefer: one figure for every page, gate and command.

It is of pairs that may be counted: judged by people before any Suggestion, and picked by chance, or labelled
by a file. No pair of a prompt group that the version has learnt is among them (pipeline.text.learnt). A pair
counts once, by what more than half of the counted opinions say."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from statistics import median_low
from typing import Literal

import numpy as np
import numpy.typing as npt
from django.db.models import Count, Value
from django.db.models.functions import Length

from scoring import evaluate as figures_of
from workbench.models import Comparison, Dataset, Judgment, ModelVersion, Outcome, Suggestion
from workbench.pipeline.text import learnt
from workbench.pipeline.text.learnt import Seen
from workbench.pipeline.text.splits import split_of

LabelSource = Literal["people", "imported", "all"]
"""People's votes, the labels of files, or both together."""

Vector = npt.NDArray[np.float64]
Interval = tuple[float, float]

CHUNK = 5_000
OUTCOMES = (Outcome.A, Outcome.B, Outcome.TIE, Outcome.BOTH_BAD)
LABEL_SOURCES: tuple[LabelSource, LabelSource] = ("people", "imported")


@dataclass(frozen=True)
class Heard:
    """What may be counted of a Dataset, an entry a Comparison with an opinion, by primary key.

    counts: (pairs, label sources, outcomes), how many opinions of each of LABEL_SOURCES say each of
    OUTCOMES; lengths: (pairs, 2), of the texts in characters. `set_aside`: answers of people that are not
    counted, by reason."""

    keys: list[int]
    groups: list[str]
    lengths: Vector
    counts: Vector
    set_aside: dict[str, int] = field(default_factory=dict)

    def said(self, label_source: LabelSource = "all") -> tuple[Vector, Vector]:
        """(target, opinions) of each pair: 1 where more than half prefer a, 0 for b, 0.5 for a tie, -1 where
        they call both bad; NaN where no outcome has more than half."""
        counts = (
            self.counts.sum(axis=1)
            if label_source == "all"
            else self.counts[:, LABEL_SOURCES.index(label_source)]
        )
        return majority(counts), counts.sum(axis=1)

    def ceiling(self, label_source: LabelSource = "all") -> "Ceiling":
        """That of the labels that are given by the label source, whatever a model has scored or learnt of
        them."""
        counts = (
            self.counts.sum(axis=1)
            if label_source == "all"
            else self.counts[:, LABEL_SOURCES.index(label_source)]
        )
        target = majority(counts)
        return ceiling(counts[:, :2], np.isfinite(target) & (target >= 0))


def majority(counts: Vector) -> Vector:
    """(pairs, outcomes) of OUTCOMES -> what more than half of each pair's opinions say: 1, 0, 0.5, or -1 for
    "both bad"; NaN for none."""
    opinions = counts.sum(axis=1)
    most = counts.argmax(axis=1)
    said = np.array([1.0, 0.0, 0.5, -1.0])[most]
    found: Vector = np.where(2 * counts.max(axis=1, initial=0) > opinions, said, np.nan)
    return found


def heard(dataset: Dataset, using: str = "default") -> Heard:
    """Read once, whatever versions and label sources it is used for."""
    judgments = Judgment.objects.using(using).order_by()
    of_voices = [judgments.independent(dataset), judgments.of(dataset).labels()]
    people, labels = (
        given.values_list("comparison", "outcome").annotate(n=Count("pk"), place=Value(place))
        for place, given in enumerate(of_voices)
    )
    rows: dict[int, Vector] = {}
    for key, outcome, n, place in people.union(labels, all=True).iterator(chunk_size=CHUNK):
        row = rows.setdefault(key, np.zeros((len(LABEL_SOURCES), len(OUTCOMES))))
        row[place, OUTCOMES.index(outcome)] += n
    keys = sorted(rows)
    facts: dict[int, tuple[str, int, int]] = {}
    for chunk in _chunks(keys):
        pairs = Comparison.objects.using(using).filter(pk__in=chunk).order_by()
        read = pairs.values_list("pk", "prompt__group", Length("a__text"), Length("b__text"))
        facts |= {key: (group, a, b) for key, group, a, b in read}
    return Heard(
        keys=keys,
        groups=[facts[key][0] for key in keys],
        lengths=np.array([facts[key][1:] for key in keys], dtype=np.float64).reshape(-1, 2),
        counts=np.array([rows[key] for key in keys]).reshape(-1, len(LABEL_SOURCES), len(OUTCOMES)),
        set_aside=set_aside(dataset, int(sum(row[0].sum() for row in rows.values())), using),
    )


def set_aside(dataset: Dataset, kept: int, using: str = "default") -> dict[str, int]:
    """How many first answers of people no figure is of, by reason: led by a Suggestion, to a Comparison that
    the queue picked, asked for because of earlier answers. `kept` are independent."""
    first = Judgment.objects.using(using).of(dataset).first_answers().order_by()
    counts = [first.count()]
    if counts[0] > kept:
        counts += [first.unled().count(), first.unled().not_picked().count(), kept]
    reasons = ("led", "picked", "asked_after")
    return dict.fromkeys(reasons, 0) | dict(zip(reasons, (x - y for x, y in pairwise(counts)), strict=False))


def _chunks(keys: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(keys)
    while part := list(islice(rest, CHUNK)):
        yield part


# --- the figure ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval over prompt groups (Wilson's where there is one group); all None where
    nothing is counted."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float | None, interval: Interval | None) -> "Share":
        low, high = interval or (None, None)
        return cls(value, low, high)


@dataclass(frozen=True)
class Measured:
    """A model against people on pairs that it has not learnt.

    share: of `decided` pairs, those where it scores the preferred text higher, half for equal scores (`equal`
    of them); rule: the length rule, "longest" or "shortest", whichever is right more often on the training
    split; rule_share: its share of the same pairs; over_rule: share less rule_share, paired, over prompt
    groups. learnt: decided pairs that were left out as the version has learnt their group; groups: of the
    pairs that count."""

    share: Share
    decided: int
    ties: int
    equal: int
    groups: int
    learnt: int
    rule: str
    rule_share: Share
    over_rule: Share

    @property
    def beats_rule(self) -> bool | None:
        """Whether it is better than the length rule; None where the paired interval leaves that open."""
        if self.over_rule.low is None or self.over_rule.high is None:
            return None
        return True if self.over_rule.low > 0 else False if self.over_rule.high < 0 else None

    @property
    def no_better(self) -> bool:
        """Whether the length rule is right as often here, as far as is seen."""
        own, rule = self.share.value, self.rule_share.value
        return own is not None and rule is not None and own <= rule


@dataclass(frozen=True)
class Ceiling:
    """What a model without any error would reach against these labels (scoring.evaluate.human_ceiling):
    `agreement` is how often two people choose the same side, as a mean over the `twos`, the pairs that two or
    more judged; `votes` stand behind a label. All None where no two people judged the same pair."""

    value: float | None = None
    agreement: float | None = None
    twos: int = 0
    votes: int | None = None

    def warning(self, share: float | None) -> str:
        """A sentence where the share is above it, else ""."""
        return figures_of.above_ceiling(share, self.value, self.twos)


@dataclass(frozen=True)
class Accuracy:
    """What a page or command shows of a version on a Dataset. `known`: whether what it has learnt is known;
    `counted`: pairs that count, by whose opinions they have; `set_aside` as in Heard; `undecided`: pairs left
    out, by reason."""

    version: ModelVersion
    label_source: LabelSource
    measured: Measured
    ceiling: Ceiling
    known: ModelVersion.Known
    counted: dict[str, int]
    undecided: dict[str, int]
    set_aside: dict[str, int]

    @property
    def share(self) -> Share:
        return self.measured.share

    @property
    def n(self) -> int:
        """Pairs that count: with a preferred side, scored, and not learnt."""
        return self.measured.decided

    @property
    def tried(self) -> bool:
        """Whether it has scored a pair that anybody prefers a side of, learnt or not."""
        return self.measured.decided + self.measured.learnt > 0

    @property
    def beware(self) -> str:
        """A sentence where it is not known what the version has learnt, else ""."""
        return learnt.beware(self.known)

    @property
    def warning(self) -> str:
        """A sentence where the figure is too good to be true, else ""."""
        return self.ceiling.warning(self.share.value)

    @property
    def left_out(self) -> str:
        """What was left out, in words; "" where nothing was."""
        return left_out_in_words(
            self.measured.learnt, self.set_aside if self.label_source != "imported" else {}
        )


def left_out_in_words(learnt_pairs: int, aside: dict[str, int], of: str = "the model") -> str:
    """ "Left out: 29 pairs of prompts that the model was trained on, 4 votes ..." """
    reasons = {
        "led": "given after the model’s pick was shown",
        "picked": "on pairs that were not picked at random",
        "asked_after": "asked for because of earlier votes",
    }
    told = [f"{learnt_pairs:,} pair{'s' * (learnt_pairs != 1)} of prompts that {of} was trained on"]
    told = told if learnt_pairs else []
    told += [f"{n:,} vote{'s' * (n != 1)} {reasons[why]}" for why, n in aside.items() if n]
    return f"Left out: {', '.join(told)}." if told else ""


def of(
    version: ModelVersion,
    dataset: Dataset,
    label_source: LabelSource = "all",
    *,
    found: Heard | None = None,
) -> Accuracy:
    """The version's accuracy on the dataset, against one label source or both. `found` spares a second
    reading of the same."""
    found = heard(dataset) if found is None else found
    return _of(version, label_source, found, learnt.seen(version, dataset), margins(version, found.keys))


def by_voice(version: ModelVersion, dataset: Dataset) -> dict[LabelSource, Accuracy]:
    """Against each label source that has said something, and against both together where both have."""
    found = heard(dataset)
    said = [label_source for place, label_source in enumerate(LABEL_SOURCES) if found.counts[:, place].any()]
    if not said:
        return {}
    seen, margin = learnt.seen(version, dataset), margins(version, found.keys)
    together: list[LabelSource] = ["all"] if len(said) > 1 else []
    return {
        label_source: _of(version, label_source, found, seen, margin) for label_source in [*said, *together]
    }


def _of(
    version: ModelVersion, label_source: LabelSource, found: Heard, seen: Seen, margin: Vector
) -> Accuracy:
    target, opinions = found.said(label_source)
    usable = np.isfinite(target) & (target >= 0)
    measured = measure(margin, np.where(usable, target, np.nan), found.groups, found.lengths, seen)
    use = usable & np.isfinite(margin) & ~_has(seen, found.groups)
    of_voice = found.counts.sum(axis=2) > 0
    people, labels = (use & of_voice[:, place] for place in (0, 1))
    return Accuracy(
        version=version,
        label_source=label_source,
        measured=measured,
        ceiling=found.ceiling(label_source),
        known=seen.known,
        counted={"people": int((people).sum()), "imported": int((labels & ~people).sum())}
        if label_source == "all"
        else {label_source: int(use.sum())},
        undecided=undecided(target, opinions),
        set_aside=found.set_aside,
    )


def undecided(target: Vector, opinions: Vector) -> dict[str, int]:
    """Pairs with opinions that no margin can agree with, by reason."""
    split = int((np.isnan(target) & (opinions > 0)).sum())
    bad = int((target == -1).sum())
    return {why: n for why, n in (("no majority", split), ("both bad", bad)) if n}


def margins(version: ModelVersion, keys: Sequence[int], using: str = "default") -> Vector:
    """The version's margin on each Comparison: 0 where both texts read the same to it, so that it suggests
    nothing, and NaN where it lacks a Score."""
    held: dict[int, float] = {}
    for chunk in _chunks(keys):
        rows = Suggestion.objects.using(using).filter(version=version, comparison__in=chunk)
        held |= dict(rows.values_list("comparison_id", "margin"))
        left = [key for key in chunk if key not in held]
        scored = Comparison.objects.using(using).filter(
            pk__in=left, a__scores__version=version, b__scores__version=version
        )
        held |= dict.fromkeys(scored.values_list("pk", flat=True), 0.0)
    return np.array([held.get(key, np.nan) for key in keys], dtype=np.float64)


def _has(seen: Seen, groups: Sequence[str]) -> npt.NDArray[np.bool_]:
    known = {group: group in seen for group in set(groups)}
    return np.array([known[group] for group in groups], dtype=bool)


def measure(
    margin: Vector, target: Vector, groups: Sequence[str], lengths: Vector, seen: Seen, rule: str = ""
) -> Measured:
    """Of pairs as columns (N,): margins (NaN = not scored), what people say (1, 0, 0.5; NaN = nothing that
    can be counted), prompt groups, lengths (N, 2) in characters. `rule` where the length rule was chosen on
    more pairs than these."""
    scored = np.isfinite(margin) & np.isfinite(target)
    out = _has(seen, groups)
    use = np.flatnonzero(scored & ~out)
    rule = rule or length_rule(target, lengths, groups)
    by_rule = (lengths[:, 0] - lengths[:, 1]) * (1 if rule == "longest" else -1)
    of_groups = [groups[place] for place in use.tolist()]
    own = figures_of.evaluate(margin[use], target[use], of_groups)
    ruled = figures_of.evaluate(by_rule[use], target[use], of_groups)
    paired = figures_of.compare(margin[use], by_rule[use], target[use], of_groups)
    return Measured(
        share=Share.of(own.accuracy, own.clustered or own.wilson),
        decided=own.decided,
        ties=own.ties,
        equal=own.equal,
        groups=len({group for group, at in zip(of_groups, use.tolist(), strict=True) if target[at] != 0.5}),
        learnt=int((scored & out & (target != 0.5)).sum()),
        rule=rule,
        rule_share=Share.of(ruled.accuracy, ruled.clustered or ruled.wilson),
        over_rule=Share.of(paired.accuracy_difference, paired.accuracy_interval),
    )


def share_of(margin: Vector, target: Vector, groups: Sequence[str], seen: Seen) -> Share:
    """The accuracy that `measure` would give these margins, alone."""
    use = np.flatnonzero(np.isfinite(margin) & np.isfinite(target) & ~_has(seen, groups))
    own = figures_of.evaluate(margin[use], target[use], [groups[place] for place in use.tolist()])
    return Share.of(own.accuracy, own.clustered or own.wilson)


def length_rule(target: Vector, lengths: Vector, groups: Sequence[str]) -> str:
    """Which of "longest" and "shortest" is right more often on training prompts; "longest" where that is not
    told."""
    train = {group: split_of(group) == "train" for group in set(groups)}
    use = np.array([train[group] for group in groups], dtype=bool) & np.isfinite(target) & (target != 0.5)
    ahead = np.sign(lengths[use, 0] - lengths[use, 1]) * np.sign(target[use] - 0.5)
    return "shortest" if ahead.sum() < 0 else "longest"


def ceiling(sides: Vector, decided: npt.NDArray[np.bool_]) -> Ceiling:
    """From opinions for a and b (pairs, 2), and which of the pairs have a label. People's agreement is of all
    pairs: those on which they agreed, and so have a label, are the easy ones."""
    total = sides.sum(axis=1)
    shared, of_both = sides[total > 1], total[total > 1]
    if not len(shared):
        return Ceiling()
    share = float(((shared * (shared - 1)).sum(axis=1) / (of_both * (of_both - 1))).mean())
    votes = votes_behind(sides[decided])
    # Who agree no more often than coins tell nothing of what is right.
    best = figures_of.human_ceiling(share, votes) if share > 0.5 else None
    return Ceiling(best, share, len(shared), votes)


def votes_behind(sides: Vector) -> int:
    """How many votes stand behind a label as a rule, an odd number, from those for a and b (pairs, 2)."""
    total = sides.sum(axis=1)
    votes = int(median_low(total[total > 0].astype(int).tolist() or [1]))
    return max(1, votes if votes % 2 else votes - 1)
