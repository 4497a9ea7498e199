"""Pairs of a saved view come first in the annotators' queue, for everybody or for people whom it is given."""

from collections import Counter
from uuid import uuid4

import pytest
from django.urls import reverse

from tests.datasets.test_pages import sent
from tests.factories import AnnotatorFactory, ComparisonFactory, PromptFactory
from tests.votes import record_judgment
from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Judgment,
    PromptChange,
    SavedView,
    User,
    ViewPair,
)
from workbench.pipeline.annotate.answers import Answer
from workbench.pipeline.annotate.handout import next_claim
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def german(dataset: Dataset) -> Comparison:
    """The one pair of ten that a view finds."""
    for _ in range(9):
        ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset, language="en"))
    return ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset, language="de"))


def test_pairs_of_the_chosen_view_come_first_and_no_sample_counts_them_as_random(
    dataset, german, alice, as_user
) -> None:
    view = dataset.views.create(name="German", query="language=de", shared=True)
    as_user(alice).post(reverse("settings", args=[dataset.pk]), sent(dataset, first_view=view.pk))
    tasks.order_queue(dataset.pk)

    claim = next_claim(dataset, AnnotatorFactory.create())

    assert claim is not None
    assert (claim.comparison_id, claim.strategy, claim.propensity) == (german.pk, "chosen", None)


def test_a_view_that_is_deleted_puts_nothing_first(dataset, german, alice, as_user) -> None:
    view = dataset.views.create(name="German", query="language=de", shared=True)
    Dataset.objects.filter(pk=dataset.pk).update(first_view=view)
    tasks.reconcile()
    assert Comparison.objects.filter(priority__gt=0).get() == german

    as_user(alice).post(reverse("view_delete", args=[view.pk]))
    tasks.order_queue(dataset.pk)

    assert not Comparison.objects.filter(priority__gt=0).exists()


# --- views that are given to people -------------------------------------------------------------------------


def give(client, dataset: Dataset, user: User, *views: SavedView, **facts: str):
    """As the page of a person does, and the worker after it."""
    member = dataset.members.get(user=user)
    url = reverse("member_facts", args=[dataset.pk, member.pk])
    answer = client.post(url, {"views": [view.pk for view in views], "languages": "", "skills": "", **facts})
    tasks.order_queue(dataset.pk)
    return answer


def handed(dataset: Dataset, annotator: Annotator, most: int = 100) -> list[Comparison]:
    comparisons: list[Comparison] = []
    while len(comparisons) < most and (claim := next_claim(dataset, annotator)):
        record_judgment(annotator, claim.comparison, Answer("left", uuid4()), claim.pk)
        comparisons.append(claim.comparison)
    return comparisons


@pytest.fixture
def view(dataset: Dataset) -> SavedView:
    return dataset.views.create(name="German", query="language=de", shared=True)


def test_whoever_is_given_a_view_gets_its_pairs_first_then_the_others(
    dataset, german, view, alice, bob, as_user
):
    give(as_user(alice), dataset, bob, view)
    annotator = Annotator.objects.for_user(bob)

    claim = next_claim(dataset, annotator)

    assert (claim.comparison, claim.strategy, claim.propensity) == (german, "chosen", None)
    record_judgment(annotator, german, Answer("left", uuid4()), claim.pk)
    assert len(handed(dataset, annotator)) == 9


def test_a_view_that_is_taken_back_holds_from_the_next_request_on(dataset, german, view, alice, bob, as_user):
    Comparison.objects.exclude(pk=german.pk).update(random_rank=0.0)
    give(as_user(alice), dataset, bob, view)
    give(as_user(alice), dataset, bob)

    claim = next_claim(dataset, Annotator.objects.for_user(bob))

    assert claim.strategy == "random"
    assert not ViewPair.objects.exists()


