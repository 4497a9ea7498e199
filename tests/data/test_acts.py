from uuid import uuid4

import pytest

from tests.factories import ComparisonFactory, JudgmentFactory, PromptFactory
from workbench.models import (
    Act,
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Decision,
    Flag,
    Judgment,
    Prompt,
    PromptChange,
    Purpose,
    Tag,
    User,
)
from workbench.pipeline.annotate.answers import Answer, record
from workbench.pipeline.annotate.handout import REPEAT_AFTER, next_claim
from workbench.pipeline.data import excluding
from workbench.pipeline.data.acts import do, preview, undo
from workbench.pipeline.data.changes import (
    Exclude,
    GiveTag,
    MarkGold,
    PutFirst,
    Restore,
    SendToReview,
    SetOverlap,
    TakeTag,
    put_first,
)
from workbench.pipeline.datasets import overview
from workbench.pipeline.review import decide
from workbench.pipeline.review import queue as review_queue
from workbench.pipeline.review.gold import mark_gold
from workbench.pipeline.runs.progress import Refused

pytestmark = pytest.mark.django_db

ALL_OUT = Exclude(where="both", reason="Spam")


@pytest.fixture
def pair(dataset: Dataset) -> Comparison:
    return ComparisonFactory.create(prompt__dataset=dataset)


@pytest.fixture
def annotator(bob: User) -> Annotator:
    return Annotator.objects.for_user(bob)


def settled(comparison: Comparison, by: User, outcome: str = "a") -> None:
    decide.settle(comparison, by, outcome, seen_token=decide.seen(comparison))


def wanted(dataset: Dataset) -> int:
    return overview.with_judging_counts(Dataset.objects.filter(pk=dataset.pk), None).get().wanted_count


# --- the history --------------------------------------------------------------------------------------------


def test_an_act_says_who_did_what_to_how_many_and_what_it_left(dataset, alice):
    tagged, bare = PromptFactory.create_batch(2, dataset=dataset)
    do(dataset, GiveTag("hard"), [tagged.pk], by=alice)

    act = do(dataset, GiveTag("hard"), [tagged.pk, bare.pk], by=alice, query="source=rowan")

    assert (act.by, act.kind, act.prompt_count, act.query) == (alice, "tag", 1, "source=rowan")
    assert act.details == {"tag": "hard", "left": ["1 prompt already tagged"]}
    assert list(act.on_prompts.values_list("prompt", flat=True)) == [bare.pk]


def test_an_act_that_changes_nothing_is_refused_and_leaves_no_row(dataset, alice, pair):
    with pytest.raises(Refused, match="Nothing was changed: 1 pair without a final label"):
        do(dataset, MarkGold(), [pair.prompt_id], by=alice)

    assert not Act.objects.exists()


def test_prompts_of_other_datasets_are_left_alone(dataset, alice):
    other = PromptFactory.create()

    with pytest.raises(Refused, match="no prompt is selected"):
        do(dataset, ALL_OUT, [other.pk], by=alice)

    other.refresh_from_db()
    assert other.excluded_from == ""


def test_a_preview_counts_what_the_act_would_change_and_writes_nothing(dataset, alice, pair):
    before = preview(dataset, ALL_OUT, [pair.prompt_id], by=alice)

    assert (before.prompts, before.sample) == (1, [pair.prompt_id])
    assert not Act.objects.exists()
    assert Prompt.objects.get().excluded_from == ""


def test_an_act_and_its_undo_tell_the_columns_which_prompts_changed(dataset, alice, pair):
    act = do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    undo(act, alice)

    assert list(PromptChange.objects.values_list("prompt_id", flat=True)) == [pair.prompt_id] * 2


def test_an_act_is_undone_once(dataset, alice, pair):
    act = do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    undo(act, alice)

    with pytest.raises(Refused, match="undone before"):
        undo(act, alice)


def test_undo_leaves_what_a_later_act_changed(dataset, alice, pair):
    first = do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    do(dataset, Restore(), [pair.prompt_id], by=alice)
    do(dataset, Exclude("both", "Doubled"), [pair.prompt_id], by=alice)

    undone = undo(first, alice)

    assert undone.left == ["1 prompt changed by a later act"]
    assert Prompt.objects.get().excluded_reason == "Doubled"


# --- tags ---------------------------------------------------------------------------------------------------


