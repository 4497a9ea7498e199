"""How often a ModelVersion prefers what people prefer: one figure for every page, gate and command.

A pair counts where chance picked the pair and people judged it before any Suggestion, or where a file labels
it. Each pair counts once, by the majority of its opinions. A pair of a prompt group that the version has
learnt does not count (pipeline.text.learnt)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from django.db.models import Count, Value
from django.db.models.functions import Length

from scoring import evaluate
from workbench.db.bulk import in_chunks
from workbench.models import Comparison, Dataset, Judgment, ModelVersion, Outcome, Suggestion
from workbench.pipeline.quality import voting
from workbench.pipeline.text.learnt import Seen
from workbench.pipeline.text.splits import split_of

Vector = npt.NDArray[np.float64]
Interval = tuple[float, float]

CHUNK = 5_000
OUTCOMES = (Outcome.A, Outcome.B, Outcome.TIE, Outcome.BOTH_BAD)
LABEL_SOURCES = ("people", "imported")


@dataclass(frozen=True)
class Opinions:
    """The opinions of a Dataset that count: one entry a Comparison with an opinion, by primary key.

    counts: (pairs, label sources, outcomes), opinions by LABEL_SOURCES and OUTCOMES. lengths: (pairs, 2), of
    the texts in characters. set_aside: answers of people that do not count, by reason."""

    keys: list[int]
    groups: list[str]
    lengths: Vector
    counts: Vector
    set_aside: dict[str, int] = field(default_factory=dict)

    def labels(self) -> tuple[Vector, Vector]:
        """(target by `majority`, number of opinions) of each pair."""
        counts = self.counts.sum(axis=1)
        return majority(counts), counts.sum(axis=1)

    def ceiling(self) -> "Ceiling":
        """The ceiling of all labels, whatever a model has scored or learnt."""
        counts = self.counts.sum(axis=1)
        target = majority(counts)
        group = np.unique(self.groups, return_inverse=True)[1]
        ceiling = voting.ceiling(counts[:, :2], np.isfinite(target) & (target >= 0), group)
        return Ceiling(ceiling.share.value, ceiling.agreement.value, ceiling.agreement.n, ceiling.votes)


def majority(counts: Vector) -> Vector:
    """(pairs, outcomes), opinions by OUTCOMES -> (pairs,), the outcome that more than half of the opinions of
    a pair give: 1 for a, 0 for b, 0.5 for a tie, -1 for "both bad"; NaN where no outcome does."""
    opinions = counts.sum(axis=1)
    most = counts.argmax(axis=1)
    leading = np.array([1.0, 0.0, 0.5, -1.0])[most]
    target: Vector = np.where(2 * counts.max(axis=1, initial=0) > opinions, leading, np.nan)
    return target


def opinions_of(dataset: Dataset, using: str = "default") -> Opinions:
    """The opinions of the dataset, for any number of versions."""
    judgments = Judgment.objects.using(using).order_by()
    by_source = [judgments.independent(dataset), judgments.of(dataset).labels()]
    people, labels = (
        rows.values_list("comparison", "outcome").annotate(n=Count("pk"), place=Value(place))
        for place, rows in enumerate(by_source)
    )
    rows: dict[int, Vector] = {}
    for key, outcome, n, place in people.union(labels, all=True).iterator(chunk_size=CHUNK):
        row = rows.setdefault(key, np.zeros((len(LABEL_SOURCES), len(OUTCOMES))))
        row[place, OUTCOMES.index(outcome)] += n
    keys = sorted(rows)
    columns: dict[int, tuple[str, int, int]] = {}
    for chunk in in_chunks(keys, CHUNK):
        pairs = Comparison.objects.using(using).filter(pk__in=chunk).order_by()
        values = pairs.values_list("pk", "prompt__group", Length("a__text"), Length("b__text"))
        columns |= {key: (group, a, b) for key, group, a, b in values}
    return Opinions(
        keys=keys,
        groups=[columns[key][0] for key in keys],
        lengths=np.array([columns[key][1:] for key in keys], dtype=np.float64).reshape(-1, 2),
        counts=np.array([rows[key] for key in keys]).reshape(-1, len(LABEL_SOURCES), len(OUTCOMES)),
        set_aside=set_aside(dataset, int(sum(row[0].sum() for row in rows.values())), using),
    )


def set_aside(dataset: Dataset, kept: int, using: str = "default") -> dict[str, int]:
    """First answers of people that do not count, by reason: after a Suggestion (led), on a Comparison that
    the queue picked (picked), because of earlier answers (asked_after). kept: the number of independent
    answers."""
    first = Judgment.objects.using(using).of(dataset).first_answers().order_by()
    counts = [first.count()]
    if counts[0] > kept:
        counts += [first.without_suggestion().count(), first.without_suggestion().not_picked().count(), kept]
    reasons = ("led", "picked", "asked_after")
    return dict.fromkeys(reasons, 0) | dict(zip(reasons, (x - y for x, y in pairwise(counts)), strict=False))


# --- the figure ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A share, or a difference of shares, with its 95 % interval over prompt groups (Wilson's where there is
    one group). All three are None where no pair counts."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float | None, interval: Interval | None) -> "Estimate":
        low, high = interval or (None, None)
        return cls(value, low, high)


@dataclass(frozen=True)
class Measured:
    """A model against people on pairs that it has not learnt.

    share: of the `decided` pairs, those where the model scores the preferred text higher; equal scores
    (`equal` pairs) count half. rule: the length rule, "longest" or "shortest", whichever is right more often
    on the training split. rule_share: the rule's share of the same pairs. over_rule: share - rule_share,
    paired, over prompt groups. learnt: decided pairs left out because the version has learnt their groups.
    groups: the number of prompt groups of the pairs that count."""

    share: Estimate
    decided: int
    ties: int
    equal: int
    groups: int
    learnt: int
    rule: str
    rule_share: Estimate
    over_rule: Estimate


def beats_rule(low: float | None, high: float | None) -> bool | None:
    """Whether a model is better than the length rule, by the 95 % interval of the difference (over_rule):
    True where the whole interval is above 0, False where all of it is below 0, None otherwise."""
    if low is None or high is None:
        return None
    return True if low > 0 else False if high < 0 else None


@dataclass(frozen=True)
class Ceiling:
    """The accuracy of a model without any error against these labels (see voting.ceiling). agreement: how
    often two opinions for a side are the same, as a mean over pairs; twos: the number of these pairs, each
    with two such opinions or more; votes: behind a label. None where there is not enough data."""

    value: float | None = None
    agreement: float | None = None
    twos: int = 0
    votes: int | None = None

    def warning(self, share: float | None) -> str:
        """A sentence where the share is above the ceiling, else ""."""
        return evaluate.above_ceiling(share, self.value, self.twos)


def left_out_in_words(learnt_pairs: int, set_aside: Mapping[str, int], of: str = "the model") -> str:
    """ "Left out: 29 pairs of prompts that the model was trained on, 4 votes ..." """
    reasons = {
        "led": "given after the model’s pick was shown",
        "picked": "on pairs that were not picked at random",
        "asked_after": "asked for because of earlier votes",
    }
    pairs = f"{learnt_pairs:,} pair{'s' * (learnt_pairs != 1)} of prompts that {of} was trained on"
    votes = [f"{n:,} vote{'s' * (n != 1)} {reasons[reason]}" for reason, n in set_aside.items() if n]
    parts = [pairs, *votes] if learnt_pairs else votes
    return f"Left out: {', '.join(parts)}." if parts else ""


def undecided(target: Vector, opinions: Vector) -> dict[str, int]:
    """Pairs with opinions that no margin can agree with, by reason."""
    no_majority = int((np.isnan(target) & (opinions > 0)).sum())
    both_bad = int((target == -1).sum())
    return {reason: n for reason, n in (("no majority", no_majority), ("both bad", both_bad)) if n}


def margins(version: ModelVersion, keys: Sequence[int], using: str = "default") -> Vector:
    """The version's margin on each Comparison: NaN where a Score is missing, and 0 where both texts read the
    same to the version, which then makes no Suggestion."""
    margin: dict[int, float] = {}
    for chunk in in_chunks(keys, CHUNK):
        rows = Suggestion.objects.using(using).filter(version=version, comparison__in=chunk)
        margin |= dict(rows.values_list("comparison_id", "margin"))
        missing = [key for key in chunk if key not in margin]
        scored = Comparison.objects.using(using).filter(
            pk__in=missing, a__scores__version=version, b__scores__version=version
        )
        margin |= dict.fromkeys(scored.values_list("pk", flat=True), 0.0)
    return np.array([margin.get(key, np.nan) for key in keys], dtype=np.float64)


def _are_learnt(seen: Seen, groups: Sequence[str]) -> npt.NDArray[np.bool_]:
    is_learnt = {group: group in seen for group in set(groups)}
    return np.array([is_learnt[group] for group in groups], dtype=bool)


def measure(
    margin: Vector, target: Vector, groups: Sequence[str], lengths: Vector, seen: Seen, rule: str = ""
) -> Measured:
    """Measure pairs as columns (N,): margin (NaN = not scored), target (1, 0, 0.5; NaN = does not count),
    prompt groups, lengths (N, 2) in characters. rule: the length rule, where it was chosen on more pairs."""
    scored = np.isfinite(margin) & np.isfinite(target)
    is_learnt = _are_learnt(seen, groups)
    use = np.flatnonzero(scored & ~is_learnt)
    rule = rule or length_rule(target, lengths, groups)
    by_rule = (lengths[:, 0] - lengths[:, 1]) * (1 if rule == "longest" else -1)
    of_groups = [groups[place] for place in use.tolist()]
    of_model = evaluate.evaluate(margin[use], target[use], of_groups)
    of_rule = evaluate.evaluate(by_rule[use], target[use], of_groups)
    paired = evaluate.compare(margin[use], by_rule[use], target[use], of_groups)
    return Measured(
        share=Estimate.of(of_model.accuracy, of_model.clustered or of_model.wilson),
        decided=of_model.decided,
        ties=of_model.ties,
        equal=of_model.equal,
        groups=len({group for group, at in zip(of_groups, use.tolist(), strict=True) if target[at] != 0.5}),
        learnt=int((scored & is_learnt & (target != 0.5)).sum()),
        rule=rule,
        rule_share=Estimate.of(of_rule.accuracy, of_rule.clustered or of_rule.wilson),
        over_rule=Estimate.of(paired.accuracy_difference, paired.accuracy_interval),
    )


def share_of(margin: Vector, target: Vector, groups: Sequence[str], seen: Seen) -> Estimate:
    """The share of `measure` alone."""
    use = np.flatnonzero(np.isfinite(margin) & np.isfinite(target) & ~_are_learnt(seen, groups))
    figures = evaluate.evaluate(margin[use], target[use], [groups[place] for place in use.tolist()])
    return Estimate.of(figures.accuracy, figures.clustered or figures.wilson)


def length_rule(target: Vector, lengths: Vector, groups: Sequence[str]) -> str:
    """Whichever of "longest" and "shortest" is right more often on training prompts; "longest" for a draw."""
    train = {group: split_of(group) == "train" for group in set(groups)}
    use = np.array([train[group] for group in groups], dtype=bool) & np.isfinite(target) & (target != 0.5)
    ahead = np.sign(lengths[use, 0] - lengths[use, 1]) * np.sign(target[use] - 0.5)
    return "shortest" if ahead.sum() < 0 else "longest"
