"""Annotators qualify on gold before their first vote, and are never handed what they were told there."""

from uuid import uuid4

import pytest
from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from tests.factories import AnnotatorFactory, ComparisonFactory, JudgmentFactory
from tests.votes import record_judgment
from workbench.models import (
    Annotator,
    AuditEvent,
    Claim,
    Comparison,
    Dataset,
    Judgment,
    Pause,
    QualificationAnswer,
    QualificationGrant,
    QualificationTry,
)
from workbench.pipeline.annotate import handout
from workbench.pipeline.annotate.answers import Answer
from workbench.pipeline.people import qualifying, timesheet
from workbench.pipeline.people.qualifying import State
from workbench.pipeline.questions import telling
from workbench.pipeline.review.gold import mark_gold

pytestmark = pytest.mark.django_db

WHY = "The left one names the temperature."


@pytest.fixture
def voter(bob) -> Annotator:
    return Annotator.objects.for_user(bob)


@pytest.fixture
def asks(dataset, alice) -> Dataset:
    """The dataset asks for four gold pairs of its nine, three right, in at most two tries."""
    dataset.revise_guidelines("Prefer the careful answer.", alice)
    ComparisonFactory.create_batch(9, prompt__dataset=dataset, gold_outcome="a", required=0, gold_note=WHY)
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    dataset.qualify_pairs, dataset.qualify_share, dataset.qualify_tries = 4, 0.75, 2
    dataset.save()
    return dataset


def to(name: str, dataset: Dataset, query: str = "") -> str:
    return reverse(name, args=[dataset.pk]) + query


def opened(client, dataset, name: str = "qualify"):
    """The page as a browser ends up on it, with its text."""
    response = client.get(to(name, dataset), follow=True)
    response.text = response.content.decode()
    return response


def answers_one(client, dataset, right: bool = True):
    opened(client, dataset)
    shown = QualificationAnswer.objects.get(outcome="")
    is_left = (shown.left == shown.comparison.gold_outcome) == right
    answer = {"pair": shown.pk, "answer": "left" if is_left else "right", "seconds": "7.5"}
    return client.post(to("qualify_answer", dataset), answer, follow=True)


def tries(client, dataset, right: int, wrong: int = 0) -> None:
    client.post(to("qualify_start", dataset))
    for is_right in [True] * right + [False] * wrong:
        answers_one(client, dataset, is_right)


def vote_of(user, claim, answer="left"):
    about = {"comparison": claim.comparison_id, "claim": claim.pk, "user": user.pk}
    return {**about, "answer": answer, "key": "0" * 32}


FETCH = {"X-Requested-With": "fetch", "Accept": "application/json"}


# --- the way ------------------------------------------------------------------------------------------------


def test_whoever_opens_annotate_is_led_to_the_guidelines_first_and_nothing_is_handed_out(asks, bob, as_user):
    response = opened(as_user(bob), asks, "annotate")

    assert response.redirect_chain[-1][0] == to("qualify", asks)
    assert "Prefer the careful answer." in response.text
    assert "Start with 4 pairs" in response.text
    assert "3 right answers pass, and you have 2 tries" in response.text
    assert not Claim.objects.exists()
    assert not QualificationAnswer.objects.exists()


def test_each_answer_is_followed_by_right_or_wrong_and_the_explanation(asks, bob, as_user):
    client = as_user(bob)
    client.post(to("qualify_start", asks))

    shown = opened(client, asks).text
    right = answers_one(client, asks, right=True).content.decode()
    wrong = answers_one(client, asks, right=False).content.decode()

    assert WHY not in shown
    assert ("agree" in right, WHY in right) == (True, True)
    assert ("disagree" in wrong, WHY in wrong) == (True, True)
    assert "pair <b>2</b> of 4" in wrong


def test_who_passes_goes_on_to_the_first_pair_and_the_result_is_kept_with_its_guidelines(
    asks, bob, voter, as_user
):
    client = as_user(bob)

    tries(client, asks, right=3, wrong=1)

    result = opened(client, asks).text
    assert "You passed: 3 of 4 right" in result
    assert "Start with the first pair" in result
    attempt = QualificationTry.objects.get()
    assert (attempt.passed, attempt.right, attempt.needed, attempt.guidelines.number) == (True, 3, 3, 1)
    assert opened(client, asks, "annotate").redirect_chain == []
    assert Claim.objects.filter(annotator=voter).exists()


