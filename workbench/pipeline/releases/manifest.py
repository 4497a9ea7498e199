"""The manifest of a Release: the contents of its files, counted in the pass that writes the rows."""

import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from typing import TypedDict

from scoring.messages import FLATTENING
from workbench.models import Annotator, Dataset, Decision, Guidelines, ModelVersion, Outcome
from workbench.pipeline.quality.shares import Share
from workbench.pipeline.releases.cases import Case, LeftOut
from workbench.pipeline.releases.filters import Filters, FilterValue
from workbench.pipeline.releases.profiles import Profile
from workbench.pipeline.releases.proof import Fault
from workbench.pipeline.text.splits import SALT, SHARES, SPLITS, Split

NAME = "manifest.json"
UNUSED = "left out and counted"
NEWER = (LeftOut.EXCLUDED, LeftOut.OUTSIDE_VIEW)


class DatasetFacts(TypedDict):
    name: str
    description: str
    licence: str
    overlap: int
    blind_share: float
    aggregation: str


class GuidelinesFacts(TypedDict):
    number: int
    sha256: str
    judgments: int


class ModelFacts(TypedDict):
    name: str
    origin: str
    revision: str
    weights_sha256: str
    tokenizer_sha256: str
    template: str
    max_length: int
    precision: str
    temperature: float | None


class SplitFacts(TypedDict):
    by: str
    salt: str
    shares: dict[Split, float]
    groups: dict[Split, int]


class ComparisonFacts(TypedDict):
    total: int
    by_outcome: dict[str, int]
    by_split: dict[Split, dict[str, int]]
    released: int
    released_by_method: dict[str, int]


class ProfileFacts(TypedDict):
    """load: the call that loads the profile in each of its formats."""

    purpose: str
    reads: str
    columns: dict[str, str]
    rule: dict[str, str]
    rows: dict[Split, int]
    torn: int
    left_out: dict[str, int]
    load: dict[str, str]


class ShareFacts(TypedDict):
    """k of n with its 95 % interval (Wilson); null where n is 0."""

    k: int
    n: int
    low: float | None
    high: float | None


class FigureFacts(TypedDict):
    unanimous: ShareFacts
    longer_preferred: ShareFacts
    left_preferred: ShareFacts


class JudgmentFacts(TypedDict):
    by_stage: dict[str, int]


class AnnotatorFacts(TypedDict):
    pseudonym: str
    imported_from: str | None
    judgments: int


class SourceFacts(TypedDict):
    source: str
    licence: str
    completions: int


class FileFacts(TypedDict):
    """`profile`, `split`, `format` and `rows` are null for a file that holds no rows."""

    profile: str | None
    split: Split | None
    format: str | None
    rows: int | None
    bytes: int
    sha256: str


class Manifest(TypedDict):
    dataset: DatasetFacts
    guidelines: list[GuidelinesFacts]
    model_version: ModelFacts | None
    flattening: int
    aggregation: dict[str, str]
    filters: dict[str, FilterValue]
    split: SplitFacts
    comparisons: ComparisonFacts
    profiles: dict[str, ProfileFacts]
    left_out: dict[str, str]
    figures: FigureFacts
    judgments: JudgmentFacts
    annotators: list[AnnotatorFacts]
    sources: list[SourceFacts]
    software: dict[str, str]
    files: dict[str, FileFacts]
    not_written: list[Fault]


@dataclass
class Counts:
    """The counts of one pass over the cases. A released case is a case of which at least one profile has a
    row."""

    left_out: dict[str, Counter[str]]
    outcomes: dict[Split, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in SPLITS})
    methods: Counter[str] = field(default_factory=Counter)
    annotators: Counter[str] = field(default_factory=Counter)
    guidelines: Counter[int] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    groups: dict[Split, set[bytes]] = field(default_factory=lambda: {split: set() for split in SPLITS})
    votes: Counter[str] = field(default_factory=Counter)
    lengths: Counter[str] = field(default_factory=Counter)
    sides: Counter[str] = field(default_factory=Counter)
    torn: Counter[str] = field(default_factory=Counter)

    def count(self, case: Case, split: Split) -> None:
        """Count a case, released or not."""
        self.outcomes[split][str(case.barred or case.outcome)] += 1
        if case.tally.total() >= 2:
            self.votes["same" if len(case.tally) == 1 else "different"] += 1

    @property
    def by_outcome(self) -> Counter[str]:
        """Cases of all splits by outcome."""
        return sum(self.outcomes.values(), Counter())

    def count_released(self, case: Case, split: Split) -> None:
        self.groups[split].add(bytes.fromhex(case.group))
        self.methods[case.method or "undecided"] += 1
        self.sources.update((answer.source, case.licence_of(answer)) for answer in (case.a, case.b))
        for vote in case.votes:
            if vote.is_current:
                self.annotators[str(vote.pseudonym)] += 1
                self.guidelines[vote.guidelines or 0] += 1
                self.stages[vote.stage] += 1
                if vote.left and vote.outcome in (Outcome.A, Outcome.B):
                    self.sides["left" if vote.outcome == vote.left else "right"] += 1
        if case.outcome in (Outcome.A, Outcome.B):
            better, worse = (len(answer.text) for answer in case.preferred)
            self.lengths["longer" if better > worse else "shorter" if better < worse else "equal"] += 1