def test_a_tag_is_given_taken_and_given_back(dataset, alice):
    prompt = PromptFactory.create(dataset=dataset)
    given = do(dataset, GiveTag("hard"), [prompt.pk], by=alice)
    taken = do(dataset, TakeTag("hard"), [prompt.pk], by=alice)
    assert not prompt.tags.exists()

    undo(taken, alice)
    assert prompt.tags.get() == Tag.objects.get(dataset=dataset, name="hard")

    undo(given, alice)
    assert not prompt.tags.exists()


# --- exclusion ----------------------------------------------------------------------------------------------


def test_an_excluded_prompt_is_not_handed_out_and_no_vote_on_it_is_wanted(dataset, alice, annotator, pair):
    assert wanted(dataset) == 1

    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)

    assert next_claim(dataset, annotator) is None
    assert wanted(dataset) == 0


def test_a_prompt_that_only_releases_leave_out_is_handed_out(dataset, alice, annotator, pair):
    do(dataset, Exclude("releases", "Private"), [pair.prompt_id], by=alice)

    assert next_claim(dataset, annotator)


def test_out_of_the_queue_and_then_of_releases_is_out_of_both(dataset, alice, pair):
    do(dataset, Exclude("queue", "Too hard"), [pair.prompt_id], by=alice)
    do(dataset, Exclude("releases", "Private"), [pair.prompt_id], by=alice)

    assert Prompt.objects.get().excluded_from == "both"


def test_a_claim_that_somebody_holds_stays_and_its_vote_counts(dataset, alice, annotator, pair):
    dataset.max_overlap = 5
    dataset.save()
    next_claim(dataset, annotator)

    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    record(annotator, pair, Answer("tie", uuid4()))

    assert Judgment.objects.current().get().comparison == pair
    pair.refresh_from_db()
    assert pair.required == 0


def test_votes_do_not_bring_an_excluded_pair_back_into_the_queue(dataset, alice, bob, annotator, pair):
    dataset.overlap, dataset.max_overlap, dataset.single_vote_threshold = 2, 5, 0.9
    dataset.save()
    JudgmentFactory.create(comparison=pair, outcome="a")
    claim = next_claim(dataset, annotator)

    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    record(annotator, claim.comparison, Answer("right" if claim.left == "a" else "left", uuid4()))

    assert next_claim(dataset, Annotator.objects.for_user(alice)) is None


def test_restored_pairs_want_as_many_people_as_before(dataset, alice, annotator, pair):
    more = ComparisonFactory.create(prompt=pair.prompt, required=3)
    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)

    do(dataset, Restore(), [pair.prompt_id], by=alice)

    required = dict(Comparison.objects.values_list("pk", "required"))
    assert required == {pair.pk: None, more.pk: 3}
    assert next_claim(dataset, annotator)


def test_undoing_a_restoration_excludes_again_with_the_reason(dataset, alice, annotator, pair):
    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    restored = do(dataset, Restore(), [pair.prompt_id], by=alice)

    undo(restored, alice)

    assert Prompt.objects.get().excluded_reason == "Spam"
    assert next_claim(dataset, annotator) is None


def test_a_vote_given_meanwhile_outlives_the_undo(dataset, alice, annotator, pair):
    next_claim(dataset, annotator)
    act = do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    record(annotator, pair, Answer("tie", uuid4()))

    undo(act, alice)

    assert Judgment.objects.current().count() == 1


def test_excluded_gold_and_repeats_are_not_handed_out(dataset, alice, annotator):
    dataset.gold_share = dataset.repeat_share = 0.5
    dataset.save()
    gold = ComparisonFactory.create(prompt__dataset=dataset)
    mark_gold(gold, "a")
    voted = ComparisonFactory.create(prompt__dataset=dataset)
    Claim.objects.create(
        comparison=voted, annotator=annotator, state="done", slot=0, left="a", mode="blind",
        expires_at=voted.created_at, number=0,
    )  # fmt: skip
    Claim.objects.create(
        comparison=ComparisonFactory.create(), annotator=annotator, state="done", slot=0, left="a",
        mode="blind", expires_at=voted.created_at, number=REPEAT_AFTER,
    )  # fmt: skip
    Comparison.objects.filter(pk=voted.pk).update(claimed=1)
    do(dataset, ALL_OUT, [gold.prompt_id, voted.prompt_id], by=alice)

    assert [next_claim(dataset, annotator) for _ in range(20)] == [None] * 20

    do(dataset, Restore(), [gold.prompt_id, voted.prompt_id], by=alice)
    purposes = {claim.purpose for _ in range(30) if (claim := next_claim(dataset, annotator))}
    assert purposes & {Purpose.GOLD, Purpose.REPEAT}