def test_who_does_not_pass_gets_other_pairs_and_then_an_admin_is_named(asks, bob, as_user):
    client = as_user(bob)

    tries(client, asks, right=2, wrong=2)
    assert "You have 1 more try" in opened(client, asks).text
    tries(client, asks, right=2, wrong=2)

    result = opened(client, asks).text
    assert "Not passed: 2 of 4 right" in result
    assert "An admin can give you another try" in result
    assert "qualify/start" not in result
    assert QualificationAnswer.objects.values("comparison").distinct().count() == 8
    client.post(to("qualify_start", asks))
    assert QualificationTry.objects.count() == 2


def test_seen_pairs_come_again_only_where_others_have_run_out(asks, bob, as_user):
    asks.qualify_pairs = 6
    asks.save()

    for _ in range(2):
        tries(as_user(bob), asks, right=0, wrong=6)

    times = QualificationAnswer.objects.values_list("comparison").annotate(n=Count("pk"))
    assert sorted(n for _, n in times) == [1] * 6 + [2] * 3


def test_order_and_sides_differ_between_people(asks, bob, rita, as_user):
    asks.members.filter(user=rita).update(role="annotator")
    for user in (bob, rita):
        tries(as_user(user), asks, right=4)

    shown = [
        list(attempt.answers.values_list("comparison", "left")) for attempt in QualificationTry.objects.all()
    ]
    assert shown[0] != shown[1]
    assert [sorted(left for _, left in one) for one in shown] == [["a", "a", "b", "b"]] * 2


def test_a_try_goes_on_where_it_was_left(asks, bob, as_user):
    tries(as_user(bob), asks, right=1)
    opened(as_user(bob), asks)
    first = QualificationAnswer.objects.get(outcome="")

    as_user(bob).post(to("qualify_start", asks))
    opened(as_user(bob), asks)

    assert QualificationAnswer.objects.get(outcome="") == first
    assert QualificationTry.objects.count() == 1


def test_a_double_click_answers_one_pair(asks, bob, as_user):
    client = as_user(bob)
    client.post(to("qualify_start", asks))
    opened(client, asks)
    shown = QualificationAnswer.objects.get()

    for answer in ("left", "right"):
        client.post(to("qualify_answer", asks), {"pair": shown.pk, "answer": answer})

    shown.refresh_from_db()
    assert shown.outcome == shown.left


def test_pairs_with_an_explanation_come_first(asks, bob, as_user):
    Comparison.objects.filter(pk__in=list(asks.comparisons.gold().values_list("pk", flat=True)[:5])).update(
        gold_note=""
    )

    tries(as_user(bob), asks, right=4)

    assert not QualificationAnswer.objects.filter(comparison__gold_note="").exists()


def test_a_pair_that_is_no_longer_gold_is_replaced_and_its_answer_refused(asks, bob, as_user):
    client = as_user(bob)
    client.post(to("qualify_start", asks))
    opened(client, asks)
    shown = QualificationAnswer.objects.get()
    mark_gold(shown.comparison, "")

    said = client.post(
        to("qualify_answer", asks), {"pair": shown.pk, "answer": "left"}, follow=True
    ).content.decode()

    assert "This pair has no known answer any more" in said
    assert QualificationAnswer.objects.get().comparison != shown.comparison


def test_nobody_answers_or_reads_the_pair_of_another_person(asks, bob, rita, as_user):
    asks.members.filter(user=rita).update(role="annotator")
    tries(as_user(bob), asks, right=1)
    opened(as_user(bob), asks)
    told, shown = QualificationAnswer.objects.order_by("position")

    said = as_user(rita).post(to("qualify_answer", asks), {"pair": shown.pk, "answer": "left"}, follow=True)

    assert "not part of your try" in said.content.decode()
    shown.refresh_from_db()
    assert shown.outcome == ""
    assert as_user(rita).get(to("qualify", asks, f"?last={told.pk}")).status_code == 404
    assert as_user(bob).get(to("qualify", asks, f"?last={shown.pk}")).status_code == 404


def test_an_answer_that_is_none_is_not_saved(asks, bob, as_user):
    client = as_user(bob)
    client.post(to("qualify_start", asks))
    opened(client, asks)

    said = client.post(to("qualify_answer", asks), {"pair": "1", "answer": "cannot_judge"}, follow=True)

    assert "Nothing was saved: choose one of the answers" in said.content.decode()


