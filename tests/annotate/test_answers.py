import threading
from collections import Counter
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    DatasetFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from tests.votes import record_judgment
from workbench.models import Claim, Comparison, Dataset, Decision, Flag, Judgment, Outcome
from workbench.pipeline.annotate import answers, handout
from workbench.pipeline.annotate.answers import Answer, Refused, skip
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.annotate.progress import last_answered, progress_of, what_is_left
from workbench.pipeline.datasets.overview import with_judging_counts
from workbench.pipeline.model.promotion import activate

pytestmark = pytest.mark.django_db


def comparisons_in(dataset: Dataset, n: int = 1) -> list[Comparison]:
    return [ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset)) for _ in range(n)]


def answer(outcome: str = "a", **more) -> Answer:
    return Answer(outcome, more.pop("key", None) or uuid4(), **more)


def judge_all(dataset: Dataset, annotator, outcome: str = "left") -> list[Judgment]:
    judgments = []
    while claim := next_claim(dataset, annotator):
        judgments.append(record_judgment(annotator, claim.comparison, answer(outcome)))
    return judgments


def let_leases_expire() -> None:
    Claim.objects.filter(state="live").update(expires_at=timezone.now() - timedelta(seconds=1))


def places_are_counted_right() -> bool:
    return all(
        comparison.claimed == comparison.claims.filter(slot__isnull=False).count()
        for comparison in Comparison.objects.all()
    )


# Handing out


def test_each_person_gets_every_comparison_once_and_then_nothing(dataset):
    comparisons = comparisons_in(dataset, 5)
    annotator = AnnotatorFactory.create()

    judgments = judge_all(dataset, annotator)

    assert Counter(j.comparison for j in judgments) == Counter(comparisons)


def test_no_more_people_than_the_overlap_hold_a_comparison():
    dataset = DatasetFactory.create(overlap=2)
    comparisons_in(dataset, 3)

    for annotator in AnnotatorFactory.create_batch(4):
        judge_all(dataset, annotator)

    assert [c.claims.count() for c in dataset.comparisons.all()] == [2, 2, 2]
    assert places_are_counted_right()


def test_a_comparison_that_somebody_has_begun_comes_first():
    dataset = DatasetFactory.create(overlap=2)
    comparisons_in(dataset, 20)
    first, second = AnnotatorFactory.create_batch(2)
    begun = next_claim(dataset, first)
    record_judgment(first, begun.comparison, answer())

    handed_out = [next_claim(dataset, second, have=[]).comparison_id]

    assert handed_out == [begun.comparison_id]


def test_the_page_gets_back_what_it_held_after_a_reload(dataset):
    comparisons_in(dataset, 3)
    annotator = AnnotatorFactory.create()
    first = next_claim(dataset, annotator)
    second = next_claim(dataset, annotator, have=[first.comparison_id])

    again = next_claim(dataset, annotator)

    assert second != first
    assert (again.pk, again.left) == (first.pk, first.left)


def test_one_person_cannot_hold_the_whole_queue(dataset):
    comparisons_in(dataset, handout.HOLD + 3)
    annotator = AnnotatorFactory.create()
    have = []
    while claim := next_claim(dataset, annotator, have=have):
        have.append(claim.comparison_id)

    assert len(have) == handout.HOLD


def taken_along(dataset, annotator):
    have = []
    while claim := next_claim(dataset, annotator, have=have, along=True):
        have.append(claim.comparison_id)
    return have


@pytest.mark.portable
@pytest.mark.parametrize(("pairs", "taken"), [(460, handout.HOLD + 40), (60, handout.HOLD + 5), (9, 6)])
def test_one_person_takes_forty_pairs_along_or_a_tenth_of_those_that_are_open(dataset, pairs, taken):
    comparisons_in(dataset, pairs)

    assert len(taken_along(dataset, AnnotatorFactory.create())) == taken


@pytest.mark.portable
def test_pairs_that_were_taken_along_are_held_for_two_hours_though_an_open_page_renews_them(dataset):
    comparisons_in(dataset, 60)
    annotator = AnnotatorFactory.create()
    held = taken_along(dataset, annotator)
    handout.extend_claims(dataset, annotator, held)
    Claim.objects.update(expires_at=F("expires_at") - timedelta(minutes=115))

    handout.give_back_expired()

    live = Claim.objects.filter(annotator=annotator, state=Claim.State.LIVE)
    assert {claim.comparison_id for claim in live} == set(held)


