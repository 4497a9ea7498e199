from dataclasses import dataclass, field
from uuid import UUID

from django.core.paginator import Paginator
from django.forms import BoundField
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access, downloads
from workbench.bodies import takes_files
from workbench.forms.releases import LeakageForm, Range, ReleaseForm
from workbench.models import Dataset, Prompt, Release, Role, Run
from workbench.models.dataset import Message
from workbench.pipeline import releases as pipeline
from workbench.pipeline.decisions import deciding
from workbench.pipeline.imports import printable_name
from workbench.pipeline.text import leakage
from workbench.pipeline.text.splits import Split
from workbench.views import STOP_POLLING, Request, orders
from workbench.views.hub import push_facts
from workbench.worker import tasks
from workbench.worker.workforce import workforce

RELEASES_PER_PAGE = 30
DOWNLOADS_SHOWN = 50
FILES_SHOWN = 12
SORTS: orders.Sorts = {
    "newest": ("Newest", ["-number"]),
    "oldest": ("Oldest", ["number"]),
    "rows": ("Most rows", ["-rows", "-number"]),
}
_OUTCOMES = {"both_bad": "both bad", "cannot_judge": "can’t judge", "drop": "excluded by a reviewer"}


def _form(dataset: Dataset, request: HttpRequest) -> ReleaseForm:
    data = request.POST if request.method == "POST" else None
    return ReleaseForm.of(dataset, access.person(request.user), data)


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def releases(request: Request, pk: int) -> HttpResponse:
    """The Releases of a Dataset and the form for the next one; for htmx, the list alone."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    report = leakage.latest(dataset)
    form = _form(dataset, request)
    preview, problem = None, ""
    if request.method == "POST" and form.is_valid() and "preview" in request.POST:
        try:
            preview = pipeline.preview(dataset, pipeline.Recipe.of(form.release(dataset)))
        except pipeline.ReleaseError as error:
            problem = str(error)
    elif request.method == "POST" and form.is_valid():
        tasks.enqueue_run(pipeline.begin(form.release(dataset), access.person(request.user)))
        return redirect("releases", pk=dataset.pk)
    sort = orders.chosen(request, SORTS)
    ordered = dataset.releases.for_list().order_by(*SORTS[sort][1])
    page = Paginator(ordered, RELEASES_PER_PAGE).get_page(request.GET.get("page"))
    open_runs = [release.run for release in page if release.run and release.run.is_open]
    newest = dataset.releases.ready().order_by("-number").values_list("pk", flat=True).first()
    latest = next((release for release in page if release.pk == newest), None)
    files = _in_order(latest, latest.files) if latest else []  # type: ignore[attr-defined]  # of for_list
    context = {
        "dataset": dataset,
        "tab": "releases",
        "form": form,
        "preview": preview,
        "problem": problem,
        "sliders": _sliders(form, preview),
        "page": page,
        **orders.links(SORTS, sort),
        "latest": latest,
        "files": files if len(files) <= FILES_SHOWN else [],
        "going": bool(open_runs),
        "workforce": workforce(open_runs),
        "purposes": pipeline.PURPOSES.values(),
        "profiles": pipeline.PROFILES.values(),
        "report": report,
        "purpose": form["purpose"].value() or pipeline.OTHER,
    }
    if not request.htmx:
        return render(request, "releases/releases.html", context)
    return render(request, "releases/list.html", context, status=200 if open_runs else STOP_POLLING)


@dataclass(frozen=True)
class Slider:
    """Filters by least and most, over the histogram of what they narrow. high: None for a least value
    alone."""

    range: Range
    low: BoundField
    high: BoundField | None
    histogram: pipeline.Histogram | None = None

    @property
    def errors(self) -> list[str]:
        return [*self.low.errors, *(self.high.errors if self.high else [])]


def _sliders(form: ReleaseForm, preview: pipeline.Preview | None) -> list[Slider]:
    histograms = preview.histograms if preview else {}
    ranges = [each for each in form.ranges if each.name != "posterior" or form.by_skill]
    return [
        Slider(each, form[each.low], form[each.high] if each.high else None, histograms.get(each.name))
        for each in ranges
    ]


@require_POST
def release_count(request: HttpRequest, pk: int) -> HttpResponse:
    """How many Comparisons pass the filters of the form, by the current Decisions. Where votes are newer, a
    worker derives Decisions, and the page asks again."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = _form(dataset, request)
    if not form.is_valid():
        problems = (error for errors in form.errors.values() for error in errors)
        return render(request, "releases/count.html", {"problem": next(problems)})
    try:
        preview = pipeline.preview(dataset, pipeline.Recipe.of(form.release(dataset)))
    except (pipeline.BadFilter, pipeline.ReleaseError) as error:
        return render(request, "releases/count.html", {"problem": str(error)})
    if run := deciding.begin_if_stale(dataset, access.person(request.user)):
        tasks.enqueue_run(run)
    freshness = deciding.freshness(dataset)
    context = {
        "dataset": dataset,
        "preview": preview,
        "sliders": _sliders(form, preview),
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
        "filters": pipeline.Filters.parse(release.filters).on_page(),
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
            **push_facts(release),
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
    """A profile of a ready Release. calls: what loads it; lines: what trains on it."""

    name: str
    purpose: str
    rows: list[tuple[Split, int]]
    torn: int
    calls: list[str]
    lines: list[pipeline.Lines]

    @property
    def title(self) -> str:
        profile = pipeline.PROFILES.get(self.name)
        return profile.title if profile else self.name

    @property
    def total(self) -> int:
        return sum(count for _, count in self.rows)


@dataclass(frozen=True)
class ProfileGroup:
    """Profiles with the same rule and the same counts of left-out pairs, in words."""

    rule: list[tuple[str, str]]
    left_out: list[tuple[str, int]]
    flow: pipeline.Flow
    members: list[ReleasedProfile] = field(default_factory=list)


def _profile_groups(release: Release) -> list[ProfileGroup]:
    manifest: pipeline.Manifest = release.manifest
    groups: dict[str, ProfileGroup] = {}
    for name in release.profiles:
        facts = manifest["profiles"][name]
        group = ProfileGroup(
            rule=[(_OUTCOMES.get(outcome, outcome), rule) for outcome, rule in facts["rule"].items()],
            left_out=[(manifest["left_out"][reason], n) for reason, n in facts["left_out"].items()],
            flow=pipeline.Flow(manifest["comparisons"]["total"], facts["left_out"], facts["rows"]),
        )
        profile = ReleasedProfile(
            name=name,
            purpose=facts["purpose"],
            rows=[(split, facts["rows"][split]) for split in pipeline.SPLITS if split in facts["rows"]],
            torn=facts["torn"],
            calls=[pipeline.in_folder(call, downloads.folder_of(release)) for call in facts["load"].values()],
            lines=pipeline.lines_of(manifest, name, downloads.folder_of(release)),
        )
        groups.setdefault(repr((facts["rule"], facts["left_out"])), group).members.append(profile)
    return list(groups.values())


@require_safe
def release_download(request: HttpRequest, pk: UUID, name: str) -> HttpResponseBase:
    """A file of a ready Release; a range of it where the client resumes a download."""
    return downloads.file_answer(request, access.release_for(request.user, pk), name)


@require_safe
def release_zip(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """All files of a ready Release as one zip."""
    return downloads.zip_answer(request, access.release_for(request.user, pk))
