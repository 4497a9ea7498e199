"""More pairs of the answers that there are: which ones, at what cost, and back again."""

import re
from itertools import combinations
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
)
from workbench.models import Act, Claim, Comparison, Completion, Dataset, Judgment, Strategy, Topic
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.data import more_pairs
from workbench.pipeline.data.more_pairs import Wanted

pytestmark = pytest.mark.django_db

SOURCES = ("rowan", "alder", "birch")


def answers(dataset: Dataset, *scores: float, version=None, **fields) -> list[Completion]:
    """A prompt with an answer of each of SOURCES, with these scores."""
    prompt = PromptFactory.create(dataset=dataset, **fields)
    made = [CompletionFactory.create(prompt=prompt, source=source) for source in SOURCES]
    for completion, score in zip(made, scores, strict=False):
        ScoreFactory.create(completion=completion, version=version, value=score)
    return made


def sources_of(comparison: Comparison) -> set[str]:
    return {comparison.a.source, comparison.b.source}


def make(dataset: Dataset, by, version=None, key=None, **wanted) -> Act | None:
    return more_pairs.make(dataset, Wanted(**wanted), version, by, key or uuid4())


def post(client: Client, dataset: Dataset, **chosen):
    return client.post(reverse("more_pairs", args=[dataset.pk]), chosen, follow=True)


def page(client: Client, dataset: Dataset, query: str = "") -> str:
    text = client.get(reverse("more_pairs", args=[dataset.pk]) + query).content.decode()
    return re.sub(r"<[^>]+>", "", " ".join(text.split()))


@pytest.fixture
def model(db):
    return ModelVersionFactory.create(state="active", temperature=1.0)


# --- which pairs --------------------------------------------------------------------------------------------


def test_only_answers_of_one_prompt_that_no_pair_joins_are_paired(dataset, alice):
    first, second, _ = answers(dataset)
    answers(dataset)
    ComparisonFactory.create(prompt=first.prompt, a=second, b=first)

    make(dataset, alice, per_prompt=9)

    assert dataset.comparisons.count() == 1 + 2 + 3
    assert all(pair.a.prompt_id == pair.b.prompt_id == pair.prompt_id for pair in dataset.comparisons.all())


def test_a_new_pair_is_in_the_order_of_the_digests_of_its_texts(dataset, alice):
    answers(dataset)

    make(dataset, alice, per_prompt=9)

    assert all(pair.a.sha256 < pair.b.sha256 for pair in dataset.comparisons.all())


def test_one_source_is_set_against_another(dataset, alice):
    for _ in range(3):
        answers(dataset)

    make(dataset, alice, source="birch", against="rowan")

    assert [sources_of(pair) for pair in dataset.comparisons.all()] == [{"birch", "rowan"}] * 3


def test_the_model_is_least_sure_of_the_pairs_that_come_first(dataset, alice, model):
    close = answers(dataset, 1.0, 1.1, 9.0, version=model)
    answers(dataset, 1.0, 5.0, 9.0, version=model)
    answers(dataset)

    make(dataset, alice, version=model, strategy=Strategy.UNCERTAIN, number=1)

    (pair,) = dataset.comparisons.all()
    assert {pair.a, pair.b} == set(close[:2])


def test_prompts_in_disagreement_get_more_pairs(dataset, alice):
    first, second, _ = answers(dataset)
    agreed = answers(dataset)
    disputed = ComparisonFactory.create(prompt=first.prompt, a=first, b=second)
    for outcome in "ab":
        JudgmentFactory.create(comparison=disputed, outcome=outcome)
    for _ in range(2):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=agreed[0].prompt))

    act = make(dataset, alice, strategy=Strategy.DISAGREEMENT, per_prompt=9)

    made = Comparison.objects.filter(pk__in=more_pairs.pairs_of(act))
    assert {pair.prompt_id for pair in made} == {first.prompt_id}


