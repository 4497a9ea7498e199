import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import (
    CompletionFactory,
    ModelVersionFactory,
    RunFactory,
    ScoreFactory,
)
from workbench.models import Completion, Run, ScoreBatch, Worker
from workbench.worker import tasks
from workbench.worker.workforce import workforce

pytestmark = pytest.mark.django_db

POLL = {"HX-Request": "true"}


@pytest.fixture
def enqueued(monkeypatch):
    """(id, state) of each Run that a message was sent for, or of all for the message that scoring waits. Only
    the message itself is left out."""
    sent: list[tuple[int, str]] = []

    def note(args, queue, **_):
        sent.append((args[0], Run.objects.get(pk=args[0]).state))

    monkeypatch.setattr(tasks.carry_out, "apply_async", note)
    monkeypatch.setattr(
        tasks.enqueue_batches,
        "apply_async",
        lambda args, **_: sent.extend(Run.objects.values_list("pk", "state")),
    )
    return sent


def failed_batch(run: Run, reason: str = "the model's output is nan") -> ScoreBatch:
    completion = CompletionFactory.create(prompt__dataset=run.dataset)
    return ScoreBatch.objects.create(
        run=run,
        version=run.version,
        completion_ids=[completion.pk],
        size=1,
        state="failed",
        attempts=3,
        error=reason,
    )


def show(client, run: Run) -> str:
    return client.get(reverse("run", args=[run.pk])).content.decode()


def test_a_run_shows_its_progress_rate_time_left_and_last_sign_of_life(dataset, alice, as_user):
    now = timezone.now()
    run = RunFactory.create(
        dataset=dataset,
        state="running",
        done=5000,
        total=17000,
        started_at=now - timedelta(seconds=500),
        heartbeat_at=now,
    )

    html = show(as_user(alice), run)

    assert "5,000 of 17,000 answers" in html
    assert 'value="5000"' in html
    assert 'max="17000"' in html
    assert "10 /s" in html
    assert "20 min" in html  # 12,000 left at 10 a second
    assert f"<dd>{timezone.localtime(now):%H:%M}</dd>" in html


def test_an_open_run_is_polled_and_an_ended_one_is_not(dataset, alice, as_user):
    client = as_user(alice)
    run = RunFactory.create(dataset=dataset, state="running")
    url = reverse("run", args=[run.pk])

    assert f'hx-get="{url}"' in show(client, run)
    assert client.get(url, headers=POLL).status_code == 200
    run.finish()

    assert "hx-get" not in show(client, run)
    assert client.get(url, headers=POLL).status_code == 286


def test_the_list_of_runs_polls_as_long_as_one_of_them_is_open(dataset, alice, as_user):
    client = as_user(alice)
    run = RunFactory.create(dataset=dataset)
    RunFactory.create(dataset=dataset, state="done")
    url = reverse("runs", args=[dataset.pk])

    assert client.get(url, headers=POLL).status_code == 200
    run.cancel()

    assert client.get(url, headers=POLL).status_code == 286


def test_the_error_of_a_failed_run_is_shown_escaped(dataset, alice, as_user):
    run = RunFactory.create(dataset=dataset, kind="import")
    run.fail("line 17: <b> is not JSON")

    assert "line 17: &lt;b&gt; is not JSON" in show(as_user(alice), run)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_trying_again_puts_the_run_back_with_all_its_attempts_and_rings_for_it(
    state, dataset, alice, as_user, enqueued, django_capture_on_commit_callbacks
):
    run = RunFactory.create(dataset=dataset, kind="import", state=state, error="no", attempts=3)

    with django_capture_on_commit_callbacks(execute=True):
        answer = as_user(alice).post(reverse("run_retry", args=[run.pk]))

    run.refresh_from_db()
    assert answer.headers["Location"] == reverse("run", args=[run.pk])
    assert (run.state, run.error, run.attempts) == ("waiting", "", 0)
    assert enqueued == [(run.pk, "waiting")]


