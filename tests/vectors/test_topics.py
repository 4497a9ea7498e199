"""Prompts of like meaning are one topic, named by their words, with figures of that topic alone."""

import re

import numpy as np
import pytest
from django.urls import reverse

from tests.factories import ComparisonFactory, CompletionFactory, DatasetFactory, JudgmentFactory, RunFactory
from tests.vectors.conftest import ENCODER, prompt
from workbench.models import Dataset, Prompt, Run, Topic
from workbench.pipeline.data.columns import columns_of
from workbench.pipeline.data.finding import Selection, find
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.topics import figures
from workbench.pipeline.topics import run as topics
from workbench.pipeline.topics.naming import Words
from workbench.pipeline.topics.placing import place_new
from workbench.worker import tasks

pytestmark = pytest.mark.django_db

THEMES = {
    "cake": "What does the {} chocolate cake need in the oven?",
    "harbour": "When does the {} ferry leave the harbour?",
    "Python": "Why does the {} Python loop print numbers?",
}
ADJECTIVES = (
    "first", "second", "small", "large", "old", "new", "cheap", "red", "green", "blue", "best", "next",
    "last",
)  # fmt: skip


@pytest.fixture
def planted(dataset, encoded, monkeypatch) -> dict[str, list[Prompt]]:
    """Three clusters of 13 prompts; the largest has one prompt more."""
    monkeypatch.setattr(topics, "number_of_topics", lambda prompts: 3)
    made = {
        theme: [prompt(dataset, text.format(adjective)) for adjective in ADJECTIVES]
        for theme, text in THEMES.items()
    }
    made["cake"].append(prompt(dataset, "Which oven bakes the cake with chocolate?"))
    encoded(dataset)
    return made


def clustered(dataset: Dataset) -> Run:
    run = RunFactory.create(dataset=dataset, kind="topics")
    tasks.carry_out(run.pk)
    run.refresh_from_db()
    return run


def topics_of(prompts: list[Prompt]) -> set[int]:
    return set(Prompt.objects.filter(pk__in=[each.pk for each in prompts]).values_list("topic", flat=True))


def test_planted_clusters_are_found_and_named_by_their_words(dataset, planted):
    run = clustered(dataset)

    assert (run.state, run.error, run.result) == ("done", "", {"topics": 3, "texts": 40})
    assert run.progress == "40 of 40 prompts"
    words_of_theme = {
        "cake": {"cake", "chocolate", "oven", "need"},
        "harbour": {"ferry", "harbour", "leave", "when"},
        "Python": {"python", "loop", "print", "numbers", "why"},
    }
    of = {theme: topics_of(prompts) for theme, prompts in planted.items()}
    assert [len(each) for each in of.values()] == [1, 1, 1]
    assert len(set.union(*of.values())) == 3
    for theme, (pk,) in of.items():
        topic = Topic.objects.get(pk=pk)
        words = topic.name.split(", ")
        assert set(words) <= words_of_theme[theme]
        assert not {"the", "does"} & set(words)
        assert 2 <= len(words) <= 3
        assert topic.size == len(planted[theme])
    assert Topic.objects.largest_first().first().number == 1


def test_topics_keep_their_numbers_when_they_are_computed_again(dataset, planted, encoded):
    clustered(dataset)
    numbers = {theme: topics_of(prompts) for theme, prompts in planted.items()}
    for adjective in ADJECTIVES:
        prompt(dataset, f"Where is the {adjective} Python loop that prints numbers, a loop of Python?")
    encoded(dataset)

    clustered(dataset)

    assert {theme: topics_of(prompts) for theme, prompts in planted.items()} == numbers
    assert not Prompt.objects.of(dataset).filter(topic=None).exists()


def test_a_topic_without_prompts_is_removed(dataset, planted, monkeypatch):
    clustered(dataset)
    monkeypatch.setattr(topics, "number_of_topics", lambda prompts: 2)

    clustered(dataset)

    assert Topic.objects.count() == 2
    assert {topic.prompts.count() for topic in Topic.objects.all()} == {
        topic.size for topic in Topic.objects.all()
    }


