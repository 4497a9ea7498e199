import pytest
from preference_workbench import Workbench

from tests.api.conftest import token_of
from tests.processes import Processes
from tests.webserver import web


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """Seconds that the client would have slept."""
    slept: list[float] = []
    monkeypatch.setattr("preference_workbench.session.sleep", slept.append)
    return slept


@pytest.fixture
def port(transactional_db, tmp_path):
    """A web process on the database of the test. Workers are the test's own affair."""
    with web(tmp_path / "web.log", CELERY_BROKER_URL="filesystem://", API_REQUESTS_A_MINUTE="0") as port:
        yield port


@pytest.fixture
def broker_url() -> str:
    return "filesystem://"


@pytest.fixture
def worker(processes: Processes, monkeypatch) -> None:
    """A worker for all queues."""
    monkeypatch.setattr(processes, "app", "workbench")
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
    processes.start("worker", "--pool", "solo", "--queues", "score,work,train", *quiet)


@pytest.fixture
def enter(port):
    """enter(user, scope, datasets): the workbench as the user's token opens it."""
    opened = []

    def make(user, scope="manage", datasets=None, **options) -> Workbench:
        options = {"tries": 2, **options}
        opened.append(Workbench(f"http://127.0.0.1:{port}", token_of(user, scope, datasets), **options))
        return opened[-1]

    yield make
    for workbench in opened:
        workbench.close()