def scored(version, *rows: tuple[list[Completion], tuple[float, ...]]) -> None:
    for completions, values in rows:
        for completion, value in zip(completions, values, strict=True):
            ScoreFactory.create(completion=completion, version=version, value=value)


def test_two_models_disagree_on_the_pairs_of_which_each_prefers_the_other_answer(dataset, alice, model):
    other = ModelVersionFactory.create()
    first = answers(dataset, 3.0, 2.0, 1.0, version=model)
    scored(other, (first, (20.0, 30.0, 10.0)))

    make(dataset, alice, strategy=Strategy.DISAGREEMENT, models=(model, other), per_prompt=9)

    (pair,) = dataset.comparisons.all()
    assert {pair.a, pair.b} == set(first[:2])


def test_pairs_on_which_both_models_are_surest_come_first(dataset, alice, model):
    """The other model's scores are on a hundred times the scale: it must not outweigh the first."""
    other = ModelVersionFactory.create()
    one_is_sure = answers(dataset, 3.0, 0.0, version=model)[:2]
    both_are_sure = answers(dataset, 2.5, 0.0, version=model)[:2]
    scored(other, (one_is_sure, (0.0, 100.0)), (both_are_sure, (0.0, 900.0)))

    make(dataset, alice, strategy=Strategy.DISAGREEMENT, models=(model, other), number=1)

    (pair,) = dataset.comparisons.all()
    assert {pair.a, pair.b} == set(both_are_sure)


def test_answers_that_one_of_two_models_has_not_scored_get_no_pair(dataset, alice, model):
    answers(dataset, 3.0, 2.0, version=model)

    models = (model, ModelVersionFactory.create())

    assert make(dataset, alice, strategy=Strategy.DISAGREEMENT, models=models) is None


def test_a_topic_narrows_the_prompts(dataset, alice):
    topic = Topic.objects.create(dataset=dataset, number=1, name="soups")
    about = answers(dataset, topic=topic)
    answers(dataset)

    make(dataset, alice, topic=topic)

    assert [pair.prompt_id for pair in dataset.comparisons.all()] == [about[0].prompt_id]


def test_at_most_so_many_pairs_of_one_prompt_are_made(dataset, alice):
    for _ in range(4):
        answers(dataset)

    make(dataset, alice, per_prompt=2)

    assert dataset.comparisons.count() == 8


def test_an_excluded_prompt_and_an_empty_answer_get_no_pairs(dataset, alice):
    answers(dataset, excluded_from="queue")
    answers(dataset, excluded_from="both")
    empty = PromptFactory.create(dataset=dataset)
    CompletionFactory.create(prompt=empty, text="")
    CompletionFactory.create(prompt=empty)

    assert make(dataset, alice) is None
    assert not dataset.acts.exists()


def test_the_preview_shows_what_the_button_makes(dataset, alice):
    for _ in range(12):
        answers(dataset)
    wanted = Wanted(number=5)

    found = more_pairs.find(dataset, wanted, None)
    more_pairs.make(dataset, wanted, None, alice, uuid4())

    assert {(pair.a, pair.b) for pair in found.pairs} == set(dataset.comparisons.values_list("a", "b"))
    assert (len(found.pairs), found.possible) == (5, 36)


# --- the act ------------------------------------------------------------------------------------------------


def test_a_new_pair_has_its_suggestion_and_its_place_in_the_queue_at_once(dataset, alice, model):
    answers(dataset, 1.0, 3.0, version=model)

    make(dataset, alice, version=model, source="rowan", against="alder")

    pair = dataset.comparisons.get()
    assert abs(pair.suggestions.get(version=model).margin) == 2.0
    assert pair.uncertainty_rank is not None


def test_the_second_press_of_one_button_makes_nothing_more(dataset, alice, as_user):
    for _ in range(6):
        answers(dataset)
    client, key = as_user(alice), uuid4()

    for _ in range(2):
        post(client, dataset, number=2, key=key)

    assert dataset.comparisons.count() == 2
    assert dataset.acts.count() == 1


