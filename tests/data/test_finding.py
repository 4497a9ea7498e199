"""What a selection finds, and how many prompts each further value would leave."""

import pytest
from django.urls import reverse

from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import Dataset, PromptChange, SavedView
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Found, Selection, find
from workbench.pipeline.data.search_index import reindex
from workbench.pipeline.datasets import overview

pytestmark = pytest.mark.django_db


@pytest.fixture
def version():
    return ModelVersionFactory.create(state="active", temperature=1.0)


def found_in(dataset: Dataset, query: str, version=None) -> Found:
    return find(dataset, Selection.parse(query, dataset.facet_keys), version)


def counts(found: Found, name: str) -> dict[str, int]:
    return {
        value.value: value.count for facet in found.facets for value in facet.values if value.name == name
    }


def test_values_of_one_field_are_alternatives_and_fields_combine() -> None:
    dataset = DatasetFactory.create()
    long_en = PromptFactory.create(dataset=dataset, characters=600, language="en")
    short_en = PromptFactory.create(dataset=dataset, characters=20, language="en")
    short_de = PromptFactory.create(dataset=dataset, characters=20, language="de")

    assert found_in(dataset, "language=en").prompts.tolist() == [long_en.pk, short_en.pk]
    assert found_in(dataset, "language=en&language=de").prompts.tolist() == [
        long_en.pk, short_en.pk, short_de.pk,
    ]  # fmt: skip
    assert found_in(dataset, "language=en&length=0-99").prompts.tolist() == [short_en.pk]
    assert found_in(dataset, "length=21-").prompts.tolist() == [long_en.pk]


def test_a_count_is_of_what_all_other_fields_find() -> None:
    dataset = DatasetFactory.create()
    PromptFactory.create(dataset=dataset, characters=600, language="en")
    PromptFactory.create(dataset=dataset, characters=20, language="en")
    PromptFactory.create(dataset=dataset, characters=20, language="de")

    found = found_in(dataset, "language=en")

    assert counts(found, "language") == {"en": 2, "de": 1}
    assert counts(found, "length") == {"0-99": 1, "500-1999": 1}


def test_what_is_asked_of_pairs_must_hold_for_one_and_the_same_pair(version) -> None:
    dataset = DatasetFactory.create()
    prompt = PromptFactory.create(dataset=dataset)
    unsure, sure = ComparisonFactory.create_batch(2, prompt=prompt)
    SuggestionFactory.create(comparison=unsure, version=version, margin=0.05)
    SuggestionFactory.create(comparison=sure, version=version, margin=5)
    JudgmentFactory.create(comparison=sure)

    assert found_in(dataset, "margin=0-0.1&state=unjudged", version).pairs.tolist() == [unsure.pk]
    assert found_in(dataset, "margin=0-0.1&state=open", version).prompts.tolist() == []
    assert found_in(dataset, "confidence=90-", version).pairs.tolist() == [sure.pk]


def test_marks_must_all_hold(version) -> None:
    dataset = DatasetFactory.create()
    gold = ComparisonFactory.create(prompt__dataset=dataset, gold_outcome="a", required=0)
    flagged = ComparisonFactory.create(prompt__dataset=dataset, gold_outcome="a", required=0)
    flagged.flags.create(annotator=JudgmentFactory.create(comparison=flagged).annotator, reason="other")

    assert found_in(dataset, "gold=1").pairs.tolist() == [gold.pk, flagged.pk]
    assert found_in(dataset, "gold=1&flagged=1").pairs.tolist() == [flagged.pk]
    assert counts(found_in(dataset, "gold=1"), "flagged") == {"1": 1}


def test_sources_tags_and_chosen_metadata_are_words_of_a_prompt() -> None:
    dataset = DatasetFactory.create(facet_keys=["level"])
    prompt = PromptFactory.create(dataset=dataset, metadata={"level": 3})
    other = PromptFactory.create(dataset=dataset, metadata={"level": "easy"})
    CompletionFactory.create(prompt=prompt, source="alder")
    CompletionFactory.create(prompt=other, source="rowan")
    dataset.tags.create(name="odd").prompts.add(other)

    assert found_in(dataset, "source=alder").prompts.tolist() == [prompt.pk]
    assert found_in(dataset, "tag=odd").prompts.tolist() == [other.pk]
    assert found_in(dataset, "meta.level=3").prompts.tolist() == [prompt.pk]


def test_words_and_fields_combine() -> None:
    dataset = DatasetFactory.create()
    pump = PromptFactory.create(
        dataset=dataset, messages=[{"role": "user", "content": "What is a HEAT pump?"}], language="en"
    )
    pumpe = PromptFactory.create(
        dataset=dataset, messages=[{"role": "user", "content": "Was ist eine heat pump?"}], language="de"
    )
    reindex(dataset, [pump.pk, pumpe.pk])

    assert found_in(dataset, "q=heat+pump").prompts.tolist() == [pump.pk, pumpe.pk]
    assert found_in(dataset, "q=heat+pump&language=de").prompts.tolist() == [pumpe.pk]