# --- guards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["before", "open", "failed"])
def test_no_pair_is_handed_out_before_somebody_has_passed(asks, bob, as_user, at):
    client = as_user(bob)
    if at == "open":
        client.post(to("qualify_start", asks))
    if at == "failed":
        tries(client, asks, right=0, wrong=4)
        tries(client, asks, right=0, wrong=4)

    answer = client.post(to("annotate_next", asks), headers=FETCH)
    with_pages = client.post(to("annotate_next", asks), {"have": "1"}, headers=FETCH)

    assert "Qualify before your first vote" in answer.content.decode()
    assert "Qualify before your first vote" in with_pages.content.decode()
    assert not Claim.objects.exists()


@pytest.mark.parametrize("name", ["judge", "annotate_skip", "annotate_flag"])
def test_a_pair_held_from_before_takes_nothing(asks, bob, voter, as_user, name):
    claim = handout.next_claim(asks, voter)

    answer = as_user(bob).post(
        to(name, asks), {**vote_of(bob, claim), "reason": "other", "note": ""}, headers=FETCH
    )

    assert answer.status_code == 409
    assert "before you vote" in answer.json()["error"]
    assert not Judgment.objects.exists()
    claim.refresh_from_db()
    assert claim.state == Claim.State.LIVE


def test_a_lease_from_before_is_not_renewed(asks, bob, voter, as_user):
    claim = handout.next_claim(asks, voter)

    held = as_user(bob).post(to("annotate_hold", asks), {"have": claim.comparison_id}).json()["held"]

    assert held == []


def test_gold_of_a_qualification_is_never_a_check_later(asks, bob, voter, as_user, monkeypatch):
    tries(as_user(bob), asks, right=4)
    told = set(QualificationAnswer.objects.values_list("comparison", flat=True))
    asks.gold_share = 0.5
    asks.save()
    monkeypatch.setattr(handout.random, "random", lambda: 0.0)  # gold while there is some

    checks = set()
    while (claim := handout.next_claim(asks, voter)).purpose == "gold":
        checks.add(claim.comparison_id)
        record_judgment(voter, claim.comparison, Answer("left", uuid4()), claim.pk)

    assert checks == set(asks.comparisons.gold().values_list("pk", flat=True)) - told


def test_gold_that_becomes_ordinary_is_never_work_for_who_was_told(asks, bob, voter, as_user):
    tries(as_user(bob), asks, right=4)
    told = [row.comparison for row in QualificationAnswer.objects.all()]
    asks.comparisons.exclude(pk__in=[comparison.pk for comparison in told]).delete()
    for comparison in told:
        mark_gold(comparison, "")

    assert handout.next_claim(asks, voter) is None
    assert handout.next_claim(asks, AnnotatorFactory.create()).comparison in told


def test_what_was_a_check_or_work_is_never_in_a_qualification(asks, bob, voter, as_user):
    had = list(asks.comparisons.gold()[:5])
    for comparison in had:
        comparison.claims.create(
            annotator=voter,
            purpose="gold",
            state="skipped",
            left="a",
            mode="blind",
            expires_at=timezone.now(),
        )

    tries(as_user(bob), asks, right=4)

    drawn = set(QualificationAnswer.objects.values_list("comparison", flat=True))
    assert len(drawn) == 4
    assert drawn.isdisjoint(comparison.pk for comparison in had)


def test_what_somebody_read_as_an_example_is_never_in_their_qualification(asks, bob, voter, as_user):
    gold = list(asks.comparisons.gold().order_by("pk").values_list("pk", flat=True))
    telling.tell(voter, gold[:5])

    tries(as_user(bob), asks, right=4)

    assert set(QualificationAnswer.objects.values_list("comparison", flat=True)) == set(gold[5:])


def test_a_pair_on_screen_is_no_check_for_who_is_let_in_meanwhile(
    asks, alice, bob, voter, as_user, monkeypatch
):
    client = as_user(bob)
    client.post(to("qualify_start", asks))
    opened(client, asks)
    shown = QualificationAnswer.objects.get()
    asks.comparisons.gold().exclude(pk=shown.comparison_id).delete()
    gives(as_user(alice), asks, bob, "waiver")
    asks.gold_share = 0.5
    asks.save()
    monkeypatch.setattr(handout.random, "random", lambda: 0.0)  # gold while there is some

    assert handout.next_claim(asks, voter).purpose == "work"


