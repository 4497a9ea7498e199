"""The pages on which an annotator qualifies. Each step is an ordinary form, so that they work without a
script."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from workbench import access
from workbench.forms.annotate import QualifyForm, WhichForm
from workbench.models import Annotator, Dataset, Outcome, QualificationAnswer
from workbench.pipeline.annotate import items
from workbench.pipeline.annotate.answers import refuse_paused
from workbench.pipeline.annotate.items import Item, in_words
from workbench.pipeline.people import qualifying
from workbench.pipeline.people.qualifying import State
from workbench.pipeline.runs.progress import Refused


@never_cache
@require_safe
def qualify(request: HttpRequest, pk: int) -> HttpResponse:
    """How the person stands: before a try with the guidelines, in a try with the next pair, after it with the
    result. With `last`, the explanation of the pair that was just answered."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    if annotator.paused_for is not None:
        return redirect("annotate", pk)
    form = WhichForm(request.GET)
    if form.is_valid() and (last := form.cleaned_data["last"]):
        answered = qualifying.answered_in(dataset, annotator, last)
        if answered is None:
            raise Http404
        return _pair(request, dataset, answered)
    standing = qualifying.standing(dataset, annotator, dataset.role)
    # Checked here, as this GET request draws a pair.
    if standing.state == State.OPEN and standing.last and not dataset.archived_at:
        if shown := qualifying.pair_now(standing.last):
            return _pair(request, dataset, shown)
        standing = qualifying.standing(dataset, annotator, dataset.role)
    return _standing(request, dataset, annotator, standing)


def _pair(request: HttpRequest, dataset: Dataset, shown: QualificationAnswer) -> HttpResponse:
    with items.AT_ONCE:
        context = {
            "dataset": dataset,
            "shown": shown,
            "attempt": shown.attempt,
            "item": Item.of_qualification(shown),
            "guidelines": dataset.current_guidelines,
            "answered": in_words(Outcome.seen_as(shown.outcome, shown.left)) if shown.outcome else "",
            "known": in_words(Outcome.seen_as(shown.known, shown.left)) if shown.known else "",
            "is_last": shown.position >= shown.attempt.pairs,
        }
        return render(request, "qualify/pair.html", context)


def _standing(
    request: HttpRequest, dataset: Dataset, annotator: Annotator, standing: qualifying.Standing
) -> HttpResponse:
    context = {
        "dataset": dataset,
        "standing": standing,
        "state": standing.state.name.lower(),
        "attempt": standing.last,
        "needed": qualifying.needed(dataset),
        "guidelines": dataset.current_guidelines,
    }
    return render(request, "qualify/standing.html", context)


@require_POST
def qualify_start(request: HttpRequest, pk: int) -> HttpResponse:
    """Begin a try."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    try:
        refuse_paused(annotator)
        qualifying.start(dataset, annotator, dataset.role)
    except Refused as refused:
        messages.error(request, str(refused))
    return redirect("qualify", pk)


@require_POST
def qualify_answer(request: HttpRequest, pk: int) -> HttpResponse:
    """Store an answer, and go on to its explanation."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    form = QualifyForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was saved: choose one of the answers on the page.")
        return redirect("qualify", pk)
    given = form.cleaned_data
    try:
        refuse_paused(annotator)
        answered = qualifying.answer(dataset, annotator, given["pair"], given["answer"], given["seconds"])
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("qualify", pk)
    return redirect(reverse("qualify", args=[pk]) + f"?last={answered.pk}")
