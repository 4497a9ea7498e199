"""Import pages: send a file, preview it, import it, follow the Run, download the refused rows."""

import uuid
from dataclasses import replace
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.bodies import takes_files
from workbench.forms.imports import ImportForm, UploadForm
from workbench.models import Role, Run
from workbench.pipeline import imports as pipeline
from workbench.views import STOP_POLLING, Request
from workbench.worker import tasks
from workbench.worker.workforce import workforce

UPLOADS_SHOWN = 20


@takes_files
@require_http_methods(["GET", "HEAD", "POST"])
def imports(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a file; the earlier files."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    sent = request.method == "POST"
    form = UploadForm(request.POST, request.FILES) if sent else UploadForm()
    if sent and form.is_valid():
        upload = pipeline.keep(form.cleaned_data["file"], dataset, access.person(request.user))
        return redirect("import_preview", pk=upload.pk)
    context = {
        "dataset": dataset,
        "tab": "import",
        "form": form,
        "uploads": dataset.uploads.for_list()[:UPLOADS_SHOWN],
        "max_bytes": settings.UPLOAD_MAX_BYTES,
        "endings": pipeline.endings(),
        "shapes": pipeline.SHAPES.values(),
    }
    return render(request, "imports/imports.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def import_preview(request: Request, pk: uuid.UUID) -> HttpResponse:
    """A preview of the file with its faults and the options; a POST imports it."""
    upload = access.upload_for(request.user, pk)
    run = upload.latest_run
    form = ImportForm(request.POST or request.GET or ImportForm.data_of(run))
    form.is_valid()
    if request.method == "POST" and not form.errors:
        options = replace(form.options(), dry_run="check" in request.POST)
        if new_run := pipeline.begin(upload, options, access.person(request.user)):
            tasks.enqueue_run(new_run)
        return redirect("import_preview", pk=pk)
    context = {"dataset": upload.dataset, "tab": "import", "upload": upload, "run": run, "form": form}
    if run:
        context |= {"workforce": workforce([run]), "rejects": pipeline.has_rejects(run)}
    if request.htmx and request.htmx.target == "run":
        return render(
            request, "imports/run.html", context, status=200 if run and run.is_open else STOP_POLLING
        )
    if run and run.state == Run.State.DONE and not run.params.get("dry_run") and not request.GET:
        # The page shows the counts of the import; "Nothing is stored yet" would contradict them.
        page = "imports/again.html" if request.htmx else "imports/preview.html"
        return render(request, page, context | {"imported": True})
    with default_storage.open(upload.path) as file:
        source = cast("BinaryIO", file.file)
        preview = pipeline.preview(source, upload.dataset, form.options(), name=upload.shown_name)
    columns = upload.dataset.columns
    context |= {
        "preview": preview,
        "result": preview.result,
        "is_table": pipeline.is_table(upload.shown_name),
        "kept": [(word, columns[word]) for word in pipeline.COLUMN_WORDS if word in columns],
    }
    page = "imports/found.html" if request.htmx else "imports/preview.html"
    return render(request, page, context, status=400 if form.errors else 200)


@require_safe
def import_rejects(request: HttpRequest, pk: uuid.UUID, run_pk: int) -> FileResponse:
    """The refused rows as JSON lines: line, field, code, message, excerpt, row."""
    upload = access.upload_for(request.user, pk)
    run = Run.objects.filter(pk=run_pk, upload=upload).first()
    if run is None or not pipeline.has_rejects(run):
        raise Http404
    return FileResponse(
        default_storage.open(pipeline.rejects_path(run)),
        as_attachment=True,
        filename=f"{upload.shown_name}-rejected.jsonl",
        content_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"},
    )
