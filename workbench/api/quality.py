"""The figures of a dataset: the stored report and its tables, and the models beside each other; train,
evaluate, compare and promote a model by them."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.runs import RunOut, accepted
from workbench.api.sending import Body, form_data, valid
from workbench.api.versions import ModelOut, PromotionOut
from workbench.forms.model import CompareForm, PromoteForm, RetrainForm
from workbench.models import Dataset, ModelVersion, Promotion, Role, Run, Statistics
from workbench.pipeline import quality as pipeline
from workbench.pipeline.history.recording import File, record_download
from workbench.pipeline.model import evaluation, plan, promotion, table, training
from workbench.pipeline.model.compare import Compared
from workbench.pipeline.quality.panels import Panel, panels_seen
from workbench.pipeline.quality.reports import SOURCE_NAMES, label_sources
from workbench.pipeline.sources import panel as board_panel
from workbench.worker import tasks

router = Router(tags=["figures"])

EVALUATIONS = 30
"""The latest evaluations of a model that are listed."""


class StatisticsOut(Schema):
    """The stored figures as a whole. taken_at: the moment of their data. votes_since: how many votes are
    newer, counted up to 10,000. run: the one that computes them again now; they renew themselves. report: the
    JSON of `manage.py statistics --json`."""

    taken_at: datetime
    votes_since: int
    run: RunOut | None
    report: dict[str, Any]


class ColumnOut(Schema):
    """A column of a table. kind: text, count and decimal have plain cells; the others have figures: value,
    low, high, n."""

    key: str
    label: str
    kind: str


class TableOut(Schema):
    """A table of figures. says: its one sentence; lacks: what is missing until there is one."""

    name: str
    title: str
    says: str
    lacks: str
    warning: str
    notes: list[str]
    reading: str
    columns: list[ColumnOut]
    row_count: int


class TableWithRows(TableOut):
    rows: list[dict[str, Any]]


class QualityOut(Schema):
    """The tables of the votes of people, or of imported labels."""

    taken_at: datetime
    label_source: str
    label_sources: dict[str, str]
    tables: list[TableOut]


class Boards(Schema):
    """Who writes the better answers: strengths, wins and votes of the sources, by the votes they rest on
    ("people", "random", "imported")."""

    taken_at: datetime
    boards: dict[str, Any]


class Accuracy(Schema):
    """How often a model agrees with people on a dataset, on pairs that it has not learnt. Null where there is
    not enough data. rule: the length rule beside it, which is right in `by_rule`. ceiling: how often people
    agree. ece: the calibration error."""

    dataset_id: int
    dataset: str
    accuracy: float | None
    interval: tuple[float, float] | None
    decided: int
    rule: str
    by_rule: float | None
    beats_rule: bool | None
    ece: float | None
    ceiling: tuple[float, float] | None
    warning: str
    remarks: list[str]
    evaluation_id: int | None


class MeasuredModel(Schema):
    model: ModelOut
    measured: list[Accuracy]


class MeasuredModels(Schema):
    """The models in use, measured here and on the benchmarks. active_id: the one that shows its picks."""

    active_id: int | None
    items: list[MeasuredModel]


class EvaluationOut(Schema):
    """The figures of a model on the pairs of a dataset, at one moment."""

    id: int
    split: str
    protocol: str
    pairs: int
    data_sha256: str
    figures: dict[str, Any]
    run_id: int | None
    created_at: datetime


class DatasetModel(ModelOut):
    """A model, with where it comes from and what came of it in this dataset. bases: their ids, the nearest
    first. training: settings, data and software. evaluations: the latest 30."""

    bases: list[int]
    score_count: int
    training: dict[str, Any]
    evaluations: list[EvaluationOut]
    promotions: list[PromotionOut]


class SliceChange(Schema):
    """Both models on one kind of pair. p: by prompt group, valid however often somebody looks; holm_p:
    corrected for all kinds."""

    name: str
    label: str
    n: int
    n01: int
    n10: int
    difference: float | None
    clustered: tuple[float, float] | None
    p: float | None
    holm_p: float | None


class ComparedModels(Schema):
    """Two models on the pairs of a dataset that neither has learnt; differences are new - old. n: decided
    pairs; the new one alone is right on n01, the old one alone on n10. p: McNemar's exact test. lacking:
    pairs that one of the two has not scored; empty: pairs with an empty answer, which no model scores."""

    dataset_id: int
    dataset: str
    n: int
    ties: int
    groups: int
    new_accuracy: float | None
    old_accuracy: float | None
    n01: int
    n10: int
    both_right: int
    p: float | None
    accuracy_difference: float | None
    accuracy_interval: tuple[float, float] | None
    log_loss_difference: float | None
    log_loss_interval: tuple[float, float] | None
    slices: list[SliceChange]
    lacking: int
    empty: int
    learnt: int
    remarks: str
    warning: str


class WeighedDifference(Schema):
    """A difference of accuracy, new - old, against at_least: 0 for "better", -margin for "no worse".
    interval: holds however often somebody looks, at 1 - level; null for too few prompt groups. met: true
    where all of it is above at_least, false where all of it is below at_least + margin. more_pairs: how many
    more would decide; null where it is decided, or cannot be told."""

    pairs: int
    groups: int
    difference: float
    interval: tuple[float, float] | None
    level: float
    at_least: float
    margin: float
    met: bool | None
    more_pairs: int | None


class GateCondition(Schema):
    """met: null where there is not enough data to tell. on: the dataset of the difference, where the check
    rests on one. more_votes: more_pairs by the overlap of the dataset."""

    name: str
    met: bool | None
    said: str
    on: str
    weighed: WeighedDifference | None
    more_votes: int | None


class GateOut(Schema):
    """Whether the new model may replace the active one. verdict: first, promote, no, or not enough data.
    candidate: place of the new model among all that may replace the active one; it fixes the level."""

    verdict: str
    sentence: str
    candidate: int
    conditions: list[GateCondition]


class Comparing(Schema):
    """gate: null unless the old model is the active one, and for a token that does not name every benchmark:
    it weighs all of them."""

    gate: GateOut | None
    compared: list[ComparedModels]


class Promote(Body):
    """dataset: whose votes the gate weighs. override: against the gate; it needs a reason, which is kept."""

    dataset: int = Field(ge=1, lt=2**63)
    override: bool = False
    reason: str = ""


class TrainingWanted(Body):
    """What to train. base: the model to start from. preset: quick, recommended or seed. name: of the new
    model; empty: after the dataset and the release."""

    release: UUID = Field(strict=False)  # JSON has no type for it
    base: int
    preset: str = "recommended"
    name: str = ""


class TrainingOutlook(Schema):
    """What a training on a release would learn from. rows: by split."""

    profile: str
    rows: dict[str, int]
    warnings: list[str]
    usual_preset: str
    usual_base: int | None


# --- figures ------------------------------------------------------------------------------------------------


@router.get("/datasets/{id:pk}/statistics", response=StatisticsOut)
def read_statistics(request: HttpRequest, pk: int) -> dict[str, object]:
    """The stored figures of a dataset, also of single annotators; 404 before the first vote is counted."""
    dataset, stored = access.statistics_for(request.user, pk, Role.ADMIN)
    record_download(File.FIGURES, by=access.person(request.user), dataset=dataset, target=dataset)
    return {
        "taken_at": stored.taken_at,
        "votes_since": stored.judgments_since,
        "run": Run.objects.of(dataset).of_kind(Run.Kind.STATISTICS).open().first(),
        "report": stored.report,
    }


@router.get("/datasets/{id:pk}/quality", response=QualityOut)
def read_quality(request: HttpRequest, pk: int, label_source: str = "people") -> dict[str, object]:
    """The tables of the stored figures in words: agreement, models, pace, and what more votes would buy.
    Those on single annotators are for admins."""
    dataset, stored = access.statistics_for(request.user, pk)
    return {
        "taken_at": stored.taken_at,
        "label_source": label_source,
        "label_sources": {name: SOURCE_NAMES[name] for name in label_sources(stored.report)},
        "tables": [_table(panel) for panel in _panels(dataset, stored, label_source)],
    }


@router.get("/datasets/{id:pk}/quality/{slug:label_source}/{slug:name}", response=TableWithRows)
def read_quality_table(request: HttpRequest, pk: int, label_source: str, name: str) -> dict[str, object]:
    """All rows of one table of the stored figures."""
    dataset, stored = access.statistics_for(request.user, pk)
    for panel in _panels(dataset, stored, label_source):
        if panel.name == name:
            return {**_table(panel), "rows": panel.rows}
    raise Http404


@router.get("/datasets/{id:pk}/sources", response=Boards)
def read_sources(request: HttpRequest, pk: int) -> dict[str, object]:
    """Who writes the better answers, by the stored figures."""
    _, stored = access.statistics_for(request.user, pk)
    return {"taken_at": stored.taken_at, "boards": stored.report["boards"]}


@router.get("/datasets/{id:pk}/sources/{slug:votes}", response=TableWithRows)
def read_source_table(request: HttpRequest, pk: int, votes: str) -> dict[str, object]:
    """The sources of the answers by strength, by one kind of votes."""
    _, stored = access.statistics_for(request.user, pk)
    panel = board_panel.strengths(stored.report, votes)
    if panel is None:
        raise Http404
    return {**_table(panel), "rows": panel.rows}


def _panels(dataset: Dataset, stored: Statistics, label_source: str) -> list[Panel]:
    return panels_seen(stored.report, label_source, by_admin=access.may(dataset, Role.ADMIN))


def _table(panel: Panel) -> dict[str, object]:
    names = ("name", "title", "says", "lacks", "warning", "notes", "reading")
    return {
        **{name: getattr(panel, name) for name in names},
        "columns": [asdict(column) for column in panel.columns],
        "row_count": len(panel.rows),
    }


# --- models -------------------------------------------------------------------------------------------------


class SortedModels(Schema):
    """Which models come first: the newest, by name, those most often right here, or the fastest."""

    sort: Literal["newest", "name", "accuracy", "fastest"] = "newest"


@router.get("/datasets/{id:pk}/models", response=MeasuredModels)
def list_dataset_models(request: HttpRequest, pk: int, asked: Query[SortedModels]) -> dict[str, object]:
    """The models in use, and how often each agrees with people here and on the benchmarks."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    measured_on = [dataset, *access.benchmarks_beside(dataset)]
    active = ModelVersion.objects.active()
    rows = table.rows(measured_on, pipeline.stored_of(measured_on))
    return {
        "active_id": active.pk if active else None,
        "items": [
            {
                "model": row.version,
                "measured": [_accuracy(on, cell) for on, cell in zip(measured_on, row.cells, strict=True)],
            }
            for row in sorted(rows, key=table.SORTS[asked.sort][1])
        ],
    }


