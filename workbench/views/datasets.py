from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Exists
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.bodies import takes_long_text
from workbench.forms.datasets import (
    CloneForm,
    DatasetForm,
    DeleteForm,
    GuidelinesForm,
    NewDatasetForm,
)
from workbench.models import Comparison, Dataset, ModelVersion, Prompt, Role, Run, User, Visit
from workbench.models.dataset import DatasetQuerySet
from workbench.pipeline import quality
from workbench.pipeline.annotate import requirements
from workbench.pipeline.annotate.progress import own_tasks, progress_in
from workbench.pipeline.datasets import DEMO, archiving, deleting, effort, overview
from workbench.pipeline.datasets.loop import (
    Days,
    LoopStep,
    changes_since,
    days_of,
    loop_of,
    remember_visit,
)
from workbench.pipeline.people import qualifying
from workbench.pipeline.quality.parting import parting
from workbench.pipeline.quality.reports import has_value
from workbench.pipeline.scoring import batches, cuts
from workbench.pipeline.text import leakage
from workbench.pipeline.text.language_names import NAMES
from workbench.pipeline.text.splits import SPLITS, Split, split_of
from workbench.pipeline.webhooks.managing import given_up
from workbench.templatetags.toasts import saved
from workbench.views import POLL_SECONDS, STOP_POLLING, Request, orders
from workbench.views.figures import as_of
from workbench.views.pictures import Weeks
from workbench.views.steps import Step, next_steps
from workbench.worker import enqueue, tasks
from workbench.worker.workforce import workforce

PROMPTS_A_PAGE = 20
CLUSTERS_A_PAGE = 20
PROMPTS_A_CLUSTER = 4
GROUP_SORTS: orders.Sorts = {
    "largest": ("Largest", ["-size", "group"]),
    "smallest": ("Smallest", ["size", "group"]),
}


@dataclass(frozen=True)
class Card:
    """A Dataset on Home, for its reviewers and admins; without loop while its numbers are on their way."""

    dataset: Dataset
    steps: list[Step]
    loop: list[LoopStep]
    days: Days | None = None
    changes: list[str] = field(default_factory=list)
    since: datetime | None = None


