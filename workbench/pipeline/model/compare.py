"""Two ModelVersions on the same pairs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import scoring.evaluate
from scoring.evaluate import PairedComparison
from workbench.db.bulk import given, in_chunks
from workbench.models import Comparison, ModelVersion
from workbench.pipeline.model.margins import stored_margins
from workbench.pipeline.model.pairs import KnownPairs, counted_in_words
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.accuracy import Ceiling, Vector

CHUNK = 5_000


@dataclass(frozen=True)
class Compared:
    """Two versions on the same pairs. `lacking`: pairs that still lack a Score of one of them; `empty`: pairs
    with an empty answer, which no model scores; `learnt`: pairs of prompts that a version has learnt; the
    others see KnownPairs."""

    paired: PairedComparison
    lacking: int
    empty: int
    learnt: int
    counted: Mapping[str, int]
    set_aside: Mapping[str, int]
    ceiling: Ceiling

    @property
    def warning(self) -> str:
        """A sentence where the better version is above the human ceiling, else ""."""
        accuracies = (self.paired.new_accuracy, self.paired.old_accuracy)
        return self.ceiling.warning(max((share for share in accuracies if share is not None), default=None))

    @property
    def remarks(self) -> str:
        """Sentences: what the pairs are, and what was left out."""
        left_out = accuracy.left_out_in_words(self.learnt, dict(self.set_aside), of="one of the two")
        empty = f"Left out: {self.empty:,} pair{'s' * (self.empty != 1)} with an empty answer."
        return " ".join(filter(None, (counted_in_words(self.counted), left_out, empty if self.empty else "")))


def compare(new: ModelVersion, old: ModelVersion, pairs: KnownPairs) -> Compared:
    """The two versions on the pairs that both have scored and neither has learnt."""
    unseen = pairs.unseen_by(pairs.seen_by(new)).unseen_by(pairs.seen_by(old))
    new_margins, old_margins = stored_margins(new, unseen), stored_margins(old, unseen)
    both = np.isfinite(new_margins) & np.isfinite(old_margins)
    scored = unseen.only(both, "not scored by both")
    unscored = [pair.key for pair, is_scored in zip(unseen, both, strict=True) if not is_scored]
    empty = sum(
        Comparison.objects.filter(pk__in=given(chunk)).with_an_empty_answer().count()
        for chunk in in_chunks(unscored, CHUNK)
    )
    return Compared(
        paired=paired_comparison(new, old, new_margins[both], old_margins[both], scored),
        lacking=len(unscored) - empty,
        empty=empty,
        learnt=pairs.decided - unseen.decided,
        counted=scored.counted,
        set_aside=pairs.set_aside,
        ceiling=pairs.ceiling,
    )


def paired_comparison(
    new: ModelVersion, old: ModelVersion, new_margins: Vector, old_margins: Vector, pairs: KnownPairs
) -> PairedComparison:
    return scoring.evaluate.compare(
        new_margins,
        old_margins,
        pairs.outcomes,
        pairs.groups,
        temperatures=(new.temperature or 1.0, old.temperature or 1.0),
        slices=pairs.slices(),
    )
