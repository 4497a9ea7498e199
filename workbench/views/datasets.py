from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

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
    SearchForm,
)
from workbench.models import Comparison, Dataset, Member, ModelVersion, Prompt, Role, Run
from workbench.models.dataset import DatasetQuerySet
from workbench.pipeline import quality
from workbench.pipeline.annotate.progress import progress_in
from workbench.pipeline.datasets import archiving, deleting, overview
from workbench.pipeline.scoring import batches, cuts
from workbench.pipeline.text import leakage
from workbench.pipeline.text.splits import SPLITS, Split, split_of
from workbench.views import POLL_SECONDS, STOP_POLLING, Request
from workbench.views.figures import as_of
from workbench.worker import enqueue, tasks
from workbench.worker.workforce import workforce

PROMPTS_A_PAGE = 20
CLUSTERS_A_PAGE = 20
PROMPTS_A_CLUSTER = 4


@dataclass(frozen=True)
class Step:
    """A next step with a Dataset."""

    url: str
    label: str


def next_steps(dataset: Dataset) -> list[Step]:
    """The next steps for `dataset.role`, most useful first; needs the judging counts and `report_cells`. Not
    for annotators: the number of open places depends on the votes of others.

    What the Dataset lacks comes first: data, people, votes, reviews. Disagreements of the model count only
    where it beats the length rule."""
    accuracy = quality.from_cells(dataset.report_cells)
    is_admin = dataset.role == Role.ADMIN
    open_places = dataset.wanted_count - dataset.judged_count
    alone = dataset.member_count <= 1 and not dataset.judged_count
    model_first = accuracy is not None and accuracy.beats_rule and dataset.model_split_count > 0
    steps = [
        ("import", "Import a file", "", is_admin and not dataset.prompt_count),
        ("review", _reviews(dataset.model_split_count, "model "), "model", model_first),
        ("review", _reviews(dataset.disagreement_count), "people", dataset.disagreement_count > 0),
        ("people", "Add people", "", is_admin and alone and dataset.prompt_count > 0),
        ("annotate", "Annotate", "", open_places > 0),
        ("releases", "Build a release", "", is_admin and open_places <= 0 < dataset.judged_count),
    ]
    return [
        Step(reverse(name, args=[dataset.pk]) + (f"?queue={queue}" if queue else ""), label)
        for name, label, queue, offered in steps
        if offered
    ]


def _reviews(count: int, of: str = "") -> str:
    return f"Review {count:,} {of}disagreement{'s' * (count != 1)}"


