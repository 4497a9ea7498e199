"""Small pictures of pages: where their parts stand, and the words beside them."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from scoring import evaluate
from tests.factories import DatasetFactory, RunFactory
from workbench.models import Run
from workbench.pipeline.review.queue import Facts, Settled, Why
from workbench.templatetags.figures import unbroken
from workbench.views.pictures import (
    FLIPS_HIGH,
    Balance,
    Bars,
    BurnDown,
    Flips,
    Lanes,
    Lengths,
    Measured,
    PairsAPrompt,
    Span,
    Versions,
    Weeks,
)

NOW = timezone.now()


def test_bars_share_one_scale():
    bars = Bars.of([0, 5, 10], 10)

    assert [bar["height"] for bar in bars.places] == [0, 10, 20]
    assert [bar["y"] for bar in bars.places] == [20, 10, 0]


def test_a_figure_beyond_the_axis_ends_at_it():
    figure = {"value": 20.0, "low": 10.0, "high": 90.0, "n": 9, "prompts": 0}

    assert Span.of(figure, 40.0) == Span(50, 25, 100)
    assert Span.of({**figure, "value": None}) is None


def test_weeks_with_a_figure_stand_side_by_side_the_better_the_higher():
    def row(week: str, value: float | None) -> dict:
        figure = {"value": value, "low": 0.5, "high": 1.0, "n": 20, "prompts": 20}
        return {"label": week, "units": 20, "opinions": 40, "raw": figure}

    weeks = Weeks.of([row("2026-11-02", 0.6), row("2026-11-09", None), row("2026-11-16", 0.8)])

    assert [point["x"] for point in weeks.points] == [4, 96]
    first, last = weeks.points
    assert first["y"] > last["y"] > last["high"] == 2
    assert weeks.described == "2026-11-02: 60\xa0%, 2026-11-16: 80\xa0%"
    assert Weeks.of([row("2026-11-02", 0.6)]) is None


def test_versions_stand_between_their_rule_and_the_ceiling_with_words():
    old = Measured("old", 0.6, (0.5, 0.7), 0.55, "longest", None)
    new = Measured("a-very-long-name-of-a-version", 0.75, (0.65, 0.8), 0.55, "longest", (0.8, 0.9))

    drawn = Versions.of([old, new])

    first, second = drawn.points
    assert first["high"] < first["y"] < first["low"]
    assert second["y"] < second["rule"]
    assert drawn.ceiling["y"] + drawn.ceiling["height"] <= second["y"]
    assert second["name"] == "a-very-long-na…"
    assert drawn.described == (
        "old 60 % (50 to 70), longest 55 %; a-very-long-name-of-a-version 75 % (65 to 80), longest 55 %; "
        "the ceiling is 80 to 90 %"
    )


def test_no_version_that_was_measured_is_no_picture():
    assert Versions.of([]) is None


def test_flips_go_up_where_the_new_model_is_right_and_down_where_it_is_wrong():
    """Of ten pairs, four are right in both models, three only in the new one, two only in the old one."""
    new, old = [1.0] * 7 + [-1.0] * 3, [1.0] * 4 + [-1.0] * 3 + [1.0] * 2 + [-1.0]

    paired = evaluate.compare(new, old, [1.0] * 10, list(range(10)))
    flips = Flips.of(paired)

    kept, towards, away, neither = (
        [tuple(map(float, corner.split(","))) for corner in band["points"].split()] for band in flips.bands
    )
    assert [band["pairs"] for band in flips.bands] == [4, 3, 2, 1]
    assert towards[1][1] < towards[0][1]
    assert away[1][1] > away[0][1]
    was_right, is_right = (column["right"] / FLIPS_HIGH for column in flips.columns)
    assert (was_right, is_right) == pytest.approx((paired.old_accuracy, paired.new_accuracy))
    assert away[3][1] == pytest.approx(was_right * FLIPS_HIGH)
    assert towards[2][1] == pytest.approx(is_right * FLIPS_HIGH)
    assert kept[0][1] == 0
    assert neither[2][1] == FLIPS_HIGH
    assert flips.described == "4 right in both, 3 now right, 2 now wrong, 1 right in neither"


def test_no_pair_with_a_preferred_answer_is_no_picture_of_flips():
    assert Flips.of(evaluate.compare([1.0], [1.0], [0.5], [0])) is None


def test_the_limit_of_the_model_stands_where_answers_reach_it():
    within, beyond = Lengths.of([10, 20, 30], 2048), Lengths.of([10, 20, 3000], 2048)

    assert within.limit is None
    assert 0 < beyond.limit < 100
    assert beyond.described == (
        "3 answers with their prompts: half of them have up to 20 characters, the longest 3,000. "
        "The model reads about 2,048."
    )


def test_the_labels_of_a_file_fill_one_bar():
    balance = Balance.of({"longer": 6, "shorter": 3, "tie": 1})

    assert sum(part["width"] for part in balance.parts) == pytest.approx(100)
    assert balance.described == unbroken("60 % longer answer, 30 % shorter answer, 10 % tie or both bad")
    assert Balance.of({}) is None


def test_every_prompt_of_a_file_stands_in_one_bar_of_its_number_of_pairs():
    drawn = PairsAPrompt.of([1] * 7 + [3, 5, 85])

    assert drawn.rows == [
        ("1", 7, 100),
        ("3", 1, 100 / 7),
        ("4 to 6", 1, 100 / 7),
        ("64 or more", 1, 100 / 7),
    ]
    assert drawn.described == unbroken(
        "10 prompts with 100 pairs. The 1 with the most pairs has 85 % of them."
    )


def test_prompts_with_as_many_pairs_each_have_none_with_the_most():
    assert PairsAPrompt.of([1, 1]).described == "2 prompts with 1 pair each."


@pytest.mark.parametrize("pairs", [[], [3], [0, 0]])
def test_prompts_without_pairs_to_compare_are_no_picture(pairs):
    assert PairsAPrompt.of(pairs) is None


def test_a_case_is_open_from_its_latest_vote_until_a_reviewer_settles_it():
    """Of four cases, one waits since nine days ago and one since an hour ago. One was settled two days and a
    half ago, and one was opened and settled between two of the moments that are drawn."""
    ago = [NOW - timedelta(days=days) for days in (9, 1 / 24, 3.5, 3.2)]
    waiting = [
        Facts((Why.PEOPLE, Why.MODEL), ago[0]),
        Facts((Why.MODEL,), ago[1]),
    ]
    settled = [
        Settled((Why.PEOPLE,), NOW - timedelta(days=20), NOW - timedelta(days=2.5)),
        Settled((Why.PEOPLE,), ago[2], ago[3]),
    ]

    drawn = BurnDown.of(waiting, settled, NOW)

    assert drawn.whole.numbers == [1] * 5 + [2] * 7 + [1, 1, 2]
    assert {case.words: case.now for case in drawn.by_reason} == {
        "model against people": 2,
        "people disagree": 1,
    }
    assert drawn.settled == 2


def test_a_queue_without_cases_is_no_picture():
    assert BurnDown.of([], []) is None


@pytest.fixture
def three_runs(dataset):
    """An import that ran for an hour, a scoring that ran for half of it, and a release that waits."""
    hours = [NOW - timedelta(hours=n) for n in (2, 1)]
    RunFactory.create(dataset=dataset, kind="import", state="done", started_at=hours[0], finished_at=hours[1])
    RunFactory.create(dataset=dataset, kind="score", state="failed", started_at=hours[1], finished_at=NOW)
    RunFactory.create(dataset=dataset, kind="release", state="waiting")
    Run.objects.update(created_at=hours[0])


@pytest.mark.django_db
@pytest.mark.usefixtures("three_runs")
def test_runs_stand_in_the_lane_of_their_queue_from_their_start_to_their_end():
    lanes = Lanes.of(Run.objects.order_by("-pk"), NOW)

    assert [lane["words"] for lane in lanes.lanes] == ["imports, figures", "scoring"]
    (imported, waits), (scored,) = (lane["bars"] for lane in lanes.lanes)
    assert (imported["x"], imported["width"]) == pytest.approx((0, 50))
    assert (scored["waiting"], scored["x"], scored["width"]) == pytest.approx((50, 50, 50))
    assert (waits["waiting"], waits["width"]) == pytest.approx((100, 0))


@pytest.mark.django_db
def test_the_runs_page_draws_what_waits_behind_another_dataset(dataset, alice, as_user):
    RunFactory.create(dataset=DatasetFactory.create(), state="running", started_at=NOW)
    RunFactory.create(dataset=dataset, state="waiting")

    html = as_user(alice).get(reverse("runs", args=[dataset.pk])).content.decode()

    assert 'class="running other"' in html
    assert "The last runs by queue" in html
