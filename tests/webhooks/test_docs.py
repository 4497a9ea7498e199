"""The receiver of docs/how-to/webhooks.md runs as it stands there, and the reference names each field."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.utils import timezone

from tests.processes import ROOT
from tests.webserver import free_port
from workbench.models import Event
from workbench.pipeline.webhooks import posting, sending

HOW_TO = (ROOT / "docs/how-to/webhooks.md").read_text()
REFERENCE = (ROOT / "docs/reference/webhooks.md").read_text()
SECRET = "whsec_" + "c2VjcmV0" * 5


@pytest.fixture
def receiver(tmp_path: Path):
    """(process, port) of the receiver of the docs."""
    (example,) = re.findall(r"```python\n(.*?)```", HOW_TO, re.DOTALL)
    (tmp_path / "receiver.py").write_text(example)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "receiver.py", str(port)],
        cwd=tmp_path,
        env=os.environ | {"WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process, port
    process.kill()
    process.wait()


def test_the_receiver_of_the_docs_takes_an_event_once_and_no_forged_one(receiver, settings):
    settings.DEBUG = True
    process, port = receiver
    event = Event(type="run.finished", dataset_id=3, number=7, facts={"run": 5}, created_at=timezone.now())
    body, url = sending.body_of(event), f"http://127.0.0.1:{port}/"
    own = posting.signed(url, event.uid.hex, body, [SECRET], timezone.now())
    forged = posting.signed(url, event.uid.hex, body, ["whsec_" + "Zm9yZ2Vk" * 5], timezone.now())

    with posting.opened() as post:
        until = time.monotonic() + 30
        while (answer := post(forged)).status is None and time.monotonic() < until:
            time.sleep(0.1)
        statuses = [answer.status, post(own).status, post(own).status]

    assert statuses == [401, 204, 204]
    process.terminate()
    printed, _ = process.communicate()
    assert printed == "7 run.finished {'run': 5}\n"


def test_each_event_has_a_part_of_the_reference_and_a_line_of_the_how_to():
    names = [name for name, _ in Event.Type.to_ask_for()]

    assert re.findall(r"^## `([a-z]+\.[a-z]+)`$", REFERENCE, re.MULTILINE) == names
    assert re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", HOW_TO, re.MULTILINE) == names


def fields_of(event: str) -> set[str]:
    """The fields that the reference names for an event."""
    part = REFERENCE.partition(f"\n## `{event}`\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", part, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}
