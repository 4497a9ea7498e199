"""Rows are pushed in chunks; a bad row is named by its number among all rows."""

import gzip
import json
from collections.abc import Iterator

import pytest
from preference_workbench import RowsRefused, Workbench, pushing
from preference_workbench.datasets import Dataset

from tests.client.failing import Answer, Asked, failing, problem
from tests.client.test_runs import document

DATASET = {
    "id": 1,
    "name": "Chat",
    "description": "",
    "licence": "",
    "role": "admin",
    "created_at": "2026-11-29T12:00:00Z",
    "archived_at": None,
}


class Importer:
    """Imports rows with a number; those with "bad" are bad."""

    def __init__(self) -> None:
        self.chunks: list[list[dict[str, object]]] = []
        self.lenient: list[bool] = []
        self.failures: list[Answer] = []
        self.keys: list[str] = []
        self.ended = 0
        self.most_waiting = 0

    def answer(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/api/v1")
        if path == "/datasets/1":
            return Answer(200, json.dumps(DATASET).encode())
        if path.startswith("/datasets/1/rows"):
            self.keys.append(asked.headers["idempotency-key"])
            if self.failures:
                return self.failures.pop(0)
            lines = gzip.decompress(asked.body).splitlines()
            self.chunks.append([json.loads(line) for line in lines])
            self.lenient.append("lenient=true" in path)
            self.most_waiting = max(self.most_waiting, len(self.chunks) - self.ended)
            return Answer(202, json.dumps(document("waiting", id=len(self.chunks))).encode())
        number = int(path.split("/")[2])
        rows, lenient = self.chunks[number - 1], self.lenient[number - 1]
        bad = [{"line": n, **self.fault(row)} for n, row in enumerate(rows, 1) if "bad" in row]
        if path.endswith("/refused-rows"):
            lines = [json.dumps({**one, "row": json.dumps(rows[one["line"] - 1])}) + "\n" for one in bad]
            return Answer(200, "".join(lines).encode())
        result = {"rows": len(rows) - len(bad), "comparisons": len(rows) - len(bad), "rejected": len(bad)}
        self.ended = number
        state = "failed" if bad and not lenient else "done"
        run = document(state, id=number, result={**result, "problems": bad}, error="Nothing was stored.")
        return Answer(200, json.dumps(run).encode())

    @staticmethod
    def fault(row: dict[str, object]) -> dict[str, object]:
        return {"field": "rejected", "code": "missing", "message": f"{row['bad']} is missing.", "excerpt": ""}


@pytest.fixture
def importer() -> Importer:
    return Importer()


@pytest.fixture
def chat(importer, naps) -> Iterator[Dataset]:
    with failing() as server, Workbench(server.url, "pw_secret", tries=3) as workbench:
        server.usual = importer.answer
        yield workbench.datasets[1]


def rows(count: int, *bad: int) -> Iterator[dict[str, object]]:
    return ({"n": n, **({"bad": "It"} if n in bad else {})} for n in range(1, count + 1))


def test_rows_go_in_chunks_and_are_counted_together(chat, importer):
    pushed = chat.push(rows(25), chunk=10)

    assert [[row["n"] for row in chunk] for chunk in importer.chunks] == [
        [*range(1, 11)],
        [*range(11, 21)],
        [*range(21, 26)],
    ]
    assert (pushed.counts["comparisons"], pushed.refused) == (25, [])
    assert len(set(importer.keys)) == 3


def test_a_chunk_that_got_no_answer_is_sent_again_under_its_key(chat, importer):
    importer.failures = [Answer(0), problem(503, "away", "Away.")]

    chat.push(rows(20), chunk=10)

    first, second, third, other = importer.keys
    assert first == second == third != other


def test_no_more_than_some_chunks_wait_for_workers(chat, importer):
    chat.push(rows(100), chunk=10)

    assert len(importer.chunks) == 10
    assert importer.most_waiting == pushing.RUNS_AT_ONCE


def test_a_bad_row_is_named_by_its_number_among_all(chat):
    with pytest.raises(RowsRefused, match=r"^Row 23: It is missing\.$") as raised:
        chat.push(rows(30, 23, 29), chunk=10)

    assert [(fault.line, fault.field, fault.code) for fault in raised.value.errors] == [
        (23, "rejected", "missing"),
        (29, "rejected", "missing"),
    ]


def test_lenient_hands_the_bad_rows_back(chat):
    pushed = chat.push(rows(30, 3, 23), chunk=10, lenient=True)

    assert [(row.line, row.row) for row in pushed.refused] == [
        (3, {"n": 3, "bad": "It"}),
        (23, {"n": 23, "bad": "It"}),
    ]
    assert pushed.counts["comparisons"] == 28


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_lines_of_a_file_are_sent_as_they_are(name, chat, importer, tmp_path):
    path = tmp_path / name
    text = '{"n": 1, "text": "a\\u2028b"}\n{"n": 2, "text": "a\u2028b"}\r\n{"n": 3, "bad": "It"}\n'
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())

    with pytest.raises(RowsRefused, match="Row 3"):
        chat.push(path, chunk=2)

    assert importer.chunks == [
        [{"n": 1, "text": "a\u2028b"}, {"n": 2, "text": "a\u2028b"}],
        [{"n": 3, "bad": "It"}],
    ]


def test_long_rows_make_small_chunks(chat, importer):
    chat.push({"n": n, "text": "x" * 3_000_000} for n in range(6))

    assert [len(chunk) for chunk in importer.chunks] == [2, 2, 2]


def test_nothing_to_push_sends_nothing(chat, importer):
    assert chat.push([]).counts == {}
    assert importer.chunks == []


def test_progress_says_what_is_stored(chat, capsys):
    chat.push(rows(20, 3), chunk=10, lenient=True, progress=True)

    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "19 rows: 0 prompts, 0 completions, 19 comparisons, 0 judgments, 0 already there; 1 refused"
    )