@pytest.mark.parametrize("state", ["waiting", "running", "done"])
def test_a_run_that_did_not_fail_is_left_alone_by_a_retry(
    state, dataset, alice, as_user, enqueued, django_capture_on_commit_callbacks
):
    run = RunFactory.create(dataset=dataset, kind="import", state=state, done=7)

    with django_capture_on_commit_callbacks(execute=True):
        answer = as_user(alice).post(reverse("run_retry", args=[run.pk]), follow=True)

    run.refresh_from_db()
    assert (run.state, run.done) == (state, 7)
    assert "has nothing to retry" in answer.content.decode()
    assert enqueued == []


def test_texts_that_could_not_be_scored_are_listed_with_the_reason_and_put_back_by_retry(
    dataset, alice, as_user, enqueued, django_capture_on_commit_callbacks
):
    run = RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), state="done")
    batch = failed_batch(run, "the model's output is <nan>")
    CompletionFactory.create(prompt__dataset=dataset)
    client = as_user(alice)

    html = show(client, run)
    assert "the model&#x27;s output is &lt;nan&gt;" in html
    assert Completion.objects.get(pk=batch.completion_ids[0]).text in html
    completion = Completion.objects.get(pk=batch.completion_ids[0])
    its_page = reverse("prompt", args=[completion.prompt_id])
    assert f'<a href="{its_page}">{completion.prompt.messages[-1]["content"]}</a>' in html
    assert completion.text in client.get(its_page).content.decode()
    assert "Retry 1 failed" in html
    with django_capture_on_commit_callbacks(execute=True):
        client.post(reverse("run_retry", args=[run.pk]))

    batch.refresh_from_db()
    assert (batch.state, batch.attempts) == ("waiting", 0)
    assert enqueued == [(run.pk, "waiting")]


def test_an_empty_answer_is_listed_and_no_button_tries_it_again(dataset, alice, as_user, enqueued):
    run = RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), state="done")
    batch = failed_batch(run, "the answer is empty")
    client = as_user(alice)

    html = show(client, run)
    answer = client.post(reverse("run_retry", args=[run.pk]), follow=True)

    assert "the answer is empty" in html
    assert 'id="retry"' not in html
    assert "has nothing to retry" in answer.content.decode()
    batch.refresh_from_db()
    assert batch.state == "failed"
    assert enqueued == []


def test_only_batches_that_can_succeed_are_counted_and_tried_again(dataset, alice, as_user, enqueued):
    run = RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), state="done")
    empty, other = failed_batch(run, "the answer is empty"), failed_batch(run)
    client = as_user(alice)

    html = show(client, run)
    client.post(reverse("run_retry", args=[run.pk]))

    assert "Retry 1 failed batch<" in html
    assert [
        batch.state for batch in ScoreBatch.objects.filter(pk__in=[empty.pk, other.pk]).order_by("pk")
    ] == [
        "failed",
        "waiting",
    ]


def test_the_page_of_an_import_leads_to_the_prompts_with_an_empty_answer(dataset, alice, as_user):
    counts = {"rows": 3, "prompts": 3, "completions": 6, "comparisons": 3, "labels": "3 labels"}
    fields = {"dataset": dataset, "kind": "import", "result": {**counts, "empty_completions": 2}}

    stored = show(as_user(alice), RunFactory.create(state="done", **fields))
    looked_at = show(as_user(alice), RunFactory.create(state="done", params={"dry_run": True}, **fields))

    link = f'<a href="{reverse("data", args=[dataset.pk])}?empty=1">2: show the prompts</a>'
    assert link in stored
    assert link not in looked_at


def test_a_cancelled_score_run_goes_on_in_a_new_run_over_what_is_left(dataset, alice, as_user):
    version = ModelVersionFactory.create()
    run = RunFactory.create(dataset=dataset, version=version, state="cancelled")
    ScoreFactory.create(completion__prompt__dataset=dataset, version=version)
    left = CompletionFactory.create(prompt__dataset=dataset)

    as_user(alice).post(reverse("run_retry", args=[run.pk]))

    again = Run.objects.open().get()
    assert (again.version, again.created_by) == (version, alice)
    assert again.batches.get().completion_ids == [left.pk]