def test_what_a_reviewer_has_settled_is_handed_out_no_more(dataset):
    settled, open_pair = comparisons_in(dataset, 2)
    Decision.objects.create(comparison=settled, outcome="a", method="reviewer")

    judgments = judge_all(dataset, AnnotatorFactory.create())

    assert [j.comparison for j in judgments] == [open_pair]


def test_another_datasets_comparisons_stay_there(dataset):
    comparisons_in(DatasetFactory.create(), 1)

    assert next_claim(dataset, AnnotatorFactory.create()) is None


def test_an_expired_lease_is_taken_over_by_the_next_person(dataset):
    comparisons_in(dataset, 1)
    absent, present = AnnotatorFactory.create_batch(2)
    lost = next_claim(dataset, absent)
    assert next_claim(dataset, present) is None

    let_leases_expire()

    assert next_claim(dataset, present).comparison_id == lost.comparison_id
    lost.refresh_from_db()
    assert (lost.state, lost.slot) == ("expired", None)
    assert places_are_counted_right()


def test_whoever_was_away_can_be_handed_the_same_again(dataset):
    claim = claimed(dataset)
    let_leases_expire()
    handout.give_back_expired()

    again = next_claim(dataset, claim.annotator)

    assert (again.pk, again.state, again.left) == (claim.pk, "live", claim.left)


def test_what_was_skipped_goes_to_others_and_comes_back_only_when_asked_for(dataset):
    comparisons_in(dataset, 1)
    picky, willing = AnnotatorFactory.create_batch(2)
    claim = next_claim(dataset, picky)

    skip(picky, claim.comparison)

    assert next_claim(dataset, picky) is None
    assert what_is_left(dataset, picky).skipped == 1
    assert next_claim(dataset, picky, again=True).pk == claim.pk
    skip(picky, claim.comparison)
    skip(picky, claim.comparison)
    assert next_claim(dataset, willing).comparison_id == claim.comparison_id
    assert places_are_counted_right()


def test_skipping_again_goes_round_all_that_was_skipped(dataset):
    comparisons_in(dataset, 3)
    annotator = AnnotatorFactory.create()
    while claim := next_claim(dataset, annotator):
        skip(annotator, claim.comparison)

    round_trip = []
    for _ in range(3):
        claim = next_claim(dataset, annotator, again=True)
        round_trip.append(claim.comparison_id)
        skip(annotator, claim.comparison)

    assert len(set(round_trip)) == 3


def test_a_larger_overlap_opens_new_places(dataset):
    comparisons_in(dataset, 2)
    first, second = AnnotatorFactory.create_batch(2)
    judge_all(dataset, first)
    assert next_claim(dataset, second) is None

    dataset.overlap = 2
    dataset.save()

    assert len(judge_all(dataset, second)) == 2


def test_each_completion_is_on_the_left_equally_often_in_every_four(dataset):
    comparisons_in(dataset, 12)
    annotator = AnnotatorFactory.create()

    judge_all(dataset, annotator)

    lefts = list(annotator.claims.order_by("number").values_list("left", flat=True))
    assert [lefts[i : i + 4].count("a") for i in (0, 4, 8)] == [2, 2, 2]


def test_blocks_of_sides_differ_between_annotators():
    annotators = AnnotatorFactory.create_batch(8)

    blocks = {tuple(handout.side_at(n, annotator) for n in range(8)) for annotator in annotators}

    assert len(blocks) > 4


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, 40, 40), (0.0, 0, 0), (0.5, 8, 32)])
def test_the_blind_share_of_the_dataset_draws_the_mode(share, low, high):
    dataset = DatasetFactory.create(blind_share=share)
    comparisons_in(dataset, 40)
    annotator = AnnotatorFactory.create()

    judge_all(dataset, annotator)

    assert low <= annotator.claims.filter(mode="blind").count() <= high


def test_the_next_costs_the_same_queries_with_1_and_with_100_comparisons_and_done_ones():
    dataset = DatasetFactory.create(overlap=2)
    annotator = AnnotatorFactory.create()
    comparisons_in(dataset, 3)
    with CaptureQueriesContext(
        connection,
    ) as few:
        next_claim(dataset, annotator)
    comparisons_in(dataset, 100)
    judge_all(dataset, AnnotatorFactory.create())
    Claim.objects.filter(annotator=annotator).delete()
    Comparison.objects.update(claimed=1)

    with CaptureQueriesContext(connection) as many:
        next_claim(dataset, annotator)

    assert len(many) <= len(few) <= 15


