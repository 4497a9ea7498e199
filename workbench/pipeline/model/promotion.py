"""The gate before a ModelVersion becomes the active one, and what goes through it.

A version is promoted when it is really better on what the team judged, not worse on what is held fixed, and
calibrated. Anything else needs a named admin and a reason, and both are kept on record.

The gate may be looked at after every vote, and asked about any number of versions: see scoring/anytime."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Window
from django.utils import timezone

from scoring import anytime, shares
from scoring.anytime import MARGIN, Weighed
from scoring.evaluate import PairedComparison
from workbench.models import Dataset, ModelVersion, Promotion, Score, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.model import pairs
from workbench.pipeline.model.compare import Compared, compare
from workbench.pipeline.model.pairs import WHAT_TO_DO
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches
from workbench.pipeline.text import learnt
from workbench.pipeline.webhooks import outbox

NEEDED = 300
"""Decided pairs below which no difference is believed. The interval rests on the central limit theorem."""
BY_ANSWER = ("preferred is longer", "preferred is shorter")
"""Slices made by the answer itself. A model that learns that people like length loses on one of them,
whatever else it learns: they are shown, and decide nothing."""

Verdict = Literal["first", "promote", "no", "not enough data"]


@dataclass(frozen=True)
class Condition:
    """`met` is None where there is not enough data to tell. `weighed`: the difference that it rests on, on
    the Dataset `on`. `more_votes`: how many more would decide; None where that cannot be told."""

    name: str
    met: bool | None
    said: str
    on: str = ""
    weighed: Weighed | None = None
    more_votes: int | None = None

    @property
    def outcome(self) -> str:
        """The finding on the difference in a word or two; "" without a difference."""
        if self.weighed is None:
            return ""
        if self.met is None:
            return "open"
        better, worse = ("not worse", "worse") if self.weighed.at_least < 0 else ("better", "not better")
        return better if self.met else worse

    @property
    def confidence(self) -> str:
        """ "95 %"; "" without a difference."""
        return shares.limit(1 - self.weighed.level) if self.weighed else ""


@dataclass(frozen=True)
class Gate:
    """What the gate says of a version against the active one (`replaces`; None = there is none).

    `test` compares the two on the Dataset, `frozen` on each frozen Dataset: on pairs that neither has
    learnt. `candidate`: see `candidate_number`."""

    version: ModelVersion
    replaces: ModelVersion | None
    conditions: Sequence[Condition]
    test: Compared | None = None
    frozen: Sequence[tuple[Dataset, Compared]] = ()
    candidate: int = 1

    @property
    def verdict(self) -> Verdict:
        if self.replaces is None:
            return "first"
        met = [condition.met for condition in self.conditions]
        if False in met:
            return "no"
        return "not enough data" if None in met else "promote"

    @property
    def is_undecided(self) -> bool:
        """Whether more votes could still show the version to be better: no difference speaks against it, and
        one is open."""
        met = [condition.met for condition in self.conditions if condition.name != "calibrated"]
        return self.replaces is not None and False not in met and None in met

    @property
    def differences(self) -> list[Condition]:
        """The conditions that rest on a difference of accuracy."""
        return [condition for condition in self.conditions if condition.weighed]

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
            "candidate": self.candidate,
            "conditions": [asdict(condition) for condition in self.conditions],
            "test": _as_json(self.test) if self.test else None,
            "frozen": {dataset.name: _as_json(compared) for dataset, compared in self.frozen},
        }


def compared(
    dataset: Dataset, new: ModelVersion, old: ModelVersion
) -> tuple[Gate | None, list[tuple[Dataset, Compared]]]:
    """(what the gate says, where `old` is the active version; the two versions on the dataset and on each
    benchmark)."""
    if old == ModelVersion.objects.active():
        gate = weigh(new, dataset)
        return gate, [(on, found) for on, found in [(dataset, gate.test), *gate.frozen] if found]
    measured_on = [dataset, *Dataset.objects.benchmarks().exclude(pk=dataset.pk)]
    return None, [(on, compare(new, old, pairs.of_dataset(on))) for on in measured_on]


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
    benchmarks = Dataset.objects.benchmarks().exclude(pk=dataset.pk)
    frozen = [(benchmark, compare(version, active, pairs.of_dataset(benchmark))) for benchmark in benchmarks]
    candidate = candidate_number(version, active)
    conditions: list[Condition] = []
    for on, compared in [(dataset, test), *frozen]:
        remarks = " ".join([f"On {on}: {compared.remarks}", *learnt.warnings([version, active])])
        conditions += [
            Condition("unseen", True, remarks),
            _scored(version, active, on, compared.lacking),
            _superior(on, compared.paired, candidate) if on == dataset else _no_worse(on, compared.paired),
            *_no_slice_worse(on, compared.paired),
        ]
    if not frozen:
        conditions.append(Condition("frozen", True, "There is no other benchmark dataset to check."))
    conditions.append(_calibrated(version))
    return Gate(version, active, conditions, test, frozen, candidate)


def candidate_number(version: ModelVersion, active: ModelVersion) -> int:
    """The place k of the version among all that may replace the active one, which fixes the level of its
    interval (scoring.anytime.level_of).

    The nth version registered since the active one took over has k = 2n - 1. Versions from before have the
    even numbers, the newest first. So k never changes while the active version stays, and no two versions
    share one. Rules (baselines) take no part; a version that nothing rests on may be deleted, and was never
    weighed."""
    since = active.activated_at or active.created_at
    others = ModelVersion.objects.exclude(kind=ModelVersion.Kind.BASELINE).exclude(pk=active.pk)
    if version.created_at > since:
        return 2 * others.filter(created_at__gt=since, pk__lt=version.pk).count() + 1
    return 2 * others.filter(created_at__lte=since, pk__gt=version.pk).count() + 2


def _scored(version: ModelVersion, active: ModelVersion, dataset: Dataset, lacking: int) -> Condition:
    if not lacking:
        return Condition("scored", True, f"Both models have scored every pair that counts in {dataset}.")
    return Condition(
        "scored",
        None,
        f"{lacking:,} pairs of {dataset} still lack a score of {version} or {active}. Evaluate both.",
    )


def _superior(dataset: Dataset, paired: PairedComparison, candidate: int) -> Condition:
    """Better on the team's own pairs."""
    return _weighed("superior", dataset, paired, 0.0, anytime.level_of(candidate))


