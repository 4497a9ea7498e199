"""Completions -> Scores, by way of ScoreBatch rows.

The rows are the queue of record, and a message is only a doorbell. The worker that gets a message leases a
row by a conditional UPDATE, so a message that is lost, doubled or late changes nothing:

1. `plan` writes a Run and its batches in one transaction.
2. `due` lists the batches to enqueue: new batches, and batches whose lease ran out.
3. `work` leases one batch, scores it outside any transaction, and stores Scores slice by slice. Siblings with
   Scores in bf16 are scored again in fp32 where bf16 leaves their order open.
4. `begin_anew` plans Scores that exist already; each new Score takes the place of the old one.
5. `split` halves batches that keep failing, until the one bad text stands alone, `failed` with a reason."""

import itertools
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from django.db import OperationalError, transaction
from django.db.models import Exists, F, Max, OuterRef, Q, Sum
from django.utils import timezone

from scoring.formats import EMPTY_COMPLETION, BadText, Pair, Scored, Scorer, pair_of_messages
from scoring.guard import near_siblings
from workbench.db.away import is_disk_full
from workbench.db.bulk import in_chunks
from workbench.models import (
    Completion,
    Dataset,
    ModelVersion,
    PromptChange,
    Run,
    Score,
    ScoreBatch,
    User,
)
from workbench.models.runs import RunResult, ScoreBatchQuerySet
from workbench.pipeline.history.recording import Kind, record, record_run
from workbench.pipeline.runs.lifecycle import FAILED
from workbench.pipeline.runs.progress import is_for_people
from workbench.pipeline.scoring import suggestions

log = logging.getLogger(__name__)

DISK_IS_FULL = "The disk of the database is full. Make room, and the scoring continues by itself."
ENQUEUE_AT_MOST = 100
SLICE = 64
ROUNDING = 1e-4
"""A Score that is computed again may differ by this much, on another processor or in another batch."""


def pair_of(completion: Completion) -> Pair:
    """The texts that a model reads of a Completion, with the messages where these say more."""
    return pair_of_messages(completion.prompt.messages, completion.messages, completion.text)


# --- plan ---------------------------------------------------------------------------------------------------


def plan(dataset: Dataset, version: ModelVersion, created_by: User | None = None) -> Run | None:
    """A Run that scores the completions of the dataset that `version` has not scored; None for none, and for
    a version that is scored elsewhere.

    A completion of an open Run is not planned twice. Nor is a completion that failed before: a person retries
    its batch (see `retry_failed`)."""
    with transaction.atomic():
        # Locked: two plans at once would both plan the same completions.
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        rows = [] if version.is_external else _unplanned(dataset, version)
        if not rows:
            suggestions.suggest_all(dataset, version)
            return None
        run = Run.objects.create(
            kind=Run.Kind.SCORE,
            dataset=dataset,
            version=version,
            total=len(rows),
            created_by=created_by,
            params={"through": max(pk for _, pk in rows)},
        )
        batches = (
            ScoreBatch(run=run, version=version, completion_ids=ids, size=len(ids)) for ids in _batches(rows)
        )
        for chunk in in_chunks(batches, 500):
            ScoreBatch.objects.bulk_create(chunk)
        record_run(run)
    return run


def plan_missing(dataset: Dataset) -> None:
    """Plan for every version that should have scored the dataset, and clear `needs_scoring`. An import that
    sets the flag meanwhile waits for this transaction, so the flag stays set."""
    with transaction.atomic():
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        for version in ModelVersion.objects.scoring_all():
            plan(dataset, version)
        Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=False)
        hand_over(dataset)