def test_answers_are_no_votes_and_in_no_time_sheet(asks, bob, as_user):
    tries(as_user(bob), asks, right=4)

    assert not Judgment.objects.exists()
    assert sum(attempt.seconds for attempt in stand(asks, bob).tries) == 30
    day = QualificationTry.objects.get().started_at.date()
    assert timesheet.lines([asks], timesheet.Period(day, day)) == []


# --- who need not -------------------------------------------------------------------------------------------


def stand(dataset, user) -> qualifying.Standing:
    return qualifying.of_member(dataset.members.get(user=user))


def test_reviewers_and_admins_need_not(asks, alice, rita, as_user):
    for user in (alice, rita):
        assert opened(as_user(user), asks, "annotate").redirect_chain == []
        assert "You need not qualify" in opened(as_user(user), asks).text


def test_whoever_has_voted_before_it_was_switched_on_goes_on(asks, bob, voter, as_user):
    JudgmentFactory.create(comparison__prompt__dataset=asks, annotator=voter)
    elsewhere = AnnotatorFactory.create()
    asks.members.create(user=elsewhere.user, role="annotator")
    JudgmentFactory.create(annotator=elsewhere)

    assert opened(as_user(bob), asks, "annotate").redirect_chain == []
    assert stand(asks, bob).state == State.EXEMPT
    assert stand(asks, elsewhere.user).state == State.DUE


def test_a_dataset_without_qualification_asks_nobody(dataset, bob, as_user):
    assert opened(as_user(bob), dataset, "annotate").redirect_chain == []
    assert "asks nobody to qualify" in opened(as_user(bob), dataset).text
    assert (
        "no try for you to start"
        in as_user(bob).post(to("qualify_start", dataset), follow=True).content.decode()
    )


def test_too_little_gold_locks_nobody_out_and_settings_and_the_page_say_so(asks, alice, bob, as_user):
    few = list(asks.comparisons.gold().values_list("pk", flat=True)[:6])
    asks.comparisons.filter(pk__in=few).delete()

    settings = as_user(alice).get(to("settings", asks)).content.decode()

    assert "3 pairs here have a known answer" in settings
    assert "4 are needed, so nobody has to qualify yet." in settings
    assert "too few pairs with a known answer" in opened(as_user(bob), asks).text
    assert opened(as_user(bob), asks, "annotate").redirect_chain == []


def test_gold_that_goes_in_the_middle_of_a_try_locks_nobody_out(asks, bob, as_user):
    tries(as_user(bob), asks, right=2)
    asks.comparisons.gold().exclude(
        pk__in=QualificationAnswer.objects.exclude(outcome="").values("comparison")
    ).delete()

    assert "too few pairs with a known answer" in opened(as_user(bob), asks).text
    assert opened(as_user(bob), asks, "annotate").redirect_chain == []


def test_who_has_passed_has_passed_whatever_the_settings_and_guidelines_become(asks, alice, bob, as_user):
    tries(as_user(bob), asks, right=4)
    asks.qualify_pairs, asks.qualify_share = 5, 1
    asks.save()
    asks.revise_guidelines("Prefer the short answer.", alice, based_on=1)

    assert stand(asks, bob).state == State.PASSED
    assert "under version 1 of the guidelines" in opened(as_user(bob), asks).text


def test_whoever_is_paused_reads_that_and_answers_nothing(asks, bob, as_user):
    client = as_user(bob)
    client.post(to("qualify_start", asks))
    opened(client, asks)
    shown = QualificationAnswer.objects.get()
    Pause.objects.create(dataset=asks, user=bob, reason="A break.", began_at=timezone.now())

    assert "Your voting is paused here" in opened(client, asks).text
    client.post(to("qualify_answer", asks), {"pair": shown.pk, "answer": "left"})
    shown.refresh_from_db()
    assert shown.outcome == ""


@pytest.mark.parametrize(
    ("share", "pairs", "right"), [(0.8, 10, 8), (0.7, 10, 7), (0.75, 5, 4), (1, 3, 3), (0, 3, 0)]
)
def test_the_pass_mark_is_the_share_rounded_up(share, pairs, right):
    assert qualifying.needed(Dataset(qualify_share=share, qualify_pairs=pairs)) == right


