"""Deleting a Dataset as a Run. It is hidden and its name is free from the moment that this is ordered; the
rows then go in steps that each are one short transaction, so that a worker that dies leaves the rest to the
next. The Run belongs to no Dataset, and stays as the record of who deleted what."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from workbench.db.removal import delete_at_once, delete_with_dependants
from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Delivery,
    Event,
    Judgment,
    ModelVersion,
    Prompt,
    PromptChange,
    PromptKey,
    Run,
    ScoreBatch,
    User,
)
from workbench.pipeline import imports
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.model import adding
from workbench.pipeline.quality import charts
from workbench.pipeline.releases.building import clear_storage
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Cancelled
from workbench.pipeline.text import leakage
from workbench.pipeline.vectors import store as vectors

COMPARISONS = 1_000
PROMPTS = 250
KEYS = 20_000
EVENTS = 5_000
RUNS = 50
"""Rows of a step: what hangs on them goes with them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extent:
    """What a deletion takes away, and which models stay although they were trained on it."""

    prompts: int
    comparisons: int
    votes: int
    people: int
    labels: int
    releases: int
    files: int
    uploads: int
    models: list[str]

    def as_result(self) -> dict[str, int]:
        """The numbers, for the Run to keep."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


def extent(dataset: Dataset) -> Extent:
    """What would go now."""
    judgments = Judgment.objects.of(dataset).order_by()
    by_people = judgments.by_people()
    manifests = dataset.releases.ready().values_list("manifest__files", flat=True)
    trained = ModelVersion.objects.filter(release__dataset=dataset).order_by("pk")
    return Extent(
        prompts=dataset.prompts.count(),
        comparisons=dataset.comparisons.count(),
        votes=by_people.count(),
        people=by_people.values("annotator").distinct().count(),
        labels=judgments.labels().count(),
        releases=len(manifests),
        files=sum(len(files) + 1 for files in manifests),  # and the manifest itself
        uploads=dataset.uploads.count(),
        models=list(trained.values_list("name", flat=True)),
    )


def begin(dataset: Dataset, by: User) -> Run | None:
    """The Run that will delete the dataset; None when somebody has ordered that already. Its other Runs are
    cancelled first, in a transaction of their own: an import holds the Dataset until it notices."""
    lifecycle.cancel_all(dataset)
    size = extent(dataset)
    with transaction.atomic():
        held = Dataset.objects.not_deleted().select_for_update().filter(pk=dataset.pk).first()
        if held is None:
            return None
        run = Run.objects.create(
            kind=Run.Kind.DELETE,
            created_by=by,
            params={"dataset": held.pk, "name": held.name, "goes": size.as_result()},
        )
        record(Kind.DATASET_DELETED, by=by, dataset=held, target=held)
        now = timezone.now()
        Dataset.objects.filter(pk=held.pk).update(
            deleted_at=now, archived_at=now, name=f"deleted {uuid4()}", frozen=False, held_by=None
        )
    log.warning("%s: user %s ordered the deletion of dataset %s, %r", run, by.pk, held.pk, held.name)
    return run


def carry_out(run: Run, is_stopping: Callable[[], bool] = lambda: False) -> None:
    """Delete the dataset of a started Run, or what an earlier attempt has left of it, and finish the Run.
    Raises Cancelled when another worker has the Run, or this one is to end (`is_stopping`)."""
    dataset = Dataset.objects.filter(pk=run.params["dataset"]).first()
    if dataset is not None:
        left = dataset.comparisons.count() + dataset.prompts.count()
        total = run.total or left
        done = total - left
        for deleted in _steps(dataset):
            done += deleted
            if not run.update_progress(done, total) or is_stopping():
                raise Cancelled
    run.finish(**run.params["goes"])
    log.warning("%s: Dataset %s, %r, is deleted", run, run.params["dataset"], run.params["name"])


def _steps(dataset: Dataset) -> Iterator[int]:
    """Delete step by step; gives how many Comparisons and Prompts each has removed. Files go before the rows
    that name them: a row whose file is gone is found again, a file whose row is gone never is."""
    lifecycle.cancel_all(dataset)
    yield from _rows(dataset.comparisons.all(), COMPARISONS)
    yield from _rows(dataset.prompts.all(), PROMPTS)
    for _ in _keys(dataset):
        yield 0
    delete_at_once(PromptChange.objects.filter(dataset=dataset))
    for _ in _events(dataset):
        yield 0
    for release in dataset.releases.defer("manifest"):
        clear_storage(release)
        with transaction.atomic():
            # The model stays, and so does what it has learnt, which is on record by itself.
            ModelVersion.objects.filter(release=release).update(release=None)
            release.downloads.all().delete()
            release.delete()
        yield 0
    for upload in dataset.uploads.all():
        imports.delete_files(upload)
        upload.delete()
        yield 0
    while runs := list(dataset.runs.order_by("pk")[:RUNS]):
        for run in runs:
            leakage.delete_files(run)
            adding.delete_files(run)
        keys = [run.pk for run in runs]
        with transaction.atomic():
            delete_at_once(ScoreBatch.objects.filter(run__in=keys))
            Run.objects.filter(pk__in=keys).delete()
        yield 0
    charts.delete_files(dataset)
    vectors.delete_files(dataset.pk)
    dataset.delete()


def _rows(rows: QuerySet[Comparison] | QuerySet[Prompt], size: int) -> Iterator[int]:
    """Delete the rows, each with all rows that depend on it."""
    last = 0
    while keys := _step(rows.filter(pk__gt=last).order_by("pk")[:size]):
        last = keys[-1]
        yield len(keys)


@transaction.atomic
def _step(rows: QuerySet[Comparison] | QuerySet[Prompt]) -> list[int]:
    # Locked: somebody who votes on one at this moment waits, and then finds it gone.
    keys = list(rows.select_for_update().values_list("pk", flat=True))
    if keys:
        label_sources = _label_sources(keys) if rows.model is Comparison else []
        delete_with_dependants(rows.model, keys, Comparison)
        _delete_silent(label_sources)
    return keys


def _label_sources(keys: list[int]) -> list[int]:
    """Label sources with labels on these Comparisons."""
    judged = Annotator.objects.filter(user=None, judgments__comparison__in=keys)
    return list(judged.values_list("pk", flat=True).distinct())


def _delete_silent(label_sources: list[int]) -> None:
    """Delete the label sources without any label or Flag. A label source that an import holds locked
    stays."""
    silent = Annotator.objects.filter(pk__in=label_sources, judgments=None, flags=None).values("pk")
    free = Annotator.objects.filter(pk__in=silent).select_for_update(skip_locked=True)
    delete_at_once(Annotator.objects.filter(pk__in=list(free.values_list("pk", flat=True))))


def _events(dataset: Dataset) -> Iterator[None]:
    """Delete the events for webhooks with their deliveries, some at a time."""
    while keys := list(Event.objects.filter(dataset=dataset).values_list("pk", flat=True)[:EVENTS]):
        with transaction.atomic():
            delete_at_once(Delivery.objects.filter(event__in=keys))
            delete_at_once(Event.objects.filter(pk__in=keys))
        yield


def _keys(dataset: Dataset) -> Iterator[None]:
    """Delete the near-duplicate keys, a range at a time."""
    least = -(2**63)
    while True:
        remaining = PromptKey.objects.filter(dataset_id=dataset.pk, key__gte=least).order_by("key")
        border = remaining.values_list("key", flat=True)[KEYS : KEYS + 1].first()
        delete_at_once((remaining if border is None else remaining.filter(key__lt=border)).order_by())
        if border is None:
            return
        least = border
        yield
