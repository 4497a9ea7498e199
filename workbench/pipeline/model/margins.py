"""The margins of a ModelVersion on known pairs."""

import time
from collections.abc import Callable

import numpy as np

from scoring.formats import BadText, Pair, Scored, Scorer
from workbench.models import Comparison, Completion, ModelVersion
from workbench.pipeline.model.pairs import KnownPairs
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.accuracy import Vector
from workbench.pipeline.runs.progress import Cancelled, Progress, Refused, never_stop
from workbench.pipeline.scoring import batches

SCORED_AT_ONCE = 256

ScorerOf = Callable[[ModelVersion], Scorer]


def stored_margins(version: ModelVersion, pairs: KnownPairs) -> Vector:
    """(pairs,), by the Scores that are there; NaN where a Score is missing."""
    return accuracy.margins(version, [pair.key for pair in pairs])


def complete_margins(
    version: ModelVersion, pairs: KnownPairs, scorer_of: ScorerOf, progress: Progress = never_stop
) -> tuple[Vector, float | None]:
    """((pairs,) margins, texts scored a second). Missing Scores of the Dataset's own texts are computed and
    stored. NaN for a pair with a text that cannot be scored; the rate is None when nothing had to be scored.
    Scores of a version that is scored elsewhere are only read. Raises Cancelled, and Refused for texts
    outside the Dataset, which such a version cannot score."""
    if version.is_external:
        if any(pair.texts for pair in pairs):
            raise Refused(f"{version} is scored elsewhere: evaluate it on pairs of a dataset.")
        return stored_margins(version, pairs), None
    if any(pair.texts for pair in pairs):
        return _margins_of_texts(pairs, scorer_of(version), progress)
    margins = stored_margins(version, pairs)
    if not np.isnan(margins).any():
        return margins, None
    unscored = [pair.key for pair, margin in zip(pairs, margins, strict=True) if np.isnan(margin)]
    sides = Comparison.objects.filter(pk__in=unscored).values_list("a_id", "b_id")
    completion_ids = sorted({pk for row in sides for pk in row})
    rate = _score_missing(version, completion_ids, scorer_of(version), progress)
    return stored_margins(version, pairs), rate


def _score_missing(
    version: ModelVersion, completion_ids: list[int], score: Scorer, progress: Progress
) -> float | None:
    started, done = time.monotonic(), 0
    unscored = Completion.objects.filter(pk__in=completion_ids).lacking_score(version.pk)
    ids = list(unscored.values_list("pk", flat=True))
    for start in range(0, len(ids), SCORED_AT_ONCE):
        if not progress(done, len(ids)):
            raise Cancelled
        done += batches.score_now(version, ids[start : start + SCORED_AT_ONCE], score)
    seconds = time.monotonic() - started
    return done / seconds if done and seconds else None


def _margins_of_texts(pairs: KnownPairs, score: Scorer, progress: Progress) -> tuple[Vector, float | None]:
    texts = list(dict.fromkeys(text for pair in pairs for text in pair.texts or ()))
    started = time.monotonic()
    values: dict[Pair | None, float] = {}
    for start in range(0, len(texts), SCORED_AT_ONCE):
        if not progress(start, len(texts)):
            raise Cancelled
        chunk = texts[start : start + SCORED_AT_ONCE]
        values |= {text: scored.value for text, scored in _scored(chunk, score)}
    seconds = time.monotonic() - started
    sides = [pair.texts or (None, None) for pair in pairs]
    margins = np.array([values.get(a, np.nan) - values.get(b, np.nan) for a, b in sides], dtype=np.float64)
    return margins, len(texts) / seconds if seconds else None


def _scored(texts: list[Pair], score: Scorer) -> list[tuple[Pair, Scored]]:
    """Each text with its score, without the texts that cannot be scored."""
    scorable = list(texts)
    while scorable:
        try:
            return list(zip(scorable, score(scorable), strict=True))
        except BadText as bad:
            scorable.pop(bad.index)
    return []
