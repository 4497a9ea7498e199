"""The annotation page and the requests of its script. A vote is an ordinary form: a browser without the
script gets a redirect, the script gets JSON."""

import json
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeVar

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from scoring.messages import message_reading
from workbench import access
from workbench.forms.annotate import AnswerForm, FlagForm, HeldForm, SkipForm, WhichForm
from workbench.models import Annotator, Claim, Comparison, Dataset, Flag, Judgment, Outcome
from workbench.pipeline.annotate import answers, handout, items
from workbench.pipeline.annotate.items import Item, judgments_with, page_answer, pick_then, sent_key
from workbench.pipeline.annotate.progress import days, last_answered, progress_of, what_is_left
from workbench.pipeline.people import qualifying
from workbench.pipeline.questions.asked import has_news
from workbench.pipeline.runs.progress import Refused

View = Callable[[HttpRequest, int], HttpResponse]
F = TypeVar("F", bound=Form)


class Refusal(Exception):
    """A request that changes nothing: the sentence for the annotator, and the status of the answer."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def refusals_shown(view: View) -> View:
    """Answer a refused request: JSON for the script, else a message on the page."""

    @wraps(view)
    def answer(request: HttpRequest, pk: int) -> HttpResponse:
        current: dict[str, str] = {}
        try:
            return view(request, pk)
        except answers.AnsweredBefore as refused:
            words, current = _current_answer(refused.current)
            sentence = f"You voted “{words}” in another window, and that vote counts. Press u to change it."
            status = 409
        except (Refusal, Refused) as refused:
            sentence, status = str(refused), getattr(refused, "status", 409)
        if _wants_json(request) or request.headers.get("X-Requested-With") == "fetch":
            body = {"error": sentence} | ({"stored": current} if current else {})
            return JsonResponse(body, status=status)
        messages.error(request, sentence)
        return redirect("annotate", pk)

    return answer


def _current_answer(judgment: Judgment) -> tuple[str, dict[str, str]]:
    """The answer of another window: in words, and as the fields with which the page shows and changes it."""
    judgments = judgments_with(Judgment.objects.select_related("comparison", "ranking").get(pk=judgment.pk))
    first, answer = judgments[0], page_answer(judgments)
    fields = {"answer": answer.value, "supersedes": sent_key(first), "judgment": str(first.pk)}
    return answer.words, {**fields, "comment": first.comment}


def _page(
    request: HttpRequest,
    dataset: Dataset,
    annotator: Annotator,
    item: Item | None,
    last: Sequence[Judgment] = (),
) -> HttpResponse:
    is_blind = bool(last) and last[0].mode == Claim.Mode.BLIND
    context = {
        "last_pick": pick_then(last) if is_blind else None,
        "last_answer": page_answer(last) if is_blind else None,
        "dataset": dataset,
        "annotator": annotator,
        "item": item,
        "left": None if item else what_is_left(dataset, annotator),
        "progress": progress_of(dataset, annotator),
        "guidelines": dataset.current_guidelines,
        "has_news": has_news(dataset, annotator),
        "flag_reasons": Flag.Reason.of_annotators(),
        "hold_seconds": dataset.lease_minutes * 20,
        "along": handout.ALONG,
        "words": json.dumps(Outcome.page_words()),
    }
    return render(request, "annotate/annotate.html", context)


@never_cache
@require_GET
def annotate(request: HttpRequest, pk: int) -> HttpResponse:
    """The page with the next Comparison. Without the page's script, `last` is the Judgment before: the
    model's pick on it stands above the next Comparison."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    if annotator.must_qualify and annotator.paused_for is None and not dataset.archived_at:
        return redirect("qualify", pk)
    form = WhichForm(request.GET)
    last_pk = form.cleaned_data["last"] if form.is_valid() else None
    newest = last_answered(dataset, annotator) if last_pk else None
    judgments = judgments_with(newest) if newest else []
    last = judgments if any(judgment.pk == last_pk for judgment in judgments) else []
    with items.AT_ONCE:
        # Checked here, as this GET request hands out a Claim.
        claim = None
        if not dataset.archived_at:
            claim = handout.next_claim(dataset, annotator, again="again" in request.GET)
        return _page(request, dataset, annotator, Item.of(claim) if claim else None, last)


@require_POST
@refusals_shown
def annotate_next(request: HttpRequest, pk: int) -> HttpResponse:
    """One more Comparison, as HTML. When none is left: 204 while the page still has Comparisons, else the end
    of the page with the reason."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = _checked(HeldForm(request.POST))
    have, again, along = (form.cleaned_data[name] for name in ("have", "again", "along"))
    claim = handout.next_claim(dataset, annotator, have, again, along)
    if claim:
        return render(request, "annotate/item.html", {"item": Item.of(claim)})
    if have and annotator.paused_for is None and not annotator.must_qualify:
        return HttpResponse(status=204)
    left = what_is_left(dataset, annotator)
    context = {
        "dataset": dataset,
        "annotator": annotator,
        "left": left,
        "progress": progress_of(dataset, annotator),
    }
    return render(request, "annotate/end.html", context)


@require_POST
@refusals_shown
def judge(request: HttpRequest, pk: int) -> HttpResponse:
    """Store an answer; 409 where the annotator has answered in another window. An answer that comes after its
    place is filled is stored, and gets the same response: gold and repeats have no place to lose."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = _checked(AnswerForm(request.POST), annotator)
    comparison = _comparison(form, dataset)
    judgments = answers.record(
        annotator, comparison, form.answer_in(dataset), form.ranks, form.cleaned_data["claim"]
    )
    first, pick = judgments[0], items.pick_after(judgments)
    if not _wants_json(request):
        if pick and not access.person(request.user).goes_straight_on:
            return redirect("annotate_undo", dataset.pk)
        shown_after = f"?last={first.pk}" if pick else ""
        return redirect(reverse("annotate", args=[dataset.pk]) + shown_after)
    context = {"dataset": dataset, "pick": pick, "answer": page_answer(judgments)}
    return JsonResponse(
        {
            "judgment": first.pk,
            "reveal": render_to_string("annotate/reveal.html", context) if pick else "",
            "suggested": pick.value if pick else "",
            "differs": bool(pick and pick.differs),
        }
    )


