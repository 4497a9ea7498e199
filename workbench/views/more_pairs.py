"""More pairs of the answers that a Dataset has: a preview with its cost, one button, and its undo."""

from dataclasses import dataclass
from uuid import uuid4

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from workbench import access
from workbench.forms.more_pairs import MorePairsForm
from workbench.models import Act, Dataset, ModelVersion, Prompt, Role, Strategy
from workbench.pipeline import quality
from workbench.pipeline.data import more_pairs
from workbench.pipeline.data.more_pairs import NewPair, Wanted
from workbench.worker import enqueue, tasks

ACTS_SHOWN = 5
PAIRS_SHOWN = 5


@dataclass(frozen=True)
class Made:
    """An act of the history on the page; `begun`: how many of its pairs somebody has begun."""

    act: Act
    begun: int

    @property
    def chosen(self) -> str:
        """ "where the model was least sure; rowan against alder"."""
        details = self.act.details
        first = {"uncertain": "where the model was least sure", "disagreement": "where opinions differ"}
        if models := details.get("models"):
            first["disagreement"] = f"where {' and '.join(models)} prefer different answers"
        source, against = details.get("source", ""), details.get("against", "")
        parts = [
            first.get(details.get("strategy", ""), "by lot"),
            " against ".join(name for name in (source, against) if name),
            details.get("topic", ""),
        ]
        return "; ".join(part for part in parts if part)

    @property
    def stayed(self) -> int:
        stayed: int = self.act.details.get("stayed", 0)
        return stayed


@require_http_methods(["GET", "HEAD", "POST"])
def more_pairs_page(request: HttpRequest, pk: int) -> HttpResponse:
    """What a choice would make and cost; POST makes it."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    chosen = request.POST if request.method == "POST" else request.GET
    form = MorePairsForm(chosen, dataset=dataset)
    is_valid = form.is_valid()
    version = ModelVersion.objects.serving(dataset)
    if request.method == "POST" and is_valid:
        act = more_pairs.make(
            dataset, form.wanted(), version, access.person(request.user), form.key_of_the_button()
        )
        if act:
            enqueue.enqueue(tasks.score_missing, dataset.pk)
            made = f"{act.pair_count:,} new pair{'s' * (act.pair_count != 1)} of {act.prompt_count:,} prompt"
            messages.info(request, f"{made}{'s' * (act.prompt_count != 1)}. You can undo this below.")
        else:
            messages.info(request, "There are no such pairs, so nothing was made.")
        return redirect("more_pairs", pk=pk)
    context = {"dataset": dataset, "tab": "data", "form": form, "version": version, "acts": _acts(dataset)}
    context["strategy"] = form["strategy"].value() or Strategy.RANDOM
    if is_valid:
        context |= _preview(dataset, form.wanted(), version)
    return render(request, "datasets/more_pairs.html", context, status=200 if is_valid else 400)


def _preview(dataset: Dataset, wanted: Wanted, version: ModelVersion | None) -> dict[str, object]:
    found = more_pairs.find(dataset, wanted, version)
    stored = quality.stored(dataset)
    seconds = stored.report["seconds"]["all"]["value"] if stored else None
    first = found.pairs[:PAIRS_SHOWN]
    beginnings = Prompt.objects.filter(pk__in=[pair.prompt for pair in first]).excerpts()
    shown: list[tuple[NewPair, str]] = [(pair, beginnings.get(pair.prompt, "")) for pair in first]
    return {
        "wanted": wanted,
        "found": found,
        "unscored": [] if found.pairs else more_pairs.unscored_by(dataset, wanted.models or ()),
        "shown": shown,
        "cost": more_pairs.cost_of(dataset, len(found.pairs), seconds),
        "key": uuid4(),
    }


def _acts(dataset: Dataset) -> list[Made]:
    acts = list(
        dataset.acts.filter(kind=Act.Kind.PAIRS, details__has_key="pairs").select_related("by")[:ACTS_SHOWN]
    )
    open_acts = [act for act in acts if act.undone_at is None]
    begun = more_pairs.begun([pk for act in open_acts for pk in more_pairs.pairs_of(act)])
    return [Made(act, len(begun.intersection(more_pairs.pairs_of(act)))) for act in acts]


@require_POST
def more_pairs_undo(request: HttpRequest, pk: int, act_pk: int) -> HttpResponse:
    """Remove the pairs of an act that nobody has begun."""
    act = access.act_in(request.user, pk, act_pk, Role.ADMIN)
    stayed = more_pairs.undo(act, access.person(request.user))
    gone = act.pair_count - stayed
    rest = f" {stayed:,} stay, as somebody has begun them." if stayed else ""
    messages.info(request, f"Removed {gone:,} pair{'s' * (gone != 1)}.{rest}")
    return redirect("more_pairs", pk=pk)
