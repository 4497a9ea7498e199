"""Completions -> Scores, by way of ScoreBatch rows.

The rows are the queue of record. A message only says "there may be something to do"; whoever gets one leases
a row by a conditional UPDATE, and a message that is lost, doubled or late changes nothing:

1. `plan` writes a Run and its batches in one transaction.
2. `due` says which batches to ring for, the first time and again when a lease ran out.
3. `work` leases one batch, scores it outside any transaction, and stores Scores slice by slice; siblings that
   hold Scores in bf16 already are scored again where those leave the order open.
4. `split` takes batches that keep failing apart until the one bad text stands alone, `failed` with a reason.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from django.db import transaction
from django.db.models import F, Max, Q, Sum
from django.utils import timezone

from scoring.formats import EMPTY_COMPLETION, BadText, Pair, Scored, Scorer, flatten_messages
from scoring.guard import near_siblings
from workbench.db.bulk import in_chunks
from workbench.models import Completion, Dataset, ModelVersion, Run, Score, ScoreBatch, User
from workbench.pipeline.scoring import suggestions

ENQUEUE_AT_MOST = 100
SLICE = 64


def pair_of(completion: Completion) -> Pair:
    return flatten_messages(completion.prompt.messages), completion.text


# --- plan ---------------------------------------------------------------------------------------------------


def plan(dataset: Dataset, version: ModelVersion, created_by: User | None = None) -> Run | None:
    """A Run that scores what `version` has not scored of the dataset, or None when nothing is left to plan.

    What an open Run covers already is not planned twice, nor is a completion that failed before (its batch
    is retried by a person, see `retry_failed`)."""
    with transaction.atomic():
        # Two plans at once would both find the same completions lacking.
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        rows = _unplanned(dataset, version)
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
    return run


def plan_wanted(dataset: Dataset) -> None:
    """Plan for every version that should have scored the dataset, and note that it is done. Whatever comes
    meanwhile waits for this transaction, and asks again."""
    with transaction.atomic():
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        for version in ModelVersion.objects.wanted():
            plan(dataset, version)
        Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=False)
        hand_over(dataset)


def hand_over(dataset: Dataset) -> bool:
    """Let the active version serve the Dataset, where an earlier one still does, as soon as it has scored all
    that it can: until then no page has anything of it, and from then on everything. Whether it has."""
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
    known = set(itertools.chain.from_iterable(failed))
    rows = lacking.filter(pk__gt=through).values_list("prompt_id", "pk")
    return [row for row in rows if row[1] not in known]


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


# --- ring ---------------------------------------------------------------------------------------------------


def due(enqueue_again: timedelta) -> list[int]:
    """Ids of batches to enqueue now, newest Dataset first, noted as enqueued; their messages may be dropped
    after `enqueue_again`. Two reconcilers at once get different ids.

    No more than ENQUEUE_AT_MOST messages are under way: whoever finishes a batch asks again, and a broker
    that holds one message for each of 400,000 batches would only hold them twice after the next minute."""
    now = timezone.now()
    with transaction.atomic():
        places = ENQUEUE_AT_MOST - ScoreBatch.objects.enqueued(now, enqueue_again).count()
        stale = ScoreBatch.objects.stale(now, enqueue_again).filter(run__in=Run.objects.open())
        locked = stale.select_for_update(skip_locked=True, of=("self",))
        newest = locked.order_by("-run__dataset_id", "pk").values_list("pk", flat=True)
        ids = list(newest[: max(0, places)])
        ScoreBatch.objects.filter(pk__in=ids).update(enqueued_at=now)
    return ids


def not_enqueued(ids: Sequence[int]) -> None:
    """Note that no message could be sent for these batches, so that they are due at once."""
    if ids:
        ScoreBatch.objects.filter(pk__in=ids).update(enqueued_at=None)


# --- work ---------------------------------------------------------------------------------------------------


GoOn = Callable[[], None]
"""Keeps the lease on what takes long; raises when it is lost."""


class LeaseLost(Exception):
    """Another worker took the batch over, or its Run was cancelled."""


def work(
    batch: ScoreBatch, score: Scorer, worker: str, lease_seconds: float, score_alone: Scorer | None = None
) -> bool:
    """Score one batch. Returns False when somebody else has it.

    `score_alone` scores completions whose siblings are not all in the same call, and siblings that were
    scored before where their order is in doubt; by default as `score` does. A model that settles the order
    by looking at them together cannot do so then.

    What was stored stays when the worker dies, so a second attempt only scores what is missing. A text the
    scorer names as bad is set apart at once; any other error hands the batch back for `split`."""
    if not batch.lease(worker, lease_seconds):
        return False
    batch.run.start()
    try:
        _score_all(batch, score, score_alone or score, worker, lease_seconds)
    except LeaseLost:
        return False
    except Exception as error:  # noqa: BLE001  whatever a model raises is written on the row, not lost in a log
        hand_back(batch, worker, f"{type(error).__name__}: {error}")
        split(batch.pk)
        return True
    _finish(batch, worker)
    return True


def _score_all(
    batch: ScoreBatch, score: Scorer, score_alone: Scorer, worker: str, lease_seconds: float
) -> None:
    missing = Completion.objects.filter(pk__in=batch.completion_ids).exclude(scores__version=batch.version)
    completions = list(missing.select_related("prompt").order_by("prompt_id", "pk"))
    families = [list(family) for _, family in itertools.groupby(completions, key=lambda c: c.prompt_id)]
    sizes = Completion.objects.family_sizes([family[0].prompt_id for family in families])
    whole = [family for family in families if len(family) == sizes[family[0].prompt_id]]
    parted = [[c] for family in families if len(family) != sizes[family[0].prompt_id] for c in family]
    slices = [*((score, some) for some in _slices(whole)), *((score_alone, some) for some in _slices(parted))]

    def go_on() -> None:
        if not batch.renew(worker, lease_seconds):
            raise LeaseLost
        batch.run.heartbeat()

    # What an earlier attempt has stored is there already.
    scored = len(batch.completion_ids) - len(completions)
    for number, (scorer, some) in enumerate(slices):
        if number:
            go_on()
        batch.note(worker, scored)
        scored += _score_slice(batch, scorer, score_alone, some, go_on)
    batch.note(worker, scored)


def _slices(families: Iterable[list[Completion]]) -> Iterator[list[Completion]]:
    """Families end to end in lists of at most SLICE completions, or of one larger family."""
    some: list[Completion] = []
    for family in families:
        if some and len(some) + len(family) > SLICE:
            yield some
            some = []
        some = some + family
    if some:
        yield some


def _score_slice(
    batch: ScoreBatch, score: Scorer, score_alone: Scorer, completions: list[Completion], go_on: GoOn
) -> int:
    """How many of the completions were scored."""
    while completions:
        try:
            scored = _checked(score([pair_of(c) for c in completions]), len(completions))
            _store(batch.version, completions, scored, score_alone, go_on)
        except BadText as bad:
            _set_apart(batch, completions.pop(bad.index), bad.reason)
            continue
        break
    return len(completions)


def _checked(scored: Sequence[Scored], expected: int) -> Sequence[Scored]:
    if len(scored) != expected:
        raise ValueError(f"the model gave {len(scored)} scores for {expected} texts")
    for index, result in enumerate(scored):
        if not math.isfinite(result.value):
            raise BadText(index, f"the model's output is {result.value}")
    return scored


def _store(
    version: ModelVersion,
    completions: Sequence[Completion],
    scored: Sequence[Scored],
    score_alone: Scorer,
    go_on: GoOn,
) -> None:
    """Write Scores, and what they ask of their siblings, in one transaction.

    Siblings that hold Scores already were scored in another call. So before anything is written each of
    the Prompt's in bf16 that stands too close to another is scored again in fp32, and all over when a
    sibling's Score came or changed meanwhile. What is stored of a Prompt is in the order of fp32 at every
    moment, and a worker that dies on the way has stored nothing. Raises BadText, with its place in
    `completions`, and what `go_on` raises."""
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
    # Where nothing new is in bf16, siblings in fp32 are beyond doubt and not read.
    of_interest = {"bf16", "fp32"} if any(row.precision == "bf16" for row in rows) else {"bf16"}
    seen: dict[int, str] = {}
    again: list[Score] = []
    while True:
        with transaction.atomic():
            held = _hold_siblings(version, completions, of_interest)
            if held == seen:
                _write(version, rows, again)
                return
        seen = held
        siblings = list(Score.objects.filter(pk__in=held).select_related("completion__prompt"))
        again = _rescore_close_siblings(version, rows, siblings, score_alone, go_on)


def _hold_siblings(
    version: ModelVersion, completions: Sequence[Completion], precisions: set[str]
) -> dict[int, str]:
    """Hold the Scores of these completions' Prompts as they are until the transaction ends; the precision,
    by primary key, of each that is one of `precisions`."""
    if not version.exact_order:
        return {}
    prompts = {completion.prompt_id for completion in completions}
    # Of two workers that store completions of one Prompt neither would see the other's: the second waits.
    Completion.objects.hold_families(prompts)
    held = Score.objects.filter(version=version, completion__prompt__in=prompts, precision__in=precisions)
    return dict(held.values_list("pk", "precision"))


def _rescore_close_siblings(
    version: ModelVersion, rows: list[Score], siblings: list[Score], score_alone: Scorer, go_on: GoOn
) -> list[Score]:
    """Score again what bf16 leaves too close to another Score of its Prompt, among unsaved `rows` and stored
    `siblings`, and change it there. Returns the siblings that were changed.

    A sibling that cannot be scored in fp32 keeps what it has; for one of `rows` BadText is raised."""
    version.refresh_from_db(fields=["guard"])
    guard = math.inf if version.guard is None else version.guard
    # Prompts without siblings are left out: what was scored in one call the model has put in order itself.
    prompts = {row.completion.prompt_id for row in siblings}
    # In this order: what another worker stored first stands.
    known = {row.completion_id: row for row in [*rows, *siblings] if row.completion.prompt_id in prompts}
    tried: set[int] = set()
    changed: list[Score] = []
    while todo := [row for row in _doubtful(list(known.values()), guard) if row.completion_id not in tried]:
        tried |= {row.completion_id for row in todo}
        for start in range(0, len(todo), SLICE):
            go_on()
            for row, result in _scored_again(todo[start : start + SLICE], rows, score_alone):
                # Two may err towards each other, each by as much.
                guard = max(guard, 2 * abs(result.value - row.value))
                row.value, row.precision = result.value, result.precision
                changed += [row] if row.pk else []
    return changed


def _doubtful(rows: Sequence[Score], guard: float) -> list[Score]:
    """Those in bf16 that stand within the guard of a sibling."""
    prompts = [row.completion.prompt_id for row in rows]
    near = near_siblings(prompts, np.array([row.value for row in rows]), guard)
    return [rows[index] for index in near if rows[index].precision == "bf16"]


def _scored_again(some: list[Score], rows: list[Score], score_alone: Scorer) -> list[tuple[Score, Scored]]:
    while some:
        try:
            scored = _checked(score_alone([pair_of(row.completion) for row in some]), len(some))
        except BadText as bad:
            row = some.pop(bad.index)
            if row.pk is None:
                raise BadText(rows.index(row), bad.reason) from None
            continue
        return list(zip(some, scored, strict=True))
    return []


def _write(version: ModelVersion, rows: list[Score], again: list[Score]) -> None:
    # Never overwritten: whoever stored a Score first stored the same number.
    Score.objects.bulk_create(rows, ignore_conflicts=True)
    # But for this: one in bf16 becomes what fp32 says, once.
    Score.objects.filter(precision="bf16").bulk_update(again, ["value", "precision"])
    suggestions.suggest(version, [row.completion_id for row in rows], [row.completion_id for row in again])


def _set_apart(batch: ScoreBatch, completion: Completion, reason: str) -> None:
    """Leave one text out of the batch, as a failed batch of its own."""
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
    """Give the lease up, with the reason. The attempt stays counted, unless the batch had no part in it."""
    held = ScoreBatch.objects.filter(pk=batch.pk, state=ScoreBatch.State.LEASED, worker=worker)
    held.update(
        state=ScoreBatch.State.WAITING,
        lease_until=None,
        enqueued_at=None,
        error=error[:2000],
        attempts=F("attempts") - (0 if is_counted else 1),
    )


def score_now(version: ModelVersion, completion_ids: Sequence[int], score: Scorer) -> int:
    """Score these Completions here and now and store that, outside any Run; those that have a Score, or that
    cannot be scored, are left out. Returns how many were scored."""
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


# --- split
# ---------------------------------------------------------------------------------------------------


def out_of_attempts() -> list[int]:
    """Ids of batches with no attempt left and no worker on them: for `split`."""
    worn = ScoreBatch.objects.out_of_attempts(timezone.now()).filter(run__in=Run.objects.open())
    return list(worn.values_list("pk", flat=True)[:ENQUEUE_AT_MOST])


def split(batch_id: int) -> None:
    """Split a batch that has no attempt left into halves; a batch of one fails, with the reason.

    The halves get one attempt each and a single text three: a text that kills its worker costs a lease per
    attempt, and with three at each level it would hold the rest up for an hour."""
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
    have = set(scored.values_list("completion_id", flat=True)) if batch.scored else set()
    for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
        ScoreBatch.objects.create(
            run=batch.run,
            version=batch.version,
            completion_ids=half,
            size=len(half),
            scored=len(have.intersection(half)),
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
    """Bring the Run's progress up to its batches, and end it when none is left to do."""
    scored = run.batches.scored()
    run.update_progress(scored)
    if not run.batches.unfinished().exists():
        failed = run.batches.failed().aggregate(
            all=Sum("size", default=0), empty=Sum("size", filter=Q(error=EMPTY_COMPLETION), default=0)
        )
        empty = {"empty": failed["empty"]} if failed["empty"] else {}
        run.finish(scored=scored, failed=failed["all"], **empty)
        if run.dataset:
            hand_over(run.dataset)


