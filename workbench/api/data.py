"""Data: find prompts, saved views, acts on many prompts, more pairs, similar prompts, topics, groups."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.runs import RunOut, accepted
from workbench.api.sending import After, Body, created, form_data, page_of, valid
from workbench.forms.acts import FORMS
from workbench.forms.data import ViewForm
from workbench.forms.more_pairs import MorePairsForm
from workbench.models import (
    Act,
    Completion,
    Dataset,
    ModelVersion,
    Prompt,
    Role,
    Run,
    SavedView,
    Tag,
    Topic,
    User,
)
from workbench.pipeline import quality
from workbench.pipeline.data import acts, finding, more_pairs, viewed
from workbench.pipeline.data.acts import CHANGES
from workbench.pipeline.data.change import Change
from workbench.pipeline.data.copying import Copy
from workbench.pipeline.data.finding import Found, Selection
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text.splits import split_of
from workbench.pipeline.topics import run as topic_run
from workbench.pipeline.vectors import similar
from workbench.worker import enqueue, tasks

router = Router(tags=["data"])

_QUERY = Field("", max_length=2_000, description="As in the address of the Data page: `source=gpt-4&q=salt`.")


class SelectionAsked(Schema):
    """A selection: query, as in the address of the Data page."""

    query: str = _QUERY


class AskedPrompts(Schema):
    """A selection, and which of the prompts that it finds now: from `start` on, at most `limit`."""

    start: int = Field(0, ge=0, lt=2**31)
    limit: int = Field(100, ge=1, le=1_000)
    query: str = _QUERY


class FoundPrompt(Schema):
    id: int
    excerpt: str


class FoundPrompts(Schema):
    """The prompts in the order of the selection at the moment of the request: what comes, goes or gets other
    figures between two pages moves the rest. prompts, pairs: how many are found. waiting: new prompts that
    the search for words left out, as they can't be searched yet. next_start: null at the end."""

    prompts: int
    pairs: int
    waiting: int
    items: list[FoundPrompt]
    next_start: int | None


class FacetValue(Schema):
    """name=value chooses it. count: the prompts that have it among those that all other fields find."""

    name: str
    value: str
    words: str
    count: int
    chosen: bool


class FacetOut(Schema):
    name: str
    label: str
    values: list[FacetValue]


class FacetsOut(Schema):
    """The fields with their most frequent values. waiting: as in FoundPrompts. model: the one whose figures
    the fields are of."""

    prompts: int
    pairs: int
    waiting: int
    facets: list[FacetOut]
    model_id: int | None


class NewView(Body):
    """query: as in the address of the Data page. shared: everyone who sees that page sees the view."""

    name: str
    query: str
    shared: bool = False


class ViewOut(Schema):
    id: int
    name: str
    query: str
    shared: bool
    is_own: bool
    created_at: datetime


class Views(Schema):
    items: list[ViewOut]


class ActWanted(Body):
    """What to do to which prompts. kind: tag, untag, exclude, restore, review, gold, overlap, priority,
    rescore, paired or copy, with its own fields, as on the page. Name the prompts by `prompts` (and some of
    their pairs by `pairs`), or by `query`: all that the selection finds, "" = all."""

    kind: str
    prompts: list[int] | None = Field(None, max_length=100_000)
    pairs: list[int] | None = Field(None, max_length=100_000)
    query: str | None = Field(None, max_length=2_000)
    tag: str | None = None
    where: str | None = None
    excluded_reason: str | None = None
    review_note: str | None = None
    gold_note: str | None = None
    gold_outcome: str | None = None
    people: int | None = None
    policy: str | None = None
    per_prompt: int | None = None
    to: int | None = None
    to_name: str | None = None


class ActExtent(Schema):
    """What an act would change, and what it would leave, with the reason. removed: pairs that it takes away.
    sample: the first prompts."""

    prompts: int
    pairs: int
    removed: int
    answers: int
    left: list[str]
    sample: list[int]


class ActOut(Schema):
    """An act of the history. sentence: in words. details: what was chosen, and what was left as it was."""

    id: int
    kind: str
    sentence: str
    by: str | None
    at: datetime
    query: str
    details: dict[str, Any]
    prompt_count: int
    pair_count: int
    undone_at: datetime | None
    undone_by: str | None


class Acts(Schema):
    items: list[ActOut]
    next_after: int | None


class UndoneOut(Schema):
    """How many prompts got back what they had, and what stays, with the reason. emptied: another dataset that
    has no prompt any more; "" = none."""

    prompts: int
    left: list[str]
    emptied: str


