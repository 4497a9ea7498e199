"""Settings say what they do together: how many votes are to come, and the hours these take."""

import re

import pytest
from django import forms
from django.urls import reverse

from tests.datasets.test_life import sent
from tests.factories import AnnotatorFactory, ComparisonFactory, JudgmentFactory
from workbench.forms.datasets import DatasetForm
from workbench.models import Comparison, Dataset, Statistics
from workbench.pipeline.datasets import effort, overview
from workbench.pipeline.datasets.effort import Facts

pytestmark = pytest.mark.django_db


def words(dataset: Dataset, facts: Facts | None = None, **settings: object) -> str:
    for name, value in settings.items():
        setattr(dataset, name, value)
    return effort.in_words(dataset, facts or Facts({(None, 0): 1200}, 13.5))


def test_the_settings_are_said_in_one_sentence(dataset):
    assert words(dataset, overlap=2, gold_share=0.05) == (
        "Each pair is judged by 2 people; about 1 in 20 is gold; they come at random; the model is shown "
        "after the vote: 2,400 votes to come and 126 checks, about 9.5 hours at 14 s a vote."
    )


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"overlap": 1}, "Each pair is judged by 1 person; none is a check"),
        ({"overlap": 2, "max_overlap": 3}, "judged by 2 people, up to 3 where they disagree"),
        ({"overlap": 2, "max_overlap": 3}, "2,400 votes or more to come"),
        (
            {"overlap": 3, "single_vote_threshold": 0.9},
            "by 3 people, or by one where the model is 90 % sure of the same answer",
        ),
        ({"gold_share": 0.05, "repeat_share": 0.1}, "1 in 20 is gold and about 1 in 10 is asked again"),
        ({"blind_share": 0.0}, "the model is shown before the vote:"),
        ({"blind_share": 0.7}, "the model is shown before the vote on 30 % of pairs"),
        ({"order": "uncertain"}, "those the model is unsure of come first"),
        ({"order": "mixture", "random_share": 0.4}, "40 % come at random"),
    ],
)
def test_each_setting_has_its_part_in_the_sentence(dataset, settings, part):
    assert part in words(dataset, **settings)


def test_votes_that_are_given_are_not_asked_again_and_gold_takes_none(dataset):
    """Ten pairs without a vote, three with one, two with three, one that wants three, five of gold."""
    dataset.overlap = 2
    pairs = {(None, 0): 10, (None, 1): 3, (None, 3): 2, (3, 1): 1, (0, 0): 5}

    planned = effort.effort(dataset, Facts(pairs, 30.0))

    assert (planned.pairs, planned.votes, planned.checks) == (16, 20 + 3 + 2, 0)


def test_the_votes_to_come_are_those_that_the_overview_counts(dataset):
    for number in range(4):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        for annotator in AnnotatorFactory.create_batch(number):
            JudgmentFactory.create(comparison=comparison, annotator=annotator)
    Comparison.objects.filter(pk=comparison.pk).update(required=5)
    dataset.overlap = 2
    dataset.save()
    counted = overview.with_judging_counts(Dataset.objects.filter(pk=dataset.pk), None).get()

    planned = effort.effort(dataset, effort.facts_of(dataset))

    assert planned.votes == counted.wanted_count - counted.judged_count == 2 + 1 + 0 + 2


def test_hours_are_at_the_pace_of_the_dataset_and_else_say_that_they_are_assumed(dataset, store_figures):
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    stored = store_figures(dataset)
    before = effort.in_words(dataset, effort.facts_of(dataset))
    stored.report["seconds"]["all"]["value"] = 12.0
    Statistics.objects.filter(pk=stored.pk).update(report=stored.report)

    after = effort.in_words(dataset, effort.facts_of(dataset))

    assert comparison.dataset == dataset
    assert before.endswith("about 0 minutes at 30 s a vote (assumed).")
    assert after.endswith("about 0 minutes at 12 s a vote.")


def test_a_preset_fills_the_form_and_stores_nothing(dataset, alice, as_user):
    client = as_user(alice)

    html = client.get(reverse("settings", args=[dataset.pk]), {"preset": "careful"}).content.decode()

    assert "“Careful” is filled in below. Nothing is saved yet." in html
    assert "Each pair is judged by 2 people, up to 3 where they disagree" in html
    assert Dataset.objects.get(pk=dataset.pk).overlap == 1


@pytest.mark.parametrize("preset", effort.PRESETS)
def test_what_a_preset_fills_in_can_be_saved_and_is_then_in_use(preset, dataset, alice, as_user):
    client, url = as_user(alice), reverse("settings", args=[dataset.pk])
    filled = DatasetForm.with_preset(dataset, effort.settings_of(preset)).instance

    assert client.post(url, sent(filled)).status_code == 302

    dataset.refresh_from_db()
    assert effort.preset_of(dataset) == preset
    assert client.get(url).content.decode().count("in use</span>") == 1


def test_each_preset_says_what_it_costs(dataset, alice, as_user):
    ComparisonFactory.create_batch(10, prompt__dataset=dataset)

    html = as_user(alice).get(reverse("settings", args=[dataset.pk])).content.decode()

    assert [f"{n} votes, about" in html for n in (10, 20, 30)] == [True] * 3


def test_the_sentence_follows_the_form_and_stores_nothing(dataset, alice, as_user):
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    client, url = as_user(alice), reverse("settings", args=[dataset.pk])

    answers = [
        client.post(url, sent(dataset, preview="1", **change)).content.decode()
        for change in ({"overlap": 4}, {"overlap": 0})
    ]

    assert "judged by 4 people" in answers[0]
    assert "12 votes to come" in answers[0]
    assert "out of range" in answers[1]
    assert Dataset.objects.get(pk=dataset.pk).overlap == 1


def test_settings_of_a_large_dataset_open_at_once_and_the_sentence_follows(
    dataset, alice, as_user, monkeypatch
):
    monkeypatch.setattr(overview, "LARGE", 1)
    ComparisonFactory.create_batch(2, prompt__dataset=dataset)

    html = as_user(alice).get(reverse("settings", args=[dataset.pk])).content.decode()

    assert "Counting the votes to come" in html
    assert "delay:300ms, load" in html


def test_a_hint_has_twelve_words_at_most_and_a_number_an_example():
    fields = DatasetForm().fields

    hints = {name: str(field.help_text) for name, field in fields.items()}
    long = {name: hint for name, hint in hints.items() if len(re.findall(r"[\w.’]+", hint)) > 12}
    numbers = [
        name for name, field in fields.items() if isinstance(field, forms.IntegerField | forms.FloatField)
    ]

    assert long == {}
    assert [name for name in numbers if " = " not in hints[name]] == []
