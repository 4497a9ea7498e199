import pytest

from workbench.models import Invitation, Member
from workbench.pipeline.people import invitations as inviting
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(program, alice, dataset):
    return program(alice, "manage", [dataset])


@pytest.fixture
def at(dataset) -> str:
    return f"/api/v1/datasets/{dataset.pk}/invitations"


def post(client, path: str, status: int = 200, **more):
    headers = more.pop("headers", {})
    answer = client.post(path, more, content_type="application/json", headers=headers)
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def test_a_link_lets_so_many_in_and_is_told_once_alone_to_a_request_that_is_sent_again(client, at, charlie):
    key = {"Idempotency-Key": "one"}
    made = post(client, f"{at}/link", 201, role="reviewer", uses=2, headers=key)

    invitation = Invitation.objects.get()
    assert made["link"].endswith(f"/join/{invitation.token}/")
    assert (invitation.role, invitation.max_uses) == ("reviewer", 2)
    again = post(client, f"{at}/link", 409, role="reviewer", uses=2, headers=key)
    assert again["code"] == "shown_once"
    inviting.accept(invitation, charlie)
    (listed,) = client.get(at).json()["items"]
    assert (listed["uses"], listed["came"][0]["name"], listed["link"]) == (1, "charlie", made["link"])


def test_a_token_that_only_reads_sees_no_link_as_whoever_has_it_comes_in(program, client, at, alice, dataset):
    post(client, f"{at}/link", 201, role="admin")

    reads = program(alice, "read", [dataset]).get(at)

    assert reads.json()["items"][0]["link"] is None
    assert Invitation.objects.get().token not in reads.content.decode()


def test_a_domain_that_is_none_names_its_field_and_makes_no_link(client, at):
    refused = post(client, f"{at}/link", 422, domain="not a domain")

    assert refused["errors"][0]["field"] == "domain"
    assert not Invitation.objects.exists()


def test_mails_are_due_for_new_addresses_alone(
    client, at, dataset, bob, messages, django_capture_on_commit_callbacks
):
    bob.email = "bob@example.org"
    bob.save()

    with django_capture_on_commit_callbacks(execute=True):
        invited = post(client, f"{at}/mails", addresses=["dora@example.org", "bob@example.org"])

    assert (invited["invited"], invited["members"]) == (["dora@example.org"], ["bob@example.org"])
    assert (tasks.send_invitations, dataset.pk) in messages


def test_one_line_that_is_no_address_invites_nobody_unless_it_is_skipped(client, at, messages):
    lines = ["dora@example.org", "nobody"]

    refused = post(client, f"{at}/mails", 422, addresses=lines)
    assert "Line 2" in str(refused["errors"])
    assert not Invitation.objects.exists()

    assert post(client, f"{at}/mails", addresses=lines, skips_bad=True)["skipped"] == ["nobody"]


def test_a_revoked_link_lets_nobody_in_and_members_stay(client, at, charlie):
    made = post(client, f"{at}/link", 201)
    inviting.accept(Invitation.objects.get(), charlie)

    post(client, f"/api/v1/invitations/{made['id']}/revoke", 204)

    assert client.get(at).json()["items"][0]["state"] == "revoked"
    assert Member.objects.filter(user=charlie).exists()
    assert post(client, f"/api/v1/invitations/{made['id']}/resend", 409)["code"] == "refused"
