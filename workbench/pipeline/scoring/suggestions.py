"""Scores -> Suggestions: what a ModelVersion says of each Comparison, by which queues are ordered."""

from collections.abc import Collection

from django.db.models import Exists, F, FloatField, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from workbench.models import Comparison, Completion, Dataset, ModelVersion, Prompt, Score, Suggestion
from workbench.pipeline.annotate import queue

CHUNK = 5_000


def _write(comparisons: list[tuple[int, float]], version: ModelVersion) -> int:
    rows = [Suggestion(comparison_id=pk, version=version, margin=margin) for pk, margin in comparisons]
    Suggestion.objects.bulk_create(rows, ignore_conflicts=True, batch_size=CHUNK)
    return len(rows)


def _score(side: str, version: ModelVersion) -> Subquery:
    scores = Score.objects.filter(completion=OuterRef(f"{side}_id"), version=version)
    return Subquery(scores.values("value")[:1], output_field=FloatField())


def why_none(comparison: Comparison, version: ModelVersion | None) -> str:
    """Why the version makes no Suggestion of a Comparison that it has scored; "" where it makes one, or lacks
    a Score, or is a baseline. One query."""
    if version is None:
        return ""
    scores = list(version.scores.filter(completion__in=[comparison.a_id, comparison.b_id]))
    if len(scores) < 2 or scores[0].input_digest is None or scores[0].input_digest != scores[1].input_digest:
        return ""
    if any(score.prompt_cut or score.completion_cut for score in scores):
        return f"The model reads only {version.max_length} tokens, and both answers are the same up to there."
    return "Both answers read the same to the model."


def suggest(version: ModelVersion, completion_ids: Collection[int], changed_ids: Collection[int] = ()) -> int:
    """Write the Suggestions of `version` that the Scores of these completions make possible: those
    Comparisons with both sides scored and no Suggestion yet, unless both read the same to the model; and anew
    those that rest on Scores of `changed_ids`. Safe to repeat. Returns how many were written."""
    every = [*completion_ids, *changed_ids]
    touched = Comparison.objects.filter(Q(a__in=every) | Q(b__in=every))
    written = _suggest(touched, version) + (_renew(touched, version) if changed_ids else 0)
    if written and version.activated_at:
        for dataset in Dataset.objects.filter(Exists(touched.filter(dataset=OuterRef("pk")))):
            own = touched.filter(dataset=dataset).order_by().values_list("prompt__group", flat=True)
            queue.renew(dataset, list(own.distinct()))
    return written


def suggest_all(dataset: Dataset, version: ModelVersion) -> int:
    """As `suggest`, for every Comparison of the dataset: for Comparisons made after their Scores were. Runs
    with the Dataset locked, so that no import brings completions meanwhile."""
    comparisons = Comparison.objects.filter(dataset=dataset)
    if version.exact_order:
        _hold_changing(comparisons.exclude(suggestions__version=version), version)
    written = _suggest(comparisons, version)
    if written and version.activated_at:
        Dataset.objects.filter(pk=dataset.pk).update(queue_stale_since=timezone.now())
    return written


def _hold_changing(comparisons: QuerySet[Comparison], version: ModelVersion) -> None:
    """Hold the Prompts of these whose Scores may change, as completions are still to be scored: a Suggestion
    made of what they were would not be seen by the worker that changes them."""
    unscored = Completion.objects.filter(prompt=OuterRef("pk")).exclude(scores__version=version)
    wanting = Exists(comparisons.filter(prompt=OuterRef("pk")))
    Completion.objects.hold_families(Prompt.objects.filter(wanting, Exists(unscored)).order_by().values("pk"))


def _read_alike(version: ModelVersion) -> Exists:
    """Whether the version has read the same tokens of both completions of a Comparison: both were cut, or
    flattened, to the same text."""
    a = Score.objects.filter(completion=OuterRef(OuterRef("a_id")), version=version).values("input_digest")[
        :1
    ]
    return Exists(
        Score.objects.filter(completion=OuterRef("b_id"), version=version, input_digest=Subquery(a))
    )


def _renew(comparisons: QuerySet[Comparison], version: ModelVersion) -> int:
    margin = _score("comparison__a", version) - _score("comparison__b", version)
    own = Suggestion.objects.filter(version=version, comparison__in=comparisons)
    changed = own.annotate(now=margin).exclude(now=F("margin")).values_list("pk", "now")
    stale = [Suggestion(pk=pk, margin=now) for pk, now in changed]
    return Suggestion.objects.bulk_update(stale, ["margin"], batch_size=CHUNK)


def _suggest(comparisons: QuerySet[Comparison], version: ModelVersion) -> int:
    # Both sides in one query: a margin is NULL until the second Score is there.
    margins = comparisons.exclude(suggestions__version=version).annotate(
        margin=_score("a", version) - _score("b", version)
    )
    told = margins.filter(~_read_alike(version), margin__isnull=False)
    missing = told.order_by("pk").values_list("pk", "margin")
    written, last = 0, 0
    while chunk := list(missing.filter(pk__gt=last)[:CHUNK]):
        written += _write(chunk, version)
        last = chunk[-1][0]
    return written
