from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from workbench import access, tasks
from workbench.forms import CalibrateForm
from workbench.models import Dataset, ModelVersion
from workbench.pipeline import calibration
from workbench.pipeline import versions as registry


@require_safe
def versions(request: HttpRequest) -> HttpResponse:
    access.staff_only(request.user)
    rows = ModelVersion.objects.with_score_count()
    return render(request, "versions/versions.html", {"versions": rows})


@require_safe
def version(request: HttpRequest, pk: int) -> HttpResponse:
    """What is pinned, what it was calibrated on, and how well the probabilities hold."""
    found = access.version_for(request.user, pk)
    return render(request, "versions/version.html", {"version": found, "form": CalibrateForm()})


@require_POST
def version_calibrate(request: HttpRequest, pk: int) -> HttpResponse:
    """Fit the temperature on what people have judged; nothing changes when that is too little."""
    found = access.version_for(request.user, pk)
    form = CalibrateForm(request.POST)
    if not form.is_valid():
        return render(request, "versions/version.html", {"version": found, "form": form}, status=400)
    try:
        calibration.calibrate(found, form.cleaned_data["dataset"], form.cleaned_data["labels"])
    except calibration.NotEnoughData as error:
        messages.warning(request, f"{found} stays as it was: {error}.")
    return redirect("version", found.pk)


@require_POST
def version_delete(request: HttpRequest, pk: int) -> HttpResponse:
    found = access.version_for(request.user, pk)
    try:
        registry.delete_unused(found)
    except registry.Refused as error:
        messages.warning(request, str(error))
        return redirect("version", found.pk)
    messages.info(request, f"{found} is deleted.")
    return redirect("versions")


@require_POST
def version_activate(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the version the active one and have every Dataset scored by it, newest Dataset first."""
    version = access.version_for(request.user, pk)
    version.activate()
    for dataset_id in Dataset.objects.order_by("-created_at", "-pk").values_list("pk", flat=True):
        tasks.score_missing.delay_on_commit(dataset_id)
    messages.info(request, f"{version} is active. Completions that it has not scored are scored now.")
    return redirect("versions")


@require_POST
def version_retire(request: HttpRequest, pk: int) -> HttpResponse:
    version = access.version_for(request.user, pk)
    if not version.retire():
        messages.warning(request, f"{version} is {version.state}: only a registered model can be retired.")
    return redirect("versions")
