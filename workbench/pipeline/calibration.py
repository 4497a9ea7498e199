"""Judgments + margins -> a temperature on the ModelVersion, so that its Suggestions carry a probability."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from scoring.calibrate import NotEnoughData, fit_temperature, reliability
from workbench.models import Dataset, Judgment, ModelVersion, Outcome, Suggestion
from workbench.pipeline.release.splits import split_of

__all__ = ["NotEnoughData", "calibrate"]

TARGETS = {Outcome.A: 1.0, Outcome.TIE: 0.5, Outcome.B: 0.0}
Answer = tuple[str, float, float]
"""(prompt group, margin, target)"""


def calibrate(version: ModelVersion, dataset: Dataset | None = None, labels: bool = False) -> dict[str, Any]:
    """Fit and store the version's temperature on the training split of prompt groups, and measure it on the
    other groups; a version that was trained here is fitted on the validation split and measured on the test
    split, as its margins on what it was trained on are larger than on anything else. `labels` takes imported
    labels along with what people judged here.

    Returns what is stored as `version.calibration`: Judgments fitted on and held out, log-loss (nats) and ECE
    before and after on those held out, and the bins of their reliability diagram. Raises NotEnoughData, and
    changes nothing, under 100 Judgments to fit or none held out."""
    answers = list(_answers(version, dataset, labels))
    split_to_fit = "validation" if version.release_id else "train"
    splits = ("test",) if version.release_id else ("validation", "test")
    fitted = [a for a in answers if split_of(a[0]) == split_to_fit]
    held_out = _columns([a for a in answers if split_of(a[0]) in splits])
    fit = fit_temperature(*_columns(fitted), held_out=held_out)
    bins = [asdict(found) for found in reliability(*held_out, fit.temperature) if found.n]
    version.temperature = fit.temperature
    report: dict[str, Any] = asdict(fit) | {
        "bins": bins,
        "dataset": dataset.name if dataset else "",
        "labels": labels,
        "at": timezone.now().isoformat(timespec="seconds"),
    }
    version.calibration = report
    version.save(update_fields=["temperature", "calibration"])
    return report


def _columns(answers: list[Answer]) -> tuple[list[float], list[float]]:
    return [margin for _, margin, _ in answers], [target for _, _, target in answers]


def _answers(version: ModelVersion, dataset: Dataset | None, labels: bool) -> Iterable[Answer]:
    """What people said without having seen a Suggestion: a Judgment that was made beside one, or changed
    after it, would calibrate the model on its own influence."""
    unseen = Q(stage=Judgment.Stage.FIRST, mode="blind") & (
        Q(current=True) | Q(superseded_by__stage=Judgment.Stage.REVEALED)
    )
    wanted = unseen | Q(stage=Judgment.Stage.IMPORTED, current=True) if labels else unseen
    margin = Suggestion.objects.filter(version=version, comparison=OuterRef("comparison")).values("margin")
    judgments = (
        Judgment.objects.for_votes()
        .filter(wanted, outcome__in=TARGETS)
        .annotate(margin_of=Subquery(margin[:1]))
    )
    if dataset:
        judgments = judgments.of(dataset)
    rows = judgments.filter(margin_of__isnull=False).order_by("pk")
    for group, found, outcome in rows.values_list("comparison__prompt__group", "margin_of", "outcome"):
        yield group, found, TARGETS[Outcome(outcome)]
