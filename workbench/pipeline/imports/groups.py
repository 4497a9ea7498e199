"""Which group the prompts of a file belong to: the group of their own text, or of an earlier near-duplicate.

Prompts from different places of one conversation are one group. Two prompts are from one conversation when
they have several turns and the same system's and first user's turn, of five words or more, or when a column
of the file names the same tree. So a prompt of one turn is in the group of the conversations that begin with
it.

A text that is new to the Dataset takes the group of a near-duplicate (pipeline.text.near_duplicates) among
the stored Prompts and the earlier texts of the file. A text that is like members of several groups takes the
group that began first. So the groups are the same as after an import row by row. A stored Prompt never
changes its group, so an item never changes split. Equal texts are always in one group.

All of this lies on disk in the temporary folder of the import, for a file of any size.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson
from django.db import connection
from django.db.models import Min

from scoring.learnt import OPENING_WORDS
from scoring.messages import message_reading
from scoring.rows.drafts import Draft, tree_of
from workbench.db.bulk import in_chunks
from workbench.models import Dataset, Prompt, PromptKey
from workbench.models.dataset import Message, group_digest
from workbench.pipeline.text.near_duplicates import ALIKE, keys_of, likeness, shingles_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workbench.pipeline.text.near_duplicates import Shingles

    Numbers = NDArray[np.int64]

PARTS = 64
CHUNK = 500
LOOKUP_KEYS = 5000
IN_FILE = 2**62
"""The age of a group that begins in the file counts from here; a stored group's age is the id of a Prompt."""

Tick = Callable[[int, int], None]


def opening_of(messages: Sequence[Message]) -> list[Message]:
    """The system's and the first user's turn of a conversation of several turns; [] for a prompt of one, and
    where that turn has fewer than five words."""
    if len(messages) == 1:
        return []
    for place, message in enumerate(messages[:-1]):
        if message["role"] == "user":
            return (
                list(messages[: place + 1]) if len(message_reading(message).split()) >= OPENING_WORDS else []
            )
        if message["role"] not in ("system", "developer"):
            return []
    return []


def own_group(messages: Sequence[Message]) -> str:
    """The group of a prompt that is like no other: of its opening where it has one, else of its text."""
    return group_digest(opening_of(messages) or messages)


class LinkedText(NamedTuple):
    """A prompt that others may belong to. `own` is the group of its own text. `shingles` find
    near-duplicates, None for a short text. `tree` is the conversation that the file names."""

    sha256: str
    own: str
    shingles: "Shingles | None"
    tree: str

    @classmethod
    def of(cls, sha256: str, own: str, draft: Draft, near_duplicates: bool) -> "LinkedText | None":
        """None for a prompt whose group is certainly that of its own text."""
        shingles = shingles_of(draft.messages) if near_duplicates else None
        tree = tree_of(draft)
        alone = shingles is None and not tree and not opening_of(draft.messages)
        return None if alone else cls(sha256, own, shingles, tree)

    @property
    def keys(self) -> list[tuple[int, int]]:
        """(key, rank) of the text and of the tree: a prompt with one of these keys is in the same group."""
        of_tree = [(_key(hashlib.sha256(f"tree:{self.tree}".encode()).hexdigest()), 1)] if self.tree else []
        return [(_key(self.own), 2), *of_tree]


def _key(digest: str) -> int:
    return int.from_bytes(bytes.fromhex(digest)[:8], "big", signed=True)


