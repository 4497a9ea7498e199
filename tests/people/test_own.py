"""One's own page, sessions and data; and the page of a person for the admins of a dataset."""

import json

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import AnnotatorFactory, DatasetFactory, JudgmentFactory
from workbench.models import Dataset, Decision, Flag, Member, Pause
from workbench.pipeline.people import erasing, members
from workbench.pipeline.questions import replying, telling

pytestmark = pytest.mark.django_db


@pytest.fixture
def of_bob(bob):
    return AnnotatorFactory.create(user=bob)


def data_of(client) -> dict:
    answer = client.get(reverse("account_data"))
    assert answer.streaming
    return json.loads(b"".join(answer))


def test_the_page_has_ones_own_roles_and_hours_and_no_others(dataset, bob, rita, of_bob, as_user):
    Dataset.objects.update(pay_rate="36", currency="EUR")
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=of_bob, seconds=65)
    dataset.time_corrections.create(user=bob, day=timezone.now(), seconds=60, reason="A call.", by=rita)
    of_rita = AnnotatorFactory.create(user=rita)
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=of_rita, seconds=200)
    DatasetFactory.create(name="Elsewhere")

    html = as_user(bob).get(reverse("account")).content.decode()

    row = html.split("Kitchen</a></th>")[1].split("</tr>")[0]
    assert ("annotator" in row, "0:02:05" in row, "1.25 EUR" in row) == (True, True, True)
    assert "A call." in html
    assert "rita" not in html
    assert "Elsewhere" not in html


def test_logging_out_everywhere_else_keeps_this_session_alone(bob, rita, as_user):
    here, there, of_rita = as_user(bob), as_user(bob), as_user(rita)

    here.post(reverse("log_out_elsewhere"))

    statuses = [client.get(reverse("home")).status_code for client in (here, there, of_rita)]
    assert statuses == [200, 302, 200]


def test_one_can_log_out_everywhere_else_again_and_log_in_after_it(bob, as_user):
    here = as_user(bob)
    here.post(reverse("log_out_elsewhere"))
    bob.refresh_from_db()
    later = as_user(bob)
    assert later.get(reverse("home")).status_code == 200

    here.post(reverse("log_out_elsewhere"))

    assert [client.get(reverse("home")).status_code for client in (here, later)] == [200, 302]


def test_the_data_has_what_the_person_did(dataset, bob, of_bob, as_user):
    bob.email = "bob@example.org"
    bob.save()
    vote = JudgmentFactory.create(
        comparison__prompt__dataset=dataset, annotator=of_bob, outcome="b", left="b", seconds=12.5,
        comment="Née “so”", strength=2, is_current=False,
    )  # fmt: skip
    JudgmentFactory.create(
        comparison=vote.comparison, annotator=of_bob, outcome="tie", left="b", supersedes=vote
    )
    Flag.objects.create(comparison=vote.comparison, annotator=of_bob, reason="unsafe", note="A name.")
    Pause.objects.create(
        dataset=dataset,
        user=bob,
        reason="A break.",
        evidence={"right": 1, "wrong": 9},
        ended_reason="Gold 7.",
    )
    dataset.time_corrections.create(user=bob, day="2026-11-03", seconds=-60, reason="A call.")
    attempt = dataset.qualification_tries.create(annotator=of_bob, number=1, pairs=2, needed=1)
    attempt.answers.create(
        annotator=of_bob, comparison=vote.comparison, position=1, left="b", outcome="b", known="a"
    )
    dataset.qualification_grants.create(annotator=of_bob, kind="try", reason="A bad day.")

    data = data_of(as_user(bob))

    assert data["account"]["email"] == "bob@example.org"
    (membership,) = data["memberships"]
    assert (membership["dataset"], membership["role"]) == ("Kitchen", "annotator")
    first, change = data["votes"]
    assert first == {
        "dataset": "Kitchen", "at": vote.created_at.isoformat(), "answer": "left", "strength": 2,
        "comment": "Née “so”", "seconds": 12.5, "guidelines": None, "changes_an_earlier_vote": False,
    }  # fmt: skip
    assert (change["answer"], change["changes_an_earlier_vote"]) == ("tie", True)
    assert [(flag["reason"], flag["note"]) for flag in data["flags"]] == [("unsafe", "A name.")]
    assert data["time_corrections"][0]["seconds"] == -60
    assert [pause["reason"] for pause in data["pauses"]] == ["A break."]
    (tried,) = data["qualifications"]
    assert (tried["dataset"], tried["needed"], tried["passed"]) == ("Kitchen", 1, None)
    assert [(one["answer"], one["known_answer"]) for one in tried["answers"]] == [("left", "right")]
    assert [grant["reason"] for grant in data["qualification_grants"]] == ["A bad day."]
    assert "password" not in data["account"]


