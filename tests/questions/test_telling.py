"""Who may still judge a pair is told nothing of it, and who was told judges it no more."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.factories import AnnotatorFactory, ComparisonFactory
from tests.votes import record_judgment
from workbench.models import Annotator, Claim, Comparison, Dataset, Flag, Member, Told
from workbench.pipeline.annotate import answers, handout
from workbench.pipeline.annotate.answers import AlreadyTold, Answer
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.annotate.progress import last_answered
from workbench.pipeline.questions import asked, examples, replying
from workbench.pipeline.questions.telling import closed_to, still_judged
from workbench.pipeline.review import decide
from workbench.pipeline.review.gold import mark_gold

pytestmark = pytest.mark.django_db


@pytest.fixture
def of_bob(bob) -> Annotator:
    return Annotator.objects.for_user(bob)


@pytest.fixture
def of_rita(rita) -> Annotator:
    return Annotator.objects.for_user(rita)


@pytest.fixture
def pair(dataset) -> Comparison:
    """The only pair, for two people."""
    Dataset.objects.update(overlap=2, max_overlap=2, gold_share=0, repeat_share=0)
    dataset.refresh_from_db()
    return ComparisonFactory.create(prompt__dataset=dataset)


def vote(dataset: Dataset, person: Annotator, outcome: str = "left", **fields: object):
    claim = next_claim(dataset, person)
    return record_judgment(person, claim.comparison, Answer(outcome, uuid4(), **fields), claim.pk)


def settle(pair: Comparison, by, outcome: str = "a"):
    return decide.settle(pair, by, outcome, seen_token=decide.seen(pair))


def may_judge(dataset: Dataset, pair: Comparison, person: Annotator | None = None) -> bool:
    return still_judged(Comparison.objects.filter(pk=pair.pk), dataset, person and person.pk).exists()


def statuses(dataset: Dataset, person: Annotator) -> list[tuple[str, str]]:
    """What became of each question: the final label, and the reply."""
    rows = list(asked.questions(dataset, person).get_page(1))
    return [(row.became.outcome, row.became.reply) for row in asked.read(dataset, person, rows)]


def texts(dataset: Dataset, person: Annotator) -> list[str]:
    return [shown.why for shown in examples.shown_to(dataset, person)]


# --- who may still judge ------------------------------------------------------------------------------------


def test_a_pair_with_a_free_place_may_be_judged_by_whoever_has_not_voted(dataset, pair, of_bob, of_rita):
    vote(dataset, of_bob)

    who = [may_judge(dataset, pair, of_bob), may_judge(dataset, pair, of_rita), may_judge(dataset, pair)]

    assert who == [False, True, True]


def test_a_pair_with_all_its_votes_may_be_judged_by_nobody(dataset, pair, of_bob, of_rita):
    vote(dataset, of_bob)
    vote(dataset, of_rita)

    who = [may_judge(dataset, pair, one) for one in (of_bob, of_rita, AnnotatorFactory.create(), None)]

    assert who == [False] * 4


def test_a_pair_on_somebodys_screen_may_be_judged_by_them(dataset, pair, of_bob, of_rita):
    vote(dataset, of_bob)
    next_claim(dataset, of_rita)

    who = [may_judge(dataset, pair, one) for one in (of_bob, of_rita, AnnotatorFactory.create(), None)]

    assert who == [False, True, False, True]


def test_a_settled_pair_may_be_judged_by_nobody(dataset, pair, rita, of_bob):
    settle(pair, rita)

    assert not may_judge(dataset, pair)
    assert not may_judge(dataset, pair, of_bob)


def test_gold_may_be_judged_by_all(dataset, pair, rita, of_bob):
    vote(dataset, of_bob)
    settle(pair, rita)
    mark_gold(pair, "a")

    assert may_judge(dataset, pair)
    assert may_judge(dataset, pair, of_bob)


@pytest.mark.parametrize("state", ["live", "expired", "skipped"])
def test_a_repeat_that_is_not_answered_may_be_judged_by_its_annotator(dataset, pair, rita, of_bob, state):
    vote(dataset, of_bob)
    settle(pair, rita)
    assert not may_judge(dataset, pair)
    pair.claims.create(
        annotator=of_bob, purpose="repeat", state=state, left="b", mode="blind", expires_at=timezone.now()
    )

    assert may_judge(dataset, pair, of_bob)
    assert may_judge(dataset, pair)


def test_the_repeat_of_somebody_who_has_left_holds_nothing_back(dataset, pair, rita, bob, of_bob):
    vote(dataset, of_bob)
    settle(pair, rita)
    pair.claims.create(
        annotator=of_bob, purpose="repeat", state="expired", left="b", mode="blind", expires_at=timezone.now()
    )
    Member.objects.filter(user=bob).delete()

    assert not may_judge(dataset, pair)


def test_the_repeat_of_staff_without_a_role_holds_the_pair_back(dataset, pair, rita):
    sam = AnnotatorFactory.create(user__is_staff=True)
    settle(pair, rita)
    pair.claims.create(
        annotator=sam, purpose="repeat", state="expired", left="b", mode="blind", expires_at=timezone.now()
    )

    assert may_judge(dataset, pair)


def test_a_pair_that_gets_more_people_may_be_judged_again(dataset, pair, of_bob, of_rita):
    vote(dataset, of_bob)
    vote(dataset, of_rita)
    Dataset.objects.update(overlap=3)
    dataset.refresh_from_db()

    assert may_judge(dataset, pair)
    assert not may_judge(dataset, pair, of_bob)


# --- questions ----------------------------------------------------------------------------------------------


def test_a_reply_is_shown_to_whoever_asked_and_has_voted(dataset, pair, rita, of_bob):
    vote(dataset, of_bob, comment="Which language?")
    assert statuses(dataset, of_bob) == [("", "")]

    replying.reply(pair, of_bob, "English.", rita)

    assert asked.has_news(dataset, of_bob)
    assert statuses(dataset, of_bob) == [("", "English.")]
    assert not asked.has_news(dataset, of_bob)


def test_a_reply_is_held_while_whoever_asked_may_still_judge(dataset, pair, rita, of_bob):
    claim = next_claim(dataset, of_bob)
    answers.flag(of_bob, pair, "other", "Which language?", claim.pk)
    answers.skip(of_bob, pair, claim.pk)
    replying.reply(pair, of_bob, "English.", rita)

    assert not asked.has_news(dataset, of_bob)
    assert statuses(dataset, of_bob) == [("", "")]
    assert not Told.objects.exists()


def test_a_held_reply_is_shown_when_the_pair_is_settled(dataset, pair, rita, of_bob):
    claim = next_claim(dataset, of_bob)
    answers.flag(of_bob, pair, "other", "Which language?", claim.pk)
    answers.skip(of_bob, pair, claim.pk)
    replying.reply(pair, of_bob, "English.", rita)

    settle(pair, rita, "tie")

    assert statuses(dataset, of_bob) == [("tie", "English.")]


def test_nothing_is_told_of_gold(dataset, pair, rita, of_bob):
    vote(dataset, of_bob, comment="Odd.")
    replying.reply(pair, of_bob, "Left is right.", rita)
    settle(pair, rita)
    mark_gold(pair, "a")

    assert not asked.has_news(dataset, of_bob)
    assert statuses(dataset, of_bob) == [("", "")]


def test_a_reply_that_was_taken_back_is_not_shown(dataset, pair, rita, of_bob):
    vote(dataset, of_bob, comment="Odd.")
    replying.reply(pair, of_bob, "Left is right.", rita)

    replying.reply(pair, of_bob, "", rita)

    assert statuses(dataset, of_bob) == [("", "")]
    assert not asked.has_news(dataset, of_bob)


def test_a_changed_reply_is_news_again(dataset, pair, rita, of_bob):
    vote(dataset, of_bob, comment="Odd.")
    replying.reply(pair, of_bob, "Left.", rita)
    statuses(dataset, of_bob)

    replying.reply(pair, of_bob, "Right.", rita)

    assert asked.has_news(dataset, of_bob)
    assert statuses(dataset, of_bob) == [("", "Right.")]


def test_an_undo_puts_the_text_before_back(dataset, pair, rita, alice, of_bob):
    vote(dataset, of_bob, comment="Odd.")
    replying.reply(pair, of_bob, "Left.", rita)
    second = replying.reply(pair, of_bob, "Right.", rita)

    undone = replying.undo(second, alice)

    assert (undone.text, undone.by) == ("Left.", alice)
    assert replying.undo(second, alice) is None
    assert [row.text for row in pair.replies.all()] == ["Left.", "Right.", "Left."]


def test_a_pair_that_an_admin_sent_to_review_is_no_question(dataset, pair, of_bob):
    Flag.objects.create(comparison=pair, annotator=of_bob, reason="review")

    assert statuses(dataset, of_bob) == []


def test_nobody_reads_anothers_questions(dataset, pair, rita, of_bob, of_rita):
    vote(dataset, of_bob, comment="Odd.")
    vote(dataset, of_rita)
    replying.reply(pair, of_bob, "Left.", rita)

    assert statuses(dataset, of_rita) == []
    assert not asked.has_news(dataset, of_rita)


# --- who was told -------------------------------------------------------------------------------------------


@pytest.fixture
def told(dataset, pair, rita, of_bob):
    """Bob has voted, asked, and read how the pair was settled; then it is reopened."""
    judgment = vote(dataset, of_bob, comment="Odd.")
    decision = settle(pair, rita)
    assert statuses(dataset, of_bob) == [("a", "")]
    decide.undo(decision, rita)
    return judgment


def test_who_was_told_cannot_change_the_vote(pair, of_bob, told):
    claim = pair.claims.get()
    changed = Answer("right", uuid4(), supersedes=told.idempotency_key)

    with pytest.raises(AlreadyTold):
        record_judgment(of_bob, pair, changed, claim.pk)

    assert pair.judgments.get() == told


def test_a_vote_that_is_sent_twice_is_taken_as_before(pair, of_bob, told):
    again = Answer(told.outcome, told.idempotency_key)

    assert record_judgment(of_bob, pair, again, pair.claims.get().pk) == told


def test_undo_passes_over_what_was_told(dataset, of_bob, told):
    assert last_answered(dataset, of_bob) is None


def test_who_was_told_gets_no_repeat(dataset, pair, of_bob, told, monkeypatch):
    Dataset.objects.update(repeat_share=1)
    dataset.refresh_from_db()
    monkeypatch.setattr(handout, "REPEAT_AFTER", 0)

    assert next_claim(dataset, of_bob) is None

    Told.objects.all().delete()
    assert next_claim(dataset, of_bob).purpose == "repeat"


def test_who_was_told_gets_the_pair_neither_as_work_nor_as_gold(dataset, pair, of_bob, told):
    pair.judgments.all().delete()
    pair.claims.all().delete()
    Comparison.objects.update(claimed=0)
    assert next_claim(dataset, of_bob) is None

    mark_gold(pair, "a")
    Dataset.objects.update(gold_share=1)
    dataset.refresh_from_db()
    assert next_claim(dataset, of_bob) is None

    Told.objects.all().delete()
    assert next_claim(dataset, of_bob).purpose == "gold"


def test_who_was_told_does_not_get_gold_back_that_they_had_put_off(dataset, pair, of_bob, told):
    pair.judgments.all().delete()
    mark_gold(pair, "a")
    pair.claims.update(purpose="gold", state="expired", slot=None)

    assert next_claim(dataset, of_bob) is None

    Told.objects.all().delete()
    assert next_claim(dataset, of_bob).purpose == "gold"


def test_one_who_skipped_and_was_told_does_not_get_the_pair_back(dataset, pair, rita, of_bob):
    claim = next_claim(dataset, of_bob)
    answers.flag(of_bob, pair, "other", "", claim.pk)
    answers.skip(of_bob, pair, claim.pk)
    decision = settle(pair, rita)
    statuses(dataset, of_bob)
    decide.undo(decision, rita)

    assert next_claim(dataset, of_bob, again=True) is None
    with pytest.raises(AlreadyTold):
        record_judgment(of_bob, pair, Answer("left", uuid4()), claim.pk)


def test_what_was_told_stays_readable_after_the_pair_is_reopened(dataset, pair, rita, of_bob, told):
    assert statuses(dataset, of_bob) == [("", "")]

    settle(pair, rita, "b")

    assert statuses(dataset, of_bob) == [("b", "")]


def test_what_was_read_stays_readable_though_the_pair_is_gold_later(dataset, pair, rita, of_bob):
    vote(dataset, of_bob, comment="Odd.")
    replying.reply(pair, of_bob, "Left.", rita)
    assert statuses(dataset, of_bob) == [("", "Left.")]

    mark_gold(pair, "a")

    assert statuses(dataset, of_bob) == [("", "Left.")]


# --- examples -----------------------------------------------------------------------------------------------


def test_an_example_is_shown_to_all_once_nobody_may_judge_the_pair(dataset, pair, rita, of_bob, of_rita):
    vote(dataset, of_bob)
    settle(pair, rita)
    replying.make_example(pair, "It answers.", rita)

    assert [texts(dataset, one) for one in (of_bob, of_rita)] == [["It answers."]] * 2
    assert closed_to(dataset, of_rita, [pair.pk]) == {pair.pk}


def test_an_example_goes_when_its_pair_is_reopened(dataset, pair, rita, of_bob):
    decision = settle(pair, rita)
    replying.make_example(pair, "It answers.", rita)
    assert texts(dataset, of_bob) == ["It answers."]

    decide.undo(decision, rita)

    assert texts(dataset, of_bob) == []
    assert next_claim(dataset, of_bob) is None  # Bob has read it


def test_an_example_goes_when_its_pair_gets_more_people(dataset, pair, rita, of_bob, of_rita):
    vote(dataset, of_bob)
    vote(dataset, of_rita)
    pair.decisions.create(outcome="a", method="agreement")
    replying.make_example(pair, "Both said so.", rita)
    assert texts(dataset, of_bob) == ["Both said so."]

    Dataset.objects.update(overlap=3)
    dataset.refresh_from_db()

    assert texts(dataset, of_bob) == []


def test_gold_is_no_example(dataset, pair, rita, of_bob):
    settle(pair, rita)
    replying.make_example(pair, "It answers.", rita)
    mark_gold(pair, "a")
    assert texts(dataset, of_bob) == []

    mark_gold(pair, "")

    assert texts(dataset, of_bob) == ["It answers."]


def test_an_example_that_somebody_has_as_a_repeat_is_shown_to_nobody(dataset, pair, rita, of_bob, of_rita):
    vote(dataset, of_bob)
    settle(pair, rita)
    replying.make_example(pair, "It answers.", rita)
    repeat = pair.claims.create(
        annotator=of_bob, purpose="repeat", state="live", left="b", mode="blind",
        expires_at=timezone.now() + timedelta(minutes=9),
    )  # fmt: skip
    assert [texts(dataset, one) for one in (of_bob, of_rita)] == [[], []]

    Claim.objects.filter(pk=repeat.pk).update(state="done")

    assert [texts(dataset, one) for one in (of_bob, of_rita)] == [["It answers."]] * 2


def test_a_pair_without_a_final_label_is_no_example(dataset, pair, rita):
    with pytest.raises(replying.Refused, match="Settle the pair first"):
        replying.make_example(pair, "It answers.", rita)


def test_an_excluded_pair_is_no_example(dataset, pair, rita, of_bob):
    settle(pair, rita)
    replying.make_example(pair, "It answers.", rita)
    settle(pair, rita, "drop")

    assert texts(dataset, of_bob) == []
