"""The Data page: find prompts by facets and words, and save what was found as a view."""

from dataclasses import dataclass

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from workbench import access
from workbench.forms.data import ViewForm
from workbench.forms.fields import LARGEST
from workbench.models import ModelVersion, Role, SavedView
from workbench.pipeline.data import columns, finding, viewed
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Facet, Found, Selection, Value
from workbench.pipeline.data.search import BadQuery
from workbench.pipeline.datasets import overview
from workbench.views import Request
from workbench.views.acts import offered

PROMPTS_A_PAGE = 20


@dataclass(frozen=True)
class Link:
    """A value of a facet with the address that chooses it, or leaves it out again. width: share of the
    longest bar, in tenths."""

    value: Value
    query: str
    width: int


@dataclass(frozen=True)
class Cell:
    """A cell of the picture: pairs, their share of the fullest cell in tenths, and the address that finds
    them."""

    count: int
    shade: int
    query: str
    words: str


@require_safe
def data(request: Request, pk: int) -> HttpResponse:
    """Prompts by a selection. Not for annotators: a Score seen here would lead them."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    only = _only(request)
    if only:
        return redirect("prompt", pk=only)  # as old links ask for it
    version = ModelVersion.objects.serving(dataset)
    at_once = request.htmx or "now" in request.GET or columns.is_ready(dataset, version)
    if not at_once and overview.are_large([dataset]):
        return render(request, "data/counting.html", {"dataset": dataset, "tab": "data"})
    error, status = "", 200
    try:
        selection = Selection.parse(_query(request), dataset.facet_keys)
        found = finding.find(dataset, selection, version)
    except (BadSelection, BadQuery) as bad:
        error, status = str(bad), 400 if isinstance(bad, BadSelection) else 200
        selection = Selection(text=request.GET.get("q", "").replace("\0", "")[:500])
        found = finding.find(dataset, Selection(), version)
    page = Paginator(found.prompts, PROMPTS_A_PAGE).get_page(request.GET.get("page"))
    pks = [int(key) for key in page]
    context = {
        "dataset": dataset,
        "tab": "data",
        "version": version,
        "error": error,
        "selection": selection,
        "found": found,
        "pair_count": int(found.pair_rows.sum()),
        "page": page,
        "prompts": overview.within_memory(pks, overview.MOST_OF_A_PAGE, version),
        "facets": [(facet, _links(facet, selection)) for facet in found.facets],
        "chosen": _chosen(found, selection),
        "sorts": finding.SORTS.items(),
        "grid": _grid(found, selection),
        "views": SavedView.objects.seen_by(access.person(request.user), dataset).select_related("owner"),
        "form": ViewForm(dataset=dataset, query=selection.query),
        **offered(request.user, dataset),
    }
    return render(request, "data/data.html", context, status=status)


def _only(request: HttpRequest) -> int | None:
    text = request.GET.get("prompt", "")
    return int(text) if text.isascii() and text.isdigit() and int(text) <= LARGEST else None


def _query(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("now", None)
    return query.urlencode()


def _address(selection: Selection) -> str:
    sort = f"&sort={selection.sort}" if selection.sort else ""
    return f"?{selection.query}{sort}".replace("?&", "?")


def _links(facet: Facet, selection: Selection) -> list[Link]:
    return [
        Link(
            value,
            _address(selection.with_value(value.name, value.value)),
            round(10 * value.count / facet.most) if facet.most else 0,
        )
        for value in facet.values
    ]


def _chosen(found: Found, selection: Selection) -> list[tuple[str, str, str]]:
    """(field, value in words, address without it) of each chosen value."""
    return [
        (facet.label, value.words, _address(selection.with_value(value.name, value.value)))
        for facet in found.facets
        for value in facet.values
        if value.chosen
    ]


def _grid(found: Found, selection: Selection) -> dict[str, object] | None:
    """The picture: pairs by how far people agree and how sure the model is; each cell finds its pairs. None
    without a pair that has both."""
    counts = found.grid()
    most = max((n for row in counts for n in row), default=0)
    if not most:
        return None
    sure = found.sure.values(found.columns)
    agreed = found.fields["agreement"].values(found.columns)[::-1]
    rows = []
    for (agreement, agreement_words), row in zip(agreed, counts, strict=True):
        cells = []
        for (certainty, certainty_words), count in zip(sure, row, strict=True):
            both = selection.with_only("agreement", agreement).with_only(found.sure.name, certainty)
            words = f"{count:,} pairs: people agree {agreement_words}, model {certainty_words}"
            cells.append(Cell(count, -(-9 * count // most), _address(both), words))
        rows.append((agreement_words, cells))
    return {"rows": rows, "columns": [words for _, words in sure], "label": found.sure.label}


@require_POST
def view_save(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    form = ViewForm(request.POST, dataset=dataset)
    if not form.is_valid():
        messages.error(request, str(next(iter(form.errors.values()))[0]))
        return redirect("data", pk=pk)
    stored = form.stored(access.person(request.user))
    messages.info(request, f"Saved the view {stored.name}.")
    return redirect(f"{reverse('data', args=[pk])}?{stored.query}")


@require_POST
def view_delete(request: HttpRequest, pk: int) -> HttpResponse:
    view = access.view_for(request.user, pk)
    viewed.delete(view, access.person(request.user))
    messages.info(request, f"Deleted the view {view.name}. Its prompts stay.")
    return redirect("data", pk=view.dataset_id)