def _counted(datasets: DatasetQuerySet, version: ModelVersion | None) -> DatasetQuerySet:
    cells = {"report_cells": quality.in_report(version)}
    return overview.with_judging_counts(datasets, version).annotate(**cells)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The visitor's Datasets; the numbers of large ones follow once the page has loaded. Annotators see only
    their own progress."""
    person = access.person(request.user)
    visible = Dataset.objects.visible_to(person).with_role_of(person)
    archived = [dataset for dataset in visible.archived() if dataset.role == Role.ADMIN]
    if "archived" in request.GET:
        return render(request, "datasets/archived.html", {"archived": archived})
    visible = visible.in_use().with_has_prompts()
    annotated = [dataset for dataset in visible if dataset.role == Role.ANNOTATOR]
    progress = progress_in(annotated, person) if annotated else {}
    context: dict[str, object] = {
        "annotated": [(dataset, progress[dataset.pk]) for dataset in annotated],
        "archived": len(archived),
        "deletions": Run.objects.deletions_for(person),
    }
    datasets = visible.exclude(pk__in=[dataset.pk for dataset in annotated])
    if "whole" not in request.GET and overview.are_large(datasets):
        uncounted: list[tuple[Dataset, list[Step]]] = [(dataset, []) for dataset in datasets]
        return render(request, "datasets/home.html", {**context, "rows": uncounted, "counting": True})
    active = ModelVersion.objects.active()
    counted = list(_counted(datasets.filter(held_by=None), active))
    for held in datasets.exclude(held_by=None):
        counted += _counted(datasets.filter(pk=held.pk), ModelVersion.objects.serving(held))
    rows = [(dataset, next_steps(dataset)) for dataset in sorted(counted, key=lambda dataset: dataset.name)]
    return render(request, "datasets/home.html", {**context, "rows": rows})


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_new(request: HttpRequest) -> HttpResponse:
    person = access.staff_only(request.user)
    form = NewDatasetForm(request.POST or None)
    if form.is_valid() and (dataset := form.stored()):
        Member.objects.create(dataset=dataset, user=person, role=Role.ADMIN)
        return redirect(dataset)
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
    unscored = dataset.completion_count - dataset.scored_count
    context = {
        "dataset": dataset,
        "tab": "overview",
        "version": version,
        "cuts": cuts.in_words(dataset.cut_count, cuts.limit_of(version)) if dataset.cut_count else "",
        "unscored": batches.unscored(dataset, version, unscored, runs) if version and unscored > 0 else None,
        "next_version": ModelVersion.objects.active() if visible.held_by_id else None,
        "steps": next_steps(dataset),
        "runs": runs,
        "workforce": workforce(runs),
        # Counting a million rows takes seconds: an open page may take a sixth of the time for it.
        "poll_seconds": max(POLL_SECONDS, round(5 * (perf_counter() - started))),
    }
    if runs and request.htmx and "whole" not in request.GET:
        return render(request, "datasets/live.html", context | {"polled": True})
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
    return {
        **as_of(dataset, stored),
        "accuracies": quality.accuracies(stored.report, version),
        "agreement": agreements["all"] if agreements else None,
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


@require_safe
def data(request: HttpRequest, pk: int) -> HttpResponse:
    """Prompts with their Completions and Scores. Not for annotators: a Score seen here would lead them."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    version = ModelVersion.objects.serving(dataset)
    search = SearchForm(request.GET)
    chosen = search.cleaned_data if search.is_valid() else {}
    text, only, empty = chosen.get("q", ""), chosen.get("prompt"), chosen.get("empty", False)
    prompts = Prompt.objects.of(dataset)
    if text:
        prompts = prompts.containing(text)
    if empty:
        prompts = prompts.with_an_empty_answer()
    if only:
        prompts = prompts.filter(pk=only)
    page = Paginator(prompts.values_list("pk", flat=True), PROMPTS_A_PAGE).get_page(request.GET.get("page"))
    most = overview.MOST_OF_ONE if only else overview.MOST_OF_A_PAGE
    shown = overview.within_memory(list(page), most, version)
    context = {
        "dataset": dataset,
        "tab": "data",
        "version": version,
        "page": page,
        "search": search,
        "prompts": shown,
        "text": text,
        "only": only,
        "empty": empty,
    }
    return render(request, "datasets/data.html", context)


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
    page = Paginator(Prompt.objects.of(dataset).clusters(), CLUSTERS_A_PAGE).get_page(request.GET.get("page"))
    report = leakage.latest(dataset) if dataset.role == Role.ADMIN else None
    context = {
        "dataset": dataset,
        "tab": "data",
        "page": page,
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
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = (
        DatasetForm.sent(request.POST, dataset) if request.method == "POST" else DatasetForm(instance=dataset)
    )
    if form.is_valid() and form.stored():
        messages.info(request, "Settings saved.")
        return redirect("settings", pk=pk)
    return _settings_page(request, dataset, form, GuidelinesForm.of(dataset))


@require_POST
def archive(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    archiving.archive(dataset)
    messages.info(request, f"{dataset} is archived. You can restore it here.")
    return redirect("settings", pk=pk)


@require_POST
def bring_back(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    archiving.bring_back(dataset)
    enqueue.enqueue(tasks.score_missing, dataset.pk)
    messages.info(request, f"{dataset} is in use again.")
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
    """Store the text as the next version of the guidelines, unless somebody stored another meanwhile."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = GuidelinesForm(request.POST)
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
    context = {
        "dataset": dataset,
        "tab": "settings",
        "form": form,
        "guidelines": guidelines,
        "history": dataset.guidelines.select_related("created_by").order_by("-number"),
        "clone": clone or CloneForm(source=dataset),
        "open_runs": archiving.open_runs(dataset),
    }
    failed = form.errors or guidelines.errors or (clone and clone.errors)
    return render(request, "datasets/settings.html", context, status=400 if failed else 200)