def test_gold_that_was_excluded_is_gold_again_and_collects_no_votes(dataset, alice, pair):
    mark_gold(pair, "a")
    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    do(dataset, Restore(), [pair.prompt_id], by=alice)

    pair.refresh_from_db()
    assert (pair.gold_outcome, pair.required) == ("a", 0)


def test_an_excluded_pair_that_is_no_longer_gold_stays_out(dataset, alice, annotator, pair):
    mark_gold(pair, "a")
    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)

    pair.prompt.refresh_from_db()
    mark_gold(pair, "")

    assert next_claim(dataset, annotator) is None


def test_new_pairs_of_an_excluded_prompt_stay_out(dataset, alice, annotator, pair):
    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    ComparisonFactory.create(prompt=pair.prompt)

    excluding.keep_out_new(dataset)

    assert next_claim(dataset, annotator) is None


# --- review and gold ----------------------------------------------------------------------------------------


def test_a_pair_sent_to_review_is_a_case_with_the_note_of_who_sent_it(dataset, rita, pair):
    do(dataset, SendToReview("Looks copied"), [pair.prompt_id], by=rita)

    page = review_queue.page(dataset, None, review_queue.Filters(queue="people"))
    flag = Flag.objects.get()
    assert [case.comparison for case in page.cases] == [pair]
    assert (flag.annotator.user, flag.note, flag.reason) == (rita, "Looks copied", "review")


def test_undo_takes_back_the_cases_that_nobody_has_settled(dataset, alice, rita):
    first, second = (ComparisonFactory.create(prompt__dataset=dataset) for _ in range(2))
    act = do(dataset, SendToReview(), [first.prompt_id, second.prompt_id], by=rita)
    settled(first, alice)

    undone = undo(act, rita)

    assert undone.left == ["1 pair reviewed meanwhile"]
    assert not Flag.objects.open().exists()
    assert Decision.objects.current().get().comparison == first


def test_a_settled_pair_is_not_sent_to_review(dataset, alice, rita, pair):
    settled(pair, alice)

    with pytest.raises(Refused, match="1 pair settled by a reviewer already"):
        do(dataset, SendToReview(), [pair.prompt_id], by=rita)


def test_final_labels_become_known_answers_with_an_explanation(dataset, alice):
    decided, open_pair = (ComparisonFactory.create(prompt__dataset=dataset) for _ in range(2))
    settled(decided, alice, "b")

    act = do(dataset, MarkGold("b cites the source"), [decided.prompt_id, open_pair.prompt_id], by=alice)

    decided.refresh_from_db()
    assert (decided.gold_outcome, decided.gold_note, decided.required) == ("b", "b cites the source", 0)
    assert act.details["left"] == ["1 pair without a final label"]


def test_one_pair_becomes_gold_with_the_outcome_chosen(dataset, alice, pair):
    ComparisonFactory.create(prompt=pair.prompt)

    do(dataset, MarkGold(outcome="tie"), [pair.prompt_id], [pair.pk], by=alice)

    assert list(Comparison.objects.gold()) == [pair]


def test_a_dropped_pair_has_no_answer_to_know(dataset, alice, pair):
    settled(pair, alice, "drop")

    with pytest.raises(Refused, match="without a final label"):
        do(dataset, MarkGold(), [pair.prompt_id], by=alice)


def test_undoing_gold_lets_the_pair_collect_as_many_votes_as_before(dataset, alice, pair):
    pair.required = 3
    pair.save()
    act = do(dataset, MarkGold(outcome="a"), [pair.prompt_id], by=alice)

    undo(act, alice)

    pair.refresh_from_db()
    assert (pair.gold_outcome, pair.required) == ("", 3)


def test_undoing_gold_of_a_prompt_that_was_excluded_meanwhile_keeps_it_out(dataset, alice, annotator, pair):
    act = do(dataset, MarkGold(outcome="a"), [pair.prompt_id], by=alice)
    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)

    undo(act, alice)

    assert next_claim(dataset, annotator) is None
    do(dataset, Restore(), [pair.prompt_id], by=alice)
    assert next_claim(dataset, annotator)


