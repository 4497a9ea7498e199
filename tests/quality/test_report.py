"""A Run computes a Dataset's figures and stores them; pages only read."""

import json
from datetime import timedelta

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
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
from workbench.models import Annotator, Claim, Comparison, Dataset, Judgment, ModelVersion, Run, Statistics
from workbench.pipeline import quality
from workbench.pipeline.quality import report as report_module
from workbench.pipeline.runs.progress import Cancelled
from workbench.worker import tasks

pytestmark = pytest.mark.django_db

COMPARISONS = 60


@pytest.fixture
def campaign(dataset: Dataset) -> list[Comparison]:
    """Sixty Comparisons under fifteen prompts, a always the longer; two people say a of two thirds, and
    differ on the others; a calibrated model says a of all but each sixth."""
    version = ModelVersionFactory.create(name="Judge", state="active", temperature=1.0)
    prompts = PromptFactory.create_batch(15, dataset=dataset, metadata={"topic": "soup"})
    people = AnnotatorFactory.create_batch(2)
    comparisons = []
    for n in range(COMPARISONS):
        prompt = prompts[n // 4]
        a, b = (
            CompletionFactory.create(prompt=prompt, text=f"{n} {text}", source=s)
            for text, s in (("- x\n" * 9, "M"), ("y", "N"))
        )
        comparison = ComparisonFactory.create(prompt=prompt, dataset=dataset, a=a, b=b)
        SuggestionFactory.create(comparison=comparison, version=version, margin=-1.5 if n % 6 == 5 else 1.5)
        for who, annotator in enumerate(people):
            outcome = "b" if n % 3 == 2 and who else "a"
            JudgmentFactory.create(
                comparison=comparison,
                annotator=annotator,
                outcome=outcome,
                mode="blind",
                left="ab"[n % 2],
                seconds=20 + n % 5,
            )
        comparisons.append(comparison)
    return comparisons


def stored(dataset: Dataset) -> Statistics:
    run = quality.begin(dataset)
    tasks.carry_out(run.pk)
    return Statistics.objects.get(dataset=dataset)


def test_a_run_computes_and_stores_the_figures_of_a_moment(dataset, campaign):
    statistics = stored(dataset)

    report = statistics.report
    assert report["data"]["comparisons"] == COMPARISONS
    assert report["data"]["opinions"] == 2 * COMPARISONS
    every = report["agreement"]["people"]["all"]
    assert (every["units"], every["opinions"]) == (60, 120)
    assert every["raw"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert every["raw"]["low"] < 2 / 3 < every["raw"]["high"]
    [judge] = report["against"]["people"]
    accuracy = judge["slices"][0]
    # Two people say a of 40 Comparisons, and differ on 20; the model says b of ten of these 20.
    assert (accuracy["accuracy"]["value"], accuracy["accuracy"]["n"]) == (1.0, 40)
    assert accuracy["longest"]["value"] == pytest.approx(1.0, abs=1e-6)
    assert (judge["learnt"], judge["known"], judge["rule"]) == (0, "no", "longest")
    assert {row["kind"] for row in judge["slices"]} == {"all", "length", "preferred", "source", "topic"}
    assert statistics.run.state == Run.State.DONE
    assert (statistics.version, statistics.judgments) == (ModelVersion.objects.active(), 120)


def test_the_report_says_how_many_judgments_came_since(dataset, campaign):
    statistics = stored(dataset)
    fresh = statistics.judgments_since

    JudgmentFactory.create(comparison=campaign[0], outcome="tie")

    assert (fresh, statistics.judgments_since) == (0, 1)
    stored(dataset)
    assert Statistics.objects.count() == 1


def test_a_dataset_in_which_nobody_has_said_anything_has_a_report_that_says_so(dataset):
    report = stored(dataset).report

    assert (report["agreement"], report["against"], report["plan"]) == ({}, {}, [])
    assert report["data"]["opinions"] == 0


def test_what_nobody_could_know_is_not_enough_data(dataset):
    for _ in range(3):
        JudgmentFactory.create(
            comparison=ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
        )

    every = stored(dataset).report["agreement"]["people"]["all"]

    assert every["alpha"] == {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "prompts": 0,
        "why": "not enough data",
    }


def test_a_second_order_joins_the_run_that_is_going_on(dataset):
    assert quality.begin(dataset) == quality.begin(dataset)
    stored(dataset)
    assert quality.begin(dataset).state == Run.State.WAITING


def test_a_cancelled_run_keeps_the_figures_that_were_there(dataset, campaign):
    before = stored(dataset)
    run = quality.begin(dataset)
    run.start()
    run.cancel()

    with pytest.raises(Cancelled):
        quality.carry_out(run)

    assert Statistics.objects.get(dataset=dataset).run_id == before.run_id


def test_a_run_that_is_cancelled_when_its_charts_are_drawn_leaves_none_of_them(dataset, monkeypatch):
    run = quality.begin(dataset)
    run.start()
    path = f"statistics/{dataset.pk}/a.svg"

    def drawn(dataset, report):
        Run.objects.filter(pk=run.pk).update(state="cancelled")
        return [default_storage.save(path, ContentFile(b"<svg/>"))]

    monkeypatch.setattr(quality.charts, "store", drawn)

    assert quality.carry_out(run) is None
    assert not default_storage.exists(path)


def test_answers_that_a_suggestion_may_have_led_do_not_count_for_the_model(dataset, campaign):
    before = stored(dataset).report["against"]["people"][0]["n"]
    for comparison in campaign:
        JudgmentFactory.create(comparison=comparison, outcome="a", mode="assisted", suggested="a")

    after = stored(dataset).report

    assert after["against"]["people"][0]["n"] == before
    assert after["agreement"]["people"]["all"]["opinions"] == 3 * COMPARISONS
    assert after["agreement"]["people"]["unseen"]["opinions"] == 2 * COMPARISONS


def test_labels_that_came_with_a_file_are_a_voice_of_their_own(dataset, campaign):
    label = Annotator.objects.create(source="labels.jsonl")
    for comparison in campaign:
        JudgmentFactory.create(comparison=comparison, annotator=label, outcome="b", stage="imported")

    report = stored(dataset).report

    assert report["against"]["imported"][0]["slices"][0]["accuracy"]["value"] == pytest.approx(
        1 / 6, abs=1e-6
    )
    assert report["agreement"]["people"]["all"]["opinions"] == 2 * COMPARISONS
    assert report["agreement"]["imported"]["unseen"] is None


def test_the_command_prints_the_figures_and_their_intervals(dataset, campaign, capsys):
    call_command("statistics", dataset.name)
    shown = capsys.readouterr().out
    call_command("statistics", dataset.name, json=True)
    report = json.loads(capsys.readouterr().out)

    assert "same vote      67 %" in shown
    assert "Judge against people, 40 pairs" in shown
    assert "its training data is not known" in shown
    assert report["data"]["opinions"] == 2 * COMPARISONS
    with pytest.raises(CommandError, match='no dataset "Kitchne"'):
        call_command("statistics", "Kitchne")


def test_each_annotator_has_their_votes_in_all_and_of_the_last_seven_days(dataset, campaign):
    first, second = Annotator.objects.order_by("pk")
    of_second = Judgment.objects.filter(annotator=second, comparison__in=campaign[:25])
    of_second.update(created_at=timezone.now() - timedelta(days=8))
    campaign[-1].judgments.filter(annotator=second).update(is_current=False)

    rows = {row["annotator"]: row for row in stored(dataset).report["annotators"]}

    assert {pk: (row["votes"], row["week"]) for pk, row in rows.items()} == {
        first.pk: (COMPARISONS, COMPARISONS),
        second.pk: (COMPARISONS - 1, COMPARISONS - 26),
    }


def test_people_are_told_of_however_many_imported_voices_have_more_votes(dataset, campaign, monkeypatch):
    monkeypatch.setattr(report_module, "MOST_ANNOTATORS", 2)
    label_sources = [Annotator.objects.create(source="file.jsonl", external_id=str(n)) for n in range(3)]
    for n, comparison in enumerate(campaign):
        for label_source in label_sources[: 1 + (n > 1) + (n > 2)]:
            JudgmentFactory.create(comparison=comparison, annotator=label_source, stage="imported")
    people = set(Annotator.objects.filter(user__isnull=False).values_list("pk", flat=True))
    Judgment.objects.filter(annotator__in=people, comparison__in=campaign[:5]).update(is_current=False)

    annotators = [row["annotator"] for row in quality.compute(dataset)["annotators"]]

    assert annotators[:2] == [label_sources[0].pk, label_sources[1].pk]
    assert set(annotators[2:]) == people


def test_no_query_is_made_for_a_single_comparison_or_judgment(
    dataset, campaign, django_assert_max_num_queries
):
    with django_assert_max_num_queries(30):
        quality.compute(dataset)


def test_the_same_data_give_the_same_figures(dataset, campaign):
    first, second = (quality.compute(dataset) for _ in range(2))
    for report in (first, second):
        del report["data"]

    assert first == second
    assert np.isfinite(first["agreement"]["people"]["all"]["raw"]["low"])


def test_what_the_queue_picked_says_nothing_of_the_rest(dataset, campaign):
    for comparison in campaign[:6]:
        annotator = comparison.judgments.first().annotator
        Claim.objects.create(
            comparison=comparison, annotator=annotator, state="done", slot=0, left="a", mode="blind",
            strategy="uncertain", propensity=0.5, expires_at=timezone.now(),
        )  # fmt: skip

    report = stored(dataset).report

    assert report["sample"]["people"] == {"answers": 108, "led": 0, "picked": 12, "asked_after": 0}
    assert report["against"]["people"][0]["n"] == 36
    assert report["agreement"]["people"]["unseen"]["opinions"] == 108


def test_a_third_opinion_that_is_asked_for_where_two_differ_does_not_make_contested_pairs_count_more(
    dataset, campaign
):
    dataset.overlap, dataset.max_overlap = 2, 3
    dataset.save()
    for comparison in campaign[2::3]:
        JudgmentFactory.create(comparison=comparison, outcome="b", mode="blind")

    report = stored(dataset).report

    assert report["sample"]["people"] == {"answers": 120, "led": 0, "picked": 0, "asked_after": 20}
    assert report["agreement"]["people"]["unseen"]["raw"]["value"] == pytest.approx(2 / 3, abs=1e-6)


def test_where_one_vote_may_be_enough_agreement_is_of_what_was_drawn_for_audit(dataset, campaign):
    dataset.overlap, dataset.single_vote_threshold = 2, 0.9
    dataset.save()
    Comparison.objects.filter(pk__in=[comparison.pk for comparison in campaign[:30]]).update(audited=True)

    report = stored(dataset).report

    assert report["sample"]["people"] == {"answers": 90, "led": 0, "picked": 0, "asked_after": 30}
    assert report["agreement"]["people"]["unseen"]["units"] == 30