@pytest.mark.parametrize(("prompts", "number"), [(10, 2), (72, 6), (800, 20), (200_000, 60)])
def test_the_number_of_topics_follows_the_stated_rule(prompts, number):
    assert topics.number_of_topics(prompts) == number


def test_topics_begin_when_a_quarter_of_the_prompts_is_new(dataset, planted, encoded):
    assert topics.begin_if_due(DatasetFactory.create()) is None
    first = topics.begin_if_due(dataset)
    assert first == topics.begin_if_due(dataset)
    tasks.carry_out(first.pk)

    assert topics.begin_if_due(dataset) is None
    for number in range(14):
        prompt(dataset, f"Is {number} a prime number?")
    assert topics.begin_if_due(dataset) is not None


def test_a_new_prompt_joins_the_nearest_topic_with_its_vector(dataset, planted, encoded, monkeypatch):
    clustered(dataset)
    columns_of(dataset, None)
    new = {theme: prompt(dataset, text.format("latest")) for theme, text in THEMES.items()}
    monkeypatch.setattr(tasks.encoders, "load_encoder", lambda: ENCODER)

    tasks.carry_out(RunFactory.create(dataset=dataset, kind="vectors").pk)

    for theme, added in new.items():
        assert topics_of([added]) == topics_of(planted[theme])
        topic = Topic.objects.get(pk=topics_of([added]).pop())
        assert topic.size == topic.prompts.count() == len(planted[theme]) + 1
        assert added.pk in found_in(dataset, f"topic={topic.number}")
    assert not Run.objects.of(dataset).open().exists()


def test_topics_begin_again_by_themselves_although_each_new_prompt_has_one(
    dataset, planted, encoded, monkeypatch
):
    clustered(dataset)
    for number in range(14):
        prompt(dataset, f"Is {number} a prime number?")
    monkeypatch.setattr(tasks.encoders, "load_encoder", lambda: ENCODER)

    tasks.carry_out(RunFactory.create(dataset=dataset, kind="vectors").pk)

    assert not Prompt.objects.of(dataset).filter(topic=None).exists()
    assert Run.objects.of_kind(Run.Kind.TOPICS).open().count() == 1


def test_a_prompt_that_comes_while_topics_are_computed_joins_the_nearest(
    dataset, planted, encoded, monkeypatch
):
    late = []
    names = topics._names

    def meanwhile(*args: object) -> list[str]:
        late.append(prompt(dataset, THEMES["harbour"].format("latest")))
        encoded(dataset)
        return names(*args)

    monkeypatch.setattr(topics, "_names", meanwhile)
    clustered(dataset)

    assert topics_of(late) == topics_of(planted["harbour"])


def test_a_prompt_without_a_vector_and_one_of_a_dataset_without_topics_get_none(dataset, planted, encoded):
    elsewhere = DatasetFactory.create()
    lonely = prompt(elsewhere, "What is new?")
    encoded(elsewhere)
    clustered(dataset)
    unread = prompt(dataset, "What is this?")

    assert (place_new(dataset), place_new(elsewhere)) == (0, 0)
    assert topics_of([lonely, unread]) == {None}


def test_the_data_page_knows_new_topics_at_once(dataset, planted):
    assert found_in(dataset, "topic=1") == []

    clustered(dataset)

    assert len(found_in(dataset, "topic=1")) == 14


def found_in(dataset: Dataset, query: str) -> list[int]:
    return find(dataset, Selection.parse(query, []), None).prompts.tolist()


def test_without_vectors_the_run_says_so(dataset):
    prompt(dataset, "What is new?")

    run = clustered(dataset)

    assert run.state == "failed"
    assert run.error == ("The prompts have no vectors yet. Topics follow by themselves once they are there.")


