import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.bodies import takes_files
from workbench.forms.releases import LeakageForm, ReleaseForm
from workbench.models import Dataset, Download, Prompt, Release, Role, Run, User
from workbench.pipeline import releases as pipeline
from workbench.pipeline.decisions import deciding
from workbench.pipeline.imports import printable_name
from workbench.pipeline.text import leakage
from workbench.views import Request
from workbench.views.runs import STOP_POLLING, workforce
from workbench.worker import enqueue, tasks

RELEASES_A_PAGE = 30
DOWNLOADS_SHOWN = 50
FILES_SHOWN = 12
COMMON = (*pipeline.DEFAULT_PROFILES, "soft-label")
"""Profiles that the form shows at once; the others are one click away."""

SOURCES_OFFERED = 100
_OUTCOMES = {"both_bad": "both bad", "cannot_judge": "can’t judge", "drop": "excluded by a reviewer"}
BLOCK = 256 * 1024


def _form(dataset: Dataset, request: HttpRequest, report: Run | None) -> ReleaseForm:
    """The form for the next Release; `report` is the leakage report whose prompts it can leave out."""
    return ReleaseForm(
        request.POST if request.method == "POST" else None,
        leaked=lambda: leakage.groups_found(report) if report else (),
        sources=dataset.sources[:SOURCES_OFFERED],
    )


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def releases(request: Request, pk: int) -> HttpResponse:
    """The Releases of a Dataset and the form for the next; for htmx, the list alone."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    report = leakage.latest(dataset)
    form = _form(dataset, request, report)
    if request.method == "POST" and form.is_valid():
        _begin(form.release(dataset), access.person(request.user))
        return redirect("releases", pk=dataset.pk)
    listed = dataset.releases.for_list().order_by("-number")
    page = Paginator(listed, RELEASES_A_PAGE).get_page(request.GET.get("page"))
    open_runs = [release.run for release in page if release.run and release.run.is_open]
    latest = next((release for release in page if release.is_ready), None)
    shown_files = _in_order(latest, cast(Any, latest).files) if latest else []
    context = {
        "dataset": dataset,
        "tab": "releases",
        "form": form,
        "narrowing": [form[name] for name in form.narrowing if name != "source" or form.has_sources],
        "page": page,
        "latest": latest,
        "files": shown_files if len(shown_files) <= FILES_SHOWN else [],
        "going": bool(open_runs),
        "workforce": workforce(open_runs),
        "common": [pipeline.PROFILES[name] for name in COMMON],
        "others": [it for name, it in pipeline.PROFILES.items() if name not in COMMON],
        "report": report,
        "chose_others": not set(form["profiles"].value() or []) <= set(COMMON),
    }
    if not request.htmx:
        return render(request, "releases/releases.html", context)
    return render(request, "releases/list.html", context, status=200 if open_runs else STOP_POLLING)


@require_POST
def release_count(request: HttpRequest, pk: int) -> HttpResponse:
    """How many Comparisons the filters of the form let through, as Decisions stand; a worker brings these in
    line with votes that came since, and the number is asked for again."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = _form(dataset, request, leakage.latest(dataset))
    if not form.is_valid():
        problems = (error for errors in form.errors.values() for error in errors)
        return render(request, "releases/count.html", {"problem": next(problems)})
    try:
        through, decided = pipeline.count_now(dataset, form.filters())
    except pipeline.BadFilter as error:
        return render(request, "releases/count.html", {"problem": str(error)})
    if ordered := deciding.begin_if_stale(dataset, access.person(request.user)):
        enqueue.enqueue(tasks.decide, ordered.pk)
    freshness = deciding.freshness(dataset)
    waiting = workforce([freshness.run] if freshness.run else [])
    context = {
        "dataset": dataset, "through": through, "decided": decided,
        "freshness": freshness, "workforce": waiting,
    }  # fmt: skip
    return render(request, "releases/count.html", context)


@transaction.atomic
def _begin(release: Release, user: User) -> None:
    """Store the release and the Run that builds it; it is enqueued once both are stored."""
    run = Run.objects.create(kind=Run.Kind.RELEASE, dataset=release.dataset, created_by=user)
    release.run, release.created_by = run, user
    pipeline.begin(release)
    enqueue.enqueue(tasks.build_release, run.pk)


