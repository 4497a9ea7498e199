"""Import pages: send a file, preview it, import it, follow the Run, download the refused rows."""

import uuid
from dataclasses import replace

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access, downloads
from workbench.bodies import takes_files
from workbench.forms.hub import FetchForm
from workbench.forms.imports import ImportForm, UploadForm, column_uses, first_values
from workbench.models import Role, Run, Upload
from workbench.pipeline import imports as pipeline
from workbench.pipeline.runs.progress import Refused
from workbench.templatetags.toasts import saved
from workbench.views import STOP_POLLING, Request, orders
from workbench.views.hub import hub_facts
from workbench.views.pictures import Balance, Lengths, PairsAPrompt
from workbench.worker import tasks
from workbench.worker.workforce import workforce

UPLOADS_A_PAGE = 20
SORTS: orders.Sorts = {
    "newest": ("Newest", ["-created_at", "-pk"]),
    "name": ("By name", ["shown_name", "-created_at", "-pk"]),
    "size": ("Largest", ["-size", "-pk"]),
    "state": ("By status", ["latest_state", "-created_at", "-pk"]),
}


@takes_files
@require_http_methods(["GET", "HEAD", "POST"])
def imports(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a file, or choose a sample; the earlier files."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    if request.POST.get("sample") in pipeline.SAMPLES:
        upload = pipeline.keep_sample(request.POST["sample"], dataset, access.person(request.user))
        return redirect("import_preview", pk=upload.pk)
    sent = request.method == "POST"
    form = UploadForm(request.POST, request.FILES) if sent else UploadForm()
    if sent and form.is_valid():
        upload = pipeline.keep(form.cleaned_data["file"], dataset, access.person(request.user))
        return redirect("import_preview", pk=upload.pk)
    sort = orders.chosen(request, SORTS)
    uploads = dataset.uploads.for_list().order_by(*SORTS[sort][1])
    context = {
        "dataset": dataset,
        "tab": "import",
        "form": form,
        "page": Paginator(uploads, UPLOADS_A_PAGE).get_page(request.GET.get("page")),
        **orders.links(SORTS, sort),
        "max_bytes": settings.UPLOAD_MAX_BYTES,
        "endings": pipeline.endings(),
        "shapes": pipeline.SHAPES.values(),
        "samples": pipeline.SAMPLES,
        "fetch_form": FetchForm(),
        **hub_facts(),
    }
    return render(request, "imports/imports.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def import_preview(request: Request, pk: uuid.UUID) -> HttpResponse:
    """A preview of the file with its faults and the options; a POST imports it, or with `preview` only looks
    again: the choices of a wide table are too long for an address."""
    upload = access.upload_for(request.user, pk)
    run = upload.latest_run
    form = ImportForm(request.POST or request.GET or ImportForm.data_of(run, upload))
    form.is_valid()
    imports_now = request.method == "POST" and "preview" not in request.POST
    if imports_now and not form.errors and not form.asks_for_columns:
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
    if (
        run
        and run.state == Run.State.DONE
        and not run.params.get("dry_run")
        and not (request.GET or request.POST)
    ):
        # The page shows the counts of the import; "Nothing is stored yet" would contradict them.
        page = "imports/again.html" if request.htmx else "imports/preview.html"
        return render(request, page, context | {"imported": True})
    context |= _previewed(upload, form) | {"is_table": pipeline.is_table(upload.shown_name)}
    page = "imports/found.html" if request.htmx else "imports/preview.html"
    return render(request, page, context, status=400 if form.errors else 200)


def _previewed(upload: Upload, form: ImportForm) -> dict[str, object]:
    """The preview of the upload, and the drop-downs over its columns where a mapping is wanted.

    The mapping is the one chosen; else the one that the dataset remembers, if it fits; else a guess by the
    names, if somebody asks for a mapping or no format is recognised. A guess is tried on the rows at once.
    """
    options = form.options()
    preview = pipeline.preview_upload(upload, options)
    mapping, guesses, remembered = form.mapping, dict[str, pipeline.Guess](), False
    if mapping is None and options.format == "auto" and preview.result.format == "columns":
        mapping, remembered = upload.dataset.columns, True
    elif form.asks_for_columns or (mapping is None and not preview.title and preview.paths):
        guesses = pipeline.guesses_of(preview)
        mapping = pipeline.as_mapping(guesses)
        if pipeline.is_whole(mapping):
            preview = pipeline.preview_upload(
                upload, replace(options, columns={**mapping, **form.says(mapping)})
            )
    uses = [] if mapping is None or options.format != "auto" else column_uses(preview, mapping, guesses)
    label = (mapping or {}).get("outcome")
    return {
        "preview": preview,
        "lengths": Lengths.of(preview.lengths, preview.most),
        "balance": Balance.of(preview.balance),
        "pairs": PairsAPrompt.of(preview.pairs),
        "result": preview.result,
        "uses": uses,
        "use_rows": list(zip(*(use.values for use in uses), strict=True)),
        "guessed": bool(guesses),
        "remembered": remembered,
        "says": [
            (form[word], outcome, form[word].value() or (mapping or {}).get(word, ""))
            for word, outcome in pipeline.OUTCOME_WORDS.items()
        ],
        "label_values": first_values(preview, label) if label else [],
    }


@require_POST
def import_remove(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Remove the sent file; what was imported from it stays."""
    upload = access.upload_for(request.user, pk)
    try:
        pipeline.remove(upload, access.person(request.user))
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        saved(request, f"{upload.shown_name} is removed. What was imported from it stays.")
    return redirect("import", pk=upload.dataset_id)


@require_safe
def import_rejects(request: HttpRequest, pk: uuid.UUID, run_pk: int) -> HttpResponseBase:
    """The refused rows as JSON lines: line, field, code, message, excerpt, row."""
    upload = access.upload_for(request.user, pk)
    run = Run.objects.filter(pk=run_pk, upload=upload).first()
    if run is None:
        raise Http404
    return downloads.rejects_answer(request, run)
