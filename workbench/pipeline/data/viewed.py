"""Pairs of a saved view come first in the annotators' queue: for everybody, or for people to whom the view is
given."""

from django.db import transaction
from django.utils import timezone

from workbench.db.bulk import given, in_chunks
from workbench.models import Comparison, Dataset, ModelVersion, SavedView, User, ViewPair
from workbench.pipeline.data import changes
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Selection, find
from workbench.pipeline.data.search import BadQuery
from workbench.pipeline.history.recording import Kind, record

ROWS_AT_ONCE = 1000


def put_view_first(dataset: Dataset) -> None:
    """Put the pairs that the Dataset's view finds now before all others, and no longer those that it found
    before. A view that can't be read any more, as of a metadata key that is no filter now, finds none."""
    changes.put_first(dataset, _pairs_of(dataset, dataset.first_view) if dataset.first_view else [])


def _pairs_of(dataset: Dataset, view: SavedView) -> list[int]:
    try:
        selection = Selection.parse(view.query, dataset.facet_keys)
        pairs: list[int] = find(dataset, selection, ModelVersion.objects.serving(dataset)).pairs.tolist()
    except (BadSelection, BadQuery):
        return []
    return pairs


def renew_given(dataset: Dataset) -> None:
    """Store which pairs the views find now that are given to people, as far as the pairs have free places."""
    views = SavedView.objects.filter(dataset=dataset)
    ViewPair.objects.filter(view__in=views.filter(given_to=None)).delete()
    for view in views.filter(given_to__isnull=False).distinct():
        stored = dict(ViewPair.objects.filter(view=view).values_list("comparison", "pk"))
        wanted: list[tuple[float, int]] = []
        for chunk in in_chunks(_pairs_of(dataset, view), ROWS_AT_ONCE):
            free = Comparison.objects.filter(pk__in=given(chunk)).unfilled(dataset.initial_overlap)
            wanted += free.order_by().values_list("random_rank", "pk")
        keys = {pk for _, pk in wanted}
        for gone in in_chunks([pk for pair, pk in stored.items() if pair not in keys], ROWS_AT_ONCE):
            ViewPair.objects.filter(pk__in=given(gone)).delete()
        new = [ViewPair(view=view, comparison_id=pk) for _, pk in sorted(wanted) if pk not in stored]
        # Another worker may write the same rows, and a pair may be deleted meanwhile, with its row.
        for rows in in_chunks(new, ROWS_AT_ONCE):
            with transaction.atomic():
                there = Comparison.objects.filter(pk__in=given(row.comparison_id for row in rows))
                locked = there.select_for_update(of=("self",), no_key=True).order_by("pk")
                alive = set(locked.values_list("pk", flat=True))
                ViewPair.objects.bulk_create(
                    [row for row in rows if row.comparison_id in alive], ignore_conflicts=True
                )


@transaction.atomic
def delete(view: SavedView, by: User | None = None) -> None:
    """Delete the view. Where its pairs come first, a worker puts them back in their order."""
    Dataset.objects.filter(first_view=view).update(queue_stale_since=timezone.now())
    record(Kind.VIEW_DELETED, by=by, dataset=view.dataset_id, target=view)
    view.delete()
