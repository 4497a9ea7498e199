"""Counts of datasets for pages: how far the voting is, what waits for reviewers, where a dataset stands in
the loop. Each function annotates the datasets that it is given; `models.Dataset` lists the names."""

from collections.abc import Iterable, Mapping, Sequence

from django.core.cache import cache
from django.db.models import (
    Case,
    Exists,
    Expression,
    F,
    IntegerField,
    OuterRef,
    Prefetch,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Least

from scoring.formats import EMPTY_COMPLETION
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Decision,
    Judgment,
    Member,
    ModelVersion,
    Outcome,
    Prompt,
    Release,
    ReviewQueue,
    Score,
    ScoreBatch,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.models.counts import count_of
from workbench.models.dataset import DatasetQuerySet, PromptQuerySet

QUEUE_COUNTS = {
    "disagreement_count": ReviewQueue.PEOPLE,
    "label_split_count": ReviewQueue.LABELS,
    "model_split_count": ReviewQueue.MODEL,
}
SOURCES_KEPT_SECONDS = 3600
MOST_OF_A_PAGE = 2_000_000
"""Characters of the prompts and answers that one page shows whole."""
MOST_OF_ONE = 10_000_000
"""Characters of a prompt and its answers on a page of their own."""
LARGE = 20_000
"""Comparisons that take longer to count than anybody should wait for a page."""


def are_large(datasets: Iterable[Dataset]) -> bool:
    """Whether the datasets together have more than LARGE Comparisons."""
    return large(Comparison.objects.filter(dataset__in=[dataset.pk for dataset in datasets])).exists()


def large(comparisons: ComparisonQuerySet) -> ComparisonQuerySet:
    """The Comparison after the first LARGE, if there is one."""
    return comparisons.order_by()[LARGE : LARGE + 1]


def _queue_counts(version: ModelVersion | None) -> dict[str, Expression]:
    comparisons = Comparison.objects.filter(dataset=OuterRef("pk"))
    return {
        name: count_of(comparisons.in_queue(queue, version), "dataset")
        for name, queue in QUEUE_COUNTS.items()
    }


def with_quick_queue_counts(
    datasets: DatasetQuerySet, version: ModelVersion | None, most: int
) -> DatasetQuerySet:
    """Annotate the counts of QUEUE_COUNTS; None for datasets of more than `most` Comparisons, which take too
    long to count."""
    comparisons = Comparison.objects.filter(dataset=OuterRef("pk"))
    is_large = When(Exists(comparisons.order_by()[most : most + 1]), then=None)
    return datasets.annotate(
        **{name: Case(is_large, default=count) for name, count in _queue_counts(version).items()}
    )


def with_judging_counts(datasets: DatasetQuerySet, version: ModelVersion | None) -> DatasetQuerySet:
    """Annotate how far the voting is: prompt_count, comparison_count, wanted_count (places for votes; gold
    has none), judged_count (how many of these people have filled), label_count (imported labels, which fill
    no place), member_count, and what waits for reviewers (QUEUE_COUNTS)."""
    integer: IntegerField[int, int] = IntegerField()
    comparisons = Comparison.objects.filter(dataset=OuterRef("pk"))
    by_people = Judgment.objects.current().by_people().filter(comparison=OuterRef("pk"))
    initial = Case(When(dataset__single_vote_threshold=None, then=F("dataset__overlap")), default=Value(1))
    people_needed = Coalesce(F("required"), initial, output_field=integer)
    filled = Least(count_of(by_people, "comparison"), people_needed, output_field=integer)
    by_dataset = comparisons.order_by().values("dataset")
    labels = Judgment.objects.labels().filter(comparison__dataset=OuterRef("pk"))
    counts = {
        **_queue_counts(version),
        "prompt_count": count_of(Prompt.objects.filter(dataset=OuterRef("pk")), "dataset"),
        "comparison_count": count_of(comparisons, "dataset"),
        "wanted_count": Coalesce(Subquery(by_dataset.annotate(n=Sum(people_needed)).values("n")), 0),
        "judged_count": Coalesce(Subquery(by_dataset.annotate(n=Sum(filled)).values("n")), 0),
        "label_count": count_of(labels, "comparison__dataset"),
        "member_count": count_of(Member.objects.filter(dataset=OuterRef("pk")), "dataset"),
    }
    return datasets.annotate(**counts)


def with_loop_counts(datasets: DatasetQuerySet, version: ModelVersion | None) -> DatasetQuerySet:
    """Annotate where each dataset stands in the loop: the judging counts, completion_count, scored_count (by
    the version), empty_count (what no version can score), cut_count (how many of the scored ones it read only
    in part), last_release (number of the newest), settled_count (final labels of reviewers), trained_name
    (the newest model trained on the dataset) and new_label_count (final labels for a side since the release
    of that training)."""
    completions = Completion.objects.filter(prompt__dataset=OuterRef("pk"))
    scores = Score.objects.filter(version=version, completion__prompt__dataset=OuterRef("pk"))
    failed = ScoreBatch.objects.failed().filter(run__dataset=OuterRef("pk"), version=version)
    empty = failed.filter(error=EMPTY_COMPLETION).order_by().values("run__dataset").annotate(n=Sum("size"))
    releases = Release.objects.ready().filter(dataset=OuterRef("pk")).order_by("-number")
    decided = Decision.objects.current().filter(comparison__dataset=OuterRef("pk"))
    settled = decided.filter(method=Decision.Method.REVIEWER)
    preferred = decided.filter(outcome__in=[Outcome.A, Outcome.B])
    trained = ModelVersion.objects.filter(release__dataset=OuterRef("pk")).order_by("-release__number", "-pk")
    counts = {
        "completion_count": count_of(completions, "prompt__dataset"),
        "scored_count": count_of(scores, "completion__prompt__dataset"),
        "empty_count": Coalesce(Subquery(empty.values("n")), 0),
        "cut_count": count_of(scores.cut(), "completion__prompt__dataset"),
        "last_release": Subquery(releases.values("number")[:1]),
        "settled_count": count_of(settled, "comparison__dataset"),
        "trained_name": Subquery(trained.values("name")[:1]),
        "trained_on_at": Subquery(trained.values("release__created_at")[:1]),
    }
    newer = preferred.filter(created_at__gt=OuterRef("trained_on_at"))
    since = {"new_label_count": count_of(newer, "comparison__dataset")}
    return with_judging_counts(datasets, version).annotate(**counts).annotate(**since)


def with_completions(
    prompts: PromptQuerySet, version: ModelVersion | None, shortened: bool = False
) -> PromptQuerySet:
    """Prefetch each Prompt's Completions, the best Score by the version first, as `score` (None without one);
    shortened, the Completions come without their texts."""
    scores = Score.objects.filter(completion=OuterRef("pk"), version=version)
    completions = Completion.objects.annotate(score=Subquery(scores.values("value")))
    if shortened:
        completions = completions.shortened()
    ranked = completions.order_by(F("score").desc(nulls_last=True), "pk")
    return prompts.prefetch_related(Prefetch("completions", queryset=ranked))


def within_memory(
    pks: Sequence[int],
    most: int,
    version: ModelVersion | None = None,
    sizes: Mapping[int, int] | None = None,
) -> list[Prompt]:
    """These Prompts with their Completions, in this order: whole while the whole ones have at most `most`
    characters together, the others shortened. Six threads each hold a page several times while they render
    it. `sizes`: the characters of each, where the caller has read them."""
    prompts, whole, left = Prompt.objects.filter(pk__in=pks), set(), most
    sizes = prompts.sizes() if sizes is None else sizes
    for pk in pks:
        if sizes[pk] <= left:
            whole.add(pk)
            left -= sizes[pk]
    shown = list(with_completions(prompts.filter(pk__in=whole), version)) if whole else []
    if len(whole) < len(pks):
        shown += with_completions(prompts.exclude(pk__in=whole).shortened(), version, shortened=True)
    for prompt in shown:
        prompt.too_long = 0 if prompt.pk in whole else sizes[prompt.pk]
    return sorted(shown, key=lambda prompt: pks.index(prompt.pk))


def sources_of(dataset: Dataset, newest_completion: int | None = None) -> list[str]:
    """The models or people who wrote the dataset's Completions, in order, without "". The query is slow on
    both databases, so the list is cached for an hour, until the next import.

    newest_completion: primary key of the newest Completion of all, where the caller has read it."""
    newest = newest_completion or Completion.objects.newest().first()
    key = f"sources:{dataset.pk}:{dataset.created_at.timestamp()}:{newest}"
    sources: list[str] | None = cache.get(key)
    if sources is None:
        named = Completion.objects.of(dataset).exclude(source="").order_by("source").distinct()
        sources = list(named.values_list("source", flat=True))
        cache.set(key, sources, timeout=SOURCES_KEPT_SECONDS)
    return sources
