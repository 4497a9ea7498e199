"""More pairs of the answers that a Dataset has: which, at what cost in votes, and back again.

Pairs that are made because they are hard carry this strategy, and their votes count in no figure that stands
for the whole Dataset (Judgment.not_picked). All other pairs are drawn by lot: in the order of the digests of
their texts, so that a preview shows what the button makes."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, F, FloatField, OuterRef, Q, QuerySet, StdDev, Subquery, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Abs, Least
from django.utils import timezone

from workbench.db.bulk import given, in_chunks
from workbench.models import (
    Act,
    ActOnPrompt,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Decision,
    Excluded,
    Flag,
    Judgment,
    ModelVersion,
    Prompt,
    PromptChange,
    Score,
    Strategy,
    Suggestion,
    Topic,
    User,
)
from workbench.pipeline.annotate import requirements
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.quality.panels.words import count, hours_of_work
from workbench.pipeline.scoring import suggestions

MOST = 10_000
"""Pairs of one act."""

CHUNK = 5_000
SECONDS_A_VOTE = 30.0
"""Assumed where no votes were timed yet."""

_SKIPPED = (Excluded.QUEUE, Excluded.BOTH)


@dataclass(frozen=True)
class Wanted:
    """number: pairs to make at most; per_prompt: of one prompt. source, against: one source against another,
    "" = any. topic: of the prompts, None = any. strategy: UNCERTAIN begins with the smallest margin of the
    model that serves; DISAGREEMENT takes prompts whose pairs have opinions that differ, or with `models` the
    pairs on which these two prefer different answers; RANDOM draws lots."""

    strategy: Strategy = Strategy.RANDOM
    models: tuple[ModelVersion, ModelVersion] | None = None
    source: str = ""
    against: str = ""
    topic: Topic | None = None
    number: int = 100
    per_prompt: int = 1

    def as_details(self) -> dict[str, object]:
        topic = self.topic.name if self.topic else ""
        chosen = {
            "strategy": self.strategy.value,
            "models": [str(version) for version in self.models or ()],
            "source": self.source,
            "against": self.against,
            "topic": topic,
        }
        return {key: value for key, value in chosen.items() if value}


@dataclass(frozen=True)
class NewPair:
    """Two answers that no pair joins, in canonical order. margin: where the model's margin chose them;
    other_margin: of the second model, where two models did."""

    a: int
    b: int
    prompt: int
    source_a: str
    source_b: str
    margin: float | None
    other_margin: float | None


@dataclass(frozen=True)
class Found:
    """pairs: to be made; possible: how many pairs there are of this kind."""

    pairs: list[NewPair]
    possible: int

    @property
    def prompts(self) -> list[int]:
        return list(dict.fromkeys(pair.prompt for pair in self.pairs))


@dataclass(frozen=True)
class Cost:
    """The votes that new pairs ask for, and the hours at `seconds` each."""

    votes: int
    seconds: float
    is_measured: bool

    @property
    def in_words(self) -> str:
        """ "200 votes, about 2.5 hours"."""
        return f"{count(self.votes, 'vote')}, about {hours_of_work(self.votes * self.seconds / 3600)}"


def cost_of(dataset: Dataset, pairs: int, seconds: float | None) -> Cost:
    """What so many new pairs cost at the Dataset's overlap. seconds: its median time of a vote, if known."""
    return Cost(pairs * dataset.overlap, seconds or SECONDS_A_VOTE, seconds is not None)


def find(dataset: Dataset, wanted: Wanted, version: ModelVersion | None) -> Found:
    """The pairs that `make` would make now. version: the one that serves. The same until the data change."""
    rows = _possible(dataset, wanted, version)
    of_prompt: Counter[int] = Counter()
    pairs: list[NewPair] = []
    for row in rows.iterator(chunk_size=CHUNK):
        if len(pairs) == wanted.number:
            break
        pair = NewPair(*row)
        if of_prompt[pair.prompt] < wanted.per_prompt:
            of_prompt[pair.prompt] += 1
            pairs.append(pair)
    return Found(pairs, rows.order_by().count())


