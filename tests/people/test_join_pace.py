"""The page to join says which names and addresses have an account, so guesses are slowed down."""

import pytest
from axes.models import AccessFailureLog
from django.test import Client
from django.urls import reverse

from tests.people.test_invitations import join, link_to, opened
from tests.web.test_accounts import later
from workbench.models import Invitation, User
from workbench.pace import FREE_OF_ADDRESS
from workbench.pipeline.people import invitations

pytestmark = pytest.mark.django_db


@pytest.fixture
def invitation(dataset, alice) -> Invitation:
    return link_to(dataset, alice, uses=9)


@pytest.fixture
def guesser(invitation) -> Client:
    """Has asked for the name of Alice as often as is free."""
    client = opened(invitation)
    for _ in range(FREE_OF_ADDRESS):
        assert join(client, "alice").status_code == 400
    return client


def test_after_many_refusals_the_page_makes_wait_and_says_nothing_of_names(guesser):
    answer = join(guesser, "alice")

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many tries. Nothing was saved" in answer.content.decode()
    assert "is taken" not in answer.content.decode()


def test_each_refusal_leaves_a_row_for_staff_without_what_was_typed(guesser):
    rows = AccessFailureLog.objects.filter(path_info=reverse("join"))

    assert [(row.ip_address, row.username) for row in rows] == [("127.0.0.1", "")] * FREE_OF_ADDRESS


def test_somebody_with_a_mail_of_their_own_waits_as_well(dataset, alice):
    client = opened(invitations.invite(dataset, ["dora@example.org"], "annotator", alice, "https://w").new[0])
    for _ in range(FREE_OF_ADDRESS):
        assert "The name alice is taken." in join(client, "alice").content.decode()

    assert join(client, "alice").status_code == 429


def test_a_new_session_does_not_help(guesser, invitation):
    assert join(opened(invitation), "alice").status_code == 429


def test_another_address_does_not_wait(guesser, invitation):
    elsewhere = opened(invitation, Client(REMOTE_ADDR="192.0.2.9"))

    assert join(elsewhere, "dora").status_code == 302


def test_after_the_wait_one_joins(guesser):
    later(61)

    assert join(guesser, "dora").status_code == 302


def test_the_login_does_not_wait_because_of_it(guesser):
    User.objects.filter(username="alice").update(is_staff=False)

    answer = Client().post(reverse("login"), {"username": "alice", "password": "wrong"})

    assert answer.status_code == 200
