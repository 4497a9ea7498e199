"""The Quality page shows the report that a Run has stored: to whom, and with which note when it is old."""

import csv
import io

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import (
    Annotator,
    Dataset,
    Judgment,
    Statistics,
    User,
    Worker,
)
from workbench.pipeline import quality
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.quality import charts
from workbench.worker import tasks

COMING = "The first figures appear by themselves, usually within a minute once a worker is running."
HTMX = {"HX-Request": "true"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>'


@pytest.fixture
def judged(dataset: Dataset, db: None) -> list[Annotator]:
    """Twenty Comparisons that two people judged alike on the left, and a model that always says a."""
    version = ModelVersionFactory.create(name="reward-1", state="active", temperature=1.0)
    people = [AnnotatorFactory.create(user=UserFactory.create(username=name)) for name in ("=1+1", "bea")]
    for number in range(20):
        comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0 + number / 10)
        for annotator in people:
            JudgmentFactory.create(
                comparison=comparison, annotator=annotator, left="a", mode="blind", seconds=9.0
            )
    return people


@pytest.fixture
def quick_pen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn in tests of their own; these tests only need their files."""
    monkeypatch.setattr(charts, "drawn", lambda panel, theme: SVG + panel.name.encode())


def compute(dataset: Dataset) -> Statistics:
    run = quality.begin(dataset)
    tasks.carry_out(run.pk)
    return Statistics.objects.get(dataset=dataset)


def page(client: Client, dataset: Dataset, **more) -> str:
    return client.get(reverse("quality", args=[dataset.pk]), **more).content.decode()


@pytest.mark.parametrize(("name", "status"), [("alice", 200), ("rita", 200), ("bob", 403), ("charlie", 404)])
def test_quality_is_for_reviewers_and_admins(request, as_user, dataset, judged, quick_pen, name, status):
    client = as_user(request.getfixturevalue(name))
    stored = compute(dataset)
    chart = next(path for path in stored.charts if "/accuracy-" in path).rpartition("/")[2]

    pages = [
        client.get(reverse("quality", args=[dataset.pk])),
        client.get(reverse("quality_chart", args=[dataset.pk, chart])),
        client.get(reverse("quality_table", args=[dataset.pk, "people", "accuracy"])),
    ]

    assert [page.status_code for page in pages] == [status] * 3


def test_what_tells_of_single_annotators_is_for_admins(as_user, dataset, alice, rita, judged, quick_pen):
    stored = compute(dataset)
    left = next(path for path in stored.charts if "/left-" in path).rpartition("/")[2]
    urls = [
        reverse("quality_chart", args=[dataset.pk, left]),
        reverse("quality_table", args=[dataset.pk, "people", "annotators"]),
        reverse("quality_report", args=[dataset.pk]),
    ]

    admin, reviewer = as_user(alice), as_user(rita)

    assert [admin.get(url).status_code for url in urls] == [200, 200, 200]
    assert [reviewer.get(url).status_code for url in urls] == [404, 404, 403]
    assert "bea" in page(admin, dataset)
    assert "bea" not in page(reviewer, dataset)


def test_without_figures_the_page_says_what_comes_and_how(as_user, dataset, alice):
    client = as_user(alice)
    nobody = page(client, dataset)
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    somebody = page(client, dataset)

    assert "No votes or labels yet" in nobody
    assert COMING in somebody
    Dataset.objects.update(archived_at=timezone.now())
    assert "archived before its figures were computed" in page(client, dataset)


def test_while_a_worker_computes_the_page_says_so_and_looks_again(as_user, dataset, alice):
    quality.begin(dataset)

    assert "Updating. The figures appear" in page(as_user(alice), dataset)
    assert "hx-get" in page(as_user(alice), dataset, headers=HTMX)


def test_a_page_that_waits_is_loaded_anew_when_the_figures_are_there(
    as_user, dataset, alice, judged, quick_pen
):
    compute(dataset)

    response = as_user(alice).get(reverse("quality", args=[dataset.pk]), headers=HTMX)

    assert (response.status_code, response["HX-Refresh"]) == (286, "true")


def test_a_run_that_failed_is_told_with_its_error(as_user, dataset, alice):
    run = quality.begin(dataset)
    run.start()
    run.fail("MemoryError: too much")

    assert "MemoryError: too much" in page(as_user(alice), dataset)


def test_the_page_says_how_old_its_figures_are(as_user, dataset, alice, judged, quick_pen):
    compute(dataset)
    client = as_user(alice)
    fresh = page(client, dataset)

    JudgmentFactory.create(comparison=dataset.comparisons.first())
    activate(ModelVersionFactory.create(name="reward-2"), reason="better")
    old = page(client, dataset)

    assert "40 votes on 20 pairs" in fresh
    assert "Up to date" in fresh
    assert "1 new vote since" in old
    assert "reward-2 is active now" in old
    assert "No worker is running, so no update is on its way." in old
    now = timezone.now()
    Worker.objects.create(name="w", queues="work", started_at=now, last_seen=now)
    assert "An update is on its way." in page(client, dataset)
    assert "Up to date" not in old
    assert "on its way" not in fresh
    Dataset.objects.update(archived_at=timezone.now())
    assert "on its way" not in page(client, dataset)


def test_figures_of_another_format_are_not_shown(as_user, dataset, alice, judged, quick_pen):
    compute(dataset)
    Statistics.objects.update(report={"format": 0})

    assert COMING in page(as_user(alice), dataset)


def test_a_chart_is_served_as_a_picture_that_can_do_nothing(as_user, dataset, rita, judged, quick_pen):
    stored = compute(dataset)
    name = next(path for path in stored.charts if "/accuracy-people-dark" in path).rpartition("/")[2]
    shown = page(as_user(rita), dataset)

    response = as_user(rita).get(reverse("quality_chart", args=[dataset.pk, name]))

    assert f'<img class="on-dark" src="{reverse("quality_chart", args=[dataset.pk, name])}"' in shown
    assert response.content == SVG + b"accuracy"
    assert response["Content-Type"] == "image/svg+xml"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"].startswith("default-src 'none'")
    assert "private" in response["Cache-Control"]


@pytest.mark.parametrize("name", ["nothing.svg", "..", "accuracy-people-dark-0000000000000000.svg"])
def test_only_charts_of_the_stored_report_are_served(as_user, dataset, rita, judged, quick_pen, name):
    compute(dataset)
    default_storage.save(
        f"{charts.folder(dataset)}/accuracy-people-dark-0000000000000000.svg", io.BytesIO(SVG)
    )

    assert as_user(rita).get(f"/datasets/{dataset.pk}/quality/charts/{name}").status_code == 404


def test_charts_go_with_the_report_that_they_are_of(dataset, judged, quick_pen, monkeypatch):
    old = compute(dataset).charts
    monkeypatch.setattr(charts, "drawn", lambda panel, theme: SVG + b"new" + panel.name.encode())

    new = compute(dataset).charts

    assert old
    assert [default_storage.exists(path) for path in old] == [False] * len(old)
    assert [default_storage.exists(path) for path in new] == [True] * len(new)


def test_a_table_can_be_taken_along_and_computes_nothing_in_a_spreadsheet(
    as_user, dataset, alice, judged, quick_pen
):
    compute(dataset)

    response = as_user(alice).get(reverse("quality_table", args=[dataset.pk, "people", "left"]))

    rows = list(csv.reader(io.StringIO(response.content.decode())))
    assert rows[0] == ["Annotator", "Left chosen", "Left chosen low", "Left chosen high", "Left chosen n"]
    assert sorted(row[0] for row in rows[1:]) == ["'=1+1", "bea"]
    assert [(row[1], row[4]) for row in rows[1:]] == [("1.0", "20")] * 2


@pytest.mark.parametrize("start", [*"=+-@|%\t\r\n＝＋－＠'"])
def test_no_cell_of_a_table_begins_as_a_formula_does(start, as_user, dataset, alice, judged, quick_pen):
    """CR and LF went out as they were: after them a spreadsheet runs what follows."""
    name = f"{start}1+1"
    User.objects.filter(username="=1+1").update(username=name)
    compute(dataset)

    response = as_user(alice).get(reverse("quality_table", args=[dataset.pk, "people", "left"]))

    cells = [cell for row in csv.reader(io.StringIO(response.content.decode(), newline="")) for cell in row]
    assert f"'{name}" in cells
    assert not [cell for cell in cells if cell.startswith((*"=+|%@\t\r\n＝＋－＠",))]


def test_the_page_takes_as_many_queries_for_forty_annotators_as_for_two(
    as_user, dataset, alice, judged, quick_pen
):
    client = as_user(alice)
    counts = []
    for _ in range(2):
        compute(dataset)
        page(client, dataset)
        with CaptureQueriesContext(connection) as queries:
            page(client, dataset)
        counts.append(len(queries))
        for annotator in AnnotatorFactory.create_batch(38):
            JudgmentFactory.create(comparison=dataset.comparisons.first(), annotator=annotator, left="a")

    assert Judgment.objects.count() > 40
    assert counts[0] == counts[1]


def test_what_lacks_data_is_one_line_and_no_cell_repeats_it(as_user, dataset, alice, judged, quick_pen):
    compute(dataset)

    html = page(as_user(alice), dataset)

    assert html.count("<b>Not yet:</b>") == 1
    assert (
        "what sways choices (needs 100 votes for a side on 20 prompts; have 40 votes on 20 prompts)" in html
    )
    assert "not enough data" not in html.lower()


def test_where_nobody_votes_twice_the_page_leads_to_the_setting(as_user, dataset, alice, rita, quick_pen):
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    compute(dataset)

    assert "Set two people per pair" in page(as_user(alice), dataset)
    assert "Set two people per pair" not in page(as_user(rita), dataset)
