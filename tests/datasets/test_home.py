"""Home is a place to work from: the next task, each dataset's loop, what changed, a start for newcomers."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.conftest import client_of
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    RunFactory,
    UserFactory,
)
from workbench.models import Dataset, Decision, Judgment, Member, Release, Visit, Worker
from workbench.pipeline.datasets.loop import DAYS, days_of
from workbench.pipeline.quality.parting import parting
from workbench.views.steps import next_steps

pytestmark = pytest.mark.django_db


def page(client, name: str, *args: object) -> str:
    answer = client.get(reverse(name, args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def steps_in(html: str) -> dict[str, str]:
    """The steps of the first strip of a page: name -> state."""
    strip = html.partition('class="strip"')[2].partition("</ol>")[0]
    return {name: state for state, name in re.findall(r'<li class="(\w+)">.*?<b>(\w+)</b>', strip, re.DOTALL)}


def test_each_step_of_the_loop_is_filled_as_far_as_it_is(dataset, alice, as_user):
    for outcome in "ab":
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        JudgmentFactory.create(comparison=comparison, outcome=outcome)
    JudgmentFactory.create(comparison=comparison, outcome="a")
    ComparisonFactory.create(prompt__dataset=dataset)
    Release.objects.create(dataset=dataset, number=1, state="ready")

    steps = steps_in(page(as_user(alice), "home"))

    assert steps == {
        "Data": "done", "Scored": "todo", "Voted": "part",
        "Settled": "todo", "Release": "done", "Model": "todo",
    }  # fmt: skip


def test_the_next_task_stands_first_with_its_reason_and_is_of_the_dataset_that_was_opened_last(
    dataset, alice, as_user
):
    pantry = DatasetFactory.create(name="Pantry")
    Member.objects.create(dataset=pantry, user=alice, role="admin")
    for each in (dataset, pantry):
        ComparisonFactory.create_batch(2, prompt__dataset=each)
        JudgmentFactory.create(comparison=each.comparisons.first())
    client = as_user(alice)
    for each in (dataset, pantry):
        page(client, "dataset", each.pk)

    first = page(client, "home").partition('class="next-task"')[2].partition("</section>")[0]

    assert "Next: Pantry" in first
    assert "1 vote to go." in first
    assert reverse("annotate", args=[pantry.pk]) in first


def test_home_says_what_is_new_since_the_person_last_opened_the_dataset(dataset, alice, rita, as_user):
    client = as_user(alice)
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    page(client, "dataset", dataset.pk)
    for comparison in dataset.comparisons.all()[:2]:
        JudgmentFactory.create(comparison=comparison)
    JudgmentFactory.create(comparison=comparison, outcome="b")
    Release.objects.create(dataset=dataset, number=2, state="ready")

    hers, of_rita = page(client, "home"), page(as_user(rita), "home")

    changes = re.sub(r"<[^>]+>", "", hers.partition('class="changes"')[2].partition("</p>")[0])
    assert "+2 votes, +1 disagreement, +release 2" in changes
    assert 'class="changes"' not in of_rita
    page(client, "dataset", dataset.pk)
    assert 'class="changes"' not in page(client, "home")
    assert Visit.objects.count() == 1


def test_an_annotator_has_one_card_with_their_own_minutes_alone(dataset, bob, as_user):
    annotator = AnnotatorFactory.create(user=bob)
    for seconds in (50.0, 40.0):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        JudgmentFactory.create(comparison=comparison, annotator=annotator, seconds=seconds)
        JudgmentFactory.create(comparison=comparison, outcome="b")

    html = page(as_user(bob), "home")

    assert html.count('class="next-task"') == 1
    assert "2 votes today, 2 minutes." in html
    assert "Continue" in html
    for word in ("disagreement", "of 2", 'class="strip"', 'class="days"'):
        assert word not in html


@pytest.mark.parametrize("name", [None, "Demo", "Team questions"])
def test_a_newcomer_sees_what_the_product_is_and_three_things_to_do(name):
    staff = client_of(UserFactory.create(is_staff=True))
    if name:
        DatasetFactory.create(name=name)

    html = page(staff, "home")

    assert ("people vote on pairs, reviewers settle" in html) is (name != "Team questions")
    things = html.partition('class="first-steps"')[2].partition("</ol>")[0].count("<li>")
    assert things == (0 if name == "Team questions" else 3)
    assert ("Try it on the demo" in html) is (name == "Demo")
    assert reverse("dataset_new") in html


def test_home_asks_as_often_for_a_hundred_datasets_as_for_one_and_at_most_fifteen_times(as_user):
    person, old = UserFactory.create(), ModelVersionFactory.create()
    ModelVersionFactory.create(state="active")

    def add(number: int) -> None:
        for place in range(number):
            comparison = ComparisonFactory.create()
            fields = {"held_by": old} if place % 2 else {}
            Dataset.objects.filter(pk=comparison.dataset_id).update(**fields)
            Member.objects.create(dataset=comparison.dataset, user=person, role="admin")
            JudgmentFactory.create(comparison=comparison)

    client = as_user(person)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            page(client, "home")
        return len(asked.captured_queries)

    add(2)
    of_few = queries()
    add(98)

    assert queries() == of_few <= 15


def test_votes_a_day_are_those_of_people_on_the_day_they_were_given_and_give_the_expected_end(dataset):
    for days in (1, 1, 2, 30):
        judgment = JudgmentFactory.create(comparison__prompt__dataset=dataset)
        Judgment.objects.filter(pk=judgment.pk).update(created_at=timezone.now() - timedelta(days=days))
    label = AnnotatorFactory.create(user=None, source="file")
    JudgmentFactory.create(comparison__prompt__dataset=dataset, annotator=label, stage="imported")

    days = days_of([dataset])[dataset.pk]

    assert [bar.votes for bar in days.bars] == [0] * (DAYS - 3) + [1, 2, 0]
    assert days.a_day == 3 / 7
    assert days.last_day(6) == timezone.localdate() + timedelta(days=14)
    assert days.last_day(1000) is None


def test_the_plan_is_the_pace_that_the_last_day_takes(dataset):
    days, today = days_of([dataset])[dataset.pk], timezone.localdate()

    assert days.against(100, today + timedelta(days=9)).plan == 10
    assert days.against(101, today + timedelta(days=9)).plan == 11
    assert days.against(5, today).plan == 5
    for left, due_on in ((0, today), (5, None), (5, today - timedelta(days=1))):
        assert days.against(left, due_on).plan is None


def test_bars_have_one_scale_with_the_plan(dataset):
    judgment = JudgmentFactory.create(comparison__prompt__dataset=dataset)
    Judgment.objects.filter(pk=judgment.pk).update(created_at=timezone.now() - timedelta(days=1))

    days = days_of([dataset])[dataset.pk].against(4, timezone.localdate())

    assert days.plan_height == 100
    assert [bar.height for bar in days.bars[-2:]] == [25, 0]


def test_the_overview_draws_votes_a_day_against_the_plan(dataset, alice, as_user):
    for _ in range(3):
        ComparisonFactory.create(prompt__dataset=dataset)
    wanted = 3 * dataset.overlap
    dataset.due_on = timezone.localdate() + timedelta(days=1)
    dataset.save()

    html = page(as_user(alice), "dataset", dataset.pk)

    assert f"takes <b>{-(-wanted // 2)} a day</b>" in html
    assert 'class="plan"' in html
    dataset.due_on = timezone.localdate() - timedelta(days=1)
    dataset.save()
    html = page(as_user(alice), "dataset", dataset.pk)
    assert "They were due by" in html
    assert 'class="plan"' not in html


def test_new_final_labels_since_the_last_training_lead_to_the_next_one(dataset, alice, as_user):
    first = Release.objects.create(dataset=dataset, number=1, state="ready")
    ModelVersionFactory.create(name="model 3", release=first)
    for _ in range(50):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        Decision.objects.create(comparison=comparison, outcome="a", method="majority")
    JudgmentFactory.create(comparison=comparison)

    html = page(as_user(alice), "dataset", dataset.pk)

    assert "50 new final labels since model 3." in html
    assert f'href="{reverse("model", args=[dataset.pk])}">Retrain</a>' in html


def test_people_and_model_part_where_the_margin_is_for_the_other_side():
    histogram = {"edges": [], "a": [1, 0, 0, 0, 0, 0, 0, 0, 0, 5], "b": [3, 0, 0, 0, 2, 1, 0, 0, 0, 0]}
    report = {"against": {"people": [{"pk": 7, "histogram": histogram}]}}

    found = parting(report, "people", 7)

    assert [(group.same, group.apart) for group in found.groups] == [(2, 1), (0, 0), (0, 0), (0, 0), (8, 1)]
    assert (found.n, found.apart, found.surest.apart) == (12, 2, 1)
    assert parting(report, "people", 8) is None


# --- running work -------------------------------------------------------------------------------------------


def test_every_page_of_a_dataset_has_a_bar_while_work_runs_and_none_else(dataset, alice, rita, as_user):
    url = reverse("running", args=[dataset.pk])
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    pages = [
        *((name, dataset.pk) for name in ("data", "quality", "import", "people", "model", "releases")),
        *((name, dataset.pk) for name in ("settings", "review", "guideline_gaps")),
        ("review_case", pair.pk),
        ("prompt", pair.prompt_id),
    ]
    idle = [page(as_user(alice), *place) for place in pages]
    RunFactory.create(dataset=dataset, kind="import", state="running", done=3, total=12)
    RunFactory.create(dataset=dataset, kind="score")

    for place, text in zip(pages, idle, strict=True):
        assert f'hx-get="{url}" hx-trigger="load, every 2s"' in page(as_user(alice), *place), place
        assert url not in text, place
    bar = page(as_user(rita), "running", dataset.pk)
    assert "<b>Import</b>" in bar
    assert "3 of 12 rows" in bar
    assert "then score" in bar


def test_the_bar_of_a_run_that_waits_says_behind_what_and_its_end_says_so(dataset, alice, as_user):
    run = RunFactory.create(dataset=dataset, kind="import")

    waits = page(as_user(alice), "running", dataset.pk)
    run.delete()
    ended = as_user(alice).get(reverse("running", args=[dataset.pk]))

    assert "Queued: no worker serves the queue" in waits
    assert (ended.status_code, "All runs have ended." in ended.content.decode()) == (286, True)


def test_an_update_is_on_its_way_only_while_a_worker_runs(dataset, alice, as_user, store_figures):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    ModelVersionFactory.create(state="active")
    store_figures(dataset)
    JudgmentFactory.create(comparison__prompt__dataset=dataset)

    without = page(as_user(alice), "dataset", dataset.pk)
    now = timezone.now()
    Worker.objects.create(name="w", queues="work", started_at=now, last_seen=now)
    with_one = page(as_user(alice), "dataset", dataset.pk)

    assert "No worker is running, so no update is on its way." in without
    assert "An update is on its way." in with_one


NOTHING = {
    "prompt_count": 0, "member_count": 2, "wanted_count": 0, "judged_count": 0, "disagreement_count": 0,
    "model_split_count": 0, "new_label_count": 0, "trained_name": None, "last_release": None,
    "report_cells": None, "role": "admin",
}  # fmt: skip
IMPORTED = NOTHING | {"prompt_count": 9, "wanted_count": 20}
VOTED = IMPORTED | {"judged_count": 20}


@pytest.mark.parametrize(
    ("state", "label", "reason"),
    [
        (NOTHING, "Import a file", "No prompts yet. A file of prompts and answers is all it needs."),
        (IMPORTED | {"member_count": 1}, "Add people", "Nobody votes yet."),
        (IMPORTED, "Annotate", "20 votes to go."),
        (IMPORTED | {"judged_count": 10}, "Annotate", "10 votes to go."),
        (VOTED | {"disagreement_count": 1}, "Review 1 disagreement", "1 pair waits for a final label."),
        (VOTED, "Build a release", "All votes are in."),
        (
            VOTED | {"last_release": 1},
            "Retrain",
            "All votes are in, and no model is trained on release 1 yet.",
        ),
        (
            VOTED | {"last_release": 1, "trained_name": "model 3", "new_label_count": 420},
            "Retrain",
            "420 new final labels since model 3.",
        ),
        (VOTED | {"last_release": 1, "trained_name": "model 3"}, "Build a release", "All votes are in."),
    ],
)
def test_each_state_of_a_dataset_has_one_step_first_with_its_reason(dataset, state, label, reason):
    for name, value in state.items():
        setattr(dataset, name, value)

    first, *_ = next_steps(dataset)

    assert (first.label, first.reason) == (label, reason)
