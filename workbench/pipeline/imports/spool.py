"""Drafts on disk between reading and storing: a SQLite file in a temporary folder.

So memory stays bounded for any file, nothing in the database is locked while a file is read, and the ids of
a file of any size can be compared with each other.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from scoring.messages import search_text
from scoring.rows.drafts import CompletionDraft, Draft, JudgmentDraft, metadata_json
from scoring.rows.rows import Problem, escaped
from workbench.models.dataset import messages_digest
from workbench.pipeline.imports.groups import Groups, LinkedText, own_group

BUFFER_ROWS = 500

Packed = list[Any]
"""A Draft as it is spooled: [prompt sha256, group, messages JSON, external id, metadata JSON, completions,
comparisons, tools JSON or None, reading or None], and as it is taken out also the number of its text in
Groups or None; a completion is [sha256, text, source, metadata JSON, messages JSON or None]; a comparison
[index of a, index of b, external id, metadata JSON, judgments] in canonical order; a judgment [annotator,
outcome, strength, comment, metadata JSON, what it superseded, whether it stands], of which what it superseded
is a list of [outcome, strength, comment, metadata JSON]."""

_FLIPPED = {"a": "b", "b": "a"}


class Spool:
    """Rows and problems of one file. Close it by leaving the temporary folder that it lives in. `groups` are
    filled as rows come, or stay empty when each text is to be a group of its own."""

    def __init__(self, folder: Path, near_duplicates: bool = True) -> None:
        self._db = sqlite3.connect(folder / "spool.sqlite3", isolation_level=None)
        # The file is thrown away if anything goes wrong, so it needs no journal.
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE draft (n INTEGER PRIMARY KEY, line INT, id TEXT, digest BLOB, packed BLOB, "
            "text INT)"
        )
        self._db.execute(
            "CREATE TABLE problem (n INTEGER PRIMARY KEY, line INT, field TEXT, code TEXT, message TEXT, "
            "excerpt TEXT, raw TEXT)"
        )
        self.groups = Groups(self._db, folder)
        self._db.execute("BEGIN")
        self._near_duplicates = near_duplicates
        self._buffer: list[tuple[int, str, bytes, bytes]] = []
        self._texts: list[LinkedText | None] = []

    def close(self) -> None:
        self._db.close()

    def add(self, draft: Draft) -> None:
        """Spool one Draft. Raises BadRow when a metadata value can't be stored."""
        row = pack(draft)
        packed = orjson.dumps(row)
        digest = hashlib.blake2b(packed, digest_size=16).digest()
        self._buffer.append((draft.line, draft.row_id, digest, packed))
        self._texts.append(LinkedText.of(row[0], row[1], draft, self._near_duplicates))
        if len(self._buffer) >= BUFFER_ROWS:
            self._flush()

    def _flush(self) -> None:
        texts = self.groups.number(self._texts)
        self._db.executemany(
            "INSERT INTO draft (line, id, digest, packed, text) VALUES (?, ?, ?, ?, ?)",
            ((*row, text) for row, text in zip(self._buffer, texts, strict=True)),
        )
        self._buffer.clear()
        self._texts.clear()

    def refuse(self, problem: Problem) -> None:
        self._db.execute(
            "INSERT INTO problem (line, field, code, message, excerpt, raw) VALUES (?, ?, ?, ?, ?, ?)",
            (problem.line, problem.field, problem.code, problem.message, problem.excerpt, problem.raw),
        )

    def refuse_contradicting_ids(self) -> None:
        """Make Problems of rows that carry the id of an earlier row but say something else."""
        self._flush()
        contradicting = self._db.execute(
            """
            SELECT later.n, later.line, later.id, earlier.line
            FROM draft AS later
            JOIN (SELECT id, MIN(n) AS n FROM draft WHERE id <> '' GROUP BY id
                  HAVING COUNT(DISTINCT digest) > 1) AS first USING (id)
            JOIN draft AS earlier ON earlier.n = first.n
            WHERE later.digest <> earlier.digest
            """
        ).fetchall()
        for n, line, row_id, first_line in contradicting:
            message = f"line {first_line} has the same id with other content; make ids unique"
            self.refuse(Problem(line, "id", "duplicate_id", message, escaped(row_id)))
            self._db.execute("DELETE FROM draft WHERE n = ?", (n,))
        if contradicting:
            used = "SELECT text FROM draft WHERE text IS NOT NULL"
            unused = self._db.execute(f"SELECT n FROM text WHERE n NOT IN ({used})")  # noqa: S608
            self.groups.forget([n for (n,) in unused])

    def skip_duplicates(self) -> tuple[int, int]:
        """Drop rows that repeat an earlier one in everything; how many these were, and labels in them."""
        self._flush()
        (repeated,) = self._db.execute("SELECT COUNT(*) - COUNT(DISTINCT digest) FROM draft").fetchone()
        if not repeated:
            return 0, 0
        repeats = "FROM draft WHERE n NOT IN (SELECT MIN(n) FROM draft GROUP BY digest)"
        labels = sum(labels_in(orjson.loads(row)) for (row,) in self._db.execute(f"SELECT packed {repeats}"))
        self._db.execute(f"DELETE {repeats}")
        return int(repeated), labels

    def count(self) -> int:
        self._flush()
        return int(self._db.execute("SELECT COUNT(*) FROM draft").fetchone()[0])

    def problem_count(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM problem").fetchone()[0])

    def bad_rows(self) -> int:
        """Lines with a problem; one line counts once."""
        return int(self._db.execute("SELECT COUNT(DISTINCT line) FROM problem").fetchone()[0])

    def problems(self, limit: int = -1) -> Iterator[Problem]:
        found = self._db.execute(
            "SELECT line, field, code, message, excerpt, raw FROM problem ORDER BY line, n LIMIT ?", (limit,)
        )
        return (Problem(*columns) for columns in found)

    def chunks(self, size: int) -> Iterator[list[Packed]]:
        """Spooled Drafts in the order of the file, at most `size` at a time, with the groups that are
        settled."""
        self._flush()
        found = self._db.execute(
            "SELECT packed, text, grp FROM draft LEFT JOIN joined ON joined.n = text ORDER BY draft.n"
        )
        while chunk := found.fetchmany(size):
            yield [_unpacked(*row) for row in chunk]


def _unpacked(packed: bytes, text: int | None, group: str | None) -> Packed:
    row: Packed = orjson.loads(packed)
    if group is not None:
        row[1] = group
    row.append(text)
    return row


def labels_in(row: Packed) -> int:
    """How many labels the row has for two texts that differ."""
    texts, pairs = row[5], row[6]
    still_current = (
        sum(vote[6] for vote in votes) for a, b, *_, votes in pairs if texts[a][0] != texts[b][0]
    )
    return sum(still_current)


def pack(draft: Draft) -> Packed:
    """The Draft with everything computed that storing needs, so that the transaction can be short."""
    completions = [_packed(completion) for completion in draft.completions]
    comparisons = []
    for comparison in draft.comparisons:
        first, second = comparison.first, comparison.second
        flipped = completions[first][0] > completions[second][0]
        judgments = [
            [j.annotator, *_answer(j, flipped), [_answer(each, flipped) for each in j.earlier], j.stands]
            for j in comparison.judgments
        ]
        a, b = (second, first) if flipped else (first, second)
        comparisons.append([a, b, comparison.external_id, metadata_json(comparison.metadata), judgments])
    return [
        messages_digest(draft.messages, draft.tools),
        own_group(draft.messages),
        json_of(draft.messages),
        draft.external_id,
        metadata_json(draft.metadata),
        completions,
        comparisons,
        None if draft.tools is None else json_of(draft.tools),
        search_text(draft.messages),
    ]


def _answer(judgment: JudgmentDraft, flipped: bool) -> Packed:
    outcome = _FLIPPED.get(judgment.outcome, judgment.outcome) if flipped else judgment.outcome
    return [outcome, judgment.strength, judgment.comment, metadata_json(judgment.metadata)]


def json_of(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a whole number of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _packed(completion: CompletionDraft) -> Packed:
    messages = completion.messages
    return [
        completion.digest,
        completion.text,
        completion.source,
        metadata_json(completion.metadata),
        None if messages is None else json_of(messages),
    ]