def test_each_order_lists_every_prompt_once(version) -> None:
    dataset = DatasetFactory.create()
    sure = ComparisonFactory.create(prompt__dataset=dataset)
    unsure = ComparisonFactory.create(prompt__dataset=dataset)
    alone = PromptFactory.create(dataset=dataset)
    SuggestionFactory.create(comparison=sure, version=version, margin=3)
    SuggestionFactory.create(comparison=unsure, version=version, margin=0.1)
    prompts = [sure.prompt_id, unsure.prompt_id, alone.pk]

    assert found_in(dataset, "sort=unsure", version).prompts.tolist() == [prompts[1], prompts[0], prompts[2]]
    assert found_in(dataset, "sort=newest", version).prompts.tolist() == prompts[::-1]
    for sort in ("sure", "split", "votes", "long", "short", "answer", "answers"):
        assert sorted(found_in(dataset, f"sort={sort}", version).prompts.tolist()) == prompts


@pytest.mark.parametrize("query", ["colour=red", "length=long", "sort=random", "length=-", "q=a%00b"])
def test_a_selection_of_what_there_is_not_is_refused_with_a_sentence(query: str) -> None:
    dataset = DatasetFactory.create()
    with pytest.raises(BadSelection, match=r"\.$"):
        found_in(dataset, query)


def test_a_large_dataset_is_counted_while_the_page_is_there_already(dataset, rita, as_user, monkeypatch):
    monkeypatch.setattr(overview, "LARGE", 0)
    prompt = ComparisonFactory.create(prompt__dataset=dataset).prompt
    page = reverse("data", args=[dataset.pk])

    def is_counting() -> bool:
        return "Counting the prompts." in as_user(rita).get(page).content.decode()

    assert is_counting()
    as_user(rita).get(f"{page}?now=1")
    assert not is_counting()
    PromptChange.objects.note(dataset.pk, [prompt.pk])
    assert not is_counting()
    PromptChange.objects.all_of(dataset.pk)  # as an import does
    assert is_counting()
    as_user(rita).get(f"{page}?now=1")
    assert not is_counting()
    Dataset.objects.update(facet_keys=["level"])
    assert is_counting()


def test_a_view_is_saved_by_name_and_found_by_its_link(dataset, rita, alice, as_user) -> None:
    PromptFactory.create(dataset=dataset, language="en")
    sent = {"name": "English", "query": "language=en&page=2", "shared": "on"}

    answer = as_user(rita).post(reverse("view_save", args=[dataset.pk]), sent)

    assert answer.headers["Location"] == f"{reverse('data', args=[dataset.pk])}?language=en"
    assert SavedView.objects.get().query == "language=en"
    assert "English" in as_user(alice).get(reverse("data", args=[dataset.pk])).content.decode()


def test_a_view_of_ones_own_is_seen_by_nobody_else(dataset, rita, alice, as_user) -> None:
    as_user(rita).post(reverse("view_save", args=[dataset.pk]), {"name": "Mine alone", "query": "gold=1"})

    page = reverse("data", args=[dataset.pk])
    assert "Mine alone" in as_user(rita).get(page).content.decode()
    assert "Mine alone" not in as_user(alice).get(page).content.decode()
    view = SavedView.objects.get()
    assert as_user(alice).post(reverse("view_delete", args=[view.pk])).status_code == 404


def test_pairs_of_two_sources_are_found_in_either_order_whatever_the_names() -> None:
    dataset = DatasetFactory.create()

    def pair_of(one: str, other: str) -> int:
        prompt = PromptFactory.create(dataset=dataset)
        a, b = (CompletionFactory.create(prompt=prompt, source=source) for source in (one, other))
        return ComparisonFactory.create(prompt=prompt, a=a, b=b).pk

    first, second = pair_of("rowan", "alder"), pair_of("alder", "rowan")
    odd = pair_of("rowan", "us vs them")
    pair_of("rowan", "rowan")

    assert found_in(dataset, "sources=rowan+vs+alder").pairs.tolist() == [first, second]
    assert found_in(dataset, "sources=us+vs+them+vs+rowan").pairs.tolist() == [odd]
    assert found_in(dataset, "sources=rowan+vs+nobody").pairs.tolist() == []
    facets = {facet.name: facet.values for facet in found_in(dataset, "sources=rowan+vs+alder").facets}
    assert [value.words for value in facets["sources"]] == ["rowan vs alder"]
    assert "sources" not in {facet.name for facet in found_in(dataset, "").facets}
