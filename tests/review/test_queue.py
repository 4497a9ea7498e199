import itertools
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import Annotator, Comparison, Dataset, Flag, ModelVersion, User
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.review import decide, queue
from workbench.pipeline.review.queue import Filters, Order, Why


@pytest.fixture
def version(db: None) -> ModelVersion:
    return ModelVersionFactory.create(state="active")


@pytest.fixture
def case(dataset: Dataset, version: ModelVersion) -> Callable[..., Comparison]:
    """Makes a Comparison with a Judgment for each outcome, a margin of the version, and a Flag when asked."""

    def make(
        outcomes: str = "ab",
        margin: float | None = None,
        flag: str = "",
        source: str = "",
        texts: tuple[str, str] | None = None,
        by: list[Annotator] | None = None,
    ) -> Comparison:
        prompt = PromptFactory.create(dataset=dataset)
        n = Comparison.objects.count()
        # As long as each other, so that only what a test varies moves the order.
        a, b = (
            CompletionFactory.create(prompt=prompt, source=source, text=text)
            for text in texts or (f"a {n:06}", f"b {n:06}")
        )
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for outcome, annotator in itertools.zip_longest(outcomes, by or []):
            JudgmentFactory.create(
                comparison=comparison, annotator=annotator or AnnotatorFactory.create(), outcome=outcome
            )
        if margin is not None:
            SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
        if flag:
            Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason=flag)
        return comparison

    return make


def settle(comparison: Comparison, by: User, outcome: str = "a") -> None:
    decide.settle(comparison, by, outcome, seen_token=decide.seen(comparison))


def queued(dataset: Dataset, version: ModelVersion | None, **filters: object) -> list[Comparison]:
    return [case.comparison for case in queue.page(dataset, version, Filters(**filters)).cases]


def test_each_case_says_why_it_is_in_the_queue(dataset, version, case):
    differ = case("ab", margin=0.0)
    against = case("a", margin=-1.0)
    flagged = case("a", margin=1.0, flag="broken")
    everything = case("ab", margin=-3.0, flag="other")
    case("a", margin=2.0)
    case("", margin=2.0)

    why = {row.comparison: row.why for row in queue.page(dataset, version, Filters()).cases}

    assert why == {
        differ: (Why.PEOPLE,),
        against: (Why.MODEL,),
        flagged: (Why.FLAGGED,),
        everything: (Why.FLAGGED, Why.PEOPLE, Why.MODEL),
    }


def test_a_case_carries_its_votes_its_margin_and_since_when_it_waits(dataset, version, case):
    comparison = case("aab", margin=-1.5, flag="prompt")
    raised = timezone.now() + timedelta(hours=1)
    Flag.objects.update(created_at=raised)

    (row,) = queue.page(dataset, version, Filters()).cases

    assert (row.comparison, row.votes, row.margin, row.since) == (comparison, {"a": 2, "b": 1}, -1.5, raised)


def test_the_queue_is_of_one_dataset(dataset, version, case):
    comparison = ComparisonFactory.create()
    for outcome in "ab":
        JudgmentFactory.create(comparison=comparison, outcome=outcome)

    assert queued(dataset, version) == []


def test_flagged_cases_come_first_then_the_surest_model_then_the_oldest(dataset, version, case):
    unsure, sure = case("ab", margin=0.5), case("ab", margin=-4.0)
    unscored, twin = case("ab"), case("ab", margin=4.0)
    flagged = case("a", margin=0.1, flag="broken")

    assert queued(dataset, version) == [flagged, sure, twin, unsure, unscored]


def test_other_orders_can_be_had(dataset, version, case):
    first, second = case("ab", margin=0.5), case("ab", margin=1.0)

    assert queued(dataset, version, order=Order.SUREST) == [second, first]
    assert queued(dataset, version, order=Order.OLDEST) == [first, second]
    assert queued(dataset, version, order=Order.NEWEST) == [second, first]


