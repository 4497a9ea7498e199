"""Hours and pay by person and day: what counts, what it is worth, and how it is corrected."""

import csv
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO

import pytest
from django.urls import reverse

from tests.factories import AnnotatorFactory, ComparisonFactory, JudgmentFactory
from workbench.models import Dataset, Judgment, Ranking, TimeCorrection
from workbench.pipeline.people import timesheet
from workbench.pipeline.people.timesheet import Period, Total
from workbench.templatetags.figures import hms

pytestmark = pytest.mark.django_db

NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 30))
MONTH = {"first": "2026-11", "last": "2026-11"}


@pytest.fixture
def of_bob(bob):
    return AnnotatorFactory.create(user=bob)


def vote(dataset, annotator, seconds, at=(2026, 11, 3, 12), **fields) -> Judgment:
    fields = {"comparison__prompt__dataset": dataset} | fields
    if "comparison" in fields:
        del fields["comparison__prompt__dataset"]
    judgment = JudgmentFactory.create(annotator=annotator, seconds=seconds, **fields)
    Judgment.objects.filter(pk=judgment.pk).update(created_at=datetime(*at, tzinfo=UTC))
    return judgment


def test_columns_for_pay_and_corrections_are_shown_where_somebody_has_them(dataset, of_bob, alice, as_user):
    vote(dataset, of_bob, 59.5)
    client, url = as_user(alice), reverse("time_sheet", args=[dataset.pk])

    plain = client.get(url, MONTH).content.decode()
    Dataset.objects.update(pay_rate=Decimal(12), pay_per="hour", currency="EUR")
    TimeCorrection.objects.create(
        dataset=dataset, user=of_bob.user, day=date(2026, 11, 3), seconds=60, reason="A meeting.", by=alice
    )
    paid = client.get(url, MONTH).content.decode()

    assert ">Pay</th>" not in plain
    assert ">Correction</th>" not in plain
    assert "A meeting." in paid
    assert ">Pay</th>" in paid
    assert ">Correction</th>" in paid


def test_the_sums_are_those_of_the_votes_to_the_hundredth(dataset, of_bob):
    # In floating point, the sum of these depends on their order.
    times = [0.1, 0.2, 0.7, 12.34, 299.99, 1.005, 4.35, 300.0] * 12
    for seconds in times:
        vote(dataset, of_bob, seconds)

    (line,) = timesheet.lines([dataset], NOVEMBER)

    stored = Judgment.objects.of(dataset).values_list("seconds", flat=True)
    assert line.hundredths == sum(int(seconds * 100.0 + 0.5) for seconds in stored)
    assert line.votes == len(times)


def test_a_vote_counts_at_most_the_idle_limit(dataset, of_bob):
    Dataset.objects.update(idle_limit=60)
    dataset.refresh_from_db()
    vote(dataset, of_bob, 59.5)
    vote(dataset, of_bob, 4000)

    (line,) = timesheet.lines([dataset], NOVEMBER)

    assert line.seconds == Decimal("119.5")


def test_each_answer_is_time_and_a_changed_one_is_still_one_vote(dataset, of_bob):
    first = vote(dataset, of_bob, 10, is_current=False)
    vote(dataset, of_bob, 5, comparison=first.comparison, supersedes=first)
    vote(dataset, of_bob, 7, purpose="gold", is_current=False)
    vote(dataset, of_bob, None)

    (line,) = timesheet.lines([dataset], NOVEMBER)

    assert (line.votes, line.changes, line.untimed, line.seconds) == (3, 1, 1, 22)


def test_the_time_of_a_ranking_counts_once(dataset, of_bob):
    first = ComparisonFactory.create(prompt__dataset=dataset)
    pairs = [first, *ComparisonFactory.create_batch(2, prompt=first.prompt)]
    ranking = Ranking.objects.create(annotator=of_bob, prompt=first.prompt, shown=[])
    before = [vote(dataset, of_bob, 30, comparison=pair, ranking=ranking, is_current=False) for pair in pairs]
    for pair, judgment in zip(pairs, before, strict=True):
        vote(dataset, of_bob, 12, comparison=pair, ranking=ranking, supersedes=judgment)

    (line,) = timesheet.lines([dataset], NOVEMBER)

    assert (line.votes, line.changes, line.seconds) == (3, 3, 42)


def test_labels_of_files_and_votes_elsewhere_have_no_hours_here(dataset, of_bob):
    voice = AnnotatorFactory.create(user=None, source="crowd.jsonl")
    vote(dataset, voice, 10, stage="imported")
    JudgmentFactory.create(annotator=of_bob, seconds=10)

    assert timesheet.lines([dataset], NOVEMBER) == []


