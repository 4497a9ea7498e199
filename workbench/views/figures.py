"""What pages say of the stored figures as a whole: when they were taken, what has changed since, and which
Run computes them again."""

from workbench.models import Dataset, Judgment, ModelVersion, Run, Statistics
from workbench.pipeline.quality.panels import data_in_words
from workbench.views import POLL_SECONDS
from workbench.worker.workforce import workforce


def computing(dataset: Dataset) -> dict[str, object]:
    """The Runs that compute the figures now, and how the last one failed, as quality/live.html shows it."""
    runs = Run.objects.of(dataset).of_kind(Run.Kind.STATISTICS).for_list()
    open_runs = list(runs.open())
    latest = runs.order_by("-pk").first()
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
    return {
        "stored": stored,
        "data": stored.report["data"],
        "described": data_in_words(stored.report["data"]),
        "since": stored.judgments_since,
        "most_counted": Statistics.MOST_COUNTED,
        "active": serving,
        "other_model": stored.version_id != (serving and serving.pk),
    }
