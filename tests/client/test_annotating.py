"""Voting by the client, on a running workbench."""

import pytest
from django.utils import timezone
from preference_workbench import CannotVote

from tests.factories import ComparisonFactory
from workbench.models import Flag, Judgment, Member, Pause

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


def test_an_annotator_votes_skips_flags_and_undoes(enter, dataset, bob):
    for number in range(4):
        ComparisonFactory.create(
            prompt__dataset=dataset,
            prompt__messages=[{"role": "user", "content": f"Question {number}?"}],
        )
    kitchen = enter(bob).datasets["Kitchen"]
    items = kitchen.annotate()

    first = next(items)
    assert first.prompt.startswith("Question")
    assert {first.left, first.right} == {side.text for side in first.shown.sides}
    first.vote("left", comment="shorter")
    second = next(items)
    second.flag("broken", "cut off")
    second.skip()
    third = next(items)
    # What is neither voted on nor skipped stays held, and does not come again.
    fourth = next(items)
    assert len({item.comparison for item in (first, second, third, fourth)}) == 4
    assert third.hold()
    fourth.vote("tie")
    assert list(items) == []
    assert items.ended.reason == "answer_first"
    third.vote("right:2")
    assert list(items) == []
    assert (items.ended.reason, items.ended.skipped) == ("none_for_you", 1)

    undone = kitchen.undo()
    assert (undone.comparison, undone.earlier.answer) == (third.comparison, "right:2")
    undone.vote("left")
    assert [item.comparison for item in kitchen.annotate(again=True)] == [second.comparison]

    standing = Judgment.objects.filter(is_current=True)
    votes = {vote.comparison_id: (vote.outcome == vote.left, vote.comment) for vote in standing}
    assert votes[first.comparison] == (True, "shorter")
    assert votes[third.comparison] == (True, "")
    assert standing.get(comparison=fourth.comparison).outcome == "tie"
    assert all(vote.seconds is not None for vote in standing)
    assert Flag.objects.get().comparison_id == second.comparison


def test_who_may_not_vote_now_is_told_why(enter, dataset, bob):
    ComparisonFactory.create(prompt__dataset=dataset)
    items = enter(bob).datasets["Kitchen"].annotate()
    next(items)
    Pause.objects.create(dataset=dataset, user=bob, reason="Ask Alice first.", began_at=timezone.now())

    with pytest.raises(CannotVote, match="Ask Alice first"):
        next(items)


def test_somebody_qualifies_and_then_votes(enter, dataset, alice, bob):
    ComparisonFactory.create_batch(
        3, prompt__dataset=dataset, gold_outcome="a", required=0, gold_note="The left one is careful."
    )
    ComparisonFactory.create(prompt__dataset=dataset)
    dataset.qualify_pairs, dataset.qualify_share, dataset.qualify_tries = 2, 1.0, 1
    dataset.save()
    kitchen = enter(bob).datasets["Kitchen"]
    with pytest.raises(CannotVote, match="Qualify before the first vote"):
        next(kitchen.annotate())

    answered = [pair.answer("tie") for pair in kitchen.qualification]

    assert [(told.is_right, told.why, told.is_last) for told in answered] == [
        (False, "The left one is careful.", False),
        (False, "The left one is careful.", True),
    ]
    standing = kitchen.qualification.standing()
    assert (standing.state, standing.left, standing.last.right) == ("failed", 0, 0)
    assert list(kitchen.qualification) == []

    # One more try, given by an admin.
    member = Member.objects.get(dataset=dataset, user=bob)
    assert enter(alice).datasets["Kitchen"].people.grant(member.pk, "try", "Take your time.").left == 1
    assert [pair.answer("tie").is_right for pair in kitchen.qualification] == [False, False]
    assert kitchen.qualification.standing().last.number == 2
    enter(alice).datasets["Kitchen"].people.grant(member.pk, "waiver", "Known for years.")
    next(kitchen.annotate()).vote("left")
