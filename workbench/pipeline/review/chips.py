"""How many cases of the review queue each filter leaves, counted in the columns in memory."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.db.bulk import digest_key
from workbench.models import Dataset, Judgment, ModelVersion, Outcome, ReviewQueue
from workbench.pipeline.data.columns import (
    OUTCOMES,
    REVIEWED,
    SIDES,
    WHY,
    Array,
    Columns,
    against,
    columns_of,
    margins_of,
)
from workbench.pipeline.data.finding import FoundPairs, Selection, find
from workbench.pipeline.review.queue import Filters, Lengths, Why


@dataclass(frozen=True)
class Counts:
    """Cases by reason, by source of an answer, by person who voted (primary key of the Annotator), and by
    lengths. found: counts them by the fields of the Data page."""

    why: Mapping[str, int]
    source: Mapping[str, int]
    annotator: Mapping[str, int]
    lengths: Mapping[str, int]
    found: FoundPairs


def counted(
    dataset: Dataset,
    serving: ModelVersion | None,
    version: ModelVersion | None,
    filters: Filters,
    selection: Selection,
) -> Counts:
    """The counts of the queue of `version`, in a Dataset that `serving` serves. filters.pairs: what the
    selection finds."""
    columns = columns_of(dataset, serving)
    has = _reasons(dataset, columns, serving, version, filters.old)
    among = _among(dataset, columns, has, filters)
    found = find(dataset, selection, serving, columns)
    cases = among & found.pair_rows
    whys = {name: int(np.count_nonzero(having & cases)) for name, having in has.items()}
    lengths = {kind.value: int(np.count_nonzero(cases & _of_lengths(columns, kind))) for kind in Lengths}
    return Counts(whys, _sources(columns, cases), _voters(columns, cases), lengths, found.among(among))


def _reasons(
    dataset: Dataset,
    columns: Columns,
    serving: ModelVersion | None,
    version: ModelVersion | None,
    old: ModelVersion | None,
) -> dict[str, Array]:
    """Which pairs have each reason, by what this version says; with `old`, by what it says differently."""

    def said_by(one: ModelVersion | None) -> Array:
        return columns.pairs["margin"] if one == serving else margins_of(dataset, one, columns)

    why, margin = columns.pairs["why"], said_by(version)
    if version != serving:
        bits = sum(WHY[name] for name in SIDES)
        why = why & ~np.uint16(bits) | against(margin, columns.pairs["sides"])
    has = {name: np.asarray(why & bit > 0) for name, bit in WHY.items()}
    return has | _flips(columns, margin, said_by(old)) if old else has


def _flips(columns: Columns, new: Array, old: Array) -> dict[str, Array]:
    """As ComparisonQuerySet.flipped: the reasons that exist only between two versions."""
    flipped = (new > 0) & (old < 0) | (new < 0) & (old > 0)
    lead = _lead(columns)
    towards = flipped & ((new > 0) & (lead > 0) | (new < 0) & (lead < 0))
    away = flipped & ~towards & (lead != 0)
    return {Why.TOWARDS.value: towards, Why.AWAY.value: away, Why.FLIPPED.value: flipped & (lead == 0)}


def _lead(columns: Columns) -> Array:
    """As ComparisonQuerySet.with_lead: above 0 where a is preferred, below 0 for b."""
    lead: Array = columns.pairs["lead"].copy()
    reviewed = columns.pairs["method"] == REVIEWED
    outcome = columns.pairs["outcome"]
    lead[reviewed] = 0
    lead[reviewed & (outcome == OUTCOMES.index(Outcome.A))] = 1
    lead[reviewed & (outcome == OUTCOMES.index(Outcome.B))] = -1
    return lead


def _among(dataset: Dataset, columns: Columns, has: Mapping[str, Array], filters: Filters) -> Array:
    """Which pairs are in the queue and pass all filters but the selection. has: the pairs by reason."""
    pairs = columns.pairs
    among = _in_queue(columns, has, filters)
    if filters.unsettled:
        among &= pairs["method"] != REVIEWED
    if filters.why:
        among &= has.get(filters.why, False)
    if filters.source:
        number = columns.words["source"].numbers.get(filters.source, -1)
        among &= (pairs["source_a"] == number) | (pairs["source_b"] == number)
    if filters.lengths:
        among &= _of_lengths(columns, filters.lengths)
    if filters.group:
        among &= (columns.prompts["group"] == digest_key(filters.group))[pairs["of"]]
    if filters.prompts is not None:
        among &= np.isin(columns.prompts["pk"], list(filters.prompts))[pairs["of"]]
    if filters.annotator is not None:
        among &= _judged_by(filters.annotator, dataset, columns)
    return among


def _judged_by(annotator: int, dataset: Dataset, columns: Columns) -> Array:
    votes = columns.many["voter"]
    pairs: Any = votes["pair"][votes["word"] == annotator]
    if not len(pairs):  # the columns have the votes of people, not those of an imported label source
        judged = Judgment.objects.of(dataset).current().filter(annotator=annotator).order_by()
        pairs = list(judged.values_list("comparison", flat=True))
    return np.isin(columns.pairs["pk"], pairs)


def _in_queue(columns: Columns, has: Mapping[str, Array], filters: Filters) -> Array:
    """As ComparisonQuerySet.in_queue and in_disagreement; with `old`, all pairs whose pick has changed."""

    def any_of(*names: str) -> Array:
        return np.asarray(np.logical_or.reduce([has[name] for name in names]))

    if filters.old:
        return any_of(Why.TOWARDS, Why.AWAY, Why.FLIPPED)
    is_open = np.asarray(columns.pairs["method"] != REVIEWED)
    of_people = np.asarray(is_open & any_of("people", "mixed", "changed", "flagged", "repeat") | has["gold"])
    labels = np.asarray(is_open & has["labels"] & ~of_people)
    of_model = np.asarray(is_open & any_of("model", "file") & ~of_people & ~labels)
    masks = {ReviewQueue.PEOPLE: of_people, ReviewQueue.LABELS: labels, ReviewQueue.MODEL: of_model}
    return masks[ReviewQueue(filters.queue)] if filters.queue else of_people | labels | of_model


def _of_lengths(columns: Columns, kind: str) -> Array:
    longer, shorter = columns.pairs["longer"], columns.pairs["shorter"].astype(np.int64)
    return np.asarray(longer <= shorter * 1.25 if kind == Lengths.ALIKE else longer >= shorter * 2)


def _sources(columns: Columns, cases: Array) -> dict[str, int]:
    names = columns.words["source"].names
    a, b = columns.pairs["source_a"][cases], columns.pairs["source_b"][cases]
    counts = np.bincount(a, minlength=len(names)) + np.bincount(b[a != b], minlength=len(names))
    return {name: int(n) for name, n in zip(names, counts, strict=True) if name and n}


def _voters(columns: Columns, cases: Array) -> dict[str, int]:
    votes = columns.many["voter"]
    voters = votes["word"][np.isin(votes["pair"], columns.pairs["pk"][cases])]
    return {str(key): n for key, n in Counter(voters.tolist()).items()}