class PairsWanted(Body):
    """Which pairs to make of the answers that there are, as on the page. strategy: random, uncertain,
    disagreement, or models, where `model` and `other_model` (ids) prefer different answers. topic: an id.
    key: of one request, a UUID: the same again makes nothing more."""

    strategy: str = ""
    model: int | None = None
    other_model: int | None = None
    source: str = ""
    against: str = ""
    topic: int | None = None
    number: int | None = None
    per_prompt: int | None = None
    key: UUID | None = Field(None, strict=False)


class NewPairOut(Schema):
    """margin: of the model that chose the pair; other_margin: of the second, where two did."""

    prompt: int
    a: int
    b: int
    margin: float | None
    other_margin: float | None


class PairsPreview(Schema):
    """pairs: that would be made; possible: that there are of this kind. votes, seconds: what they cost."""

    pairs: int
    prompts: int
    possible: int
    votes: int
    seconds: float
    first: list[NewPairOut]


class PairsMade(Schema):
    """act: null where there were no such pairs."""

    act: ActOut | None


class PairsUndone(Schema):
    """stayed: pairs that somebody has begun."""

    removed: int
    stayed: int


class Like(Schema):
    """The id of a prompt, or of an answer, that others are to be like."""

    prompt: int | None = Field(None, ge=1, lt=2**63)
    completion: int | None = Field(None, ge=1, lt=2**63)
    limit: int = Field(30, ge=1, le=100)


class SimilarPrompt(Schema):
    """completion: its answer that matches best. similarity: from 0 to 1 = the same."""

    prompt: int
    completion: int | None
    similarity: float


class SimilarPrompts(Schema):
    items: list[SimilarPrompt]


class TopicOut(Schema):
    """Prompts of similar meaning. figures: accuracy of the model and agreement of people, with intervals."""

    id: int
    number: int
    name: str
    size: int
    figures: dict[str, Any]


class Topics(Schema):
    """run: the last Run that computed topics."""

    items: list[TopicOut]
    run: RunOut | None


class GroupOut(Schema):
    """Prompts that are the same or nearly the same, which stay in one split."""

    group: str
    split: str
    prompts: list[int]


class Groups(Schema):
    """Groups of several prompts, the largest first. next_after: what to ask for next; null at the end."""

    items: list[GroupOut]
    next_after: str | None


class AfterGroup(Schema):
    """Which groups: those after the last one of a page, by its `next_after`, at most `limit`."""

    after: str = Field("", pattern="^([0-9]{1,9}_[!-~]{1,64})?$")
    limit: int = Field(100, ge=1, le=1_000)


class Tags(Schema):
    items: list[str]


@router.get("/datasets/{id:pk}/find", response=FoundPrompts)
def find_prompts(request: HttpRequest, pk: int, asked: Query[AskedPrompts]) -> dict[str, object]:
    """The prompts that a selection finds, as on the Data page."""
    found = _found(_reviewed(request, pk), asked.query)
    pks = [int(key) for key in found.prompts[asked.start : asked.start + asked.limit]]
    excerpts = Prompt.objects.filter(pk__in=pks).excerpts()
    end = asked.start + len(pks)
    return {
        "prompts": len(found.prompts),
        "pairs": int(found.pair_rows.sum()),
        "waiting": found.searched.waiting if found.searched else 0,
        "items": [{"id": key, "excerpt": excerpts[key]} for key in pks if key in excerpts],
        "next_start": end if end < len(found.prompts) else None,
    }


@router.get("/datasets/{id:pk}/facets", response=FacetsOut)
def count_facets(request: HttpRequest, pk: int, asked: Query[SelectionAsked]) -> dict[str, object]:
    """The fields to choose prompts by, with a count for each value, as on the Data page."""
    found = _found(_reviewed(request, pk), asked.query)
    return {
        "prompts": len(found.prompts),
        "pairs": int(found.pair_rows.sum()),
        "waiting": found.searched.waiting if found.searched else 0,
        "facets": found.facets,
        "model_id": found.version.pk if found.version else None,
    }


@router.get("/datasets/{id:pk}/views", response=Views)
def list_views(request: HttpRequest, pk: int) -> dict[str, object]:
    """The saved views: one's own, and the shared ones."""
    dataset, person = _reviewed(request, pk), access.person(request.user)
    return {"items": [_view(view, person) for view in SavedView.objects.seen_by(person, dataset)]}


@router.post("/datasets/{id:pk}/views", response={201: ViewOut})
def save_view(request: HttpRequest, pk: int, body: NewView) -> HttpResponse:
    """Save a selection by a name. A name that one has used is given to the new one."""
    dataset, person = _reviewed(request, pk), access.person(request.user)
    form = valid(ViewForm(form_data(ViewForm, body.model_dump()), dataset=dataset))
    return created(ViewOut(**_view(form.stored(person), person)), request.path)