def test_cancelling_a_score_run_cancels_the_batches_that_nobody_works_on(dataset, alice, as_user):
    run = RunFactory.create(dataset=dataset, version=ModelVersionFactory.create())
    batch = ScoreBatch.objects.create(run=run, version=run.version, completion_ids=[1], size=1)

    as_user(alice).post(reverse("run_cancel", args=[run.pk]))

    run.refresh_from_db()
    batch.refresh_from_db()
    assert (run.state, batch.state) == ("cancelled", "cancelled")


def test_cancelling_a_run_that_has_ended_says_so_and_changes_nothing(dataset, alice, as_user):
    run = RunFactory.create(dataset=dataset, kind="import", state="done")

    answer = as_user(alice).post(reverse("run_cancel", args=[run.pk]), follow=True)

    run.refresh_from_db()
    assert run.state == "done"
    assert "had already finished" in answer.content.decode()


def test_a_worker_that_stopped_reporting_on_a_run_is_said_to_be_quiet_since_then(dataset, alice, as_user):
    now = timezone.now()
    Worker.objects.create(name="w", queues="score", started_at=now, last_seen=now)
    heard = now - timedelta(seconds=31)
    run = RunFactory.create(dataset=dataset, state="running", started_at=heard, heartbeat_at=heard)

    assert f"no sign of life since {timezone.localtime(heard):%H:%M}" in show(as_user(alice), run)
    run.update_progress(done=1)
    assert "no sign of life since" not in show(as_user(alice), run)


def test_one_stuck_worker_is_named_although_others_go_on(dataset, alice, as_user, settings):
    now = timezone.now()
    run = RunFactory.create(
        dataset=dataset, version=ModelVersionFactory.create(), state="running", heartbeat_at=now
    )
    for worker, silent in (("fine:1", 29), ("stuck:2", 31)):
        Worker.objects.create(name=worker, queues="score", started_at=now, last_seen=now)
        ScoreBatch.objects.create(
            run=run,
            version=run.version,
            completion_ids=[],
            size=7,
            state="leased",
            worker=worker,
            lease_until=now + timedelta(seconds=settings.LEASE_SECONDS - silent),
        )

    html = show(as_user(alice), run)

    heard = timezone.localtime(now - timedelta(seconds=31))
    assert f"stuck:2 has not responded since {heard:%H:%M}, with 7 answers to score" in html
    assert "fine:1 has" not in html
    run.finish()
    assert "stuck:2 has" not in show(as_user(alice), run)


@pytest.mark.parametrize(
    ("kind", "queue"),
    [
        ("import", "work"),
        ("release", "work"),
        ("score", "score"),
        ("train", "train"),
        ("evaluate", "train"),
    ],
)
def test_a_run_waits_for_a_worker_of_its_own_queue(kind, queue, dataset, alice, as_user):
    now = timezone.now()
    other_queues = {"work": "score", "score": "work", "train": "score, work"}[queue]
    Worker.objects.create(name="other", queues=other_queues, started_at=now, last_seen=now)
    run = RunFactory.create(dataset=dataset, kind=kind)

    assert f"--queues {queue}</code>" in show(as_user(alice), run)
    Worker.objects.create(name="right", queues=queue, started_at=now, last_seen=now)
    assert "--queues" not in show(as_user(alice), run)


def alive(name: str, queues: str) -> Worker:
    now = timezone.now()
    return Worker.objects.create(name=name, queues=queues, started_at=now, last_seen=now)


def running(kind: str = "import", minutes_left: float | None = 3, **more: object) -> Run:
    """One that has done half of its 600 rows in the time that it will take for the rest; without a total
    nobody knows how long that is."""
    start = timezone.now() - timedelta(minutes=minutes_left or 1)
    total = None if minutes_left is None else 600
    return RunFactory.create(
        kind=kind,
        state="running",
        done=300,
        total=total,
        started_at=start,
        heartbeat_at=timezone.now(),
        **more,
    )