@dataclass(frozen=True)
class Unscored:
    """Why completions of a Dataset have no Score of a version: `empty` have no text, `failed` can't be scored
    for another reason, told by `failed_run`; the scoring of `waiting` goes on, or is still to be planned;
    that of `cancelled` was `cancelled_run`."""

    empty: int
    failed: int
    waiting: int
    cancelled: int
    failed_run: int | None
    cancelled_run: Run | None


def unscored(dataset: Dataset, version: ModelVersion, count: int, going: Iterable[Run]) -> Unscored:
    """Why `count` completions of the dataset have no Score of the version; `going` are its open Runs. Two
    queries at most."""
    runs = Run.objects.of_kind(Run.Kind.SCORE).filter(dataset=dataset, version=version)
    is_empty = Q(error=EMPTY_COMPLETION)
    told = (
        ScoreBatch.objects.failed()
        .filter(run__in=runs)
        .aggregate(
            empty=Sum("size", filter=is_empty, default=0),
            failed=Sum("size", filter=~is_empty, default=0),
            run=Max("run", filter=~is_empty),
        )
    )
    rest = max(0, count - told["empty"] - told["failed"])
    goes_on = any(run.kind == Run.Kind.SCORE and run.version_id == version.pk for run in going)
    latest = None if goes_on else runs.order_by("-pk").first()
    stopped = latest if rest and latest and latest.state == Run.State.CANCELLED else None
    waiting, cancelled = (0, rest) if stopped else (rest, 0)
    return Unscored(told["empty"], told["failed"], waiting, cancelled, told["run"], stopped)


def retry_failed(run: Run) -> int:
    """Give the Run's failed batches all their attempts again, and open the Run. Returns how many batches are
    to do; the caller rings."""
    with transaction.atomic():
        run.batches.failed().update(state=ScoreBatch.State.WAITING, finished_at=None, lease_until=None)
        left = run.batches.unfinished().update(attempts=0, error="", enqueued_at=None)
        if left:
            run.reopen(run.batches.scored())
    return left


def score_here(
    run: Run, score: Scorer, worker: str, lease_seconds: float, score_alone: Scorer | None = None
) -> Iterator[int]:
    """Work through the Run's batches in this process, with no broker; yields completions done so far."""
    for worn in run.batches.out_of_attempts(timezone.now()):
        split(worn.pk)
    while (batch := run.batches.claimable(timezone.now()).first()) is not None:
        work(batch, score, worker, lease_seconds, score_alone)
        run.refresh_from_db()
        yield run.done
