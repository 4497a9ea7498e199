"""A compiled query gives the rows that its queryset gives, for any values."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from tests import factories
from workbench.db.compiled import Compiled
from workbench.models import Comparison, Judgment

pytestmark = pytest.mark.django_db


@Compiled
def comparisons_with_texts(pks: Collection[int]) -> QuerySet[Comparison]:
    is_judged = Exists(Judgment.objects.filter(comparison=OuterRef("pk")))
    comparisons = Comparison.objects.filter(pk__in=pks).select_related("prompt", "a", "b")
    return comparisons.annotate(is_judged=is_judged).order_by("-pk")


def test_objects_come_with_their_relations_annotations_and_converted_columns(django_assert_num_queries):
    first, second = factories.ComparisonFactory(), factories.ComparisonFactory()
    factories.JudgmentFactory(comparison=first)

    with django_assert_num_queries(1):
        rows = comparisons_with_texts([first.pk, second.pk])
        values = [(row.pk, row.prompt.messages, row.b.text, bool(row.is_judged)) for row in rows]

    assert values == [
        (second.pk, second.prompt.messages, second.b.text, False),
        (first.pk, first.prompt.messages, first.b.text, True),
    ]


def test_each_call_has_its_own_values_and_any_number_of_them():
    comparisons = factories.ComparisonFactory.create_batch(3)

    assert comparisons_with_texts([]) == []
    assert comparisons_with_texts.first([comparisons[1].pk]) == comparisons[1]
    assert comparisons_with_texts({comparison.pk for comparison in comparisons}) == comparisons[::-1]


def test_an_object_can_be_changed_and_saved_like_any_other():
    comparison = comparisons_with_texts.first([factories.ComparisonFactory().pk])

    comparison.external_id = "7"
    comparison.save()

    assert Comparison.objects.get().external_id == "7"


def test_keys_and_times_are_given_as_each_database_stores_them():
    @Compiled
    def sent_before(keys: Collection[UUID], now: datetime) -> QuerySet[Judgment]:
        return Judgment.objects.filter(idempotency_key__in=keys, created_at__lte=now)

    keys = [uuid4(), uuid4()]
    first, second = (factories.JudgmentFactory(idempotency_key=key) for key in keys)

    assert sent_before(keys, timezone.now()) == [first, second]
    assert sent_before(keys[1:], now=timezone.now()) == [second]
    assert sent_before(keys, timezone.now() - timedelta(days=1)) == []


def test_rows_of_values_list_are_what_values_list_gives():
    @Compiled
    def groups(pk: int) -> QuerySet[Comparison, tuple[int, str]]:
        return Comparison.objects.filter(pk=pk).values_list("pk", "prompt__group")

    comparison = factories.ComparisonFactory()

    assert [tuple(row) for row in groups(comparison.pk)] == [(comparison.pk, comparison.prompt.group)]


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(TypeError, match="pks"):
        comparisons_with_texts()
