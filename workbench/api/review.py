"""Review: the queue of disagreements, one case, settling, gold, gaps of the guidelines, replies, examples."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.problems import Conflict
from workbench.api.requests import unless_stale
from workbench.api.sending import After, Body, etag_of, form_data, page_of, valid
from workbench.forms.questions import ExampleForm, ReplyForm
from workbench.forms.review import GoldForm, ReviewFilterForm, SettleForm, UnsettleForm
from workbench.models import (
    Comparison,
    Completion,
    Decision,
    Example,
    Flag,
    Guidelines,
    Judgment,
    ModelVersion,
    Prompt,
    Reply,
    Role,
    Suggestion,
)
from workbench.pipeline import quality
from workbench.pipeline.datasets.overview import QUEUE_COUNTS
from workbench.pipeline.quality.reports import agreement_under
from workbench.pipeline.questions import replying
from workbench.pipeline.review import chips, decide
from workbench.pipeline.review import queue as review_queue
from workbench.pipeline.review.gold import mark_gold
from workbench.pipeline.scoring import suggestions

router = Router(tags=["review"])

Row = TypeVar("Row", Reply, Example)

LATEST_VERSIONS = 100
CHANGED = "Nothing was saved: somebody has voted on, flagged or settled this pair meanwhile. Read it again."


class ReviewFilters(Schema):
    """Which cases. queue: people, labels, model or all; where: a selection as the Data page writes it; q: a
    search; old: a model to compare with; group: of prompts."""

    queue: str = ""
    why: str = ""
    q: str = ""
    where: str = ""
    annotator: int | None = None
    source: str = ""
    lengths: str = ""
    version: int | None = None
    old: int | None = None
    group: str = ""


class ReviewWalk(ReviewFilters):
    """order: value, surest, oldest or newest; votes: shown, for the sides of the votes of open cases; after,
    as_of, version: from the answer before, to go on in the same order."""

    order: str = ""
    votes: str = ""
    after: str = ""
    as_of: float | None = None
    limit: int = Field(30, ge=1, le=100)


class ReviewRow(Schema):
    """A case of the queue. why: the reasons; split: how many votes each outcome has, the most first; votes:
    by outcome, and suggested: the model's pick; both null until the case is settled or `votes` is shown;
    sure: the probability of the pick; settled: the outcome, empty while the case is open."""

    comparison: int
    prompt: int
    excerpt: str
    why: list[str]
    since: datetime | None
    split: list[int]
    votes: dict[str, int] | None
    suggested: str | None
    sure: float | None
    settled: str
    decision: int | None


class ReviewRows(Schema):
    """after: what to ask for next, empty at the end. waiting: new prompts that a search leaves out, as a
    worker has not yet made them searchable."""

    items: list[ReviewRow]
    after: str
    as_of: float
    version: int | None
    waiting: int


class ReviewCounts(Schema):
    """How many cases each filter leaves. queues: the whole queues. waiting: as in ReviewRows."""

    queues: dict[str, int | None]
    why: dict[str, int]
    source: dict[str, int]
    annotator: dict[str, int]
    lengths: dict[str, int]
    waiting: int


class CaseSide(Schema):
    """One of the two answers. source: who wrote it."""

    completion: int
    source: str
    text: str
    messages: list[dict[str, Any]]


class CaseVote(Schema):
    """A vote or a label. purpose: work, gold or repeat; left: the answer that stood on the left."""

    id: int
    annotator: int
    name: str
    is_imported: bool
    outcome: str
    strength: int | None
    purpose: str
    stage: str
    mode: str
    left: str
    suggested: str
    seconds: float | None
    comment: str
    is_current: bool
    created_at: datetime


class CasePick(Schema):
    """What a model picks. lead: its margin; probability: of the picked answer, null while not calibrated."""

    version: int
    name: str
    is_serving: bool
    outcome: str
    lead: float
    probability: float | None
    notice: str


class CaseDecision(Schema):
    """A final label. method: reviewer, or how it follows from the votes."""

    id: int
    outcome: str
    method: str
    reason: str
    note: str
    blind_outcome: str
    votes: int
    votes_for: int
    probability: float | None
    decided_by: str
    is_current: bool
    created_at: datetime
    undone_by: str
    undone_at: datetime | None


class CaseFlag(Schema):
    annotator: int
    name: str
    reason: str
    note: str
    created_at: datetime
    closed_at: datetime | None


class CaseReply(Schema):
    """What a reviewer answered to one annotator. is_held: that person may still vote on the pair, and reads
    it later; an empty text: it was taken back."""

    id: int
    annotator: int
    text: str
    by: str
    created_at: datetime
    is_held: bool
    read_at: datetime | None


class CaseExample(Schema):
    """Why the pair is an example in the guidelines. An empty text: it was taken back."""

    id: int
    text: str
    by: str
    created_at: datetime
    is_held: bool


class ReviewCase(Schema):
    """All about one pair. seen: to be sent with the answer; outcomes name the answers a and b, and `left` is
    the one that this reviewer's page shows on the left; gold_outcome: the known answer, empty for none;
    gold_note: its explanation."""

    comparison: int
    dataset: int
    prompt: int
    group: str
    why: list[str]
    messages: list[dict[str, Any]]
    tools: Any
    a: CaseSide
    b: CaseSide
    left: str
    gold_outcome: str
    gold_note: str
    settled: bool
    seen: str
    votes: list[CaseVote]
    picks: list[CasePick]
    flags: list[CaseFlag]
    decisions: list[CaseDecision]
    replies: list[CaseReply]
    example: CaseExample | None
    may_be_example: bool


class Settling(Body):
    """outcome: a, b, tie, both_bad or drop; seen: of the case; reason: model_wrong, slip, ambiguous,
    guideline_gap or bad_data, where the last two want a note; blind_outcome: what was chosen before the votes
    were seen."""

    outcome: str
    seen: str
    reason: str = ""
    note: str = ""
    blind_outcome: str = ""


class Unsettling(Body):
    """The decision to undo."""

    decision: int


class KnownAnswer(Body):
    """outcome: a, b, tie or both_bad; empty: the pair is ordinary again. note: why it is right, for whoever
    qualifies."""

    outcome: str
    note: str = ""


class ReplyText(Body):
    """annotator: who asked; an empty text takes the reply back; closes_flag: nothing is wrong with the pair,
    so their flag is closed."""

    annotator: int
    text: str
    closes_flag: bool = False


class ExampleText(Body):
    """Why the final label is right; an empty text takes the example back."""

    text: str


class Written(Schema):
    """What was stored. id: to undo it by."""

    id: int
    text: str


class Gap(Schema):
    """A pair that the guidelines do not cover."""

    comparison: int
    prompt: int
    excerpt: str
    note: str
    by: str
    created_at: datetime


class AgreementUnder(Schema):
    """People's agreement under one version of the guidelines, as of the last figures: null where there are
    too few votes."""

    number: int
    created_at: datetime
    value: float | None
    low: float | None
    high: float | None
    pairs: int


class Gaps(Schema):
    items: list[Gap]
    next_after: int | None
    versions: list[AgreementUnder]


# --- the queue ----------------------------------------------------------------------------------------------


@router.get("/datasets/{id:pk}/review", response=ReviewRows)
def list_cases(request: HttpRequest, pk: int, walk: Query[ReviewWalk]) -> ReviewRows:
    """The cases that wait for a reviewer, in order."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    form = valid(ReviewFilterForm(form_data(ReviewFilterForm, walk.model_dump()), dataset=dataset))
    version, filters = form.shown_version, form.filters()
    page = review_queue.page(dataset, version, filters, form.cleaned_data["after"], size=walk.limit)
    prompts = {case.comparison.prompt_id for case in page.cases}
    excerpts = Prompt.objects.filter(pk__in=prompts).excerpts()
    shown = form.cleaned_data["votes"] == "shown"
    return ReviewRows(
        items=[_row(case, version, excerpts[case.comparison.prompt_id], shown) for case in page.cases],
        after=page.after,
        as_of=filters.as_of.timestamp(),
        version=version.pk if version else None,
        waiting=form.waiting,
    )