def said_of(run: Run) -> str:
    return workforce([run]).queued[run.pk]


def test_what_waits_says_behind_what_it_is_and_for_how_long(dataset, alice, as_user):
    alive("w", "work")
    ahead = running()
    run = RunFactory.create(dataset=dataset, kind="import")
    sentence = f"Queued: starts when Run {ahead.pk} (import) is done, about 3 min."

    assert said_of(run) == sentence
    assert sentence in show(as_user(alice), run)
    assert sentence in as_user(alice).get(reverse("runs", args=[dataset.pk])).content.decode()
    assert sentence in as_user(alice).get(reverse("dataset", args=[dataset.pk])).content.decode()


def test_no_time_is_told_that_is_not_known(dataset):
    alive("w", "work")
    unknown = running(minutes_left=None)
    run = RunFactory.create(dataset=dataset, kind="release")
    assert said_of(run) == f"Queued: starts when Run {unknown.pk} (import) is done."
    unknown.finish()
    running()
    before = RunFactory.create(kind="statistics")
    last = RunFactory.create(dataset=dataset, kind="release")

    # Nobody knows how long the one takes that has not begun.
    assert said_of(last) == f"Queued: starts when Run {before.pk} (statistics) is done."


def test_what_has_nothing_before_it_is_taken_in_a_moment(dataset):
    alive("w", "work")
    run = RunFactory.create(dataset=dataset, kind="import")
    RunFactory.create(kind="import")  # ordered later
    running("train")  # of another worker
    RunFactory.create(kind="import", state="done")

    assert said_of(run) == "Queued: starts in a moment."


def test_of_several_workers_the_first_that_is_free_takes_it(dataset):
    alive("one", "work")
    alive("two", "work")
    slow = running(minutes_left=30)
    run = RunFactory.create(dataset=dataset, kind="import")
    assert said_of(run) == "Queued: starts in a moment."
    quick = running(minutes_left=5)
    assert said_of(run) == f"Queued: starts when Run {quick.pk} (import) is done, about 5 min."
    RunFactory.create(kind="import")
    later = RunFactory.create(kind="import")

    assert said_of(later) == "Queued: starts when 3 of 4 earlier runs are done."
    assert slow.is_open


def test_a_worker_of_several_queues_does_one_thing_at_a_time(dataset):
    alive("w", "score, work")
    ahead = running("score", version=ModelVersionFactory.create())
    run = RunFactory.create(dataset=dataset, kind="import")

    assert said_of(run) == f"Queued: starts when Run {ahead.pk} (score) is done, about 3 min."


def test_all_workers_share_what_is_to_be_scored(dataset):
    alive("one", "score")
    alive("two", "score")
    version = ModelVersionFactory.create()
    ahead = running("score", version=version)
    run = RunFactory.create(dataset=dataset, version=version)

    assert said_of(run) == f"Queued: starts when Run {ahead.pk} (score) is done, about 3 min."


def test_where_no_worker_is_alive_for_it_that_is_what_it_waits_for(dataset):
    alive("other", "work")
    Worker.objects.create(
        name="gone",
        queues="train",
        started_at=timezone.now(),
        last_seen=timezone.now() - timedelta(minutes=2),
    )
    running("train")
    run = RunFactory.create(dataset=dataset, kind="train")

    assert said_of(run) == "Queued: no worker serves the queue “train”."


def test_what_does_not_wait_says_nothing_of_a_queue(dataset, alice, as_user):
    alive("w", "work")
    for run in (running(dataset=dataset), RunFactory.create(dataset=dataset, kind="import", state="done")):
        assert "Queued" not in show(as_user(alice), run)


