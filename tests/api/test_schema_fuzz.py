"""The running API answers whatever its document allows, and whatever it does not, as the document says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import token_of
from tests.factories import ComparisonFactory, JudgmentFactory, RunFactory, UserFactory
from tests.webserver import web
from workbench.models import Dataset, Member, Role, User

pytestmark = [pytest.mark.long, pytest.mark.django_db(transaction=True)]

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "20")
"""Requests that are made up for each operation, besides those that follow from its document."""
ROLES = os.environ.get("FUZZ_ROLES", "annotator,reviewer,admin,staff").split(",")
CONFIG = Path(__file__).parent / "schemathesis.toml"


@pytest.fixture
def campaign(dataset: Dataset) -> Dataset:
    """A dataset with some of everything, so that requests meet something."""
    for _ in range(3):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    RunFactory.create(dataset=dataset, kind="decide", state="failed")
    return dataset


def account(dataset: Dataset, role: str) -> User:
    user = UserFactory.create(is_staff=role == "staff")
    Member.objects.create(dataset=dataset, user=user, role=Role.ADMIN if role == "staff" else role)
    return user


@pytest.mark.parametrize("role", ROLES)
def test_no_request_finds_a_fault(role, campaign, tmp_path):
    secret = token_of(account(campaign, role))
    with web(tmp_path / "web.log", API_REQUESTS_A_MINUTE="0") as port:
        found = subprocess.run(
            [
                Path(sys.executable).parent / "schemathesis", "--config-file", CONFIG, "--no-color", "run",
                f"http://127.0.0.1:{port}/api/v1/openapi.json", "--header", f"Authorization: Bearer {secret}",
                "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing,stateful", "--seed", "1",
                "--checks", "all", "--warnings", "off", "--continue-on-failure",
                "--generation-database", "none", "--request-timeout", "60",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )  # fmt: skip

    assert found.returncode == 0, in_short(found.stdout) + found.stderr[-2_000:]


def in_short(said: str) -> str:
    """What was found, without the whole of long addresses and bodies."""
    lines = [line if len(line) <= 300 else f"{line[:300]} ..." for line in said.splitlines()]
    return "\n".join(lines)[-20_000:]