def test_a_run_that_is_killed_is_carried_out_again_from_the_start(dataset, planted, monkeypatch):
    monkeypatch.setattr(topics, "CHUNK", 5)
    run = RunFactory.create(dataset=dataset, kind="topics")
    run.start()
    beats = iter(range(100))
    beat = Run.update_progress

    def killed(self: Run, *args: object) -> bool:
        if next(beats) == 12:
            raise KeyboardInterrupt
        return beat(self, *args)

    monkeypatch.setattr(Run, "update_progress", killed)
    with pytest.raises(KeyboardInterrupt):
        lifecycle.carry_out(run, topics.carry_out)
    assert Prompt.objects.exclude(topic=None).exists()
    Run.objects.update(state="waiting")

    tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert run.state == "done"
    assert not Prompt.objects.filter(topic=None).exists()
    assert [len(topics_of(prompts)) for prompts in planted.values()] == [1, 1, 1]


def test_each_topic_has_the_figures_of_its_own_pairs(dataset, planted):
    clustered(dataset)
    for theme, outcomes in (("cake", "aa"), ("harbour", "ab")):
        for each in planted[theme][:13]:
            sides = CompletionFactory.create_batch(2, prompt=each)
            pair = ComparisonFactory.create(prompt=each, a=sides[0], b=sides[1])
            for outcome in outcomes:
                JudgmentFactory.create(comparison=pair, outcome=outcome)

    figures.measure(dataset)

    agreement = {
        theme: Topic.objects.get(pk=topics_of(prompts).pop()).figures["agreement"]
        for theme, prompts in planted.items()
    }
    assert (agreement["cake"]["value"], agreement["cake"]["n"]) == (1.0, 13)
    assert (agreement["harbour"]["value"], agreement["harbour"]["n"]) == (0.0, 13)
    assert agreement["Python"] == figures.NOTHING


def test_stop_words_of_several_languages_do_not_name_a_topic():
    words = Words(4)
    for number in range(30):
        words.add(0, f"How do I bake the cake number {number} in the oven?")
        words.add(1, f"When does the ferry {number} leave the harbour in the evening?")
        words.add(2, f"Wie wird der Kuchen {number} im Ofen mit der Sahne gebacken?")
        words.add(3, f"Wann fährt die Fähre {number} mit der Post aus dem Hafen?")

    names = [set(name.split(", ")) for name in words.names()]

    stop = {"the", "in", "do", "der", "die", "mit", "im", "aus", "wie"}
    assert [name & stop for name in names] == [set()] * 4
    assert "cake" in names[0] or "oven" in names[0]
    assert "kuchen" in names[2] or "ofen" in names[2]


def test_a_language_without_blanks_is_named_by_pairs_of_characters():
    words = Words(2)
    for _ in range(5):
        words.add(0, "如何烤蛋糕")
        words.add(1, "港口的渡轮")

    names = words.names()

    assert "蛋糕" in names[0].split(", ") or "烤蛋" in names[0].split(", ")
    assert not set(names[0].split(", ")) & set(names[1].split(", "))


def test_the_page_lists_topics_by_size_and_links_to_their_prompts(dataset, planted, as_user, rita):
    clustered(dataset)

    answer = as_user(rita).get(reverse("topics", args=[dataset.pk]))

    sizes = [topic.size for topic in answer.context["topics"]]
    assert sizes == [14, 13, 13]
    first = answer.context["topics"][0]
    assert f'href="{reverse("data", args=[dataset.pk])}?topic={first.number}">{first.name}</a>' in (
        answer.content.decode()
    )
    assert "Compute topics" not in answer.content.decode()


def test_the_topic_with_least_agreement_can_come_first(dataset, as_user, rita):
    for number, value in enumerate((0.9, None, 0.4), start=1):
        share = {"value": value, "low": value, "high": value, "n": 9}
        dataset.topics.create(number=number, name=f"topic {number}", size=1, figures={"agreement": share})

    answer = as_user(rita).get(reverse("topics", args=[dataset.pk]) + "?sort=agreement")

    assert [topic.number for topic in answer.context["topics"]] == [3, 1, 2]