# Answers


def claimed(dataset: Dataset, **claim) -> Claim:
    """A live claim of a new annotator on a new Comparison."""
    comparisons_in(dataset, 1)
    new = next_claim(dataset, AnnotatorFactory.create())
    Claim.objects.filter(pk=new.pk).update(**claim)
    new.refresh_from_db()
    return new


@pytest.mark.parametrize(
    ("shown", "left", "outcome"),
    [("left", "a", "a"), ("left", "b", "b"), ("right", "a", "b"), ("right", "b", "a"), ("tie", "b", "tie")],
)
def test_left_and_right_become_the_completions_that_were_there(dataset, shown, left, outcome):
    claim = claimed(dataset, left=left)

    judgment = record_judgment(claim.annotator, claim.comparison, answer(shown))

    assert (judgment.outcome, judgment.left) == (outcome, left)
    assert Outcome.seen_as(outcome, left) == shown


def test_an_answer_fills_its_place_and_keeps_what_it_was_made_with(dataset):
    guidelines = dataset.guidelines.create(number=1, text="Prefer what is right.")
    claim = claimed(dataset)

    judgment = record_judgment(
        claim.annotator,
        claim.comparison,
        answer("a", strength=2, seconds=7.5, comment="clear", guidelines=guidelines),
    )

    claim.refresh_from_db()
    assert claim.state == "done"
    assert (judgment.strength, judgment.seconds, judgment.comment) == (2, 7.5, "clear")
    assert (judgment.guidelines, judgment.stage, judgment.mode) == (guidelines, "first", "blind")


def test_a_tie_has_no_strength(dataset):
    claim = claimed(dataset)

    assert record_judgment(claim.annotator, claim.comparison, answer("tie", strength=2)).strength is None


def test_the_same_key_again_answers_the_same_judgment(dataset):
    claim = claimed(dataset)
    key = uuid4()
    first = record_judgment(claim.annotator, claim.comparison, answer("a", key=key))

    again = record_judgment(claim.annotator, claim.comparison, answer("b", key=key))

    assert again == first
    assert again.outcome == "a"
    assert Judgment.objects.count() == 1


def test_a_key_of_another_persons_answer_is_refused(dataset):
    first, second = claimed(dataset), claimed(dataset)
    key = uuid4()
    record_judgment(first.annotator, first.comparison, answer(key=key))

    with pytest.raises(Refused, match="key of another vote"):
        record_judgment(second.annotator, second.comparison, answer(key=key))


def test_a_comparison_that_was_not_handed_out_takes_no_answer(dataset):
    comparison = comparisons_in(dataset)[0]

    with pytest.raises(Refused, match="not given to you"):
        record_judgment(AnnotatorFactory.create(), comparison, answer())

    assert not Judgment.objects.exists()


def test_a_change_supersedes_and_the_old_answer_stays(dataset):
    claim = claimed(dataset)
    old = record_judgment(claim.annotator, claim.comparison, answer("a"))

    new = record_judgment(claim.annotator, claim.comparison, answer("tie", supersedes=old.idempotency_key))

    old.refresh_from_db()
    assert (old.outcome, old.is_current) == ("a", False)
    assert (new.outcome, new.is_current, new.supersedes) == ("tie", True, old)
    assert places_are_counted_right()


def test_a_page_that_missed_a_change_cannot_overwrite_it(dataset):
    claim = claimed(dataset)
    old = record_judgment(claim.annotator, claim.comparison, answer("a"))
    record_judgment(claim.annotator, claim.comparison, answer("b", supersedes=old.idempotency_key))

    for stale in (answer("tie"), answer("tie", supersedes=old.idempotency_key)):
        with pytest.raises(Refused, match="another window"):
            record_judgment(claim.annotator, claim.comparison, stale)

    assert Judgment.objects.current().get().outcome == "b"


def test_a_late_answer_counts_while_nobody_has_taken_the_place(dataset):
    claim = claimed(dataset)
    let_leases_expire()
    handout.give_back_expired()

    judgment = record_judgment(claim.annotator, claim.comparison, answer())

    assert judgment.is_current
    assert Claim.objects.get().state == "done"
    assert places_are_counted_right()


