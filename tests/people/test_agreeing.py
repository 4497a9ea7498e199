"""Members who came without an invitation agree to the dataset's text on its first page."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.api.conftest import program_with, token_of
from tests.conftest import client_of
from tests.factories import ComparisonFactory, UserFactory
from tests.people.test_own import data_of
from workbench.models import Agreement, Dataset
from workbench.pipeline.people import invitations
from workbench.pipeline.people.invitations import digest
from workbench.pipeline.runs.progress import Refused

pytestmark = pytest.mark.django_db

TEXT = "Votes are published."


@pytest.fixture
def asking(dataset) -> Dataset:
    Dataset.objects.filter(pk=dataset.pk).update(consent=TEXT)
    dataset.refresh_from_db()
    return dataset


def agree(client, dataset, text: str = TEXT, **sent: str):
    return client.post(reverse("agree", args=[dataset.pk]), {"agreed_to": digest(text), **sent})


def goes_to(client, name: str, dataset) -> str:
    """Where a page leads; "" where it is shown."""
    return client.get(reverse(name, args=[dataset.pk])).headers.get("Location", "")


def test_the_first_page_leads_to_the_text_and_what_was_agreed_to_is_kept(asking, bob):
    client, page = client_of(bob), reverse("agree", args=[asking.pk])

    assert {goes_to(client, name, asking) for name in ("annotate", "dataset", "guidelines")} == {page}
    assert TEXT in client.get(page).content.decode()
    refused = agree(client, asking)
    answer = agree(client, asking, agrees="on")

    assert "You can go on once you agree to the text." in refused.content.decode()
    assert answer.headers["Location"] == reverse("annotate", args=[asking.pk])
    assert goes_to(client, "annotate", asking) == ""
    kept = Agreement.objects.get()
    assert (kept.user, kept.dataset, kept.consent_sha256) == (bob, asking, digest(TEXT))
    assert timezone.now() - kept.at < timedelta(minutes=1)


def test_reviewers_are_asked_too_and_come_to_their_work(asking, rita):
    client = client_of(rita)
    assert goes_to(client, "review", asking) == reverse("agree", args=[asking.pk])

    answer = agree(client, asking, agrees="on")

    assert answer.headers["Location"] == reverse("review", args=[asking.pk])


@pytest.mark.parametrize("name", ["review_case", "prompt"])
def test_a_reviewer_who_opens_one_thing_by_its_address_is_asked_too(name, asking, rita):
    pair = ComparisonFactory.create(prompt__dataset=asking)
    place = reverse(name, args=[pair.pk if name == "review_case" else pair.prompt_id])
    client = client_of(rita)

    assert client.get(place).headers.get("Location") == reverse("agree", args=[asking.pk])
    agree(client, asking, agrees="on")
    assert client.get(place).status_code == 200


def test_admins_and_staff_are_not_asked(asking, alice):
    for user in (alice, UserFactory.create(is_staff=True)):
        assert goes_to(client_of(user), "annotate", asking) == ""
        assert goes_to(client_of(user), "settings", asking) == ""


def test_who_agreed_at_an_invitation_is_not_asked_again_and_who_saw_no_text_is(dataset, alice, charlie, bob):
    for user, text in ((bob, ""), (charlie, TEXT)):
        Dataset.objects.filter(pk=dataset.pk).update(consent=text)
        dataset.refresh_from_db()
        dataset.members.filter(user=user).delete()
        link = invitations.create_link(dataset, "annotator", alice)
        invitations.accept(link, user, digest(text))

    assert goes_to(client_of(charlie), "annotate", dataset) == ""
    assert goes_to(client_of(bob), "annotate", dataset) == reverse("agree", args=[dataset.pk])


def test_a_text_that_changes_meanwhile_is_shown_again_and_later_changes_ask_nobody(asking, bob):
    client = client_of(bob)
    answer = agree(client, asking, "An old text.", agrees="on")
    assert "The text has changed meanwhile. Read it again." in answer.content.decode()
    assert not Agreement.objects.exists()
    agree(client, asking, agrees="on")

    Dataset.objects.filter(pk=asking.pk).update(consent="A new text.")

    assert goes_to(client, "annotate", asking) == ""


def test_a_text_that_changes_in_the_moment_of_agreeing_is_not_agreed_to(asking, bob):
    with pytest.raises(Refused, match="The text has changed meanwhile"):
        invitations.agree(asking, bob, digest("An old text."))

    assert not Agreement.objects.exists()


def test_a_part_of_a_page_is_not_replaced_by_the_text(asking, rita):
    answer = client_of(rita).get(reverse("running", args=[asking.pk]), headers={"HX-Request": "true"})

    assert answer.headers["HX-Redirect"] == reverse("agree", args=[asking.pk])


def test_asking_takes_no_query_more(dataset, bob):
    client, counts = client_of(bob), []
    for text in ("", TEXT):
        Dataset.objects.filter(pk=dataset.pk).update(consent=text)
        if text:
            agree(client, dataset, agrees="on")
        client.get(reverse("annotate", args=[dataset.pk]))
        with CaptureQueriesContext(connection) as captured:
            client.get(reverse("annotate", args=[dataset.pk]))
        counts.append(len(captured))

    assert counts[0] == counts[1]


def test_admins_see_who_agreed_to_which_text_and_people_get_it_with_their_data(asking, alice, bob):
    member = asking.members.get(user=bob)
    page = reverse("person", args=[asking.pk, member.pk])
    admin, client = client_of(alice), client_of(bob)
    assert "Has not agreed to the text in Settings yet." in admin.get(page).content.decode()

    agree(client, asking, agrees="on")
    assert "Agreed to the text in Settings" in admin.get(page).content.decode()
    Dataset.objects.update(consent="A new text.")

    assert "Agreed to an earlier text" in admin.get(page).content.decode()
    assert [(row["dataset"], row["text_sha256"]) for row in data_of(client)["agreements"]] == [
        ("Kitchen", digest(TEXT))
    ]


def test_a_program_is_told_and_a_service_account_is_not_asked(asking, rita):
    robot = UserFactory.create(is_service=True)
    asking.members.create(user=robot, role="reviewer")

    def asked_by(user):
        return program_with(token_of(user, "review")).get(f"/api/v1/datasets/{asking.pk}")

    told = asked_by(rita)
    assert (told.status_code, told.json()["code"]) == (403, "agreement_due")
    assert told.json()["detail"] == "Kitchen asks you to agree to a text first."
    assert asked_by(robot).status_code == 200
    claim = f"/api/v1/datasets/{asking.pk}/annotate/claim"
    voter = program_with(token_of(rita, "annotate"))
    assert voter.post(claim, {}, content_type="application/json").json()["code"] == "agreement_due"