@router.get("/datasets/{id:pk}/models/{id:new}/compared-with/{id:old}", response=Comparing)
def compare_models(request: HttpRequest, pk: int, new: int, old: int) -> dict[str, object]:
    """Two models on the same pairs, here and on the benchmarks, and what the gate says where the old one is
    the active one. Takes seconds for 100,000 pairs."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    chosen = valid(CompareForm(form_data(CompareForm, {"new": new, "old": old}))).cleaned_data
    benchmarks = list(access.benchmarks_beside(dataset))
    gate, compared = promotion.compared(dataset, chosen["new"], chosen["old"])
    seen = [dataset, *benchmarks]
    return {
        "gate": _gate(gate) if gate and len(compared) == len(seen) else None,
        "compared": [_compared(on, found) for on, found in compared if on in seen],
    }


@router.get("/datasets/{id:pk}/models/{id:version_pk}", response=DatasetModel)
def read_dataset_model(request: HttpRequest, pk: int, version_pk: int) -> dict[str, object]:
    """Where a model comes from, and what came of it in this dataset."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    version = _version(version_pk)
    return {
        **ModelOut.from_orm(version).model_dump(),
        "bases": [base.pk for base in table.bases_of(version)],
        "score_count": version.score_count,
        "training": version.training,
        "evaluations": version.evaluations.filter(dataset=dataset)[:EVALUATIONS],
        "promotions": Promotion.objects.history().filter(version=version),
    }


