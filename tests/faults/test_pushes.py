"""A program pushes rows by the client while the web process dies in the middle of its requests."""

import pytest
from preference_workbench import Workbench

from tests.api.conftest import token_of
from tests.faults.test_campaign import dying_web
from tests.faults.test_workers import KILLS
from tests.processes import Processes
from workbench.models import Comparison, Dataset, KeptAnswer, Run, Upload, User

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.django_db(transaction=True)]

CHUNK = 10
CHUNKS = 12 * KILLS  # one in three begins a death: with four times as many, one run in six had too few


@pytest.mark.parametrize("broker_url", ["filesystem"], indirect=True)
def test_a_web_process_killed_in_pushes_loses_no_row_and_takes_none_twice(
    dataset: Dataset, alice: User, processes: Processes, tmp_path
):
    rows = [
        {"prompt": f"Question {number}?", "chosen": "Yes.", "rejected": f"No, {number}."}
        for number in range(CHUNK * CHUNKS)
    ]
    processes.worker()
    environment = {"DIES_AT": "/rows", "CELERY_BROKER_URL": processes.broker_url}
    with dying_web(tmp_path, KILLS, **environment) as (port, deaths_to_come):
        with Workbench(f"http://127.0.0.1:{port}", token_of(alice, "manage", [dataset]), tries=30) as wb:
            pushed = wb.datasets[dataset.pk].push(rows, chunk=CHUNK)
        left = deaths_to_come()

    assert left == 0, "the web process was to die more often"
    assert pushed.counts["comparisons"] == len(rows) == Comparison.objects.filter(dataset=dataset).count()
    assert len(pushed.runs) == CHUNKS == Run.objects.filter(kind=Run.Kind.IMPORT).count()
    assert Upload.objects.count() == CHUNKS
    assert KeptAnswer.objects.count() == CHUNKS
