"""People vote over a real web process while the database, the web process and the broker die.

Small by default; `make faults` sets FAULT_KILLS to the full size: 50 people."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from django.db import connection

from tests.backup.places import elsewhere, here
from tests.factories import ComparisonFactory, DatasetFactory, ModelVersionFactory
from tests.faults.test_workers import FULL, KILLS, RESTARTS, ended, is_done
from tests.faults.voters import Toll, Voter, is_judged, toll, voters_of, voting
from tests.processes import wait_until
from tests.webserver import web_process
from workbench.models import Dataset, Judgment, ModelVersion, Score, ScoreBatch
from workbench.pipeline.scoring import batches

__all__ = ["elsewhere", "here"]

PEOPLE = 50 if FULL else 8
PAIRS = 400 if FULL else 60
REDIS_GONE = 60 if FULL else 5  # seconds

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def version(transactional_db: None) -> ModelVersion:
    return ModelVersionFactory.create()


@pytest.fixture
def campaign(transactional_db: None) -> Dataset:
    """Pairs that two people vote on, each."""
    dataset = DatasetFactory.create(overlap=2)
    for _ in range(PAIRS):
        ComparisonFactory.create(prompt__dataset=dataset)
    return dataset


def all_is_well(voters: list[Voter], tell_votes: Callable[[Toll], None]) -> None:
    """Every vote was acknowledged, is there, and is there once."""
    counted = toll(voters)
    tell_votes(counted)
    assert (counted.lost, counted.twice, counted.beyond) == (0, 0, 0)
    assert counted.acknowledged == 2 * PAIRS == Judgment.objects.of(voters[0].dataset).count()
    assert counted.errors == 0, [voter.errors[0] for voter in voters if voter.errors]


@contextmanager
def dying_web(folder: Path, deaths: int, **environment: str) -> Iterator[tuple[int, Callable[[], int]]]:
    """(port, deaths to come) of a web process that is killed in the middle of submits, and started again."""
    file = folder / "deaths"
    file.write_text("death\n" * deaths)
    application = "tests.faults.web_app"
    with web_process(folder / "web.log", application, DEATHS=str(file), **environment) as (port, _):
        yield port, lambda: len(file.read_text().splitlines())


def test_a_web_process_killed_in_submits_loses_no_vote_and_doubles_none(campaign, tell_votes, tmp_path):
    voters = voters_of(campaign, PEOPLE)

    with dying_web(tmp_path, KILLS) as (port, deaths_to_come), voting(voters, port):
        wait_until(lambda: is_judged(campaign) and not deaths_to_come(), 400)
        wait_until(lambda: toll(voters).acknowledged == 2 * PAIRS)

    all_is_well(voters, partial(tell_votes, f"web process killed in {KILLS} submits"))


def test_without_the_key_of_answers_a_killed_web_process_leaves_people_stuck(campaign, tmp_path):
    voters = voters_of(campaign, 8)

    with dying_web(tmp_path, 3, WITHOUT="key") as (port, _), voting(voters, port):
        wait_until(lambda: toll(voters).errors > 3)

    assert toll(voters).acknowledged < Judgment.objects.of(campaign).count()


def test_a_backup_taken_while_the_web_process_dies_holds_every_vote_acknowledged_before(
    campaign, here, elsewhere, tell_votes, tmp_path
):
    voters = voters_of(campaign, PEOPLE)

    with dying_web(tmp_path, KILLS) as (port, deaths_to_come), voting(voters, port):
        wait_until(lambda: toll(voters).acknowledged >= PAIRS // 2, 400)
        before = {pk for voter in voters for pk in list(voter.acknowledged.values())}
        here.does("backup", str(tmp_path / "target"))
        wait_until(lambda: is_judged(campaign) and not deaths_to_come(), 400)
        wait_until(lambda: toll(voters).acknowledged == 2 * PAIRS)
    elsewhere.does("restore", str(tmp_path / "target"))

    all_is_well(voters, partial(tell_votes, f"a backup meanwhile, web process killed {KILLS} times"))
    votes = "from workbench.models import Judgment; print(*Judgment.objects.values_list('pk', flat=True))"
    restored = set(map(int, elsewhere.does("shell", "-v", "0", "-c", votes).split()))
    assert before <= restored


@pytest.mark.redis
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_people_vote_on_while_the_broker_is_gone_and_workers_score_when_it_is_back(
    campaign, own_redis, processes, version, tell, tell_votes, tmp_path
):
    server = own_redis()
    processes.broker_url = server.url
    voters = voters_of(campaign, PEOPLE)
    processes.clock()
    processes.worker()

    with (
        web_process(tmp_path / "web.log", CELERY_BROKER_URL=server.url) as (port, _),
        voting(voters, port),
    ):
        server.kill()
        server.wait()
        run = batches.plan(campaign, version)
        before = toll(voters).acknowledged
        wait_until(lambda: toll(voters).acknowledged >= min(before + 2 * PEOPLE, 2 * PAIRS))
        time.sleep(REDIS_GONE)
        assert not is_done(run)
        own_redis()
        wait_until(lambda: toll(voters).acknowledged == 2 * PAIRS, 400)

    all_is_well(voters, partial(tell_votes, f"Redis gone for {REDIS_GONE} s"))
    assert toll(voters).unanswered == 0
    tell(f"Redis gone for {REDIS_GONE} s while people voted", run, ended(run, 240))


@pytest.mark.postgresql
@pytest.mark.parametrize("broker_url", ["filesystem"], indirect=True)
def test_a_database_that_restarts_while_people_vote_and_workers_score_loses_nothing(
    own_postgresql, processes, version, tell, tell_votes, monkeypatch, tmp_path
):
    dataset = DatasetFactory.create(overlap=2)
    for _ in range(PAIRS):
        ComparisonFactory.create(prompt__dataset=dataset)
    voters = voters_of(dataset, PEOPLE)
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 2 * PAIRS // 20)
    run = batches.plan(dataset, version)
    processes.clock(LEASE_SECONDS="1200")
    processes.worker(FAKE_SECONDS="0.6", LEASE_SECONDS="1200")

    with web_process(tmp_path / "web.log") as (port, _), voting(voters, port):
        for _ in range(RESTARTS):
            before = Judgment.objects.of(dataset).count()
            wait_until(lambda before=before: Judgment.objects.of(dataset).count() > before)
            assert not is_done(run)
            connection.close()
            own_postgresql.restart()
        wait_until(lambda: is_judged(dataset), 400)
        wait_until(lambda: toll(voters).acknowledged == 2 * PAIRS)

    assert own_postgresql.recoveries == RESTARTS
    all_is_well(voters, partial(tell_votes, f"PostgreSQL crashed {RESTARTS} times while people voted"))
    tell(f"PostgreSQL crashed {RESTARTS} times while people voted", run, ended(run, 400))
    assert Score.objects.filter(version=version).count() == 2 * PAIRS