@require_POST
@refusals_shown
def annotate_skip(request: HttpRequest, pk: int) -> HttpResponse:
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = _checked(SkipForm(request.POST), annotator)
    answers.skip(annotator, _comparison(form, dataset), form.cleaned_data["claim"])
    return JsonResponse({}) if _wants_json(request) else redirect("annotate", dataset.pk)


@require_POST
@refusals_shown
def annotate_flag(request: HttpRequest, pk: int) -> HttpResponse:
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = _checked(FlagForm(request.POST), annotator)
    reason, note, claim = (form.cleaned_data[name] for name in ("reason", "note", "claim"))
    answers.flag(annotator, _comparison(form, dataset), reason, note, claim)
    return JsonResponse({}) if _wants_json(request) else redirect("annotate", dataset.pk)


@require_POST
@refusals_shown
def annotate_hold(request: HttpRequest, pk: int) -> HttpResponse:
    """Renew the leases of an open page. Answers with the Claims that the annotator holds, and the current
    version of the guidelines."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = _checked(HeldForm(request.POST))
    guidelines = dataset.current_guidelines
    return JsonResponse(
        {
            "held": handout.extend_claims(dataset, annotator, form.cleaned_data["have"]),
            "guidelines": guidelines.pk if guidelines else None,
        }
    )


@never_cache
@require_GET
@refusals_shown
def annotate_undo(request: HttpRequest, pk: int) -> HttpResponse:
    """The annotator's last answer, reopened; with `before`, the last answer older than that Judgment. The
    script gets the Comparison alone, a browser the whole page."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    access.refuse_archived(dataset)  # a reopened answer is about to change
    answers.refuse_barred(annotator)
    form = WhichForm(request.GET)
    item = items.reopened(dataset, annotator, form.cleaned_data["before"]) if form.is_valid() else None
    if item is None:
        raise Refusal("You have no earlier vote to reopen.", 404)
    if request.headers.get("X-Requested-With") == "fetch":
        return render(request, "annotate/item.html", {"item": item})
    return _page(request, dataset, annotator, item)


@require_GET
def annotate_own(request: HttpRequest, pk: int) -> HttpResponse:
    """How much the annotator has answered. Results on gold and repeats, and agreement with others, are for
    admins: they would tell an annotator who still votes which pair was gold."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    context = {
        "dataset": dataset,
        "has_news": has_news(dataset, annotator),
        "progress": progress_of(dataset, annotator),
        "days": days(dataset, annotator),
    }
    return render(request, "annotate/own.html", context)


@require_GET
def annotate_markdown(request: HttpRequest, pk: int) -> HttpResponse:
    """The markdown view of a Comparison that the annotator has, or has in a qualification: turns in order,
    then left, right."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = WhichForm(request.GET)
    comparison_pk = form.cleaned_data["comparison"] if form.is_valid() else None
    comparison = answers.comparison_in(dataset, comparison_pk) if comparison_pk else None
    if comparison is None:
        raise Http404
    claim = answers.claim_of(annotator, comparison, form.cleaned_data["claim"]).first()
    if claim:
        item = Item.of(claim)
    elif shown := qualifying.shown_to(annotator, comparison):
        item = Item.of_qualification(shown)
    else:
        raise Http404
    turns = [message_reading(message) for message in item.messages]
    texts = [*turns, *(completion.text for _, completion in item.sides)]
    return render(request, "annotate/markdown.html", {"texts": texts})


@require_POST
def straight_on(request: HttpRequest) -> HttpResponse:
    """Store in the account whether the annotation page goes straight on after an answer."""
    user = access.person(request.user)
    user.goes_straight_on = "straight_on" in request.POST
    user.save(update_fields=["goes_straight_on"])
    return HttpResponse(status=204)


def _checked(form: F, annotator: Annotator | None = None) -> F:
    """The form, if it is valid and this annotator filled it in; else a Refusal."""
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        raise Refusal(f"{name}: {errors[0]}", 400)
    if annotator and form.cleaned_data["user"] != annotator.user_id:
        # Answers wait in the browser for a login; on a shared machine that may be the next person's.
        raise Refusal("Another account gave this vote. Log in with that account to send it.", 401)
    return form


def _comparison(form: Form, dataset: Dataset) -> Comparison:
    comparison = answers.comparison_in(dataset, form.cleaned_data["comparison"])
    if comparison is None:
        raise Refusal("This pair is no longer in the dataset.", 404)
    return comparison


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"
