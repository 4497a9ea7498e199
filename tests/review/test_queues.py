"""The first queue of a reviewer, and one count for each queue on all pages."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    RunFactory,
    SuggestionFactory,
)
from workbench.models import Comparison, Dataset, Flag, ModelVersion, ReviewQueue, Statistics
from workbench.pipeline import quality
from workbench.pipeline.review import queue as review_queue

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersionFactory.create(state="active", name="reward-1")


@pytest.fixture
def labelled(dataset: Dataset, version: ModelVersion) -> list[Comparison]:
    """Five pairs as an import leaves them: the model contradicts four labels, and two labels of one pair
    differ."""
    comparisons = []
    for number in range(5):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        label(comparison, "a")
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0 if number == 4 else -1.0)
        comparisons.append(comparison)
    label(comparisons[0], "b")
    return comparisons


def label(comparison: Comparison, outcome: str) -> None:
    source = f"labels of {outcome}"
    label_source = AnnotatorFactory._meta.model.objects.get_or_create(source=source, user=None)[0]
    JudgmentFactory.create(comparison=comparison, annotator=label_source, outcome=outcome, stage="imported")


def report(dataset: Dataset, version: ModelVersion, low: float, label_source: str = "people") -> None:
    """A stored report in which the model is ahead of the length rule by `low` at least."""
    share = {"value": 0.7, "low": 0.65, "high": 0.75, "n": 200, "prompts": 200}
    over = {**share, "value": low + 0.05, "low": low, "high": low + 0.1}
    row = {"kind": "all", "accuracy": share, "by_rule": share, "over_rule": over, "ceiling": share}
    model = {"pk": version.pk, "rule": "shortest", "slices": [row], "learnt": 0, "known": "yes", "ece": share}
    stored = {**quality.compute(dataset), "against": {label_source: [model]}}
    Statistics.objects.update_or_create(
        dataset=dataset,
        defaults={
            "version": version, "judgments": 0, "last_judgment": 0, "report": stored,
            "taken_at": dataset.created_at,
        },
    )  # fmt: skip


def html_of(client: Client, name: str, dataset: Dataset | None = None, **query: str) -> str:
    answer = client.get(reverse(name, args=[dataset.pk] if dataset else []), query)
    assert answer.status_code == 200
    return answer.content.decode()


def first_step(html: str) -> str:
    return re.search(r'class="button primary" href="[^"]*">([^<]+)</a>', html)[1]


def tabs_of(html: str) -> list[tuple[str, str]]:
    queues = html.split('aria-label="Queues"')[1]
    return re.findall(r'<a href="[^"]+"( aria-current="page")?>([^<]+)</a>', queues)


@pytest.mark.parametrize("low", [None, -0.02, 0.0])
def test_a_fresh_import_asks_for_people_and_judgments_whatever_the_model_contradicts(
    low, dataset, labelled, version, alice, as_user
):
    if low is not None:
        report(dataset, version, low, "imported")

    pages = [html_of(as_user(alice), "home"), html_of(as_user(alice), "dataset", dataset)]

    assert [first_step(page) for page in pages] == ["Add people", "Add people"]
    assert not [page for page in pages if re.search(r"Review [\d,]+ disagreement", page)]


@pytest.mark.parametrize("label_source", ["people", "imported"])
def test_a_model_that_is_better_than_the_length_rule_is_the_first_thing_to_look_at(
    label_source, dataset, labelled, version, alice, as_user
):
    report(dataset, version, 0.01, label_source)

    pages = [html_of(as_user(alice), "home"), html_of(as_user(alice), "dataset", dataset)]
    review = html_of(as_user(alice), "review", dataset)

    assert [first_step(page) for page in pages] == ["Review 3 model disagreements"] * 2
    tabs = re.findall(
        r'<a href="[^"]+"( aria-current="page")?>([^<]+)</a>', review.split('aria-label="Queues"')[1]
    )
    assert tabs[0] == (' aria-current="page"', "Model against people (3)")


def test_a_report_of_another_model_says_nothing_of_the_active_one(dataset, labelled, version, alice, as_user):
    report(dataset, ModelVersionFactory.create(), 0.2)

    assert "model disagreement" not in first_step(html_of(as_user(alice), "home"))
    assert "We don’t know yet how often" in html_of(as_user(alice), "review", dataset, queue="model")


def test_the_first_queue_is_what_people_brought_up_and_the_others_have_tabs(
    dataset, labelled, version, rita, as_user
):
    JudgmentFactory.create(comparison=labelled[1], outcome="b")
    Flag.objects.create(comparison=labelled[2], annotator=AnnotatorFactory.create(), reason="other")
    report(dataset, version, -0.1)

    review = html_of(as_user(rita), "review", dataset)

    tabs = re.findall(
        r'<a href="[^"]+"( aria-current="page")?>([^<]+)</a>', review.split('aria-label="Queues"')[1]
    )
    assert tabs[:3] == [
        (' aria-current="page"', "Disagreements (2)"),
        ("", "Imported labels disagree (1)"),
        ("", "Model against people (1)"),
    ]
    assert set(re.findall(r'id="row-(\d+)"', review)) == {str(labelled[1].pk), str(labelled[2].pk)}
    assert "people against imported labels" in review
    beside = html_of(as_user(rita), "review", dataset, queue="model")
    assert "<b>70\xa0% (65 to 75)</b> of 200 pairs it has not learnt from" in beside
    assert "may be no better than length alone" in beside


def test_a_case_is_in_one_queue_and_together_they_are_what_needs_a_reviewer(dataset, labelled, version):
    JudgmentFactory.create(comparison=labelled[1], outcome="b")

    queues = {queue: set(Comparison.objects.in_queue(queue, version)) for queue in ReviewQueue}

    assert [queues[queue] for queue in ReviewQueue] == [{labelled[1]}, {labelled[0]}, set(labelled[2:4])]
    assert set(Comparison.objects.in_disagreement(version)) == set(labelled[:4])
    for queue, expected in queues.items():
        page = review_queue.page(dataset, version, review_queue.Filters(queue=queue))
        assert {case.comparison for case in page.cases} == expected


def test_labels_of_the_file_are_not_called_people(dataset, labelled, version, rita, as_user):
    reasons = {
        why
        for queue in ReviewQueue
        for case in review_queue.page(dataset, version, review_queue.Filters(queue=queue)).cases
        for why in case.why
    }

    assert {why.value for why in reasons} == {"labels", "file"}
    assert not list(Comparison.objects.people_disagree())


def test_each_count_is_the_same_on_every_page_and_after_each_poll(dataset, labelled, version, rita, as_user):
    for outcome in "ab":
        JudgmentFactory.create(comparison=labelled[1], outcome=outcome)
    RunFactory.create(dataset=dataset, state="running", done=3, total=12)
    client = as_user(rita)

    def counts(html: str) -> list[str]:
        return re.findall(r"(?:Review ([\d,]+) disagreement|model against people \((\d+)\))", html)

    home, overview = html_of(client, "home"), html_of(client, "dataset", dataset)
    polled = client.get(dataset.get_absolute_url(), headers={"HX-Request": "true"}).content.decode()
    before = [("1", ""), ("", "2")]
    assert set(counts(home)) == {("1", "")}  # the next task, and the dataset's own steps
    assert sorted(counts(overview)) == sorted(counts(polled)) == sorted(before)
    assert re.search(r"Disagreements</a>\s*<b>1</b>", overview)

    for outcome in "ab":
        JudgmentFactory.create(comparison=labelled[2], outcome=outcome)
    polled = client.get(dataset.get_absolute_url(), headers={"HX-Request": "true"}).content.decode()

    assert 'id="steps" hx-swap-oob="true"' in polled
    assert sorted(counts(polled)) == sorted([("2", ""), ("", "1")])
    assert re.search(r"Disagreements</a>\s*<b>2</b>", polled)
    assert "Disagreements (2)" in html_of(client, "review", dataset)
    assert "Model against people (1)" in html_of(client, "review", dataset)


def test_labels_of_the_file_are_counted_beside_the_votes_of_people(dataset, labelled, alice, as_user):
    JudgmentFactory.create(comparison=labelled[4], outcome="a")

    home, overview = html_of(as_user(alice), "home"), html_of(as_user(alice), "dataset", dataset)

    assert re.search(r"Voted</b>\s*<span class=\"hint\">1 of 5<", home)
    assert "6 imported labels" in home
    assert "of 5 votes needed; plus 6 imported labels" in overview