def test_the_data_tells_nothing_of_checks_and_of_others(dataset, alice, bob, rita, of_bob, as_user):
    plain, gold = (
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=of_bob, left="a") for _ in "12"
    )
    JudgmentFactory.create(
        pk=987654,  # a number that no time of day has
        comparison=plain.comparison, annotator=of_bob, purpose="repeat", is_current=False, left="a",
    )  # fmt: skip
    type(gold).objects.filter(pk=gold.pk).update(purpose="gold", is_current=False)
    of_rita = AnnotatorFactory.create(user=rita)
    JudgmentFactory.create(comparison=plain.comparison, annotator=of_rita, comment="Mine.")
    Decision.objects.create(
        comparison=plain.comparison, outcome="b", method="reviewer", decided_by=rita, note="Theirs."
    )
    Pause.objects.create(
        dataset=dataset,
        user=bob,
        reason="A break.",
        begun_by=alice,
        evidence={"right": 1},
        ended_reason="Gold.",
    )
    Pause.objects.create(dataset=dataset, user=rita, reason="Of Rita.")

    data = data_of(as_user(bob))

    assert len(data["votes"]) == 3
    for vote in data["votes"]:
        del vote["at"]
    assert data["votes"][0] == data["votes"][1] == data["votes"][2]
    written = json.dumps(data)
    for secret in ("Mine.", "Theirs.", "Of Rita.", "alice", "right", "Gold.", "purpose", "987654"):
        assert secret not in written


def test_a_dataset_that_one_has_left_keeps_its_name_to_itself(dataset, alice, bob, of_bob, as_user):
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=of_bob)
    Member.objects.get(user=bob).remove()

    (vote,) = data_of(as_user(bob))["votes"]

    assert vote["dataset"] is None


def test_one_persons_page_has_role_checks_pauses_and_hours(
    dataset, alice, bob, rita, of_bob, as_user, store_figures
):
    for _ in range(12):
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=of_bob, left="a", seconds=10)
    Pause.objects.create(
        dataset=dataset, user=bob, reason="A break.", begun_by=alice, began_at=timezone.now()
    )
    Pause.objects.create(dataset=dataset, user=rita, reason="Of Rita.", begun_by=alice)
    store_figures(dataset)
    member = dataset.members.get(user=bob)

    html = as_user(alice).get(reverse("person", args=[dataset.pk, member.pk])).content.decode()

    assert "Annotator: votes on pairs." in html
    assert "<b>100\xa0%</b></td><td>76 to 100\xa0%</td>" in html.split("Chose left")[1]
    assert "A break." in html
    assert "Of Rita." not in html
    assert "0:02:00" in html
    assert '<span class="tag">paused</span>' in html


def test_the_page_of_a_person_in_another_dataset_is_not_there(dataset, alice, bob, as_user):
    other = DatasetFactory.create()
    member = Member.objects.create(dataset=other, user=bob, role="annotator")

    assert as_user(alice).get(reverse("person", args=[dataset.pk, member.pk])).status_code == 404
    assert as_user(alice).get(reverse("person", args=[other.pk, member.pk])).status_code == 404


