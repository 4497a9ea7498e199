"""Lists from either end, by a key that rows which come meanwhile do not move."""

import pytest

from tests.factories import ModelVersionFactory, RunFactory, UserFactory
from workbench.models import ModelVersion, Release

pytestmark = pytest.mark.django_db


def walked(client, path: str, **query: str) -> list[dict]:
    """All rows of a list, two at a time."""
    found, after = [], 0
    while after is not None:
        answer = client.get(f"/api/v1{path}", {"limit": 2, "after": after, **query})
        assert answer.status_code == 200, answer.content
        document = answer.json()
        found += document["items"]
        after = document["next_after"]
    return found


@pytest.mark.parametrize(("sort", "step"), [("oldest", 1), ("newest", -1)])
def test_runs_releases_and_models_are_listed_from_either_end(sort, step, dataset, alice, program):
    runs = [RunFactory.create(dataset=dataset).pk for _ in range(5)]
    for number in range(1, 6):
        Release.objects.create(dataset=dataset, number=number)
    ModelVersionFactory.create_batch(3)
    staff = program(UserFactory.create(is_staff=True))

    of_dataset, models = f"/datasets/{dataset.pk}", ModelVersion.objects.order_by("pk")
    assert [row["id"] for row in walked(program(alice), f"{of_dataset}/runs", sort=sort)] == runs[::step]
    releases = walked(program(alice), f"{of_dataset}/releases", sort=sort)
    assert [row["number"] for row in releases] == [1, 2, 3, 4, 5][::step]
    keys = list(models.values_list("pk", flat=True))
    assert [row["id"] for row in walked(staff, "/models", sort=sort)] == keys[::step]


def test_a_run_that_begins_meanwhile_moves_no_row_of_the_pages_to_come(dataset, alice, program):
    runs = [RunFactory.create(dataset=dataset).pk for _ in range(4)]
    client, path = program(alice), f"/api/v1/datasets/{dataset.pk}/runs"
    first = client.get(path, {"sort": "newest", "limit": 2}).json()

    RunFactory.create(dataset=dataset)
    second = client.get(path, {"sort": "newest", "limit": 2, "after": first["next_after"]}).json()

    assert [row["id"] for row in first["items"] + second["items"]] == runs[::-1]


def test_the_models_of_a_dataset_come_by_name_where_a_program_asks_for_it(dataset, alice, program):
    for name in ("birch", "alder", "cedar"):
        ModelVersionFactory.create(name=name)
    client, path = program(alice), f"/api/v1/datasets/{dataset.pk}/models"

    usual, by_name = (client.get(path, query).json()["items"] for query in ({}, {"sort": "name"}))

    assert [row["model"]["name"] for row in usual] == ["cedar", "alder", "birch"]
    assert [row["model"]["name"] for row in by_name] == ["alder", "birch", "cedar"]


@pytest.mark.parametrize("path", ["runs", "releases", "models"])
def test_an_order_that_does_not_exist_is_refused(path, dataset, alice, program):
    answer = program(alice).get(f"/api/v1/datasets/{dataset.pk}/{path}", {"sort": "random"})

    assert answer.status_code == 422
