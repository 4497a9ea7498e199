"""Search in the time between an import and the moment when a worker has put its prompts into the index."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse

from tests.api.conftest import program_with, token_of
from tests.data.test_search import CASES, with_texts
from tests.factories import DatasetFactory
from workbench.models import Act, Dataset, Prompt, Run, SearchDocument
from workbench.pipeline import imports
from workbench.pipeline.data import search, search_index
from workbench.pipeline.data.search import BadQuery, NotYet, find, matching
from workbench.pipeline.data.search_index import index_some, index_waiting
from workbench.worker import tasks


def imported(dataset: Dataset, tmp_path, *rows: tuple[str, str, str]) -> None:
    """Stored as an import stores them, without what a worker does later."""
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(
            json.dumps(dict(zip(("prompt", "chosen", "rejected"), row, strict=True))) + "\n" for row in rows
        )
    )
    assert imports.import_file(file, dataset).accepted
    dataset.refresh_from_db()


def numbered(count: int, first: int = 0) -> list[tuple[str, str, str]]:
    return [(f"Question {n} of many?", f"Yes, {n}", f"No, {n}") for n in range(first, first + count)]


@pytest.fixture
def few_at_once(monkeypatch):
    monkeypatch.setattr(search, "LOOKED_THROUGH", 3)
    monkeypatch.setattr(search_index, "STEP", 4)
    monkeypatch.setattr(search_index, "PAUSE", 0)


def test_each_query_finds_the_same_before_and_after_a_worker_has_come(dataset):
    names = with_texts(dataset)
    Dataset.objects.filter(pk=dataset.pk).update(indexed_to=0)

    def found(query: str) -> object:
        try:
            found = find(dataset, query)
        except BadQuery:
            return BadQuery
        return set() if found.instead else {names[key] for key in found.keys.tolist()}

    for query, expected in CASES:
        assert found(query) == expected, query
    assert not SearchDocument.objects.exists()
    assert index_waiting(dataset.pk)
    for query, expected in CASES:
        assert found(query) == expected, query


def test_an_import_leaves_new_prompts_to_a_worker_and_a_search_finds_them_at_once(dataset, tmp_path):
    imported(dataset, tmp_path, ("What is heat?", "A form of energy", "Cold"))

    assert not SearchDocument.objects.exists()
    assert matching(dataset, "heat energy cold").tolist() == [Prompt.objects.get().pk]
    assert not len(matching(dataset, "heat -energy"))


def test_new_and_old_prompts_are_found_together_in_their_order(dataset, tmp_path):
    imported(dataset, tmp_path, ("What is heat?", "Energy", "Cold"))
    assert index_waiting(dataset.pk)

    imported(dataset, tmp_path, ("Where is heat?", "Here", "There"))

    assert matching(dataset, "heat").tolist() == list(
        Prompt.objects.order_by("pk").values_list("pk", flat=True)
    )
    assert find(dataset, "heat").waiting == 0


@pytest.mark.parametrize("is_indexed", [True, False])
def test_an_answer_added_to_a_prompt_is_found_whether_or_not_the_prompt_was_indexed(
    is_indexed, dataset, tmp_path
):
    imported(dataset, tmp_path, ("What is heat?", "Energy", "Cold"))
    if is_indexed:
        index_waiting(dataset.pk)

    imported(dataset, tmp_path, ("What is heat?", "Motion", "Cold"))

    assert len(matching(dataset, "heat energy motion")) == 1
    index_waiting(dataset.pk)
    assert len(matching(dataset, "heat energy motion")) == 1
    assert SearchDocument.objects.count() == 1


def test_a_search_says_how_many_new_prompts_it_left_out(dataset, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))

    found = find(dataset, "question")

    assert (len(found.keys), found.waiting) == (3, 7)
    index_some(dataset.pk)
    found = find(dataset, "question")
    assert (len(found.keys), found.waiting) == (7, 3)
    index_waiting(dataset.pk)
    found = find(dataset, "question")
    assert (len(found.keys), found.waiting) == (10, 0)


def test_texts_of_megabytes_are_left_out_too(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "MOST_CHARACTERS", 100)
    imported(dataset, tmp_path, ("Short question?", "Yes", "No"), ("Long question?", "Yes " * 100, "No"))

    found = find(dataset, "question")

    assert (len(found.keys), found.waiting) == (1, 1)


def test_the_page_says_how_many_cannot_be_searched_yet(dataset, rita, as_user, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))

    page = as_user(rita).get(reverse("data", args=[dataset.pk]), {"q": "question"}).content.decode()
    assert "7 new prompts can’t be searched yet. They will be in a minute or two." in page

    index_waiting(dataset.pk)
    page = as_user(rita).get(reverse("data", args=[dataset.pk]), {"q": "question"}).content.decode()
    assert "be searched yet" not in page


def test_review_says_how_many_cannot_be_searched_yet(dataset, rita, as_user, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))

    def page(**asked: str) -> str:
        return as_user(rita).get(reverse("review", args=[dataset.pk]), asked).content.decode()

    for asked in ({"q": "question"}, {"where": "q=question"}):
        assert "7 new prompts can’t be searched yet. They will be in a minute or two." in page(**asked)
    assert "be searched yet" not in page()


def test_a_program_is_told_how_many_review_cannot_search_yet(dataset, rita, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))
    client, address = program_with(token_of(rita)), f"/api/v1/datasets/{dataset.pk}/review"

    for place in ("", "/counts"):
        assert client.get(address + place, {"q": "question"}).json()["waiting"] == 7
        assert client.get(address + place).json()["waiting"] == 0


@pytest.mark.parametrize("operation", ["find", "facets"])
def test_a_program_is_told_how_many_cannot_be_searched_yet(operation, dataset, rita, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))

    def waiting(query: str) -> int:
        address = f"/api/v1/datasets/{dataset.pk}/{operation}"
        return program_with(token_of(rita)).get(address, {"query": query}).json()["waiting"]

    assert waiting("q=question") == 7
    assert waiting("") == 0


def test_an_act_on_all_found_waits_until_all_can_be_searched(dataset, rita, as_user, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))
    act = {"kind": "tag", "tag": "numbered", "all": "1", "query": "q=question", "sure": "1"}

    def answer_to(act: dict[str, str]) -> str:
        page = as_user(rita).post(reverse("data_act", args=[dataset.pk]), act, follow=True)
        return page.content.decode()

    assert "7 new prompts can&#x27;t be searched yet. Try again in a minute or two." in answer_to(act)
    assert not Act.objects.exists()

    index_waiting(dataset.pk)
    assert "Tagged 10 prompts: numbered." in answer_to(act)


def test_a_program_is_told_to_ask_again_for_an_act_on_all_found(dataset, rita, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))
    act = {"kind": "tag", "tag": "numbered", "query": "q=question"}
    program, address = program_with(token_of(rita)), f"/api/v1/datasets/{dataset.pk}/acts"

    refused = program.post(address, act, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_searchable_yet")
    assert not Act.objects.exists()

    index_waiting(dataset.pk)
    assert program.post(address, act, content_type="application/json").json()["prompt_count"] == 10


def test_no_release_is_counted_with_prompts_that_cannot_be_searched_yet(dataset, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))

    with pytest.raises(NotYet, match="7 new prompts can't be searched yet"):
        find(dataset, "question", needs_all=True)
    index_waiting(dataset.pk)
    assert len(find(dataset, "question", needs_all=True).keys) == 10


def test_a_worker_goes_on_where_another_was_killed(dataset, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))
    assert not index_waiting(dataset.pk, go_on=lambda: False)
    assert SearchDocument.objects.count() == 4

    assert index_waiting(dataset.pk)

    assert sorted(SearchDocument.objects.values_list("prompt", flat=True)) == sorted(
        Prompt.objects.values_list("pk", flat=True)
    )
    dataset.refresh_from_db()
    assert dataset.indexed_to is None


def test_an_import_that_comes_while_prompts_wait_loses_none(dataset, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(10))
    index_some(dataset.pk)

    imported(dataset, tmp_path, *numbered(5, first=8))

    index_waiting(dataset.pk)
    assert SearchDocument.objects.count() == 13
    assert len(matching(dataset, "question")) == 13


def test_prompts_of_another_dataset_stay_apart(dataset, tmp_path, few_at_once):
    other = DatasetFactory.create()
    imported(dataset, tmp_path, *numbered(2))
    imported(other, tmp_path, *numbered(2))

    index_waiting(other.pk)

    assert not SearchDocument.objects.filter(prompt__dataset=dataset).exists()
    assert len(matching(dataset, "question")) == len(matching(other, "question")) == 2
    assert not set(matching(dataset, "question")) & set(matching(other, "question"))


def test_imports_that_wait_go_first(dataset, tmp_path, few_at_once):
    imported(dataset, tmp_path, *numbered(2))
    waiting = Run.objects.create(kind=Run.Kind.IMPORT, dataset=dataset)

    tasks.index_texts(dataset.pk)
    assert not SearchDocument.objects.exists()

    waiting.fail("The file is gone.")
    tasks.index_texts(dataset.pk)
    assert SearchDocument.objects.count() == 2


def test_a_task_takes_its_share_and_sends_the_rest(dataset, tmp_path, few_at_once, messages, monkeypatch):
    monkeypatch.setattr(tasks, "INDEXING", timedelta(0))
    imported(dataset, tmp_path, *numbered(10))

    tasks.index_texts(dataset.pk)

    assert SearchDocument.objects.count() == 4
    assert (tasks.index_texts, dataset.pk) in messages


def test_what_no_worker_has_taken_is_sent_again(dataset, tmp_path, few_at_once, messages):
    imported(dataset, tmp_path, *numbered(10))

    tasks.reconcile()
    assert (tasks.index_texts, dataset.pk) in messages

    messages.clear()
    index_some(dataset.pk)  # by a worker, just now
    tasks.reconcile()
    assert (tasks.index_texts, dataset.pk) not in messages
