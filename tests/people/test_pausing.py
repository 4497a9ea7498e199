"""People who answer checks as if by chance are warned and paused; an admin lets them go on."""

import math
from datetime import timedelta

import numpy as np
import pytest
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from tests.factories import AnnotatorFactory, ComparisonFactory, JudgmentFactory
from workbench.models import Annotator, Claim, Dataset, Flag, Judgment, Pause, Purpose
from workbench.pipeline.annotate import handout
from workbench.pipeline.people import pausing
from workbench.pipeline.people.pausing import Evidence, boundary, log_ratio
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def voter(bob) -> Annotator:
    return Annotator.objects.for_user(bob)


def answers_gold(voter: Annotator, dataset: Dataset, right: int = 0, wrong: int = 0) -> None:
    for outcome in ["a"] * right + ["b"] * wrong:
        comparison = ComparisonFactory.create(prompt__dataset=dataset, gold_outcome="a", required=0)
        JudgmentFactory.create(
            comparison=comparison, annotator=voter, outcome=outcome, purpose=Purpose.GOLD, is_current=False
        )


def answers_repeats(voter: Annotator, dataset: Dataset, same: int = 0, other: int = 0) -> None:
    for outcome in ["a"] * same + ["b"] * other:
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        JudgmentFactory.create(comparison=comparison, annotator=voter, outcome="a")
        JudgmentFactory.create(
            comparison=comparison, annotator=voter, outcome=outcome, purpose=Purpose.REPEAT, is_current=False
        )


def looked_at(dataset: Dataset) -> list[Pause]:
    """What the clock finds once all answers are old enough to count."""
    some_minutes = pausing.HELD_BACK + timedelta(seconds=30)
    Judgment.objects.update(created_at=F("created_at") - some_minutes)
    Pause.objects.update(announced_at=F("announced_at") - some_minutes)
    Pause.objects.exclude(ended_at=None).update(ended_at=F("ended_at") - some_minutes)
    return pausing.look_at_latest(dataset)


def is_warned_and_paused(voter: Annotator, dataset: Dataset, right: int = 0, wrong: int = 12) -> Pause:
    """Answer gold so, the last one wrong and after the warning."""
    answers_gold(voter, dataset, right, wrong - 1)
    looked_at(dataset)
    answers_gold(voter, dataset, wrong=1)
    (pause,) = looked_at(dataset)
    assert pause.began_at
    return pause


def page(client, dataset) -> str:
    return client.get(reverse("annotate", args=[dataset.pk])).content.decode()


def act(client, name: str, dataset, user, reason: str = "They asked for a break."):
    member = dataset.members.get(user=user)
    return client.post(reverse(name, args=[dataset.pk, member.pk]), {"reason": reason}, follow=True)


# --- the test -----------------------------------------------------------------------------------------------


def test_the_ratio_is_that_of_the_likelihoods():
    assert log_ratio(Evidence(right=1), 0.75, 0.5) == pytest.approx(math.log(0.5 / 0.75))
    assert log_ratio(Evidence(wrong=1), 0.75, 0.5) == pytest.approx(math.log(0.5 / 0.25))
    assert log_ratio(Evidence(same=1), 0.75, 0.5) == pytest.approx(math.log(0.5 / 0.625))
    assert log_ratio(Evidence(other=1), 0.75, 0.5) == pytest.approx(math.log(0.5 / 0.375))


def test_a_coin_needs_about_thirty_two_gold_pairs():
    a_pair = (log_ratio(Evidence(right=1), 0.75, 0.5) + log_ratio(Evidence(wrong=1), 0.75, 0.5)) / 2

    assert boundary(0.01) / a_pair == pytest.approx(32, abs=0.5)


