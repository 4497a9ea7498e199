import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.bodies import takes_files
from workbench.forms.releases import LeakageForm, ReleaseForm
from workbench.models import Dataset, Download, Prompt, Release, Role, Run
from workbench.models.dataset import Message
from workbench.pipeline import releases as pipeline
from workbench.pipeline.datasets.overview import sources_of
from workbench.pipeline.decisions import deciding
from workbench.pipeline.imports import printable_name
from workbench.pipeline.text import leakage
from workbench.pipeline.text.splits import Split
from workbench.views import STOP_POLLING, Request
from workbench.worker import tasks
from workbench.worker.workforce import workforce

RELEASES_PER_PAGE = 30
DOWNLOADS_SHOWN = 50
FILES_SHOWN = 12
COMMON = (*pipeline.DEFAULT_PROFILES, "soft-label")
"""The profiles that the form shows at once; the other profiles are one click away."""

SOURCES_OFFERED = 100
_OUTCOMES = {"both_bad": "both bad", "cannot_judge": "can’t judge", "drop": "excluded by a reviewer"}
BLOCK = 256 * 1024


def _form(dataset: Dataset, request: HttpRequest, report: Run | None) -> ReleaseForm:
    """The form for the next Release, which can leave out the prompts of the leakage report."""
    return ReleaseForm(
        request.POST if request.method == "POST" else None,
        leaked=lambda: leakage.groups_found(report) if report else (),
        sources=sources_of(dataset)[:SOURCES_OFFERED],
    )


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def releases(request: Request, pk: int) -> HttpResponse:
    """The Releases of a Dataset and the form for the next one; for htmx, the list alone."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    report = leakage.latest(dataset)
    form = _form(dataset, request, report)
    if request.method == "POST" and form.is_valid():
        tasks.enqueue_run(pipeline.begin(form.release(dataset), access.person(request.user)))
        return redirect("releases", pk=dataset.pk)
    ordered = dataset.releases.for_list().order_by("-number")
    page = Paginator(ordered, RELEASES_PER_PAGE).get_page(request.GET.get("page"))
    open_runs = [release.run for release in page if release.run and release.run.is_open]
    latest = next((release for release in page if release.is_ready), None)
    files = _in_order(latest, latest.files) if latest else []  # type: ignore[attr-defined]  # of for_list
    context = {
        "dataset": dataset,
        "tab": "releases",
        "form": form,
        "narrowing": [form[name] for name in form.narrowing if name != "source" or form.has_sources],
        "page": page,
        "latest": latest,
        "files": files if len(files) <= FILES_SHOWN else [],
        "going": bool(open_runs),
        "workforce": workforce(open_runs),
        "common": [pipeline.PROFILES[name] for name in COMMON],
        "others": [profile for name, profile in pipeline.PROFILES.items() if name not in COMMON],
        "report": report,
        "chose_others": not set(form["profiles"].value() or []) <= set(COMMON),
    }
    if not request.htmx:
        return render(request, "releases/releases.html", context)
    return render(request, "releases/list.html", context, status=200 if open_runs else STOP_POLLING)


@require_POST
def release_count(request: HttpRequest, pk: int) -> HttpResponse:
    """How many Comparisons pass the filters of the form, by the current Decisions. Where votes are newer, a
    worker derives Decisions, and the page asks again."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = _form(dataset, request, leakage.latest(dataset))
    if not form.is_valid():
        problems = (error for errors in form.errors.values() for error in errors)
        return render(request, "releases/count.html", {"problem": next(problems)})
    try:
        passing, decided = pipeline.count_now(dataset, form.filters())
    except pipeline.BadFilter as error:
        return render(request, "releases/count.html", {"problem": str(error)})
    if run := deciding.begin_if_stale(dataset, access.person(request.user)):
        tasks.enqueue_run(run)
    freshness = deciding.freshness(dataset)
    context = {
        "dataset": dataset,
        "passing": passing,
        "decided": decided,
        "freshness": freshness,
        "workforce": workforce([freshness.run] if freshness.run else []),
    }
    return render(request, "releases/count.html", context)


