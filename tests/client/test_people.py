"""The people of a dataset by the client, on a running workbench."""

from datetime import UTC, datetime

import pytest
from preference_workbench import Refused

from tests.factories import ComparisonFactory, JudgmentFactory
from workbench.models import Annotator, Dataset, Invitation, Member, TimeCorrection
from workbench.pipeline import quality

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


@pytest.fixture
def voted(dataset, bob) -> Annotator:
    """Bob, who voted three times for ten seconds."""
    annotator = Annotator.objects.for_user(bob)
    for _ in range(3):
        pair = ComparisonFactory.create(prompt__dataset=dataset)
        JudgmentFactory.create(comparison=pair, annotator=annotator, outcome="a", left="a", seconds=10)
    return annotator


def test_the_time_of_somebody_is_corrected_and_saved_for_pay(enter, dataset, alice, bob, voted, tmp_path):
    Dataset.objects.filter(pk=dataset.pk).update(pay_rate=36, pay_per="hour", currency="EUR")
    people = enter(alice).datasets["Kitchen"].people
    (line,) = people.time().lines

    correction = people.correct_time(line.user, line.day, 60, "A call.")
    people.correct_time(line.user, str(datetime.now(UTC).date()), -30, "A break.")

    assert (line.person, line.seconds, line.pay) == ("bob", "30", "0.30")
    assert (correction.user, correction.reason, correction.corrected_by) == (bob.pk, "A call.", "alice")
    assert sorted(TimeCorrection.objects.values_list("seconds", flat=True)) == [-30, 60]
    assert people.time().total.seconds == "60"
    with pytest.raises(Refused, match="Nothing was changed"):
        people.correct_time(bob.pk, line.day, -900, "Odd.")
    written = people.save_time(tmp_path / "time.csv").read_bytes().decode()
    kinds = [row.split(",")[2] for row in written.splitlines()]
    assert kinds == ["kind", "votes", "correction", "correction"]
    assert "A break." in written


def test_what_a_member_reads_and_knows_is_changed_one_by_one(enter, dataset, alice, bob):
    people = enter(alice).datasets["Kitchen"].people
    member = Member.objects.get(dataset=dataset, user=bob)

    people.change_facts(member.pk, languages=["Polish"], skills=["Law"])
    changed = people.change_facts(member.pk, skills=["Art"])

    assert (changed.languages, changed.skills) == (["pl"], ["art"])


def test_who_has_left_is_listed_and_read(enter, dataset, alice, bob, voted):
    people = enter(alice).datasets["Kitchen"].people
    people.remove(Member.objects.get(dataset=dataset, user=bob).pk)
    run = quality.begin(dataset)
    run.start()
    quality.carry_out(run)

    (left,) = people.others()
    former = people.former(left.annotator)

    assert (left.name, left.figures.votes) == ("bob", 3)
    assert (former.name, former.role) == ("bob", "")
    assert former.ended_at


def test_the_mail_of_an_invitation_is_sent_again(enter, dataset, alice):
    invitations = enter(alice).datasets["Kitchen"].invitations
    assert invitations.mail(["dora@example.org"]).invited == ["dora@example.org"]
    Invitation.objects.update(mail="failed", mail_error="The address is unknown.")

    invitations.resend(Invitation.objects.get().pk)

    assert [(row.mail, row.mail_error) for row in invitations] == [("waiting", "")]
