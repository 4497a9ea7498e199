"""What a dataset holds, as pages and as streams; followers of votes miss none."""

import gzip
import threading

import orjson
import pytest
from django.db import connection, connections, transaction

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    JudgmentFactory,
    ScoreFactory,
    SuggestionFactory,
)
from workbench.api import items
from workbench.db import following
from workbench.db.bulk import NewIds
from workbench.models import Comparison, Decision, Flag, Judgment, ModelVersion

pytestmark = pytest.mark.django_db

NDJSON = {"accept": "application/x-ndjson"}


def get(client, path, **headers):
    return client.get(f"/api/v1{path}", headers=headers)


def label(comparison: Comparison) -> Decision:
    return Decision.objects.create(
        comparison=comparison, outcome="a", method="agreement", votes=1, votes_for=1
    )


def flag(comparison: Comparison) -> Flag:
    return Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason="unsafe")


def vote(comparison: Comparison) -> Judgment:
    return JudgmentFactory.create(comparison=comparison, outcome="a")


def lines(answer) -> list[dict]:
    content = b"".join(answer)
    if answer.get("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    return [orjson.loads(line) for line in content.splitlines()]


@pytest.fixture
def pairs(dataset) -> list[Comparison]:
    return [ComparisonFactory.create(prompt__dataset=dataset) for _ in range(3)]


@pytest.mark.parametrize("kind", ["prompts", "completions", "comparisons", "flags"])
def test_a_list_goes_on_after_a_key_and_is_the_same_as_a_stream(dataset, rita, program, pairs, kind):
    for pair in pairs:
        flag(pair)
    ComparisonFactory.create()
    client, path = program(rita), f"/datasets/{dataset.pk}/{kind}"

    first = get(client, f"{path}?limit=2").json()
    rest = get(client, f"{path}?after={first['next_after']}").json()
    all_of_them = lines(get(client, path, **NDJSON))

    assert rest["next_after"] is None
    assert all_of_them == first["items"] + rest["items"]
    assert len(all_of_them) == (6 if kind == "completions" else 3)


def test_a_stream_is_read_in_parts_and_gzipped(dataset, rita, program, pairs, monkeypatch):
    monkeypatch.setattr(items, "ROWS_A_READ", 2)
    path = f"/datasets/{dataset.pk}/comparisons"

    answer = get(program(rita), path, **NDJSON, **{"accept-encoding": "gzip"})

    assert answer["Content-Encoding"] == "gzip"
    assert [row["id"] for row in lines(answer)] == [pair.pk for pair in pairs]


def test_a_comparison_has_the_messages_and_texts_as_they_came(dataset, rita, program):
    messages = [
        {"role": "user", "content": "Héllo \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")}
    ]
    pair = ComparisonFactory.create(prompt__dataset=dataset, prompt__messages=messages, metadata={"n": 1})

    (row,) = get(program(rita), f"/datasets/{dataset.pk}/comparisons").json()["items"]

    assert (row["messages"], row["metadata"]) == (messages, {"n": 1})
    assert (row["a_id"], row["a"], row["b"]) == (pair.a_id, pair.a.text, pair.b.text)


def test_scores_and_suggestions_are_those_of_one_model(dataset, rita, program, pairs):
    longest, shortest = (ModelVersion.objects.get(name=name) for name in ("longest", "shortest"))
    ScoreFactory.create(completion=pairs[0].a, version=longest, value=1.5)
    ScoreFactory.create(completion=pairs[0].a, version=shortest, value=2.5)
    SuggestionFactory.create(comparison=pairs[0], version=longest, margin=0.5)
    client, path = program(rita), f"/datasets/{dataset.pk}/models/{longest.pk}"

    assert [row["value"] for row in get(client, f"{path}/scores").json()["items"]] == [1.5]
    assert [row["margin"] for row in get(client, f"{path}/suggestions").json()["items"]] == [0.5]


@pytest.mark.parametrize("kind", ["votes", "labels"])
def test_a_follower_goes_on_where_it_was(dataset, rita, program, pairs, kind):
    make = {"votes": vote, "labels": label}[kind]
    client, path = program(rita), f"/datasets/{dataset.pk}/{kind}"
    old = [make(pair).pk for pair in pairs[:2]]

    first = get(client, f"{path}?limit=1").json()
    second = get(client, f"{path}?since={first['next_since']}").json()
    nothing = get(client, f"{path}?since={second['next_since']}").json()
    new = make(pairs[2]).pk
    later = get(client, f"{path}?since={nothing['next_since']}").json()

    assert [row["id"] for row in first["items"] + second["items"]] == old
    assert (first["more"], second["more"], nothing["items"]) == (True, False, [])
    assert nothing["next_since"] == second["next_since"]
    assert [row["id"] for row in later["items"]] == [new]


def test_a_prompt_has_all_that_its_page_shows(dataset, rita, program, pairs):
    voted = vote(pairs[0])
    label(pairs[0])
    flag(pairs[0])

    page = get(program(rita), f"/prompts/{pairs[0].prompt_id}").json()

    (pair,) = page["pairs"]
    assert [one["id"] for one in pair["votes"]] == [voted.pk]
    assert (len(pair["labels"]), len(pair["flags"]), len(page["completions"])) == (1, 1, 2)
    assert "Voted" in {event["what"] for event in page["history"]}


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
@pytest.mark.parametrize("by", ["vote", "import"])
@pytest.mark.parametrize("ends", ["in time", "late"])
def test_a_follower_never_skips_a_vote_that_is_committed_after_a_later_one(
    dataset, rita, program, pairs, monkeypatch, ends, by
):
    monkeypatch.setattr(following, "PATIENCE", 0.2 if ends == "late" else 20)
    written, may_commit = threading.Event(), threading.Event()
    keys = []

    def vote_slowly():
        try:
            with transaction.atomic():
                reserved = {"pk": NewIds(Judgment).take()} if by == "import" else {}
                if reserved:  # the rows come later
                    written.set()
                    may_commit.wait(10)
                keys.append(JudgmentFactory.create(comparison=pairs[0], **reserved).pk)
                written.set()
                may_commit.wait(10)
        finally:
            connections.close_all()

    slow = threading.Thread(target=vote_slowly)
    slow.start()
    assert written.wait(10)
    keys.append(JudgmentFactory.create(comparison=pairs[1]).pk)
    client, path = program(rita), f"/datasets/{dataset.pk}/votes"

    if ends == "in time":
        threading.Timer(0.3, may_commit.set).start()
    first = get(client, path).json()
    may_commit.set()
    slow.join()
    second = get(client, f"{path}?since={first['next_since']}").json()

    assert len(first["items"]) == (2 if ends == "in time" else 0)
    assert [row["id"] for row in first["items"] + second["items"]] == sorted(keys)
    assert Judgment.objects.count() == 2
