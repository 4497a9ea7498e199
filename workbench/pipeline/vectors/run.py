"""The Run that computes the vectors which the texts of a Dataset lack.

Rows of vectors are published chunk by chunk, so a Run that is killed, cancelled or handed back goes on where
it was. A worker stops after a while and lets another Run or batch have its turn."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Substr
from django.utils import timezone

from scoring.messages import message_reading
from workbench.db.bulk import in_chunks
from workbench.models import Completion, Dataset, Prompt, Run, User
from workbench.pipeline.runs.progress import Cancelled, Refused
from workbench.pipeline.vectors import store
from workbench.pipeline.vectors.store import KINDS, Keys, Kind, Vectors

CHUNK = 256
LONGEST = 8_000
"""Characters of a text that the encoder gets; it reads fewer tokens than that."""
TURN_SECONDS = 60.0


@dataclass(frozen=True)
class Encoder:
    """`identity`: a digest that changes with the weights, and with how texts are read. `encode`: N texts ->
    (N, width)."""

    identity: str
    encode: Callable[[Sequence[str]], Vectors]


# --- beginning ----------------------------------------------------------------------------------------------


def begin(dataset: Dataset, encoder: str = "", by: User | None = None) -> Run:
    """The Run that will compute the missing vectors: the open one, else a new one."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        under_way = Run.objects.of(dataset).of_kind(Run.Kind.VECTORS).open().first()
        params = {"encoder": encoder}
        return under_way or Run.objects.create(
            kind=Run.Kind.VECTORS, dataset=dataset, created_by=by, params=params
        )


def begin_if_stale(dataset: Dataset, encoder: str) -> Run | None:
    """A new Run where texts lack a vector of this encoder; None while a Run is open, and where the last one
    has failed or was cancelled and nothing is new."""
    last = Run.objects.of(dataset).of_kind(Run.Kind.VECTORS).order_by("-pk").first()
    if last is not None and (last.is_open or not _may_be_stale(dataset, last, encoder)):
        return None
    now = timezone.now()
    if store.current(dataset.pk) == encoder and not lacking(dataset):
        if last is not None:
            # So that the texts are not counted again each time that somebody looks.
            params = last.params | {"checked_at": now.isoformat()}
            Run.objects.filter(pk=last.pk).update(params=params)
        return None
    return begin(dataset, encoder) if Prompt.objects.of(dataset).exists() else None


def _may_be_stale(dataset: Dataset, last: Run, encoder: str) -> bool:
    if last.params.get("encoder") != encoder:
        return True
    if last.state == Run.State.DONE and store.current(dataset.pk) is None:
        return True
    checked = last.params.get("checked_at")
    since = datetime.fromisoformat(checked) if checked else last.started_at or last.created_at
    # New Completions are scored, whatever brought them; and an import may bring Prompts alone.
    imported = Q(kind=Run.Kind.IMPORT, state=Run.State.DONE, finished_at__gte=since)
    scored = Q(kind=Run.Kind.SCORE, created_at__gte=since)
    return Run.objects.of(dataset).filter(imported | scored).exists()


def lacking(dataset: Dataset) -> int:
    """How many texts have no vector of the current encoder; too few where texts were deleted."""
    texts = Prompt.objects.of(dataset).count() + Completion.objects.of(dataset).count()
    return max(0, texts - sum(store.counts(dataset.pk).values()))


# --- carrying out -------------------------------------------------------------------------------------------


def carry_out(
    run: Run,
    load: Callable[[], Encoder],
    is_stopping: Callable[[], bool] = lambda: False,
    seconds: float = TURN_SECONDS,
) -> bool:
    """Compute the missing vectors of a started Run and finish it. False where the Run is handed back after
    `seconds`, to go on later. Raises Cancelled; published rows stay."""
    dataset = run.dataset
    if dataset is None:
        raise Refused("The dataset is gone.")
    ends = time.monotonic() + seconds
    encoder = load()
    if store.current(dataset.pk) is None:
        store.adopt(dataset.pk, encoder.identity)
    try:
        is_done = _compute(run, dataset, encoder, is_stopping, ends)
    except Cancelled:
        if not Dataset.objects.not_deleted().filter(pk=dataset.pk).exists():
            store.delete_files(dataset.pk)
        raise
    if not is_done:
        run.hand_back()
        return False
    store.adopt(dataset.pk, encoder.identity)
    run.finish(texts=run.done)
    return True