class Groups:
    """The texts of one file that may be linked, each once, for the Spool that owns them.

    `number` the texts in the order of the file. Then `assign` their groups with a look at the Dataset: the
    table `joined` (n, grp) names the group of each text that is not in its own. `note_stored` the new
    Prompts; then `new_keys` are the keys by which later imports find them."""

    def __init__(self, db: sqlite3.Connection, folder: Path) -> None:
        self._db = db
        self._folder = folder
        self._size = 0
        self._forgotten: list[int] = []
        self._stored: dict[int, int] | Numbers = {}
        self._owned: list[tuple[int]] = []
        self.orphans: list[int] = []
        """Keys in the Dataset whose Prompt is gone."""
        for table in (
            "text (n INTEGER PRIMARY KEY, own BLOB UNIQUE, sha256 TEXT, shingles BLOB)",
            # Keys that are equal in what belongs together; of a text more than of a tree.
            "link (key INT, n INT, equal INT, PRIMARY KEY (key, n)) WITHOUT ROWID",
            # `earlier` is the number of a text, or the id of a Prompt that is stored.
            "met (later INT, stored INT, earlier INT, PRIMARY KEY (later, stored, earlier)) WITHOUT ROWID",
            "fresh (key INTEGER PRIMARY KEY, n INT, texts INT)",
            "near (later INT, stored INT, earlier INT, grp TEXT, equal INT)",
            "joined (n INTEGER PRIMARY KEY, grp TEXT, began INT, near INT)",
        ):
            db.execute(f"CREATE TABLE {table}")

    def number(self, texts: Sequence[LinkedText | None]) -> list[int | None]:
        """The number of each text, the same for equal ones; None for None."""
        numbers: dict[str, int] = {}
        for part in in_chunks({text.own for text in texts if text is not None}, CHUNK):
            owns = [bytes.fromhex(own) for own in part]
            sql = f"SELECT own, n FROM text WHERE own IN ({_places(owns)})"  # noqa: S608
            numbers |= {own.hex(): n for own, n in self._db.execute(sql, owns)}
        fresh: list[LinkedText] = []
        for text in texts:
            if text is not None and text.own not in numbers:
                numbers[text.own] = self._size + len(fresh)
                fresh.append(text)
        if fresh:
            self._sign(fresh)
        links = [(key, numbers[text.own], rank) for text in texts if text for key, rank in text.keys]
        self._db.executemany("INSERT OR IGNORE INTO link VALUES (?, ?, ?)", links)
        return [None if text is None else numbers[text.own] for text in texts]

    def _sign(self, texts: Sequence[LinkedText]) -> None:
        import numpy as np

        numbers = range(self._size, self._size + len(texts))
        self._size += len(texts)
        self._db.executemany(
            "INSERT INTO text VALUES (?, ?, ?, ?)",
            (
                (n, bytes.fromhex(text.own), text.sha256, b"" if shingles is None else shingles.tobytes())
                for n, text in zip(numbers, texts, strict=True)
                for shingles in [text.shingles]
            ),
        )
        long = [
            (n, text.shingles) for n, text in zip(numbers, texts, strict=True) if text.shingles is not None
        ]
        if not long:
            return
        keys = keys_of([shingles for _, shingles in long])
        rows = np.stack([keys.ravel(), np.repeat(np.array([n for n, _ in long]), keys.shape[1])], axis=1)
        rows = rows[np.argsort(_part_of(rows), kind="stable")]
        for piece in np.split(rows, np.flatnonzero(np.diff(_part_of(rows))) + 1):
            with self._part(int(_part_of(piece)[0])).open("ab") as file:
                file.write(piece.tobytes())

    def _part(self, number: int) -> Path:
        """A file of (key, number of a text); all that share a key are in one."""
        return self._folder / f"keys-{number:02}"

    def forget(self, numbers: Iterable[int]) -> None:
        """Leave these texts out: no row that is taken has them."""
        self._forgotten += numbers

    def assign(self, dataset: Dataset, tick: Tick) -> None:
        """Fill `joined`. Reads the Dataset only; it must not change until the file is stored."""
        if not self._size:
            return
        import numpy as np

        done = np.zeros(self._size, dtype=bool)
        done[self._forgotten] = True
        if dataset.pk is not None:
            done[list(self._stored_texts(dataset))] = True
        among = dataset if dataset.pk and PromptKey.objects.filter(dataset=dataset).exists() else None
        for part in range(PARTS):
            self._meet(part, among, done)
            tick(part, PARTS)
        self._compare_with_stored(tick)
        self._compare_within(tick)
        self._link(among, done, tick)
        self._join(dataset)
        self._stored = np.zeros(self._size, dtype=np.int64)

    def _stored_texts(self, dataset: Dataset) -> Iterator[int]:
        """Numbers of the texts whose Prompt is stored, and has its group."""
        texts = self._db.execute("SELECT sha256, n, own FROM text ORDER BY n")
        while chunk := texts.fetchmany(CHUNK):
            numbers = {sha256: (n, own.hex()) for sha256, n, own in chunk}
            prompts = Prompt.objects.of(dataset).filter(sha256__in=numbers)
            for sha256, group in prompts.values_list("sha256", "group"):
                n, own = numbers[sha256]
                if group != own:
                    self._db.execute("INSERT INTO joined VALUES (?, ?, 0, 0)", (n, group))
                yield n

    def _meet(self, part: int, among: Dataset | None, done: "NDArray[np.bool_]") -> None:
        """Note who shares a key with whom; leave in the part the keys that are new, each with its first
        text."""
        import numpy as np

        path = self._part(part)
        if not path.exists():
            return
        rows = np.fromfile(path, dtype=np.int64).reshape(-1, 2)
        rows = rows[~done[rows[:, 1]]]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        keys, texts = rows[:, 0], rows[:, 1]
        begins = np.diff(keys, prepend=keys[:1] - 1) != 0
        run = np.cumsum(begins) - 1
        firsts, owners = texts[begins], self._owners(among, keys[begins].tolist())
        for stored, there, earlier in ((1, owners[run] > 0, owners[run]), (0, ~begins, firsts[run])):
            pairs = zip(texts[there].tolist(), earlier[there].tolist(), strict=True)
            met = ((later, stored, before) for later, before in pairs)
            self._db.executemany("INSERT OR IGNORE INTO met VALUES (?, ?, ?)", met)
        path.write_bytes(rows[begins & (owners[run] == 0)].tobytes())

    def _owners(self, among: Dataset | None, keys: list[int]) -> "Numbers":
        """The id of the stored Prompt that has each key, 0 for none."""
        import numpy as np

        owners: dict[int, int] = {}
        table, prompts = PromptKey._meta.db_table, Prompt._meta.db_table
        for part in in_chunks(keys if among else (), LOOKUP_KEYS):
            if connection.vendor == "postgresql":
                # As JSON: thousands of placeholders take the driver longer than the look-up takes.
                asked = "SELECT x::bigint FROM json_array_elements_text(%s) AS x"
                values: list[int | str] = [orjson.dumps(part).decode()]
            else:
                asked, values = f"VALUES {', '.join(['(%s)'] * len(part))}", [*part]
            sql = (
                f"WITH asked(x) AS ({asked}) "  # noqa: S608
                f"SELECT asked.x, p.id FROM asked CROSS JOIN {table} t LEFT JOIN {prompts} p "
                "ON p.id = t.prompt_id WHERE t.dataset_id = %s AND t.key = asked.x"
            )
            with connection.cursor() as cursor:
                cursor.execute(sql, [*values, among.pk if among else 0])
                prompt_of_key = dict(cursor.fetchall())
            self.orphans += [key for key, prompt in prompt_of_key.items() if prompt is None]
            owners |= {key: prompt for key, prompt in prompt_of_key.items() if prompt is not None}
        return np.array([owners.get(key, 0) for key in keys], dtype=np.int64)

    def _compare_with_stored(self, tick: Tick) -> None:
        pairs = self._db.execute("SELECT later, earlier FROM met WHERE stored = 1 ORDER BY earlier, later")
        compared = 0
        while chunk := pairs.fetchmany(CHUNK):
            stored = Prompt.objects.filter(pk__in={prompt for _, prompt in chunk})
            prompts = {
                pk: (group, own_group(messages), shingles_of(messages))
                for pk, group, messages in stored.values_list("pk", "group", "messages").iterator()
            }
            texts = self._texts({later for later, _ in chunk})
            for later, pk in chunk:
                group, own, shingles = prompts[pk]
                equal = 2 * (own == texts[later][0])
                if equal or (shingles is not None and likeness(texts[later][1], shingles) >= ALIKE):
                    near = (later, 1, pk, group, equal)
                    self._db.execute("INSERT INTO near VALUES (?, ?, ?, ?, ?)", near)
            compared += len(chunk)
            tick(compared, compared)

    def _compare_within(self, tick: Tick) -> None:
        pairs = self._db.execute("SELECT later, earlier FROM met WHERE stored = 0 ORDER BY later, earlier")
        compared = 0
        while chunk := pairs.fetchmany(CHUNK):
            texts = self._texts({number for pair in chunk for number in pair})
            for later, earlier in chunk:
                if likeness(texts[later][1], texts[earlier][1]) >= ALIKE:
                    near = (later, 0, earlier, texts[earlier][0], 0)
                    self._db.execute("INSERT INTO near VALUES (?, ?, ?, ?, ?)", near)
            compared += len(chunk)
            tick(compared, compared)

    def _link(self, among: Dataset | None, done: "NDArray[np.bool_]", tick: Tick) -> None:
        """Note which texts belong together by an equal key; leave in `fresh` the keys that are new."""
        gone = [(n,) for n in self._forgotten]
        self._db.executemany("DELETE FROM link WHERE n = ?", gone)
        self._db.execute("INSERT INTO fresh SELECT key, MIN(n), COUNT(*) FROM link GROUP BY key ORDER BY key")
        self._db.executemany("DELETE FROM link WHERE n = ?", [(int(n),) for n in done.nonzero()[0]])
        keys = self._db.execute("SELECT key, n, texts FROM fresh ORDER BY key")
        linked = 0
        while chunk := keys.fetchmany(CHUNK):
            owners = self._owners(among, [key for key, *_ in chunk]).tolist()
            stored = Prompt.objects.filter(pk__in=set(owners) - {0})
            groups = dict(stored.values_list("pk", "group"))
            for (key, first, texts), owner in zip(chunk, owners, strict=True):
                if owner:
                    self._link_to(key, (1, owner, groups[owner]), after=-1)
                    self._owned.append((key,))
                elif texts > 1:
                    own = self._db.execute("SELECT own FROM text WHERE n = ?", (first,)).fetchone()[0]
                    self._link_to(key, (0, first, own.hex()), after=first)
            linked += len(chunk)
            tick(linked, linked)
        self._db.executemany("DELETE FROM fresh WHERE key = ?", self._owned)

    def _link_to(self, key: int, earlier: tuple[int, int, str], after: int) -> None:
        """All texts with the key, but those up to one, belong to what is earlier (stored, number, group)."""
        sql = "INSERT INTO near SELECT n, ?, ?, ?, equal FROM link WHERE key = ? AND n > ?"
        self._db.execute(sql, (*earlier, key, after))

    def _texts(self, numbers: Iterable[int]) -> "dict[int, tuple[str, Shingles]]":
        """(group of its own, shingles) by number."""
        import numpy as np

        wanted = list(numbers)
        sql = f"SELECT n, own, shingles FROM text WHERE n IN ({_places(wanted)})"  # noqa: S608
        rows = self._db.execute(sql, wanted)
        return {n: (own.hex(), np.frombuffer(shingles, dtype=np.uint32)) for n, own, shingles in rows}

    def _join(self, dataset: Dataset) -> None:
        links = self._db.execute("SELECT * FROM near ORDER BY later, equal DESC, stored DESC, earlier")
        for later, rows in groupby(links, key=lambda link: link[0]):
            near = list(rows)
            if near[0][4]:
                _, stored, earlier, group, _ = near[0]
                group, began = (group, 0) if stored else self._group_of(earlier, group)
                self._db.execute("INSERT INTO joined VALUES (?, ?, ?, 0)", (later, group, began))
                continue
            candidates = {
                group: began
                for _, stored, earlier, group, _ in near
                for group, began in [(group, 0) if stored else self._group_of(earlier, group)]
            }
            stored_groups = [group for group, began in candidates.items() if began < IN_FILE]
            if len(stored_groups) > 1:
                members = Prompt.objects.of(dataset).filter(group__in=stored_groups)
                candidates |= dict(members.values_list("group").order_by().annotate(began=Min("pk")))
            group, began = min(candidates.items(), key=lambda candidate: candidate[1])
            self._db.execute("INSERT INTO joined VALUES (?, ?, ?, 1)", (later, group, began))

    def _group_of(self, number: int, own: str) -> tuple[str, int]:
        """The group of a text before, and when it began."""
        joined = self._db.execute("SELECT grp, began FROM joined WHERE n = ?", (number,)).fetchone()
        return (joined[0], joined[1]) if joined else (own, IN_FILE + number)

    def near_duplicates(self) -> int:
        """How many texts joined the group of a near-duplicate that is not equal."""
        return int(self._db.execute("SELECT COUNT(*) FROM joined WHERE near").fetchone()[0])

    def note_stored(self, number: int, prompt: int) -> None:
        """Remember the first Prompt that was stored with the text of this number."""
        if not self._stored[number]:
            self._stored[number] = prompt

    def new_keys(self) -> Iterator[list[tuple[int, int]]]:
        """(key, id of a Prompt) to be kept, in the order of the keys."""
        import numpy as np

        fresh = self._db.execute("SELECT key, n FROM fresh ORDER BY key")
        while chunk := fresh.fetchmany(LOOKUP_KEYS):
            owners = [(key, int(self._stored[n])) for key, n in chunk]
            yield [(key, prompt) for key, prompt in owners if prompt]
        for part in range(PARTS):
            path = self._part(part)
            if path.exists():
                rows = np.fromfile(path, dtype=np.int64).reshape(-1, 2)
                prompts = np.asarray(self._stored)[rows[:, 1]]
                kept = prompts > 0
                yield list(zip(rows[kept, 0].tolist(), prompts[kept].tolist(), strict=True))


def _part_of(rows: "Numbers") -> "Numbers":
    return (rows[:, 0] >> 58) + PARTS // 2


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
