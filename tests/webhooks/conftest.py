import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT
from workbench.models import Dataset, Event, User, Webhook
from workbench.pipeline.webhooks import managing, targets

ALL = [name for name, _ in Event.Type.to_ask_for()]


@pytest.fixture
def add_webhook(dataset: Dataset, alice: User) -> Callable[..., tuple[Webhook, str]]:
    """Add a webhook to the dataset, whatever its address; gives it with its secret."""

    def add(*events: str, url: str = "https://hooks.example/", to: Dataset = dataset) -> tuple[Webhook, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(targets, "checked", lambda url: url)
            webhook, secret = managing.register(to, url, events or ALL, alice)
        to.refresh_from_db()
        return webhook, secret

    return add


class Receiving:
    """A receiver in another process, and what it got."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.log.write_text("")
        self.secrets: dict[str, str] = {}
        self.know({})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.webhooks.receiver", str(log)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def know(self, secrets: dict[str, str]) -> None:
        """secrets: by path."""
        self.secrets |= secrets
        self.log.with_suffix(".secrets").write_text(json.dumps(self.secrets))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def got(self, path: str = "") -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [row for row in rows if path in ("", row["path"])]

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Receiving]:
    receiver = Receiving(tmp_path / "received.jsonl")
    yield receiver
    receiver.stop()