def test_a_late_answer_without_a_place_is_kept_aside_and_counts_nowhere(dataset):
    claim = claimed(dataset)
    let_leases_expire()
    in_time = AnnotatorFactory.create()
    judge_all(dataset, in_time)
    key = uuid4()

    late = record_judgment(claim.annotator, claim.comparison, answer("b", key=key))

    assert "surplus" in late.metadata
    assert not late.is_current
    assert record_judgment(claim.annotator, claim.comparison, answer("b", key=key)) == late
    assert Judgment.objects.current().get().annotator == in_time
    assert places_are_counted_right()


def test_a_late_answer_takes_no_place_that_a_smaller_overlap_has_closed():
    dataset = DatasetFactory.create(overlap=3)
    claim = claimed(dataset)
    for annotator in AnnotatorFactory.create_batch(2):
        judge_all(dataset, annotator)
    let_leases_expire()
    handout.give_back_expired()
    dataset.overlap = 1
    dataset.save()

    assert "surplus" in record_judgment(claim.annotator, claim.comparison, answer()).metadata


def test_an_answer_to_what_was_skipped_takes_its_place_again(dataset):
    claim = claimed(dataset)
    skip(claim.annotator, claim.comparison)

    assert record_judgment(claim.annotator, claim.comparison, answer()).is_current
    assert places_are_counted_right()


# The Suggestion


def suggested(dataset: Dataset, mode: str, margin: float = 1.0, **version) -> Claim:
    dataset.blind_share = 1.0 if mode == "blind" else 0.0
    dataset.save()
    comparison = comparisons_in(dataset)[0]
    active = ModelVersionFactory.create(state="active", **version)
    SuggestionFactory.create(comparison=comparison, version=active, margin=margin)
    return next_claim(dataset, AnnotatorFactory.create())


@pytest.mark.parametrize("mode", ["blind", "assisted"])
def test_a_judgment_keeps_what_was_suggested_then(dataset, mode):
    claim = suggested(dataset, mode, margin=-2.0, temperature=2.0)

    judgment = record_judgment(claim.annotator, claim.comparison, answer("a"))

    assert (judgment.mode, judgment.suggested, judgment.margin) == (mode, "b", -2.0)
    assert judgment.probability == pytest.approx(0.2689414)
    assert judgment.version.state == "active"


def test_a_blind_claim_carries_no_suggestion(dataset):
    assert suggested(dataset, "blind").suggestion is None
    assert not Claim.objects.exclude(suggestion=None).exists()


def test_a_comparison_without_a_suggestion_is_judged_all_the_same(dataset):
    ModelVersionFactory.create(state="active")
    claim = claimed(dataset)

    judgment = record_judgment(claim.annotator, claim.comparison, answer())

    assert (judgment.suggested, judgment.margin, judgment.version) == ("", None, None)


def test_what_follows_the_reveal_has_its_own_stage_and_both_answers_stay(dataset):
    claim = suggested(dataset, "blind", margin=-1.0)
    first = record_judgment(claim.annotator, claim.comparison, answer("a"))

    kept = record_judgment(claim.annotator, claim.comparison, answer("a", supersedes=first.idempotency_key))
    changed = record_judgment(claim.annotator, claim.comparison, answer("b", supersedes=kept.idempotency_key))

    stages = list(Judgment.objects.values_list("outcome", "stage", "suggested"))
    assert stages == [("a", "first", "b"), ("a", "revealed", "b"), ("b", "revealed", "b")]
    assert changed.follows_suggestion


def test_a_change_with_nothing_revealed_is_still_a_first_answer(dataset):
    claim = claimed(dataset)
    first = record_judgment(claim.annotator, claim.comparison, answer("a"))

    changed = record_judgment(
        claim.annotator, claim.comparison, answer("b", supersedes=first.idempotency_key)
    )

    assert changed.stage == "first"


def test_a_change_keeps_what_was_shown_although_another_version_is_active_by_now(dataset):
    claim = suggested(dataset, "blind", margin=-1.0)
    first = record_judgment(claim.annotator, claim.comparison, answer("a"))
    newer = ModelVersionFactory.create()
    SuggestionFactory.create(comparison=claim.comparison, version=newer, margin=5.0)
    activate(newer, reason="newer")

    changed = record_judgment(
        claim.annotator, claim.comparison, answer("b", supersedes=first.idempotency_key)
    )

    assert (changed.suggested, changed.version) == ("b", first.version)