@takes_files
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def release_leakage(request: Request, pk: int) -> HttpResponse:
    """The newest leakage report of the Dataset; a POST begins another."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = LeakageForm(request.POST, request.FILES) if request.method == "POST" else LeakageForm()
    if request.method == "POST" and form.is_valid():
        benchmarks = request.FILES.getlist("benchmarks")
        named_files = [(printable_name(file.name or "file"), file) for file in benchmarks]
        person = access.person(request.user)
        if new_run := leakage.begin(dataset, named_files, form.cleaned_data["column"], person):
            tasks.enqueue_run(new_run)
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


@dataclass(frozen=True)
class Reference:
    """One row of the leakage report: `alike` has (split, number of prompts, messages of the first ones)."""

    name: str
    size: int
    alike: list[tuple[Split, int, list[list[Message]]]]


def _references(report: Run) -> list[Reference]:
    leaks = report.result["references"]
    keys = {key for leak in leaks for examples in leak["examples"].values() for key in examples}
    prompts = dict(Prompt.objects.filter(pk__in=keys).values_list("pk", "messages"))
    return [
        Reference(
            leak["reference"],
            leak["size"],
            [
                (split, count, [prompts[key] for key in leak["examples"][split] if key in prompts])
                for split in pipeline.SPLITS  # in this order: PostgreSQL sorts the keys of JSON
                if (count := leak["alike"].get(split)) is not None
            ],
        )
        for leak in leaks
    ]


@require_safe
def release(request: HttpRequest, pk: UUID) -> HttpResponse:
    release = access.release_for(request.user, pk)
    context = {
        "dataset": release.dataset,
        "tab": "releases",
        "release": release,
        "filters": pipeline.Filters.parse(release.filters).in_words(),
        "workforce": workforce([release.run] if release.run else []),
    }
    if release.is_ready:
        manifest: pipeline.Manifest = release.manifest
        context |= {
            "manifest": manifest,
            "files": _in_order(release, manifest["files"]),
            "groups": _profile_groups(release),
            "people_and_label_sources": pipeline.people_and_label_sources(manifest),
            "licences": sorted({source["licence"] for source in manifest["sources"]}),
            "downloads": release.downloads.select_related("user")[:DOWNLOADS_SHOWN],
        }
    return render(request, "releases/release.html", context)


def _in_order(release: Release, files: dict[str, pipeline.FileFacts]) -> list[tuple[str, pipeline.FileFacts]]:
    """(name, facts) of each file by profile, format and split; files without rows come last. PostgreSQL sorts
    the keys of JSON, so the order of the manifest is lost."""
    order = [*release.profiles, *pipeline.FORMATS, *pipeline.SPLITS, None]

    def places(item: tuple[str, pipeline.FileFacts]) -> list[int]:
        facts = item[1]
        return [order.index(word) for word in (facts["profile"], facts["format"], facts["split"])]

    return sorted(files.items(), key=places)


@dataclass(frozen=True)
class ReleasedProfile:
    name: str
    purpose: str
    rows: list[tuple[Split, int]]
    torn: int
    calls: list[str]

    @property
    def total(self) -> int:
        return sum(count for _, count in self.rows)


@dataclass(frozen=True)
class ProfileGroup:
    """Profiles with the same rule and the same counts of left-out pairs, in words."""

    rule: list[tuple[str, str]]
    left_out: list[tuple[str, int]]
    members: list[ReleasedProfile] = field(default_factory=list)


def _profile_groups(release: Release) -> list[ProfileGroup]:
    manifest: pipeline.Manifest = release.manifest
    groups: dict[str, ProfileGroup] = {}
    for name in release.profiles:
        facts = manifest["profiles"][name]
        group = ProfileGroup(
            rule=[(_OUTCOMES.get(outcome, outcome), rule) for outcome, rule in facts["rule"].items()],
            left_out=[(manifest["left_out"][reason], n) for reason, n in facts["left_out"].items()],
        )
        profile = ReleasedProfile(
            name=name,
            purpose=facts["purpose"],
            rows=[(split, facts["rows"][split]) for split in pipeline.SPLITS if split in facts["rows"]],
            torn=facts["torn"],
            calls=[pipeline.in_folder(call, _folder(release)) for call in facts["load"].values()],
        )
        groups.setdefault(repr((facts["rule"], facts["left_out"])), group).members.append(profile)
    return list(groups.values())


@require_safe
def release_download(request: HttpRequest, pk: UUID, name: str) -> HttpResponseBase:
    """A file of a ready Release, streamed; a range of it where the client resumes a download."""
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


@require_safe
def release_zip(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """All files of a ready Release as one zip, streamed."""
    release = access.release_for(request.user, pk)
    if not release.is_ready:
        raise Http404
    name = f"{_folder(release)}.zip"
    response = StreamingHttpResponse(
        pipeline.zip_blocks(release, _folder(release)),
        content_type="application/zip",
        headers=_attachment(name),
    )
    if request.method == "GET":
        Download.objects.create(release=release, file=name, user=access.person(request.user))
    return response


def _sha256(release: Release, name: str) -> str:
    if name in release.manifest["files"]:
        return str(release.manifest["files"][name]["sha256"])
    with default_storage.open(f"{release.folder}/{name}") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _headers(release: Release, name: str, sha256: str) -> dict[str, str]:
    # RFC 9530: the digest is of the whole file, in base64, also on a range of it. People compare hex.
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    return {
        **_attachment(f"{_folder(release)}-{name}"),
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


def _folder(release: Release) -> str:
    """The name of the release's folder, after the name of the Dataset at the time of the build."""
    name = release.manifest["dataset"]["name"] if release.is_ready else release.dataset.name
    return f"{slugify(name) or 'dataset'}-{release.number}"


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
