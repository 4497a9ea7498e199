"""The Model tab of a Dataset: accuracy of the versions, retraining, comparing, promoting, lineage."""

import re
from collections.abc import Sequence

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.forms.model import CompareForm, PromoteForm, RetrainForm
from workbench.models import Dataset, Evaluation, ModelVersion, Promotion, Role, Run
from workbench.pipeline import quality
from workbench.pipeline.datasets.overview import are_large
from workbench.pipeline.model import evaluation, plan, promotion, table, training
from workbench.pipeline.model.compare import Compared
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text import learnt
from workbench.views import Request, orders
from workbench.views.figures import as_of
from workbench.views.pictures import Flips, Measured, Versions
from workbench.worker import tasks
from workbench.worker.workforce import workforce

EVALUATIONS_SHOWN = 30


@require_http_methods(["GET", "HEAD", "POST"])
def model(request: HttpRequest, pk: int) -> HttpResponse:
    """The versions beside each other, and the form that trains another."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = RetrainForm(dataset, request.POST or None)
    if form.is_valid():
        chosen = form.cleaned_data
        try:
            run = training.begin(
                chosen["release"],
                chosen["base"],
                chosen["preset"],
                chosen["name"],
                access.person(request.user),
            )
        except Refused as error:
            form.add_error(None, str(error))
        else:
            tasks.enqueue_run(run)
            return redirect("run", pk=run.pk)
    measured_on = [dataset, *Dataset.objects.benchmarks().exclude(pk=dataset.pk)]
    runs = Run.objects.of(dataset).filter(kind__in=[Run.Kind.TRAIN, Run.Kind.EVALUATE]).for_list()[:20]
    open_runs = [run for run in runs if run.is_open]
    reports = quality.stored_of(measured_on)
    rows = table.rows(measured_on, reports)
    sort = orders.chosen(request, table.SORTS)
    in_table = (row.version for row in rows if row.version.state == ModelVersion.State.ACTIVE)
    active = next(in_table, None) or ModelVersion.objects.active()
    context = {
        **as_of(dataset, reports.get(dataset.pk), active),
        "dataset": dataset,
        "tab": "model",
        "form": form,
        "measured_on": measured_on,
        "rows": sorted(rows, key=table.SORTS[sort][1]),
        **orders.links(table.SORTS, sort),
        "versions_drawn": _drawn(rows),
        "active": active,
        "runs": list(runs)[:8],
        "workforce": workforce(open_runs),
        "outlook": _outlook(form),
    }
    return render(request, "model/model.html", context, status=400 if form.errors else 200)


def _drawn(rows: Sequence[table.VersionRow]) -> Versions | None:
    """The accuracy of the versions here, the oldest first."""
    measured = [
        Measured(str(row.version), here.accuracy, here.interval, here.by_rule, here.rule, here.ceiling)
        for row in sorted(rows, key=lambda row: row.version.pk)
        for here in row.cells[:1]
        if here.accuracy is not None
    ]
    return Versions.of(measured)


def _outlook(form: RetrainForm) -> dict[str, object]:
    """What training on the chosen Release would learn from, or why the Release cannot be trained on."""
    release = form.chosen_release()
    if release is None:
        return {}
    try:
        return {"outlook": plan.outlook(release), "release": release}
    except Refused as error:
        return {"problem": str(error), "release": release}


@require_POST
def model_outlook(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of the form that follows the chosen Release."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    return render(request, "model/outlook.html", {"outlook": _outlook(RetrainForm(dataset, request.POST))})


@require_POST
def model_evaluate(request: HttpRequest, pk: int) -> HttpResponse:
    """Begin a Run that evaluates the version on the pairs of this Dataset that it has not learnt."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    version = _version(request.POST.get("version", ""))
    run = evaluation.begin(version, dataset, by=access.person(request.user))
    tasks.enqueue_run(run)
    return redirect("run", pk=run.pk)


def _version(pk: str) -> ModelVersion:
    version = ModelVersion.objects.filter(pk=int(pk)).first() if re.fullmatch(r"[0-9]{1,18}", pk) else None
    if version is None:
        raise Http404
    return version