def test_an_assisted_judgment_keeps_what_was_shown_beforehand(dataset):
    claim = suggested(dataset, "assisted", margin=-1.0)
    newer = ModelVersionFactory.create()
    SuggestionFactory.create(comparison=claim.comparison, version=newer, margin=5.0)
    activate(newer, reason="newer")

    judgment = record_judgment(claim.annotator, claim.comparison, answer("a"))

    assert (judgment.suggested, judgment.follows_suggestion) == ("b", False)


# Flags, leases, progress


def test_a_second_flag_corrects_the_first(dataset):
    claim = claimed(dataset)
    answers.flag(claim.annotator, claim.comparison, "broken", "")

    answers.flag(claim.annotator, claim.comparison, "unsafe", "an address")

    flag = Flag.objects.get()
    assert (flag.reason, flag.note) == ("unsafe", "an address")


def test_what_was_not_handed_out_can_be_neither_flagged_nor_skipped(dataset):
    comparison = comparisons_in(dataset)[0]
    annotator = AnnotatorFactory.create()

    with pytest.raises(Refused, match="not given to you"):
        answers.flag(annotator, comparison, "broken", "")
    with pytest.raises(Refused, match="not given to you"):
        skip(annotator, comparison)

    assert not Flag.objects.exists()


def test_only_what_is_still_held_is_extended(dataset):
    claim, lost = claimed(dataset), claimed(dataset)
    Claim.objects.update(expires_at=timezone.now())

    pks = [claim.comparison_id, lost.comparison_id]
    held = handout.extend_claims(dataset, claim.annotator, pks)

    claim.refresh_from_db()
    assert held == [claim.comparison_id]
    assert claim.expires_at > timezone.now() + timedelta(minutes=dataset.lease_minutes - 1)


def test_progress_counts_changes_once_and_leases_not_at_all():
    dataset = DatasetFactory.create(overlap=2)
    comparisons_in(dataset, 3)
    annotator, colleague = AnnotatorFactory.create_batch(2)
    claim = next_claim(dataset, annotator)
    first = record_judgment(annotator, claim.comparison, answer("a"))
    record_judgment(annotator, claim.comparison, answer("b", supersedes=first.idempotency_key))
    next_claim(dataset, colleague)

    progress = progress_of(dataset, annotator)

    assert (progress.total, progress.today, progress.hour) == (1, 1, 1)


def test_what_was_skipped_counts_until_it_is_answered_whatever_others_do():
    dataset = DatasetFactory.create(overlap=1)
    comparisons_in(dataset, 2)
    annotator, colleague = AnnotatorFactory.create_batch(2)
    skipped = next_claim(dataset, annotator)
    skip(annotator, skipped.comparison)

    judge_all(dataset, colleague)
    states = [what_is_left(dataset, annotator)]
    record_judgment(annotator, skipped.comparison, answer())
    states.append(what_is_left(dataset, annotator))

    assert [(left.is_empty, left.skipped) for left in states] == [(False, 1), (False, 0)]


def test_what_is_kept_aside_can_be_reopened_and_is_not_handed_out_again(dataset):
    claim = claimed(dataset)
    let_leases_expire()
    judge_all(dataset, AnnotatorFactory.create())
    late = record_judgment(claim.annotator, claim.comparison, answer("b"))

    assert last_answered(dataset, claim.annotator) == late
    Comparison.objects.filter(pk=claim.comparison_id).update(required=2)
    assert next_claim(dataset, claim.annotator) is None
    changed = record_judgment(claim.annotator, claim.comparison, answer("a", supersedes=late.idempotency_key))

    assert changed.is_current
    assert changed.supersedes == late
    assert places_are_counted_right()


def test_the_last_answer_and_the_one_before_can_be_found(dataset):
    comparisons_in(dataset, 2)
    annotator = AnnotatorFactory.create()
    first, second = judge_all(dataset, annotator)

    assert last_answered(dataset, annotator) == second
    assert last_answered(dataset, annotator, before=second.pk) == first
    assert last_answered(dataset, annotator, before=first.pk) is None


# Many at once


