"""The gate before a ModelVersion becomes the active one, and what goes through it.

A version is promoted when it is really better on what the team judged, not worse on what is held fixed, and
calibrated. Anything else needs a named admin and a reason, and both are kept on record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Window
from django.utils import timezone

from scoring import shares
from scoring.evaluate import PairedComparison
from workbench.models import Dataset, ModelVersion, Promotion, Score, User
from workbench.pipeline.model import pairs
from workbench.pipeline.model.compare import Compared, compare
from workbench.pipeline.model.pairs import WHAT_TO_DO
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches
from workbench.pipeline.text import learnt

NEEDED = 300
"""Decided pairs below which no difference is believed: 5 points need about 300 at 10 % discordance."""
NO_WORSE_THAN = -0.01
"""The lower end of the 95 % interval on a frozen Dataset: a loss of one point."""
LEVEL = 0.05
BY_ANSWER = ("preferred is longer", "preferred is shorter")
"""Slices made by the answer itself. A model that learns that people like length loses on one of them,
whatever else it learns: they are shown, and decide nothing."""

Verdict = Literal["first", "promote", "no", "not enough data"]


@dataclass(frozen=True)
class Condition:
    """`met` is None where there is not enough data to tell."""

    name: str
    met: bool | None
    said: str


@dataclass(frozen=True)
class Gate:
    """What the gate says of a version against the active one (`replaces`; None = there is none).

    `test` compares the two on the Dataset, `frozen` on each frozen Dataset: on pairs that neither has
    learnt."""

    version: ModelVersion
    replaces: ModelVersion | None
    conditions: Sequence[Condition]
    test: Compared | None = None
    frozen: Sequence[tuple[Dataset, Compared]] = ()

    @property
    def verdict(self) -> Verdict:
        if self.replaces is None:
            return "first"
        met = [condition.met for condition in self.conditions]
        if False in met:
            return "no"
        return "not enough data" if None in met else "promote"

    @property
    def sentence(self) -> str:
        """The verdict with its reasons."""
        if self.verdict == "first":
            return "No model is active yet, so there is nothing to compare with."
        if self.verdict == "promote":
            return f"{self.version} is better than {self.replaces} here, and not worse anywhere."
        why = " ".join(c.said for c in self.conditions if c.met is not True)
        return f"{'Not promoted' if self.verdict == 'no' else 'Not enough data'}: {why}"

    def as_json(self) -> dict[str, object]:
        """As a Promotion stores it."""
        return {
            "verdict": self.verdict,
            "replaces": self.replaces.name if self.replaces else None,
            "conditions": [asdict(condition) for condition in self.conditions],
            "test": _as_json(self.test) if self.test else None,
            "frozen": {dataset.name: _as_json(compared) for dataset, compared in self.frozen},
        }


def _as_json(compared: Compared) -> dict[str, object]:
    return {
        **asdict(compared.paired),
        "learnt": compared.learnt,
        "counted": dict(compared.counted),
        "set_aside": dict(compared.set_aside),
    }


def weigh(version: ModelVersion, dataset: Dataset) -> Gate:
    """The version against the active one, on the dataset and on every frozen Dataset: on pairs that may be
    counted (see pipeline/quality/accuracy) and that neither of the two has learnt.

    Reads stored Scores and writes nothing: evaluate both versions first. Raises Refused for the active
    version itself."""
    active = ModelVersion.objects.active()
    if active == version:
        raise Refused(f"{version} is already the active model.")
    if active is None:
        return Gate(version, None, [])
    test = compare(version, active, pairs.of_dataset(dataset))
    benchmarks = Dataset.objects.filter(frozen=True).exclude(pk=dataset.pk).order_by("pk")
    frozen = [(benchmark, compare(version, active, pairs.of_dataset(benchmark))) for benchmark in benchmarks]
    conditions: list[Condition] = []
    for on, compared in [(dataset, test), *frozen]:
        remarks = " ".join([f"On {on}: {compared.remarks}", *learnt.warnings([version, active])])
        conditions += [
            Condition("unseen", True, remarks),
            _scored(version, active, on, compared.lacking),
            _superior(on, compared.paired) if on == dataset else _no_worse(on, compared.paired),
            *_no_slice_worse(on, compared.paired),
        ]
    if not frozen:
        conditions.append(Condition("frozen", True, "There is no other benchmark dataset to check."))
    conditions.append(_calibrated(version))
    return Gate(version, active, conditions, test, frozen)


def _scored(version: ModelVersion, active: ModelVersion, dataset: Dataset, lacking: int) -> Condition:
    if not lacking:
        return Condition("scored", True, f"Both models have scored every pair that counts in {dataset}.")
    return Condition(
        "scored",
        None,
        f"{lacking:,} pairs of {dataset} still lack a score of {version} or {active}. Evaluate both.",
    )


def _too_few(dataset: Dataset, paired: PairedComparison) -> str:
    return f"{paired.n:,} pairs of {dataset} count. A reliable difference needs {NEEDED}. {WHAT_TO_DO}"


def _superior(dataset: Dataset, paired: PairedComparison) -> Condition:
    """Better on the team's own pairs: by the interval over prompt groups, and by McNemar's test."""
    if paired.n < NEEDED:
        return Condition("superior", None, _too_few(dataset, paired))
    difference, interval = paired.accuracy_difference, paired.accuracy_interval
    if difference is None or interval is None or paired.p is None:
        return Condition(
            "superior", None, "All pairs that count belong to one prompt group, so there is no interval."
        )
    figures = (
        f"{shares.points(difference)} on {paired.n:,} pairs (95 % interval "
        f"{shares.points_between(interval)}; McNemar p = {paired.p:.3g})."
    )
    better = difference > 0 and interval[0] > 0 and paired.p < LEVEL
    return Condition("superior", better, figures if better else f"Not clearly better: {figures}")


def _no_worse(dataset: Dataset, paired: PairedComparison) -> Condition:
    name = f"no worse on {dataset}"
    if paired.n < NEEDED or paired.accuracy_interval is None or paired.accuracy_difference is None:
        return Condition(name, None, _too_few(dataset, paired))
    met = paired.accuracy_interval[0] >= NO_WORSE_THAN
    figures = (
        f"{shares.points(paired.accuracy_difference)} on {paired.n:,} pairs of {dataset} (95 % interval "
        f"{shares.points_between(paired.accuracy_interval)}; the limit is a loss of "
        f"{shares.size(NO_WORSE_THAN)})."
    )
    return Condition(name, met, figures if met else f"The model may be worse on {dataset}: {figures}")


def _no_slice_worse(dataset: Dataset, paired: PairedComparison) -> list[Condition]:
    worse = [
        part
        for part in paired.slices
        if part.holm_p is not None
        and part.difference is not None
        and part.difference < 0
        and part.holm_p < LEVEL
        and part.label not in BY_ANSWER
    ]
    if not worse:
        none_worse = f"No kind of pair in {dataset} is significantly worse"
        return [Condition("slices", True, f"{none_worse} ({len(paired.slices)} checked, Holm).")]
    return [
        Condition(
            "slices",
            False,
            f"Worse on {dataset} where {part.name} is “{part.label}”: "
            f"{shares.points(part.difference or 0)} on {part.n:,} pairs, p = {part.holm_p:.3g} after Holm.",
        )
        for part in worse
    ]


def _calibrated(version: ModelVersion) -> Condition:
    if version.calibrated:
        return Condition("calibrated", True, "The model is calibrated.")
    return Condition("calibrated", False, "The model is not calibrated. Calibrate it under Models first.")


# --- the active version -------------------------------------------------------------------------------------


def promote(
    version: ModelVersion,
    dataset: Dataset,
    *,
    by: User | None = None,
    override: bool = False,
    reason: str = "",
) -> Promotion:
    """Make the version the active one when the gate says so, or with `override` when it does not.

    One transaction changes the active version and stores the record; every Dataset then needs Scores of the
    version. An override needs a named admin and a reason. Raises Refused, and changes nothing, when the
    gate says no, or when another version became active while this one was weighed."""
    gate = weigh(version, dataset)
    if gate.verdict == "first":
        return _activate(gate, Promotion.Kind.FIRST, by, reason)
    if gate.verdict == "promote":
        return _activate(gate, Promotion.Kind.EARNED, by, reason)
    if not override:
        raise Refused(gate.sentence)
    _refuse_anonymous(by, reason)
    return _activate(gate, Promotion.Kind.OVERRIDE, by, reason)


def put_in_place(version: ModelVersion, *, by: User | None = None, reason: str = "") -> Promotion:
    """Activate a version by hand, without the gate: the first one, or for a reason. Raises Refused."""
    active = ModelVersion.objects.active()
    if active == version:
        raise Refused(f"{version} is already the active model.")
    if active is None:
        return _activate(Gate(version, None, []), Promotion.Kind.FIRST, by, reason)
    _refuse_anonymous(by, reason)
    return _activate(Gate(version, active, []), Promotion.Kind.OVERRIDE, by, reason, record={})


def roll_back(*, by: User | None = None, reason: str = "") -> Promotion:
    """Put the model back that the active one replaced. Its Scores and Suggestions are still stored, so the
    model serves at once. Raises Refused when there is none."""
    active, previous = ModelVersion.objects.active(), replaced_by_active()
    if active is None or previous is None:
        raise Refused(f"There is no model to go back to from {active}." if active else "No model is active.")
    return _activate(Gate(previous, active, []), Promotion.Kind.ROLLBACK, by, reason, record={})


def replaced_by_active() -> ModelVersion | None:
    """The model that `roll_back` would put back; None when there is none."""
    active = ModelVersion.objects.active()
    undone = Promotion.objects.undone_by_rollback(active) if active else None
    return undone.supersedes if undone else None


def _refuse_anonymous(by: User | None, reason: str) -> None:
    if by is None or not by.is_staff:
        raise Refused("Only whoever runs this workbench can activate a model without checks.")
    if not reason.strip():
        raise Refused("Give a reason. The reason is stored with the promotion.")


def _activate(
    gate: Gate,
    kind: Promotion.Kind,
    by: User | None,
    reason: str,
    record: dict[str, object] | None = None,
) -> Promotion:
    with transaction.atomic():
        # All in one order, or two promotions at once could each wait for the other's row.
        list(ModelVersion.objects.select_for_update().order_by("pk").values_list("pk", flat=True))
        active = ModelVersion.objects.active()
        if active != gate.replaces:
            raise Refused(f"{active} has become the active model meanwhile. Compare with {active} first.")
        version = ModelVersion.objects.get(pk=gate.version.pk)
        promotion = activate(
            version,
            kind=kind,
            by=by,
            reason=reason.strip(),
            gate=gate.as_json() if record is None else record,
        )
        # After a rollback the version has its Scores and serves at once.
        for dataset in Dataset.objects.not_deleted().filter(held_by__isnull=False):
            batches.hand_over(dataset)
    return promotion


def activate(
    version: ModelVersion,
    *,
    kind: Promotion.Kind | None = None,
    by: User | None = None,
    reason: str = "",
    gate: Mapping[str, object] | None = None,
) -> Promotion:
    """Make the version the one active one, and store the Promotion. The version before keeps its Scores and
    Suggestions, and serves each Dataset that it has scored until the new version has scored it too.

    Without a `kind` the Promotion is the first one, or an override, which needs a reason."""
    with transaction.atomic():
        other_versions = ModelVersion.objects.exclude(pk=version.pk).select_for_update()
        active = other_versions.filter(state=ModelVersion.State.ACTIVE)
        replaced = active.first()
        active.update(state=ModelVersion.State.REGISTERED)
        version.state, version.activated_at = ModelVersion.State.ACTIVE, timezone.now()
        version.save(update_fields=["state", "activated_at"])
        Dataset.objects.update(needs_scoring=True)
        if replaced:
            scored = Score.objects.filter(version=replaced, completion__prompt__dataset=OuterRef("pk"))
            Dataset.objects.filter(Exists(scored), held_by=None).update(held_by=replaced)
        Dataset.objects.filter(held_by=version).update(held_by=None)
        return version.promotions.create(
            kind=kind or (Promotion.Kind.OVERRIDE if replaced else Promotion.Kind.FIRST),
            supersedes=replaced,
            by=by,
            reason=reason,
            gate=dict(gate or {}),
        )


NAMED = 3


def served(besides: Dataset | None = None) -> str:
    """The Datasets that change with the active version, in words: up to three by name, more by their number;
    "" for none. `besides` is the one whose page or command it is."""
    datasets = Dataset.objects.in_use()
    if besides:
        datasets = datasets.exclude(pk=besides.pk)
    counted = datasets.annotate(total=Window(Count("*"))).order_by("name")
    rows = list(counted.values_list("name", "total")[: NAMED + 1])
    if len(rows) > NAMED:
        return f"{rows[0][1]:,} {'other ' if besides else ''}datasets"
    names = [name for name, _ in rows]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def where_it_serves() -> str:
    """A sentence on the version that has just become active; "" where there is no Dataset."""
    names = served()
    if not names:
        return ""
    if not Dataset.objects.in_use().exclude(held_by=None).exists():
        return f"The model serves {names}."
    return (
        f"The model serves {names} as soon as all answers are scored. Until then, the previous model serves."
    )