def hand_over(dataset: Dataset) -> bool:
    """Let the active version take over the Dataset from an earlier version, once it has scored all
    completions that it can. No page shows a pick of the active version before. Gives whether it took over."""
    active = ModelVersion.objects.active()
    if active is None or not Dataset.objects.filter(pk=dataset.pk, held_by__isnull=False).exists():
        return False
    runs = Run.objects.of_kind(Run.Kind.SCORE).filter(dataset=dataset, version=active)
    if runs.open().exists():
        return False
    if Completion.objects.of(dataset).lacking_score(active.pk).exists():
        can_fail = ScoreBatch.objects.failed().filter(run__in=runs).exists()
        if not can_fail or _unplanned(dataset, active):
            return False
    Dataset.objects.filter(pk=dataset.pk).update(held_by=None, queue_stale_since=timezone.now())
    return True


def _unplanned(dataset: Dataset, version: ModelVersion) -> list[tuple[int, int]]:
    """(prompt id, completion id), siblings together."""
    lacking = Completion.objects.of(dataset).lacking_score(version.pk)
    runs = Run.objects.of_kind(Run.Kind.SCORE).filter(dataset=dataset, version=version)
    through = max((run.params["through"] for run in runs.open()), default=0)
    failed = ScoreBatch.objects.failed().filter(run__in=runs).values_list("completion_ids", flat=True)
    failed_ids = set(itertools.chain.from_iterable(failed))
    rows = lacking.filter(pk__gt=through).values_list("prompt_id", "pk")
    return [(prompt, completion) for prompt, completion in rows if completion not in failed_ids]


