import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from scoring.baselines import BASELINES
from tests.factories import (
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import Evaluation, ModelVersion, Promotion, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.datasets import overview
from workbench.pipeline.model import evaluation, pairs
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.text.splits import split_of
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(as_user):
    return as_user(UserFactory.create(username="sam", is_staff=True))


@pytest.fixture
def old() -> ModelVersion:
    version = ModelVersionFactory.create(name="old", temperature=1.0)
    activate(version)
    return version


@pytest.fixture
def new() -> ModelVersion:
    return ModelVersionFactory.create(name="new", temperature=1.0)


@pytest.fixture
def release(dataset) -> Release:
    for number in range(30):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt))
    return releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))


def settled_test_pairs(dataset, versions, count=6):
    """Pairs of the test split; of two versions the first is right on all, the second on the first alone."""
    number, pairs_made = 0, 0
    while pairs_made < count:
        prompt = PromptFactory.build(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        number += 1
        if split_of(prompt.group) != "test" or dataset.prompts.filter(sha256=prompt.sha256).exists():
            continue
        prompt.save()
        comparison = ComparisonFactory.create(prompt=prompt)
        JudgmentFactory.create(comparison=comparison)
        for place, version in enumerate(versions):
            margin = -1.0 if place and pairs_made else 1.0
            SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
        pairs_made += 1


def evaluated(version, dataset) -> Evaluation:
    def scorer_of(version):
        return BASELINES.get(version.name, BASELINES["longest"])

    return evaluation.evaluate(version, pairs.of_dataset(dataset), scorer_of)


def test_retraining_makes_a_run_and_rings_for_it(
    dataset, alice, as_user, old, release, messages, django_capture_on_commit_callbacks
):
    chosen = {"release": release.pk, "base": old.pk, "preset": "seed", "name": "mine"}

    with django_capture_on_commit_callbacks(execute=True):
        answer = as_user(alice).post(reverse("model", args=[dataset.pk]), chosen)

    run = Run.objects.get(kind="train")
    assert answer.headers["Location"] == reverse("run", args=[run.pk])
    assert (run.params["preset"], run.params["name"], run.params["base"]) == ("seed", "mine", old.pk)
    assert run.created_by == alice
    assert messages == [(tasks.carry_out, run.pk)]


def test_what_to_expect_is_said_before_anybody_presses_retrain(dataset, alice, as_user, old, release):
    page = as_user(alice).get(reverse("model", args=[dataset.pk])).content.decode()

    assert "profile preference" in page
    assert "don’t expect much" in page


def test_for_few_pairs_the_quick_preset_is_chosen_and_described(dataset, alice, as_user, old, release):
    page = as_user(alice).get(reverse("model", args=[dataset.pk])).content.decode()

    (checked,) = re.findall(r'<input[^>]*name="preset"[^>]*checked[^>]*>', page)
    assert 'value="quick"' in checked
    assert "at most 90 seconds" in page


def test_a_training_that_cannot_be_says_why_and_makes_no_run(dataset, alice, as_user, old, release):
    dataset.frozen = True
    dataset.save()

    answer = as_user(alice).post(
        reverse("model", args=[dataset.pk]), {"release": release.pk, "base": old.pk, "preset": "seed"}
    )

    assert answer.status_code == 400
    assert "Kitchen is a benchmark" in answer.content.decode()
    assert not Run.objects.filter(kind="train").exists()


def test_a_training_that_waits_says_that_no_worker_trains(dataset, alice, as_user):
    run = RunFactory.create(dataset=dataset, kind="train", params={"name": "n", "preset": "seed"})

    page = as_user(alice).get(reverse("run", args=[run.pk])).content.decode()

    assert "--queues train</code>" in page


def test_a_training_shows_its_curve_its_preflight_and_its_log(dataset, alice, as_user):
    result = {
        "stage": "training",
        "loss": [[1, 0.7], [2, 0.5]],
        "validation": [[2, {"log_loss": 0.6, "accuracy": 0.75, "best": True}]],
        "log": [["2026-01-01T10:00:00+00:00", "warning: few <pairs>"]],
    }
    run = RunFactory.create(
        dataset=dataset, kind="train", state="running", total=4, result=result, params={"preset": "seed"}
    )

    page = as_user(alice).get(reverse("run", args=[run.pk])).content.decode()

    assert 'd="M25.00 5.00L50.00 15.00"' in page
    assert "75\xa0%" in page
    assert "warning: few &lt;pairs&gt;" in page
    assert "style=" not in page


def test_each_version_stands_with_its_interval_beside_the_rule_longest(dataset, alice, as_user, old, new):
    settled_test_pairs(dataset, [new, old])
    evaluated(new, dataset)

    page = as_user(alice).get(reverse("model", args=[dataset.pk])).content.decode()

    assert "<b>100\xa0%</b>" in page
    assert "longest" in page
    assert "not evaluated" in page  # the old one


def test_the_table_asks_as_often_for_three_versions_as_for_one(dataset, alice, as_user, old, queries_of):
    url = reverse("model", args=[dataset.pk])
    for_one_version = queries_of(as_user(alice), url)
    for _ in range(2):
        ModelVersionFactory.create(base=old)

    assert queries_of(as_user(alice), url) == for_one_version


def test_comparing_with_the_active_one_says_why_not_and_links_the_flips(dataset, staff, old, new):
    settled_test_pairs(dataset, [new, old])

    url = f"{reverse('model_compare', args=[dataset.pk])}?new={new.pk}&old={old.pk}"
    page = staff.get(url).content.decode()

    assert "6 pairs of Kitchen count. A reliable difference needs 300" in page
    assert "5 now right" in page
    link = f"{reverse('review', args=[dataset.pk])}?version={new.pk}&amp;old={old.pk}&amp;why=towards"
    assert link in page
    assert staff.get(link.replace("&amp;", "&")).status_code == 200


def test_a_version_that_is_not_shown_to_beat_the_rule_longest_says_so_where_it_would_be_promoted(
    dataset, staff, old, new
):
    settled_test_pairs(dataset, [old, new])
    url = f"{reverse('model_compare', args=[dataset.pk])}?new={new.pk}&old={old.pk}"
    assert "not clearly better than picking the longer answer" not in staff.get(url).content.decode()

    evaluated(new, dataset)

    assert "not clearly better than picking the longer answer" in staff.get(url).content.decode()


def test_two_versions_of_which_none_is_active_are_compared_without_a_gate(dataset, staff, old, new):
    second = ModelVersionFactory.create(name="other")
    settled_test_pairs(dataset, [new, second])

    url = f"{reverse('model_compare', args=[dataset.pk])}?new={new.pk}&old={second.pk}"
    page = staff.get(url).content.decode()

    assert "+83.3 points" in page
    assert "Promote anyway" not in page


def test_the_comparison_of_a_large_dataset_follows_when_the_page_is_there(
    dataset, staff, old, new, monkeypatch
):
    settled_test_pairs(dataset, [new, old])
    monkeypatch.setattr(overview, "LARGE", 5)
    url = f"{reverse('model_compare', args=[dataset.pk])}?new={new.pk}&old={old.pk}"

    with CaptureQueriesContext(connection) as queries:
        at_once = staff.get(url).content.decode()
    follows = staff.get(url, headers={"HX-Request": "true"}).content.decode()

    assert not any("workbench_judgment" in query["sql"] for query in queries.captured_queries)
    assert f'id="compared" hx-get="{escape(url)}" hx-trigger="load"' in at_once
    assert "5 now right" not in at_once
    for page in (follows, staff.get(url + "&now=1").content.decode()):
        assert "5 now right" in page
        assert "hx-trigger" not in page


def test_a_promotion_that_the_gate_refuses_changes_nothing_and_says_why(dataset, staff, old, new, messages):
    settled_test_pairs(dataset, [new, old])

    page = staff.post(reverse("promote", args=[dataset.pk, new.pk]), follow=True).content.decode()

    assert "A reliable difference needs 300" in page
    assert ModelVersion.objects.active() == old


def test_an_override_is_kept_with_its_reason_and_everything_is_scored_again(
    dataset, staff, old, new, messages, django_capture_on_commit_callbacks
):
    settled_test_pairs(dataset, [new, old])

    with django_capture_on_commit_callbacks(execute=True):
        sent = {"override": "on", "reason": "The old one was broken."}
        staff.post(reverse("promote", args=[dataset.pk, new.pk]), sent)

    promotion = Promotion.objects.history()[0]
    assert ModelVersion.objects.active() == new
    assert (promotion.kind, promotion.by.username) == ("override", "sam")
    assert promotion.reason == "The old one was broken."
    assert messages == [(tasks.score_missing, dataset.pk)]
    assert "The old one was broken." in staff.get(reverse("versions")).content.decode()


def test_rolling_back_is_one_click(dataset, staff, old, new, messages):
    activate(new, reason="better")

    page = staff.post(reverse("rollback"), follow=True).content.decode()

    assert ModelVersion.objects.active() == old
    assert "old is active again and has replaced new" in page


def test_the_lineage_leads_from_release_and_run_to_scores(dataset, alice, as_user, old, release):
    run = RunFactory.create(dataset=dataset, kind="train")
    trained = ModelVersionFactory.create(name="trained", base=old, release=release, trained_by=run)
    settled_test_pairs(dataset, [trained])
    evaluated(trained, dataset)

    page = as_user(alice).get(reverse("model_version", args=[dataset.pk, trained.pk])).content.decode()

    for url in (
        reverse("release", args=[release.pk]),
        reverse("run", args=[run.pk]),
        reverse("model_version", args=[dataset.pk, old.pk]),
    ):
        assert f'href="{url}"' in page


def test_a_version_that_is_not_there_is_not_found(dataset, alice, as_user):
    client = as_user(alice)

    assert client.get(reverse("model_version", args=[dataset.pk, 10_000])).status_code == 404
    sent = {"version": str(uuid4())}
    assert client.post(reverse("model_evaluate", args=[dataset.pk]), sent).status_code == 404
