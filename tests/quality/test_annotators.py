"""Gold and repeats: handed out like ordinary work, counted as no vote, and figures of an annotator."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    SuggestionFactory,
)
from tests.planted import measured
from tests.votes import record_judgment
from workbench.models import Claim, Comparison, Judgment
from workbench.pipeline.annotate import answers, handout
from workbench.pipeline.annotate.answers import Answer
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.annotate.progress import last_answered, progress_in, progress_of
from workbench.pipeline.decisions import majority
from workbench.pipeline.model import calibration
from workbench.pipeline.quality import annotators
from workbench.pipeline.review import decide, queue
from workbench.pipeline.review.gold import mark_gold

pytestmark = pytest.mark.django_db


def comparisons_in(dataset, n=1, **fields):
    return ComparisonFactory.create_batch(n, prompt__dataset=dataset, **fields)


def gold_in(dataset, outcome="a"):
    comparison = comparisons_in(dataset)[0]
    mark_gold(comparison, outcome)
    return comparison


def give(claim: Claim, outcome: str, **more) -> Judgment:
    return record_judgment(claim.annotator, claim.comparison, Answer(outcome, uuid4(), **more), claim.pk)


@pytest.fixture
def only(monkeypatch):
    """Throws the dice so that the next Claim is of this purpose where there is one."""
    at = {"gold": 0.0, "repeat": 0.3, "work": 0.9}
    return lambda purpose: monkeypatch.setattr(handout.random, "random", lambda: at[purpose])


@pytest.fixture
def sampled(dataset, monkeypatch):
    monkeypatch.setattr(handout, "REPEAT_AFTER", 1)
    dataset.gold_share, dataset.repeat_share = 0.2, 0.2
    dataset.save()
    return dataset


def test_gold_comes_at_its_rate_and_only_as_gold(sampled, only):
    gold = gold_in(sampled)
    work = comparisons_in(sampled, 2)
    annotator = AnnotatorFactory.create()

    only("work")
    assert next_claim(sampled, annotator).comparison in work
    only("gold")
    claim = next_claim(sampled, annotator, have=[c.pk for c in work])

    assert (claim.comparison, claim.purpose, claim.slot) == (gold, "gold", None)


def test_each_gold_comes_once_to_everybody_whatever_the_overlap(sampled, only):
    gold_in(sampled)
    only("gold")

    for annotator in AnnotatorFactory.create_batch(3):
        give(next_claim(sampled, annotator), "a")
        assert next_claim(sampled, annotator) is None

    assert Comparison.objects.get().claimed == 0


def test_a_repeat_has_its_sides_swapped_and_leaves_the_vote_alone(sampled, only):
    comparisons_in(sampled, 1)
    annotator = AnnotatorFactory.create()
    only("work")
    first = next_claim(sampled, annotator)
    vote = give(first, "a")

    only("repeat")
    again = next_claim(sampled, annotator)
    judgment = give(again, "b")

    vote.refresh_from_db()
    assert (again.comparison, again.purpose, again.left) == (
        first.comparison,
        "repeat",
        "b" if first.left == "a" else "a",
    )
    assert vote.is_current
    assert (judgment.purpose, judgment.is_current, judgment.supersedes) == ("repeat", False, None)
    assert next_claim(sampled, annotator) is None


def test_a_repeat_comes_only_when_enough_has_come_in_between(sampled, only, monkeypatch):
    monkeypatch.setattr(handout, "REPEAT_AFTER", 3)
    comparisons_in(sampled, 10)
    annotator = AnnotatorFactory.create()
    only("repeat")

    purposes = [next_claim(sampled, annotator)]
    give(purposes[0], "a")
    for _ in range(3):
        purposes.append(next_claim(sampled, annotator))
        give(purposes[-1], "a")

    assert [claim.purpose for claim in purposes] == ["work", "work", "work", "repeat"]


def test_a_page_that_shows_the_first_answers_the_first_and_not_its_repeat(sampled, only):
    comparisons_in(sampled, 1)
    annotator = AnnotatorFactory.create()
    only("work")
    first = next_claim(sampled, annotator)
    vote = give(first, "left")
    only("repeat")
    next_claim(sampled, annotator)

    changed = give(first, "right", supersedes=vote.idempotency_key)

    assert (changed.purpose, changed.is_current, changed.left) == ("work", True, first.left)


def test_undo_reopens_a_repeat_and_a_change_of_it_is_still_no_vote(sampled, only):
    comparisons_in(sampled, 1)
    annotator = AnnotatorFactory.create()
    only("work")
    give(next_claim(sampled, annotator), "a")
    only("repeat")
    claim = next_claim(sampled, annotator)
    before = give(claim, "a")

    assert last_answered(sampled, annotator) == before
    after = give(claim, "b", supersedes=before.idempotency_key)

    assert last_answered(sampled, annotator) == after
    assert not after.is_current


def test_a_lease_on_gold_runs_out_without_freeing_a_place(sampled, only):
    gold_in(sampled)
    only("gold")
    claim = next_claim(sampled, AnnotatorFactory.create())
    Claim.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    handout.give_back_expired()

    assert Comparison.objects.get().claimed == 0
    assert give(claim, "a").purpose == "gold"


def test_the_database_refuses_a_repeat_that_stands_as_a_vote(dataset):
    for purpose in ("gold", "repeat"):
        with pytest.raises(IntegrityError), transaction.atomic():
            JudgmentFactory.create(purpose=purpose, is_current=True)


def test_no_figure_counts_gold_or_repeats_as_votes(dataset):
    version = ModelVersionFactory.create(state="active")
    comparison = comparisons_in(dataset)[0]
    SuggestionFactory.create(comparison=comparison, version=version)
    voter = AnnotatorFactory.create()
    JudgmentFactory.create(comparison=comparison, annotator=voter, outcome="a", mode="blind")
    figures = measured(version, dataset, "people")
    for purpose in ("gold", "repeat"):
        first = JudgmentFactory.create(
            comparison=comparison,
            annotator=voter,
            outcome="tie",
            mode="blind",
            purpose=purpose,
            is_current=False,
        )
        JudgmentFactory.create(
            comparison=comparison, annotator=voter, outcome="tie", stage="revealed", mode="blind",
            purpose=purpose, is_current=False, supersedes=first,
        )  # fmt: skip

    majority.derive(dataset)

    assert measured(version, dataset, "people") == figures
    assert figures.decided == 1
    assert comparison.decisions.get().votes == 1
    assert not Comparison.objects.all().people_disagree().exists()
    assert [answer[3] for answer in calibration._answers(version, dataset, labels=True)] == [1.0]


def test_progress_grows_by_one_with_every_answer_of_any_kind(sampled, only):
    gold_in(sampled)
    comparisons_in(sampled, 8)
    annotator = AnnotatorFactory.create()
    figures = [progress_of(sampled, annotator)]

    for purpose in ("work", "gold", "work", "repeat"):
        only(purpose)
        claim = next_claim(sampled, annotator)
        assert claim.purpose == purpose
        give(claim, "a")
        figures.append(progress_of(sampled, annotator))

    assert [(p.total, p.today, p.hour) for p in figures] == [(n, n, n) for n in range(5)]
    assert progress_in([sampled], annotator.user) == {sampled.pk: figures[-1]}


def judged(annotator, comparison, outcome, **more):
    return JudgmentFactory.create(
        annotator=annotator, comparison=comparison, outcome=outcome, left="a", **more
    )


def test_the_figures_are_those_counted_by_hand(dataset):
    annotator, colleague = AnnotatorFactory.create_batch(2)
    for right in (True, True, True, False):
        gold = gold_in(dataset, "a")
        judged(annotator, gold, "a" if right else "b", purpose="gold", is_current=False)
    for vote, repeat in (("a", "a"), ("a", "b"), ("tie", "tie"), ("a", "cannot_judge")):
        comparison = comparisons_in(dataset)[0]
        judged(annotator, comparison, vote)
        judged(annotator, comparison, repeat, purpose="repeat", is_current=False)
    comparison = comparisons_in(dataset)[0]
    first = judged(colleague, comparison, "a", mode="blind", suggested="b", is_current=False)
    judged(colleague, comparison, "b", mode="blind", suggested="b", stage="revealed", supersedes=first)

    qualities = annotators.by_annotator(dataset)

    def counted(share):
        return share.k, share.n

    quality, colleagues_quality = qualities[annotator.pk], qualities[colleague.pk]
    assert counted(quality.gold) == (3, 4)
    assert counted(quality.consistent) == (2, 3)
    assert counted(quality.left) == (7, 9)
    assert (counted(colleagues_quality.towards), counted(colleagues_quality.away)) == ((1, 1), (0, 1))
    assert counted(annotators.together(qualities.values()).gold) == (3, 4)


def test_the_figures_cost_the_same_queries_for_1_and_for_20_people(dataset):
    judged(AnnotatorFactory.create(), comparisons_in(dataset)[0], "a")
    with CaptureQueriesContext(connection) as few:
        annotators.by_annotator(dataset)
    for annotator in AnnotatorFactory.create_batch(19):
        judged(annotator, comparisons_in(dataset)[0], "a")
    with CaptureQueriesContext(connection) as many:
        annotators.by_annotator(dataset)

    assert len(few) == len(many)


def test_missed_gold_is_a_case_until_a_reviewer_has_looked(dataset, rita):
    gold = gold_in(dataset, "a")
    decide.settle(gold, rita, "a", seen_token=decide.seen(gold))
    filters = queue.Filters(why=queue.Why.GOLD)
    assert not queue.page(dataset, None, filters).cases

    judged(AnnotatorFactory.create(), gold, "b", purpose="gold", is_current=False)
    (case,) = queue.page(dataset, None, filters).cases
    decide.settle(gold, rita, "a", seen_token=decide.seen(gold))

    assert case.why == (queue.Why.GOLD,)
    assert not queue.page(dataset, None, filters).cases


def test_an_own_earlier_answer_that_differs_is_a_case(dataset):
    annotator = AnnotatorFactory.create()
    same, changed = comparisons_in(dataset, 2)
    for comparison, second in ((same, "a"), (changed, "b")):
        judged(annotator, comparison, "a")
        judged(annotator, comparison, second, purpose="repeat", is_current=False)

    (case,) = queue.page(dataset, None, queue.Filters()).cases

    assert (case.comparison, case.why) == (changed, (queue.Why.REPEAT,))


def test_known_answers_come_from_a_file(dataset, tmp_path, capsys):
    named, keyed = comparisons_in(dataset, 2)
    Comparison.objects.filter(pk=named.pk).update(external_id="q-1")
    file = tmp_path / "known.csv"
    file.write_text(f"comparison,outcome\nq-1,b\n{keyed.pk},tie\n")

    call_command("gold", dataset.name, file)

    assert dict(dataset.comparisons.values_list("pk", "gold_outcome")) == {named.pk: "b", keyed.pk: "tie"}
    file.write_text("comparison,outcome\nq-1,\n")
    call_command("gold", dataset.name, file)
    assert dataset.comparisons.filter(required=None).get() == named


def test_a_bad_file_of_known_answers_names_its_lines_and_writes_nothing(dataset, tmp_path):
    comparison = comparisons_in(dataset)[0]
    file = tmp_path / "known.csv"
    file.write_text(f"comparison,outcome\n{comparison.pk},a\nnobody,a\n{comparison.pk},left\n")

    with pytest.raises(CommandError, match=r"line 3: no pairs.*nobody.*\n.*line 4: .*twice"):
        call_command("gold", dataset.name, file)

    assert not dataset.comparisons.gold().exists()


def test_gold_that_ran_out_or_was_skipped_comes_back_as_work_does(sampled, only):
    gold = gold_in(sampled)
    work = comparisons_in(sampled, 1)[0]
    annotator = AnnotatorFactory.create()
    only("gold")
    first = next_claim(sampled, annotator)
    only("work")
    Claim.objects.update(expires_at=timezone.now() - timedelta(minutes=1))

    assert next_claim(sampled, annotator).comparison == work
    back = next_claim(sampled, annotator, have=[work.pk])
    assert (back.pk, back.comparison, back.state) == (first.pk, gold, "live")
    answers.skip(annotator, gold, back.pk)
    answers.skip(annotator, work)
    assert next_claim(sampled, annotator) is None
    assert next_claim(sampled, annotator, again=True).comparison == gold  # skipped first
    assert next_claim(sampled, annotator, have=[gold.pk], again=True).comparison == work


@pytest.mark.parametrize(("completions", "comes"), [(2, True), (3, False)])
def test_where_completions_are_ranked_no_pair_comes_as_gold_from_among_three(
    sampled, only, completions, comes
):
    sampled.allows_ranking = True
    sampled.save()
    gold = gold_in(sampled)
    if completions == 3:
        CompletionFactory.create(prompt=gold.prompt)
    only("gold")

    claim = next_claim(sampled, AnnotatorFactory.create())

    assert (claim is not None and claim.purpose == "gold") is comes


def test_what_a_reviewer_settles_does_not_end_a_repeat_that_somebody_holds(sampled, only, rita):
    work = comparisons_in(sampled, 1)[0]
    annotator = AnnotatorFactory.create()
    only("work")
    give(next_claim(sampled, annotator), "a")
    only("repeat")
    again = next_claim(sampled, annotator)

    decide.settle(work, rita, "a", seen_token=decide.seen(work))

    again.refresh_from_db()
    work.refresh_from_db()
    assert (again.state, work.claimed) == ("live", 1)
