"""Which pairs a build of one profile would write now, and why it would leave the others out.

A build reads every text; a page can't wait for that. So this asks the columns in memory for what
`Profile.left_out` and `filters.passing` ask each pair, and the tests hold the two together."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workbench.db.bulk import digest_key
from workbench.models import Dataset, Decision, ModelVersion, Outcome
from workbench.models.dataset import Excluded
from workbench.pipeline.data.columns import EXCLUDED, METHODS, OUTCOMES, REVIEWED, Array, Columns, columns_of
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Selection, find
from workbench.pipeline.data.search import BadQuery
from workbench.pipeline.releases.cases import LEFT_OUT_FOR, LeftOut
from workbench.pipeline.releases.filters import BadFilter, Filters, View, margins_of
from workbench.pipeline.releases.profiles import Profile
from workbench.pipeline.text.shapes import Shape
from workbench.pipeline.text.splits import SPLITS, Split

REASONS = list(LeftOut)
KEPT = -1


@dataclass(frozen=True)
class Counted:
    """What would become of each pair. version: whose Suggestions count; viewed: whether the view finds the
    pair; passes: by the name of a filter, or of a pair of filters, whether the pair passes."""

    columns: Columns
    version: ModelVersion | None
    profile: Profile
    viewed: Array
    passes: Mapping[str, Array]

    @cached_property
    def decided(self) -> Array:
        """Pairs with a preferred side that nobody flagged or excluded."""
        sides = [OUTCOMES.index(Outcome.A), OUTCOMES.index(Outcome.B)]
        return np.isin(self.columns.pairs["outcome"], sides) & ~self.columns.pairs["flagged"] & ~self.excluded

    @cached_property
    def passing(self) -> Array:
        """Pairs that the filters and the view let through."""
        passing = self.viewed.copy()
        for mask in self.passes.values():
            passing &= mask
        return passing

    @cached_property
    def excluded(self) -> Array:
        codes = [EXCLUDED.index(place) for place in (Excluded.RELEASES, Excluded.BOTH)]
        return self._of_prompt(np.isin(self.columns.prompts["excluded"], codes))

    @cached_property
    def reasons(self) -> Array:
        """For each pair, the place of its reason in REASONS, or KEPT."""
        pairs, profile = self.columns.pairs, self.profile
        filtered = np.zeros(len(pairs["pk"]), np.bool_)
        for mask in self.passes.values():
            filtered |= ~mask
        if self.passes:
            filtered |= pairs["method"] == 0
        narrowed = [(~self.viewed, LeftOut.OUTSIDE_VIEW), (filtered, LeftOut.FILTERED)]
        if profile.undecided_too:
            steps = [
                (self.excluded, LeftOut.EXCLUDED),
                (pairs["all_votes"] == 0, LeftOut.NOT_JUDGED),
                *narrowed,
            ]
        else:
            steps = [
                (self.excluded, LeftOut.EXCLUDED),
                (pairs["flagged"], LeftOut.FLAGGED),
                *self._without_label(),
                (pairs["outdated"], LeftOut.CHANGED),
                (pairs["outcome"] == OUTCOMES.index(Decision.DROP), LeftOut.DROPPED),
                (pairs["empty"], LeftOut.EMPTY),
                *narrowed,
                *(
                    (pairs["outcome"] == OUTCOMES.index(outcome), reason)
                    for outcome, reason in LEFT_OUT_FOR.items()
                    if outcome not in profile.rule
                ),
                (~np.isin(self.splits, list(map(SPLITS.index, profile.splits))), LeftOut.OTHER_SPLIT),
                (~self._has(profile.can_hold), LeftOut.MESSAGES),
                (~self._has(profile.shape), LeftOut.TURNS),
            ]
        masks, reasons = zip(*steps, strict=True)
        return np.select(list(masks), list(map(REASONS.index, reasons)), KEPT).astype(np.int8)

    def _without_label(self) -> list[tuple[Array, LeftOut]]:
        pairs = self.columns.pairs
        has_none = pairs["method"] == 0
        return [
            (has_none & (pairs["opinions"] > 0), LeftOut.UNDECIDED),
            (has_none & (pairs["votes"] > 0), LeftOut.CANNOT_JUDGE),
            (has_none, LeftOut.NOT_JUDGED),
        ]

    def _has(self, shape: Shape) -> Array:
        both = self.columns.pairs["shape"] & self._of_prompt(self.columns.prompts["shape"])
        return np.asarray(both & int(shape) == int(shape))

    def _of_prompt(self, column: Array) -> Array:
        return np.asarray(column[self.columns.pairs["of"]])

    @cached_property
    def splits(self) -> Array:
        """For each pair, the place of its split in SPLITS."""
        return self._of_prompt(self.columns.prompts["split"])

    @property
    def left_out(self) -> dict[LeftOut, int]:
        """Pairs by reason, without the reasons that no pair has."""
        counts = np.bincount(self.reasons[self.reasons != KEPT], minlength=len(REASONS))
        return {reason: int(n) for reason, n in zip(REASONS, counts, strict=True) if n}

    @property
    def rows(self) -> dict[Split, int]:
        """Rows by split, without the splits that have none."""
        kept = self.reasons == KEPT
        each = self.columns.pairs["all_votes"] if self.profile.undecided_too else None
        weights = each[kept].astype(np.int64) if each is not None else None
        counts = np.bincount(self.splits[kept], weights, minlength=len(SPLITS))
        rows_a_pair = 1 if self.profile.undecided_too else self.profile.rows_a_pair
        return {split: int(n) * rows_a_pair for split, n in zip(SPLITS, counts, strict=True) if n}

    def first(self, split: Split, number: int) -> list[int]:
        """Primary keys of pairs, among them the first `number` of the split in the order of the files: all
        pairs of their Prompts."""
        rows = np.flatnonzero((self.reasons == KEPT) & (self.splits == SPLITS.index(split)))
        digests = self.columns.prompts["digest"][self.columns.pairs["of"][rows]].view(np.uint64)
        if len(rows) > number:
            rows = rows[digests <= np.partition(digests, number - 1)[number - 1]]
        pks: list[int] = self.columns.pairs["pk"][rows].tolist()
        return pks


def counted(dataset: Dataset, profile: Profile, filters: Filters, version: ModelVersion | None) -> Counted:
    """What a build of the profile would make of each pair now; `version` is the one that serves the Dataset.
    Raises BadFilter."""
    columns = columns_of(dataset, version)
    viewed = np.ones(len(columns.pairs["pk"]), np.bool_)
    if filters.view:
        viewed = _viewed(dataset, columns, filters.view, version)
    return Counted(columns, version, profile, viewed, _passes(columns, filters, version))


def _viewed(dataset: Dataset, columns: Columns, view: View, version: ModelVersion | None) -> Array:
    try:
        selection = Selection.parse(view.query, dataset.facet_keys)
        return find(dataset, selection, version, columns, needs_all=True).pair_rows
    except (BadSelection, BadQuery) as error:
        raise BadFilter(f"The view {view.name} cannot be used. {error}") from None


def _passes(columns: Columns, filters: Filters, version: ModelVersion | None) -> dict[str, Array]:
    pairs, passes = columns.pairs, {}
    if filters.method:
        passes["method"] = np.isin(pairs["method"], list(map(METHODS.index, filters.method)))
    if filters.source:
        numbers = columns.words["source"].numbers
        chosen = [numbers[name] for name in filters.source if name in numbers]
        passes["source"] = np.isin(pairs["source_a"], chosen) & np.isin(pairs["source_b"], chosen)
    if filters.without_groups:
        keys = [digest_key(group) for group in filters.without_groups if re.fullmatch("[0-9a-f]{64}", group)]
        passes["groups"] = ~np.isin(columns.prompts["group"], keys)[pairs["of"]]
    if filters.min_posterior is not None:
        passes["posterior"] = (pairs["method"] == REVIEWED) | (pairs["probability"] >= filters.min_posterior)
    votes = pairs["label_votes"].astype(np.float64)
    ranges: dict[str, tuple[float | None, float | None, Array, Array]] = {
        "votes": (filters.min_votes, filters.max_votes, votes, votes),
        "length": (filters.min_length, filters.max_length, pairs["shorter"], pairs["longer"]),
    }
    if filters.min_confidence is not None or filters.max_confidence is not None:
        sizes = np.abs(pairs["margin"].astype(np.float64))
        ranges["confidence"] = (*margins_of(filters, version), sizes, sizes)
    for name, (low, high, lowest, highest) in ranges.items():
        if low is not None or high is not None:
            passes[name] = _between(lowest, highest, low, high)
    if filters.min_agreement is not None or filters.max_agreement is not None:
        low, high = filters.min_agreement, filters.max_agreement
        votes_for = pairs["label_votes_for"]
        passes["agreement"] = votes > 0
        passes["agreement"] &= votes_for >= votes * (0 if low is None else low)
        passes["agreement"] &= votes_for <= votes * (1 if high is None else high)
    if filters.judged_from or filters.judged_until:
        first, last = (
            day.toordinal() if day else None for day in (filters.judged_from, filters.judged_until)
        )
        passes["days"] = _between(pairs["last"], pairs["last"], first, last) & (pairs["last"] > 0)
    return passes


def _between(lowest: Array, highest: Array, low: float | None, high: float | None) -> Array:
    holds = np.ones(len(lowest), np.bool_)
    if low is not None:
        holds &= lowest >= low
    if high is not None:
        holds &= highest <= high
    return holds
