"""Annotating, as an annotator's own client does it: claim, judge, skip, flag, hold and reopen; qualify first
where the dataset asks for it; one's own progress and questions.

What is sent and answered is what the annotation page shows and sends, and no more: nothing tells what others
or a model said of a pair, or that it is gold or a repeat."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from ninja import Field, Query, Router, Schema

from scoring import messages
from scoring.messages import Message, message_reading
from workbench import access
from workbench.api.sending import Body, form_data, valid
from workbench.forms.annotate import AnswerForm, FlagForm, HeldForm, QualifyForm, SkipForm, WhichForm
from workbench.models import (
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    Outcome,
    QualificationAnswer,
)
from workbench.pipeline.annotate import answers, handout, items
from workbench.pipeline.annotate.items import Item, Pick
from workbench.pipeline.annotate.progress import days, progress_of, what_is_left
from workbench.pipeline.people import qualifying
from workbench.pipeline.questions import asked, examples

router = Router(tags=["annotate"])


# --- what is shown ------------------------------------------------------------------------------------------


class ShownPart(Schema):
    """A piece of a message. kind: text, reasoning, refusal, call, result or other; name: of the tool that is
    called."""

    kind: str
    name: str
    text: str


class ShownTurn(Schema):
    """A message. more: its other keys."""

    role: str
    name: str
    parts: list[ShownPart]
    more: dict[str, Any]


class ShownSide(Schema):
    """An answer in the order shown. name: left or right, or 1, 2, 3, ... in a ranking; text: as models read
    it; turns: its messages, empty where it is the text alone."""

    name: str
    text: str
    turns: list[ShownTurn]


class ShownPick(Schema):
    """What the model picks. value: an answer that could be sent; differs: from the vote."""

    value: str
    words: str
    sure: str
    notice: str
    differs: bool


class ShownVote(Schema):
    """The vote of a reopened item. supersedes: to be sent with the vote that takes its place."""

    judgment: int
    answer: str
    comment: str
    supersedes: str


class ShownItem(Schema):
    """A pair, or a ranking of three or more answers, as its annotator sees it. comparison, claim and key go
    back with the vote. has_reveal: the model's pick comes with the answer to the vote; pick: the one that is
    shown before. tools: what the model could call."""

    comparison: int
    claim: int | None
    key: UUID
    mode: str
    has_reveal: bool
    turns: list[ShownTurn]
    tools: Any
    sides: list[ShownSide]
    pick: ShownPick | None
    why_no_pick: str
    vote: ShownVote | None


class Lacking(Schema):
    """Pairs that wait for somebody else. words: what that person has."""

    pairs: int
    words: str


class NothingLeft(Schema):
    """Why no item came. detail: in words; is_sorting: a worker still reads what some pairs require."""

    reason: Literal["paused", "must_qualify", "no_pairs", "none_for_you", "answer_first"]
    detail: str
    skipped: int = 0
    lacks: list[Lacking] = []
    is_sorting: bool = False


class NextItem(Schema):
    """The next item, or why there is none. guidelines: the version that holds, to be sent with the vote;
    hold_seconds: how often to hold what is open; is_warned: a pause of the account's voting is near."""

    item: ShownItem | None
    nothing_left: NothingLeft | None
    guidelines: int | None
    hold_seconds: int
    is_warned: bool


# --- what is sent -------------------------------------------------------------------------------------------


class Wanted(Body):
    """have: the comparisons that the client shows or keeps; again: also what was skipped; along: hold up to
    40 more than usual, for two hours, to be voted on without a connection."""

    have: list[int] = []
    again: bool = False
    along: bool = False


class Shown(Body):
    """The comparison and the claim of an item."""

    comparison: int
    claim: int | None = None