def _possible(
    dataset: Dataset, wanted: Wanted, version: ModelVersion | None
) -> QuerySet[Completion, tuple[int, int, int, str, str, float | None, float | None]]:
    """The fields of a NewPair of each pair that may be made, the best first."""
    fields = ("pk", "other", "prompt_id", "source", "other_source", "margin", "other_margin")
    prompts = Prompt.objects.of(dataset).exclude(excluded_from__in=_SKIPPED)
    if wanted.topic:
        prompts = prompts.filter(topic=wanted.topic)
    if wanted.strategy == Strategy.DISAGREEMENT and not wanted.models:
        pairs = Comparison.objects.filter(dataset=dataset)
        differ = (pairs.people_disagree(), pairs.labels_disagree(), pairs.people_against_labels())
        of_some = Q()
        for comparisons in differ:
            of_some |= Q(pk__in=comparisons.order_by().values("prompt"))
        prompts = prompts.filter(of_some)
    siblings = Completion.objects.filter(prompt__in=prompts, characters__gt=0).annotate(
        other=F("prompt__completions__pk"),
        other_sha256=F("prompt__completions__sha256"),
        other_source=F("prompt__completions__source"),
        other_characters=F("prompt__completions__characters"),
    )
    rows = siblings.filter(sha256__lt=F("other_sha256"), other_characters__gt=0).exclude(
        Exists(Comparison.objects.filter(a=OuterRef("pk"), b=OuterRef("other")))
    )
    rows = rows.exclude(Exists(Comparison.objects.filter(a=OuterRef("other"), b=OuterRef("pk"))))
    if wanted.source or wanted.against:
        one, other = wanted.source or wanted.against, wanted.against if wanted.source else ""
        first, second = Q(source=one), Q(other_source=one)
        if other:
            first, second = first & Q(other_source=other), second & Q(source=other)
        rows = rows.filter(first | second)
    none = Value(None, output_field=FloatField(null=True))
    if wanted.models:
        found = _parted(dataset, rows, *wanted.models)
    elif wanted.strategy == Strategy.UNCERTAIN:
        scored = rows.annotate(margin=_margin(version), other_margin=none).filter(margin__isnull=False)
        found = scored.annotate(place=Abs("margin"))
    else:
        found = rows.annotate(margin=none, other_margin=none, place=Value(0))
    return found.order_by("place", "sha256", "other_sha256").values_list(*fields)


def _parted(
    dataset: Dataset, rows: QuerySet[Completion], one: ModelVersion, other: ModelVersion
) -> QuerySet[Completion]:
    """The pairs of which each version prefers another answer. First come those on which both are surest: by
    the smaller of their margins, each in standard deviations of its scores here, as scales differ."""
    scored = rows.annotate(margin=_margin(one), other_margin=_margin(other))
    parted = scored.filter(Q(margin__gt=0, other_margin__lt=0) | Q(margin__lt=0, other_margin__gt=0))
    sizes = (
        Abs(field) / Value(_spread(dataset, version))
        for field, version in (("margin", one), ("other_margin", other))
    )
    return parted.annotate(place=-Least(*sizes))


def _spread(dataset: Dataset, version: ModelVersion) -> float:
    """The standard deviation of its scores in the dataset; 1 where there is none."""
    scores = Score.objects.filter(version=version, completion__prompt__dataset=dataset)
    return scores.aggregate(spread=StdDev("value"))["spread"] or 1.0


def unscored_by(dataset: Dataset, versions: Iterable[ModelVersion]) -> list[ModelVersion]:
    """Those of the versions that have scored no answer here."""
    scores = Score.objects.filter(completion__prompt__dataset=dataset)
    return [version for version in versions if not scores.filter(version=version).exists()]


def _margin(version: ModelVersion | None) -> CombinedExpression:
    return _score("pk", version) - _score("other", version)


def _score(field: str, version: ModelVersion | None) -> Subquery:
    scores = Score.objects.filter(completion=OuterRef(field), version=version)
    return Subquery(scores.values("value")[:1], output_field=FloatField())