# --- overlap and priority -----------------------------------------------------------------------------------


def test_more_people_are_asked_and_no_random_sample_counts_them(dataset, alice, annotator, pair):
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)

    do(dataset, SetOverlap(3), [pair.prompt_id], by=alice)

    claim = next_claim(dataset, annotator)
    assert (claim.comparison, claim.strategy, claim.propensity) == (pair, "chosen", None)
    assert wanted(dataset) == 6


def test_undo_leaves_a_pair_for_which_more_people_were_asked_since(dataset, alice, pair):
    other = ComparisonFactory.create(prompt__dataset=dataset)
    act = do(dataset, SetOverlap(2), [pair.prompt_id, other.prompt_id], by=alice)
    Comparison.objects.filter(pk=pair.pk).update(required=3)

    undone = undo(act, alice)

    assert undone.left == ["1 pair changed meanwhile"]
    assert dict(Comparison.objects.values_list("pk", "required")) == {pair.pk: 3, other.pk: None}


def test_people_for_an_excluded_prompt_are_asked_once_it_is_back(dataset, alice, annotator, pair):
    do(dataset, ALL_OUT, [pair.prompt_id], by=alice)
    do(dataset, SetOverlap(4), [pair.prompt_id], by=alice)
    assert next_claim(dataset, annotator) is None

    do(dataset, Restore(), [pair.prompt_id], by=alice)

    pair.refresh_from_db()
    assert pair.required == 4


def test_gold_keeps_asking_nobody(dataset, alice, pair):
    mark_gold(pair, "a")

    with pytest.raises(Refused, match="1 pair that is gold"):
        do(dataset, SetOverlap(3), [pair.prompt_id], by=alice)


def test_answers_beyond_the_overlap_that_an_admin_asked_for_are_not_from_the_start(dataset, alice, pair):
    for _ in range(2):
        JudgmentFactory.create(comparison=pair)
    assert Judgment.objects.first_answers().from_the_start(dataset).count() == 2

    do(dataset, SetOverlap(2), [pair.prompt_id], by=alice)

    assert Judgment.objects.first_answers().from_the_start(dataset).count() == 1


@pytest.mark.parametrize("order", ["random", "uncertain", "mixture"])
def test_pairs_put_first_come_before_all_that_nobody_has_begun(dataset, alice, annotator, order):
    dataset.order = order
    dataset.save()
    ComparisonFactory.create_batch(5, prompt__dataset=dataset, uncertainty_rank=0.0)
    last = ComparisonFactory.create(prompt__dataset=dataset, uncertainty_rank=9.0)

    do(dataset, PutFirst(), [last.prompt_id], by=alice)

    claim = next_claim(dataset, annotator)
    assert (claim.comparison, claim.strategy, claim.propensity) == (last, "chosen", None)


def test_votes_on_pairs_put_first_are_in_no_random_sample(dataset, alice, annotator, pair):
    do(dataset, PutFirst(), [pair.prompt_id], by=alice)
    claim = next_claim(dataset, annotator)
    record(annotator, claim.comparison, Answer("tie", uuid4()))

    assert not Judgment.objects.independent(dataset).exists()


def test_pairs_of_a_saved_view_come_after_those_of_an_act_and_before_the_rest(dataset, alice, annotator):
    acted, viewed, _ = (ComparisonFactory.create(prompt__dataset=dataset) for _ in range(3))
    do(dataset, PutFirst(), [acted.prompt_id], by=alice)

    put_first(dataset, [viewed.pk, acted.pk])

    claims = []
    for _ in range(2):
        claims.append(next_claim(dataset, annotator, have=[claim.comparison_id for claim in claims]))
    assert [claim.comparison for claim in claims] == [acted, viewed]


def test_pairs_that_have_left_the_saved_view_are_first_no_more(dataset, pair):
    put_first(dataset, [pair.pk])

    put_first(dataset, [])

    pair.refresh_from_db()
    assert pair.priority == 0


def test_undo_puts_pairs_back_in_their_place(dataset, alice, pair):
    act = do(dataset, PutFirst(), [pair.prompt_id], by=alice)

    undo(act, alice)

    pair.refresh_from_db()
    assert pair.priority == 0