@router.get("/datasets/{id:pk}/review/counts", response=ReviewCounts)
def count_cases(request: HttpRequest, pk: int, chosen: Query[ReviewFilters]) -> ReviewCounts:
    """How many cases each queue has, and each further filter leaves."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    form = valid(ReviewFilterForm(form_data(ReviewFilterForm, chosen.model_dump()), dataset=dataset))
    counts = chips.counted(dataset, form.serving, form.shown_version, form.filters(), form.selection)
    queues = {queue.value: getattr(form.counted, name) for name, queue in QUEUE_COUNTS.items()}
    kinds = ("why", "source", "annotator", "lengths")
    numbers = {kind: _numbers(counts, kind) for kind in kinds}
    return ReviewCounts(queues=queues, waiting=form.waiting, **numbers)


@router.get("/review/{id:pk}", response=ReviewCase)
def read_case(request: HttpRequest, response: HttpResponse, pk: int) -> ReviewCase:
    """One pair with its votes, flags, model picks and final labels. It need not be in the queue. The ETag
    makes a change of its known answer safe."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    response["ETag"] = _etag(comparison)
    left = decide.left_of(comparison, access.person(request.user))
    return _case(comparison, left)


# --- deciding -----------------------------------------------------------------------------------------------


@router.post("/review/{id:pk}/settle", response=CaseDecision)
def settle_case(request: HttpRequest, pk: int, body: Settling) -> CaseDecision:
    """Give the pair its final label. Refused where somebody voted, flagged or settled since it was read."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    given = valid(SettleForm(form_data(SettleForm, body.model_dump()), of=comparison)).cleaned_data
    answer = {name: given[name] for name in ("outcome", "reason", "note", "blind_outcome")}
    result = decide.settle(comparison, access.person(request.user), seen_token=given["seen"], **answer)
    if isinstance(result, decide.Conflict):
        raise Conflict(409, "changed_meanwhile", CHANGED)
    return _decision(result)


@router.post("/review/{id:pk}/unsettle", response={204: None})
def unsettle_case(request: HttpRequest, pk: int, body: Unsettling) -> HttpResponse:
    """Undo a reviewer's decision: what stood before it stands again."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    form = valid(UnsettleForm(form_data(UnsettleForm, body.model_dump())))
    decision = comparison.decisions.filter(pk=form.cleaned_data["decision"]).first()
    if decision is None or not decide.undo(decision, access.person(request.user)):
        raise Conflict(409, "changed_meanwhile", "Nothing was undone: this final label stands no more.")
    return HttpResponse(status=204)