def make(dataset: Dataset, wanted: Wanted, version: ModelVersion | None, by: User, key: UUID) -> Act | None:
    """Make the pairs, with Suggestions from the Scores that there are and their place in the queue, and
    return the row of the history; None where there are no such pairs. All in one transaction. The same key
    again makes nothing and returns the same row."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        made = dataset.acts.filter(kind=Act.Kind.PAIRS, details__key=str(key)).first()
        if made:
            return made
        found = find(dataset, wanted, version)
        if not found.pairs:
            return None
        created = Comparison.objects.bulk_create(
            [
                Comparison(
                    dataset=dataset, prompt_id=pair.prompt, a_id=pair.a, b_id=pair.b, strategy=wanted.strategy
                )
                for pair in found.pairs
            ],
            batch_size=CHUNK,
        )
        pks = [comparison.pk for comparison in created]
        requirements.require(dataset, Comparison.objects.filter(pk__in=given(pks)))
        suggestions.suggest_new(dataset, pks)
        Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=True)
        act = dataset.acts.create(
            kind=Act.Kind.PAIRS,
            by=by,
            details={"key": str(key), **wanted.as_details(), "pairs": pks},
            prompt_count=len(found.prompts),
            pair_count=len(pks),
        )
        ActOnPrompt.objects.bulk_create(
            [ActOnPrompt(act=act, prompt_id=prompt) for prompt in found.prompts], batch_size=CHUNK
        )
        PromptChange.objects.note(dataset.pk, found.prompts)
        n = act.prompt_count
        record(Kind.ACT, by=by, dataset=dataset, target=act, word=Act.Kind.PAIRS, count=n)
        return act


def pairs_of(act: Act) -> list[int]:
    """Primary keys of the pairs that the act made."""
    return list(act.details.get("pairs", []))


def begun(pks: Collection[int]) -> set[int]:
    """Those of these pairs that somebody has begun, voted on, flagged, settled or made gold. These stay."""
    kept: set[int] = set()
    for chunk in in_chunks(pks, CHUNK):
        # A union: for conditions with an OR between, PostgreSQL reads all Judgments there are.
        gold = Comparison.objects.filter(pk__in=given(chunk)).exclude(gold_outcome="").order_by()
        touched = (
            rows.filter(comparison__in=given(chunk)).order_by().values_list("comparison", flat=True)
            for rows in (Claim.objects, Judgment.objects, Flag.objects, Decision.objects)
        )
        kept |= set(gold.values_list("pk", flat=True).union(*touched))
    return kept


def delete_free(pks: Collection[int]) -> None:
    """Delete pairs that nobody has begun, so that nothing but Suggestions hangs on them, by two statements:
    Django's own delete would read all that might hang on them."""
    for chunk in in_chunks(sorted(pks), CHUNK):
        Suggestion.objects.filter(comparison__in=given(chunk))._raw_delete(connection.alias)
        Comparison.objects.filter(pk__in=given(chunk))._raw_delete(connection.alias)


def undo(act: Act, by: User) -> int:
    """Delete the pairs of the act that nobody has begun, and return how many stay. An act that is undone
    already stays as it is."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=act.dataset_id)
        act.refresh_from_db()
        pks = pairs_of(act)
        if act.undone_at is None:
            for chunk in in_chunks(pks, CHUNK):
                # Whoever hands out a pair locks it first: once all are locked, none is begun meanwhile.
                list(Comparison.objects.filter(pk__in=chunk).select_for_update().order_by("pk").only("pk"))
            free = set(pks) - begun(pks)
            prompts = list(act.on_prompts.values_list("prompt", flat=True))
            delete_free(free)
            act.undone_at, act.undone_by = timezone.now(), by
            act.details["stayed"] = len(pks) - len(free)
            act.save()
            Dataset.objects.filter(pk=act.dataset_id).update(queue_stale_since=timezone.now())
            PromptChange.objects.note(act.dataset_id, prompts)
            kind, n = Act.Kind.PAIRS, len(prompts)
            record(Kind.ACT_UNDONE, by=by, dataset=act.dataset_id, target=act, word=kind, count=n)
        stayed: int = act.details.get("stayed", 0)
        return stayed
