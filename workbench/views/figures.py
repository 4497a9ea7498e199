"""What pages say of the stored figures as a whole: when they were taken, what has changed since, and which
Run computes them again."""

from workbench.models import Dataset, Judgment, ModelVersion, Run, Statistics
from workbench.pipeline.quality.panels import data_in_words
from workbench.views import POLL_SECONDS
from workbench.worker.workforce import is_served, workforce


def computing(dataset: Dataset) -> dict[str, object]:
    """The Runs that compute the figures now, and how the last one failed, as quality/live.html shows it."""
    runs = Run.objects.of(dataset).of_kind(Run.Kind.STATISTICS)
    newest = runs.order_by("-pk").values("pk")[:1]
    shown = list((runs.open() | runs.filter(pk__in=newest)).for_list().order_by("-pk"))
    open_runs = [run for run in shown if run.is_open]
    latest = next(iter(shown), None)
    return {
        "runs": open_runs,
        "workforce": workforce(open_runs),
        "poll_seconds": POLL_SECONDS,
        "failed": latest if latest and latest.state == Run.State.FAILED else None,
    }


def as_of(
    dataset: Dataset, stored: Statistics | None, active: ModelVersion | None = None
) -> dict[str, object]:
    """The moment of the stored figures and the changes since, for quality/as_of.html; without figures,
    whether there are any votes, for quality/coming.html. `active`: the active version, where the caller has
    read it."""
    if stored is None:
        return {"judged": Judgment.objects.of(dataset).exists()}
    serving = dataset.held_by or active or ModelVersion.objects.active()
    since, other_model = stored.judgments_since, stored.version_id != (serving and serving.pk)
    return {
        "stored": stored,
        "data": stored.report["data"],
        "described": data_in_words(stored.report["data"]),
        "since": since,
        "most_counted": Statistics.MOST_COUNTED,
        "active": serving,
        "other_model": other_model,
        "worker_away": (since or other_model) and not is_served("work"),
    }
