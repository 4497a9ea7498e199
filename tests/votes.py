"""Votes on pairs, as tests give them."""

from workbench.models import Annotator, Comparison, Judgment
from workbench.pipeline.annotate.answers import Answer, record


def record_judgment(
    annotator: Annotator, comparison: Comparison, answer: Answer, claim_pk: int | None = None
) -> Judgment:
    """Store the answer to a pair and return its one Judgment."""
    return record(annotator, comparison, answer, (), claim_pk)[0]