def _compute(
    run: Run, dataset: Dataset, encoder: Encoder, is_stopping: Callable[[], bool], ends: float
) -> bool:
    """Publish the missing rows; False where the time is up first."""
    missing = {kind: _missing(dataset, encoder.identity, kind) for kind in KINDS}
    todo = sum(len(keys) for _, keys in missing.values())
    total = Prompt.objects.of(dataset).count() + Completion.objects.of(dataset).count()
    done = total - todo
    # The pace of this turn is that of the texts encoded in it.
    run.params = run.params | {"encoder": encoder.identity, "done_before": done}
    Run.objects.filter(pk=run.pk).update(params=run.params)
    if not run.update_progress(done, total):
        raise Cancelled
    for kind, (stored, keys) in missing.items():
        rows = stored
        for chunk in in_chunks(keys.tolist(), CHUNK):
            found, texts = _texts(kind, chunk)
            if texts:
                vectors = _normalised(encoder.encode(texts), len(texts))
                rows = store.append(dataset.pk, encoder.identity, kind, rows, found, vectors)
            done += len(chunk)
            if not run.update_progress(done, total) or is_stopping():
                raise Cancelled
            if time.monotonic() > ends and done < total:
                return False
    run.done = done
    return True


def _missing(dataset: Dataset, encoder: str, kind: Kind) -> tuple[int, Keys]:
    """(number of stored rows, primary keys of the texts that have none)."""
    stored = store.rows(dataset.pk, kind, encoder)
    rows = Prompt.objects.of(dataset) if kind == "prompts" else Completion.objects.of(dataset)
    pks: Iterator[int] = rows.order_by().values_list("pk", flat=True).iterator(chunk_size=10_000)
    keys = np.fromiter(pks, dtype=np.int64)
    return (len(stored), np.setdiff1d(keys, stored.keys[:, 0])) if stored else (0, np.sort(keys))


def _texts(kind: Kind, keys: Sequence[int]) -> tuple[Keys, list[str]]:
    """(keys of the texts and their Prompts (N, 2), texts), without what was deleted meanwhile."""
    rows: list[tuple[int, int, str]]
    if kind == "prompts":
        prompts = Prompt.objects.filter(pk__in=keys).order_by("pk").values_list("pk", "messages")
        rows = [(pk, pk, text_of_prompt(messages)) for pk, messages in prompts.iterator(chunk_size=32)]
    else:
        shortened = (
            Completion.objects.filter(pk__in=keys).order_by("pk").annotate(start=Substr("text", 1, LONGEST))
        )
        rows = list(shortened.values_list("pk", "prompt", "start"))
    found = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    return found, [text for *_, text in rows]


def text_of_prompt(messages: Sequence[dict[str, object]]) -> str:
    """The messages of a Prompt, the last first: an encoder cuts the end of a long text, and what is asked
    stands in the last message."""
    return "\n\n".join(message_reading(message) for message in reversed(messages))[:LONGEST]


def _normalised(vectors: Vectors, size: int) -> Vectors:
    """Rows of length 1; zeros for a row that the encoder made infinite or NaN, or that is zero."""
    exact = np.asarray(vectors, dtype=np.float32)
    if exact.ndim != 2 or len(exact) != size:
        raise Refused(f"The encoder gave vectors of the shape {exact.shape} for {size} texts.")
    exact = np.where(np.isfinite(exact).all(axis=1, keepdims=True), exact, 0)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    normalised: Vectors = (exact / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return normalised