@router.post("/views/{id:pk}/delete", response={204: None})
def delete_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a saved view. Its prompts stay."""
    viewed.delete(access.view_for(request.user, pk), access.person(request.user))
    return HttpResponse(status=204)


@router.post("/datasets/{id:pk}/acts/preview", response=ActExtent)
def preview_act(request: HttpRequest, pk: int, body: ActWanted) -> acts.Extent:
    """What an act would change, and what it would leave. Changes nothing."""
    dataset, change, prompts, pairs = _act(request, pk, body)
    return acts.preview(dataset, change, prompts, pairs, by=access.person(request.user))


@router.post("/datasets/{id:pk}/acts", response=ActOut)
def act_on_prompts(request: HttpRequest, pk: int, body: ActWanted) -> dict[str, object]:
    """Do an act to prompts, in one transaction. It can be undone."""
    dataset, change, prompts, pairs = _act(request, pk, body)
    by = access.person(request.user)
    act = acts.do(dataset, change, prompts, pairs, by=by, query=body.query or "")
    tasks.enqueue_after(act)
    return _act_out(act)


@router.get("/datasets/{id:pk}/acts", response=Acts)
def list_acts(request: HttpRequest, pk: int, after: Query[After]) -> dict[str, object]:
    """Who did what to the data, the oldest first."""
    rows = Act.objects.of(_reviewed(request, pk)).select_related("by", "undone_by")
    return page_of(rows, after, _act_out)


@router.post("/acts/{id:pk}/undo", response=UndoneOut)
def undo_act(request: HttpRequest, pk: int) -> acts.Undone:
    """Give back what an act changed, where nothing came after it."""
    return acts.undo(access.act_for(request.user, pk), access.person(request.user))


@router.post("/datasets/{id:pk}/pairs/preview", response=PairsPreview)
def preview_pairs(request: HttpRequest, pk: int, body: PairsWanted) -> dict[str, object]:
    """How many more pairs there could be of the answers that there are, and what they would cost."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    found = more_pairs.find(dataset, _pairs(dataset, body).wanted(), ModelVersion.objects.serving(dataset))
    stored = quality.stored(dataset)
    seconds = stored.report["seconds"]["all"]["value"] if stored else None
    cost = more_pairs.cost_of(dataset, len(found.pairs), seconds)
    return {
        "pairs": len(found.pairs),
        "prompts": len(found.prompts),
        "possible": found.possible,
        "votes": cost.votes,
        "seconds": cost.votes * cost.seconds,
        "first": found.pairs[:5],
    }


