"""How often a ModelVersion prefers what people prefer: one figure for every page, gate and command.

It is of pairs that may be counted: judged by people before any Suggestion, and picked by chance, or labelled
by a file. No pair of a prompt group that the version has learnt is among them (pipeline.text.learnt). A pair
counts once, by what more than half of the counted opinions say."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from django.db.models import Count, Value
from django.db.models.functions import Length

from scoring import evaluate as figures_of
from workbench.models import Comparison, Dataset, Judgment, ModelVersion, Outcome, Suggestion
from workbench.pipeline.quality import voting
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

    def said(self) -> tuple[Vector, Vector]:
        """(target, opinions) of each pair, target as `majority` has it."""
        counts = self.counts.sum(axis=1)
        return majority(counts), counts.sum(axis=1)

    def ceiling(self) -> "Ceiling":
        """That of all labels, whatever a model has scored or learnt of them."""
        counts = self.counts.sum(axis=1)
        target = majority(counts)
        group = np.unique(self.groups, return_inverse=True)[1]
        found = voting.ceiling(counts[:, :2], np.isfinite(target) & (target >= 0), group)
        return Ceiling(found.share.value, found.agreement.value, found.agreement.n, found.votes)


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


def beats_rule(low: float | None, high: float | None) -> bool | None:
    """Whether a model is better than the length rule, from the 95 % interval of its accuracy less the rule's,
    on the same pairs: True where all of it is above 0, False where all of it is below. None where the
    interval leaves that open, or where there is none."""
    if low is None or high is None:
        return None
    return True if low > 0 else False if high < 0 else None


@dataclass(frozen=True)
class Ceiling:
    """What a model without any error would reach against these labels (see voting.ceiling). agreement: how
    often two opinions for a side are the same, as a mean over `twos`, the pairs with two such opinions or
    more; votes: behind a label. None where there is not enough data."""

    value: float | None = None
    agreement: float | None = None
    twos: int = 0
    votes: int | None = None

    def warning(self, share: float | None) -> str:
        """A sentence where the share is above it, else ""."""
        return figures_of.above_ceiling(share, self.value, self.twos)


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