def _batches(rows: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Lists of at most MAX_SIZE ids that keep the completions of a Prompt together where they fit, so that
    the engine can compare siblings."""
    batch: list[int] = []
    for _, siblings in itertools.groupby(rows, key=lambda row: row[0]):
        ids = [pk for _, pk in siblings]
        if batch and len(batch) + len(ids) > ScoreBatch.MAX_SIZE:
            yield batch
            batch = []
        batch += ids
        while len(batch) > ScoreBatch.MAX_SIZE:
            yield batch[: ScoreBatch.MAX_SIZE]
            batch = batch[ScoreBatch.MAX_SIZE :]
    if batch:
        yield batch


def begin_anew(dataset: Dataset, version: ModelVersion, created_by: User) -> Run:
    """A Run without batches, to compute Scores again that `version` has computed (see `add_anew`). The caller
    has begun the transaction. Until a new Score is there, the old one stays; a Run that is cancelled leaves
    both kinds, which are the same but for rounding, as a version is pinned."""
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    return Run.objects.create(
        kind=Run.Kind.SCORE,
        dataset=dataset,
        version=version,
        total=0,
        created_by=created_by,
        params={"through": 0, "anew": True},
    )


def add_anew(run: Run, rows: Sequence[tuple[int, int]]) -> None:
    """Give the Run of `begin_anew` more to score: (prompt id, completion id), siblings together. Completions
    that failed before are tried again, so their earlier failures are closed."""
    ScoreBatch.objects.bulk_create(
        ScoreBatch(run=run, version=run.version, completion_ids=ids, size=len(ids)) for ids in _batches(rows)
    )
    again = {completion for _, completion in rows}
    failed = ScoreBatch.objects.failed().filter(run__dataset=run.dataset, version=run.version)
    closed = [pk for pk, ids in failed.values_list("pk", "completion_ids") if again.issuperset(ids)]
    ScoreBatch.objects.filter(pk__in=closed).update(state=ScoreBatch.State.CANCELLED)
    run.total = (run.total or 0) + len(rows)
    run.save(update_fields=["total"])


def scored_anew(run: Run, prompts: Collection[int]) -> set[tuple[int, int]]:
    """(prompt id, completion id) of these Prompts that have a Score of the Run of `begin_anew`."""
    scores = Score.objects.filter(
        version=run.version, created_at__gte=run.created_at, completion__prompt__in=prompts
    )
    return set(scores.values_list("completion__prompt", "completion"))


# --- enqueue ------------------------------------------------------------------------------------------------


def due(enqueue_again: timedelta) -> list[int]:
    """Ids of batches to enqueue now, newest Dataset first, marked as enqueued. A message counts as lost after
    `enqueue_again`. Two reconcilers at once get different ids.

    At most ENQUEUE_AT_MOST messages are under way: a worker that finishes a batch asks for more, and a broker
    with a message for each of 400,000 batches would get the same messages again a minute later."""
    now = timezone.now()
    with transaction.atomic():
        free = ENQUEUE_AT_MOST - ScoreBatch.objects.enqueued(now, enqueue_again).count()
        stale = ScoreBatch.objects.stale(now, enqueue_again).filter(run__in=Run.objects.open())
        locked = stale.select_for_update(skip_locked=True, of=("self",))
        newest = locked.order_by("-run__dataset_id", "pk").values_list("pk", flat=True)
        ids = list(newest[: max(0, free)])
        ScoreBatch.objects.filter(pk__in=ids).update(enqueued_at=now)
    return ids


def not_enqueued(ids: Sequence[int]) -> None:
    """Note that no message could be sent for these batches, so that they are due at once."""
    if ids:
        ScoreBatch.objects.filter(pk__in=ids).update(enqueued_at=None)


# --- work ---------------------------------------------------------------------------------------------------


RenewLease = Callable[[], None]
"""Renews the lease on a batch; raises when the lease is lost."""


class BadScores(ValueError):
    """A model gave another number of scores than it was asked for."""


class LeaseLost(Exception):
    """Another worker took the batch over, or its Run was cancelled."""


def work(
    batch: ScoreBatch, score: Scorer, worker: str, lease_seconds: float, score_alone: Scorer | None = None
) -> bool:
    """Score one batch. Returns False when another worker has it.

    `score_alone` scores completions whose siblings are not all in the same call, and siblings that were
    scored before where their order is in doubt; by default `score` does. There, a model cannot settle the
    order of siblings by scoring them together.

    Stored Scores stay when the worker dies, so a second attempt scores only the missing completions. A text
    that the scorer names as bad is set apart at once; any other error hands the batch back for `split`.
    Raises OperationalError when the database's disk is full: no text is to blame, and halves would fail too.
    The batch is handed back, and its Run says why, if that can be written."""
    if not batch.lease(worker, lease_seconds):
        return False
    batch.run.start()
    if batch.run.error:
        batch.run.hold_up("")
    try:
        _score_all(batch, score, score_alone or score, worker, lease_seconds)
    except LeaseLost:
        return False
    except Exception as error:
        if isinstance(error, OperationalError) and is_disk_full(error):
            hand_back(batch, worker, DISK_IS_FULL, is_counted=False)
            batch.run.hold_up(DISK_IS_FULL)
            raise
        # An error of any model: the row says why, and the log where.
        log.warning("A batch of %s failed", batch.run, exc_info=True)
        unexpected = FAILED[Run.Kind.SCORE].format(error=type(error).__name__)
        hand_back(batch, worker, str(error) if is_for_people(error) else unexpected)
        split(batch.pk)
        return True
    _finish(batch, worker)
    return True


def _score_all(
    batch: ScoreBatch, score: Scorer, score_alone: Scorer, worker: str, lease_seconds: float
) -> None:
    scores = Score.objects.filter(completion=OuterRef("pk"), version=batch.version)
    if anew := batch.run if batch.run.params.get("anew") else None:
        scores = scores.filter(created_at__gte=anew.created_at)
    missing = Completion.objects.filter(~Exists(scores), pk__in=batch.completion_ids)
    completions = list(missing.select_related("prompt").order_by("prompt_id", "pk"))
    families = [list(family) for _, family in itertools.groupby(completions, key=lambda c: c.prompt_id)]
    sizes = Completion.objects.family_sizes([family[0].prompt_id for family in families])
    whole = [family for family in families if len(family) == sizes[family[0].prompt_id]]
    parted = [[c] for family in families if len(family) != sizes[family[0].prompt_id] for c in family]
    slices = [(score, part) for part in _slices(whole)] + [(score_alone, part) for part in _slices(parted)]

    def renew_lease() -> None:
        if not batch.renew(worker, lease_seconds):
            raise LeaseLost
        batch.run.heartbeat()

    # An earlier attempt may have stored Scores.
    scored = len(batch.completion_ids) - len(completions)
    for number, (scorer, part) in enumerate(slices):
        if number:
            renew_lease()
        batch.note(worker, scored)
        scored += _score_slice(batch, scorer, score_alone, part, renew_lease, anew)
    batch.note(worker, scored)


def _slices(families: Iterable[list[Completion]]) -> Iterator[list[Completion]]:
    """Whole families in lists of at most SLICE completions, or of one larger family."""
    completions: list[Completion] = []
    for family in families:
        if completions and len(completions) + len(family) > SLICE:
            yield completions
            completions = []
        completions = completions + family
    if completions:
        yield completions


def _score_slice(
    batch: ScoreBatch,
    score: Scorer,
    score_alone: Scorer,
    completions: list[Completion],
    renew_lease: RenewLease,
    anew: Run | None,
) -> int:
    """Score and store the completions. Gives how many were scored."""
    while completions:
        try:
            scored = _checked(score([pair_of(c) for c in completions]), len(completions))
            _store(batch.version, completions, scored, score_alone, renew_lease, anew)
        except BadText as bad:
            _set_apart(batch, completions.pop(bad.index), bad.reason)
            continue
        break
    return len(completions)


def _checked(scored: Sequence[Scored], expected: int) -> Sequence[Scored]:
    if len(scored) != expected:
        raise BadScores(f"the model gave {len(scored)} scores for {expected} texts")
    for index, result in enumerate(scored):
        if not math.isfinite(result.value):
            raise BadText(index, f"the model's output is {result.value}")
    return scored


def _store(
    version: ModelVersion,
    completions: Sequence[Completion],
    scored: Sequence[Scored],
    score_alone: Scorer,
    renew_lease: RenewLease,
    anew: Run | None = None,
) -> None:
    """Write Scores, and changed Scores of their siblings, in one transaction.

    Stored siblings were scored in another call. So before the write, each Score of the Prompt in bf16 that is
    too close to another Score is computed again in fp32; and once more when a sibling's Score was added or
    changed meanwhile. So the stored Scores of a Prompt are in the order of fp32 at every moment, and a worker
    that dies before the write has stored nothing. anew: the Run whose Scores take the place of those that
    there are. Raises BadText, with its place in `completions`, and the exceptions of `renew_lease`."""
    rows = [
        Score(
            completion=completion,
            version=version,
            value=result.value,
            precision=result.precision,
            prompt_cut=result.prompt_cut,
            completion_cut=result.completion_cut,
            input_digest=result.input_digest,
        )
        for completion, result in zip(completions, scored, strict=True)
    ]
    # Where no new Score is in bf16, siblings in fp32 stay as they are and are not read.
    precisions = {"bf16", "fp32"} if any(row.precision == "bf16" for row in rows) else {"bf16"}
    checked: dict[int, str] = {}
    changed: list[Score] = []
    while True:
        with transaction.atomic():
            held = _hold_siblings(version, completions, precisions, anew)
            if held == checked:
                _write(version, rows, changed, anew)
                return
        checked = held
        siblings = list(Score.objects.filter(pk__in=held).select_related("completion__prompt"))
        changed = _rescore_close_siblings(version, rows, siblings, score_alone, renew_lease)


def _hold_siblings(
    version: ModelVersion, completions: Sequence[Completion], precisions: set[str], anew: Run | None
) -> dict[int, str]:
    """Lock the Scores of these completions' Prompts until the transaction ends. Gives the precision, by
    primary key, of the Scores in `precisions` that stay."""
    if not version.exact_order:
        return {}
    prompts = {completion.prompt_id for completion in completions}
    # Locked: two workers that store completions of one Prompt would not see each other's Scores.
    Completion.objects.hold_families(prompts)
    held = Score.objects.filter(version=version, completion__prompt__in=prompts, precision__in=precisions)
    if anew:
        held = held.exclude(completion__in=completions)
    return dict(held.values_list("pk", "precision"))


def _rescore_close_siblings(
    version: ModelVersion,
    rows: list[Score],
    siblings: list[Score],
    score_alone: Scorer,
    renew_lease: RenewLease,
) -> list[Score]:
    """Compute again the Scores in bf16 that are too close to another Score of their Prompt, among unsaved
    `rows` and stored `siblings`, and change them there. Returns the changed siblings.

    A sibling that cannot be scored in fp32 keeps its Score. Raises BadText for such a row."""
    version.refresh_from_db(fields=["guard"])
    guard = math.inf if version.guard is None else version.guard
    # Prompts without stored siblings are left out: the model has put Scores of one call in order itself.
    prompts = {row.completion.prompt_id for row in siblings}
    # Siblings last, as the Score that another worker has stored stands.
    by_completion = {
        row.completion_id: row for row in [*rows, *siblings] if row.completion.prompt_id in prompts
    }
    candidates = list(by_completion.values())
    tried: set[int] = set()
    changed: list[Score] = []
    while close := [row for row in _close_in_bf16(candidates, guard) if row.completion_id not in tried]:
        tried |= {row.completion_id for row in close}
        for part in in_chunks(close, SLICE):
            renew_lease()
            for row, result in _scored_again(part, rows, score_alone):
                # Two Scores may err towards each other, each by as much.
                guard = max(guard, 2 * abs(result.value - row.value))
                row.value, row.precision = result.value, result.precision
                changed += [row] if row.pk else []
    return changed


def _close_in_bf16(rows: Sequence[Score], guard: float) -> list[Score]:
    """The Scores in bf16 that are within the guard of a sibling."""
    prompts = [row.completion.prompt_id for row in rows]
    near = near_siblings(prompts, np.array([row.value for row in rows]), guard)
    return [rows[index] for index in near if rows[index].precision == "bf16"]


def _scored_again(close: list[Score], rows: list[Score], score_alone: Scorer) -> list[tuple[Score, Scored]]:
    while close:
        try:
            scored = _checked(score_alone([pair_of(row.completion) for row in close]), len(close))
        except BadText as bad:
            row = close.pop(bad.index)
            if row.pk is None:
                raise BadText(rows.index(row), bad.reason) from None
            continue
        return list(zip(close, scored, strict=True))
    return []


def _write(version: ModelVersion, rows: list[Score], changed: list[Score], anew: Run | None = None) -> None:
    replaced = _make_room(anew, version, rows) if anew else []
    # Never overwritten: another worker that stored a Score first stored the same number.
    Score.objects.bulk_create(rows, ignore_conflicts=True)
    # The one exception: fp32 replaces bf16, once.
    Score.objects.filter(precision="bf16").bulk_update(changed, ["value", "precision"])
    PromptChange.objects.note_completions(row.completion_id for row in [*rows, *changed])
    changed_ids = [*(row.completion_id for row in changed), *replaced]
    suggestions.suggest(version, [row.completion_id for row in rows], changed_ids)


def _make_room(anew: Run, version: ModelVersion, rows: list[Score]) -> list[int]:
    """Delete the Scores that these rows replace, and count on the Run those with another value than rounding
    explains. Gives the completions whose Score has any other value."""
    old = Score.objects.filter(version=version, completion__in=[row.completion_id for row in rows])
    before = dict(old.values_list("completion", "value"))
    old.delete()
    moved = {
        row.completion_id: abs(row.value - before[row.completion_id])
        for row in rows
        if row.completion_id in before and row.value != before[row.completion_id]
    }
    rounding = max(ROUNDING, version.guard or 0)
    if more := sum(by > rounding for by in moved.values()):
        run = Run.objects.select_for_update().get(pk=anew.pk)
        run.params["changed"] = run.params.get("changed", 0) + more
        run.save(update_fields=["params"])
    return list(moved)


def _set_apart(batch: ScoreBatch, completion: Completion, reason: str) -> None:
    """Move one text out of the batch into a failed batch of its own."""
    with transaction.atomic():
        batch.completion_ids = [pk for pk in batch.completion_ids if pk != completion.pk]
        batch.size = len(batch.completion_ids)
        batch.save(update_fields=["completion_ids", "size"])
        ScoreBatch.objects.create(
            run=batch.run,
            version=batch.version,
            completion_ids=[completion.pk],
            size=1,
            state=ScoreBatch.State.FAILED,
            attempts=batch.attempts,
            error=reason,
            finished_at=timezone.now(),
        )


def _finish(batch: ScoreBatch, worker: str) -> None:
    held = ScoreBatch.objects.filter(pk=batch.pk, state=ScoreBatch.State.LEASED, worker=worker)
    held.update(state=ScoreBatch.State.DONE, finished_at=timezone.now(), error="")
    update_progress(batch.run)


def hand_back(batch: ScoreBatch, worker: str, error: str, is_counted: bool = True) -> None:
    """Give up the lease, with the reason. is_counted: False where the batch has no part in the failure."""
    held = ScoreBatch.objects.filter(pk=batch.pk, state=ScoreBatch.State.LEASED, worker=worker)
    held.update(
        state=ScoreBatch.State.WAITING,
        lease_until=None,
        enqueued_at=None,
        error=error[:2000],
        attempts=F("attempts") - (0 if is_counted else 1),
    )


def score_now(version: ModelVersion, completion_ids: Sequence[int], score: Scorer) -> int:
    """Score these Completions in this process and store the Scores, outside any Run. Completions with a
    Score, and completions that cannot be scored, are left out. Returns how many were scored."""
    missing = Completion.objects.filter(pk__in=completion_ids).lacking_score(version.pk)
    completions = list(missing.select_related("prompt"))
    while completions:
        try:
            scored = _checked(score([pair_of(c) for c in completions]), len(completions))
            _store(version, completions, scored, score, lambda: None)
        except BadText as bad:
            completions.pop(bad.index)
            continue
        break
    return len(completions)


# --- split --------------------------------------------------------------------------------------------------


def out_of_attempts() -> list[int]:
    """Ids of batches for `split`: with no attempt left and no worker."""
    batches = ScoreBatch.objects.out_of_attempts(timezone.now()).filter(run__in=Run.objects.open())
    return list(batches.values_list("pk", flat=True)[:ENQUEUE_AT_MOST])


def split(batch_id: int) -> None:
    """Split a batch that has no attempt left into halves; a batch of one text fails, with the reason.

    Each half gets one attempt, and a single text three. A text that kills its worker costs a lease an
    attempt; with three attempts at each level it would delay the other texts by an hour."""
    with transaction.atomic():
        batch = (
            ScoreBatch.objects.select_for_update().out_of_attempts(timezone.now()).filter(pk=batch_id).first()
        )
        if batch is None:
            return
        _split(batch) if batch.size > 1 else _give_up(batch)
    update_progress(batch.run)


def _split(batch: ScoreBatch) -> None:
    ids = batch.completion_ids
    scored = Score.objects.filter(version=batch.version, completion__in=ids)
    scored_ids = set(scored.values_list("completion_id", flat=True)) if batch.scored else set()
    for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
        ScoreBatch.objects.create(
            run=batch.run,
            version=batch.version,
            completion_ids=half,
            size=len(half),
            scored=len(scored_ids.intersection(half)),
            attempts=0 if len(half) == 1 else ScoreBatch.MAX_ATTEMPTS - 1,
        )
    _close(batch, ScoreBatch.State.SPLIT)


def _give_up(batch: ScoreBatch) -> None:
    if not batch.error:
        batch.error = f"No worker finished it in {batch.attempts} attempts: each died or ran out of time."
    _close(batch, ScoreBatch.State.FAILED)


def _close(batch: ScoreBatch, state: ScoreBatch.State) -> None:
    batch.state, batch.finished_at = state, timezone.now()
    batch.save(update_fields=["state", "finished_at", "error"])


# --- the Run ------------------------------------------------------------------------------------------------


def update_progress(run: Run) -> None:
    """Add up the progress of the Run's batches, and finish the Run when no batch is left."""
    scored = run.batches.scored()
    run.update_progress(scored)
    if not run.batches.unfinished().exists():
        failed = run.batches.failed().aggregate(
            all=Sum("size", default=0), empty=Sum("size", filter=Q(error=EMPTY_COMPLETION), default=0)
        )
        facts: RunResult = {"scored": scored, "failed": failed["all"]}
        if failed["empty"]:
            facts["empty"] = failed["empty"]
        if run.params.get("anew"):
            facts["changed"] = Run.objects.values_list("params__changed", flat=True).get(pk=run.pk) or 0
        run.finish(**facts)
        if run.dataset:
            hand_over(run.dataset)


@dataclass(frozen=True)
class Unscored:
    """Completions of a Dataset without a Score of a version, by reason. empty: they have no text. failed:
    they can't be scored for another reason, which `failed_run` has. waiting: their scoring goes on, or is not
    planned yet. cancelled: their scoring was `cancelled_run`."""

    empty: int
    failed: int
    waiting: int
    cancelled: int
    failed_run: int | None
    cancelled_run: Run | None


def unscored(dataset: Dataset, version: ModelVersion, count: int, open_runs: Iterable[Run]) -> Unscored:
    """Why `count` completions of the dataset have no Score of the version; `going` are its open Runs. Two
    queries at most."""
    runs = Run.objects.of_kind(Run.Kind.SCORE).filter(dataset=dataset, version=version)
    is_empty = Q(error=EMPTY_COMPLETION)
    failures = (
        ScoreBatch.objects.failed()
        .filter(run__in=runs)
        .aggregate(
            empty=Sum("size", filter=is_empty, default=0),
            failed=Sum("size", filter=~is_empty, default=0),
            run=Max("run", filter=~is_empty),
        )
    )
    not_tried = max(0, count - failures["empty"] - failures["failed"])
    goes_on = any(run.kind == Run.Kind.SCORE and run.version_id == version.pk for run in open_runs)
    latest = None if goes_on else runs.order_by("-pk").first()
    stopped = latest if not_tried and latest and latest.state == Run.State.CANCELLED else None
    waiting, cancelled = (0, not_tried) if stopped else (not_tried, 0)
    return Unscored(failures["empty"], failures["failed"], waiting, cancelled, failures["run"], stopped)


def worth_a_retry(run: Run) -> ScoreBatchQuerySet:
    """The failed batches of the Run that another try may score: an empty answer stays empty."""
    return run.batches.failed().exclude(error=EMPTY_COMPLETION)


def retry_failed(run: Run, by: User | None = None) -> int:
    """Give the Run's failed batches all their attempts again, and reopen the Run. Returns how many batches
    the Run has to do; the caller enqueues."""
    with transaction.atomic():
        worth_a_retry(run).update(state=ScoreBatch.State.WAITING, finished_at=None, lease_until=None)
        left = run.batches.unfinished().update(attempts=0, error="", enqueued_at=None)
        if left:
            run.reopen(run.batches.scored())
            record(Kind.RUN_RETRIED, by=by, dataset=run.dataset_id, target=run, word=Run.Kind.SCORE)
    return left


def score_here(
    run: Run, score: Scorer, worker: str, lease_seconds: float, score_alone: Scorer | None = None
) -> Iterator[int]:
    """Work through the Run's batches in this process, with no broker; yields the completions done so far."""
    for exhausted in run.batches.out_of_attempts(timezone.now()):
        split(exhausted.pk)
    while (batch := run.batches.claimable(timezone.now()).first()) is not None:
        work(batch, score, worker, lease_seconds, score_alone)
        run.refresh_from_db()
        yield run.done