def manifest_of(
    dataset: Dataset,
    version: ModelVersion | None,
    profiles: Sequence[Profile],
    filters: Filters,
    counts: Counts,
    files: dict[str, FileFacts],
    using: str,
) -> Manifest:
    """The facts that a reader of the files needs. The manifest has neither the number of its Release nor the
    time, so two builds of the same data have the same bytes."""
    return {
        "dataset": {
            "name": dataset.name,
            "description": dataset.description,
            "licence": dataset.licence,
            "overlap": dataset.overlap,
            "blind_share": dataset.blind_share,
            "aggregation": dataset.aggregation,
        },
        "guidelines": _guidelines(dataset, counts, using),
        "model_version": _model_version(version),
        "flattening": FLATTENING,
        "aggregation": {method.value: str(method.label) for method in Decision.Method},
        "filters": filters.as_json(),
        "split": {
            "by": "prompt group: near-identical prompts are in one split",
            "salt": SALT,
            "shares": SHARES,
            "groups": {split: len(groups) for split, groups in counts.groups.items()},
        },
        "comparisons": {
            "total": counts.by_outcome.total(),
            "by_outcome": _sorted(counts.by_outcome),
            "by_split": {split: _sorted(outcomes) for split, outcomes in counts.outcomes.items()},
            "released": counts.methods.total(),
            "released_by_method": _sorted(counts.methods),
        },
        "profiles": {profile.name: _profile(profile, counts, files) for profile in profiles},
        "left_out": _reasons(counts),
        "figures": {
            "unanimous": _share(counts.votes["same"], counts.votes.total()),
            "longer_preferred": _share(
                counts.lengths["longer"], counts.lengths["longer"] + counts.lengths["shorter"]
            ),
            "left_preferred": _share(counts.sides["left"], counts.sides.total()),
        },
        "judgments": {"by_stage": _sorted(counts.stages)},
        "annotators": _annotators(counts.annotators, using),
        "sources": [
            {"source": source, "licence": licence or dataset.licence, "completions": count}
            for (source, licence), count in sorted(counts.sources.items())
        ],
        "software": {
            "python": platform.python_version(),
            **{package: version_of(package) for package in ("django", "orjson", "pyarrow", "datasets")},
        },
        "files": files,
        "not_written": [],
    }


def _reasons(counts: Counts) -> dict[str, str]:
    """What each reason means. A newer reason is named only where it occurs: the manifest of an older Release,
    built again, stays the same to the byte."""
    return {
        reason.value: str(reason.label)
        for reason in LeftOut
        if reason not in NEWER or any(left_out[reason] for left_out in counts.left_out.values())
    }


def people_and_label_sources(manifest: Manifest) -> tuple[int, int]:
    """(people, sources of imported labels) whose votes are in the release."""
    sources = sum(annotator["imported_from"] is not None for annotator in manifest["annotators"])
    return len(manifest["annotators"]) - sources, sources


def _guidelines(dataset: Dataset, counts: Counts, using: str) -> list[GuidelinesFacts]:
    """The versions under which released Judgments were made, and the newest version."""
    versions = list(Guidelines.objects.using(using).filter(dataset=dataset).order_by("number"))
    return [
        {
            "number": guidelines.number,
            "sha256": hashlib.sha256(guidelines.text.encode()).hexdigest(),
            "judgments": counts.guidelines[guidelines.number],
        }
        for guidelines in versions
        if counts.guidelines[guidelines.number] or guidelines == versions[-1]
    ]


def _model_version(version: ModelVersion | None) -> ModelFacts | None:
    if version is None:
        return None
    return {
        "name": version.name,
        "origin": version.origin,
        "revision": version.revision,
        "weights_sha256": version.weights_sha256,
        "tokenizer_sha256": version.tokenizer_sha256,
        "template": version.template,
        "max_length": version.max_length,
        "precision": version.precision,
        "temperature": version.temperature,
    }


def _profile(profile: Profile, counts: Counts, files: Mapping[str, FileFacts]) -> ProfileFacts:
    return {
        "purpose": profile.purpose,
        "reads": profile.reads,
        "columns": dict(profile.columns),
        "rule": {name: profile.rule.get(name, UNUSED) for name in (*Outcome.values, Decision.DROP)},
        "rows": rows_of(profile.name, files),
        "torn": counts.torn[profile.name],
        "left_out": _sorted(counts.left_out[profile.name]),
        "load": {},
    }


def rows_of(profile: str, files: Mapping[str, FileFacts]) -> dict[Split, int]:
    """Rows of the profile in each split that has some."""
    rows = {file["split"]: file["rows"] or 0 for file in files.values() if file["profile"] == profile}
    return {split: rows[split] for split in SPLITS if split in rows}


def _share(k: int, n: int) -> ShareFacts:
    share = Share(k, n)
    return {"k": k, "n": n, "low": share.low, "high": share.high}


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _annotators(judgments: Counter[str], using: str) -> list[AnnotatorFacts]:
    """The annotators with current Judgments on released Comparisons: people by pseudonym alone, label sources
    also by the name of their import."""
    annotators = Annotator.objects.using(using).filter(pseudonym__in=judgments).order_by("pseudonym")
    return [
        {
            "pseudonym": str(annotator.pseudonym),
            "imported_from": annotator.source or None,
            "judgments": judgments[str(annotator.pseudonym)],
        }
        for annotator in annotators
    ]
