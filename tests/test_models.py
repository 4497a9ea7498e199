import hashlib
import json
from dataclasses import fields

import pytest
from django.db import IntegrityError

from scoring import evaluate as scoring_evaluate
from scoring import preflight
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
    SuggestionFactory,
)
from workbench.models import Annotator, Comparison, Dataset, ModelVersion
from workbench.models.dataset import answer_digest, messages_digest
from workbench.models.evaluations import ModelFigures, SliceFigures
from workbench.models.runs import PreflightFacts, PreflightFinding, PreflightLengths
from workbench.pipeline.datasets.overview import sources_of
from workbench.pipeline.model.promotion import activate

pytestmark = pytest.mark.django_db


def test_a_pair_is_compared_once_whatever_the_order():
    comparison = ComparisonFactory.create()

    with pytest.raises(IntegrityError):
        Comparison.objects.create(
            dataset=comparison.dataset, prompt=comparison.prompt, a=comparison.b, b=comparison.a
        )


@pytest.mark.parametrize("text", ["", '"quoted" \\ \n\t\x01\x7f', "é\u2028\u200f🙂", "a, b], [c"])
def test_what_makes_two_prompts_the_same_never_changes(text):
    """Stored digests must equal the digests of later versions of this code."""
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": text}]
    quoted = json.dumps(text, ensure_ascii=False)
    framed = f'[{{"content":"s","role":"system"}},{{"content":{quoted},"role":"user"}}]'

    assert messages_digest(messages) == hashlib.sha256(framed.encode()).hexdigest()
    assert answer_digest(text) == messages_digest([{"role": "assistant", "content": text}])
    assert answer_digest(text) != messages_digest([{"role": "assistant", "content": text, "name": "b"}])
    assert messages_digest(messages, [{"name": "f"}]) not in (
        messages_digest(messages),
        messages_digest(messages, []),
    )


def test_an_annotator_has_one_current_judgment_of_a_comparison():
    judgment = JudgmentFactory.create()

    with pytest.raises(IntegrityError):
        JudgmentFactory.create(comparison=judgment.comparison, annotator=judgment.annotator)


def test_an_import_source_has_one_annotator_for_each_id():
    Annotator.objects.create(source="file.jsonl", external_id="7")

    with pytest.raises(IntegrityError):
        Annotator.objects.create(source="file.jsonl", external_id="7")


def test_one_version_is_active_and_activating_another_takes_over():
    old, new = ModelVersionFactory.create(state="active"), ModelVersionFactory.create()

    activate(new, reason="better")

    assert ModelVersion.objects.active() == new
    assert ModelVersion.objects.get(pk=old.pk).state == "registered"


def test_people_disagree_when_two_opinions_differ_and_cannot_judge_is_no_opinion():
    split, same, abstained = ComparisonFactory.create_batch(3)
    for comparison, outcomes in ((split, "ab"), (same, "aa")):
        for outcome in outcomes:
            JudgmentFactory.create(comparison=comparison, outcome=outcome)
    JudgmentFactory.create(comparison=abstained, outcome="a")
    JudgmentFactory.create(comparison=abstained, outcome="cannot_judge")

    assert list(Comparison.objects.people_disagree()) == [split]


def test_a_superseded_judgment_disagrees_with_nobody():
    annotator = AnnotatorFactory.create()
    old = JudgmentFactory.create(annotator=annotator, outcome="a", is_current=False)
    JudgmentFactory.create(comparison=old.comparison, annotator=annotator, outcome="b", supersedes=old)

    assert not Comparison.objects.people_disagree().exists()


def test_the_model_disagrees_only_where_its_own_suggestion_is_the_other_side():
    version, second_version = ModelVersionFactory.create_batch(2)
    against = JudgmentFactory.create(outcome="a").comparison
    SuggestionFactory.create(comparison=against, version=version, margin=-0.5)
    SuggestionFactory.create(comparison=against, version=second_version, margin=0.5)
    along = JudgmentFactory.create(outcome="b").comparison
    SuggestionFactory.create(comparison=along, version=version, margin=-0.5)

    assert list(Comparison.objects.model_disagrees(version)) == [against]
    assert not Comparison.objects.model_disagrees(second_version).exists()


def test_an_uncalibrated_version_gives_no_probability():
    suggestion = SuggestionFactory.create(margin=2.0)
    assert suggestion.probability is None

    suggestion.version.temperature = 2.0

    assert suggestion.probability == pytest.approx(0.7310586)


def test_people_go_on_with_the_old_suggestion_until_the_new_version_serves_the_dataset():
    old, new, never = ModelVersionFactory.create_batch(3)
    suggested = SuggestionFactory.create(version=old).comparison
    ScoreFactory.create(completion=suggested.a, version=old)
    SuggestionFactory.create(comparison=suggested, version=never)
    activate(old)
    activate(new, reason="better")

    SuggestionFactory.create(comparison=suggested, version=new)
    assert suggested.suggestions.to_show().get().version == old
    Dataset.objects.update(held_by=None)
    assert suggested.suggestions.to_show().get().version == new


def test_a_dataset_can_be_deleted_with_judgments_that_supersede_others():
    old = JudgmentFactory.create(is_current=False)
    JudgmentFactory.create(comparison=old.comparison, annotator=old.annotator, supersedes=old)

    old.comparison.dataset.delete()

    assert not Comparison.objects.exists()


def test_who_wrote_the_texts_of_a_dataset_is_known_as_soon_as_they_are_there(dataset):
    prompt = PromptFactory.create(dataset=dataset)
    for source in ("otter", "", "heron", "otter"):
        CompletionFactory.create(prompt=prompt, source=source)
    CompletionFactory.create(source="elsewhere")
    before = sources_of(dataset)

    CompletionFactory.create(prompt=prompt, source="crane")

    assert before == ["heron", "otter"]
    assert sources_of(dataset) == ["crane", "heron", "otter"]


@pytest.mark.parametrize(
    ("stored", "computed", "added"),
    [
        (ModelFigures, scoring_evaluate.Evaluation, {"calibrated_n"}),
        (SliceFigures, scoring_evaluate.Slice, set()),
        (PreflightFacts, preflight.Preflight, set()),
        (PreflightLengths, preflight.Lengths, set()),
        (PreflightFinding, preflight.Finding, set()),
    ],
)
def test_the_type_of_a_stored_result_has_the_keys_that_scoring_computes(stored, computed, added):
    """models/ may not import scoring, so the types stand twice."""
    assert set(stored.__annotations__) == {field.name for field in fields(computed)} | added