def test_the_queue_can_be_narrowed_to_a_reason_a_source_and_an_annotator(dataset, version, case):
    differ, against = case("ab", margin=0.0, source="gpt"), case("a", margin=-1.0, source="llama")
    flagged = case("", flag="broken")
    voter = against.judgments.get().annotator

    assert queued(dataset, version, why=Why.PEOPLE) == [differ]
    assert queued(dataset, version, why=Why.MODEL) == [against]
    assert queued(dataset, version, why=Why.FLAGGED) == [flagged]
    assert queued(dataset, version, source="gpt") == [differ]
    assert queued(dataset, version, annotator=voter.pk) == [against]


def test_a_change_after_the_reveal_is_a_reason_of_its_own(dataset, version, case):
    comparison = case("a", margin=-1.0)
    first = comparison.judgments.get()
    first.is_current = False
    first.save()
    JudgmentFactory.create(
        comparison=comparison, annotator=first.annotator, outcome="b", stage="revealed", supersedes=first
    )
    kept = case("a", margin=1.0)
    seen = kept.judgments.get()
    seen.is_current = False
    seen.save()
    JudgmentFactory.create(
        comparison=kept, annotator=seen.annotator, outcome="a", stage="revealed", supersedes=seen
    )

    (row,) = queue.page(dataset, version, Filters()).cases

    assert (row.comparison, row.why) == (comparison, (Why.CHANGED,))


def test_the_queue_can_be_narrowed_by_length_and_by_group(dataset, version, case):
    alike = case(texts=("four words are here", "four words are there"))
    apart = case(texts=("four words are here", "of words there are more than twice as many"))

    assert queued(dataset, version, lengths="alike") == [alike]
    assert queued(dataset, version, lengths="apart") == [apart]
    assert queued(dataset, version, group=apart.prompt.group) == [apart]


