"""What a Release says of itself: counted in the same pass that writes the rows, true for ever."""

import hashlib
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from typing import Any

from scoring.messages import FLATTENING
from workbench.models import Annotator, Dataset, Decision, Guidelines, ModelVersion, Outcome
from workbench.pipeline.quality.shares import Share
from workbench.pipeline.releases.cases import Case, LeftOut
from workbench.pipeline.releases.filters import Filters
from workbench.pipeline.releases.profiles import Profile
from workbench.pipeline.text.splits import SALT, SHARES, SPLITS, Split

Manifest = dict[str, Any]
NAME = "manifest.json"
UNUSED = "left out and counted"


@dataclass
class Counts:
    """What one pass over the cases counts. "Released" is a case that gave at least one profile a row."""

    left_out: dict[str, Counter[str]]
    outcomes: dict[Split, Counter[str]] = field(default_factory=lambda: {it: Counter() for it in SPLITS})
    methods: Counter[str] = field(default_factory=Counter)
    annotators: Counter[str] = field(default_factory=Counter)
    guidelines: Counter[int] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    groups: dict[Split, set[bytes]] = field(default_factory=lambda: {split: set() for split in SPLITS})
    shared: Counter[str] = field(default_factory=Counter)
    longer: Counter[str] = field(default_factory=Counter)
    sides: Counter[str] = field(default_factory=Counter)
    torn: Counter[str] = field(default_factory=Counter)

    def see(self, case: Case, split: Split) -> None:
        self.outcomes[split][str(case.barred or case.outcome)] += 1
        if case.tally.total() >= 2:
            self.shared["same" if len(case.tally) == 1 else "different"] += 1

    @property
    def by_outcome(self) -> Counter[str]:
        """Of all splits together."""
        return sum(self.outcomes.values(), Counter())

    def release(self, case: Case, split: Split) -> None:
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
            self.longer["longer" if better > worse else "shorter" if better < worse else "equal"] += 1


def manifest_of(
    dataset: Dataset,
    version: ModelVersion | None,
    profiles: Sequence[Profile],
    filters: Filters,
    counts: Counts,
    files: dict[str, dict[str, Any]],
    using: str,
) -> Manifest:
    """What a reader of the files must know. It names neither its Release's number nor the hour: the same
    state built twice gives the same bytes."""
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
        "aggregation": {method.value: method.label for method in Decision.Method},
        "filters": filters.as_json(),
        "split": {
            "by": "prompt group: near-identical prompts are in one split",
            "salt": SALT,
            "shares": SHARES,
            "groups": {split: len(groups) for split, groups in counts.groups.items()},
        },
        "comparisons": {
            "total": counts.by_outcome.total(),
            "by_outcome": dict(sorted(counts.by_outcome.items())),
            "by_split": {split: dict(sorted(counted.items())) for split, counted in counts.outcomes.items()},
            "released": counts.methods.total(),
            "released_by_method": dict(sorted(counts.methods.items())),
        },
        "profiles": {profile.name: _profile(profile, counts, files) for profile in profiles},
        "left_out": {reason.value: reason.label for reason in LeftOut},
        "figures": {
            "unanimous": _share(counts.shared, "same"),
            "longer_preferred": _share(counts.longer, "longer", without="equal"),
            "left_preferred": _share(counts.sides, "left"),
        },
        "judgments": {"by_stage": dict(sorted(counts.stages.items()))},
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


def _guidelines(dataset: Dataset, counts: Counts, using: str) -> list[dict[str, Any]]:
    """The versions that released Judgments were made under, and the newest."""
    of_dataset = list(Guidelines.objects.using(using).filter(dataset=dataset).order_by("number"))
    return [
        {
            "number": each.number,
            "sha256": hashlib.sha256(each.text.encode()).hexdigest(),
            "judgments": counts.guidelines[each.number],
        }
        for each in of_dataset
        if counts.guidelines[each.number] or each == of_dataset[-1]
    ]


def _model_version(version: ModelVersion | None) -> dict[str, Any] | None:
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


def _profile(profile: Profile, counts: Counts, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "purpose": profile.purpose,
        "reads": profile.reads,
        "columns": dict(profile.columns),
        "rule": {name: profile.rule.get(name, UNUSED) for name in (*Outcome.values, Decision.DROP)},
        "rows": rows_of(profile.name, files),
        "torn": counts.torn[profile.name],
        "left_out": dict(sorted(counts.left_out[profile.name].items())),
    }


def rows_of(profile: str, files: dict[str, dict[str, Any]]) -> dict[str, int]:
    """How many rows of the profile each split has."""
    rows = {it["split"]: it["rows"] for it in files.values() if it["profile"] == profile}
    return {split: rows[split] for split in SPLITS if split in rows}


def _share(counts: Counter[str], wanted: str, without: str = "") -> dict[str, Any]:
    """k of n with its 95 % interval (Wilson); null where n is 0."""
    share = Share(counts[wanted], counts.total() - counts[without])
    return {"k": share.k, "n": share.n, "low": share.low, "high": share.high}


def _annotators(counted: Counter[str], using: str) -> list[dict[str, Any]]:
    """Whose current Judgments the released Comparisons have: people by pseudonym alone, label sources also by
    the name that they were imported under."""
    known = Annotator.objects.using(using).filter(pseudonym__in=counted).order_by("pseudonym")
    return [
        {
            "pseudonym": str(annotator.pseudonym),
            "imported_from": annotator.source or None,
            "judgments": counted[str(annotator.pseudonym)],
        }
        for annotator in known
    ]
