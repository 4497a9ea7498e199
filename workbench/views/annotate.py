"""The annotation page and what its script asks for. An answer is an ordinary form: sent by the browser itself
it is answered with a redirect, sent by the script (which asks for JSON) with JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID, uuid4

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from scoring import shares
from scoring.messages import said
from workbench import access
from workbench.forms.annotate import AnswerForm, FlagForm, HeldForm, SkipForm, WhichForm
from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Flag,
    Judgment,
    ModelVersion,
    Ranking,
)
from workbench.models.dataset import Message
from workbench.pipeline.annotate import answers as pipeline
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import suggestions

WORDS = {
    "left": "Left",
    "right": "Right",
    "tie": "Tie",
    "both_bad": "Both bad",
    "cannot_judge": "Can’t judge",
}
# Earlier turns that are shown unfolded: at most so many, of so many characters in all.
FEW_TURNS = 4
SHORT_TURNS = 600


@dataclass(frozen=True)
class Answered:
    """An answer in the page's terms: value is "left:2", words "Left, much better"."""

    value: str
    words: str


@dataclass(frozen=True)
class Said:
    """What the model says of a Comparison or of a ranking, as one annotator sees it: `value` is an answer in
    the page's terms."""

    value: str
    sure: str
    notice: str
    differs: bool

    @property
    def words(self) -> str:
        return in_words(self.value)

    @property
    def is_ranking(self) -> bool:
        return self.value.startswith("ranks:")