@require_safe
@vary_on_headers("HX-Request")
def model_compare(request: Request, pk: int) -> HttpResponse:
    """Two versions on the same pairs, with the gate's finding where one of them is active. On large Datasets
    the comparison follows once the page has loaded."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    active = ModelVersion.objects.active()
    form = CompareForm(request.GET or {"old": active.pk if active else ""})
    context: dict[str, object] = {"dataset": dataset, "tab": "model", "form": form, "active": active}
    if form.is_valid():
        new, old = form.cleaned_data["new"], form.cleaned_data["old"]
        newest = Evaluation.objects.on(dataset).filter(version=new).newest_first().first()
        stored = quality.stored(dataset)
        figures = quality.overall(stored.report, new) if stored else None
        context |= {"new": new, "old": old, "cell": table.Cell.of(newest, figures)}
        at_once = request.htmx or "now" in request.GET
        if not at_once and are_large([dataset, *Dataset.objects.benchmarks()]):
            return render(request, "model/compare.html", {**context, "comparing": True})
        context |= _compared(dataset, new, old, active)
    return render(request, "model/compare.html", context)


def _compared(
    dataset: Dataset, new: ModelVersion, old: ModelVersion, active: ModelVersion | None
) -> dict[str, object]:
    gate, measured = promotion.compared(dataset, new, old)
    context: dict[str, object] = {"compared": [_shown(on, new, old, found) for on, found in measured]}
    return context | ({"gate": gate, "also_serves": promotion.served(besides=dataset)} if gate else {})


def _shown(on: Dataset, new: ModelVersion, old: ModelVersion, compared: Compared) -> dict[str, object]:
    """One paired comparison with links to its flips in the review queue."""
    queue = reverse("review", args=[on.pk])
    link: dict[str, str | int] = {"version": new.pk, "old": old.pk}
    return {
        "on": on,
        "paired": compared.paired,
        "flips": Flips.of(compared.paired),
        "enough": [part for part in compared.paired.slices if part.difference is not None],
        "too_few": [
            f"{part.name}: {part.label} ({part.n})"
            for part in compared.paired.slices
            if part.difference is None
        ],
        "remarks": compared.remarks,
        "warning": compared.warning,
        "unknown": learnt.warnings([new, old]),
        "towards": f"{queue}?{urlencode({**link, 'why': 'towards'})}",
        "away": f"{queue}?{urlencode({**link, 'why': 'away'})}",
    }


@require_POST
def promote(request: HttpRequest, pk: int, version_pk: int) -> HttpResponse:
    """Make the version the active one where it passes the gate of this Dataset, or by an override."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    version = access.version_for(request.user, version_pk)
    form = PromoteForm(request.POST)
    by = access.staff_only(request.user)
    chosen = form.cleaned_data if form.is_valid() else {}
    override, reason = bool(chosen.get("override")), chosen.get("reason", "")
    try:
        promoted = promotion.promote(version, dataset, by=by, override=override, reason=reason)
    except Refused as error:
        messages.warning(request, str(error))
        query = {"new": version.pk, "old": getattr(ModelVersion.objects.active(), "pk", "")}
        return redirect(f"{reverse('model_compare', args=[pk])}?{urlencode(query)}")
    tasks.enqueue_scoring()
    messages.info(request, f"{promoted.version} is active. {promotion.where_it_serves()}")
    return redirect("model", pk=pk)


@require_safe
def model_version(request: HttpRequest, pk: int, version_pk: int) -> HttpResponse:
    """Where a version comes from and what came of it: Release, Run, metrics, Scores, promotions."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    versions = ModelVersion.objects.with_score_count().select_related(
        "base", "release__dataset", "trained_by"
    )
    version = versions.filter(pk=version_pk).first()
    if version is None:
        raise Http404
    evaluations = list(version.evaluations.select_related("dataset", "run")[:EVALUATIONS_SHOWN])
    slices = evaluations[0].model_figures.get("slices", []) if evaluations else []
    context = {
        "dataset": dataset,
        "tab": "model",
        "version": version,
        "chain": table.bases_of(version),
        "lessons": version.lessons.select_related("prompts").order_by("pk"),
        "trained_from": version.trained_from.order_by("pk"),
        "evaluations": [table.Cell.of_evaluation(row) for row in evaluations],
        "enough": [part for part in slices if part["accuracy"] is not None],
        "too_few": [
            f"{part['name']}: {part['label']} ({part['n']})" for part in slices if part["accuracy"] is None
        ],
        "promotions": Promotion.objects.history().filter(version=version),
        "active": ModelVersion.objects.active(),
    }
    return render(request, "model/version.html", context)
