"""Suggestions: a model's pick for a pair, and none where both texts read the same to the model."""

from uuid import uuid4

import pytest

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    ModelVersionFactory,
    ScoreFactory,
    SuggestionFactory,
)
from tests.votes import record_judgment
from workbench.models import Claim, ModelVersion, Suggestion
from workbench.pipeline.annotate import queue, statements
from workbench.pipeline.annotate.answers import Answer
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.annotate.items import Item
from workbench.pipeline.scoring import suggestions

pytestmark = pytest.mark.django_db


@pytest.fixture
def model():
    return ModelVersionFactory.create(kind="transformer", state="active", max_length=64)


def scored(version, a: float, b: float, digests=(1, 2), dataset=None, **more):
    """A Comparison whose two texts have these Scores, of inputs with these digests."""
    comparison = ComparisonFactory.create(**({"prompt__dataset": dataset} if dataset else {}))
    for completion, value, digest in zip((comparison.a, comparison.b), (a, b), digests, strict=True):
        ScoreFactory.create(completion=completion, version=version, value=value, input_digest=digest, **more)
    return comparison


@pytest.mark.parametrize("apart", [0.0, 2e-7, 0.01])
def test_texts_that_read_the_same_to_a_model_get_no_suggestion_whatever_rounding_says(apart, model):
    comparison = scored(model, 1.5, 1.5 + apart, (7, 7))

    suggestions.suggest(model, [comparison.a_id, comparison.b_id])
    suggestions.suggest_all(comparison.dataset, model)

    assert not Suggestion.objects.exists()


@pytest.mark.parametrize(("apart", "outcome"), [(0.0, "tie"), (2e-9, "b"), (-2e-9, "a")])
def test_texts_that_differ_to_it_get_one_however_near_their_scores_are(apart, outcome, model):
    comparison = scored(model, 1e-6, 1e-6 + apart)

    suggestions.suggest(model, [comparison.a_id, comparison.b_id])

    assert comparison.suggestions.get().outcome == outcome
    assert suggestions.why_none(comparison, model) == ""


def test_a_rule_has_ties():
    longest = ModelVersion.objects.get(name="longest")
    comparison = scored(longest, 12, 12, (None, None))

    suggestions.suggest(longest, [comparison.a_id, comparison.b_id])

    assert comparison.suggestions.get().outcome == "tie"
    assert suggestions.why_none(comparison, longest) == ""


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        (0, "Both answers read the same to the model."),
        (9, "The model reads only 64 tokens, and both answers are the same up to there."),
    ],
)
def test_an_assisted_annotator_reads_why_there_is_none(cut, why, model, dataset):
    dataset.blind_share = 0
    dataset.save()
    scored(model, 1.5, 1.5, (7, 7), dataset, completion_cut=cut)

    claim = next_claim(dataset, AnnotatorFactory.create())

    assert claim.mode == Claim.Mode.ASSISTED
    assert Item(claim.comparison, claim, None, uuid4()).why_no_suggestion == why


def test_no_earlier_version_speaks_for_the_active_one_where_that_reads_both_alike(model, dataset):
    """Neither beside the pair, nor on the vote, nor in the order of the queue."""
    dataset.blind_share = 0
    dataset.save()
    comparison = scored(model, 1.5, 1.5, (7, 7), dataset)
    SuggestionFactory.create(
        comparison=comparison, version=ModelVersionFactory.create(state="registered", temperature=1.0)
    )

    annotator = AnnotatorFactory.create()
    claim = next_claim(dataset, annotator)
    judgment = record_judgment(annotator, comparison, Answer("left", uuid4()))
    queue.renew(dataset, [comparison.prompt.group])

    comparison.refresh_from_db()
    (shown,) = statements.comparison_with_texts(claim.comparison_id)
    assert (claim.suggestion, bool(shown.has_suggestion)) == (None, False)
    assert (judgment.suggested, judgment.version) == ("", None)
    assert comparison.uncertainty_rank is None
    assert not Suggestion.objects.to_show().exists()


def test_a_pair_that_is_not_scored_yet_has_no_reason(model):
    assert suggestions.why_none(ComparisonFactory.create(), model) == ""