class Vote(Shown):
    """A vote. answer: left, left:2 (much better), right, right:2, tie, both_bad, cannot_judge, or for a
    ranking ranks:2,1,2 with the rank of each side, 1 = best. seconds: from shown to answered."""

    key: UUID = Field(strict=False)
    answer: str
    supersedes: UUID | None = Field(None, strict=False)
    guidelines: int | None = None
    seconds: float | None = None
    comment: str = ""


class FlagSent(Shown):
    """A flag. reason: broken, unsafe, identity, prompt, language or other."""

    reason: str
    note: str = ""


class Which(Body):
    """before: only what is older than this judgment."""

    before: int | None = None


class HeldSent(Body):
    have: list[int]


# --- what is answered ---------------------------------------------------------------------------------------


class Voted(Schema):
    """The stored vote. pick: the model's, after a first blind vote that has one."""

    judgment: int
    pick: ShownPick | None


class Held(Schema):
    """held: comparisons that are still held; the others went to somebody else."""

    held: list[int]
    guidelines: int | None


class Reopened(Schema):
    """item: null where there is no vote to reopen."""

    item: ShownItem | None


class VotesOfDay(Schema):
    date: date
    votes: int


class OwnProgress(Schema):
    """How many votes the account gave: in all, today, in the last hour, and on each of its last days.
    has_news: something became of one of its questions."""

    total: int
    today: int
    hour: int
    days: list[VotesOfDay]
    has_news: bool


class ShownExample(Schema):
    """A pair that a reviewer made an example. outcome: the right one, with these sides."""

    prompt: str
    left: str
    right: str
    outcome: str
    why: str


class GuidelinesWithExamples(Schema):
    """id: null where the dataset has no guidelines."""

    id: int | None
    number: int
    text: str
    examples: list[ShownExample]


class OwnQuestion(Schema):
    """A flag or a comment of the account, and what became of it. flag: the reason in words, empty for a
    comment; prompt, left and right: their beginnings; outcome: of a reviewer, by these sides; is_closed: a
    reviewer closed the flag and left the pair without a final label."""

    at: datetime
    flag: str
    text: str
    prompt: str
    left: str
    right: str
    outcome: str
    is_excluded: bool
    is_closed: bool
    is_news: bool
    reply: str
    replied_at: datetime | None


class OwnQuestions(Schema):
    """A page of questions, newest first. pages: how many there are."""

    items: list[OwnQuestion]
    pages: int


class QualificationAttempt(Schema):
    """A try. right and passed: null until it ends."""

    number: int
    pairs: int
    needed: int
    answered: int
    right: int | None
    passed: bool | None


class QualificationStanding(Schema):
    """How the account stands. state: off, exempt, waived, passed, too_few (pairs with a known answer: nobody
    is asked), open, due or failed; pairs and needed: how many are asked, and how many right ones pass; left:
    tries that may be started."""

    state: str
    pairs: int
    needed: int
    left: int
    last: QualificationAttempt | None


class QualificationPair(Schema):
    """A pair of a try. pair: to be sent with the answer; position: from 1."""

    pair: int
    position: int
    pairs: int
    item: ShownItem


class QualificationNow(Schema):
    """pair: the one that waits for an answer; null where none does, as `standing` says."""

    standing: QualificationStanding
    pair: QualificationPair | None


class QualificationSent(Body):
    """answer: left, right, tie or both_bad."""

    pair: int
    answer: str
    seconds: float | None = None


class QualificationResult(Schema):
    """An answered pair. known: the right answer; why: its explanation; is_last: the try is over."""

    pair: int
    answer: str
    known: str
    is_right: bool
    why: str
    is_last: bool


class QuestionsAt(Schema):
    page: int = 1


# --- pairs --------------------------------------------------------------------------------------------------


