"""What became of an annotator's flags and comments, reviewers' replies to them, and examples in the
guidelines."""

from collections.abc import Callable

from django.contrib import messages
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from workbench import access
from workbench.forms.questions import ExampleForm, ReplyForm
from workbench.models import Comparison, Example, Reply, Role
from workbench.pipeline.questions import asked, examples, replying
from workbench.pipeline.runs.progress import Refused
from workbench.templatetags.toasts import saved
from workbench.views import page_to_return_to


@never_cache
@require_GET
def questions(request: HttpRequest, pk: int) -> HttpResponse:
    """The annotator's own flags and comments, and what became of them."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    page = asked.questions(dataset, annotator).get_page(request.GET.get("page"))
    rows = asked.read(dataset, annotator, list(page))
    context = {"dataset": dataset, "page": page, "questions": rows}
    return render(request, "questions/questions.html", context)


@never_cache
@require_GET
def guidelines(request: HttpRequest, pk: int) -> HttpResponse:
    """The guidelines with their examples; for htmx, the examples alone."""
    dataset, annotator = access.dataset_and_annotator(request.user, pk)
    context = {
        "dataset": dataset,
        "guidelines": dataset.current_guidelines,
        "examples": examples.shown_to(dataset, annotator),
    }
    is_part = "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
    return render(request, "questions/examples.html" if is_part else "questions/guidelines.html", context)


@require_POST
def reply(request: HttpRequest, pk: int) -> HttpResponse:
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    form = ReplyForm(request.POST)

    def store() -> Reply:
        given = form.cleaned_data
        by = access.person(request.user)
        return replying.reply_to(comparison, given["annotator"], given["text"], by, given["closes_flag"])

    return _stored(request, comparison, form, store, "reply")


@require_POST
def example(request: HttpRequest, pk: int) -> HttpResponse:
    comparison = access.comparison_for(request.user, pk, Role.REVIEWER)
    form = ExampleForm(request.POST)

    def store() -> Example:
        return replying.make_example(comparison, form.cleaned_data["text"], access.person(request.user))

    return _stored(request, comparison, form, store, "example")


@require_POST
def reply_undo(request: HttpRequest, pk: int) -> HttpResponse:
    row = access.reply_for(request.user, pk)
    return _undone(request, row.comparison, replying.undo(row, access.person(request.user)))


@require_POST
def example_undo(request: HttpRequest, pk: int) -> HttpResponse:
    row = access.example_for(request.user, pk)
    return _undone(request, row.comparison, replying.undo(row, access.person(request.user)))


def _undone(request: HttpRequest, comparison: Comparison, put_back: Reply | Example | None) -> HttpResponse:
    if put_back is None:
        return _back(request, comparison, "Nothing was undone: somebody has changed it since.")
    if not _is_partial(request):
        messages.info(request, "Undone.")
    return _back(request, comparison)


def _stored(
    request: HttpRequest, comparison: Comparison, form: Form, store: Callable[[], Reply | Example], what: str
) -> HttpResponse:
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        return _back(request, comparison, f"Nothing was saved: {name}: {errors[0]}")
    try:
        row = store()
    except Refused as refused:
        return _back(request, comparison, str(refused))
    if not _is_partial(request):
        undo = reverse(f"{what}_undo", args=[row.pk])
        saved(request, f"Saved the {what}." if row.text else f"Took back the {what}.", undo)
    return _back(request, comparison)


def _back(request: HttpRequest, comparison: Comparison, error: str = "") -> HttpResponse:
    """For htmx, the questions about the pair; else the page that the reviewer came from."""
    if not _is_partial(request):
        if error:
            messages.error(request, error)
        page = page_to_return_to(request)
        return HttpResponseRedirect(page) if page else redirect("review_case", comparison.pk)
    of_pair = comparison.judgments.select_related("annotator__user").order_by("annotator", "pk")
    flags = comparison.flags.select_related("annotator__user").order_by("pk")
    about = replying.about(
        comparison.dataset, [comparison], list(flags), list(of_pair), list(comparison.decisions.current())
    )
    context = {"questions": about[comparison.pk], "error": error}
    return render(request, "questions/section.html", context, status=409 if error else 200)


def _is_partial(request: HttpRequest) -> bool:
    return "HX-Request" in request.headers
