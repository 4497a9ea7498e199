"""From "make a token" to the first pushed pair on the annotation page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from tests.processes import ROOT
from workbench.models import Comparison
from workbench.worker import enqueue, tasks

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MOST_ACTS = 5
INSTALL = "pip install ./client\n"


def in_a_terminal(lines: str) -> str:
    """What the lines print. tests/client/test_package.py installs the client."""
    assert lines.startswith(INSTALL)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "client/src"), "PATH": programs}
    command = ["bash", "-euc", lines.removeprefix(INSTALL)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_first_pushed_pair_is_on_the_annotation_page_at_most_five_acts_after_making_a_token(
    dataset, alice, open_as, accessible, picture, monkeypatch
):
    # A worker takes each run at once.
    monkeypatch.setattr(enqueue, "send", lambda task, pk, **_: task(pk) if task is tasks.carry_out else None)
    page = open_as(alice, permissions=["clipboard-read", "clipboard-write"])
    page.goto(reverse("tokens"))
    acts = []

    acts.append("send the form")
    page.get_by_label("Name").fill("first pair")
    page.get_by_label("What it may do").select_option("manage")
    page.get_by_label("Kitchen").check()
    page.get_by_role("button", name="Make token").click()

    acts.append("copy the lines")
    shown = page.locator("figure.lines")
    shown.get_by_role("button", name="Copy").click()
    expect(shown.get_by_role("button", name="Copied")).to_be_visible()
    picture(page, "tokens-first-pair")
    accessible(page, "first pair")

    acts.append("paste them into a terminal: install")
    acts.append("paste them into a terminal: push")
    printed = in_a_terminal(page.evaluate("navigator.clipboard.readText()"))

    acts.append("open the address that they print")
    (address,) = re.findall(r"^Vote at (\S+)$", printed, re.MULTILINE)
    page.goto(address)
    expect(page.get_by_text("Why is the sky blue?")).to_be_visible()
    expect(page.get_by_text("It mirrors the sea.")).to_be_visible()

    assert len(acts) <= MOST_ACTS
    assert Comparison.objects.get().prompt.dataset == dataset
    assert "1 comparisons" in printed