@router.post("/review/{id:pk}/gold", response={204: None})
def set_gold(request: HttpRequest, pk: int, body: KnownAnswer) -> HttpResponse:
    """Use the pair as a check with this known answer, or stop using it."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    given = valid(GoldForm(form_data(GoldForm, body.model_dump()))).cleaned_data
    with unless_stale(request, comparison, _etag):
        mark_gold(comparison, given["outcome"], access.person(request.user), given["note"])
    return HttpResponse(status=204)


@router.get("/datasets/{id:pk}/review/gaps", response=Gaps)
def list_gaps(request: HttpRequest, pk: int, after: Query[After]) -> dict[str, object]:
    """The pairs that reviewers settled for a gap of the guidelines, and people's agreement under each version
    of the guidelines."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    found = page_of(decide.guideline_gaps(dataset), after, lambda decision: decision)
    decisions = cast("list[Decision]", found["items"])
    prompts = {decision.comparison.prompt_id for decision in decisions}
    excerpts = Prompt.objects.filter(pk__in=prompts).excerpts()
    stored = quality.stored(dataset)
    report = stored.report if stored else None
    versions = dataset.guidelines.order_by("-number")[:LATEST_VERSIONS]
    return {
        **found,
        "items": [_gap(decision, excerpts) for decision in decisions],
        "versions": [_agreement(version, report) for version in versions],
    }


