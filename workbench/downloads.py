"""Files that people and programs download: those of a Release in pieces, and refused rows of an import."""

import base64
import hashlib
import re
from collections.abc import Iterator

from django.core.files.storage import default_storage
from django.db import transaction
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from workbench import access
from workbench.models import Download, Release, Run
from workbench.pipeline import imports, releases
from workbench.pipeline.history.recording import File, Kind, record, record_download

BLOCK = 256 * 1024


def file_answer(request: HttpRequest, release: Release, name: str) -> HttpResponseBase:
    """A file of a ready release, streamed; a range of it where the client resumes a download. Raises Http404
    for other names."""
    if not release.is_ready or name not in {*release.manifest["files"], releases.MANIFEST}:
        raise Http404
    path = f"{release.folder}/{name}"
    sha256, size = _sha256(release, name), default_storage.size(path)
    span = _range(request, size, sha256)
    if span is None:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    response = StreamingHttpResponse(
        _blocks(path, span),
        status=200 if len(span) == size else 206,
        content_type="application/octet-stream",
        headers=_headers(release, name, sha256) | {"Content-Length": str(len(span))},
    )
    if response.status_code == 206:
        response["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    if request.method == "GET":
        _note(request, release, name, span.start)
    return response


def zip_answer(request: HttpRequest, release: Release) -> HttpResponseBase:
    """All files of a ready release as one zip, streamed. Raises Http404 for a release that is not ready."""
    if not release.is_ready:
        raise Http404
    name = f"{folder_of(release)}.zip"
    response = StreamingHttpResponse(
        releases.zip_blocks(release, folder_of(release)),
        content_type="application/zip",
        headers=_attachment(name),
    )
    if request.method == "GET":
        _note(request, release, name)
    return response


def rejects_answer(request: HttpRequest, run: Run) -> HttpResponseBase:
    """The rows that an import refused, as JSON lines. Raises Http404 where there are none."""
    if run.upload is None or not imports.has_rejects(run):
        raise Http404
    if request.method == "GET":
        by = access.person(request.user)
        record_download(File.REJECTED_ROWS, by=by, dataset=run.upload.dataset, target=run)
    return FileResponse(
        default_storage.open(imports.rejects_path(run)),
        as_attachment=True,
        filename=f"{run.upload.shown_name}-rejected.jsonl",
        content_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"},
    )


def folder_of(release: Release) -> str:
    """The name of the release's folder, after the name of the Dataset at the time of the build."""
    name = release.manifest["dataset"]["name"] if release.is_ready else release.dataset.name
    return f"{slugify(name) or 'dataset'}-{release.number}"


@transaction.atomic
def _note(request: HttpRequest, release: Release, name: str, first_byte: int = 0) -> None:
    user = access.person(request.user)
    Download.objects.create(release=release, file=name, first_byte=first_byte, user=user)
    record(Kind.DOWNLOADED, by=user, dataset=release.dataset, target=release, word=File.RELEASE)


def _sha256(release: Release, name: str) -> str:
    if name in release.manifest["files"]:
        return str(release.manifest["files"][name]["sha256"])
    with default_storage.open(f"{release.folder}/{name}") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _headers(release: Release, name: str, sha256: str) -> dict[str, str]:
    # RFC 9530: the digest is of the whole file, in base64, also on a range of it. People compare hex.
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    return {
        **_attachment(f"{folder_of(release)}-{name}"),
        "Accept-Ranges": "bytes",
        "ETag": f'"{sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "X-Checksum-Sha256": sha256,
    }


def _attachment(filename: str) -> dict[str, str]:
    return {
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=filename)
        or "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }


def _range(request: HttpRequest, size: int, sha256: str) -> range | None:
    """The bytes of a Range header; None when the range starts after the end. All bytes where the header has
    no single range, where If-Range names another file, and for more digits than any size has."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("Range", ""))
    condition = request.headers.get("If-Range", f'"{sha256}"')
    if not match or match.groups() == ("", "") or condition != f'"{sha256}"':
        return range(size)
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size) if int(last) else None
    end = min(size, int(last) + 1) if last else size
    return range(int(first), end) if int(first) < end else None


def _blocks(path: str, span: range) -> Iterator[bytes]:
    # Opened at the first block: a HEAD request reads no block, so nobody would close the file.
    with default_storage.open(path) as file:
        file.seek(span.start)
        remaining = len(span)
        while remaining and (block := file.read(min(BLOCK, remaining))):
            remaining -= len(block)
            yield block