def test_every_tenth_pair_comes_from_the_whole_queue_so_that_the_rest_never_waits_for_ever(
    dataset, view, alice, bob, as_user
):
    for language, number in (("de", 40), ("en", 40)):
        for _ in range(number):
            ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset, language=language))
    dataset.comparisons.filter(prompt__language="en").update(priority=2)
    give(as_user(alice), dataset, bob, view)

    got = [comparison.prompt.language for comparison in handed(dataset, Annotator.objects.for_user(bob), 20)]

    assert got == (["de"] * 9 + ["en"]) * 2


def test_pairs_of_a_given_view_go_to_exactly_as_many_people_as_all_others(
    dataset, german, view, alice, bob, as_user
):
    dataset.overlap = 2
    dataset.save()
    give(as_user(alice), dataset, bob, view)
    people = [Annotator.objects.for_user(bob), *AnnotatorFactory.create_batch(2)]

    for person in people:
        handed(dataset, person)

    votes = Counter(Judgment.objects.current().values_list("comparison", flat=True))
    assert (len(votes), set(votes.values())) == (10, {2})


def test_a_view_gives_nobody_a_pair_that_requires_what_they_lack(dataset, german, view, alice, bob, as_user):
    dataset.requires_prompt_language = True
    dataset.save()
    give(as_user(alice), dataset, bob, view)

    assert next_claim(dataset, Annotator.objects.for_user(bob)) is None
    give(as_user(alice), dataset, bob, view, languages="German")
    assert next_claim(dataset, Annotator.objects.for_user(bob)).comparison == german


def test_a_worker_follows_what_a_given_view_finds_and_drops_pairs_that_have_their_votes(
    dataset, german, view, alice, bob, as_user
):
    give(as_user(alice), dataset, bob, view)
    assert list(ViewPair.objects.values_list("comparison", flat=True)) == [german.pk]
    later = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset, language="de"))
    PromptChange.objects.all_of(dataset.pk)
    Comparison.objects.filter(pk=german.pk).update(claimed=1)

    tasks.reconcile()

    assert list(ViewPair.objects.values_list("comparison", flat=True)) == [later.pk]


def test_a_view_of_another_dataset_or_of_ones_own_cannot_be_given(dataset, alice, bob, as_user):
    elsewhere = Dataset.objects.create(name="Elsewhere").views.create(name="There", query="", shared=True)
    own = dataset.views.create(name="Mine", query="", owner=alice)

    for wrong in (elsewhere, own):
        assert give(as_user(alice), dataset, bob, wrong).status_code == 400
    assert not dataset.members.get(user=bob).views.exists()


def test_the_name_of_a_given_view_is_not_told_to_its_person(dataset, german, alice, bob, as_user):
    secret = dataset.views.create(name="Where people disagree", query="language=de", shared=True)
    give(as_user(alice), dataset, bob, secret)
    client = as_user(bob)

    for name, args in (("annotate", [dataset.pk]), ("annotate_own", [dataset.pk]), ("account_data", [])):
        answer = client.get(reverse(name, args=args))
        assert "Where people disagree" not in b"".join(answer).decode()
    assert (
        "Where people disagree"
        in as_user(alice)
        .get(reverse("person", args=[dataset.pk, dataset.members.get(user=bob).pk]))
        .content.decode()
    )


def test_metadata_keys_are_written_with_commas_and_become_filters(dataset, alice, as_user) -> None:
    PromptFactory.create(dataset=dataset, metadata={"level": "hard"})
    changes = sent(dataset, facet_keys=" level, subject ,level")

    as_user(alice).post(reverse("settings", args=[dataset.pk]), changes)

    dataset.refresh_from_db()
    assert dataset.facet_keys == ["level", "subject"]
    page = as_user(alice).get(reverse("data", args=[dataset.pk])).content.decode()
    assert "?meta.level=hard" in page


def test_more_metadata_keys_than_there_is_room_for_are_refused_and_none_is_dropped(
    dataset, alice, as_user
) -> None:
    changes = sent(dataset, facet_keys=", ".join(f"key{n}" for n in range(9)))

    page = as_user(alice).post(reverse("settings", args=[dataset.pk]), changes).content.decode()

    assert "At most 8; these are 9." in page
    dataset.refresh_from_db()
    assert dataset.facet_keys == []