CARD_SORTS: dict[str, tuple[str, Callable[[Card], Any]]] = {
    "name": ("By name", lambda card: card.dataset.name),
    "newest": ("Newest", lambda card: -card.dataset.pk),
    "votes": ("Most votes in two weeks", lambda card: -card.days.total if card.days else 0),
}


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The next task, then the visitor's Datasets; the numbers of large ones follow once the page has loaded.
    Annotators see only their own progress."""
    person = access.person(request.user)
    visible = Dataset.objects.visible_to(person).with_role_of(person)
    archived = [dataset for dataset in visible.archived() if dataset.role == Role.ADMIN]
    if "archived" in request.GET:
        return render(request, "datasets/archived.html", {"archived": archived})
    listed = list(visible.in_use().with_has_prompts())
    annotated = [dataset for dataset in listed if dataset.role == Role.ANNOTATOR]
    others = [dataset for dataset in listed if dataset.role != Role.ANNOTATOR]
    context: dict[str, object] = {
        "tasks": own_tasks(annotated, person) if annotated else [],
        "archived": len(archived),
        "deletions": Run.objects.deletions_for(person),
    }
    if person.is_staff and all(dataset.name == DEMO for dataset in others):
        context |= {"newcomer": True, "demo": next(iter(others), None)}
    if "whole" not in request.GET and overview.are_large(others):
        context["counting"] = True
        cards = [Card(dataset, [], []) for dataset in others]
    else:
        cards = _cards(others, person, visible) if others else []
        context["first"] = _first(cards)
    sort = orders.chosen(request, CARD_SORTS)
    context["cards"] = sorted(cards, key=CARD_SORTS[sort][1])
    return render(request, "datasets/home.html", context | orders.links(CARD_SORTS, sort))


def _cards(datasets: list[Dataset], person: User, visible: DatasetQuerySet) -> list[Card]:
    """A card for each dataset, by name. The number of queries depends only on how many models serve."""
    by_version = defaultdict(list)
    for dataset in datasets:
        by_version[dataset.held_by_id].append(dataset.pk)
    versions = ModelVersion.objects.in_bulk([pk for pk in by_version if pk])
    visits = {visit.dataset_id: visit for visit in Visit.objects.filter(user=person)}
    days = days_of(datasets)
    cards = []
    for held_by, pks in by_version.items():
        version = versions.get(held_by) if held_by else ModelVersion.objects.active()
        cells = {"report_cells": quality.in_report(version)}
        counted = overview.with_loop_counts(visible.filter(pk__in=pks), version)
        for dataset in counted.annotate(**cells):
            visit = visits.get(dataset.pk)
            cards.append(
                Card(
                    dataset,
                    next_steps(dataset),
                    loop_of(dataset, version is not None, quality.from_cells(dataset.report_cells)),
                    days[dataset.pk],
                    changes_since(visit, dataset),
                    visit.at if visit else None,
                )
            )
    return sorted(cards, key=lambda card: card.dataset.name)


def _first(cards: list[Card]) -> Card | None:
    """The card whose first step is the next task: of the dataset that was opened last."""
    with_steps = [card for card in cards if card.steps]
    return max(with_steps, key=lambda card: card.since.timestamp() if card.since else 0.0, default=None)


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_new(request: HttpRequest) -> HttpResponse:
    person = access.staff_only(request.user)
    form = NewDatasetForm(request.POST or None, by=person)
    if form.is_valid() and (dataset := form.stored()):
        return redirect("import", pk=dataset.pk)
    return render(request, "datasets/new.html", {"form": form}, status=400 if form.errors else 200)


@require_safe
@vary_on_headers("HX-Request")
def dataset(request: Request, pk: int) -> HttpResponse:
    """The overview; for htmx, the part that changes while Runs are open, or the part that the page of a large
    Dataset left out to load at once."""
    visible = access.dataset_for(request.user, pk)
    if visible.role == Role.ANNOTATOR:
        return _quiet(request, visible)
    wait = not (request.htmx or "now" in request.GET)
    version, large = _served(visible)
    if wait and large:
        return render(request, "datasets/counting.html", {"dataset": visible, "tab": "overview"})
    started = perf_counter()
    datasets = Dataset.objects.filter(pk=visible.pk).with_role_of(access.person(request.user))
    cells = {"report_cells": quality.in_report(version)}
    dataset = overview.with_loop_counts(datasets, version).annotate(**cells).get()
    runs = list(Run.objects.of(dataset).open().for_list())
    days = days_of([dataset])[dataset.pk]
    left = dataset.wanted_count - dataset.judged_count
    unscored = dataset.completion_count - dataset.scored_count
    context = {
        "dataset": dataset,
        "tab": "overview",
        "version": version,
        "dead_events": given_up(dataset),
        "cuts": cuts.in_words(dataset.cut_count, cuts.limit_of(version)) if dataset.cut_count else "",
        "unscored": batches.unscored(dataset, version, unscored, runs) if version and unscored > 0 else None,
        "next_version": ModelVersion.objects.active() if visible.held_by_id else None,
        "steps": next_steps(dataset),
        "loop": loop_of(dataset, version is not None, quality.from_cells(dataset.report_cells)),
        "days": days.against(left, dataset.due_on),
        "left": left,
        "last_day": days.last_day(left) if left > 0 else None,
        "runs": runs,
        "workforce": workforce(runs),
        "short": requirements.short_of_people(dataset) if dataset.role == Role.ADMIN else [],
        "untold": requirements.untold(dataset) if dataset.role == Role.ADMIN else "",
        # Counting a million rows takes seconds: an open page may take a sixth of the time for it.
        "poll_seconds": max(POLL_SECONDS, round(5 * (perf_counter() - started))),
    }
    if runs and request.htmx and "whole" not in request.GET:
        return render(request, "datasets/live.html", context | {"polled": True})
    remember_visit(access.person(request.user), dataset)
    context |= {
        **_figures(dataset, version),
        "polled": request.htmx,
        "rest": request.htmx,
    }
    if request.htmx:
        return render(request, "datasets/live.html", context, status=200 if runs else STOP_POLLING)
    return render(request, "datasets/dataset.html", context)


def _figures(dataset: Dataset, version: ModelVersion | None) -> dict[str, object]:
    """The figures of the stored report on the version that serves, and on people."""
    stored = quality.stored(dataset)
    if stored is None:
        return as_of(dataset, None)
    agreements = stored.report["agreement"].get("people")
    of_version = quality.accuracies(stored.report, version)
    # The first, as on Home: votes say more of a model than imported labels.
    drawn = next((row for row in of_version if has_value(row.accuracy)), None)
    return {
        **as_of(dataset, stored),
        "accuracies": of_version,
        "drawn": drawn,
        "agreement": agreements["all"] if agreements else None,
        "weeks": Weeks.of(agreements["by_week"]) if agreements else None,
        "parting": parting(stored.report, drawn.label_source, version.pk) if version and drawn else None,
    }


def _quiet(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """The overview for annotators: nothing on it depends on other people's votes, the model or gold."""
    progress = progress_in([dataset], access.person(request.user))[dataset.pk]
    has_prompts = Prompt.objects.of(dataset).exists()
    context = {"dataset": dataset, "tab": "overview", "progress": progress, "has_prompts": has_prompts}
    return render(request, "datasets/quiet.html", context)


