"""Scores -> Suggestions: the pick of a ModelVersion for each Comparison, which orders the queues."""

from collections.abc import Collection
from dataclasses import dataclass

import orjson
from django.db import connection, transaction
from django.db.models import Exists, F, FloatField, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from workbench.db.bulk import in_chunks
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    ModelVersion,
    Prompt,
    PromptChange,
    Score,
    Suggestion,
)
from workbench.pipeline.annotate import queue

CHUNK = 5_000


def _score(side: str, version: ModelVersion) -> Subquery:
    scores = Score.objects.filter(completion=OuterRef(f"{side}_id"), version=version)
    return Subquery(scores.values("value")[:1], output_field=FloatField())


def why_none(comparison: Comparison, version: ModelVersion | None) -> str:
    """Why the version makes no Suggestion for a Comparison that it has scored; "" where it makes one, lacks a
    Score, or is a baseline. One query."""
    if version is None:
        return ""
    scores = list(version.scores.filter(completion__in=[comparison.a_id, comparison.b_id]))
    if len(scores) < 2 or scores[0].input_digest is None or scores[0].input_digest != scores[1].input_digest:
        return ""
    if any(score.prompt_cut or score.completion_cut for score in scores):
        return f"The model reads only {version.max_length} tokens, and both answers are the same up to there."
    return "Both answers read the same to the model."


def suggest(version: ModelVersion, completion_ids: Collection[int], changed_ids: Collection[int] = ()) -> int:
    """Write the Suggestions of `version` for Comparisons of these completions that have both Scores and no
    Suggestion, unless both completions read the same to the model. Renew the Suggestions of `changed_ids`,
    whose Scores have changed. Safe to repeat. Returns how many were written."""
    scored_ids = [*completion_ids, *changed_ids]
    touched = Comparison.objects.filter(Q(a__in=scored_ids) | Q(b__in=scored_ids))
    written = _suggest(touched, version) + (_renew(touched, version) if changed_ids else 0)
    if written and version.activated_at:
        for dataset in Dataset.objects.filter(Exists(touched.filter(dataset=OuterRef("pk")))):
            groups = touched.filter(dataset=dataset).order_by().values_list("prompt__group", flat=True)
            queue.renew(dataset, list(groups.distinct()))
    return written


def suggest_all(dataset: Dataset, version: ModelVersion) -> int:
    """`suggest` for every Comparison of the dataset, as Comparisons may be newer than their Scores. The
    caller has locked the Dataset, so that no import adds completions meanwhile."""
    comparisons = Comparison.objects.filter(dataset=dataset)
    if version.exact_order:
        _hold_changing(comparisons.exclude(suggestions__version=version), version)
    written = _suggest(comparisons, version)
    if written and version.activated_at:
        Dataset.objects.filter(pk=dataset.pk).update(queue_stale_since=timezone.now())
    return written


def suggest_new(dataset: Dataset, pks: Collection[int]) -> None:
    """Write every version's Suggestions of new Comparisons (primary keys) from the Scores that there are, and
    put the Comparisons into the order of the queue. The caller locks the Dataset and notes the change."""
    versions = [version for version in ModelVersion.objects.order_by("pk") if version.exact_order]
    for chunk in in_chunks(pks, CHUNK):
        for version in versions:
            _hold_changing(Comparison.objects.filter(pk__in=chunk), version)
        _suggest_by_all(chunk)
    queue.renew_or_put_off(dataset, pks)


def _suggest_by_all(pks: Collection[int]) -> None:
    """Write the Suggestions of these Comparisons by each version with both Scores that has not read the same
    tokens for both. One statement: rows that pass through Python take ten times as long."""
    comparison, score, suggestion = (
        connection.ops.quote_name(model._meta.db_table) for model in (Comparison, Score, Suggestion)
    )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            chosen = "SELECT value::bigint FROM json_array_elements_text(%s::json)"
        else:
            chosen = "SELECT value FROM json_each(%s)"
        cursor.execute(
            f"INSERT INTO {suggestion} (comparison_id, version_id, margin) "  # noqa: S608 - no text of others
            f"SELECT c.id, a.version_id, a.value - b.value FROM {comparison} c "
            f"JOIN {score} a ON a.completion_id = c.a_id "
            f"JOIN {score} b ON b.completion_id = c.b_id AND b.version_id = a.version_id "
            f"WHERE c.id IN ({chosen}) AND COALESCE(a.input_digest <> b.input_digest, TRUE) "
            "ON CONFLICT DO NOTHING",
            [orjson.dumps(list(pks)).decode()],
        )