@router.post("/datasets/{id:pk}/annotate/claim", response=NextItem)
def claim_pair(request: HttpRequest, pk: int, body: Wanted) -> HttpResponse:
    """Get the next pair or ranking to vote on, or the reason why there is none. It is held for some minutes:
    hold it for longer, vote, or skip it."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = valid(HeldForm(_held(body.have, body.again, body.along)))
    have, again, along = (form.cleaned_data[name] for name in ("have", "again", "along"))
    guidelines = dataset.current_guidelines
    with items.AT_ONCE:
        claim = handout.next_claim(dataset, annotator, have, again, along)
        answer = NextItem(
            item=_item(Item.of(claim)) if claim else None,
            nothing_left=None if claim else _nothing_left(dataset, annotator, have),
            guidelines=guidelines.pk if guidelines else None,
            hold_seconds=dataset.lease_minutes * 20,
            is_warned=annotator.is_warned,
        )
        return _written(answer)


@router.post("/datasets/{id:pk}/annotate/judge", response=Voted)
def judge_pair(request: HttpRequest, pk: int, body: Vote) -> Voted:
    """Store a vote. Sent again with its key, it is the same vote; with `supersedes`, it takes the place of
    the vote of that key."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = valid(AnswerForm(form_data(AnswerForm, {**body.model_dump(), "user": annotator.user_id})))
    comparison = _comparison(dataset, form.cleaned_data["comparison"])
    claim = form.cleaned_data["claim"]
    judgments = answers.record(annotator, comparison, form.answer_in(dataset), form.ranks, claim)
    return Voted(judgment=judgments[0].pk, pick=_pick(items.pick_after(judgments)))


@router.post("/datasets/{id:pk}/annotate/skip", response={204: None})
def skip_pair(request: HttpRequest, pk: int, body: Shown) -> HttpResponse:
    """Give a pair or ranking back: others get it first."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = valid(SkipForm(form_data(SkipForm, {**body.model_dump(), "user": annotator.user_id})))
    comparison = _comparison(dataset, form.cleaned_data["comparison"])
    answers.skip(annotator, comparison, form.cleaned_data["claim"])
    return HttpResponse(status=204)


@router.post("/datasets/{id:pk}/annotate/flag", response={204: None})
def flag_pair(request: HttpRequest, pk: int, body: FlagSent) -> HttpResponse:
    """Flag a pair or ranking for a reviewer. A flag is not a vote: vote or skip as well."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = valid(FlagForm(form_data(FlagForm, {**body.model_dump(), "user": annotator.user_id})))
    reason, note, claim = (form.cleaned_data[name] for name in ("reason", "note", "claim"))
    comparison = _comparison(dataset, form.cleaned_data["comparison"])
    answers.flag(annotator, comparison, reason, note, claim)
    return HttpResponse(status=204)


@router.post("/datasets/{id:pk}/annotate/hold", response=Held)
def hold_pairs(request: HttpRequest, pk: int, body: HeldSent) -> Held:
    """Hold what the client has open for as long again."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = valid(HeldForm(_held(body.have)))
    guidelines = dataset.current_guidelines
    held = handout.extend_claims(dataset, annotator, form.cleaned_data["have"])
    return Held(held=held, guidelines=guidelines.pk if guidelines else None)


@router.post("/datasets/{id:pk}/annotate/reopen", response=Reopened)
def reopen_pair(request: HttpRequest, pk: int, body: Which) -> HttpResponse:
    """Get the last vote again, to change it; with `before`, the last one that is older."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    answers.refuse_barred(annotator)
    form = valid(WhichForm(form_data(WhichForm, body.model_dump())))
    with items.AT_ONCE:
        reopened = items.reopened(dataset, annotator, form.cleaned_data["before"])
        return _written(Reopened(item=_item(reopened) if reopened else None))