def paused_after(skill: float, with_repeats: bool, seed: int = 18) -> np.ndarray:
    """The gold pair at which each of 1,000 people, right in a share `skill`, is paused within 2,000, by the
    rates that a Dataset begins with; 0 = never."""
    people, pairs = 1_000, 2_000
    good, bad, alpha = (Dataset._meta.get_field(f"pause_{name}").default for name in ("good", "bad", "alpha"))
    right, wrong, same, other = (
        log_ratio(Evidence(**{name: 1}), good, bad) for name in ("right", "wrong", "same", "other")
    )
    draw = np.random.default_rng(seed)
    gained = np.where(draw.random((people, pairs)) < skill, right, wrong)
    if with_repeats:
        gained += np.where(draw.random((people, pairs)) < skill**2 + (1 - skill) ** 2, same, other)
    beyond = np.cumsum(gained, axis=1) >= boundary(alpha)
    return np.where(beyond.any(axis=1), 1 + beyond.argmax(axis=1), 0)


@pytest.mark.parametrize("with_repeats", [False, True], ids=["gold", "gold and repeats"])
def test_of_a_thousand_people_right_in_three_of_four_at_most_ten_are_ever_paused(with_repeats):
    paused = np.count_nonzero(paused_after(0.75, with_repeats))

    assert 1 <= paused <= 10, "none at all would mean a test that finds nobody"


def test_a_thousand_coin_throwers_are_all_paused_after_about_thirty_two_gold_pairs():
    after = paused_after(0.5, with_repeats=False)

    assert after.all()
    assert after.mean() == pytest.approx(32, abs=3)
    assert paused_after(0.5, with_repeats=True).mean() < after.mean()


def test_somebody_who_misses_gold_is_warned_and_then_paused_with_the_numbers(dataset, voter):
    answers_gold(voter, dataset, wrong=3)
    assert looked_at(dataset) == []

    answers_gold(voter, dataset, wrong=1)
    (warning,) = looked_at(dataset)
    assert (warning.began_at, warning.user) == (None, voter.user)
    assert looked_at(dataset) == [], "nobody is warned twice"

    answers_gold(voter, dataset, wrong=3)
    (pause,) = looked_at(dataset)
    assert pause.pk == warning.pk
    assert pause.began_at is not None
    assert pause.evidence == {"right": 0, "wrong": 7, "same": 0, "other": 0}
    assert looked_at(dataset) == []


def test_nobody_is_paused_without_a_warning_though_the_clock_was_away(dataset, voter):
    answers_gold(voter, dataset, wrong=12)

    (warning,) = looked_at(dataset)
    assert warning.began_at is None
    assert looked_at(dataset) == [], "the clock looks again and again, and nothing was answered since"

    answers_gold(voter, dataset, right=1)
    assert pausing.look_at_latest(dataset) == [], "it does not count yet"
    (pause,) = looked_at(dataset)
    assert pause.pk == warning.pk
    assert pause.began_at is not None
    assert pause.evidence == {"right": 1, "wrong": 12, "same": 0, "other": 0}


def test_ordinary_pairs_do_not_turn_a_warning_into_a_pause(dataset, voter):
    answers_gold(voter, dataset, wrong=12)
    looked_at(dataset)

    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=voter)

    assert looked_at(dataset) == []


def test_somebody_who_answers_well_after_a_late_warning_is_not_paused(dataset, voter):
    answers_gold(voter, dataset, wrong=7)
    looked_at(dataset)

    answers_gold(voter, dataset, right=6)

    assert looked_at(dataset) == []
    assert Pause.objects.get().began_at is None


def test_repeats_count_by_their_own_rates(dataset, voter):
    answers_repeats(voter, dataset, same=16, other=24)
    assert looked_at(dataset)[0].began_at is None

    answers_repeats(voter, dataset, other=7)
    assert looked_at(dataset)[0].began_at is not None


def test_somebody_who_is_right_in_three_of_four_goes_on(dataset, voter):
    answers_gold(voter, dataset, right=30, wrong=10)

    assert looked_at(dataset) == []


@pytest.mark.parametrize("change", ["outcome", "purpose", "label source", "dataset"])
def test_only_first_opinions_of_people_on_checks_of_the_dataset_count(dataset, voter, change):
    answers_gold(voter, dataset, wrong=12)
    judgments = Judgment.objects.filter(annotator=voter)
    if change == "outcome":
        judgments.update(outcome="cannot_judge")
    if change == "purpose":
        judgments.update(purpose=Purpose.WORK)
    if change == "label source":
        judgments.update(annotator=AnnotatorFactory.create(user=None, source="file"))
    other = Dataset.objects.create(name="Other") if change == "dataset" else dataset

    assert looked_at(other) == []