def _no_worse(dataset: Dataset, paired: PairedComparison) -> Condition:
    """Not worse by MARGIN on a frozen Dataset. Its level is not corrected for several candidates: a version
    that is no better is stopped by `_superior` already."""
    return _weighed(f"no worse on {dataset}", dataset, paired, -MARGIN, anytime.LEVEL)


def _weighed(
    name: str, dataset: Dataset, paired: PairedComparison, at_least: float, level: float
) -> Condition:
    if paired.totals is None:
        return Condition(name, None, _too_few(dataset, paired), str(dataset))
    weighed = anytime.weigh(paired.totals, at_least, level, NEEDED)
    votes = None if weighed.more_pairs is None else weighed.more_pairs * dataset.overlap
    said = _in_words(weighed, dataset, votes)
    if paired.n < NEEDED:
        said = f"{_too_few(dataset, paired)} {said}"
    return Condition(name, weighed.met, said, str(dataset), weighed, votes)


def _too_few(dataset: Dataset, paired: PairedComparison) -> str:
    return f"{paired.n:,} pairs of {dataset} count. A reliable difference needs {NEEDED}. {WHAT_TO_DO}"


def _in_words(weighed: Weighed, dataset: Dataset, votes: int | None) -> str:
    if weighed.at_least < 0:
        names = {
            True: f"Not worse by {shares.size(MARGIN)} or more",
            False: "Worse",
            None: f"Not shown to lose less than {shares.size(MARGIN)}",
        }
    else:
        names = {
            True: "Better",
            False: f"Not better by {shares.size(MARGIN)} or more",
            None: "Not decided yet",
        }
    interval = (
        f"{shares.limit(1 - weighed.level)} interval {shares.points_between(weighed.interval)}"
        if weighed.interval
        else f"no interval from only {weighed.groups:,} prompt group{'s' * (weighed.groups != 1)}"
    )
    figures = (
        f"{names[weighed.met]} on {dataset}: {shares.points(weighed.difference)} on {weighed.pairs:,} pairs "
        f"({interval})."
    )
    if weighed.met is not None:
        return figures
    if votes is None or weighed.more_pairs is None:
        return f"{figures} How many more votes would decide cannot be told yet."
    pairs = f"{weighed.more_pairs:,} more pairs"
    more = pairs if votes == weighed.more_pairs else f"{votes:,} more votes on {pairs}"
    return f"{figures} If the difference stays as it is, about {more} would decide."


def _no_slice_worse(dataset: Dataset, paired: PairedComparison) -> list[Condition]:
    worse = [
        part
        for part in paired.slices
        if part.holm_p is not None
        and part.difference is not None
        and part.difference < 0
        and part.holm_p < anytime.LEVEL
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
        kind = kind or (Promotion.Kind.OVERRIDE if replaced else Promotion.Kind.FIRST)
        is_back = kind == Promotion.Kind.ROLLBACK
        record(Kind.MODEL_ROLLED_BACK if is_back else Kind.MODEL_PROMOTED, by=by, target=version, word=kind)
        promotion = version.promotions.create(
            kind=kind,
            supersedes=replaced,
            by=by,
            reason=reason,
            gate=dict(gate or {}),
        )
        outbox.note_promotion(promotion, version)
    return promotion


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