# --- replies and examples -----------------------------------------------------------------------------------


@router.post("/review/{id:pk}/reply", response=Written)
def reply_to_annotator(request: HttpRequest, pk: int, body: ReplyText) -> Reply:
    """Reply to whoever flagged the pair or commented on it. Who may still vote on the pair reads it later."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    given = valid(ReplyForm(form_data(ReplyForm, body.model_dump()))).cleaned_data
    by = access.person(request.user)
    return replying.reply_to(comparison, given["annotator"], given["text"], by, given["closes_flag"])


@router.post("/replies/{id:pk}/undo", response=Written)
def undo_reply(request: HttpRequest, pk: int) -> Reply:
    """Put back the reply that was there before."""
    row = access.reply_for(request.user, pk)
    return _put_back(replying.undo(row, access.person(request.user)))


@router.post("/review/{id:pk}/example", response=Written)
def make_example(request: HttpRequest, pk: int, body: ExampleText) -> Example:
    """Show the pair as an example in the guidelines, once nobody may vote on it any more."""
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    form = valid(ExampleForm(form_data(ExampleForm, body.model_dump())))
    return replying.make_example(comparison, form.cleaned_data["text"], access.person(request.user))


@router.post("/examples/{id:pk}/undo", response=Written)
def undo_example(request: HttpRequest, pk: int) -> Example:
    """Put back the example that was there before."""
    row = access.example_for(request.user, pk)
    return _put_back(replying.undo(row, access.person(request.user)))


# --- as it is written ---------------------------------------------------------------------------------------


def _row(case: review_queue.QueueCase, version: ModelVersion | None, excerpt: str, shown: bool) -> ReviewRow:
    decision = case.decision
    settled = decision.outcome if decision and decision.method == Decision.Method.REVIEWER else ""
    margin = None if version is None else case.margin
    pick = None if margin is None else Suggestion(version=version, margin=margin)
    sure = None if margin is None else Suggestion(version=version, margin=abs(margin)).probability
    is_told = shown or bool(settled)
    return ReviewRow(
        comparison=case.comparison.pk,
        prompt=case.comparison.prompt_id,
        excerpt=excerpt,
        why=[why.value for why in case.why],
        since=case.since,
        split=sorted((n for n in case.votes.values() if n), reverse=True),
        votes=case.votes if is_told else None,
        suggested=pick.outcome if pick and is_told else None,
        sure=sure,
        settled=settled,
        decision=decision.pk if decision and settled else None,
    )


def _numbers(counts: chips.Counts, kind: str) -> dict[str, int]:
    numbers: Mapping[object, int] = getattr(counts, kind)
    return {str(name): n for name, n in numbers.items()}


def _case(comparison: Comparison, left: str) -> ReviewCase:
    dataset = comparison.dataset
    case = review_queue.case(comparison.pk, ModelVersion.objects.serving(dataset))
    pair = case.comparison
    votes = list(pair.judgments.select_related("annotator__user").order_by("annotator", "pk"))
    flags = list(pair.flags.select_related("annotator__user").order_by("pk"))
    decisions = list(pair.decisions.select_related("decided_by", "undone_by").order_by("-pk"))
    standing = [decision for decision in decisions if decision.is_current]
    about = replying.about(dataset, [pair], flags, votes, decisions)[pair.pk]
    current = [vote for vote in votes if vote.is_current]
    still_open = [flag for flag in flags if flag.closed_at is None]
    return ReviewCase(
        comparison=pair.pk,
        dataset=dataset.pk,
        prompt=pair.prompt_id,
        group=pair.prompt.group,
        why=[why.value for why in case.why],
        messages=pair.prompt.messages,
        tools=pair.prompt.tools,
        a=_side(pair.a),
        b=_side(pair.b),
        left=left,
        gold_outcome=pair.gold_outcome,
        gold_note=pair.gold_note,
        settled=any(decision.method == Decision.Method.REVIEWER for decision in standing),
        seen=decide.token_of(pair, current, still_open, standing),
        votes=[_vote(vote) for vote in votes],
        picks=[_pick(said) for said in suggestions.said_of(pair, dataset)],
        flags=[_flag(flag) for flag in flags],
        decisions=[_decision(decision) for decision in decisions],
        replies=[_reply(asked, asked.reply) for asked in about.asked if asked.reply],
        example=_example(about.example) if about.example else None,
        may_be_example=about.may_be_example,
    )


def _etag(comparison: Comparison) -> str:
    return etag_of({"outcome": comparison.gold_outcome, "note": comparison.gold_note})


def _side(completion: Completion) -> CaseSide:
    return CaseSide(
        completion=completion.pk,
        source=completion.source,
        text=completion.text,
        messages=completion.messages,
    )


def _vote(vote: Judgment) -> CaseVote:
    return CaseVote(
        id=vote.pk,
        annotator=vote.annotator_id,
        name=str(vote.annotator),
        is_imported=vote.annotator.is_imported,
        outcome=vote.outcome,
        strength=vote.strength,
        purpose=vote.purpose,
        stage=vote.stage,
        mode=vote.mode,
        left=vote.left,
        suggested=vote.suggested,
        seconds=vote.seconds,
        comment=vote.comment,
        is_current=vote.is_current,
        created_at=vote.created_at,
    )


def _pick(said: suggestions.Said) -> CasePick:
    return CasePick(
        version=said.version.pk,
        name=said.version.name,
        is_serving=said.active,
        outcome=said.outcome,
        lead=said.lead,
        probability=said.probability,
        notice=said.version.notice,
    )


def _flag(flag: Flag) -> CaseFlag:
    return CaseFlag(
        annotator=flag.annotator_id,
        name=str(flag.annotator),
        reason=flag.reason,
        note=flag.note,
        created_at=flag.created_at,
        closed_at=flag.closed_at,
    )


def _decision(decision: Decision) -> CaseDecision:
    return CaseDecision(
        id=decision.pk,
        outcome=decision.outcome,
        method=decision.method,
        reason=decision.reason,
        note=decision.note,
        blind_outcome=decision.blind_outcome,
        votes=decision.votes,
        votes_for=decision.votes_for,
        probability=decision.probability,
        decided_by=str(decision.decided_by or ""),
        is_current=decision.is_current,
        created_at=decision.created_at,
        undone_by=str(decision.undone_by or ""),
        undone_at=decision.undone_at,
    )


def _reply(asked: replying.Asked, row: replying.Written) -> CaseReply:
    return CaseReply(
        id=row.pk,
        annotator=asked.annotator.pk,
        text=row.text,
        by=row.by,
        created_at=row.created_at,
        is_held=row.is_held,
        read_at=asked.read_at,
    )


def _example(row: replying.Written) -> CaseExample:
    return CaseExample(
        id=row.pk,
        text=row.text,
        by=row.by,
        created_at=row.created_at,
        is_held=row.is_held,
    )


def _put_back(row: Row | None) -> Row:
    """Raises Conflict where nothing was put back."""
    if row is None:
        raise Conflict(409, "changed_meanwhile", "Nothing was undone: somebody has changed it since.")
    return row


def _gap(decision: Decision, excerpts: Mapping[int, str]) -> Gap:
    return Gap(
        comparison=decision.comparison_id,
        prompt=decision.comparison.prompt_id,
        excerpt=excerpts[decision.comparison.prompt_id],
        note=decision.note,
        by=str(decision.decided_by or ""),
        created_at=decision.created_at,
    )


def _agreement(version: Guidelines, report: quality.Report | None) -> AgreementUnder:
    row = agreement_under(report, version.number)
    raw = row["raw"] if row else None
    return AgreementUnder(
        number=version.number,
        created_at=version.created_at,
        value=raw["value"] if raw else None,
        low=raw["low"] if raw else None,
        high=raw["high"] if raw else None,
        pairs=row["units"] if row else 0,
    )