def test_the_rates_are_the_datasets_and_none_pause_nobody(dataset, voter):
    answers_gold(voter, dataset, right=4, wrong=6)
    assert [pause.began_at for pause in looked_at(dataset)] == [None]

    Pause.objects.all().delete()
    dataset.pause_good, dataset.pause_bad = 0.95, 0.5
    looked_at(dataset)
    answers_gold(voter, dataset, right=1)
    assert looked_at(dataset)[0].began_at is not None

    Pause.objects.all().delete()
    dataset.pause_alpha = 0
    assert looked_at(dataset) == []


def test_an_admin_is_not_paused_as_nobody_might_let_them_go_on(dataset, alice):
    answers_gold(Annotator.objects.for_user(alice), dataset, wrong=12)

    assert looked_at(dataset) == []


def test_no_answer_is_followed_at_once_by_a_pause_which_would_tell_that_it_was_to_a_check(dataset, voter):
    answers_gold(voter, dataset, wrong=12)
    assert pausing.look_at_latest(dataset) == []

    looked_at(dataset)
    assert Pause.objects.get().evidence["wrong"] == 12

    answers_gold(voter, dataset, wrong=3)
    pausing.look_at_latest(dataset)
    assert Pause.objects.get().evidence["wrong"] == 12, "the last three do not count yet"


def test_answers_of_long_ago_are_not_looked_at_again(dataset, voter):
    answers_gold(voter, dataset, wrong=12)
    Judgment.objects.update(created_at=timezone.now() - timedelta(hours=1))

    assert looked_at(dataset) == []


def test_the_clock_looks(dataset, voter, django_capture_on_commit_callbacks):
    answers_gold(voter, dataset, wrong=12)

    Judgment.objects.update(created_at=timezone.now() - pausing.HELD_BACK)
    tasks.reconcile()

    assert Pause.objects.get().user == voter.user


# --- what a pause does --------------------------------------------------------------------------------------


def test_whoever_is_paused_gets_no_pair_and_reads_why_without_a_number(dataset, bob, voter, as_user):
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    is_warned_and_paused(voter, dataset)

    said = page(as_user(bob), dataset)

    assert "Your voting is paused here" in said
    assert pausing.TOLD.partition(".")[0] in said
    assert "12" not in pausing.TOLD
    assert not Claim.objects.exists()


def test_somebody_who_is_paused_before_their_first_request_gets_no_pair(dataset, alice, bob, as_user):
    ComparisonFactory.create(prompt__dataset=dataset)
    act(as_user(alice), "member_pause", dataset, bob)
    Annotator.objects.filter(user=bob).delete()

    assert "Your voting is paused here" in page(as_user(bob), dataset)
    assert not Claim.objects.exists()


def test_what_they_held_goes_to_others_and_a_late_vote_is_refused(dataset, alice, bob, voter, as_user):
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    claim = handout.next_claim(dataset, voter)

    act(as_user(alice), "member_pause", dataset, bob)
    late = as_user(bob).post(
        reverse("judge", args=[dataset.pk]),
        {"user": bob.pk, "comparison": comparison.pk, "claim": claim.pk, "answer": "left", "key": "0" * 32},
        headers={"X-Requested-With": "fetch"},
    )

    assert late.status_code == 409
    assert "paused" in late.json()["error"]
    assert not Judgment.objects.exists()
    comparison.refresh_from_db()
    assert comparison.claimed == 0
    assert handout.next_claim(dataset, Annotator.objects.for_user(alice)).comparison == comparison


@pytest.mark.parametrize(("name", "reason"), [("annotate_skip", ""), ("annotate_flag", Flag.Reason.OTHER)])
def test_nothing_else_can_be_done_to_a_pair_meanwhile(dataset, alice, bob, voter, as_user, name, reason):
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    claim = handout.next_claim(dataset, voter)
    act(as_user(alice), "member_pause", dataset, bob)

    fields = {"user": bob.pk, "comparison": comparison.pk, "claim": claim.pk, "reason": reason}
    answer = as_user(bob).post(
        reverse(name, args=[dataset.pk]), fields, headers={"X-Requested-With": "fetch"}
    )

    assert (answer.status_code, "paused" in answer.json()["error"]) == (409, True)