@router.post("/datasets/{id:pk}/pairs", response=PairsMade)
def make_pairs(request: HttpRequest, pk: int, body: PairsWanted) -> dict[str, object]:
    """Make more pairs of the answers that there are."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form, version = _pairs(dataset, body), ModelVersion.objects.serving(dataset)
    by = access.person(request.user)
    act = more_pairs.make(dataset, form.wanted(), version, by, form.key_of_the_button())
    if act:
        enqueue.enqueue(tasks.score_missing, dataset.pk)
    return {"act": _act_out(act) if act else None}


@router.post("/datasets/{id:pk}/pairs/{id:act_pk}/undo", response=PairsUndone)
def undo_pairs(request: HttpRequest, pk: int, act_pk: int) -> dict[str, object]:
    """Remove the pairs of an act that nobody has begun."""
    act = access.act_in(request.user, pk, act_pk, Role.ADMIN)
    if act.kind != Act.Kind.PAIRS:
        raise Http404
    stayed = more_pairs.undo(act, access.person(request.user))
    return {"removed": act.pair_count - stayed, "stayed": stayed}


@router.get("/datasets/{id:pk}/similar", response=SimilarPrompts)
def find_similar(request: HttpRequest, pk: int, like: Query[Like]) -> dict[str, object]:
    """The prompts most like a prompt or an answer, the nearest first."""
    dataset = _reviewed(request, pk)
    try:
        rows = _similar(dataset, like)
    except similar.NoVector:
        raise Refused("There is no vector of this text yet.") from None
    return {
        "items": [
            {"prompt": prompt, "completion": completion, "similarity": max(0.0, cosine)}
            for prompt, completion, cosine in rows
        ]
    }


@router.get("/datasets/{id:pk}/topics", response=Topics)
def list_topics(request: HttpRequest, pk: int) -> dict[str, object]:
    """The topics with their figures, by number."""
    dataset = _reviewed(request, pk)
    runs = Run.objects.of(dataset).of_kind(Run.Kind.TOPICS).order_by("-pk")
    return {"items": list(Topic.objects.of(dataset)), "run": runs.first()}


@router.post("/datasets/{id:pk}/topics", response={202: RunOut})
def renew_topics(request: HttpRequest, pk: int) -> HttpResponse:
    """Compute the topics now, by a Run."""
    run = topic_run.begin(access.dataset_for(request.user, pk, Role.ADMIN), access.person(request.user))
    tasks.enqueue_run(run)
    return accepted(run)


@router.get("/datasets/{id:pk}/groups", response=Groups)
def list_groups(request: HttpRequest, pk: int, asked: Query[AfterGroup]) -> dict[str, object]:
    """Groups of several prompts that are the same or nearly the same, the largest first."""
    dataset = _reviewed(request, pk)
    clusters = Prompt.objects.of(dataset).clusters()
    if asked.after:
        size, _, last = asked.after.partition("_")
        clusters = clusters.filter(Q(size__lt=int(size)) | Q(size=int(size), group__gt=last))
    found = list(clusters[: asked.limit + 1])
    sizes = dict(found[: asked.limit])
    members: dict[str, list[int]] = {group: [] for group in sizes}
    rows = Prompt.objects.of(dataset).filter(group__in=list(sizes)).order_by("pk")
    for group, key in rows.values_list("group", "pk"):
        members[group].append(key)
    return {
        "items": [
            {"group": group, "split": split_of(group), "prompts": keys} for group, keys in members.items()
        ],
        "next_after": "{1}_{0}".format(*found[asked.limit - 1]) if len(found) > asked.limit else None,
    }


@router.get("/datasets/{id:pk}/tags", response=Tags)
def list_tags(request: HttpRequest, pk: int) -> dict[str, object]:
    """The words that prompts are tagged with."""
    names = Tag.objects.filter(dataset=_reviewed(request, pk)).values_list("name", flat=True)
    return {"items": list(names)}


def _reviewed(request: HttpRequest, pk: int) -> Dataset:
    return access.dataset_for(request.user, pk, Role.REVIEWER)


def _found(dataset: Dataset, query: str, *, needs_all: bool = False) -> Found:
    """Raises BadSelection, BadQuery."""
    selection = Selection.parse(query, dataset.facet_keys)
    return finding.find(dataset, selection, ModelVersion.objects.serving(dataset), needs_all=needs_all)


def _view(view: SavedView, person: User) -> dict[str, Any]:
    fields = ("name", "query", "shared", "created_at")
    own = {"id": view.pk, "is_own": view.owner_id == person.pk}
    return {**own, **{name: getattr(view, name) for name in fields}}


def _act(
    request: HttpRequest, pk: int, body: ActWanted
) -> tuple[Dataset, Change, Collection[int], Collection[int] | None]:
    """The dataset, what to do, and to which prompts and pairs. Raises Invalid."""
    role = CHANGES[body.kind].role if body.kind in CHANGES else Role.REVIEWER
    dataset = access.dataset_for(request.user, pk, role)
    if body.kind not in FORMS:
        raise Refused("Choose what to do. Nothing was changed.")
    form = FORMS[body.kind]
    change = valid(form(form_data(form, body.model_dump()))).change()
    if isinstance(change, Copy):
        _name_target(request, change)
    if (body.prompts is None) == (body.query is None):
        raise Refused("Name the prompts, or a query that finds them. Nothing was changed.")
    if body.prompts is not None:
        return dataset, change, body.prompts, body.pairs
    found = _found(dataset, body.query or "", needs_all=True)
    return dataset, change, found.prompts.tolist(), found.pairs.tolist() if found.of_pairs else None


def _name_target(request: HttpRequest, change: Copy) -> None:
    """Copies go to a dataset that the account administers, or to a new one."""
    if change.to:
        change.to_name = access.dataset_for(request.user, change.to, Role.ADMIN).name
    else:
        access.refuse_named_datasets_alone()


def _act_out(act: Act) -> dict[str, object]:
    fields = ("kind", "at", "query", "details", "prompt_count", "pair_count", "undone_at")
    return {
        "id": act.pk,
        "sentence": acts.sentence(act),
        "by": str(act.by) if act.by else None,
        "undone_by": str(act.undone_by) if act.undone_by else None,
        **{name: getattr(act, name) for name in fields},
    }


def _pairs(dataset: Dataset, body: PairsWanted) -> MorePairsForm:
    return valid(MorePairsForm(form_data(MorePairsForm, body.model_dump()), dataset=dataset))


def _similar(dataset: Dataset, like: Like) -> list[tuple[int, int | None, float]]:
    """(prompt, answer, cosine), the nearest first. Raises NoVector, Http404."""
    if like.completion:
        if not Completion.objects.of(dataset).filter(pk=like.completion).exists():
            raise Http404
        return [*similar.like_completion(dataset, like.completion, like.limit)]
    if not like.prompt or not Prompt.objects.of(dataset).filter(pk=like.prompt).exists():
        raise Http404
    near = similar.like_prompt(dataset, like.prompt, like.limit)
    best = similar.best_answers(dataset, like.prompt, [key for key, _ in near])
    return [(key, best[key][0] if key in best else None, cosine) for key, cosine in near]
