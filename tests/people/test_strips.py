"""The People page shows how each person works in a strip of small pictures."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import AnnotatorFactory, ComparisonFactory, CompletionFactory, JudgmentFactory
from workbench.models import Decision, Judgment
from workbench.pipeline.people import work

pytestmark = pytest.mark.django_db


def strips(client, dataset):
    return {strip.name: strip for strip in client.get(reverse("people", args=[dataset.pk])).context["strips"]}


def judged(dataset, annotator, n=12, **fields):
    for _ in range(n):
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator, **fields)


def test_votes_stand_on_their_days_and_older_ones_do_not(dataset, bob):
    annotator = AnnotatorFactory.create(user=bob)
    judged(dataset, annotator, 5)
    for place, age in enumerate((0, 0, 1, 13, 14)):
        judgment = Judgment.objects.order_by("pk")[place]
        Judgment.objects.filter(pk=judgment.pk).update(created_at=timezone.now() - timedelta(days=age))

    (days,) = work.votes_by_day(dataset).values()

    assert days == [1, *[0] * 11, 1, 2]


def test_reading_takes_the_characters_of_two_answers_at_the_published_pace(dataset):
    CompletionFactory.create(prompt__dataset=dataset, text="x" * 240)

    assert work.reading_seconds(dataset) == 20


def test_who_answers_in_less_than_half_the_time_of_reading_is_marked(
    dataset, alice, bob, rita, as_user, store_figures
):
    for _ in range(30):
        CompletionFactory.create(prompt__dataset=dataset, text="x" * 2_000)
    judged(dataset, AnnotatorFactory.create(user=bob), seconds=0.5)
    judged(dataset, AnnotatorFactory.create(user=rita), seconds=200.0)
    store_figures(dataset)

    shown = strips(as_user(alice), dataset)

    assert {name: strip.hurries for name, strip in shown.items()} == {"bob": True, "rita": False}
    html = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()
    assert html.count("faster than reading") == 1


def test_a_reviewer_who_only_settles_has_a_strip_with_their_cases(dataset, alice, rita, as_user):
    for undone_by in (None, None, rita):
        Decision.objects.create(
            comparison=ComparisonFactory.create(prompt__dataset=dataset),
            outcome="a",
            method="reviewer",
            decided_by=rita,
            undone_by=undone_by,
            is_current=undone_by is None,
        )

    shown = strips(as_user(alice), dataset)

    assert {name: (strip.settled, strip.votes) for name, strip in shown.items()} == {"rita": (2, 0)}


def test_without_work_there_are_no_strips(dataset, alice, bob, as_user):
    assert (
        "How each person works"
        not in as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()
    )