def test_the_page_of_somebody_who_has_left_says_since_when_and_keeps_what_they_did(
    dataset, alice, bob, of_bob, as_user, store_figures
):
    for _ in range(12):
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=of_bob, left="a", seconds=10)
    Pause.objects.create(dataset=dataset, user=bob, reason="A break.", begun_by=alice)
    store_figures(dataset)
    client, page = as_user(alice), reverse("former", args=[dataset.pk, of_bob.pk])
    assert client.get(page).status_code == 404  # a member has a page as one

    members.remove(dataset.members.get(user=bob), alice)

    html = client.get(page).content.decode()
    today = timezone.localtime().strftime("%H:%M")[:2]
    assert f"Not a member now: access ended {today}" in html
    assert "0:02:00" in html
    assert "A break." in html
    assert "<b>100\xa0%</b></td><td>76 to 100\xa0%</td>" in html.split("Chose left")[1]
    assert "Save bob" not in html
    assert page in client.get(reverse("people", args=[dataset.pk])).content.decode()


def test_nobody_has_a_page_who_was_never_here(dataset, alice, charlie, of_bob, as_user):
    stranger = AnnotatorFactory.create(user=charlie)
    source = AnnotatorFactory.create(user=None, source="crowd")
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=source, stage="imported")

    for annotator in (stranger, source):
        page = reverse("former", args=[dataset.pk, annotator.pk])
        assert as_user(alice).get(page).status_code == 404


def test_an_erased_person_has_a_page_without_the_name(dataset, alice, bob, of_bob, as_user):
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=of_bob)

    name = erasing.erase(bob)

    html = as_user(alice).get(reverse("former", args=[dataset.pk, of_bob.pk])).content.decode()
    assert f"<h2>{name}" in html
    assert "Not a member now: erased" in html


def names_on(client, dataset, **query) -> list[str]:
    answer = client.get(reverse("people", args=[dataset.pk]), query)
    return [str(member.user) for member, _ in answer.context["members"]]


def test_people_are_searched_and_sorted(dataset, alice, rita, bob, of_bob, as_user, store_figures):
    of_rita = AnnotatorFactory.create(user=rita)
    for annotator in (of_bob, of_bob, of_rita):
        JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=annotator)
    store_figures(dataset)
    client = as_user(alice)

    assert names_on(client, dataset) == ["alice", "rita", "bob"]
    assert names_on(client, dataset, sort="name") == ["alice", "bob", "rita"]
    assert names_on(client, dataset, sort="votes") == ["bob", "rita", "alice"]
    assert names_on(client, dataset, sort="active") == ["rita", "bob", "alice"]
    assert names_on(client, dataset, sort="nonsense", q=" RI ") == ["rita"]
    html = client.get(reverse("people", args=[dataset.pk]), {"q": "zed"}).content.decode()
    assert "Nobody has “zed” in their name." in html
    assert "no longer a member" not in html


def test_the_data_has_replies_that_the_person_has_read_and_what_they_wrote(
    dataset, bob, rita, of_bob, as_user
):
    vote = JudgmentFactory.create(
        comparison__prompt__dataset=dataset, annotator=of_bob, comment="Which?", stage="first"
    )
    replying.reply(vote.comparison, of_bob, "The left.", rita)
    of_pair = [{"dataset": "Kitchen", "text": "The left."}]

    def without_time(rows: list[dict]) -> list[dict]:
        return [{key: row[key] for key in ("dataset", "text")} for row in rows]

    assert data_of(as_user(bob))["replies_to_you"] == []
    assert without_time(data_of(as_user(rita))["replies_and_examples"]) == of_pair

    telling.tell(of_bob, [vote.comparison_id])

    assert without_time(data_of(as_user(bob))["replies_to_you"]) == of_pair
    assert data_of(as_user(bob))["replies_and_examples"] == []
