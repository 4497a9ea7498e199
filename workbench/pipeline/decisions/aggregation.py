"""Votes and skills -> Decisions with a probability of each outcome, where the Dataset says so."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from django.db import transaction

from workbench.db.snapshot import snapshot
from workbench.models import Comparison, Dataset, Decision
from workbench.pipeline.decisions import majority
from workbench.pipeline.decisions.majority import Derived
from workbench.pipeline.quality.columns import OUTCOMES, votes_of
from workbench.pipeline.quality.skill import one_coin

CHUNK = 2_000
DECIDED_ABOVE = 0.5
SAME_WITHIN = 0.005
"""A posterior that moves less than this is left: each new vote moves all of them a little."""


@dataclass(frozen=True)
class _Wanted:
    """What aggregation says of a Comparison. `outcome` is "" where none is likelier than all others."""

    outcome: str
    posterior: dict[str, float]
    votes: int
    votes_for: int

    def is_in(self, decision: Decision) -> bool:
        """Whether the Decision says so already."""
        told = decision.posterior or {}
        return (
            decision.method == Decision.Method.AGGREGATION
            and (decision.outcome, decision.votes, decision.votes_for)
            == (self.outcome, self.votes, self.votes_for)
            and all(abs(told.get(name, 0.0) - share) < SAME_WITHIN for name, share in self.posterior.items())
        )

    def decision(self, comparison: int) -> Decision:
        return Decision(
            comparison_id=comparison,
            outcome=self.outcome,
            method=Decision.Method.AGGREGATION,
            posterior=self.posterior,
            probability=self.posterior[self.outcome],
            votes=self.votes,
            votes_for=self.votes_for,
        )


def derive(dataset: Dataset) -> Derived:
    """Bring the derived Decisions of the dataset in line with its current Judgments, by its own rule.

    By skill, the outcome that one-coin Dawid-Skene over all current opinions gives more than one half is
    decided, with the probability of each (see `statistics.skill`); where annotators share too few votes, the
    majority decides as everywhere else. Flags and reviewers come first, as in `majority.derive`. Written in
    chunks, each a transaction of its own, so that nobody waits for 200,000 rows; stopped half-way, every
    Decision still rests on the votes it says. A second call writes nothing."""
    if dataset.aggregation != Dataset.Aggregation.SKILL:
        return majority.derive(dataset)
    with snapshot() as using:
        pair, annotator, vote = votes_of(dataset, using)
    pairs, item = np.unique(pair, return_inverse=True)
    annotators, who = np.unique(annotator, return_inverse=True)
    skills = one_coin(item, who, vote, (len(pairs), len(annotators), len(OUTCOMES)))
    if not skills.enough:
        return majority.derive(dataset, rule=Dataset.Aggregation.MAJORITY)
    counts = np.bincount(item * len(OUTCOMES) + vote, minlength=len(pairs) * len(OUTCOMES))
    made, withdrawn = 0, _withdraw_unvoted(dataset, set(pairs.tolist()))
    for chunk in _wanted(pairs, np.round(skills.posterior, 4), counts.reshape(-1, len(OUTCOMES))):
        more = _write(chunk)
        made, withdrawn = made + more.made, withdrawn + more.withdrawn
    return Derived(made=made, withdrawn=withdrawn)


def _withdraw_unvoted(dataset: Dataset, voted: Collection[int]) -> int:
    """Derived Decisions on which every vote was taken back are no longer current."""
    derived = Decision.objects.current().of(dataset).exclude(method=Decision.Method.REVIEWER)
    rows = derived.values_list("pk", "comparison_id").iterator()
    gone = [key for key, comparison in rows if comparison not in voted]
    return sum(
        Decision.objects.current().filter(pk__in=gone[start : start + CHUNK]).update(is_current=False)
        for start in range(0, len(gone), CHUNK)
    )


def _wanted(pairs: np.ndarray, posterior: np.ndarray, counts: np.ndarray) -> Iterator[Mapping[int, _Wanted]]:
    """By Comparison, so many at a time."""
    names = [outcome.value for outcome in OUTCOMES]
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        wanted = {}
        rows = (pairs[part].tolist(), posterior[part].tolist(), counts[part].tolist())
        for key, shares, said in zip(*rows, strict=True):
            best = max(range(len(names)), key=shares.__getitem__)
            outcome = names[best] if shares[best] > DECIDED_ABOVE else ""
            wanted[key] = _Wanted(outcome, dict(zip(names, shares, strict=True)), sum(said), said[best])
        yield wanted


@transaction.atomic
def _write(wanted: Mapping[int, _Wanted]) -> Derived:
    """Make the derived Decisions of these Comparisons what is wanted. A reviewer who settles one of them at
    this moment wins: decision_one_current leaves ours out."""
    flagged = set(Comparison.objects.filter(pk__in=wanted).flagged().values_list("pk", flat=True))
    current = {it.comparison_id: it for it in Decision.objects.current().filter(comparison__in=wanted)}
    out, new = [], []
    for key, each in wanted.items():
        stands = current.get(key)
        if (
            stands
            and (stands.method == Decision.Method.REVIEWER or each.is_in(stands))
            and key not in flagged
        ):
            continue
        if stands and stands.method != Decision.Method.REVIEWER:
            out.append(stands.pk)
        if each.outcome and key not in flagged:
            new.append(each.decision(key))
    withdrawn = Decision.objects.current().filter(pk__in=out).update(is_current=False)
    Decision.objects.bulk_create(new, ignore_conflicts=True, batch_size=CHUNK)
    return Derived(made=len(new), withdrawn=withdrawn)
