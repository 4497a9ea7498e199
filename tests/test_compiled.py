"""Queries that are compiled once give what their querysets give, whatever they are given."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import BigAutoField, DateTimeField, Exists, OuterRef, UUIDField
from django.utils import timezone

from tests import factories
from workbench.db.compiled import Compiled, Given, GivenMany
from workbench.models import Comparison, Judgment

pytestmark = pytest.mark.django_db

WITH_ALL = Compiled(
    lambda: (
        Comparison.objects.filter(pk__in=GivenMany("pks", BigAutoField()))
        .select_related("prompt", "a", "b")
        .annotate(is_judged=Exists(Judgment.objects.filter(comparison=OuterRef("pk"))))
        .order_by("-pk")
    )
)


def test_objects_come_with_their_relations_annotations_and_converted_columns(django_assert_num_queries):
    first, second = factories.ComparisonFactory(), factories.ComparisonFactory()
    factories.JudgmentFactory(comparison=first)

    with django_assert_num_queries(1):
        found = WITH_ALL.objects(pks=[first.pk, second.pk])
        told = [(each.pk, each.prompt.messages, each.b.text, bool(each.is_judged)) for each in found]

    assert told == [
        (second.pk, second.prompt.messages, second.b.text, False),
        (first.pk, first.prompt.messages, first.b.text, True),
    ]


def test_each_call_has_its_own_values_and_as_many_as_it_likes():
    made = factories.ComparisonFactory.create_batch(3)

    assert WITH_ALL.objects(pks=[]) == []
    assert WITH_ALL.first(pks=[made[1].pk]) == made[1]
    assert WITH_ALL.objects(pks={each.pk for each in made}) == made[::-1]


def test_an_object_can_be_changed_and_saved_like_any_other():
    comparison = factories.ComparisonFactory()
    found = WITH_ALL.first(pks=[comparison.pk])

    found.external_id = "7"
    found.save()

    assert Comparison.objects.get().external_id == "7"


def test_keys_and_times_are_given_as_each_database_stores_them():
    keys = [uuid4(), uuid4()]
    first, second = (factories.JudgmentFactory(idempotency_key=key) for key in keys)
    before = Compiled(
        lambda: Judgment.objects.filter(
            idempotency_key__in=GivenMany("keys", UUIDField()), created_at__lte=Given("now", DateTimeField())
        )
    )

    assert before.objects(keys=keys, now=timezone.now()) == [first, second]
    assert before.objects(keys=keys[1:], now=timezone.now()) == [second]
    assert before.objects(keys=keys, now=timezone.now() - timedelta(days=1)) == []


def test_rows_are_what_values_list_gives():
    comparison = factories.ComparisonFactory()
    pairs = Compiled(
        lambda: Comparison.objects.filter(pk=Given("pk", BigAutoField())).values_list("pk", "prompt__group")
    )

    assert [tuple(row) for row in pairs.rows(pk=comparison.pk)] == [(comparison.pk, comparison.prompt.group)]


def test_a_value_that_is_not_given_is_an_error():
    with pytest.raises(KeyError, match="pks"):
        WITH_ALL.objects(keys=[1])
