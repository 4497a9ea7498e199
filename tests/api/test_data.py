"""The Data page from a program: the same finds, counts, acts and undo."""

import pytest

from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
)
from workbench.models import Act, Comparison, Dataset, ModelVersion, Prompt, SavedView, Tag
from workbench.pipeline.data import finding
from workbench.pipeline.data.finding import Selection
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def pairs(dataset) -> list[Comparison]:
    return [ComparisonFactory.create(prompt__dataset=dataset) for _ in range(3)]


def get(client, path):
    return client.get(f"/api/v1{path}").json()


def post(client, path, body=None, status=200):
    answer = client.post(f"/api/v1{path}", body or {}, content_type="application/json")
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def test_a_selection_finds_and_counts_what_the_page_does(dataset, rita, program, pairs):
    Tag.objects.create(dataset=dataset, name="odd").prompts.add(pairs[1].prompt)
    client, query = program(rita), "tag=odd"
    on_page = finding.find(dataset, Selection.parse(query, []), ModelVersion.objects.serving(dataset))

    found = get(client, f"/datasets/{dataset.pk}/find?query={query}")
    facets = get(client, f"/datasets/{dataset.pk}/facets?query={query}")

    assert [one["id"] for one in found["items"]] == on_page.prompts.tolist() == [pairs[1].prompt_id]
    assert (found["prompts"], found["pairs"], facets["pairs"]) == (1, 1, 1)
    assert [facet["name"] for facet in facets["facets"]] == [facet.name for facet in on_page.facets]
    assert get(client, f"/datasets/{dataset.pk}/tags")["items"] == ["odd"]


def test_what_is_found_comes_in_parts(dataset, rita, program, pairs):
    client, path = program(rita), f"/datasets/{dataset.pk}/find"

    first = get(client, f"{path}?limit=2")
    rest = get(client, f"{path}?start={first['next_start']}")

    ids = [one["id"] for one in first["items"] + rest["items"]]
    assert (ids, rest["next_start"]) == ([pair.prompt_id for pair in pairs], None)


@pytest.mark.parametrize("path", ["find", "facets"])
def test_an_unknown_field_is_refused_with_the_sentence_of_the_page(dataset, rita, program, path):
    answer = program(rita).get(f"/api/v1/datasets/{dataset.pk}/{path}?query=taste%3Dsalt")

    assert (answer.status_code, answer.json()["code"]) == (422, "bad_selection")
    assert answer.json()["detail"] == "There is no filter called taste."


def test_a_view_is_saved_listed_and_deleted(dataset, rita, program):
    client, path = program(rita), f"/datasets/{dataset.pk}/views"

    saved = post(client, path, {"name": "Salty", "query": "q=salt", "shared": True}, 201)
    listed = get(client, path)["items"]
    post(client, f"/views/{saved['id']}/delete", status=204)

    assert [one["id"] for one in listed] == [saved["id"]]
    assert (saved["query"], saved["shared"], saved["is_own"]) == ("q=salt", True, True)
    assert not SavedView.objects.exists()


def test_an_act_is_previewed_done_listed_and_undone(dataset, alice, program, pairs):
    client, path = program(alice), f"/datasets/{dataset.pk}/acts"
    wanted = {"kind": "exclude", "where": "both", "excluded_reason": "spam", "query": ""}

    extent = post(client, f"{path}/preview", wanted)
    assert not Prompt.objects.exclude(excluded_from="").exists()
    act = post(client, path, wanted)

    assert extent["prompts"] == act["prompt_count"] == 3
    assert Prompt.objects.filter(excluded_from="both").count() == 3
    assert get(client, path)["items"] == [act]
    undone = post(client, f"/acts/{act['id']}/undo")
    assert undone["prompts"] == 3
    assert not Prompt.objects.exclude(excluded_from="").exists()


def test_an_act_on_named_prompts_changes_no_others(dataset, alice, program, pairs):
    wanted = {"kind": "tag", "tag": "odd", "prompts": [pairs[0].prompt_id]}

    post(program(alice), f"/datasets/{dataset.pk}/acts", wanted)

    assert list(Tag.objects.get().prompts.all()) == [pairs[0].prompt]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "dance", "query": ""}, 409),
        ({"kind": "tag", "query": ""}, 422),
        ({"kind": "restore"}, 409),
        ({"kind": "restore", "query": "", "prompts": []}, 409),
    ],
)
def test_an_act_that_lacks_something_changes_nothing(dataset, alice, program, pairs, body, status):
    post(program(alice), f"/datasets/{dataset.pk}/acts", body, status)

    assert not Act.objects.exists()


def test_a_reviewer_excludes_nothing(dataset, rita, program, pairs):
    wanted = {"kind": "exclude", "where": "both", "excluded_reason": "spam", "query": ""}

    post(program(rita), f"/datasets/{dataset.pk}/acts", wanted, 403)

    assert not Act.objects.exists()