@pytest.fixture
def narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of 2 Comparisons, of 4 and of the rest, so that a dozen cases lie in several."""
    monkeypatch.setattr(queue, "FIRST_BAND", 2)


def pages(dataset: Dataset, version: ModelVersion | None, filters: Filters) -> list[Comparison]:
    """The whole queue, by pages of three."""
    comparisons, after = [], ""
    for _ in range(100):
        page = queue.page(dataset, version, filters, after, size=3)
        comparisons += [row.comparison for row in page.cases]
        after = page.after
        if not after:
            return comparisons
    raise AssertionError("The queue has no end.")


@pytest.mark.parametrize("order", list(Order))
def test_pages_have_no_gap_and_no_repeat(dataset, version, case, narrow_bands, order):
    for n in range(11):
        case("ab", margin=None if n in (3, 8) else (n * 7 % 4) / 3, flag="other" if n % 5 == 0 else "")
        case("aa", margin=2.0)
    filters = Filters(order=order)

    paged = pages(dataset, version, filters)

    assert paged == [row.comparison for row in queue.page(dataset, version, filters, size=99).cases]
    assert len(paged) == len(set(paged)) == 11


@pytest.mark.parametrize("scored", [0, 2])
def test_where_hardly_anything_is_scored_the_order_is_that_of_one_band(
    dataset, version, case, monkeypatch, scored
):
    for n in range(12):
        case("ab", margin=float(n) if 5 <= n < 5 + scored else None, flag="other" if n in (2, 9) else "")
    exact = queued(dataset, version)

    monkeypatch.setattr(queue, "FIRST_BAND", 2)

    assert pages(dataset, version, Filters()) == exact


def test_pages_stay_whole_while_people_settle_and_judge_and_another_version_becomes_active(
    dataset, version, case, narrow_bands, rita
):
    voters = AnnotatorFactory.create_batch(2)
    for n in range(12):
        case("ab", margin=n % 5 + n / 100, by=voters)
    filters = Filters()
    whole = pages(dataset, version, filters)

    seen, after = [], ""
    for _ in range(4):
        page = queue.page(dataset, version, filters, after, size=3)
        seen += [row.comparison for row in page.cases]
        after = page.after
        settle(page.cases[0].comparison, rita, "a")
        activate(ModelVersionFactory.create(), reason="another")

    assert (seen, after) == (whole, "")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "{}",
        "[1]",
        '["a", 1, 1.0, 1]',
        "[0, 1.0, 1]",
        "[1, 1, 1, 1]",
        "[true, 1, 1.0, 1]",
        "[0, 1, 1.0, 1.5]",
    ],
)
def test_a_broken_cursor_is_refused(dataset, version, cursor):
    with pytest.raises(ValueError, match=r".+"):
        queue.page(dataset, version, Filters(), after=cursor)


@pytest.mark.parametrize("order", list(Order))
def test_the_cursor_of_a_case_leads_to_the_next_one(dataset, version, case, narrow_bands, order):
    for n in range(6):
        case("ab", margin=float(n) if n else None, flag="other" if n == 3 else "")
    filters = Filters(order=order)
    whole = pages(dataset, version, filters)

    following = []
    for comparison in whole:
        cursor = queue.cursor_of(comparison, version, filters)
        page = queue.page(dataset, version, filters, cursor, size=1)
        following += [row.comparison for row in page.cases]

    assert following == whole[1:]


def test_reliability_is_the_share_of_opinions_that_reviewers_confirmed_shrunk_to_the_prior(
    dataset, case, rita
):
    right, wrong, unreviewed = AnnotatorFactory.create_batch(3)
    for _ in range(3):
        settle(case("ab", by=[right, wrong]), rita, "a")
    settle(case("ab", by=[right, wrong]), rita, "drop")
    case("ab", by=[right, unreviewed])

    shares = queue.reliability(dataset, timezone.now())

    assert shares == {right.pk: pytest.approx((3 + 4) / (3 + 5)), wrong.pk: pytest.approx(4 / (3 + 5))}


def test_reviews_after_the_moment_asked_for_and_those_undone_before_it_do_not_count(dataset, case, rita):
    voter = AnnotatorFactory.create()
    undone = case("a", by=[voter])
    settle(undone, rita, "a")
    decide.undo(undone.decisions.get(), rita)
    before = timezone.now()
    settle(case("a", by=[voter]), rita, "b")

    assert queue.reliability(dataset, before) == {}
    assert queue.reliability(dataset, timezone.now()) == {voter.pk: pytest.approx(4 / 6)}


def test_the_order_is_that_of_an_independent_calculation(dataset, version, case, rita):
    rng = np.random.default_rng(11)
    version.temperature = 1.7
    version.save()
    voters = AnnotatorFactory.create_batch(4)
    for n in range(40):
        who = list(rng.choice(4, size=int(rng.integers(2, 4)), replace=False))
        texts = ["wörter " * int(k) + str(n) for k in rng.integers(3, 90, 2)]
        case(
            "".join(rng.choice(["a", "b"], len(who))),
            margin=float(rng.normal(0, 3)),
            texts=(texts[0], texts[1] + "."),
            by=[voters[i] for i in who],
        )
    for comparison in Comparison.objects.order_by("pk")[:12]:
        settle(comparison, rita, str(rng.choice(["a", "b"])))
    expected = _ordered_by_numpy(dataset, version, [voter.pk for voter in voters])

    assert [comparison.pk for comparison in queued(dataset, version)] == expected
    assert len(expected) > 10


def _ordered_by_numpy(dataset: Dataset, version: ModelVersion, voters: list[int]) -> list[int]:
    """The queue by value, calculated from plain rows with arrays."""
    comparisons = list(Comparison.objects.filter(dataset=dataset).order_by("pk"))
    votes = np.full((len(comparisons), len(voters)), "", dtype=object)
    for i, comparison in enumerate(comparisons):
        for judgment in comparison.judgments.all():
            votes[i, voters.index(judgment.annotator_id)] = judgment.outcome
    margin = np.array([c.suggestions.get(version=version).margin for c in comparisons])
    decided = np.array([getattr(c.decisions.first(), "outcome", "") for c in comparisons], dtype=object)
    size = np.array([len(c.a.text.encode()) + len(c.b.text.encode()) for c in comparisons])

    reviewed = (votes != "") & (decided != "")[:, None]
    agreed = (reviewed & (votes == decided[:, None])).sum(axis=0)
    skill = (agreed + 4) / (reviewed.sum(axis=0) + 5)
    trust = ((votes != "") * skill).sum(axis=1) / (votes != "").sum(axis=1)
    confidence = 2 / (1 + np.exp(-np.abs(margin) / version.temperature)) - 1
    value = confidence * trust / ((10 + size / 20) / 60)

    differ = (votes == "a").any(axis=1) & (votes == "b").any(axis=1)
    against = ((votes == "a").any(axis=1) & (margin < 0)) | ((votes == "b").any(axis=1) & (margin > 0))
    waiting = (differ | against) & (decided == "")
    order = np.argsort(-value, kind="stable")
    return [comparisons[i].pk for i in order if waiting[i]]


def test_flips_are_told_apart_by_what_people_prefer_and_a_tie_of_scores_is_none(dataset, version, case, rita):
    old = ModelVersionFactory.create()

    def flip(outcomes: str, before: float, now: float) -> Comparison:
        comparison = case(outcomes, margin=now)
        SuggestionFactory.create(comparison=comparison, version=old, margin=before)
        return comparison

    to_a, to_b = flip("aab", -1.0, 1.0), flip("b", 1.0, -1.0)
    from_a = flip("aaa", 1.0, -1.0)
    split, silent = flip("ab", 1.0, -1.0), flip("", -1.0, 1.0)
    overruled = flip("bb", -1.0, 1.0)
    settle(overruled, rita, "a")
    dropped = flip("a", -1.0, 1.0)
    settle(dropped, rita, "drop")
    flip("a", 1.0, 2.0)
    flip("a", 0.0, 2.0)
    flip("a", -1.0, 0.0)
    case("a", margin=1.0)
    flips = Comparison.objects.flipped

    assert set(flips(old, version)) == {to_a, to_b, from_a, split, silent, overruled, dropped}
    assert set(flips(old, version, towards=True)) == {to_a, to_b, overruled}
    assert set(flips(old, version, towards=False)) == {from_a}
    assert set(flips(version, old, towards=False)) == {to_a, to_b, overruled}

    rows = queue.page(dataset, version, Filters(old=old, order=Order.OLDEST)).cases
    by_flip = {row.comparison: row.why[-1] for row in rows}
    assert by_flip == {
        to_a: Why.TOWARDS,
        to_b: Why.TOWARDS,
        from_a: Why.AWAY,
        split: Why.FLIPPED,
        silent: Why.FLIPPED,
        overruled: Why.TOWARDS,
        dropped: Why.FLIPPED,
    }
    assert queued(dataset, version, old=old, why=Why.AWAY) == [from_a]
    assert set(queued(dataset, version, old=old, why=Why.FLIPPED)) == {split, silent, dropped}
    assert to_b not in queued(dataset, version)


def test_a_settled_case_is_known_with_the_reasons_that_it_had(dataset, version, case, rita):
    """Also a flag, which settling closes; a pair that nobody disagreed on was no case."""
    start = timezone.now() - timedelta(days=1)
    split, agreed, flagged = case("ab"), case("aa"), case("a", flag="other")
    for comparison in (split, agreed, flagged):
        decide.settle(comparison, rita, outcome="a", seen_token=decide.seen(comparison))

    settled = queue.settled_since(dataset, version, "", start)

    assert {found.why for found in settled} == {(Why.PEOPLE,), (Why.FLAGGED,)}
    assert all(found.since < found.until for found in settled)
    assert queue.settled_since(dataset, version, "labels", start) == []
    assert queue.settled_since(dataset, version, "", timezone.now()) == []


def test_the_queue_takes_as_many_queries_for_thirty_cases_as_for_one(dataset, version, case):
    case("ab", margin=1.0, flag="other")
    with CaptureQueriesContext(connection) as for_one:
        queue.page(dataset, version, Filters())
    for _ in range(29):
        case("ab", margin=1.0)

    with CaptureQueriesContext(connection) as for_thirty:
        assert len(queue.page(dataset, version, Filters()).cases) == 30

    assert len(for_thirty) == len(for_one) == 4