def test_each_worker_is_shown_with_what_it_has_scored_and_its_rate_of_the_last_minute(
    dataset, alice, as_user
):
    now = timezone.now()
    run = RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), state="running")
    for size, minutes_ago in ((200, 5), (120, 0)):
        ScoreBatch.objects.create(
            run=run,
            version=run.version,
            completion_ids=[],
            size=size,
            state="done",
            worker="gpu-1:77",
            finished_at=now - timedelta(minutes=minutes_ago),
        )

    row = run.batches.by_worker().get()
    assert (row["worker"], row["batches"], row["completions"], row["rate"]) == ("gpu-1:77", 2, 320, 2.0)
    assert "gpu-1:77" in show(as_user(alice), run)


def test_the_list_asks_as_often_for_three_runs_as_for_one(dataset, alice, as_user, queries_of):
    url = reverse("runs", args=[dataset.pk])
    RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), created_by=alice)
    for_one_run = queries_of(as_user(alice), url)
    for _ in range(2):
        RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), created_by=alice)

    assert queries_of(as_user(alice), url) == for_one_run


def test_a_run_asks_as_often_for_three_failed_batches_as_for_one(dataset, alice, as_user, queries_of):
    run = RunFactory.create(dataset=dataset, version=ModelVersionFactory.create(), state="done")
    url = reverse("run", args=[run.pk])
    failed_batch(run)
    for_one_batch = queries_of(as_user(alice), url)
    failed_batch(run)
    failed_batch(run)

    assert queries_of(as_user(alice), url) == for_one_batch


def test_a_dataset_with_no_run_says_what_will_stand_here(dataset, alice, as_user):
    html = as_user(alice).get(reverse("runs", args=[dataset.pk])).content.decode()

    assert "No runs yet" in html


@pytest.mark.parametrize(
    ("finding", "of_version", "sentence"),
    [
        ({"better": False, "said": "No step was better."}, {}, "No better model found"),
        ({"better": False, "said": "Not clearly better."}, {"model": "new"}, "No better model found"),
        ({"better": True, "said": "Worse nowhere."}, {"model": "new"}, "A better model: new"),
        (
            {"better": False, "said": "10 pairs count.", "undecided": True},
            {"model": "new"},
            "A new model, new: too few votes to say if it is better",
        ),
        ({"better": None, "said": "Nothing to compare."}, {"model": "new"}, "The first model: new"),
    ],
)
def test_a_training_that_is_over_says_what_it_found_with_both_curves_and_no_alarm(
    finding, of_version, sentence, dataset, alice, as_user
):
    if of_version:
        of_version["version"] = ModelVersionFactory.create(name="new").pk
    measured = [[n, {"log_loss": 0.7 - n / 100, "accuracy": 0.6, "best": True}] for n in (0, 5, 10)]
    curves = {"loss": [[1, 0.7], [10, 0.5]], "validation": measured}
    params = {"base_name": "base", "number": 1, "preset": "recommended", "name": "new", "settings": {}}
    run = RunFactory.create(
        dataset=dataset, kind="train", state="done", total=10, done=10, params=params,
        result={"finding": finding, "stage": "done", **curves, **of_version},
    )  # fmt: skip

    html = show(as_user(alice), run).partition("<main")[2]

    assert sentence in html
    assert finding["said"] in html
    assert "failed" not in html
    assert "disagree" not in html
    assert not {"Try again", "Resume"} & set(re.findall(r"<button[^>]*>([^<]+)", html))
    assert re.search(r'class="smooth" d="M', html)
    assert re.search(r'class="validation" d="M[^"]+L', html)


def test_a_training_that_the_clock_ended_says_so_beside_its_curve(dataset, alice, as_user):
    reason = "The limit of 90 seconds ended the training after 5 of 13 steps."
    params = {"base_name": "base", "number": 1, "preset": "quick", "name": "new", "settings": {}}
    run = RunFactory.create(
        dataset=dataset, kind="train", state="done", params=params, result={"ended": reason}
    )

    assert reason in show(as_user(alice), run).partition("<main")[2]