def test_the_act_is_in_the_history_with_its_number_of_pairs_and_prompts(dataset, alice):
    for _ in range(3):
        answers(dataset)

    act = make(dataset, alice, per_prompt=2)

    assert (act.kind, act.by, act.pair_count, act.prompt_count) == ("pairs", alice, 6, 3)
    assert act.on_prompts.count() == 3


def test_votes_on_pairs_made_because_they_are_hard_count_in_no_figure(dataset, alice, model):
    answers(dataset, 1.0, 1.1, version=model)
    answers(dataset, 1.0, 1.2, version=model)
    make(dataset, alice, version=model, strategy=Strategy.UNCERTAIN, number=1)
    make(dataset, alice, source="rowan", against="alder", number=1)
    bob = AnnotatorFactory.create()

    while claim := next_claim(dataset, bob):
        JudgmentFactory.create(comparison=claim.comparison, annotator=bob)
        Claim.objects.filter(pk=claim.pk).update(state="done")

    strategies = set(Claim.objects.values_list("comparison__strategy", "strategy"))
    assert strategies == {("uncertain", "uncertain"), ("random", "random")}
    assert Judgment.objects.independent(dataset).get().comparison.strategy == "random"


def test_undo_takes_all_pairs_back_while_nobody_has_begun_one(dataset, alice, as_user, model):
    answers(dataset, 1.0, 2.0, 3.0, version=model)
    act = make(dataset, alice, version=model, per_prompt=9)

    answer = as_user(alice).post(reverse("more_pairs_undo", args=[dataset.pk, act.pk]), follow=True)

    assert not dataset.comparisons.exists()
    assert "Removed 3 pairs." in answer.content.decode()
    act.refresh_from_db()
    assert act.undone_by == alice


@pytest.mark.parametrize("touch", ["claim", "vote", "flag", "gold", "decision"])
def test_a_pair_that_somebody_has_touched_stays_and_the_page_says_so(dataset, alice, as_user, touch):
    answers(dataset)
    act = make(dataset, alice, per_prompt=9)
    pair, bob = dataset.comparisons.first(), AnnotatorFactory.create()
    if touch == "claim":
        now = timezone.now()
        pair.claims.create(annotator=bob, slot=0, left="a", mode="blind", expires_at=now)
    elif touch == "vote":
        JudgmentFactory.create(comparison=pair)
    elif touch == "flag":
        pair.flags.create(annotator=bob, reason="other")
    elif touch == "gold":
        Comparison.objects.filter(pk=pair.pk).update(gold_outcome="a", required=0)
    else:
        pair.decisions.create(outcome="a", method="reviewer", decided_by=alice)
    client = as_user(alice)
    assert "1 begun: these stay" in page(client, dataset)

    answer = client.post(reverse("more_pairs_undo", args=[dataset.pk, act.pk]), follow=True).content.decode()

    assert list(dataset.comparisons.all()) == [pair]
    assert "Removed 2 pairs. 1 stay, as somebody has begun them." in answer
    assert "1 stayed, as somebody had begun them" in answer


def test_an_act_is_undone_once(dataset, alice):
    for _ in range(2):
        answers(dataset)
    act = make(dataset, alice, per_prompt=9)

    stayed = [more_pairs.undo(act, alice) for _ in range(2)]
    make(dataset, alice, per_prompt=9)
    more_pairs.undo(act, alice)

    assert stayed == [0, 0]
    assert dataset.comparisons.count() == 6


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_says_number_and_cost_before_anything_is_made(dataset, alice, as_user):
    Dataset.objects.filter(pk=dataset.pk).update(overlap=3)
    for _ in range(20):
        answers(dataset)

    shown = page(as_user(alice), dataset, "?number=20")

    assert "20 new pairs of 20 prompts, out of 60 possible pairs." in shown
    assert "They cost 60 votes, about 30 minutes: 3 votes a pair, 30 s a vote (assumed" in shown
    assert not dataset.comparisons.exists()