def all_at_once(*jobs) -> None:
    """Run the jobs in threads, started together; raises the error of the first job."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job):
        try:
            start.wait()
            job()
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asserts
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.django_db(transaction=True)
def test_twenty_people_at_once_fill_every_place_exactly_and_double_nothing():
    dataset = DatasetFactory.create(overlap=2)
    comparisons_in(dataset, 40)

    def work(annotator):
        while claim := next_claim(dataset, annotator):
            left = answer("left")
            for _ in range(2 if claim.number % 5 == 0 else 1):
                record_judgment(annotator, claim.comparison, left)

    all_at_once(*(partial(work, annotator) for annotator in AnnotatorFactory.create_batch(20)))

    per_comparison = [
        list(c.judgments.values_list("annotator", flat=True)) for c in dataset.comparisons.all()
    ]
    assert {len(people) for people in per_comparison} == {2}
    assert {len(set(people)) for people in per_comparison} == {2}
    assert places_are_counted_right()


@pytest.mark.django_db(transaction=True)
def test_one_person_in_eight_tabs_holds_no_more_than_allowed_and_answers_once(dataset):
    comparisons_in(dataset, 20)
    annotator = AnnotatorFactory.create()
    first = next_claim(dataset, annotator)
    vote = answer("left")

    def tab():
        have = []
        while claim := next_claim(dataset, annotator, have=have):
            have.append(claim.comparison_id)
        record_judgment(annotator, first.comparison, vote)

    all_at_once(*[tab] * 8)

    numbers = list(annotator.claims.values_list("number", flat=True))
    assert len(set(numbers)) == len(numbers) <= handout.HOLD + 1
    assert Judgment.objects.count() == 1
    assert places_are_counted_right()


# Places that votes call for


def vote(dataset: Dataset, outcome: str) -> Judgment | None:
    """The answer of somebody new to whatever they are handed; None when nothing is."""
    claim = next_claim(dataset, AnnotatorFactory.create())
    return claim and record_judgment(claim.annotator, claim.comparison, answer(outcome))


def test_a_third_person_is_asked_when_two_disagree_and_nobody_after_the_most():
    dataset = DatasetFactory.create(overlap=2, max_overlap=4)
    comparisons_in(dataset, 1)

    votes = [vote(dataset, outcome) for outcome in ("a", "b", "tie", "both_bad", "a")]

    assert [judgment is not None for judgment in votes] == [True, True, True, True, False]
    assert places_are_counted_right()


@pytest.mark.parametrize("outcomes", [["a", "a"], ["a", "cannot_judge"], ["a", "b", "b"]])
def test_nobody_more_is_asked_when_the_votes_settle_it(outcomes):
    dataset = DatasetFactory.create(overlap=2, max_overlap=5)
    comparisons_in(dataset, 1)
    for outcome in outcomes:
        assert vote(dataset, outcome)

    assert vote(dataset, "a") is None


def test_the_tie_break_comes_before_what_nobody_has_begun():
    dataset = DatasetFactory.create(overlap=2, max_overlap=3)
    contested = comparisons_in(dataset, 1)[0]
    vote(dataset, "a")
    vote(dataset, "b")
    comparisons_in(dataset, 10)

    assert vote(dataset, "a").comparison == contested


@pytest.mark.parametrize(
    ("temperature", "outcome", "audit", "people"),
    [
        (1.0, "a", 0.0, 1),  # sigmoid(3) = 0.95 for what the person said
        (1.0, "b", 0.0, 3),
        (1.0, "tie", 0.0, 3),
        (10.0, "a", 0.0, 3),  # sigmoid(0.3) = 0.57: not sure enough
        (None, "a", 0.0, 3),  # a raw margin is not a probability
        (1.0, "a", 1.0, 3),
    ],
)
def test_one_vote_is_enough_where_the_calibrated_model_is_as_sure(temperature, outcome, audit, people):
    dataset = DatasetFactory.create(overlap=3, single_vote_threshold=0.9, audit_share=audit)
    comparison = comparisons_in(dataset, 1)[0]
    version = ModelVersionFactory.create(state="active", temperature=temperature)
    SuggestionFactory.create(comparison=comparison, version=version, margin=3.0)

    votes = [vote(dataset, outcome) for _ in range(4)]

    comparison.refresh_from_db()
    assert sum(judgment is not None for judgment in votes) == people
    assert comparison.audited == (audit == 1.0)
    (counted,) = with_judging_counts(Dataset.objects.all(), version)
    assert counted.wanted_count == people
