"""Judgments + margins -> a temperature on the ModelVersion, so that its Suggestions carry a probability."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from scoring.calibrate import NotEnoughData, fit_temperature, reliability
from scoring.pairs import TARGETS
from workbench.models import Dataset, Judgment, ModelVersion, Strategy, Suggestion, User
from workbench.models.annotation import JudgmentQuerySet
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.quality.reports import OPINIONS
from workbench.pipeline.text import learnt
from workbench.pipeline.text.learnt import Seen

__all__ = ["NotEnoughData", "calibrate"]

Answer = tuple[int, str, float, float]
"""(primary key of the Dataset, prompt group, margin, target)"""


def calibrate(
    version: ModelVersion, dataset: Dataset | None = None, labels: bool = False, by: User | None = None
) -> None:
    """Fit, measure and store the version's temperature. Prompt groups that the weights were fitted to are
    left out: margins are larger there than on new prompts. Fitted on: groups that chose the weights, and the
    training split of unseen groups. Measured on: the other unseen groups. `labels` adds imported labels.

    `version.calibration` has the numbers of Judgments fitted on (`n`), held out (`measured_on`) and left out
    (`learnt`), whether `learnt` is complete (`known`), log-loss (nats) and ECE before and after on the held
    out Judgments, and the bins of their reliability diagram. Raises NotEnoughData, and changes nothing, under
    100 Judgments to fit or none held out."""
    seen: dict[int, Seen] = {}
    fitted: list[Answer] = []
    measured: list[Answer] = []
    left_out = 0
    for answer in _answers(version, dataset, labels):
        key, group, *_ = answer
        if key not in seen:
            seen[key] = learnt.seen(version, Dataset.objects.get(pk=key))
        left_out += seen[key].taught(group)
        if seen[key].may_calibrate(group):
            fitted.append(answer)
        elif seen[key].measures_calibration(group):
            measured.append(answer)
    held_out = _columns(measured)
    fit = fit_temperature(*_columns(fitted), held_out=held_out)
    version.temperature = fit.temperature
    version.calibration = asdict(fit) | {
        "bins": [asdict(bin_) for bin_ in reliability(*held_out, fit.temperature) if bin_.n],
        "dataset": dataset.name if dataset else "",
        "labels": labels,
        "learnt": left_out,
        "known": version.learnt,
        "at": timezone.now().isoformat(timespec="seconds"),
    }
    with transaction.atomic():
        version.save(update_fields=["temperature", "calibration"])
        fields = ["temperature", "calibration"]
        record(Kind.MODEL_CALIBRATED, by=by, dataset=dataset, target=version, fields=fields)


def summary(version: ModelVersion) -> str:
    """What the temperature was fitted and measured on, and what was left out."""
    report = version.calibration
    left_out = report["learnt"]
    opinions = OPINIONS["all" if report["labels"] else "people"]
    sentences = [
        (
            f"Temperature {report['temperature']:.3f}, fitted on {report['n']:,} {opinions} and measured on "
            f"{report['measured_on']:,} others: calibration error {report['ece_after']:.3f}."
        ),
        f"Left out: {left_out:,} on prompts that the model was trained on." if left_out else "",
        learnt.warning(report["known"]),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _columns(answers: list[Answer]) -> tuple[list[float], list[float]]:
    return [margin for *_, margin, _ in answers], [target for *_, target in answers]


def _answers(version: ModelVersion, dataset: Dataset | None, labels: bool) -> Iterator[Answer]:
    """People's votes from before a Suggestion was shown: later votes would calibrate the model on its own
    influence. Pairs that the queue picked because labels differed are left out. Pairs picked as uncertain are
    picked by the margin, which biases no fit of margins."""
    votes = Judgment.objects.for_votes().filter(outcome__in=TARGETS)
    sources = [
        votes.without_suggestion().not_picked(Strategy.DISAGREEMENT),
        *([votes.labels()] if labels else []),
    ]
    for judgments in sources:
        yield from _with_margin(judgments.of(dataset) if dataset else judgments, version)


def _with_margin(judgments: JudgmentQuerySet, version: ModelVersion) -> Iterable[Answer]:
    margin = Suggestion.objects.filter(version=version, comparison=OuterRef("comparison")).values("margin")
    rows = judgments.annotate(margin_of=Subquery(margin[:1])).filter(margin_of__isnull=False).order_by("pk")
    columns = ("comparison__dataset_id", "comparison__prompt__group", "margin_of", "outcome")
    for key, group, of_version, outcome in rows.values_list(*columns):
        yield key, group, of_version, TARGETS[outcome]