def test_no_vote_is_reopened_meanwhile(dataset, alice, bob, voter, as_user):
    ComparisonFactory.create(prompt__dataset=dataset)
    claim = handout.next_claim(dataset, voter)
    as_user(bob).post(
        reverse("judge", args=[dataset.pk]),
        {
            "user": bob.pk,
            "comparison": claim.comparison_id,
            "claim": claim.pk,
            "answer": "left",
            "key": "0" * 32,
        },
    )
    act(as_user(alice), "member_pause", dataset, bob)

    answer = as_user(bob).get(
        reverse("annotate_undo", args=[dataset.pk]), headers={"X-Requested-With": "fetch"}
    )

    assert answer.status_code == 409


def test_a_pause_is_of_one_dataset(dataset, alice, bob, voter, as_user):
    other = Dataset.objects.create(name="Other")
    other.members.create(user=bob, role="annotator")
    ComparisonFactory.create(prompt__dataset=other)

    act(as_user(alice), "member_pause", dataset, bob)

    assert "paused" not in page(as_user(bob), other)


def test_a_warning_is_shown_above_the_pair_and_takes_nothing_away(dataset, bob, voter, as_user):
    ComparisonFactory.create(prompt__dataset=dataset)
    answers_gold(voter, dataset, wrong=4)
    looked_at(dataset)

    said = page(as_user(bob), dataset)

    assert "Read the guidelines again" in said
    assert Claim.objects.filter(state="live").exists()


# --- what an admin does -------------------------------------------------------------------------------------


def test_an_admin_sees_the_evidence_and_lets_somebody_go_on_with_a_reason(
    dataset, alice, bob, voter, as_user
):
    ComparisonFactory.create(prompt__dataset=dataset)
    is_warned_and_paused(voter, dataset, right=2)
    people = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()
    assert "2 of 14 known answers right" in people

    people = act(as_user(alice), "member_resume", dataset, bob, "We talked.").content.decode()

    pause = Pause.objects.get()
    assert (pause.ended_by, pause.ended_reason) == (alice, "We talked.")
    assert "We talked." in people
    assert "paused" not in page(as_user(bob), dataset)


def test_the_test_begins_anew_after_that(dataset, alice, bob, voter, as_user):
    is_warned_and_paused(voter, dataset)
    act(as_user(alice), "member_resume", dataset, bob)

    answers_gold(voter, dataset, wrong=3)
    assert looked_at(dataset) == []

    assert is_warned_and_paused(voter, dataset, wrong=4).evidence["wrong"] == 7


def test_somebody_who_is_warned_can_be_paused_by_hand_and_the_reason_stands_beside_the_numbers(
    dataset, alice, bob, voter, as_user
):
    answers_gold(voter, dataset, wrong=4)
    looked_at(dataset)
    people = as_user(alice).get(reverse("people", args=[dataset.pk])).content.decode()
    assert "Pause bob" in people
    assert "End the warning to bob" in people
    assert "Resume bob" not in people

    people = act(as_user(alice), "member_pause", dataset, bob, "We need to talk.").content.decode()

    assert "We need to talk. (0 of 4 known answers right)" in people
    assert "Resume bob" in people


@pytest.mark.parametrize("name", ["member_pause", "member_resume"])
def test_without_a_reason_nothing_changes(dataset, alice, bob, as_user, name):
    said = act(as_user(alice), name, dataset, bob, "").content.decode()

    assert "Nothing was changed: say why" in said
    assert not Pause.objects.exists()


def test_nobody_is_paused_twice_or_resumed_without_a_pause(dataset, alice, bob, as_user):
    assert "is not paused" in act(as_user(alice), "member_resume", dataset, bob).content.decode()
    act(as_user(alice), "member_pause", dataset, bob)
    assert "paused already" in act(as_user(alice), "member_pause", dataset, bob).content.decode()
    assert Pause.objects.count() == 1
