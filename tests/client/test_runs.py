"""Waiting for a run, and for what comes of it."""

import io
import json

import pytest
from preference_workbench import RunCancelled, RunFailed, StillRunning, Workbench
from preference_workbench.runs import Job, Line, Run

from tests.client.failing import Answer, failing


def document(state="running", **values) -> dict[str, object]:
    run = {
        "id": 5,
        "kind": "import",
        "state": state,
        "is_open": state in ("waiting", "running"),
        "dataset_id": 1,
        "version_id": None,
        "release_id": None,
        "done": 3,
        "total": 9,
        "progress": "stored 3 of 9 rows",
        "error": "",
        "result": {},
        "created_at": "2026-11-29T12:00:00Z",
        "started_at": None,
        "finished_at": None,
    }
    return run | values


@pytest.fixture
def server():
    with failing() as server:
        yield server


@pytest.fixture
def run(server, naps) -> Run:
    """A run of the test's server, which has read it once."""
    server.usual = lambda asked: Answer(200, json.dumps(document()).encode())
    with Workbench(server.url, "pw_secret") as workbench:
        yield workbench.run(5)


def then(server, *documents) -> None:
    server.answers = [Answer(200, json.dumps(one).encode()) for one in documents]


def test_it_returns_when_the_run_is_done(server, run, naps):
    then(server, document("waiting"), document(), document("done", done=9, result={"rows": 9}))

    assert run.wait() is run

    assert (run.state, run.done, run.result) == ("done", 9, {"rows": 9})
    assert len(naps) == 2


def test_a_failed_run_raises_with_its_sentence(server, run):
    then(server, document("failed", error="Line 7 is no JSON."))

    with pytest.raises(RunFailed, match=r"^Line 7 is no JSON\.$") as raised:
        run.wait()

    assert raised.value.run is run


def test_a_cancelled_run_raises(server, run):
    then(server, document("cancelled"))

    with pytest.raises(RunCancelled, match="Run 5"):
        run.wait()


def test_it_waits_no_longer_than_its_caller(server, run):
    with pytest.raises(TimeoutError, match="stored 3 of 9 rows") as raised:
        run.wait(timeout=0)

    assert isinstance(raised.value, StillRunning)
    assert len(server.asked) == 2


def test_the_caller_sees_each_progress(server, run):
    seen = []
    then(server, document(done=1), document(done=5), document("done", done=9))

    run.wait(progress=lambda run: seen.append(run.done))

    assert seen == [1, 5, 9]


def test_progress_true_writes_to_stderr(server, run, capsys):
    then(server, document("done", progress="stored 9 of 9 rows"))

    run.wait(progress=True)

    assert capsys.readouterr().err == "import: stored 9 of 9 rows done.\n"


def test_a_terminal_has_one_line_that_is_written_anew(run):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    line = Line(terminal)

    line.write("1 of 2")
    line.write("2 of 2", is_last=True)

    assert terminal.getvalue() == "\r\033[K1 of 2\r\033[K2 of 2\n"


def test_a_job_gives_what_comes_of_its_run(server, run):
    then(server, document(), document("done", result={"rows": 9}))

    assert Job(run, lambda done: done.result["rows"]).wait() == 9
