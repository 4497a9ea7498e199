from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from workbench import access
from workbench.forms.versions import CalibrateForm
from workbench.models import ModelVersion, Promotion
from workbench.pipeline.model import calibration, promotion, registry
from workbench.pipeline.runs.progress import Refused
from workbench.worker import tasks

PROMOTIONS_SHOWN = 50


@require_safe
def versions(request: HttpRequest) -> HttpResponse:
    access.staff_only(request.user)
    rows = ModelVersion.objects.with_score_count().select_related("base", "release__dataset")
    context = {
        "versions": rows,
        "active": ModelVersion.objects.active(),
        "history": Promotion.objects.history()[:PROMOTIONS_SHOWN],
        "serves": promotion.served(),
        "previous": promotion.replaced_by_active(),
    }
    return render(request, "versions/versions.html", context)


@require_safe
def version(request: HttpRequest, pk: int) -> HttpResponse:
    """The checksums of a version, the data that it was calibrated on, and how well its probabilities hold."""
    return _version_page(request, access.version_for(request.user, pk), CalibrateForm())


def _version_page(
    request: HttpRequest, version: ModelVersion, form: CalibrateForm, status: int = 200
) -> HttpResponse:
    context = {"version": version, "form": form, "active": ModelVersion.objects.active()}
    context["serves"] = promotion.served()
    return render(request, "versions/version.html", context, status=status)


@require_POST
def version_calibrate(request: HttpRequest, pk: int) -> HttpResponse:
    """Fit the temperature on people's votes; nothing changes where they are too few."""
    version = access.version_for(request.user, pk)
    form = CalibrateForm(request.POST)
    if not form.is_valid():
        return _version_page(request, version, form, status=400)
    try:
        calibration.calibrate(version, form.cleaned_data["dataset"], form.cleaned_data["labels"])
    except calibration.NotEnoughData as error:
        messages.warning(request, f"{version} was not calibrated: {error}.")
    return redirect("version", version.pk)


@require_POST
def version_delete(request: HttpRequest, pk: int) -> HttpResponse:
    version = access.version_for(request.user, pk)
    try:
        registry.delete_unused(version)
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
    if not version.retire():
        messages.warning(request, f"{version} is {version.state}. Only a registered model can be retired.")
    return redirect("versions")