@router.get("/datasets/{id:pk}/annotate/progress", response=OwnProgress)
def read_progress(request: HttpRequest, pk: int) -> OwnProgress:
    """How much the account has voted here. Results of checks are for admins."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    done = progress_of(dataset, annotator)
    return OwnProgress(
        total=done.total,
        today=done.today,
        hour=done.hour,
        days=[VotesOfDay(date=day.date, votes=day.answers) for day in days(dataset, annotator)],
        has_news=asked.has_news(dataset, annotator),
    )


# --- guidelines and questions -------------------------------------------------------------------------------


@router.get("/datasets/{id:pk}/annotate/guidelines", response=GuidelinesWithExamples)
def read_examples(request: HttpRequest, pk: int) -> GuidelinesWithExamples:
    """The guidelines with their examples. Who has read an example does not vote on its pair any more."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    guidelines = dataset.current_guidelines
    return GuidelinesWithExamples(
        id=guidelines.pk if guidelines else None,
        number=guidelines.number if guidelines else 0,
        text=guidelines.text if guidelines else "",
        examples=[_example(shown) for shown in examples.shown_to(dataset, annotator)],
    )


@router.get("/datasets/{id:pk}/annotate/questions", response=OwnQuestions)
def list_questions(request: HttpRequest, pk: int, at: Query[QuestionsAt]) -> OwnQuestions:
    """The flags and comments of the account, and what became of them. Once it has read what became of a pair,
    its vote on the pair stands."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    paginator = asked.questions(dataset, annotator)
    rows = asked.read(dataset, annotator, list(paginator.get_page(at.page)))
    return OwnQuestions(items=[_question(row) for row in rows], pages=paginator.num_pages)


# --- qualification ------------------------------------------------------------------------------------------


@router.get("/datasets/{id:pk}/qualification", response=QualificationStanding)
def read_qualification(request: HttpRequest, pk: int) -> QualificationStanding:
    """Whether the account must qualify before its first vote, and how its last try went."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    return _standing(dataset, annotator)


@router.post("/datasets/{id:pk}/qualification/start", response=QualificationNow)
def start_qualification(request: HttpRequest, pk: int) -> HttpResponse:
    """Start a try, or go on with the open one: get the pair that waits for an answer."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    answers.refuse_paused(annotator)
    attempt = qualifying.start(dataset, annotator, dataset.role)
    with items.AT_ONCE:
        shown = qualifying.pair_now(attempt)
        pair = _qualification_pair(shown) if shown else None
        return _written(QualificationNow(standing=_standing(dataset, annotator), pair=pair))


@router.post("/datasets/{id:pk}/qualification/answer", response=QualificationResult)
def answer_qualification(request: HttpRequest, pk: int, body: QualificationSent) -> QualificationResult:
    """Answer a pair of a try, and learn which answer is right, and why."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    answers.refuse_paused(annotator)
    given = valid(QualifyForm(form_data(QualifyForm, body.model_dump()))).cleaned_data
    answered = qualifying.answer(dataset, annotator, given["pair"], given["answer"], given["seconds"])
    return QualificationResult(
        pair=answered.pk,
        answer=Outcome.seen_as(answered.outcome, answered.left),
        known=Outcome.seen_as(answered.known, answered.left),
        is_right=answered.is_right,
        why=answered.comparison.gold_note,
        is_last=answered.position >= answered.attempt.pairs,
    )


# --- as it is written ---------------------------------------------------------------------------------------


def _written(answer: Schema) -> HttpResponse:
    """The answer, written while `items.AT_ONCE` is held: its texts may be long."""
    return HttpResponse(answer.model_dump_json(), content_type="application/json")


def _held(have: Sequence[int], again: bool = False, along: bool = False) -> QueryDict:
    return form_data(HeldForm, {"have": ",".join(map(str, have)), "again": again, "along": along})


def _comparison(dataset: Dataset, pk: int) -> Comparison:
    comparison = answers.comparison_in(dataset, pk)
    if comparison is None:
        raise Http404
    return comparison