def test_a_topic_with_few_votes_is_called_thin_and_one_below_the_others_disputed(dataset, as_user, rita):
    agreements = {"calm": (0.9, 0.85, 0.95, 90), "split": (0.5, 0.4, 0.6, 30), "new": (None, None, None, 3)}
    for number, (name, (value, low, high, n)) in enumerate(agreements.items(), 1):
        figure = {"value": value, "low": low, "high": high, "n": n}
        Topic.objects.create(dataset=dataset, number=number, name=name, size=9, figures={"agreement": figure})

    html = as_user(rita).get(reverse("topics", args=[dataset.pk])).content.decode()

    rows = re.findall(r'<th scope="row"><a [^>]*>(\w+)</a>(?: <span class="tag \w+">(\w+)</span>)?', html)
    assert rows == [("calm", ""), ("split", "disputed"), ("new", "thin")]


def test_an_admin_has_the_topics_computed(dataset, planted, as_user, alice, messages):
    as_user(alice).post(reverse("topics_renew", args=[dataset.pk]))

    assert Run.objects.of_kind(Run.Kind.TOPICS).get().state == "waiting"


@pytest.mark.parametrize("page", ["similar", "topics"])
def test_somebody_who_may_still_vote_sees_neither_page(page, dataset, planted, as_user, bob):
    assert as_user(bob).get(reverse(page, args=[dataset.pk])).status_code == 403


def test_the_page_of_similar_prompts_shows_the_nearest_first_with_an_answer(
    dataset, planted, encoded, as_user, rita
):
    asked, near = planted["harbour"][:2]
    CompletionFactory.create(prompt=near, text="The ferry leaves at nine.", source="rowan")
    encoded(dataset)

    answer = as_user(rita).get(reverse("similar", args=[dataset.pk]) + f"?prompt={asked.pk}")

    found = answer.context["found"]
    assert {row.prompt for row in found[:12]} == {each.pk for each in planted["harbour"][1:]}
    assert [row.similarity for row in found] == sorted((row.similarity for row in found), reverse=True)
    page = answer.content.decode()
    assert "The ferry leaves at nine." in page
    assert np.isclose(found[0].similarity, 7 / 8, atol=0.1)


def test_the_page_of_similar_answers_shows_the_prompts_of_the_nearest(dataset, encoded, as_user, rita):
    first = prompt(dataset, "What is for tea?", "A cake of chocolate.")
    second = prompt(dataset, "What is there?", "Chocolate, a cake of it.", "Nothing.")
    encoded(dataset)

    url = reverse("similar", args=[dataset.pk]) + f"?completion={first.completions.get().pk}"
    answer = as_user(rita).get(url)

    (row,) = answer.context["found"]
    assert (row.prompt, row.answer.pk) == (second.pk, second.completions.first().pk)


def test_a_prompt_of_another_dataset_is_not_shown(dataset, encoded, as_user, rita):
    elsewhere = prompt(DatasetFactory.create(), "A secret question?")
    encoded(elsewhere.dataset)

    answer = as_user(rita).get(reverse("similar", args=[dataset.pk]) + f"?prompt={elsewhere.pk}")

    assert "secret" not in answer.content.decode()
    assert "No prompt is chosen." in answer.content.decode()


@pytest.mark.parametrize("query", ["", "?prompt=x", "?prompt=99999999999999999999", "?completion=0"])
def test_an_odd_address_shows_how_to_choose_a_prompt(query, dataset, as_user, rita):
    answer = as_user(rita).get(reverse("similar", args=[dataset.pk]) + query)

    assert "No prompt is chosen." in answer.content.decode()


def test_where_vectors_are_missing_the_page_says_what_to_do(dataset, as_user, rita, settings):
    asked = prompt(dataset, "What is new?")
    url = reverse("similar", args=[dataset.pk]) + f"?prompt={asked.pk}"
    settings.ENCODER_FOLDER = "/nowhere"

    assert "/nowhere is no folder (ENCODER_FOLDER)." in as_user(rita).get(url).content.decode()

    settings.ENCODER_FOLDER = ""
    assert "This text is not compared yet." in as_user(rita).get(url).content.decode()
