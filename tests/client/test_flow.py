"""The loop of the demo by the client alone: from import to promotion, with real processes."""

import re

import pytest
from preference_workbench import Refused, RowsRefused

from tests.factories import UserFactory
from tests.processes import Processes, wait_until
from tests.scoring.models import save_bert
from tests.webserver import web

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

QUESTIONS = 60
"""Enough for a training of a few seconds."""


def candidates(number: int) -> dict[str, object]:
    """Two answers to a question, as a job that samples from a model would push them."""
    texts = [f"It is {2 * number}.", f"{number} and {number} make {2 * number}, as everybody knows."]
    return {
        "id": f"r{number}",
        "prompt": f"What is {number} and {number}?",
        "completions": [{"text": text, "source": "policy-7"} for text in texts],
    }


ROWS = [candidates(number) for number in range(QUESTIONS)]
BAD = {"id": "bad", "prompt": "Why?", "completions": 7}


@pytest.fixture
def port(worker, processes: Processes, tmp_path):
    """A whole workbench: web, worker and clock."""
    processes.clock()
    environment = {"CELERY_BROKER_URL": "filesystem://", "API_REQUESTS_A_MINUTE": "0"}
    with web(tmp_path / "web.log", **environment) as port:
        yield port


def test_from_import_to_promotion(port, enter, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "arrow")
    wb = enter(UserFactory.create(is_staff=True, username="stella"))

    assert (wb.me.name, wb.me.token.scope) == ("stella", "manage")

    # Import: in chunks, strict and lenient.
    ds = wb.datasets.create("Sums", overlap=2)
    with pytest.raises(RowsRefused, match=rf"^Row {QUESTIONS + 1}: ") as refused:
        ds.push([*ROWS, BAD], chunk=25)
    assert refused.value.errors[0].line == QUESTIONS + 1
    pushed = ds.push([*ROWS, BAD], chunk=25, lenient=True)
    assert [(row.line, row.row) for row in pushed.refused] == [(QUESTIONS + 1, BAD)]
    assert ds.push(ROWS).counts["comparisons"] == 0

    # Score: a checkpoint is sent, becomes the active model, and a worker scores what is there.
    first = wb.models.register("tiny", save_bert(tmp_path / "tiny")).wait(timeout=120)
    assert first.activate().kind == "first"
    wait_until(lambda: len(list(ds.scores(first))) == 2 * QUESTIONS)
    wait_until(lambda: len(list(ds.suggestions(first))) == QUESTIONS)

    # Vote: two people, who disagree on three pairs.
    pairs = {pair.id: pair for pair in ds.comparisons()}
    assert len(pairs) == QUESTIONS
    assert {pair.a_source for pair in pairs.values()} == {"policy-7"}
    for name, differs_on in (("bob", set()), ("carla", {row["prompt"] for row in ROWS[:3]})):
        user = UserFactory.create(username=name)
        ds.people.add(name)
        for item in enter(user).datasets["Sums"].annotate():
            prefers_left = (len(item.left) < len(item.right)) != (item.prompt in differs_on)
            item.vote("left" if prefers_left else "right")
    assert {person.name for person in ds.people} == {"stella", "bob", "carla"}

    assert ds.invitations.link(uses=3, days=2).link == next(iter(ds.invitations)).link

    # Votes are followed as they come.
    votes = list(ds.judgments())
    assert len(votes) == 2 * QUESTIONS
    assert list(ds.judgments(since=votes[4].id)) == votes[5:]
    follower = ds.judgments(since=votes[-2].id, follow=True)
    assert next(follower) == votes[-1]

    # Review: the three disagreements are settled.
    cases = list(ds.review.cases("people"))
    assert len(cases) == 3
    for case in cases:
        case.settle("a" if len(case.a.text) < len(case.b.text) else "b", "slip")
    assert list(ds.review.cases("people")) == []
    assert {label.method for label in ds.decisions()} >= {"reviewer"}

    # Release: what was decided comes back as rows.
    release = ds.releases.build("preference").wait(timeout=120)
    rows = [row for split in release.load().values() for row in split]
    assert len(rows) == release.rows == QUESTIONS
    assert all(len(row["chosen"]) < len(row["rejected"]) for row in rows)

    # Train here, and follow the run: it brings a candidate, which is evaluated on what it has not learnt.
    stages = []
    training = ds.models.train(release, first, preset="quick", name="candidate")
    candidate = training.wait(timeout=300, progress=lambda run: stages.append(run.progress))
    assert training.run.kind == "train"
    assert len(set(stages)) > 1
    assert (candidate.name, candidate.release_id, candidate.base_id) == ("candidate", release.id, first.id)
    learnt = sum(len(split) for name, split in release.load().items() if name != "test")
    assert candidate.evaluate(ds).wait(timeout=120).pairs == QUESTIONS - learnt

    # Promote it: the gate refuses, as these pairs are too few, and its reason is the sentence of the error.
    gate = ds.models.compare(candidate, first).gate
    with pytest.raises(Refused, match=re.escape(gate.sentence)):
        ds.promote(candidate)
    promoted = ds.promote(candidate, override=True, reason="To see it serve.")
    assert (promoted.version_id, promoted.supersedes_id) == (candidate.id, first.id)
    assert promoted.kind == "override"
    wait_until(lambda: len(list(ds.scores(candidate))) == 2 * QUESTIONS)

    # Train elsewhere, and register the result: it is evaluated and weighed alike.
    elsewhere = save_bert(tmp_path / "elsewhere", seed=1)
    second = wb.models.register(
        "tiny, trained elsewhere", elsewhere, release=release, base=first, settings={"epochs": 1}
    ).wait(timeout=300)
    assert (second.release_id, second.base_id) == (release.id, first.id)
    assert ds.models.compare(second, candidate).gate
    assert [run.kind for run in ds.runs if run.state == "failed"] == ["import"]
