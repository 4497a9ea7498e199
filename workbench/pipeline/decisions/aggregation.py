"""Votes and skills -> Decisions with a probability of each outcome, for Datasets with this rule."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from django.db import transaction

from workbench.db.snapshot import snapshot
from workbench.models import (
    Comparison,
    Dataset,
    Decision,
    PromptChange,
)
from workbench.pipeline.decisions import majority
from workbench.pipeline.decisions.majority import Derived
from workbench.pipeline.quality.columns import OUTCOMES, votes_of
from workbench.pipeline.quality.skill import one_coin
from workbench.pipeline.webhooks import outbox

CHUNK = 2_000
DECIDED_ABOVE = 0.5
SAME_WITHIN = 0.005
"""A posterior that moves less is left alone, as each new vote moves all posteriors a little."""


@dataclass(frozen=True)
class _Result:
    """The result of aggregation for a Comparison. outcome: "" where no outcome has more than one half."""

    outcome: str
    posterior: dict[str, float]
    votes: int
    votes_for: int

    def equals(self, decision: Decision) -> bool:
        """Whether the Decision already has this result."""
        posterior = decision.posterior or {}
        return (
            decision.method == Decision.Method.AGGREGATION
            and (decision.outcome, decision.votes, decision.votes_for)
            == (self.outcome, self.votes, self.votes_for)
            and all(
                abs(posterior.get(name, 0.0) - share) < SAME_WITHIN for name, share in self.posterior.items()
            )
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

    By skill: an outcome with more than one half by one-coin Dawid-Skene over all current opinions is decided,
    and the Decision has the probability of each outcome (see quality.skill). Where annotators share too few
    votes, the majority decides. Flags and reviewers come first, as in `majority.derive`. Rows are written in
    chunks, each a transaction, so that nobody waits for 200,000 rows; after a stop half-way, the votes of
    every Decision are right. A second call writes nothing."""
    if dataset.aggregation != Dataset.Aggregation.SKILL:
        return majority.derive(dataset)
    with snapshot() as using:
        pair, annotator, vote = votes_of(dataset, using)
    pairs, item = np.unique(pair, return_inverse=True)
    annotators, voter = np.unique(annotator, return_inverse=True)
    skills = one_coin(item, voter, vote, (len(pairs), len(annotators), len(OUTCOMES)))
    if not skills.enough:
        return majority.derive(dataset, rule=Dataset.Aggregation.MAJORITY)
    counts = np.bincount(item * len(OUTCOMES) + vote, minlength=len(pairs) * len(OUTCOMES))
    decided, withdrawn = 0, _withdraw_unvoted(dataset, set(pairs.tolist()))
    for chunk in _results(pairs, np.round(skills.posterior, 4), counts.reshape(-1, len(OUTCOMES))):
        written = _write(dataset, chunk)
        decided, withdrawn = decided + written.decided, withdrawn + written.withdrawn
    return Derived(decided=decided, withdrawn=withdrawn)


def _withdraw_unvoted(dataset: Dataset, voted: Collection[int]) -> int:
    """Withdraw derived Decisions whose votes were all taken back, and return their number."""
    derived = Decision.objects.current().of(dataset).exclude(method=Decision.Method.REVIEWER)
    rows = derived.values_list("pk", "comparison_id").iterator()
    unvoted = {key: comparison for key, comparison in rows if comparison not in voted}
    withdrawn, keys = 0, list(unvoted)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        pairs = [unvoted[key] for key in chunk]
        with transaction.atomic(), outbox.noting_decisions(dataset, pairs):
            PromptChange.objects.note_pairs(pairs)
            withdrawn += Decision.objects.current().filter(pk__in=chunk).update(is_current=False)
    return withdrawn


def _results(pairs: np.ndarray, posterior: np.ndarray, counts: np.ndarray) -> Iterator[Mapping[int, _Result]]:
    """Results by Comparison, CHUNK at a time."""
    names = [outcome.value for outcome in OUTCOMES]
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        results = {}
        rows = (pairs[part].tolist(), posterior[part].tolist(), counts[part].tolist())
        for key, shares, votes in zip(*rows, strict=True):
            best = max(range(len(names)), key=shares.__getitem__)
            outcome = names[best] if shares[best] > DECIDED_ABOVE else ""
            results[key] = _Result(outcome, dict(zip(names, shares, strict=True)), sum(votes), votes[best])
        yield results


@transaction.atomic
def _write(dataset: Dataset, results: Mapping[int, _Result]) -> Derived:
    """Bring the derived Decisions of these Comparisons in line with the results. A reviewer who settles one
    of the Comparisons at this moment wins: ignore_conflicts leaves the derived Decision out."""
    flagged = set(Comparison.objects.filter(pk__in=results).flagged().values_list("pk", flat=True))
    decisions = Decision.objects.current().filter(comparison__in=results)
    current = {decision.comparison_id: decision for decision in decisions}
    to_withdraw, withdrawn_from, new = [], [], []
    for key, result in results.items():
        decision = current.get(key)
        is_reviewed = decision is not None and decision.method == Decision.Method.REVIEWER
        if decision and key not in flagged and (is_reviewed or result.equals(decision)):
            continue
        if decision and not is_reviewed:
            to_withdraw.append(decision.pk)
            withdrawn_from.append(key)
        if result.outcome and key not in flagged:
            new.append(result.decision(key))
    with outbox.noting_decisions(dataset, list(results)):
        withdrawn = Decision.objects.current().filter(pk__in=to_withdraw).update(is_current=False)
        Decision.objects.bulk_create(new, ignore_conflicts=True, batch_size=CHUNK)
    PromptChange.objects.note_pairs([*(row.comparison_id for row in new), *withdrawn_from])
    return Derived(decided=len(new), withdrawn=withdrawn)
