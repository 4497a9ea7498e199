"""Uploaded files by the client, on a running workbench."""

import json

import pytest

from tests.hub.conftest import hub
from tests.hub.standin import Hub, Repository
from workbench.models import Prompt
from workbench.worker import tasks

__all__ = ["hub"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]

LINES = "".join(
    json.dumps({"prompt": f"Prime {n}?", "chosen": "Seven.", "rejected": "Nine."}) + "\n" for n in range(3)
)


def test_a_file_is_sent_previewed_and_imported(enter, dataset, alice, tmp_path):
    (tmp_path / "primes.jsonl").write_text(LINES)
    kitchen = enter(alice).datasets["Kitchen"]

    sent = kitchen.uploads.send(tmp_path / "primes.jsonl")
    preview = sent.preview()
    run = sent.load(source="crowd")
    tasks.carry_out(run.id)

    assert [(upload.id, upload.name) for upload in kitchen.uploads] == [(sent.id, "primes.jsonl")]
    assert kitchen.uploads[sent.id].name == "primes.jsonl"
    sent.delete()
    assert not list(kitchen.uploads)
    assert (preview.accepted, preview.counts["comparisons"], preview.problems) == (True, 3, [])
    assert run.wait().result["comparisons"] == Prompt.objects.count() == 3


def test_rows_that_a_lenient_import_left_out_come_back(enter, dataset, alice, tmp_path):
    bad = {"prompt": "Prime?", "chosen": 7}
    (tmp_path / "primes.jsonl").write_text(LINES + json.dumps(bad) + "\n")
    uploads = enter(alice).datasets["Kitchen"].uploads

    run = uploads.send(tmp_path / "primes.jsonl").load(lenient=True)
    tasks.carry_out(run.id)
    (refused,) = run.refused_rows()

    assert (refused.line, refused.row) == (4, bad)


def test_a_file_of_the_hub_is_listed_fetched_and_imported(enter, dataset, alice, hub: Hub):
    repository = Repository()
    repository.commit({"README.md": b"card", "train.jsonl": LINES.encode()})
    hub.repositories["acme/primes"] = repository
    uploads = enter(alice).datasets["Kitchen"].uploads

    listing = uploads.files_on_hub("acme/primes")
    tasks.carry_out(listing.run.id)
    fetching = uploads.fetch("acme/primes", "train.jsonl")
    tasks.carry_out(fetching.run.id)

    assert listing.wait() == ["train.jsonl"]
    (fetched,) = fetching.wait()
    assert (fetched.name, fetched.size) == ("train.jsonl", len(LINES))
    tasks.carry_out(fetched.load().id)
    assert Prompt.objects.count() == 3
