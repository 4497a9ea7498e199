"""What a dataset holds: prompts, answers, pairs, scores, suggestions, votes, final labels, flags."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from django.db.models import F, Model, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.sending import NDJSON, ROWS_A_READ, After, stream
from workbench.db.following import settled_up_to
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Decision,
    Flag,
    Judgment,
    ModelVersion,
    Prompt,
    Role,
    Score,
    Suggestion,
)
from workbench.pipeline.data import prompt as prompts
from workbench.pipeline.history.recording import record_rows

router = Router(tags=["items"])

_LAST = 2**63 - 1
_MOST = 100_000
"""Rows of one prompt."""
_LINES = {
    "responses": {
        200: {
            "description": "OK. With Accept: application/x-ndjson, all rows as JSON lines.",
            "content": {NDJSON: {"schema": {"type": "string", "format": "binary"}}},
        }
    }
}


class Since(Schema):
    """Which rows: those after the key `since`, at most `limit`."""

    since: int = Field(0, ge=0, lt=2**63)
    limit: int = Field(1_000, ge=1, le=10_000)


class PromptOut(Schema):
    """A prompt with its messages as they came. language: "" = not sure. excluded_from: "" = nothing."""

    id: int
    messages: list[dict[str, Any]]
    tools: list[Any] | None
    external_id: str
    metadata: dict[str, Any]
    group: str
    language: str
    topic_id: int | None
    excluded_from: str
    excluded_reason: str
    created_at: datetime


class CompletionOut(Schema):
    """An answer. text: the reading view, which models score. messages: as they came; null = one assistant
    message with the text."""

    id: int
    prompt_id: int
    text: str
    messages: list[dict[str, Any]] | None
    source: str
    metadata: dict[str, Any]
    created_at: datetime


class ComparisonOut(Schema):
    """A pair with its texts. gold_outcome: the known answer; "" = none."""

    id: int
    prompt_id: int
    messages: list[dict[str, Any]]
    a_id: int
    a: str
    a_source: str
    b_id: int
    b: str
    b_source: str
    external_id: str
    metadata: dict[str, Any]
    gold_outcome: str
    created_at: datetime


class ScoreOut(Schema):
    """What a model gives a completion. prompt_cut, completion_cut: tokens that it did not read."""

    id: int
    completion_id: int
    value: float
    precision: str
    prompt_cut: int
    completion_cut: int


class SuggestionOut(Schema):
    """What a model says of a pair: score of a minus score of b."""

    id: int
    comparison_id: int
    margin: float


class VoteOut(Schema):
    """An answer to a pair, never changed: a later one names it as `supersedes`. annotator_id: the same person
    or label source has the same. source: of an imported label; "" = a person. suggested: what the model said
    then. purpose: work, gold or repeat."""

    id: int
    comparison_id: int
    annotator_id: int
    username: str | None
    source: str
    outcome: str
    strength: int | None
    comment: str
    stage: str
    purpose: str
    left: str
    suggested: str
    seconds: float | None
    supersedes_id: int | None
    is_current: bool
    created_at: datetime


class LabelOut(Schema):
    """A final label. A later one of the pair takes its place: `is_current` is as of now."""

    id: int
    comparison_id: int
    outcome: str
    method: str
    reason: str
    note: str
    votes: int
    votes_for: int
    probability: float | None
    decided_by: str | None
    supersedes_id: int | None
    is_current: bool
    undone_at: datetime | None
    created_at: datetime


class FlagOut(Schema):
    """A pair that somebody should look at. closed_at: null while it is open."""

    id: int
    comparison_id: int
    username: str | None
    reason: str
    note: str
    created_at: datetime
    closed_at: datetime | None


class PromptRows(Schema):
    items: list[PromptOut]
    next_after: int | None


class CompletionRows(Schema):
    items: list[CompletionOut]
    next_after: int | None


class ComparisonRows(Schema):
    items: list[ComparisonOut]
    next_after: int | None


class ScoreRows(Schema):
    items: list[ScoreOut]
    next_after: int | None


class SuggestionRows(Schema):
    items: list[SuggestionOut]
    next_after: int | None


class FlagRows(Schema):
    items: list[FlagOut]
    next_after: int | None


class VoteRows(Schema):
    """next_since: what to ask for next, now or later. more: whether there are rows already."""

    items: list[VoteOut]
    next_since: int
    more: bool


class LabelRows(Schema):
    """next_since: what to ask for next, now or later. more: whether there are rows already."""

    items: list[LabelOut]
    next_since: int
    more: bool


class PairOfPrompt(Schema):
    """A pair of answers with all its votes, final labels and flags, the oldest first."""

    id: int
    a_id: int
    b_id: int
    gold_outcome: str
    votes: list[VoteOut]
    labels: list[LabelOut]
    flags: list[FlagOut]


class EventOut(Schema):
    """Something that happened to a prompt. act: the act that can be undone; null = none."""

    at: datetime
    who: str
    what: str
    detail: str
    act: int | None


class PromptPage(Schema):
    """All that is known of a prompt. siblings: the first prompts of its group. releases: those with a row of
    it."""

    prompt: PromptOut
    completions: list[CompletionOut]
    scores: list[dict[str, Any]]
    pairs: list[PairOfPrompt]
    tags: list[str]
    split: str
    siblings: list[int]
    releases: list[str]
    history: list[EventOut]


def _json(name: str) -> Cast:
    """A column of JSON as the text that the database has: reading and writing it again would take the most
    time of all."""
    return Cast(F(name), TextField())


_JSON = ("messages", "tools", "metadata")
_PROMPT: Mapping[str, Any] = {
    "messages": _json("messages"),
    "tools": _json("tools"),
    "metadata": _json("metadata"),
    **{
        name: F(name)
        for name in (
            "external_id", "group", "language", "topic_id", "excluded_from", "excluded_reason", "created_at"
        )
    },
}  # fmt: skip
COMPLETION: Mapping[str, Any] = {
    "messages": _json("conversation"),
    "metadata": _json("metadata"),
    **{name: F(name) for name in ("prompt_id", "text", "source", "created_at")},
}
_COMPARISON: Mapping[str, Any] = {
    "messages": _json("prompt__messages"),
    "metadata": _json("metadata"),
    "a": F("a__text"),
    "a_source": F("a__source"),
    "b": F("b__text"),
    "b_source": F("b__source"),
    **{name: F(name) for name in ("prompt_id", "a_id", "b_id", "external_id", "gold_outcome", "created_at")},
}
_SCORE = {name: F(name) for name in ("completion_id", "value", "precision", "prompt_cut", "completion_cut")}
_SUGGESTION = {name: F(name) for name in ("comparison_id", "margin")}
_VOTE: Mapping[str, Any] = {
    "username": F("annotator__user__username"),
    "source": F("annotator__source"),
    **{
        name: F(name)
        for name in (
            "comparison_id", "annotator_id", "outcome", "strength", "comment", "stage", "purpose", "left",
            "suggested", "seconds", "supersedes_id", "is_current", "created_at",
        )
    },
}  # fmt: skip
_LABEL: Mapping[str, Any] = {
    "decided_by": F("decided_by__username"),
    **{
        name: F(name)
        for name in (
            "comparison_id", "outcome", "method", "reason", "note", "votes", "votes_for", "probability",
            "supersedes_id", "is_current", "undone_at", "created_at",
        )
    },
}  # fmt: skip
_FLAG: Mapping[str, Any] = {
    "username": F("annotator__user__username"),
    **{name: F(name) for name in ("comparison_id", "reason", "note", "created_at", "closed_at")},
}


def _read(
    rows: QuerySet[Any], columns: Mapping[str, Any], after: int, most: int, up_to: int = _LAST
) -> list[dict[str, Any]]:
    """The rows after a key, as they are sent: no instances of models, of which a second has too few.

    The keys are looked up first, in the same statement. PostgreSQL, which knows little of a table that has
    just grown, would join all rows after the first key, and sort them, for each page."""
    names = ["id", *columns]
    keys = rows.order_by("pk").filter(pk__gt=after, pk__lte=up_to).values("pk")[:most]
    found = rows.order_by("pk").filter(pk__in=keys).values_list("pk", *columns.values())
    json = [n for n, name in enumerate(names) if name in _JSON]
    read = []
    for values in found:
        row = dict(zip(names, values, strict=True))
        for n in json:
            if values[n] is not None:
                row[names[n]] = orjson.Fragment(values[n])
        read.append(row)
    return read


def _all_of(
    rows: QuerySet[Any], columns: Mapping[str, Any], after: int, up_to: int
) -> Iterator[dict[str, Any]]:
    while True:
        found = _read(rows, columns, after, ROWS_A_READ, up_to)
        yield from found
        if len(found) < ROWS_A_READ:
            return
        after = found[-1]["id"]


def _wants_lines(request: HttpRequest) -> bool:
    return NDJSON in request.headers.get("Accept", "")


def _answer(document: object) -> HttpResponse:
    return HttpResponse(
        orjson.dumps(document),
        content_type="application/json",
        headers={"Cache-Control": "private, no-store"},
    )


def _streamed(request: HttpRequest, dataset: Dataset, rows: Iterator[dict[str, Any]]) -> HttpResponseBase:
    record_rows(by=access.person(request.user), dataset=dataset)
    return stream(request, rows)


def listed(
    request: HttpRequest, dataset: Dataset, rows: QuerySet[Any], columns: Mapping[str, Any], after: After
) -> HttpResponseBase:
    """A page of the rows, which are the dataset's; all of them as JSON lines for whoever accepts these. That
    stands in history."""
    if _wants_lines(request):
        return _streamed(request, dataset, _all_of(rows, columns, after.after, _LAST))
    found = _read(rows, columns, after.after, after.limit + 1)
    shown = found[: after.limit]
    return _answer({"items": shown, "next_after": shown[-1]["id"] if len(found) > len(shown) else None})


def _followed(
    request: HttpRequest,
    dataset: Dataset,
    model: type[Model],
    rows: QuerySet[Any],
    columns: Mapping[str, Any],
    since: Since,
) -> HttpResponseBase:
    """As `listed`, of rows that followers may never miss: none that a transaction may still precede."""
    up_to = settled_up_to(model)
    if _wants_lines(request):
        return _streamed(request, dataset, _all_of(rows, columns, since.since, up_to))
    found = _read(rows, columns, since.since, since.limit + 1, up_to)
    shown = found[: since.limit]
    more = len(found) > len(shown)
    return _answer({"items": shown, "next_since": shown[-1]["id"] if shown else since.since, "more": more})


def _reviewed(request: HttpRequest, pk: int) -> Dataset:
    return access.dataset_for(request.user, pk, Role.REVIEWER)


def _version(pk: int) -> ModelVersion:
    version = ModelVersion.objects.filter(pk=pk).first()
    if version is None:
        raise Http404
    return version


@router.get("/datasets/{id:pk}/prompts", response=PromptRows, openapi_extra=_LINES)
def list_prompts(request: HttpRequest, pk: int, after: Query[After]) -> HttpResponseBase:
    """The prompts by id; all after one as NDJSON for a client that accepts that."""
    dataset = _reviewed(request, pk)
    return listed(request, dataset, Prompt.objects.of(dataset), _PROMPT, after)


@router.get("/datasets/{id:pk}/completions", response=CompletionRows, openapi_extra=_LINES)
def list_completions(request: HttpRequest, pk: int, after: Query[After]) -> HttpResponseBase:
    """The answers by id; all after one as NDJSON for a client that accepts that."""
    dataset = _reviewed(request, pk)
    return listed(request, dataset, Completion.objects.of(dataset), COMPLETION, after)


@router.get("/datasets/{id:pk}/comparisons", response=ComparisonRows, openapi_extra=_LINES)
def list_comparisons(request: HttpRequest, pk: int, after: Query[After]) -> HttpResponseBase:
    """The pairs with their texts, by id; all after one as NDJSON for a client that accepts that."""
    dataset = _reviewed(request, pk)
    return listed(request, dataset, Comparison.objects.filter(dataset=dataset), _COMPARISON, after)


@router.get("/datasets/{id:pk}/models/{id:version_pk}/scores", response=ScoreRows, openapi_extra=_LINES)
def list_scores(request: HttpRequest, pk: int, version_pk: int, after: Query[After]) -> HttpResponseBase:
    """What one model gives the answers, by id of the score; all after one as NDJSON, where accepted."""
    dataset = _reviewed(request, pk)
    rows = Score.objects.filter(completion__prompt__dataset=dataset, version=_version(version_pk))
    return listed(request, dataset, rows, _SCORE, after)


@router.get(
    "/datasets/{id:pk}/models/{id:version_pk}/suggestions", response=SuggestionRows, openapi_extra=_LINES
)
def list_suggestions(request: HttpRequest, pk: int, version_pk: int, after: Query[After]) -> HttpResponseBase:
    """What one model says of the pairs, by id; all after one as NDJSON, where accepted."""
    dataset = _reviewed(request, pk)
    rows = Suggestion.objects.of(dataset, _version(version_pk))
    return listed(request, dataset, rows, _SUGGESTION, after)


@router.get("/datasets/{id:pk}/votes", response=VoteRows, openapi_extra=_LINES)
def list_votes(request: HttpRequest, pk: int, since: Query[Since]) -> HttpResponseBase:
    """The votes and imported labels in the order they came. Ask again with `next_since` to follow: none is
    skipped."""
    dataset = _reviewed(request, pk)
    rows = Judgment.objects.filter(comparison__dataset=dataset)
    return _followed(request, dataset, Judgment, rows, _VOTE, since)


@router.get("/datasets/{id:pk}/labels", response=LabelRows, openapi_extra=_LINES)
def list_labels(request: HttpRequest, pk: int, since: Query[Since]) -> HttpResponseBase:
    """The final labels in the order they were made. Ask again with `next_since` to follow: none is
    skipped."""
    dataset = _reviewed(request, pk)
    return _followed(request, dataset, Decision, Decision.objects.of(dataset), _LABEL, since)


@router.get("/datasets/{id:pk}/flags", response=FlagRows, openapi_extra=_LINES)
def list_flags(request: HttpRequest, pk: int, after: Query[After]) -> HttpResponseBase:
    """The flags, open and closed."""
    dataset = _reviewed(request, pk)
    return listed(request, dataset, Flag.objects.filter(comparison__dataset=dataset), _FLAG, after)


@router.get("/prompts/{id:pk}", response=PromptPage)
def read_prompt(request: HttpRequest, pk: int) -> HttpResponse:
    """One prompt with its answers, pairs, votes and history, as on its page."""
    page = prompts.page_of(access.prompt_for(request.user, pk))
    rows = {
        "votes": _read(Judgment.objects.filter(comparison__prompt=pk), _VOTE, 0, _MOST),
        "labels": _read(Decision.objects.filter(comparison__prompt=pk), _LABEL, 0, _MOST),
        "flags": _read(Flag.objects.filter(comparison__prompt=pk), _FLAG, 0, _MOST),
    }
    pairs = [
        {
            "id": pair.comparison.pk,
            "a_id": pair.comparison.a_id,
            "b_id": pair.comparison.b_id,
            "gold_outcome": pair.comparison.gold_outcome,
            **{
                name: [row for row in found if row["comparison_id"] == pair.comparison.pk]
                for name, found in rows.items()
            },
        }
        for pair in page.pairs
    ]
    (prompt,) = _read(Prompt.objects.filter(pk=pk), _PROMPT, 0, 1)
    return _answer(
        {
            "prompt": prompt,
            "completions": _read(Completion.objects.filter(prompt=pk), COMPLETION, 0, _MOST),
            "scores": [
                {"model": score.version.name, "completion_id": score.completion_id, "value": score.value}
                for answer in page.answers
                for score in answer.scores
            ],
            "pairs": pairs,
            "tags": page.tags,
            "split": page.split,
            "siblings": [sibling for sibling, _ in page.siblings],
            "releases": [str(release.pk) for release, has_row in page.releases if has_row],
            "history": [
                {name: getattr(event, name) for name in ("at", "who", "what", "detail", "act")}
                for event in page.history
            ],
        }
    )