def _served(dataset: Dataset) -> tuple[ModelVersion | None, bool]:
    """The version that serves the Dataset, and whether the Dataset is large. One query where a version
    serves."""
    comparisons = Comparison.objects.filter(dataset=dataset.pk)
    version = ModelVersion.objects.with_large(Exists(overview.large(comparisons))).serving(dataset)
    return version, overview.are_large([dataset]) if version is None else version.large


@dataclass(frozen=True)
class Cluster:
    """Prompts that are kept in one split, as the page lists them."""

    split: Split
    size: int
    prompts: list[Prompt]

    @property
    def more(self) -> int:
        return self.size - len(self.prompts)


@require_safe
def groups(request: HttpRequest, pk: int) -> HttpResponse:
    """Groups of several Prompts; for admins, also the overlaps of the last leakage report."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    sort = orders.chosen(request, GROUP_SORTS)
    clusters = Prompt.objects.of(dataset).clusters().order_by(*GROUP_SORTS[sort][1])
    page = Paginator(clusters, CLUSTERS_A_PAGE).get_page(request.GET.get("page"))
    report = leakage.latest(dataset) if dataset.role == Role.ADMIN else None
    context = {
        "dataset": dataset,
        "tab": "data",
        "page": page,
        **orders.links(GROUP_SORTS, sort),
        "clusters": _clusters(dataset, dict(page)),
        "report": report,
        "newer": report and Prompt.objects.of(dataset).filter(created_at__gt=report.started_at).exists(),
        "overlaps": [
            {**leak, "alike": [leak["alike"].get(split) for split in SPLITS]}
            for leak in (report.result["references"] if report else ())
        ],
    }
    return render(request, "datasets/groups.html", context)


def _clusters(dataset: Dataset, sizes: Mapping[str, int]) -> list[Cluster]:
    """The groups with their first Prompts. `sizes`: the number of Prompts of each group."""
    prompts = Prompt.objects.of(dataset).filter(group__in=list(sizes)).first_of_each_group(PROMPTS_A_CLUSTER)
    pks = list(prompts.values_list("pk", flat=True))
    members: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in overview.within_memory(pks, overview.MOST_OF_A_PAGE):
        members[prompt.group].append(prompt)
    return [Cluster(split_of(group), size, members[group]) for group, size in sizes.items()]


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest, pk: int) -> HttpResponse:
    """The settings, with a preset filled in where the address names one. A POST stores them, or with
    `preview` only says what they do together."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    if request.method == "POST":
        form = DatasetForm.sent(request.POST, dataset, access.person(request.user))
    else:
        form = DatasetForm.with_preset(dataset, effort.settings_of(request.GET.get("preset", "")))
    if "preview" in request.POST:
        says = effort.in_words(form.instance, effort.facts_of(dataset)) if form.is_valid() else ""
        return render(request, "datasets/effort.html", {"says": says})
    if form.is_valid() and (changed := form.stored()):
        if changed.queue_stale_since:
            enqueue.enqueue(tasks.order_queue, pk)
        messages.info(request, "Settings saved.")
        return redirect("settings", pk=pk)
    return _settings_page(request, dataset, form, GuidelinesForm.of(dataset))


