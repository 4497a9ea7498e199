from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F
from django.db.models.functions import Coalesce, Now, Substr
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.models import Completion, ModelVersion, Prompt, Role, Run, ScoreBatch
from workbench.models.dataset import BEGINNING
from workbench.pipeline.model import plan
from workbench.pipeline.runs import lifecycle as pipeline
from workbench.pipeline.runs.going_on import go_on
from workbench.pipeline.scoring import batches, cuts
from workbench.views import STOP_POLLING, Request, orders
from workbench.views.pictures import Lanes
from workbench.worker import tasks
from workbench.worker.workforce import workforce

RUNS_A_PAGE = 50
RUNS_DRAWN = 16
BATCHES_SHOWN = 100
_KINDS = sorted(Run.Kind, key=lambda kind: kind.label)
_STATES = [Run.State.RUNNING, Run.State.WAITING, Run.State.FAILED, Run.State.CANCELLED, Run.State.DONE]
_TOOK = Coalesce("finished_at", Now()) - F("started_at")
SORTS: orders.Sorts = {
    "newest": ("Newest", ["-pk"]),
    "oldest": ("Oldest", ["pk"]),
    "kind": ("By kind", [orders.by_place("kind", _KINDS), "-pk"]),
    "state": ("Open and failed first", [orders.by_place("state", _STATES), "-pk"]),
    "longest": ("Longest", [_TOOK.desc(nulls_last=True), "-pk"]),
}
RESULTS = {
    "number": "Release",
    "rows": "Rows",
    "groups": "Prompt groups found",
    "pairs": "Pairs",
    "said": "Result",
    "texts": "Texts read",
    "topics": "Topics",
    "opinions": "Votes and labels",
    "made": "New final labels",
    "withdrawn": "Final labels withdrawn",
    "prompts": "Prompts",
    "comparisons": "Pairs",
    "votes": "Votes",
    "people": "People",
    "labels": "Imported labels",
    "releases": "Releases",
    "files": "Files of releases",
    "uploads": "Uploaded files",
    "repository": "Repository",
    "commit": "Commit",
    "missing_host": "Host that is not allowed",
    "backup": "Backup",
}
"""Results on the pages of Runs, by key. Other keys are not shown."""


@dataclass(frozen=True)
class FailedText:
    """A Completion that could not be scored: the beginning of its text, and the excerpt of
    its Prompt."""

    dataset_id: int
    prompt_id: int
    excerpt: str
    beginning: str


@dataclass(frozen=True)
class FailedBatch:
    """A ScoreBatch that failed, and its completions: one, unless the model could not be loaded."""

    batch: ScoreBatch
    completions: list[FailedText]


@dataclass(frozen=True)
class Curve:
    """The losses of a training as SVG parts, on axes of 100 by 40."""

    steps: int
    loss: str
    smooth: str
    validation: list[dict[str, float]]
    validation_line: str
    lines: list[dict[str, float]]
    latest: str

    @classmethod
    def of(cls, run: Run) -> "Curve | None":
        """None while there is no point."""
        losses, measured = run.result.get("loss", []), run.result.get("validation", [])
        heights = [loss for _, loss in losses] + [figures["log_loss"] for _, figures in measured]
        if not heights:
            return None
        steps = max([run.total or 0, *(step for step, _ in [*losses, *measured])])
        # A rare spike would flatten the rest, so the axis ends a little above the usual losses.
        usual = sorted(heights)[int(0.98 * (len(heights) - 1))]
        top = max(0.8, min(max(heights), 1.3 * usual))

        def at(step: int, height: float) -> tuple[float, float]:
            return 100 * step / max(1, steps), 40 - 40 * min(top, height) / top

        points = [
            {"x": x, "y": y, "best": figures["best"]}
            for step, figures in measured
            for x, y in [at(step, figures["log_loss"])]
        ]
        latest = f"The last is {losses[-1][1]:.3f} at step {losses[-1][0]:,} of {steps:,}." if losses else ""
        return cls(
            steps=steps,
            loss=_path([at(*point) for point in losses]),
            smooth=_path([at(*point) for point in _smoothed(losses)]),
            validation=points,
            validation_line=_path([(point["x"], point["y"]) for point in points]),
            lines=[{"value": value, "at": 40 - 40 * value / top} for value in _rounds(top)],
            latest=latest,
        )


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) if points else ""


def _smoothed(points: list[tuple[int, float]], weight: float = 0.9) -> list[tuple[int, float]]:
    """An exponential mean that does not begin at zero."""
    mean, total, smooth = 0.0, 0.0, []
    for step, value in points:
        mean, total = weight * mean + (1 - weight) * value, weight * total + (1 - weight)
        smooth.append((step, mean / total))
    return smooth


def _rounds(top: float) -> list[float]:
    """Two to four round heights below the top."""
    step = next(step for step in (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 1e9) if top / step < 5)
    return [step * number for number in range(1, int(top / step) + 1)]


