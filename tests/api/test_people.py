"""Looking after people by a program: the same figures, rules and rows of history as on the pages."""

from datetime import UTC, datetime

import pytest

from tests.factories import ComparisonFactory, JudgmentFactory, UserFactory
from workbench.models import Annotator, AuditEvent, Dataset, Member, Pause, Role, SavedView, TimeCorrection
from workbench.pipeline import quality

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(program, alice, dataset):
    return program(alice, "manage", [dataset])


@pytest.fixture
def at(dataset) -> str:
    return f"/api/v1/datasets/{dataset.pk}/people"


@pytest.fixture
def member(dataset, bob) -> Member:
    return Member.objects.get(dataset=dataset, user=bob)


def sent(client, method: str, path: str, status: int = 200, **body):
    answer = getattr(client, method)(path, body, content_type="application/json")
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def voted(dataset: Dataset, bob, n: int = 3) -> None:
    annotator = Annotator.objects.for_user(bob)
    for _ in range(n):
        pair = ComparisonFactory.create(prompt__dataset=dataset)
        JudgmentFactory.create(comparison=pair, annotator=annotator, outcome="a", left="a", seconds=10)


def with_figures(dataset: Dataset) -> None:
    run = quality.begin(dataset)
    run.start()
    quality.carry_out(run)


def test_members_come_with_their_roles_and_the_stored_figures(client, at, dataset, alice, bob):
    voted(dataset, bob)
    with_figures(dataset)

    people = client.get(at).json()

    assert [(person["name"], person["role"]) for person in people["items"]] == [
        ("alice", "admin"),
        ("bob", "annotator"),
    ]
    row = next(row for row in quality.stored(dataset).report["annotators"])
    figures = people["items"][1]["figures"]
    assert figures["votes"] == row["votes"] == 3
    assert figures["left"]["n"] == row["left"]["n"]
    assert people["items"][0]["figures"] is None


def test_somebody_is_added_by_name_and_an_unknown_name_is_refused(client, at, dataset):
    UserFactory.create(username="dora")

    refused = sent(client, "post", at, 422, username="nobody")
    person = sent(client, "post", at, 201, username="dora", role="reviewer")

    assert refused["errors"][0]["field"] == "username"
    assert Member.objects.get(pk=person["id"]).role == "reviewer"
    assert AuditEvent.objects.filter(kind="member_added", dataset=dataset).count() == 1


def test_the_last_admin_keeps_the_role_and_the_membership(client, at, dataset, alice, bob):
    mine = Member.objects.get(dataset=dataset, user=alice)

    refused = sent(client, "post", f"{at}/{mine.pk}/role", 409, role="annotator")
    sent(client, "delete", f"{at}/{mine.pk}", 409)

    assert refused["detail"].startswith("A dataset needs an admin")
    assert Member.objects.get(pk=mine.pk).role == "admin"


def test_a_role_is_changed_and_a_member_removed(client, at, member):
    assert sent(client, "post", f"{at}/{member.pk}/role", role="reviewer")["role"] == "reviewer"
    sent(client, "delete", f"{at}/{member.pk}", 204)

    assert not Member.objects.filter(pk=member.pk).exists()


def test_facts_are_changed_one_by_one_and_named_as_on_the_page(client, at, dataset, member, alice, messages):
    view = SavedView.objects.create(dataset=dataset, owner=alice, name="Poems", query="", shared=True)
    sent(client, "patch", f"{at}/{member.pk}/facts", languages=["Polish"], skills=["Law"])

    person = sent(client, "patch", f"{at}/{member.pk}/facts", views=[view.pk])

    assert (person["languages"], person["skills"], person["views"]) == (["pl"], ["law"], [view.pk])
    refused = sent(client, "patch", f"{at}/{member.pk}/facts", 422, views=[0])
    assert refused["errors"][0]["field"] == "views"