def test_nothing_is_copied_to_a_dataset_that_the_token_does_not_reach(dataset, alice, program, pairs):
    other = DatasetFactory.create(name="Elsewhere")
    other.members.create(user=alice, role="admin")
    client = program(alice, "manage", [dataset])

    post(client, f"/datasets/{dataset.pk}/acts", {"kind": "copy", "to": other.pk, "query": ""}, 404)
    post(client, f"/datasets/{dataset.pk}/acts", {"kind": "copy", "to_name": "New", "query": ""}, 403)

    assert not other.prompts.exists()
    assert not Dataset.objects.filter(name="New").exists()


def test_what_an_act_leaves_to_the_workers_is_enqueued(
    dataset, alice, program, pairs, messages, django_capture_on_commit_callbacks
):
    other = DatasetFactory.create(name="Elsewhere")
    other.members.create(user=alice, role="admin")

    with django_capture_on_commit_callbacks(execute=True):
        post(program(alice), f"/datasets/{dataset.pk}/acts", {"kind": "copy", "to": other.pk, "query": ""})

    assert other.prompts.count() == 3
    assert (tasks.score_missing, other.pk) in messages


def test_more_pairs_are_previewed_made_once_a_key_and_undone(dataset, alice, program):
    prompt = PromptFactory.create(dataset=dataset)
    CompletionFactory.create_batch(3, prompt=prompt)
    client, path = program(alice), f"/datasets/{dataset.pk}/pairs"
    wanted = {"number": 2, "per_prompt": 5, "key": "8d0e9b8e-5f0a-4a7c-9f4e-0f6f3f6e2f11"}

    preview = post(client, f"{path}/preview", wanted)
    first, again = (post(client, path, wanted)["act"] for _ in range(2))

    assert (preview["pairs"], preview["possible"], len(preview["first"])) == (2, 3, 2)
    assert first == again
    assert Comparison.objects.count() == 2
    assert post(client, f"{path}/{first['id']}/undo") == {"removed": 2, "stayed": 0}


def test_more_pairs_are_made_where_two_models_disagree(dataset, alice, program):
    prompt = PromptFactory.create(dataset=dataset)
    one, other = CompletionFactory.create_batch(2, prompt=prompt)
    models = ModelVersionFactory.create_batch(2)
    for version, values in zip(models, ((1.0, 3.0), (5.0, 4.0)), strict=True):
        for completion, value in zip((one, other), values, strict=True):
            ScoreFactory.create(completion=completion, version=version, value=value)
    client, path = program(alice), f"/datasets/{dataset.pk}/pairs"
    wanted = {"strategy": "models", "model": models[0].pk, "other_model": models[1].pk}

    preview = post(client, f"{path}/preview", wanted)
    act = post(client, path, wanted)["act"]

    (pair,) = preview["first"]
    assert sorted(map(abs, (pair["margin"], pair["other_margin"]))) == [1.0, 2.0]
    assert act["details"]["models"] == [str(version) for version in models]
    assert dataset.comparisons.get().prompt == prompt


def test_topics_are_computed_by_a_run(dataset, alice, program, messages):
    run = post(program(alice), f"/datasets/{dataset.pk}/topics", status=202)

    assert get(program(alice), f"/datasets/{dataset.pk}/topics")["run"]["id"] == run["id"]


def test_prompts_that_are_nearly_the_same_are_one_group(dataset, rita, program):
    alike = PromptFactory.create_batch(2, dataset=dataset, group="g")
    PromptFactory.create(dataset=dataset)

    (group,) = get(program(rita), f"/datasets/{dataset.pk}/groups")["items"]

    assert group["prompts"] == [prompt.pk for prompt in alike]


def test_groups_come_page_by_page_and_none_is_moved_by_what_comes(dataset, rita, program):
    for group, size in (("a", 2), ("b", 4), ("c", 2), ("d", 3), ("e", 2)):
        PromptFactory.create_batch(size, dataset=dataset, group=group)
    client, path = program(rita), f"/datasets/{dataset.pk}/groups"

    first = get(client, f"{path}?limit=3")
    PromptFactory.create_batch(5, dataset=dataset, group="z")  # would come first
    Prompt.objects.filter(group="b").delete()
    second = get(client, f"{path}?limit=1&after={first['next_after']}")
    third = get(client, f"{path}?limit=1&after={second['next_after']}")

    seen = [[one["group"] for one in page["items"]] for page in (first, second, third)]
    assert seen == [["b", "d", "a"], ["c"], ["e"]]
    assert third["next_after"] is None


@pytest.mark.parametrize("after", ["2", "2_", "x_g", "2_g h", "9999999999_g"])
def test_a_place_among_groups_that_is_none_is_refused(after, dataset, rita, program):
    answer = program(rita).get(f"/api/v1/datasets/{dataset.pk}/groups", {"after": after})

    assert answer.status_code == 422


def test_a_text_without_a_vector_is_like_nothing_yet(dataset, rita, program, pairs):
    path = f"/api/v1/datasets/{dataset.pk}/similar"

    assert program(rita).get(f"{path}?prompt={pairs[0].prompt_id}").status_code == 409
    assert program(rita).get(f"{path}?prompt=99999").status_code == 404