def test_a_day_begins_at_midnight_in_utc(dataset, of_bob, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    vote(dataset, of_bob, 1, at=(2026, 11, 3, 23, 59, 59))
    vote(dataset, of_bob, 1, at=(2026, 11, 4))
    vote(dataset, of_bob, 1, at=(2026, 10, 31, 23, 59))
    vote(dataset, of_bob, 1, at=(2026, 12, 1))

    days = [line.day for line in timesheet.lines([dataset], NOVEMBER)]

    assert days == [date(2026, 11, 3), date(2026, 11, 4)]


def paid(dataset, rate: str, per: str) -> Total:
    Dataset.objects.filter(pk=dataset.pk).update(pay_rate=rate, pay_per=per, currency="EUR")
    dataset.refresh_from_db()
    return Total.of(timesheet.lines([dataset], NOVEMBER))


def test_pay_per_hour_is_rounded_for_each_person_and_day_and_then_added(dataset, of_bob):
    for day in (3, 4):
        vote(dataset, of_bob, 1.2, at=(2026, 11, day))

    total = paid(dataset, "15", "hour")

    # 1.2 s of 15 an hour are exactly 0.005, rounded up on each day.
    assert total.pay == Decimal("0.02")


def test_pay_per_vote_pays_a_changed_vote_once(dataset, of_bob):
    first = vote(dataset, of_bob, 10, is_current=False)
    vote(dataset, of_bob, 5, comparison=first.comparison, supersedes=first)

    assert paid(dataset, "0.05", "vote").pay == Decimal("0.05")


def test_without_a_rate_there_is_no_pay(dataset, of_bob):
    vote(dataset, of_bob, 10)

    assert Total.of(timesheet.lines([dataset], NOVEMBER)).pay is None


def correct(client, dataset, bob, seconds, **fields):
    sent = {"user": bob.pk, "day": "2026-11-03", "seconds": seconds, "reason": "A call."} | fields
    return client.post(reverse("time_sheet", args=[dataset.pk]) + "?first=2026-11", sent)


def test_a_correction_is_a_line_with_its_reason_and_its_opposite_undoes_it(
    dataset, alice, bob, of_bob, as_user
):
    vote(dataset, of_bob, 10)
    paid(dataset, "15", "hour")

    for seconds in (601, -601):
        assert correct(as_user(alice), dataset, bob, seconds).status_code == 302

    dataset.refresh_from_db()
    lines = timesheet.lines([dataset], NOVEMBER)
    assert [(line.seconds, line.reason, line.by) for line in lines] == [
        (10, "", ""),
        (601, "A call.", "alice"),
        (-601, "A call.", "alice"),
    ]
    assert Total.of(lines) == Total(1, 0, 0, 1000, Decimal("0.04"))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seconds": "-11"}, "bob has 10.00 seconds on 2026-11-03. You can’t take 11 away."),
        ({"seconds": "0"}, "0 seconds change nothing."),
        ({"reason": " "}, "This field is required."),
        ({"day": "2999-01-01"}, "not in the future"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused_and_kept_in_the_form(
    fields, sentence, dataset, alice, bob, of_bob, as_user
):
    vote(dataset, of_bob, 10)

    answer = correct(as_user(alice), dataset, bob, **({"seconds": "5"} | fields))

    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert not TimeCorrection.objects.exists()


def test_time_of_a_stranger_is_not_corrected(dataset, alice, charlie, as_user):
    assert correct(as_user(alice), dataset, charlie, 60).status_code == 400


def test_the_page_has_people_and_days_with_their_sums(dataset, alice, rita, bob, of_bob, as_user):
    vote(dataset, of_bob, 250)
    vote(dataset, of_bob, 15.5, at=(2026, 11, 4))
    vote(dataset, AnnotatorFactory.create(user=rita), 100)
    paid(dataset, "36", "hour")

    html = as_user(alice).get(reverse("time_sheet", args=[dataset.pk]), MONTH).content.decode()

    of_all = html.split("<tfoot>")[1]
    assert "0:06:06" in of_all  # 365.5 s, rounded once
    assert "3.66 EUR" in of_all
    assert html.split('<th scope="row">bob</th>')[1].count("0:04:26") >= 1
    assert "36 EUR per hour." in html
    assert "Days are in UTC." in html


def test_months_without_votes_say_so_and_a_month_that_is_none_too(dataset, alice, as_user):
    client, url = as_user(alice), reverse("time_sheet", args=[dataset.pk])

    assert "No votes in these months." in client.get(url, MONTH).content.decode()
    assert "Write the month as 2026-11." in client.get(url, {"first": "2026-13"}).content.decode()
    assert "not before the first" in client.get(url, MONTH | {"last": "2026-01"}).content.decode()
    assert "at most 24 months" in client.get(url, MONTH | {"first": "2024-11"}).content.decode()


def test_the_csv_has_every_line_and_no_formula(dataset, alice, bob, of_bob, as_user):
    bob.username = "=bob"
    bob.save()
    vote(dataset, of_bob, 72.55)
    vote(dataset, of_bob, 1, at=(2026, 10, 1))
    paid(dataset, "15", "hour")
    correct(as_user(alice), dataset, bob, -60)

    answer = as_user(alice).get(reverse("time_sheet_csv", args=[dataset.pk]), MONTH)

    assert answer.streaming
    filename = "kitchen-time-2026-11-to-2026-11.csv"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{filename}"'
    votes, correction = csv.DictReader(StringIO(b"".join(answer).decode()))
    assert votes == {
        "person": "'=bob", "day_utc": "2026-11-03", "kind": "votes", "votes": "1", "changed_votes": "0",
        "votes_without_time": "0", "seconds": "72.55", "pay": "0.30", "currency": "EUR", "rate": "15.0000",
        "rate_per": "hour", "reason": "", "corrected_by": "",
    }  # fmt: skip
    assert [correction[name] for name in ("kind", "seconds", "pay", "reason", "corrected_by")] == [
        "correction", "-60.00", "-0.25", "A call.", "alice"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "written"),
    [("3909.4", "1:05:09"), ("0.5", "0:00:01"), ("-600", "−0:10:00"), ("-0.4", "0:00:00")],
)
def test_a_time_is_written_in_hours_minutes_and_seconds(seconds, written):
    assert hms(Decimal(seconds)) == written