def test_a_change_of_facts_that_others_made_meanwhile_is_not_overwritten(client, at, member):
    read = client.get(f"{at}/{member.pk}")
    Member.objects.filter(pk=member.pk).update(skills=["medicine"])

    stale = client.patch(
        f"{at}/{member.pk}/facts",
        {"skills": ["law"]},
        content_type="application/json",
        headers={"If-Match": read["ETag"]},
    )

    assert stale.status_code == 412
    assert Member.objects.get(pk=member.pk).skills == ["medicine"]


def test_a_member_is_paused_with_a_reason_and_goes_on(client, at, dataset, member, bob):
    sent(client, "post", f"{at}/{member.pk}/pause", 422, reason="")
    paused = sent(client, "post", f"{at}/{member.pk}/pause", reason="Talk to Alice.")
    assert paused["pause"]["reason"] == "Talk to Alice."
    sent(client, "post", f"{at}/{member.pk}/pause", 409, reason="Again.")

    assert sent(client, "post", f"{at}/{member.pk}/resume", reason="We talked.")["pause"] is None
    assert Pause.objects.get(user=bob).ended_reason == "We talked."
    assert client.get(f"{at}/{member.pk}").json()["pauses"][0]["ended_reason"] == "We talked."


def test_somebody_who_must_qualify_is_let_in_without(client, at, dataset, member):
    ComparisonFactory.create_batch(2, prompt__dataset=dataset, gold_outcome="a", required=0)
    Dataset.objects.filter(pk=dataset.pk).update(qualify_pairs=2, qualify_tries=1)

    standing = sent(client, "post", f"{at}/{member.pk}/qualification", kind="waiver", reason="An expert.")

    assert (standing["state"], standing["grants"][0]["reason"]) == ("waived", "An expert.")


def test_who_has_left_is_shown_with_what_stays(client, at, dataset, member, bob):
    voted(dataset, bob)
    sent(client, "delete", f"{at}/{member.pk}", 204)

    person = client.get(f"{at}/former/{Annotator.objects.get(user=bob).pk}").json()

    assert (person["name"], person["role"]) == ("bob", "")
    assert person["ended_at"]


def test_the_time_sheet_sums_the_votes_of_a_month_and_takes_a_correction(client, at, dataset, bob):
    Dataset.objects.filter(pk=dataset.pk).update(pay_rate=36, pay_per="hour", currency="EUR")
    voted(dataset, bob)
    today = datetime.now(UTC).date()

    sheet = client.get(f"{at}/time").json()
    sent(client, "post", f"{at}/time", 201, user=bob.pk, day=str(today), seconds=60, reason="A call.")
    refused = sent(
        client, "post", f"{at}/time", 409, user=bob.pk, day=str(today), seconds=-900, reason="Odd."
    )

    assert (sheet["total"]["votes"], sheet["total"]["seconds"], sheet["total"]["pay"]) == (3, "30", "0.30")
    assert TimeCorrection.objects.get().seconds == 60
    assert "Nothing was changed" in refused["detail"]
    assert client.get(f"{at}/time").json()["total"]["seconds"] == "90"


def test_the_time_sheet_as_csv_is_that_of_the_page_and_stands_in_history(
    client, at, dataset, bob, as_user, alice
):
    voted(dataset, bob)
    page = b"".join(as_user(alice).get(f"/datasets/{dataset.pk}/people/time.csv"))

    file = client.get(f"{at}/time.csv")

    assert b"".join(file) == page
    assert AuditEvent.objects.filter(kind="downloaded", word="time_sheet").count() == 2


def test_months_that_are_none_name_their_field(client, at):
    assert client.get(f"{at}/time", {"first": "soon"}).json()["errors"][0]["field"] == "first"


def test_a_member_of_another_dataset_is_not_reached_through_this_one(client, at):
    elsewhere = Member.objects.create(
        dataset=ComparisonFactory.create().dataset, user=UserFactory.create(), role=Role.ANNOTATOR
    )

    sent(client, "post", f"{at}/{elsewhere.pk}/role", 404, role="admin")
    assert Member.objects.get(pk=elsewhere.pk).role == "annotator"
