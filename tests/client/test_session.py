"""Requests that fail are sent again where that is safe, and say what is wrong where it is not."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from preference_workbench import errors
from preference_workbench.session import KEY, Session

from tests.client.failing import Answer, Failing, failing, problem


@pytest.fixture
def server():
    with failing() as server:
        yield server


@pytest.fixture
def session(server: Failing):
    session = Session(server.url, "pw_secret", tries=4)
    yield session
    session.close()


def keys(server: Failing) -> list[str]:
    return [asked.headers[KEY.lower()] for asked in server.asked]


@pytest.mark.parametrize("failure", [Answer(0), Answer(502), Answer(503), Answer(504), Answer(429)])
def test_a_post_is_sent_again_under_its_key_until_it_is_answered(failure, server, session, naps):
    server.answers = [failure, failure, Answer(201, b'{"id": 7}')]

    assert session.post("/datasets", {"name": "Chat"}) == {"id": 7}

    assert len(server.asked) == 3
    assert len(set(keys(server))) == 1
    assert {asked.body for asked in server.asked} == {b'{"name": "Chat"}'}
    assert len(naps) == 2


def test_an_answer_that_breaks_off_is_no_answer(server, session, naps):
    server.answers = [Answer(201, b'{"id": 7}', cut=4), Answer(201, b'{"id": 7}')]

    assert session.post("/datasets", {"name": "Chat"}) == {"id": 7}

    assert len(set(keys(server))) == 1


def test_each_post_has_a_key_of_its_own(server, session):
    session.post("/runs/1/cancel")
    session.post("/runs/1/cancel")

    assert len(set(keys(server))) == 2


def test_the_token_goes_into_a_header_and_nowhere_else(server, session):
    session.get("/datasets", {"after": 0})

    (asked,) = server.asked
    assert asked.headers["authorization"] == "Bearer pw_secret"
    assert asked.path == "/api/v1/datasets?after=0"
    assert "pw_secret" not in repr(vars(session))


def test_a_redirect_is_not_followed_with_the_token(server, session):
    server.answers = [Answer(302, headers={"Location": "/elsewhere"})]

    with pytest.raises(errors.ApiError, match="302"):
        session.get("/datasets")

    assert len(server.asked) == 1


@pytest.mark.parametrize("lost", [Answer(0), Answer(200, b"done", cut=1), Answer(502), Answer(504)])
def test_what_is_gone_when_a_delete_is_sent_again_was_deleted_by_it(lost, server, session, naps):
    server.answers = [lost, problem(404, "not_found", "There is nothing here.")]

    session.send("DELETE", "/webhooks/1")

    assert [asked.method for asked in server.asked] == ["DELETE", "DELETE"]


@pytest.mark.parametrize("before", [[], [Answer(429)], [Answer(503)]])
def test_a_delete_that_nobody_carried_out_says_that_there_is_nothing(before, server, session, naps):
    server.answers = [*before, problem(404, "not_found", "There is nothing here.")]

    with pytest.raises(errors.NotFound):
        session.send("DELETE", "/webhooks/1")


def test_another_request_that_finds_nothing_says_so_on_each_try(server, session, naps):
    server.answers = [Answer(0), problem(404, "not_found", "There is nothing here.")]

    with pytest.raises(errors.NotFound):
        session.post("/webhooks/1/test")


def test_it_gives_up_after_so_many_tries(server, session, naps):
    server.usual = lambda asked: Answer(0)

    with pytest.raises(errors.Unreachable, match=server.url):
        session.get("/datasets")

    assert len(server.asked) == 4


def test_a_workbench_that_is_away_stays_the_last_word(server, session, naps):
    server.usual = lambda asked: problem(503, "away", "The database does not answer.")

    with pytest.raises(errors.ServerFailed, match="The database does not answer"):
        session.get("/datasets")

    assert len(server.asked) == 4


def test_waits_grow_and_are_drawn_apart(server, session, naps, monkeypatch):
    limits = []
    monkeypatch.setattr("random.uniform", lambda low, high: limits.append((low, high)) or high)
    server.answers = [Answer(0), Answer(0), Answer(0)]

    session.get("/datasets")

    assert limits == [(0, 1.0), (0, 2.0), (0, 4.0)]
    assert naps == [1.0, 2.0, 4.0]


def test_it_waits_as_long_as_retry_after_says(server, session, naps):
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    server.answers = [
        problem(429, "too_many", "Wait 17 s.", **{"Retry-After": "17"}),
        problem(429, "too_many", "Wait.", **{"Retry-After": moment}),
    ]

    session.get("/datasets")

    first, second = naps
    assert 17 <= first <= 18
    assert 38 <= second <= 41


def test_it_does_not_wait_for_longer_than_a_caller_would(server, session, naps):
    server.answers = [problem(429, "too_many", "Come back tomorrow.", **{"Retry-After": "86400"})]

    with pytest.raises(errors.TooMany, match="tomorrow"):
        session.get("/datasets")

    assert naps == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Invalid),
        (401, errors.Unauthorised),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Refused),
        (412, errors.Changed),
        (422, errors.Invalid),
        (423, errors.Archived),
        (500, errors.ServerFailed),
    ],
)
def test_a_problem_is_an_error_of_its_kind_that_says_its_detail(status, kind, server, session, naps):
    fault = {"message": "Too small.", "code": "min_value", "field": "overlap", "line": 3}
    server.answers = [problem(status, "word", "Too small.", fault, **{"X-Request-ID": "abc"})]

    with pytest.raises(kind, match=r"^Too small\.$") as raised:
        session.post("/datasets", {"overlap": 0})

    error = raised.value
    assert (error.status, error.code, error.detail, error.request_id) == (status, "word", "Too small.", "abc")
    assert [(one.field, one.line, one.code) for one in error.errors] == [("overlap", 3, "min_value")]
    assert len(server.asked) == 1
    assert naps == []


def test_the_error_of_something_in_between_names_the_address_and_the_status(server, session):
    server.answers = [Answer(404, b"<h1>nginx</h1>")]

    with pytest.raises(errors.NotFound, match=r"/api/v1/datasets answered 404"):
        session.get("/datasets", {"after": 3})


def test_a_stream_that_breaks_off_goes_on_after_the_last_whole_row(server, session, naps):
    rows = [{"id": number, "text": "a\u2028b"} for number in range(1, 8)]

    def answer(asked):
        after = int(asked.path.partition("since=")[2])
        left = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["id"] > after)
        return Answer(200, left.encode(), cut=70 if len(server.asked) < 4 else None)

    server.usual = answer

    assert list(session.lines("/datasets/1/votes", "since")) == rows
    assert len(server.asked) >= 4
    assert naps


def test_a_list_comes_page_by_page(server, session):
    server.answers = [
        Answer(200, b'{"items": [{"id": 1}, {"id": 4}], "next_after": 4}'),
        Answer(200, b'{"items": [{"id": 9}], "next_after": null}'),
    ]

    assert [row["id"] for row in session.pages("/datasets")] == [1, 4, 9]
    assert server.asked[1].path == "/api/v1/datasets?after=4&limit=1000"


def test_many_threads_share_a_session_and_each_post_keeps_its_key(server, session, naps):
    lucky = Counter()

    def answer(asked):
        """Every request fails twice."""
        with server.lock:
            lucky[asked.body] += 1
            times = lucky[asked.body]
        return Answer(201, asked.body) if times == 3 else Answer(0 if times == 1 else 503)

    server.usual = answer
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: session.post("/datasets", {"number": number}), range(200)))

    assert answers == [{"number": number} for number in range(200)]
    by_key = Counter(keys(server))
    assert len(by_key) == 200
    assert set(by_key.values()) == {3}
    bodies = {(asked.headers[KEY.lower()], asked.body) for asked in server.asked}
    assert len(bodies) == 200
