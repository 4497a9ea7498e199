import json

import pytest

from tests.factories import DatasetFactory, UserFactory
from workbench.models import AuditEvent, Dataset
from workbench.pipeline.history import finding
from workbench.pipeline.history.recording import Kind, record

pytestmark = pytest.mark.django_db


@pytest.fixture
def acts(dataset, alice, bob) -> Dataset:
    """Three acts here, one elsewhere; the other dataset."""
    other = DatasetFactory.create(name="Elsewhere")
    for of, kind in ((dataset, Kind.SETTINGS), (dataset, Kind.GUIDELINES), (other, Kind.SETTINGS)):
        record(kind, by=alice, dataset=of, target=of, fields=["overlap"])
    record(Kind.PAUSED, by=alice, dataset=dataset, target=bob)
    return other


def test_history_of_a_dataset_is_that_of_its_page_and_of_no_other(program, acts, dataset, alice):
    at = f"/api/v1/datasets/{dataset.pk}/history"
    client = program(alice, "read", [dataset])

    found = client.get(at).json()

    rows = finding.found(dataset=dataset)
    assert [row["id"] for row in found["items"]] == list(rows.values_list("pk", flat=True))
    assert (found["items"][0]["says"], found["items"][0]["who"]) == ("Paused a person", "alice")
    of_kind = client.get(at, {"kind": "settings", "person": "ali"}).json()["items"]
    assert [row["fields"] for row in of_kind] == [["overlap"]]
    assert client.get(at, {"before": found["items"][-1]["id"]}).json() == {"items": [], "next_before": None}
    assert client.get(at, {"kind": "odd"}).json()["errors"][0]["field"] == "kind"


def test_the_stream_has_the_same_rows_and_leaves_one_itself(program, acts, dataset, alice):
    client = program(alice, "read", [dataset])
    listed = client.get(f"/api/v1/datasets/{dataset.pk}/history").json()["items"]

    lines = b"".join(client.get(f"/api/v1/datasets/{dataset.pk}/history/rows")).splitlines()

    newest, *rows = map(json.loads, lines)
    assert (newest["kind"], newest["word"]) == ("downloaded", "history")
    assert [row["id"] for row in rows] == [row["id"] for row in listed]
    assert set(rows[0]) == set(listed[0])


def test_history_of_the_installation_is_for_staff_and_narrowed_to_a_dataset(program, acts, alice):
    staff = program(UserFactory.create(is_staff=True))

    narrowed = staff.get("/api/v1/history", {"dataset": acts.pk}).json()["items"]

    assert [row["dataset"] for row in narrowed] == ["Elsewhere"]
    assert len(staff.get("/api/v1/history").json()["items"]) == AuditEvent.objects.count()
    assert len(b"".join(staff.get("/api/v1/history/rows")).splitlines()) == AuditEvent.objects.count()
    assert program(alice).get("/api/v1/history").status_code == 403
