from copy import copy

from django.contrib import messages
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workbench import access
from workbench.forms.versions import AddModelForm, CalibrateForm, NameForm
from workbench.models import ModelVersion, Promotion, Run, Score
from workbench.pipeline.hub import hosts
from workbench.pipeline.model import adding, calibration, promotion, registry
from workbench.pipeline.runs.progress import Refused
from workbench.views import orders
from workbench.worker import tasks

PROMOTIONS_SHOWN = 50
_STATES = [ModelVersion.State.ACTIVE, ModelVersion.State.REGISTERED, ModelVersion.State.RETIRED]
SORTS: orders.Sorts = {
    "newest": ("Newest", ["-created_at", "pk"]),
    "name": ("By name", ["name"]),
    "state": ("By state", [orders.by_place("state", _STATES), "-created_at", "pk"]),
    "scores": ("Most answers scored", ["-score_count", "-created_at", "pk"]),
    "largest": ("Largest", [F("parameters").desc(nulls_last=True), "-created_at", "pk"]),
}


@require_safe
def versions(request: HttpRequest) -> HttpResponse:
    access.staff_only(request.user)
    sort = orders.chosen(request, SORTS)
    rows = ModelVersion.objects.with_score_count().select_related("base", "release__dataset")
    context = {
        "versions": rows.order_by(*SORTS[sort][1]),
        **orders.links(SORTS, sort),
        "active": ModelVersion.objects.active(),
        "history": Promotion.objects.history()[:PROMOTIONS_SHOWN],
        "serves": promotion.served(),
        "previous": promotion.replaced_by_active(),
    }
    return render(request, "versions/versions.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def version_add(request: HttpRequest) -> HttpResponse:
    """Name a model of the hub or of a folder, and have a worker register it. `run`: an earlier try, whose
    answers fill the form."""
    by = access.staff_only(request.user)
    if request.method == "POST":
        form = AddModelForm(request.POST)
    else:
        form = AddModelForm(initial=_earlier(request) if "run" in request.GET else None)
    if request.method == "POST" and form.is_valid():
        try:
            run = adding.begin_named(adding.Order(**form.cleaned_data), by)
        except Refused as refused:
            form.add_error(None, str(refused))
        else:
            tasks.enqueue_run(run)
            return redirect("run", pk=run.pk)
    context = {
        "form": form,
        "hub_host": hosts.hub_host(),
        "hub_allowed": hosts.is_allowed(hosts.hub_host()),
        "active": ModelVersion.objects.active(),
        "serves": promotion.served(),
    }
    return render(request, "versions/add.html", context, status=400 if form.errors else 200)


def _earlier(request: HttpRequest) -> dict[str, object]:
    """The answers of an earlier try, and the template that the address names."""
    number = request.GET["run"]
    run = access.run_for(request.user, int(number)) if number.isascii() and number.isdigit() else None
    if run is None or run.kind != Run.Kind.REGISTER or run.params.get("path") or run.params.get("release"):
        raise Http404
    named = {name: run.params[name] for name in AddModelForm.base_fields if name in run.params}
    source = AddModelForm.HUB if run.params.get("repository") else AddModelForm.FOLDER
    chosen = {name: request.GET[name] for name in ("template",) if name in request.GET}
    return {**named, "source": source, **chosen}


@require_http_methods(["GET", "HEAD", "POST"])
def version(request: HttpRequest, pk: int) -> HttpResponse:
    """The checksums of a version, the data that it was calibrated on, and how well its probabilities hold. A
    POST gives it another name or notice."""
    version = access.version_for(request.user, pk)
    naming = NameForm(request.POST if request.method == "POST" else None, instance=copy(version))
    if not naming.is_valid():
        return _version_page(request, version, CalibrateForm(), naming, status=400 if naming.errors else 200)
    try:
        registry.rename(version, **naming.cleaned_data, by=access.person(request.user))
    except Refused as refused:
        messages.warning(request, str(refused))
    else:
        messages.info(request, f"Saved the name and notice of {version}.")
    return redirect("version", version.pk)


def _version_page(
    request: HttpRequest,
    version: ModelVersion,
    form: CalibrateForm,
    naming: NameForm | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {"version": version, "form": form, "active": ModelVersion.objects.active()}
    context["naming"] = naming or NameForm(instance=version)
    context["serves"] = promotion.served()
    context["cuts"] = Score.objects.filter(version=version).cuts()
    return render(request, "versions/version.html", context, status=status)


@require_POST
def version_calibrate(request: HttpRequest, pk: int) -> HttpResponse:
    """Fit the temperature on people's votes; nothing changes where they are too few."""
    version = access.version_for(request.user, pk)
    form = CalibrateForm(request.POST)
    if not form.is_valid():
        return _version_page(request, version, form, status=400)
    try:
        chosen = form.cleaned_data
        calibration.calibrate(version, chosen["dataset"], chosen["labels"], by=access.person(request.user))
    except calibration.NotEnoughData as error:
        messages.warning(request, f"{version} was not calibrated: {error}.")
    return redirect("version", version.pk)


@require_POST
def version_delete(request: HttpRequest, pk: int) -> HttpResponse:
    version = access.version_for(request.user, pk)
    try:
        registry.delete_unused(version, by=access.person(request.user))
    except Refused as error:
        messages.warning(request, str(error))
        return redirect("version", version.pk)
    messages.info(request, f"{version} is deleted.")
    return redirect("versions")


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\0", "")[:2000]


@require_POST
def version_activate(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the version the active one by hand: the first version, or with a reason that is kept."""
    version = access.version_for(request.user, pk)
    by = access.staff_only(request.user)
    try:
        promotion.put_in_place(version, by=by, reason=_reason(request))
    except Refused as error:
        messages.warning(request, str(error))
        return redirect("version", version.pk)
    tasks.enqueue_scoring()
    messages.info(request, f"{version} is active. {promotion.where_it_serves()}")
    return redirect("versions")


@require_POST
def rollback(request: HttpRequest) -> HttpResponse:
    """Make the version active again that the active one replaced."""
    by = access.staff_only(request.user)
    try:
        restored = promotion.roll_back(by=by, reason=_reason(request))
    except Refused as error:
        messages.warning(request, str(error))
        return redirect("versions")
    tasks.enqueue_scoring()
    sentence = f"{restored.version} is active again and has replaced {restored.supersedes}."
    messages.info(request, f"{sentence} {promotion.where_it_serves()}")
    return redirect("versions")


@require_POST
def version_retire(request: HttpRequest, pk: int) -> HttpResponse:
    version = access.version_for(request.user, pk)
    try:
        registry.retire(version, access.person(request.user))
    except Refused as error:
        messages.warning(request, str(error))
    return redirect("versions")