@require_safe
@vary_on_headers("HX-Request")
def runs(request: Request, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    sort = orders.chosen(request, SORTS)
    ordered = Run.objects.of(dataset).for_list().order_by(*SORTS[sort][1])
    page = Paginator(ordered, RUNS_A_PAGE).get_page(request.GET.get("page"))
    runs = list(page.object_list)
    context = {"dataset": dataset, "tab": "runs", "page": page, "runs": runs, "workforce": workforce(runs)}
    context |= orders.links(SORTS, sort)
    if page.number == 1:
        # Of all Datasets: they share the workers, and a Run may wait behind another Dataset's.
        latest = Run.objects.without_result().order_by("-pk")[:RUNS_DRAWN]
        context |= {"lanes": Lanes.of(latest), "own": {run.pk for run in runs}}
    return _polled(request, "runs/runs.html", "runs/table.html", context, any(run.is_open for run in runs))


@require_safe
def running(request: HttpRequest, pk: int) -> HttpResponse:
    """The bar of running work on the pages of a Dataset: what runs, how far, and what waits behind."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    runs = list(Run.objects.of(dataset).open().for_list())
    # The Run that has begun comes first; of those that wait, the one that waits longest.
    runs.sort(key=lambda run: (run.state == Run.State.WAITING, run.pk))
    context = {"dataset": dataset, "runs": runs, "workforce": workforce(runs)}
    return render(request, "runs/running.html", context, status=200 if runs else STOP_POLLING)


@require_safe
@vary_on_headers("HX-Request")
def run(request: Request, pk: int) -> HttpResponse:
    run = access.run_for(request.user, pk)
    result: Mapping[str, object] = run.result
    context: dict[str, object] = {
        "dataset": run.dataset,
        "tab": "runs",
        "run": run,
        "workforce": workforce([run]),
        "failed": _with_completions(run.batches.failed().order_by("pk")[:BATCHES_SHOWN]),
        "failed_count": run.batches.failed().count(),
        "retry_count": batches.worth_a_retry(run).count(),
        "by_worker": run.batches.by_worker(),
    }
    if run.kind == Run.Kind.IMPORT:
        context["imported"] = run.result if "rows" in run.result else None
        is_stored = run.state == Run.State.DONE and not run.params.get("dry_run")
        context["is_stored"] = is_stored and run.dataset_id is not None
    elif run.kind == Run.Kind.SCORE:
        context["cuts"] = cuts.of_run(run)
    elif run.kind == Run.Kind.TRAIN:
        preflight = run.result.get("preflight")
        context["curve"] = Curve.of(run)
        context["active"] = ModelVersion.objects.active()
        context["preflight"] = plan.preflight_in_words(preflight) if preflight else []
    else:
        context["outcome"] = [
            (words, result[key])
            for key, words in RESULTS.items()
            # What a registration says stands above the facts.
            if isinstance(result.get(key), int | str)
            and not (key == "said" and run.kind == Run.Kind.REGISTER)
        ]
    return _polled(request, "runs/run.html", "runs/progress.html", context, run.is_open)


def _with_completions(batches: Iterable[ScoreBatch]) -> list[FailedBatch]:
    """Each batch with the completions that it could not score, by the beginnings of their texts."""
    listed = list(batches)
    pks = [pk for batch in listed for pk in batch.completion_ids]
    texts = Completion.objects.filter(pk__in=pks).annotate(beginning=Substr("text", 1, BEGINNING))
    rows = texts.values_list("pk", "prompt__dataset", "prompt", "beginning")
    excerpts = Prompt.objects.filter(pk__in={prompt for _, _, prompt, _ in rows}).excerpts()
    failed = {pk: FailedText(dataset, prompt, excerpts[prompt], text) for pk, dataset, prompt, text in rows}
    return [
        FailedBatch(batch, [failed[pk] for pk in batch.completion_ids if pk in failed]) for batch in listed
    ]


def _polled(
    request: Request, page: str, part: str, context: Mapping[str, object], is_open: bool
) -> HttpResponse:
    """The page, or for htmx the part that changes; htmx stops asking once no Run is open."""
    if not request.htmx:
        return render(request, page, {**context, "going": is_open})
    return render(request, part, {**context, "going": is_open}, status=200 if is_open else STOP_POLLING)


@require_POST
def run_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    run = access.run_for(request.user, pk)
    if not run.can_be_cancelled:
        messages.warning(request, "You cannot cancel a deletion: part of the dataset is already gone.")
    elif not pipeline.cancel(run, access.person(request.user)):
        messages.warning(request, f"{run} had already finished.")
    return redirect(_page_of(run), pk=run.pk)


def _page_of(run: Run) -> str:
    """The URL name of the page where people follow the Run."""
    return "import_fetch" if run.kind == Run.Kind.FETCH and run.dataset_id else "run"


@require_POST
def run_retry(request: HttpRequest, pk: int) -> HttpResponse:
    run = access.run_for(request.user, pk)
    again = go_on(run, access.person(request.user))
    if again is None:
        messages.warning(request, f"{run} has nothing to retry.")
        return redirect("run", pk=run.pk)
    tasks.enqueue_run(again)
    return redirect(_page_of(again), pk=again.pk)