@require_POST
def archive(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    archiving.archive(dataset, access.person(request.user))
    saved(request, f"{dataset} is archived.", undo=reverse("bring_back", args=[pk]))
    return redirect("settings", pk=pk)


@require_POST
def bring_back(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    archiving.bring_back(dataset, access.person(request.user))
    enqueue.enqueue(tasks.score_missing, dataset.pk)
    saved(request, f"{dataset} is in use again.", undo=reverse("archive", args=[pk]))
    return redirect("settings", pk=pk)


@require_POST
def clone(request: HttpRequest, pk: int) -> HttpResponse:
    """Create a Dataset with the set-up of this one, which may be archived and does not change."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    form = CloneForm(request.POST, source=dataset, by=access.person(request.user))
    if form.is_valid() and (created := form.stored()):
        messages.info(request, f"Created {created} with the settings, guidelines and people of {dataset}.")
        return redirect("settings", pk=created.pk)
    return _settings_page(request, dataset, DatasetForm(instance=dataset), GuidelinesForm.of(dataset), form)


@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """What a deletion removes and what stays; with the name of the Dataset typed, the Run that deletes it."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    person = access.person(request.user)
    form = DeleteForm(request.POST or None, dataset=dataset)
    if form.is_valid():
        run = deleting.begin(dataset, person)
        if run is None:
            raise Http404
        tasks.enqueue_run(run)
        return redirect("run", pk=run.pk)
    context = {"dataset": dataset, "tab": "settings", "form": form, "extent": deleting.extent(dataset)}
    context["open_runs"] = archiving.open_runs(dataset)
    return render(request, "datasets/delete.html", context, status=400 if form.errors else 200)


@takes_long_text
@require_http_methods(["POST"])
def guidelines_revise(request: HttpRequest, pk: int) -> HttpResponse:
    """Store the text as the next version of the guidelines, unless somebody stored another meanwhile. With
    `preview`, only show it as annotators would see it."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = GuidelinesForm(request.POST)
    if "preview" in request.POST:
        text = request.POST.get("text", "")
        return render(request, "datasets/guidelines_preview.html", {"text": text})
    if form.is_valid() and (stored := form.revise(dataset, access.person(request.user))):
        messages.info(request, f"Saved. Annotators now see version {stored.number} of the guidelines.")
        return redirect("settings", pk=pk)
    return _settings_page(request, dataset, DatasetForm(instance=dataset), form)


def _settings_page(
    request: HttpRequest,
    dataset: Dataset,
    form: DatasetForm,
    guidelines: GuidelinesForm,
    clone: CloneForm | None = None,
) -> HttpResponse:
    # Counting takes long on a large Dataset, so its page asks for the sentence once it has loaded.
    facts = None if overview.are_large([dataset]) else effort.facts_of(dataset)
    context = {
        "dataset": dataset,
        "tab": "settings",
        "form": form,
        "says": effort.in_words(dataset if form.errors else form.instance, facts) if facts else "",
        "counting": facts is None,
        "presets": _presets(dataset, facts),
        "preset": effort.PRESETS.get(request.GET.get("preset", "")),
        "guidelines": guidelines,
        "history": dataset.guidelines.select_related("created_by").order_by("-number"),
        "gold": qualifying.gold_of(dataset),
        "clone": clone or CloneForm(source=dataset),
        "languages": sorted(NAMES.values()),
        "open_runs": archiving.open_runs(dataset),
    }
    failed = form.errors or guidelines.errors or (clone and clone.errors)
    return render(request, "datasets/settings.html", context, status=400 if failed else 200)


def _presets(dataset: Dataset, facts: effort.Facts | None) -> list[dict[str, object]]:
    """The presets with what each costs; without facts, no cost."""
    in_use = effort.preset_of(dataset)
    return [
        {
            "key": key,
            "title": title,
            "hint": hint,
            "in_use": key == in_use,
            "cost": effort.effort(
                DatasetForm.with_preset(dataset, effort.settings_of(key)).instance, facts
            ).cost
            if facts
            else "",
        }
        for key, (title, hint, _) in effort.PRESETS.items()
    ]