@dataclass(frozen=True)
class Item:
    """A Comparison, or a ranking, as one annotator sees it. Holds no name, no score, and nobody else's
    answer."""

    comparison: Comparison
    claim: Claim
    said: Said | None
    key: UUID
    judgments: Sequence[Judgment] = ()
    has_reveal: bool = False

    @property
    def messages(self) -> list[Message]:
        messages: list[Message] = self.comparison.prompt.messages
        return messages

    @property
    def earlier(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def earlier_is_short(self) -> bool:
        characters = sum(len(said(message)) for message in self.earlier)
        return len(self.earlier) <= FEW_TURNS and characters <= SHORT_TURNS

    @property
    def last(self) -> Message:
        return self.messages[-1]

    @cached_property
    def sides(self) -> list[tuple[str, Completion]]:
        """(name, answer) in the order shown: left and right, or 1, 2, 3, ... of a ranking."""
        if ranking := self.claim.ranking:
            found = Completion.objects.in_bulk(ranking.shown)
            return [(str(n), found[pk]) for n, pk in enumerate(ranking.shown, 1) if pk in found]
        answers = [self.comparison.a, self.comparison.b]
        return list(zip(pipeline.SIDES, answers if self.claim.left == "a" else answers[::-1], strict=True))

    @property
    def suggestion(self) -> Said | None:
        """What is shown before the answer."""
        return None if self.judgments else self.said

    @property
    def why_no_suggestion(self) -> str:
        """Why an assisted annotator is shown none of a pair that the model has scored."""
        claim = self.claim
        if claim.mode != Claim.Mode.ASSISTED or claim.suggestion_id or claim.ranking_id or self.judgments:
            return ""
        version = ModelVersion.objects.serving(self.comparison.dataset)
        return suggestions.why_none(self.comparison, version)

    @property
    def judgment(self) -> Judgment | None:
        """The first of those that the answer is stored as."""
        return self.judgments[0] if self.judgments else None

    @property
    def answered(self) -> Answered | None:
        return answered(self.judgments) if self.judgments else None

    @property
    def supersedes(self) -> str:
        return sent_key(self.judgment) if self.judgment else ""


def sent_key(judgment: Judgment) -> str:
    """The key of the answer, as its sender gave it."""
    return str(judgment.metadata.get("key") or judgment.idempotency_key or "")


def in_words(value: str) -> str:
    """An answer in the page's terms as words: "left:2" is "Left, much better"; of ranks the numbers, best
    first, with = between those that are as good."""
    kind, _, more = value.partition(":")
    if kind != "ranks":
        return WORDS[kind] + ", much better" * (more == "2")
    ranks = [int(rank) for rank in more.split(",")]
    groups = ([str(n) for n, rank in enumerate(ranks, 1) if rank == each] for each in sorted(set(ranks)))
    return " > ".join(" = ".join(group) for group in groups)


def answered(judgments: Sequence[Judgment]) -> Answered:
    first = judgments[0]
    if ranks := first.metadata.get("ranks"):
        value = "ranks:" + ",".join(map(str, ranks))
    else:
        value = pipeline.seen_as(first.outcome, first.left) + ":2" * (first.strength == 2)
    return Answered(value, in_words(value))


def said_then(judgments: Sequence[Judgment]) -> Said | None:
    """What was suggested when the Judgments were made; None for nothing, or for a part of them only."""
    if not all(judgment.suggested for judgment in judgments):
        return None
    first = judgments[0]
    notice = first.version.notice if first.version else ""
    differing = sum(judgment.outcome != judgment.suggested for judgment in judgments)
    if first.ranking:
        suggested = {_pair(judgment.comparison): judgment.suggested for judgment in judgments}
        value = _ranks(suggested, first.ranking)
        sure = f"agrees with you on {len(judgments) - differing} of {len(judgments)} pairs"
        return Said(value, sure, notice, differs=differing > 0)
    sure = _sure(first.suggested, first.probability)
    return Said(pipeline.seen_as(first.suggested, first.left), sure, notice, differs=differing > 0)


def said_beforehand(claim: Claim) -> Said | None:
    """What an assisted annotator is shown before the answer; a blind one's Claim carries nothing to show."""
    suggestion = claim.suggestion
    if suggestion is None:
        return None
    notice = suggestion.version.notice
    if claim.ranking:
        claims = claim.ranking.claims.select_related("comparison", "suggestion__version")
        suggested = {_pair(each.comparison): each.suggestion.outcome for each in claims if each.suggestion}
        if len(suggested) < len(claims):
            return None
        return Said(_ranks(suggested, claim.ranking), f"from {len(claims)} pairs", notice, differs=False)
    sure = _sure(suggestion.outcome, suggestion.probability)
    return Said(pipeline.seen_as(suggestion.outcome, claim.left), sure, notice, differs=False)


def _pair(comparison: Comparison) -> tuple[int, int]:
    return comparison.a_id, comparison.b_id


def _ranks(outcomes: dict[tuple[int, int], str], ranking: Ranking) -> str:
    return "ranks:" + ",".join(map(str, pipeline.ranks_of(outcomes, ranking.shown)))


def _sure(outcome: str, probability: float | None) -> str:
    """How sure the model is of its pick; "" while it is not calibrated."""
    if outcome == "tie":
        return "equal scores"
    if probability is None:
        return ""
    return f"{shares.in_words(probability if outcome == 'a' else 1 - probability)} likely"


def _item(claim: Claim, judgment: Judgment | None = None) -> Item:
    comparison, has_suggestion = pipeline.texts_of(claim)
    # That there will be something to reveal leads nobody; where there is nothing, the page need not wait.
    has_reveal = claim.mode == Claim.Mode.BLIND and has_suggestion
    judgments = _together(judgment) if judgment else []
    said = said_then(judgments) if judgments else said_beforehand(claim)
    return Item(comparison, claim, said, uuid4(), judgments, has_reveal)


def _together(judgment: Judgment) -> list[Judgment]:
    """All that the same answer is stored as, oldest first."""
    if judgment.ranking is None:
        return [judgment]
    same = judgment.ranking.judgments.unchanged().filter(annotator=judgment.annotator_id)
    return list(same.select_related("comparison", "ranking", "version").order_by("pk"))


def _annotator(request: HttpRequest) -> Annotator:
    return Annotator.objects.for_user(access.person(request.user))


def _page(
    request: HttpRequest,
    dataset: Dataset,
    annotator: Annotator,
    item: Item | None,
    last: Sequence[Judgment] = (),
) -> HttpResponse:
    is_blind = bool(last) and last[0].mode == Claim.Mode.BLIND
    context = {
        "last_said": said_then(last) if is_blind else None,
        "last_answered": answered(last) if is_blind else None,
        "dataset": dataset,
        "item": item,
        "left": None if item else pipeline.what_is_left(dataset, annotator),
        "said": item.said if item else None,
        "answered": item.answered if item else None,
        "progress": pipeline.progress(dataset, annotator),
        "guidelines": dataset.current_guidelines,
        "flag_reasons": Flag.Reason.choices,
        "hold_seconds": dataset.lease_minutes * 20,
    }
    return render(request, "annotate/annotate.html", context)


@never_cache
@require_GET
def annotate(request: HttpRequest, pk: int) -> HttpResponse:
    """The page with the next Comparison. Without the page's script, `last` is the answer that has led here:
    what the model says of it stands above the next one."""
    dataset = access.dataset_for(request.user, pk)
    annotator = _annotator(request)
    form = WhichForm(request.GET)
    asked = form.cleaned_data["last"] if form.is_valid() else None
    newest = pipeline.last_answered(dataset, annotator) if asked else None
    together = _together(newest) if newest else []
    last = together if any(judgment.pk == asked for judgment in together) else []
    # This page is got, not posted, and yet hands out a Claim.
    claim = None
    if not dataset.archived_at:
        claim = pipeline.next_claim(dataset, annotator, again="again" in request.GET)
    return _page(request, dataset, annotator, _item(claim) if claim else None, last)


@require_POST
def annotate_next(request: HttpRequest, pk: int) -> HttpResponse:
    """One more Comparison, as HTML; 204 when there is none but the page still has some; why nothing is left
    when it has none."""
    dataset = access.dataset_for(request.user, pk)
    annotator = _annotator(request)
    form = HeldForm(request.POST)
    if not form.is_valid():
        return _refuse(request, dataset, _first_error(form), 400)
    have, again = form.cleaned_data["have"], form.cleaned_data["again"]
    claim = pipeline.next_claim(dataset, annotator, have, again)
    if claim:
        return render(request, "annotate/item.html", {"item": _item(claim)})
    if have:
        return HttpResponse(status=204)
    left = pipeline.what_is_left(dataset, annotator)
    progress = pipeline.progress(dataset, annotator)
    return render(request, "annotate/end.html", {"dataset": dataset, "left": left, "progress": progress})


@require_POST
def judge(request: HttpRequest, pk: int) -> HttpResponse:
    """Store an answer. 409 when it cannot: it was given in another window or by another person. One whose
    place went to others is kept aside and answered like any other: gold and repeats have no place to lose."""
    dataset = access.dataset_for(request.user, pk)
    form = AnswerForm(request.POST)
    comparison = _comparison(request, dataset, form)
    if isinstance(comparison, HttpResponse):
        return comparison
    try:
        judgments = pipeline.record(
            _annotator(request),
            comparison,
            form.answer_given(dataset),
            form.ranks,
            form.cleaned_data["claim"],
        )
    except pipeline.AnsweredBefore as before:
        return _refuse_for(request, dataset, before.current)
    except Refused as refused:
        return _refuse(request, dataset, str(refused), 409)
    return _stored(request, dataset, judgments)


def _stored(request: HttpRequest, dataset: Dataset, judgments: Sequence[Judgment]) -> HttpResponse:
    # The model is shown once, after a blind first answer; a change needs no second look.
    first = judgments[0]
    blind_first = first.stage == Judgment.Stage.FIRST and first.mode == Claim.Mode.BLIND
    said = said_then(judgments) if blind_first else None
    if not _wants_json(request):
        if said and not access.person(request.user).goes_straight_on:
            return redirect("annotate_undo", dataset.pk)
        shown_after = f"?last={first.pk}" if said else ""
        return redirect(reverse("annotate", args=[dataset.pk]) + shown_after)
    context = {"dataset": dataset, "said": said, "answered": answered(judgments)}
    return JsonResponse(
        {
            "judgment": first.pk,
            "reveal": render_to_string("annotate/reveal.html", context) if said else "",
            "suggested": said.value if said else "",
            "differs": bool(said and said.differs),
        }
    )


@require_POST
def annotate_skip(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk)
    form = SkipForm(request.POST)
    comparison = _comparison(request, dataset, form)
    if isinstance(comparison, HttpResponse):
        return comparison
    try:
        pipeline.skip(_annotator(request), comparison, form.cleaned_data["claim"])
    except Refused as refused:
        return _refuse(request, dataset, str(refused), 409)
    return JsonResponse({}) if _wants_json(request) else redirect("annotate", dataset.pk)


@require_POST
def annotate_flag(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk)
    form = FlagForm(request.POST)
    comparison = _comparison(request, dataset, form)
    if isinstance(comparison, HttpResponse):
        return comparison
    reason, note = form.cleaned_data["reason"], form.cleaned_data["note"]
    try:
        pipeline.flag(_annotator(request), comparison, reason, note, form.cleaned_data["claim"])
    except Refused as refused:
        return _refuse(request, dataset, str(refused), 409)
    return JsonResponse({}) if _wants_json(request) else redirect("annotate", dataset.pk)


@require_POST
def annotate_hold(request: HttpRequest, pk: int) -> HttpResponse:
    """The page is open: renew its leases. Answers which of them the annotator holds, and which version of the
    guidelines is current."""
    dataset = access.dataset_for(request.user, pk)
    form = HeldForm(request.POST)
    if not form.is_valid():
        return _refuse(request, dataset, _first_error(form), 400)
    annotator = _annotator(request)
    guidelines = dataset.current_guidelines
    return JsonResponse(
        {
            "held": pipeline.extend_claims(dataset, annotator, form.cleaned_data["have"]),
            "guidelines": guidelines.pk if guidelines else None,
        }
    )


@never_cache
@require_GET
def annotate_undo(request: HttpRequest, pk: int) -> HttpResponse:
    """The annotator's last answer, reopened; with `before`, the last one older than that Judgment. For the
    script only the Comparison, else the whole page."""
    dataset = access.dataset_for(request.user, pk)
    annotator = _annotator(request)
    form = WhichForm(request.GET)
    access.refuse_archived(dataset)  # what is reopened is to be changed
    judgment = (
        pipeline.last_answered(dataset, annotator, form.cleaned_data["before"]) if form.is_valid() else None
    )
    if judgment is None:
        return _refuse(request, dataset, "You have no earlier vote to reopen.", 404)
    # Of a ranking the first, by which it was handed out: its draft is kept under that Claim.
    first = _together(judgment)[0]
    claim = Claim.objects.select_related("ranking").get(
        annotator=annotator, comparison=first.comparison_id, purpose=first.purpose
    )
    item = _item(claim, first)
    if request.headers.get("X-Requested-With") == "fetch":
        return render(request, "annotate/item.html", {"item": item})
    return _page(request, dataset, annotator, item)


@require_GET
def annotate_own(request: HttpRequest, pk: int) -> HttpResponse:
    """How much the annotator has answered, all answers alike. What gold, repeats and others say of them is
    for admins: shown to who still votes, it would tell which answer was to gold."""
    dataset = access.dataset_for(request.user, pk)
    annotator = _annotator(request)
    context = {
        "dataset": dataset,
        "progress": pipeline.progress(dataset, annotator),
        "days": pipeline.days(dataset, annotator),
    }
    return render(request, "annotate/own.html", context)


@require_GET
def annotate_markdown(request: HttpRequest, pk: int) -> HttpResponse:
    """The second view of a Comparison that was handed to the annotator: turns in order, then left, right."""
    dataset = access.dataset_for(request.user, pk)
    form = WhichForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {"comparison": None, "claim": None}
    comparison = pipeline.comparison_in(dataset, asked["comparison"]) if asked["comparison"] else None
    if comparison is None:
        raise Http404
    claim = pipeline.claim_of(_annotator(request), comparison, asked["claim"]).first()
    if claim is None:
        raise Http404
    item = _item(claim)
    turns = [said(message) for message in item.messages]
    texts = [*turns, *(completion.text for _, completion in item.sides)]
    return render(request, "annotate/markdown.html", {"texts": texts})


@require_POST
def straight_on(request: HttpRequest) -> HttpResponse:
    """Store with the account whether the annotation page goes straight on after an answer."""
    user = access.person(request.user)
    user.goes_straight_on = "straight_on" in request.POST
    user.save(update_fields=["goes_straight_on"])
    return HttpResponse(status=204)


def _comparison(request: HttpRequest, dataset: Dataset, form: Form) -> Comparison | HttpResponse:
    """The Comparison that a valid form names, or the refusal."""
    if not form.is_valid():
        return _refuse(request, dataset, _first_error(form), 400)
    if form.cleaned_data["user"] != request.user.pk:
        # Answers wait in the browser for a login; on a shared machine that may be the next person's.
        return _refuse(
            request, dataset, "Another account gave this vote. Log in with that account to send it.", 401
        )
    comparison = pipeline.comparison_in(dataset, form.cleaned_data["comparison"])
    return comparison or _refuse(request, dataset, "This pair is no longer in the dataset.", 404)


def _refuse_for(request: HttpRequest, dataset: Dataset, current: Judgment) -> HttpResponse:
    """409, with the answer of another window that stands: the page shows it, and a change names it."""
    together = _together(Judgment.objects.select_related("comparison", "ranking").get(pk=current.pk))
    first, given = together[0], answered(together)
    sentence = f"You voted “{given.words}” in another window, and that vote counts. Press u to change it."
    stands = {"answer": given.value, "supersedes": sent_key(first), "judgment": str(first.pk)}
    return _refuse(request, dataset, sentence, 409, stands=stands | {"comment": first.comment})


def _first_error(form: Form) -> str:
    name, errors = next(iter(form.errors.items()))
    return f"{name}: {errors[0]}"


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _refuse(
    request: HttpRequest, dataset: Dataset, sentence: str, status: int, **more: object
) -> HttpResponse:
    if _wants_json(request) or request.headers.get("X-Requested-With") == "fetch":
        return JsonResponse({"error": sentence, **more}, status=status)
    messages.error(request, sentence)
    return redirect("annotate", dataset.pk)
