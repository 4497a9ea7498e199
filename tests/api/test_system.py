"""The installation from a program: what the system page says, and the allowed hosts."""

import json

import pytest
from django.utils import timezone

from tests.api.conftest import program_with, token_of
from tests.factories import DatasetFactory, RunFactory, UserFactory
from workbench.models import AllowedHost, AuditEvent, ServerError, Worker

pytestmark = [pytest.mark.django_db, pytest.mark.portable]


@pytest.fixture
def sam():
    return UserFactory.create(username="sam", is_staff=True)


@pytest.fixture
def staff(sam):
    return program_with(token_of(sam))


def post(client, path, body):
    return client.post(f"/api/v1{path}", json.dumps(body), content_type="application/json")


def test_it_says_what_the_system_page_says(staff):
    now = timezone.now()
    Worker.objects.create(name="one", queues="score, work", device="cpu", started_at=now, last_seen=now)
    run = RunFactory.create(
        dataset=DatasetFactory.create(), kind="decide", state="failed", error="No room.", finished_at=now
    )
    ServerError.objects.create(view="data", error="KeyError at data.py:1", request_id="1")

    said = staff.get("/api/v1/system").json()

    assert [(one["name"], one["is_alive"]) for one in said["workers"]] == [("one", True)]
    assert [(one["id"], one["error"]) for one in said["failed"]] == [(run.pk, "No room.")]
    assert [(one["view"], one["count"]) for one in said["errors"]] == [("data", 1)]
    assert said["disk_free"] <= said["disk_total"]
    assert {queue["name"] for queue in said["queues"]} >= {"score", "work", "train"}


def test_without_a_worker_the_faults_say_so(staff):
    assert (
        "No worker is alive: imports, scores and releases wait."
        in staff.get("/api/v1/system").json()["faults"]
    )


def test_a_host_is_allowed_listed_and_removed_again(staff, sam):
    made = post(staff, "/hosts", {"name": "https://Hub.Example:8443/page"})
    listed = staff.get("/api/v1/hosts").json()["items"]
    removed = staff.delete(made["Location"])

    assert (made.status_code, made.json()["name"]) == (201, "hub.example:8443")
    assert [(host["id"], host["added_by"]) for host in listed] == [(made.json()["id"], "sam")]
    assert removed.status_code == 204
    assert not AllowedHost.objects.exists()
    kinds = AuditEvent.objects.filter(actor=sam).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == [AuditEvent.Kind.HOST_ALLOWED, AuditEvent.Kind.HOST_REMOVED]


def test_what_is_no_name_of_a_host_is_refused_with_its_field(staff):
    answer = post(staff, "/hosts", {"name": "not a host"})

    (fault,) = answer.json()["errors"]
    assert (answer.status_code, fault["field"]) == (422, "name")
    assert not AllowedHost.objects.exists()


def test_removing_a_host_that_is_gone_is_404(staff):
    assert staff.delete("/api/v1/hosts/7").status_code == 404
