"""Drafts on disk between reading and storing: a SQLite file in a temporary folder.

So a file of any size takes little memory, locks nothing in the database while it is read, and can be checked
for repeated ids."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from scoring.rows.drafts import Draft
from scoring.rows.rows import Problem, escaped
from workbench.models import Dataset
from workbench.pipeline.imports.groups import IN_FILE, Groups, LinkedText, Tick
from workbench.pipeline.imports.packed import PackedRow, decode, encode, pack

BUFFER_ROWS = 500

HELD_BYTES = 8 * 2**20
"""Bytes of packed rows after which rows are written, however few: one text may be megabytes long."""


FROM_ANYWHERE = ""
FROM_THE_DATASET = f"AND joined.began < {IN_FILE}"
"""Which groups of near-duplicates count."""


class Spool:
    """Rows and problems of one file, and the groups of its prompts. Close the spool before you delete its
    folder. Without `near_duplicates` each text is a group of its own."""

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
        self._groups = Groups(self._db, folder)
        self._db.execute("BEGIN")
        self._near_duplicates = near_duplicates
        self._joined = FROM_ANYWHERE
        self._buffer: list[tuple[int, str, bytes, bytes]] = []
        self._texts: list[LinkedText | None] = []
        self._held = 0

    def close(self) -> None:
        self._db.close()

    def add(self, draft: Draft, group: str = "", language: str | None = None) -> None:
        """Spool one Draft. group: that its prompt keeps unless the Dataset has a near-duplicate; all Drafts
        of a spool have one, or none. language: of the prompt, where it was told before. Raises BadRow when a
        metadata value can't be stored."""
        row = pack(draft)
        own_group, row.group = row.group, group or row.group
        row.language = language
        self._joined = FROM_THE_DATASET if group else FROM_ANYWHERE
        packed = encode(row)
        digest = hashlib.blake2b(packed, digest_size=16).digest()
        self._buffer.append((draft.line, draft.row_id, digest, packed))
        self._texts.append(LinkedText.of(row.sha256, own_group, draft, self._near_duplicates))
        self._held += len(packed)
        if len(self._buffer) >= BUFFER_ROWS or self._held > HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        numbers = self._groups.number(self._texts)
        self._db.executemany(
            "INSERT INTO draft (line, id, digest, packed, text) VALUES (?, ?, ?, ?, ?)",
            ((*row, number) for row, number in zip(self._buffer, numbers, strict=True)),
        )
        self._buffer.clear()
        self._texts.clear()
        self._held = 0

    def refuse(self, problem: Problem) -> None:
        self._db.execute(
            "INSERT INTO problem (line, field, code, message, excerpt, raw) VALUES (?, ?, ?, ?, ?, ?)",
            (problem.line, problem.field, problem.code, problem.message, problem.excerpt, problem.raw),
        )

    def refuse_contradicting_ids(self) -> None:
        """Refuse rows with the id of an earlier row and other content."""
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
            self._groups.forget([n for (n,) in unused])

    def skip_duplicates(self) -> tuple[int, int]:
        """Drop exact repeats of earlier rows. Gives (dropped rows, labels in these)."""
        self._flush()
        (repeated,) = self._db.execute("SELECT COUNT(*) - COUNT(DISTINCT digest) FROM draft").fetchone()
        if not repeated:
            return 0, 0
        repeats = "FROM draft WHERE n NOT IN (SELECT MIN(n) FROM draft GROUP BY digest)"
        labels = sum(decode(packed).labels() for (packed,) in self._db.execute(f"SELECT packed {repeats}"))
        self._db.execute(f"DELETE {repeats}")
        return int(repeated), labels

    def count(self) -> int:
        self._flush()
        return int(self._db.execute("SELECT COUNT(*) FROM draft").fetchone()[0])

    def problem_count(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM problem").fetchone()[0])

    def bad_rows(self) -> int:
        """How many lines have a problem."""
        return int(self._db.execute("SELECT COUNT(DISTINCT line) FROM problem").fetchone()[0])

    def problems(self, limit: int = -1) -> Iterator[Problem]:
        rows = self._db.execute(
            "SELECT line, field, code, message, excerpt, raw FROM problem ORDER BY line, n LIMIT ?", (limit,)
        )
        return (Problem(*columns) for columns in rows)

    def assign_groups(self, dataset: Dataset, tick: Tick) -> None:
        """Decide the group of each prompt. Reads the Dataset, which must not change until the rows are
        stored."""
        self._groups.assign(dataset, tick)

    def near_duplicates(self) -> int:
        """How many prompts joined the group of a near-duplicate."""
        return self._groups.near_duplicates()

    def chunks(self, size: int) -> Iterator[list[PackedRow]]:
        """Rows in the order of the file with the groups that were assigned: at most `size` at a time, and
        fewer where their texts are long."""
        self._flush()
        rows = self._db.execute(
            f"SELECT packed, text, grp FROM draft LEFT JOIN joined ON joined.n = text {self._joined} "  # noqa: S608
            "ORDER BY draft.n"
        )
        chunk, weight = list[PackedRow](), 0
        for packed, text_number, group in rows:
            chunk.append(_unpack(packed, text_number, group))
            weight += len(packed)
            if len(chunk) == size or weight > HELD_BYTES:
                yield chunk
                chunk, weight = [], 0
        if chunk:
            yield chunk

    def note_stored(self, prompts: Iterable[tuple[int, int]]) -> None:
        """Tell the groups which Prompts were stored: (number of the text, id)."""
        for number, prompt in prompts:
            self._groups.note_stored(number, prompt)

    def orphaned_keys(self) -> list[int]:
        """Keys of near-duplicates in the Dataset whose Prompt is gone."""
        return self._groups.orphans

    def new_keys(self) -> Iterator[list[tuple[int, int]]]:
        """(key, id of a Prompt) by which later imports find the stored Prompts."""
        return self._groups.new_keys()


def _unpack(packed: bytes, text_number: int | None, group: str | None) -> PackedRow:
    row = decode(packed)
    row.text_number = text_number
    if group is not None:
        row.group = group
    return row