def test_the_button_makes_the_pairs(dataset, alice, as_user):
    for _ in range(4):
        answers(dataset)

    shown = post(as_user(alice), dataset, number=3, source="rowan", key=uuid4()).content.decode()

    assert "3 new pairs of 3 prompts. You can undo this below." in shown
    assert all("rowan" in sources_of(pair) for pair in dataset.comparisons.all())


def test_the_page_makes_pairs_of_two_models_and_says_of_which(dataset, alice, as_user, model):
    other = ModelVersionFactory.create(name="alder-2")
    scored(other, (answers(dataset, 3.0, 2.0, version=model)[:2], (1.0, 5.0)))
    client, chosen = as_user(alice), {"strategy": "models", "model": model.pk, "other_model": other.pk}

    shown = page(client, dataset, f"?strategy=models&model={model.pk}&other_model={other.pk}")
    html = client.get(reverse("more_pairs", args=[dataset.pk]), chosen).content.decode()
    made = post(client, dataset, **chosen, key=uuid4()).content.decode()

    assert "1 new pair" in shown
    assert re.search(r"margins -?1\.00 and -?4\.00", shown)
    assert '<input type="hidden" name="strategy" value="models">' in html
    assert f"where {model} and alder-2 prefer different answers" in made
    assert dataset.comparisons.get().strategy == "disagreement"


def test_votes_on_pairs_of_two_models_do_not_calibrate_a_model(dataset, alice, model):
    other = ModelVersionFactory.create()
    scored(other, (answers(dataset, 3.0, 2.0, version=model)[:2], (1.0, 5.0)))
    make(dataset, alice, version=model, strategy=Strategy.DISAGREEMENT, models=(model, other))
    bob = AnnotatorFactory.create()
    claim = next_claim(dataset, bob)
    JudgmentFactory.create(comparison=claim.comparison, annotator=bob)

    assert not Judgment.objects.not_picked(Strategy.DISAGREEMENT).exists()
    assert not Judgment.objects.independent(dataset).exists()


@pytest.mark.parametrize("chosen", [(), ("model",), ("model", "other_model")])
def test_one_model_against_none_or_itself_is_refused(dataset, alice, as_user, model, chosen):
    answers(dataset, 1.0, 2.0, version=model)

    answer = post(as_user(alice), dataset, strategy="models", **dict.fromkeys(chosen, model.pk))

    assert answer.status_code == 400
    assert "Choose two different models." in answer.content.decode()
    assert not dataset.comparisons.exists()


def test_a_model_that_has_scored_nothing_here_is_named_with_the_command_that_scores(
    dataset, alice, as_user, model
):
    answers(dataset, 1.0, 2.0, version=model)
    other = ModelVersionFactory.create(name="alder-2")

    shown = page(as_user(alice), dataset, f"?strategy=models&model={model.pk}&other_model={other.pk}")

    assert "alder-2 has scored no answers here" in shown
    assert "--model alder-2" in shown


def test_a_source_against_itself_is_refused(dataset, alice, as_user):
    answers(dataset)

    answer = post(as_user(alice), dataset, source="rowan", against="rowan")

    assert answer.status_code == 400
    assert "Choose two different sources" in answer.content.decode()


def test_where_every_pair_is_there_the_page_says_so(dataset, alice, as_user):
    made = answers(dataset)
    for a, b in combinations(made, 2):
        ComparisonFactory.create(prompt=a.prompt, a=a, b=b)

    assert "Each two such answers have a pair already." in page(as_user(alice), dataset)


def test_the_page_asks_as_often_for_a_hundred_prompts_as_for_one(dataset, alice, as_user):
    client, asked = as_user(alice), []

    for number in (1, 40):
        for _ in range(number):
            answers(dataset)
            make(dataset, alice, number=1)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(client, dataset, "?per_prompt=5")
        asked.append(len(queries))

    assert asked[0] == asked[1] <= 15
