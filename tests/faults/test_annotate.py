"""Many annotators at once over real web processes."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT, database_url

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.mark.long
def test_people_at_once_over_web_processes_lose_and_double_nothing():
    command = [sys.executable, "benchmarks/load_annotate.py", "--clients", "6", "--pairs", "25"]
    command += ["--pause", "0.05"]
    environment = os.environ | {"DATABASE_URL": database_url(), "PYTHONPATH": str(ROOT)}

    load = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert load.returncode == 0, load.stdout + load.stderr
    assert load.stdout.count("every Comparison was judged by exactly 2 people") == 4
    assert load.stdout.count("hand-outs to the wrong person: 0\n") == 2
