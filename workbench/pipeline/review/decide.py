"""A reviewer's Decisions: append-only, refused where the case has changed meanwhile, and undone by a key."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from workbench.models import (
    Claim,
    Comparison,
    Dataset,
    Decision,
    Flag,
    Judgment,
    PromptChange,
    Purpose,
    User,
)
from workbench.models.dataset import excerpt_columns
from workbench.pipeline.annotate import queue
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.webhooks import outbox


@dataclass(frozen=True)
class Conflict:
    """Nothing was written, as the case has changed since the reviewer's page was made. current: the current
    Decision."""

    current: Decision | None


def left_of(comparison: Comparison, user: User) -> Literal["a", "b"]:
    """The completion that this reviewer sees on the left: the same at each visit, whatever the labels."""
    digest = hashlib.sha256(f"review:{user.pk}:{comparison.pk}".encode()).digest()
    return "a" if digest[0] % 2 else "b"


def seen(comparison: Comparison) -> str:
    """A token of the Comparison with its current Judgments, open Flags and current Decision. A different
    token means that one of these has changed."""
    rows = comparison.judgments.current(), comparison.flags.open(), comparison.decisions.current()
    return token_of(comparison, *rows)


def token_of(
    comparison: Comparison,
    votes: Iterable[Judgment],
    open_flags: Iterable[Flag],
    decisions: Iterable[Decision],
) -> str:
    """As `seen`, from rows that the caller has read."""
    ids = [[comparison.pk], *(sorted(row.pk for row in rows) for rows in (votes, open_flags, decisions))]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


@transaction.atomic
def settle(
    comparison: Comparison,
    by: User,
    outcome: str,
    *,
    seen_token: str,
    reason: str = "",
    note: str = "",
    blind_outcome: str = "",
) -> Decision | Conflict:
    """Settle the Comparison: "a", "b", "tie", "both_bad" or "drop". Append-only: the Decision before stays as
    a row that is not current. Open Flags are closed, and live Claims end, as no more votes are needed.

    seen_token: the result of `seen` when the reviewer's page was made. If it differs now, somebody has
    judged, flagged or settled meanwhile, and nothing is written."""
    _lock(comparison)
    current = Decision.objects.current().filter(comparison=comparison).first()
    if seen(comparison) != seen_token:
        return Conflict(current)
    opinions = Judgment.objects.current().opinions().filter(comparison=comparison)
    with outbox.noting_decisions(comparison.dataset, [comparison.pk]):
        Decision.objects.current().filter(comparison=comparison).update(is_current=False)
        decision = Decision.objects.create(
            comparison=comparison,
            outcome=outcome,
            method=Decision.Method.REVIEWER,
            reason=reason,
            note=note,
            blind_outcome=blind_outcome,
            votes=opinions.count(),
            votes_for=opinions.filter(outcome=outcome).count(),
            decided_by=by,
            supersedes=current,
        )
    Flag.objects.open().filter(comparison=comparison).update(closed_at=timezone.now(), closed_by=decision)
    # Claims on gold and repeats stay: they hold no place, and their end would give them away.
    live = Claim.objects.filter(comparison=comparison, state=Claim.State.LIVE, purpose=Purpose.WORK)
    ended = live.update(state=Claim.State.EXPIRED, slot=None)
    Comparison.objects.filter(pk=comparison.pk).update(claimed=F("claimed") - ended)
    fields = [name for name in ("reason", "note") if getattr(decision, name)]
    record(Kind.SETTLED, by=by, dataset=comparison.dataset_id, target=comparison, fields=["outcome", *fields])
    if ended:
        record(Kind.CLAIMS_ENDED, by=by, dataset=comparison.dataset_id, target=comparison, count=ended)
    PromptChange.objects.note(comparison.dataset_id, [comparison.prompt_id])
    queue.renew_some([comparison.pk], comparison.dataset)
    return decision


@transaction.atomic
def undo(decision: Decision, by: User) -> bool:
    """Undo a reviewer's Decision: the Decision before is current again, and the Flags that it closed are open
    again. Claims that it ended stay ended. False when the Decision is not current."""
    _lock(decision.comparison)
    with outbox.noting_decisions(decision.comparison.dataset, [decision.comparison_id]):
        undone = (
            Decision.objects.current()
            .filter(pk=decision.pk, method=Decision.Method.REVIEWER)
            .update(is_current=False, undone_by=by, undone_at=timezone.now())
        )
        if not undone:
            return False
        if decision.supersedes:
            Decision.objects.filter(pk=decision.supersedes.pk).update(is_current=True)
    raised_again = Flag.objects.open().filter(comparison=decision.comparison_id).values("annotator")
    closed = Flag.objects.filter(closed_by=decision).exclude(annotator__in=raised_again)
    closed.update(closed_at=None, closed_by=None)
    record(Kind.UNSETTLED, by=by, dataset=decision.comparison.dataset_id, target=decision.comparison)
    PromptChange.objects.note(decision.comparison.dataset_id, [decision.comparison.prompt_id])
    queue.renew_some([decision.comparison_id], decision.comparison.dataset)
    return True


def _lock(comparison: Comparison) -> None:
    """Lock the Comparison until the transaction ends, so that reviewers take turns."""
    Comparison.objects.select_for_update().get(pk=comparison.pk)


def guideline_gaps(dataset: Dataset) -> QuerySet[Decision]:
    """Decisions with the reason "guideline gap", newest first, each with the columns of its excerpt."""
    reviews = Decision.objects.current().by_reviewers_of(dataset)
    gaps = reviews.filter(reason=Decision.Reason.GUIDELINE_GAP)
    gaps = gaps.annotate(**excerpt_columns("comparison__prompt__"))
    return gaps.select_related("comparison", "decided_by").order_by("-pk")
