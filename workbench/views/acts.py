"""Acts on prompts: do, preview, undo, and their history."""

from collections.abc import Collection

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from workbench import access
from workbench.forms.acts import FORMS, ActForm, keys_in
from workbench.models import Act, Dataset, ModelVersion, Prompt, Role, User
from workbench.pipeline.data import acts, finding, pairing
from workbench.pipeline.data.acts import CHANGES
from workbench.pipeline.data.change import Change
from workbench.pipeline.data.copying import Copy
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Selection
from workbench.pipeline.data.search import BadQuery
from workbench.pipeline.runs.progress import Refused
from workbench.templatetags.toasts import saved
from workbench.views import page_to_return_to
from workbench.worker import tasks

ACTS_A_PAGE = 50


@require_POST
def data_act(request: HttpRequest, pk: int) -> HttpResponse:
    """Do an act to the checked prompts. For all found prompts, show first what it would change."""
    kind = request.POST.get("kind", "")
    role = CHANGES[kind].role if kind in CHANGES else Role.REVIEWER
    dataset = access.dataset_for(request.user, pk, role)
    person = access.person(request.user)
    query = request.POST.get("query", "")[:2000]
    try:
        form = _form(request, kind)
        change = form.change()
        if isinstance(change, Copy) and change.to:
            change.to_name = access.dataset_for(request.user, change.to, Role.ADMIN).name
        prompts, pairs = _chosen(request, dataset, query)
        if ("all" in request.POST or change.is_shown_first) and "sure" not in request.POST:
            extent = acts.preview(dataset, change, prompts, pairs, by=person)
            return _preview(request, dataset, change, extent)
        act = acts.do(dataset, change, prompts, pairs, by=person, query=query)
        tasks.enqueue_after(act)
    except (BadSelection, BadQuery, Refused, ValidationError) as refused:
        messages.error(request, refused.messages[0] if isinstance(refused, ValidationError) else str(refused))
        return redirect(_back(request, dataset))
    left = f" Left as they are: {', '.join(act.details['left'])}." if act.details["left"] else ""
    saved(request, f"{acts.sentence(act)}.{left}", undo=reverse("act_undo", args=[act.pk]))
    return redirect(_back(request, dataset))


def _form(request: HttpRequest, kind: str) -> ActForm:
    if kind not in FORMS:
        raise ValidationError("Choose what to do. Nothing was changed.")
    form = FORMS[kind](request.POST)
    if not form.is_valid():
        raise ValidationError(form.first_error)
    return form


def _chosen(
    request: HttpRequest, dataset: Dataset, query: str
) -> tuple[Collection[int], Collection[int] | None]:
    """The primary keys of the prompts, and of the pairs where not all of theirs were chosen."""
    if "all" in request.POST:
        selection = Selection.parse(query, dataset.facet_keys)
        found = finding.find(dataset, selection, ModelVersion.objects.serving(dataset), needs_all=True)
        pairs = found.pairs.tolist() if found.of_pairs else None
        return found.prompts.tolist(), pairs
    return keys_in(request.POST, "prompts"), keys_in(request.POST, "pairs") or None


def _preview(request: HttpRequest, dataset: Dataset, change: Change, extent: acts.Extent) -> HttpResponse:
    excerpts = Prompt.objects.filter(pk__in=extent.sample).excerpts()
    context = {
        "dataset": dataset,
        "tab": "data",
        "extent": extent,
        "what": change.kind.label,
        "promise": change.promise,
        "button": change.button.format(acts.prompts_in_words(extent.prompts)),
        "sample": [(pk, excerpts[pk]) for pk in extent.sample],
        "sent": [
            (name, value)
            for name, values in request.POST.lists()
            for value in values
            if name not in ("csrfmiddlewaretoken", "sure")
        ],
        "back": _back(request, dataset),
    }
    return render(request, "data/act_preview.html", context)


def _back(request: HttpRequest, dataset: Dataset) -> str:
    """The page of this site from which the act was sent."""
    return page_to_return_to(request) or reverse("data", args=[dataset.pk])


@require_POST
def act_undo(request: HttpRequest, pk: int) -> HttpResponse:
    act = access.act_for(request.user, pk)
    try:
        undone = acts.undo(act, access.person(request.user))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect(_back(request, act.dataset))
    left = f" What came later stays: {', '.join(undone.left)}." if undone.left else ""
    emptied = f" {undone.emptied} is empty now; its settings can delete it." if undone.emptied else ""
    messages.info(request, f"Undone for {acts.prompts_in_words(undone.prompts)}.{left}{emptied}")
    return redirect(_back(request, act.dataset))


def offered(user: User | AnonymousUser, dataset: Dataset) -> dict[str, object]:
    """What the form of acts lets an admin choose from."""
    if not access.may(dataset, Role.ADMIN):
        return {}
    others = Dataset.objects.in_use().with_role_of(access.person(user)).exclude(pk=dataset.pk)
    return {
        "pairing_policies": pairing.POLICIES.items(),
        "copy_targets": [(other.pk, other.name) for other in others if access.may(other, Role.ADMIN)],
    }


@require_safe
def data_history(request: HttpRequest, pk: int) -> HttpResponse:
    """Who did what to the data, newest first."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    rows = Act.objects.of(dataset).select_related("by", "undone_by").order_by("-pk")
    page = Paginator(rows, ACTS_A_PAGE).get_page(request.GET.get("page"))
    undoable = acts.undoable(page)
    context = {
        "dataset": dataset,
        "tab": "data",
        "page": page,
        "acts": [
            (act, acts.sentence(act), act.pk in undoable and access.may(dataset, acts.role_for(act)))
            for act in page
        ],
        "is_admin": access.may(dataset, Role.ADMIN),
    }
    return render(request, "data/history.html", context)
