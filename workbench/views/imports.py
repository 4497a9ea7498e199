"""Import pages: send a file, see what it holds, import it, follow that, take back what was refused."""

import uuid
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.bodies import ReceivedFile, takes_files
from workbench.db.storage import kept
from workbench.forms.imports import ImportForm, UploadForm
from workbench.models import Dataset, Outcome, Role, Run, Upload, User
from workbench.models.dataset import Message
from workbench.pipeline import imports as pipeline
from workbench.views import Request
from workbench.views.runs import STOP_POLLING, workforce
from workbench.worker import enqueue, tasks

UPLOADS_SHOWN = 20


@dataclass(frozen=True)
class Example:
    """The first Comparison of a row, as an annotator would see it."""

    line: int
    messages: list[Message]
    left: str
    right: str
    labels: str
    more: int

    @classmethod
    def of(cls, draft: pipeline.Draft) -> "Example":
        pair = draft.comparisons[0]
        sides = (draft.completions[pair.first].text, draft.completions[pair.second].text)
        words = {outcome: word.lower() for outcome, word in Outcome.page_words().items()}
        words |= {"a": "left is better", "b": "right is better"}
        said = Counter(words[judgment.outcome] for judgment in pair.judgments)
        labels = ", ".join(
            f"{count} × {word}" if len(pair.judgments) > 1 else word for word, count in said.items()
        )
        return cls(draft.line, draft.messages, *sides, labels, len(draft.comparisons) - 1)


@takes_files
@require_http_methods(["GET", "HEAD", "POST"])
def imports(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a file; the files that were sent before."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    sent = request.method == "POST"
    form = UploadForm(request.POST, request.FILES) if sent else UploadForm()
    if sent and form.is_valid():
        upload = keep(form.cleaned_data["file"], dataset, access.person(request.user))
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


def keep(file: ReceivedFile, dataset: Dataset, user: User) -> Upload:
    """The file in Django's storage under a name of our own, and its row."""
    pk = uuid.uuid4()
    with kept(f"uploads/{pk}", file) as path:
        return Upload.objects.create(
            pk=pk,
            dataset=dataset,
            shown_name=shown(file.name or ""),
            path=path,
            size=file.size or 0,
            sha256=file.digest.hexdigest(),
            uploaded_by=user,
        )


def shown(name: str) -> str:
    """The name as it is shown and looked at: printable, at most 100 characters, with its ending."""
    name = pipeline.escaped(name, 1000)
    return name if len(name) <= 100 else f"{name[:59]}…{name[-40:]}"


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def import_preview(request: Request, pk: uuid.UUID) -> HttpResponse:
    """What the file holds and what is wrong with it, and the choices; a POST imports it."""
    upload = access.upload_for(request.user, pk)
    run = upload.latest_run
    form = ImportForm(request.POST or request.GET or ImportForm.asked(run.params if run else {}))
    form.is_valid()
    if request.method == "POST" and not form.errors:
        begin(upload, form.options(), "check" in request.POST, access.person(request.user))
        return redirect("import_preview", pk=pk)
    context = {"dataset": upload.dataset, "tab": "import", "upload": upload, "run": run, "form": form}
    if run:
        context |= {"workforce": workforce([run]), "rejects": has_rejects(run)}
    if request.htmx and request.htmx.target == "run":
        return render(
            request, "imports/run.html", context, status=200 if run and run.is_open else STOP_POLLING
        )
    if run and run.state == Run.State.DONE and not run.params.get("dry_run") and not request.GET:
        # What it added stands above; "Nothing is stored yet" would contradict it.
        page = "imports/again.html" if request.htmx else "imports/preview.html"
        return render(request, page, context | {"imported": True})
    with default_storage.open(upload.path) as file:
        bytes_of = cast("BinaryIO", file.file)
        preview = pipeline.preview(bytes_of, upload.dataset, form.options(), name=upload.shown_name)
    columns = upload.dataset.columns
    context |= {
        "preview": preview,
        "result": preview.result,
        "is_table": pipeline.is_table(upload.shown_name),
        "kept": [(word, columns[word]) for word in pipeline.COLUMN_WORDS if word in columns],
        "examples": [Example.of(d) for d in preview.examples],
    }
    page = "imports/found.html" if request.htmx else "imports/preview.html"
    return render(request, page, context, status=400 if form.errors else 200)


@transaction.atomic
def begin(upload: Upload, options: pipeline.ImportOptions, check: bool, user: User) -> Run:
    """The Run that imports the upload, or that only checks all of it; it is enqueued once it is stored.
    The one that goes on already, when there is one: a button pressed twice imports once."""
    Dataset.objects.select_for_update().get(pk=upload.dataset_id)
    run = upload.latest_run
    if run is None or not run.is_open:
        run = Run.objects.create(
            kind=Run.Kind.IMPORT,
            dataset=upload.dataset,
            upload=upload,
            params=asdict(replace(options, dry_run=check)),
            created_by=user,
        )
        enqueue.enqueue(tasks.import_file, run.pk)
    return run


def has_rejects(run: Run) -> bool:
    return not run.is_open and default_storage.exists(pipeline.rejects_path(run))


@require_safe
def import_rejects(request: HttpRequest, pk: uuid.UUID, run_pk: int) -> FileResponse:
    """The rows that were refused, as JSON lines: line, field, code, message, excerpt, row."""
    upload = access.upload_for(request.user, pk)
    run = Run.objects.filter(pk=run_pk, upload=upload).first()
    if run is None or not has_rejects(run):
        raise Http404
    return FileResponse(
        default_storage.open(pipeline.rejects_path(run)),
        as_attachment=True,
        filename=f"{upload.shown_name}-rejected.jsonl",
        content_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"},
    )