@router.post("/datasets/{id:pk}/models/{id:version_pk}/evaluate", response={202: RunOut})
def evaluate_model(request: HttpRequest, pk: int, version_pk: int) -> HttpResponse:
    """Measure a model on the pairs of this dataset that it has not learnt, by a Run."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    run = evaluation.begin(_version(version_pk), dataset, by=access.person(request.user))
    tasks.enqueue_run(run)
    return accepted(run)


@router.post("/models/{id:pk}/promote", response=PromotionOut)
def promote_model(request: HttpRequest, pk: int, body: Promote) -> Promotion:
    """Make a model the active one where it passes the gate of a dataset: 409 with the reasons where it does
    not. Needs staff, and a token for all datasets."""
    version = access.version_for(request.user, pk)
    dataset = access.dataset_for(request.user, body.dataset, Role.ADMIN)
    sent = body.model_dump(exclude={"dataset"})
    chosen = valid(PromoteForm(form_data(PromoteForm, sent))).cleaned_data
    promoted = promotion.promote(version, dataset, by=access.staff_only(request.user), **chosen)
    tasks.enqueue_scoring()
    return promoted


@router.get("/releases/{uuid:pk}/training-outlook", response=TrainingOutlook)
def read_training_outlook(request: HttpRequest, pk: UUID) -> dict[str, object]:
    """What a training on a release would learn from; 409 where the release cannot be trained on."""
    release = access.release_for(request.user, pk)
    outlook, base = plan.outlook(release), plan.usual_base()
    return {
        "profile": outlook.profile,
        "rows": outlook.rows,
        "warnings": outlook.warnings,
        "usual_preset": plan.usual_preset(release),
        "usual_base": base.pk if base else None,
    }


@router.post("/datasets/{id:pk}/trainings", response={202: RunOut})
def train_model(request: HttpRequest, pk: int, body: TrainingWanted) -> HttpResponse:
    """Train a model on a release of the dataset, by a Run. The new model is calibrated and evaluated, and
    becomes active only by a promotion."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    unsent = RetrainForm(dataset)
    chosen = valid(RetrainForm(dataset, form_data(unsent, body.model_dump()))).cleaned_data
    run = training.begin(**chosen, by=access.person(request.user))
    tasks.enqueue_run(run)
    return accepted(run)


def _version(pk: int) -> ModelVersion:
    """A model to look at or to measure, which every admin of a dataset may."""
    version = ModelVersion.objects.with_score_count().filter(pk=pk).first()
    if version is None:
        raise Http404
    return version


def _accuracy(on: Dataset, cell: table.Cell) -> dict[str, object]:
    names = Accuracy.model_fields.keys() - {"dataset_id", "dataset", "evaluation_id"}
    return {
        **{name: getattr(cell, name) for name in names},
        "dataset_id": on.pk,
        "dataset": on.name,
        "evaluation_id": cell.evaluation.pk if cell.evaluation else None,
    }


def _compared(on: Dataset, compared: Compared) -> dict[str, object]:
    names = ("lacking", "empty", "learnt", "remarks", "warning")
    return {
        **asdict(compared.paired),
        **{name: getattr(compared, name) for name in names},
        "dataset_id": on.pk,
        "dataset": on.name,
    }


def _gate(gate: promotion.Gate) -> dict[str, object]:
    conditions = [asdict(condition) for condition in gate.conditions]
    return {
        "verdict": gate.verdict,
        "sentence": gate.sentence,
        "candidate": gate.candidate,
        "conditions": conditions,
    }