@dataclass(frozen=True)
class Said:
    """What a version says of a Comparison, for reviewers. active: it serves the Dataset; lead and probability
    are of the preferred side."""

    version: ModelVersion
    outcome: str
    active: bool
    lead: float
    probability: float | None


def said_of(comparison: Comparison, dataset: Dataset) -> list[Said]:
    """What each version says: the one that serves the Dataset first, baselines last."""
    held = dataset.held_by_id

    def serves(version: ModelVersion) -> bool:
        return version.pk == held if held else version.state == ModelVersion.State.ACTIVE

    in_order = sorted(
        comparison.suggestions.select_related("version"),
        key=lambda suggestion: (
            not serves(suggestion.version),
            suggestion.version.kind == ModelVersion.Kind.BASELINE,
            -suggestion.version.created_at.timestamp(),
        ),
    )
    return [
        Said(
            version=suggestion.version,
            outcome=suggestion.outcome,
            active=serves(suggestion.version),
            lead=abs(suggestion.margin),
            probability=Suggestion(version=suggestion.version, margin=abs(suggestion.margin)).probability,
        )
        for suggestion in in_order
    ]


def _hold_changing(comparisons: QuerySet[Comparison], version: ModelVersion) -> None:
    """Lock the Prompts of these Comparisons that still have completions to score. Their Scores may change,
    and the worker that changes a Score would not see a Suggestion written meanwhile from the old one."""
    unscored = Completion.objects.filter(prompt=OuterRef("pk")).exclude(scores__version=version)
    compared = Exists(comparisons.filter(prompt=OuterRef("pk")))
    Completion.objects.hold_families(
        Prompt.objects.filter(compared, Exists(unscored)).order_by().values("pk")
    )


def _read_alike(version: ModelVersion) -> Exists:
    """Whether the version has read the same tokens for both completions of a Comparison, cut or flattened to
    the same text."""
    a = Score.objects.filter(completion=OuterRef(OuterRef("a_id")), version=version).values("input_digest")[
        :1
    ]
    return Exists(
        Score.objects.filter(completion=OuterRef("b_id"), version=version, input_digest=Subquery(a))
    )


def _renew(comparisons: QuerySet[Comparison], version: ModelVersion) -> int:
    margin = _score("comparison__a", version) - _score("comparison__b", version)
    written = Suggestion.objects.filter(version=version, comparison__in=comparisons)
    changed = written.annotate(now=margin).exclude(now=F("margin")).values_list("pk", "now")
    stale = [Suggestion(pk=pk, margin=now) for pk, now in changed]
    return Suggestion.objects.bulk_update(stale, ["margin"], batch_size=CHUNK)


def _suggest(comparisons: QuerySet[Comparison], version: ModelVersion) -> int:
    # Both sides in one query: the margin is NULL while a Score is missing.
    margins = comparisons.exclude(suggestions__version=version).annotate(
        margin=_score("a", version) - _score("b", version)
    )
    apart = margins.filter(~_read_alike(version), margin__isnull=False)
    missing = apart.order_by("pk").values_list("pk", "margin")
    written, last = 0, 0
    while chunk := list(missing.filter(pk__gt=last)[:CHUNK]):
        rows = [Suggestion(comparison_id=pk, version=version, margin=margin) for pk, margin in chunk]
        with transaction.atomic():
            Suggestion.objects.bulk_create(rows, ignore_conflicts=True, batch_size=CHUNK)
            PromptChange.objects.note_pairs([pk for pk, _ in chunk])
        written += len(rows)
        last = chunk[-1][0]
    return written