# --- for admins ---------------------------------------------------------------------------------------------


def gives(client, dataset, user, kind: str, reason: str = "A bad day.") -> str:
    member = dataset.members.get(user=user)
    path = reverse("member_qualify", args=[dataset.pk, member.pk])
    return client.post(path, {"kind": kind, "reason": reason}, follow=True).content.decode()


@pytest.fixture
def failed(asks, bob, as_user) -> Dataset:
    for _ in range(2):
        tries(as_user(bob), asks, right=1, wrong=3)
    return asks


def test_an_admin_sees_tries_and_gives_one_more_with_a_reason(failed, alice, bob, as_user):
    people = as_user(alice).get(to("people", failed)).content.decode()
    assert people.count("not qualified") == 1

    person = gives(as_user(alice), failed, bob, "try")

    assert person.count("1 of 4") == 2
    assert "version 1" in person
    assert "One more try" in person
    assert "A bad day." in person
    assert "not qualified" not in as_user(alice).get(to("people", failed)).content.decode()
    assert "You have 1 more try" in opened(as_user(bob), failed).text
    tries(as_user(bob), failed, right=4)
    assert stand(failed, bob).state == State.PASSED


def test_an_admin_lets_somebody_vote_without(failed, alice, bob, as_user):
    gives(as_user(alice), failed, bob, "waiver")

    assert opened(as_user(bob), failed, "annotate").redirect_chain == []
    assert "An admin lets you vote without qualifying" in opened(as_user(bob), failed).text
    assert "need not qualify" in gives(as_user(alice), failed, bob, "try")
    assert QualificationGrant.objects.count() == 1


@pytest.mark.parametrize(("kind", "reason"), [("try", ""), ("crown", "A bad day.")])
def test_without_a_reason_or_with_another_kind_nothing_changes(failed, alice, bob, as_user, kind, reason):
    gives(as_user(alice), failed, bob, kind, reason)

    assert not QualificationGrant.objects.exists()


def test_only_who_waits_for_an_admin_is_named_on_people(failed, bob, voter):
    assert qualifying.failed_in(failed) == {bob.pk}

    JudgmentFactory.create(comparison__prompt__dataset=failed, annotator=voter)
    assert qualifying.failed_in(failed) == set()


def test_a_waiver_that_is_taken_back_bars_also_who_has_voted_meanwhile(failed, alice, bob, voter, as_user):
    admin, client = as_user(alice), as_user(bob)
    assert "nobody has let bob vote without" in gives(admin, failed, bob, "needed")
    gives(admin, failed, bob, "waiver")
    JudgmentFactory.create(comparison__prompt__dataset=failed, annotator=voter)

    gives(admin, failed, bob, "needed", "A mistake.")

    assert stand(failed, bob).state == State.FAILED
    assert opened(client, failed, "annotate").redirect_chain == [(to("qualify", failed), 302)]
    assert qualifying.failed_in(failed) == {bob.pk}
    rows = AuditEvent.objects.filter(kind="qualification").order_by("pk").values_list("actor", "word")
    assert list(rows) == [(alice.pk, "waiver"), (alice.pk, "needed")]
    assert Judgment.objects.count() == 1
    assert "nobody has let bob vote without" in gives(admin, failed, bob, "needed")

    gives(admin, failed, bob, "waiver")
    assert stand(failed, bob).state == State.WAIVED
    assert opened(client, failed, "annotate").redirect_chain == []
    assert qualifying.failed_in(failed) == set()


def test_who_has_passed_is_not_asked_again_and_others_keep_their_waiver(asks, alice, bob, rita, as_user):
    gives(as_user(alice), asks, bob, "waiver")
    other = AnnotatorFactory.create()
    asks.members.create(user=other.user, role="annotator")
    gives(as_user(alice), asks, other.user, "waiver")

    gives(as_user(alice), asks, other.user, "needed")

    assert stand(asks, bob).state == State.WAIVED
    assert stand(asks, other.user).state == State.DUE
    tries(as_user(other.user), asks, right=4)
    assert stand(asks, other.user).state == State.PASSED
    assert "nobody has let" in gives(as_user(alice), asks, other.user, "needed")
