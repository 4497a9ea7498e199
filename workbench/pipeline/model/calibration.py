"""Judgments + margins -> a temperature on the ModelVersion, so that its Suggestions carry a probability."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from scoring.calibrate import NotEnoughData, fit_temperature, reliability
from workbench.models import Dataset, Judgment, ModelVersion, Outcome, Strategy, Suggestion
from workbench.pipeline.text import learnt
from workbench.pipeline.text.learnt import Seen

__all__ = ["NotEnoughData", "calibrate"]

TARGETS = {Outcome.A: 1.0, Outcome.TIE: 0.5, Outcome.B: 0.0}
Answer = tuple[int, str, float, float]
"""(primary key of the Dataset, prompt group, margin, target)"""


def calibrate(version: ModelVersion, dataset: Dataset | None = None, labels: bool = False) -> dict[str, Any]:
    """Fit and store the version's temperature on prompt groups that taught it nothing, as its margins on what
    it was trained on are larger than on anything else, and measure it on others. Fitted on: what chose its
    weights, and the training split of what it has not learnt; measured on: the rest of that. `labels` takes
    imported labels along with what people judged here.

    Returns what is stored as `version.calibration`: Judgments fitted on and held out, those left out as they
    taught it (`learnt`) and whether that is all of them (`known`), log-loss (nats) and ECE before and after
    on those held out, and the bins of their reliability diagram. Raises NotEnoughData, and changes nothing,
    under 100 Judgments to fit or none held out."""
    seen: dict[int, Seen] = {}
    fitted: list[Answer] = []
    measured: list[Answer] = []
    taught = 0
    for answer in _answers(version, dataset, labels):
        key, group, *_ = answer
        if key not in seen:
            seen[key] = learnt.seen(version, Dataset.objects.get(pk=key))
        taught += seen[key].taught(group)
        if seen[key].may_calibrate(group):
            fitted.append(answer)
        elif seen[key].measures_calibration(group):
            measured.append(answer)
    held_out = _columns(measured)
    fit = fit_temperature(*_columns(fitted), held_out=held_out)
    bins = [asdict(found) for found in reliability(*held_out, fit.temperature) if found.n]
    version.temperature = fit.temperature
    report: dict[str, Any] = asdict(fit) | {
        "bins": bins,
        "dataset": dataset.name if dataset else "",
        "labels": labels,
        "learnt": taught,
        "known": version.learnt,
        "at": timezone.now().isoformat(timespec="seconds"),
    }
    version.calibration = report
    version.save(update_fields=["temperature", "calibration"])
    return report


def in_words(version: ModelVersion, found: dict[str, Any]) -> str:
    """What the temperature was fitted and measured on, and what was left out."""
    learnt_by_it = found["learnt"]
    fitted = (
        f"Temperature {found['temperature']:.3f}, fitted on {found['n']:,} votes and measured on "
        f"{found['measured_on']:,} others: calibration error {found['ece_after']:.3f}."
    )
    said = [
        fitted,
        f"Left out: {learnt_by_it:,} on prompts that the model was trained on." if learnt_by_it else "",
        learnt.warning(found["known"]),
    ]
    return " ".join(sentence for sentence in said if sentence)


def _columns(answers: list[Answer]) -> tuple[list[float], list[float]]:
    return [margin for *_, margin, _ in answers], [target for *_, target in answers]


def _answers(version: ModelVersion, dataset: Dataset | None, labels: bool) -> Iterator[Answer]:
    """What people said without having seen a Suggestion: a Judgment that was made beside one, or changed
    after it, would calibrate the model on its own influence. Nor of what the queue picked because labels
    differed; what it picked as uncertain it picked by the margin, which no fit of margins minds."""
    given = Judgment.objects.for_votes().filter(outcome__in=TARGETS)
    sources = [given.unled().not_picked(Strategy.DISAGREEMENT), *([given.labels()] if labels else [])]
    for judgments in sources:
        yield from _with_margin(judgments.of(dataset) if dataset else judgments, version)


def _with_margin(judgments: Any, version: ModelVersion) -> Iterable[Answer]:
    margin = Suggestion.objects.filter(version=version, comparison=OuterRef("comparison")).values("margin")
    rows = judgments.annotate(margin_of=Subquery(margin[:1])).filter(margin_of__isnull=False).order_by("pk")
    columns = ("comparison__dataset_id", "comparison__prompt__group", "margin_of", "outcome")
    for key, group, found, outcome in rows.values_list(*columns):
        yield key, group, found, TARGETS[Outcome(outcome)]