@takes_files
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def release_leakage(request: Request, pk: int) -> HttpResponse:
    """What the Dataset shares with what models are tested by, as the last Run found it; a POST begins one."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = LeakageForm(request.POST, request.FILES) if request.method == "POST" else LeakageForm()
    if request.method == "POST" and form.is_valid():
        _begin_report(dataset, request.FILES.getlist("benchmarks"), form.cleaned_data["column"], request)
        return redirect("release_leakage", pk=dataset.pk)
    run = dataset.runs.filter(kind=Run.Kind.LEAKAGE).order_by("-pk").first()
    report = leakage.latest(dataset)
    context = {
        "dataset": dataset,
        "tab": "releases",
        "form": form,
        "run": run,
        "going": run is not None and run.is_open,
        "workforce": workforce([run] if run else []),
        "report": report,
        "references": _references(report) if report else [],
    }
    if not request.htmx:
        return render(request, "releases/leakage.html", context, status=400 if form.errors else 200)
    status = 200 if context["going"] else STOP_POLLING
    return render(request, "releases/report.html", context, status=status)


def _begin_report(dataset: Dataset, files: list[Any], column: str, request: Request) -> None:
    """Store the files and the Run that reads them, unless one goes on already."""
    if not dataset.runs.filter(kind=Run.Kind.LEAKAGE).open().exists():
        sent = [(printable_name(file.name or "file"), file) for file in files]
        with leakage.begin(dataset, sent, column) as run:
            run.created_by = access.person(request.user)
            run.save()
        enqueue.enqueue(tasks.report_leakage, run.pk)


def _references(report: Run) -> list[dict[str, Any]]:
    """Each reference of the report with its first prompts in words; PostgreSQL sorts the keys of JSON."""
    keys = {key for each in report.result["references"] for some in each["examples"].values() for key in some}
    prompts = dict(Prompt.objects.filter(pk__in=keys).values_list("pk", "messages"))
    return [
        {
            "reference": each["reference"],
            "size": each["size"],
            "alike": [
                (split, each["alike"][split], [prompts[k] for k in each["examples"][split] if k in prompts])
                for split in pipeline.SPLITS
                if split in each["alike"]
            ],
        }
        for each in report.result["references"]
    ]


@require_safe
def release(request: HttpRequest, pk: UUID) -> HttpResponse:
    release = access.release_for(request.user, pk)
    context = {
        "dataset": release.dataset,
        "tab": "releases",
        "release": release,
        "manifest": release.manifest,
        "files": _in_order(release, release.manifest["files"]) if release.is_ready else [],
        "groups": _groups(release) if release.is_ready else [],
        "licences": sorted({each["licence"] for each in release.manifest["sources"]})
        if release.is_ready
        else [],
        "folder": _folder(release),
        "narrowed": pipeline.Filters.parse(release.filters).in_words(),
        "workforce": workforce([release.run] if release.run else []),
        "downloads": release.downloads.select_related("user")[:DOWNLOADS_SHOWN],
    }
    return render(request, "releases/release.html", context)


def _in_order(release: Release, files: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """(name, facts) of each file by profile, format and split; PostgreSQL sorts the keys of JSON its own
    way. Files that hold no rows come last."""
    places = [*release.profiles, *pipeline.FORMATS, *pipeline.SPLITS, None]

    def place(named: tuple[str, dict[str, Any]]) -> list[int]:
        return [places.index(named[1].get(key)) for key in ("profile", "format", "split")]

    return sorted(files.items(), key=place)


def _groups(release: Release) -> list[dict[str, Any]]:
    """Profiles with one rule that left out the same together, in words; `members` are these profiles."""
    manifest = release.manifest
    groups: dict[str, dict[str, Any]] = {}
    for name in release.profiles:
        facts = manifest["profiles"][name]
        fresh = {
            "rule": [(_OUTCOMES.get(key, key), rule) for key, rule in facts["rule"].items()],
            "left_out": [(manifest["left_out"][key], count) for key, count in facts["left_out"].items()],
            "members": [],
        }
        group = groups.setdefault(repr((facts["rule"], facts["left_out"])), fresh)
        rows = [(split, facts["rows"][split]) for split in pipeline.SPLITS if split in facts["rows"]]
        total = sum(count for _, count in rows)
        calls = [pipeline.in_folder(call, _folder(release)) for call in facts.get("load", {}).values()]
        member = {"name": name, "purpose": facts["purpose"], "rows": rows, "total": total, "calls": calls}
        member["torn"] = facts.get("torn", 0)
        group["members"].append(member)
    return list(groups.values())


@require_safe
def release_download(request: HttpRequest, pk: UUID, name: str) -> HttpResponseBase:
    """One file of a ready Release, streamed; one range of it where the client asks to resume."""
    release = access.release_for(request.user, pk)
    if not release.is_ready or name not in {*release.manifest["files"], pipeline.MANIFEST}:
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
        user = access.person(request.user)
        Download.objects.create(release=release, file=name, first_byte=span.start, user=user)
    return response


def _sha256(release: Release, name: str) -> str:
    if name in release.manifest["files"]:
        return str(release.manifest["files"][name]["sha256"])
    with default_storage.open(f"{release.folder}/{name}") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _headers(release: Release, name: str, sha256: str) -> dict[str, str]:
    # RFC 9530 has the digest of the whole file in base64, also on a part of it; people compare hex.
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    shown = f"{_folder(release)}-{name}"
    return {
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=shown) or "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
        "Accept-Ranges": "bytes",
        "ETag": f'"{sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "X-Checksum-Sha256": sha256,
    }


def _folder(release: Release) -> str:
    """A name for the release on somebody's disk: by what the Dataset was called when it was built."""
    name = release.manifest["dataset"]["name"] if release.is_ready else release.dataset.name
    return f"{slugify(name) or 'dataset'}-{release.number}"


def _range(request: HttpRequest, size: int, sha256: str) -> range | None:
    """The bytes asked for; all of them when no single range is asked for, or one of another file than this
    (If-Range), or one of more digits than any file has; None when they lie behind the end."""
    asked = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("Range", ""))
    condition = request.headers.get("If-Range", f'"{sha256}"')
    if not asked or asked.groups() == ("", "") or condition != f'"{sha256}"':
        return range(size)
    first, last = asked.groups()
    if not first:
        return range(max(0, size - int(last)), size) if int(last) else None
    end = min(size, int(last) + 1) if last else size
    return range(int(first), end) if int(first) < end else None


def _blocks(path: str, span: range) -> Iterator[bytes]:
    # Opened at the first block: nobody would close it behind a HEAD request, which asks for none.
    with default_storage.open(path) as file:
        file.seek(span.start)
        left = len(span)
        while left and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block