def _item(item: Item) -> ShownItem:
    first = item.judgment
    return ShownItem(
        comparison=item.comparison.pk,
        claim=item.claim.pk,
        key=item.key,
        mode=item.claim.mode,
        has_reveal=item.has_reveal,
        turns=[_turn(message) for message in item.messages],
        tools=item.comparison.prompt.tools,
        sides=[_side(name, completion) for name, completion in item.sides],
        pick=_pick(item.suggestion),
        why_no_pick=item.why_no_suggestion,
        vote=_vote(item, first) if first else None,
    )


def _vote(item: Item, first: Judgment) -> ShownVote:
    answer = item.answer.value if item.answer else ""
    return ShownVote(judgment=first.pk, answer=answer, comment=first.comment, supersedes=item.supersedes)


def _side(name: str, completion: Completion) -> ShownSide:
    turns = [_turn(message) for message in completion.conversation or ()]
    if turns and turns[0].role == "assistant":
        turns[0].name = ""  # the page shows no name there: it could be the model's
    return ShownSide(name=name, text=completion.text, turns=turns)


def _turn(message: Message) -> ShownTurn:
    return ShownTurn(
        role=str(message["role"]),
        name=str(message.get("name") or ""),
        parts=[ShownPart(kind=kind, name=name, text=text) for kind, name, text in messages.pieces(message)],
        more=messages.other_keys(message),
    )


def _pick(pick: Pick | None) -> ShownPick | None:
    return ShownPick.from_orm(pick) if pick else None


def _nothing_left(dataset: Dataset, annotator: Annotator, have: Sequence[int]) -> NothingLeft:
    if annotator.paused_for is not None:
        return NothingLeft(reason="paused", detail=annotator.paused_for)
    if annotator.must_qualify:
        return NothingLeft(reason="must_qualify", detail="Qualify before the first vote.")
    if have:
        return NothingLeft(reason="answer_first", detail="No more pairs while these are open.")
    left = what_is_left(dataset, annotator)
    if left.is_empty:
        return NothingLeft(reason="no_pairs", detail="The dataset has no pairs yet.")
    return NothingLeft(
        reason="none_for_you",
        detail="No pairs for this account right now.",
        skipped=left.skipped,
        lacks=[Lacking(pairs=one.pairs, words=one.words) for one in left.lacks],
        is_sorting=left.is_sorting,
    )


def _example(shown: examples.Shown) -> ShownExample:
    too_long = shown.prompt.too_long
    left, right = (
        vars(completion)["beginning"] if too_long else completion.text for _, completion in shown.answers
    )
    readings = [] if too_long else map(message_reading, shown.prompt.messages)
    return ShownExample(
        prompt=vars(shown.prompt)["beginning"][:400] if too_long else "\n".join(readings),
        left=left,
        right=right,
        outcome=Outcome.seen_as(shown.outcome, Outcome.A),
        why=shown.why,
    )


def _question(asked_about: asked.Question) -> OwnQuestion:
    (_, left), (_, right) = asked_about.answers
    became = asked_about.became
    return OwnQuestion(
        at=asked_about.at,
        flag=asked_about.flag,
        text=asked_about.text,
        prompt=asked_about.prompt,
        left=left,
        right=right,
        outcome=Outcome.seen_as(became.outcome, asked_about.left),
        is_excluded=became.is_excluded,
        is_closed=asked_about.is_closed,
        is_news=became.is_news,
        reply=became.reply,
        replied_at=became.replied_at,
    )


def _standing(dataset: Dataset, annotator: Annotator) -> QualificationStanding:
    standing = qualifying.standing(dataset, annotator, dataset.role)
    return QualificationStanding(
        state=standing.state.name.lower(),
        pairs=dataset.qualify_pairs,
        needed=qualifying.needed(dataset),
        left=standing.left,
        last=QualificationAttempt.from_orm(standing.last) if standing.last else None,
    )


def _qualification_pair(shown: QualificationAnswer) -> QualificationPair:
    return QualificationPair(
        pair=shown.pk,
        position=shown.position,
        pairs=shown.attempt.pairs,
        item=_item(Item.of_qualification(shown)),
    )
