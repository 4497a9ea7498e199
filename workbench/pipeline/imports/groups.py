"""The groups of the prompts of a file: the group of a prompt's text, or the group of an earlier
near-duplicate.

Prompts from different places of one conversation are one group. Two prompts are from one conversation when
they have several turns and the same system's and first user's turn, of five words or more, or when a column
of the file names the same tree. So a prompt of one turn is in the group of the conversations that begin with
this turn.

A text that is new to the Dataset takes the group of a near-duplicate (pipeline.text.near_duplicates) among
the stored Prompts and the earlier texts of the file. A text that is like members of several groups takes the
group that began first. So the groups are the same as after an import row by row. A stored Prompt never
changes its group, so an item never changes split. Equal texts are always in one group.

The texts and keys are on disk, in the temporary folder of the import, for a file of any size."""

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
from workbench.db.bulk import LOOKUP_KEYS, digest_key, in_chunks
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
IN_FILE = 2**62
"""The age of a group that begins in the file counts from here; a stored group's age is the id of a Prompt."""

Tick = Callable[[int, int], None]
"""Called with (done, total); raises to stop."""


def opening_of(messages: Sequence[Message]) -> list[Message]:
    """The system's and the first user's turn of a conversation of several turns; [] for a prompt of one turn,
    and where the user's turn has fewer than five words."""
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
    """The group of a prompt without a near-duplicate: by its opening where it has one, else by its text."""
    return group_digest(opening_of(messages) or messages)


class LinkedText(NamedTuple):
    """The text of a prompt that may share its group with other prompts. `own_group`: see the function.
    `shingles` find near-duplicates, None for a short text. `tree` is the conversation that the file names."""

    sha256: str
    own_group: str
    shingles: "Shingles | None"
    tree: str

    @classmethod
    def of(cls, sha256: str, group: str, draft: Draft, near_duplicates: bool) -> "LinkedText | None":
        """None for a prompt that certainly has its own group."""
        shingles = shingles_of(draft.messages) if near_duplicates else None
        tree = tree_of(draft)
        alone = shingles is None and not tree and not opening_of(draft.messages)
        return None if alone else cls(sha256, group, shingles, tree)

    @property
    def keys(self) -> list[tuple[int, int]]:
        """(key, rank) of the text and of the tree: prompts with an equal key are in one group."""
        keys = [(digest_key(self.own_group), 2)]
        if self.tree:
            keys.append((digest_key(hashlib.sha256(f"tree:{self.tree}".encode()).hexdigest()), 1))
        return keys


class Groups:
    """The LinkedTexts of one file, each once, in the database of a Spool.

    `number` the texts in the order of the file. Then `assign` their groups with a look at the Dataset: the
    table `joined` (n, grp) has the group of each text that joins another group. `note_stored` the new
    Prompts; then `new_keys` gives the keys by which later imports find these Prompts."""

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
            "text (n INTEGER PRIMARY KEY, own_group BLOB UNIQUE, sha256 TEXT, shingles BLOB)",
            # LinkedText.keys of each text. `equal` is the rank: a text counts more than a tree.
            "link (key INT, n INT, equal INT, PRIMARY KEY (key, n)) WITHOUT ROWID",
            # Texts to compare. `earlier` is the number of a text, or the id of a stored Prompt.
            "pair (later INT, stored INT, earlier INT, PRIMARY KEY (later, stored, earlier)) WITHOUT ROWID",
            "new_key (key INTEGER PRIMARY KEY, n INT, texts INT)",
            "near (later INT, stored INT, earlier INT, grp TEXT, equal INT)",
            "joined (n INTEGER PRIMARY KEY, grp TEXT, began INT, near INT)",
        ):
            db.execute(f"CREATE TABLE {table}")

    def number(self, texts: Sequence[LinkedText | None]) -> list[int | None]:
        """The number of each text, the same for texts with the same own group; None for None."""
        numbers: dict[str, int] = {}
        for chunk in in_chunks({text.own_group for text in texts if text is not None}, CHUNK):
            groups = [bytes.fromhex(group) for group in chunk]
            sql = f"SELECT own_group, n FROM text WHERE own_group IN ({_placeholders(groups)})"  # noqa: S608
            numbers |= {group.hex(): n for group, n in self._db.execute(sql, groups)}
        new: list[LinkedText] = []
        for text in texts:
            if text is not None and text.own_group not in numbers:
                numbers[text.own_group] = self._size + len(new)
                new.append(text)
        if new:
            self._add(new)
        links = [(key, numbers[text.own_group], rank) for text in texts if text for key, rank in text.keys]
        self._db.executemany("INSERT OR IGNORE INTO link VALUES (?, ?, ?)", links)
        return [None if text is None else numbers[text.own_group] for text in texts]

    def _add(self, texts: Sequence[LinkedText]) -> None:
        """Store new texts, and the keys by which near-duplicates of long texts meet."""
        import numpy as np

        numbers = range(self._size, self._size + len(texts))
        self._size += len(texts)
        self._db.executemany(
            "INSERT INTO text VALUES (?, ?, ?, ?)",
            (
                (n, bytes.fromhex(group), sha256, b"" if shingles is None else shingles.tobytes())
                for n, (sha256, group, shingles, _) in zip(numbers, texts, strict=True)
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
        for of_part in np.split(rows, np.flatnonzero(np.diff(_part_of(rows))) + 1):
            with self._part(int(_part_of(of_part)[0])).open("ab") as file:
                file.write(of_part.tobytes())

    def _part(self, number: int) -> Path:
        """A file of (key, number of a text). All texts with a key are in one file."""
        return self._folder / f"keys-{number:02}"

    def forget(self, numbers: Iterable[int]) -> None:
        """Leave out these texts, whose rows were all refused."""
        self._forgotten += numbers

    def assign(self, dataset: Dataset, tick: Tick) -> None:
        """Fill `joined`. Reads the Dataset, which must not change until the file is stored."""
        if not self._size:
            return
        import numpy as np

        has_group = np.zeros(self._size, dtype=bool)
        has_group[self._forgotten] = True
        if dataset.pk is not None:
            has_group[list(self._stored_texts(dataset))] = True
        with_keys = dataset if dataset.pk and PromptKey.objects.filter(dataset=dataset).exists() else None
        for part in range(PARTS):
            self._find_pairs(part, with_keys, has_group)
            tick(part, PARTS)
        self._compare_with_stored(tick)
        self._compare_within(tick)
        self._link(with_keys, has_group, tick)
        self._join(dataset)
        self._stored = np.zeros(self._size, dtype=np.int64)

    def _stored_texts(self, dataset: Dataset) -> Iterator[int]:
        """Numbers of the texts whose Prompt is stored, and so has a group."""
        texts = self._db.execute("SELECT sha256, n, own_group FROM text ORDER BY n")
        while chunk := texts.fetchmany(CHUNK):
            numbers = {sha256: (n, own_group.hex()) for sha256, n, own_group in chunk}
            prompts = Prompt.objects.of(dataset).filter(sha256__in=numbers)
            for sha256, group in prompts.values_list("sha256", "group"):
                n, own_group = numbers[sha256]
                if group != own_group:
                    self._db.execute("INSERT INTO joined VALUES (?, ?, 0, 0)", (n, group))
                yield n

    def _find_pairs(self, part: int, dataset: Dataset | None, has_group: "NDArray[np.bool_]") -> None:
        """Pair each text of the part with the stored Prompt, or the first text, that has the same key. Leave
        the new keys in the part, each with its first text."""
        import numpy as np

        path = self._part(part)
        if not path.exists():
            return
        rows = np.fromfile(path, dtype=np.int64).reshape(-1, 2)
        rows = rows[~has_group[rows[:, 1]]]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        keys, texts = rows[:, 0], rows[:, 1]
        begins = np.diff(keys, prepend=keys[:1] - 1) != 0
        run = np.cumsum(begins) - 1
        firsts, owners = texts[begins], self._owners(dataset, keys[begins].tolist())
        for stored, use, earlier in ((1, owners[run] > 0, owners[run]), (0, ~begins, firsts[run])):
            pairs = zip(texts[use].tolist(), earlier[use].tolist(), strict=True)
            self._db.executemany(f"INSERT OR IGNORE INTO pair VALUES (?, {stored}, ?)", pairs)  # noqa: S608
        path.write_bytes(rows[begins & (owners[run] == 0)].tobytes())

    def _owners(self, dataset: Dataset | None, keys: list[int]) -> "Numbers":
        """The id of the dataset's Prompt that has each key, 0 for none."""
        import numpy as np

        owners: dict[int, int] = {}
        table, prompts = PromptKey._meta.db_table, Prompt._meta.db_table
        for chunk in in_chunks(keys if dataset else (), LOOKUP_KEYS):
            if connection.vendor == "postgresql":
                # As JSON: thousands of placeholders take the driver longer than the look-up takes.
                rows = "SELECT key::bigint FROM json_array_elements_text(%s) AS key"
                values: list[int | str] = [orjson.dumps(chunk).decode()]
            else:
                rows, values = f"VALUES {', '.join(['(%s)'] * len(chunk))}", [*chunk]
            sql = (
                f"WITH wanted(key) AS ({rows}) "  # noqa: S608
                f"SELECT wanted.key, p.id FROM wanted CROSS JOIN {table} t LEFT JOIN {prompts} p "
                "ON p.id = t.prompt_id WHERE t.dataset_id = %s AND t.key = wanted.key"
            )
            with connection.cursor() as cursor:
                cursor.execute(sql, [*values, dataset.pk if dataset else 0])
                prompt_of_key = dict(cursor.fetchall())
            self.orphans += [key for key, prompt in prompt_of_key.items() if prompt is None]
            owners |= {key: prompt for key, prompt in prompt_of_key.items() if prompt is not None}
        return np.array([owners.get(key, 0) for key in keys], dtype=np.int64)

    def _compare_with_stored(self, tick: Tick) -> None:
        pairs = self._db.execute("SELECT later, earlier FROM pair WHERE stored = 1 ORDER BY earlier, later")
        compared = 0
        while chunk := pairs.fetchmany(CHUNK):
            stored = Prompt.objects.filter(pk__in={prompt for _, prompt in chunk})
            prompts = {
                pk: (group, own_group(messages), shingles_of(messages))
                for pk, group, messages in stored.values_list("pk", "group", "messages").iterator()
            }
            texts = self._texts({later for later, _ in chunk})
            for later, pk in chunk:
                group, group_of_text, shingles = prompts[pk]
                equal = 2 * (group_of_text == texts[later][0])
                if equal or (shingles is not None and likeness(texts[later][1], shingles) >= ALIKE):
                    near = (later, 1, pk, group, equal)
                    self._db.execute("INSERT INTO near VALUES (?, ?, ?, ?, ?)", near)
            compared += len(chunk)
            tick(compared, compared)

    def _compare_within(self, tick: Tick) -> None:
        pairs = self._db.execute("SELECT later, earlier FROM pair WHERE stored = 0 ORDER BY later, earlier")
        compared = 0
        while chunk := pairs.fetchmany(CHUNK):
            texts = self._texts({number for pair in chunk for number in pair})
            for later, earlier in chunk:
                if likeness(texts[later][1], texts[earlier][1]) >= ALIKE:
                    near = (later, 0, earlier, texts[earlier][0], 0)
                    self._db.execute("INSERT INTO near VALUES (?, ?, ?, ?, ?)", near)
            compared += len(chunk)
            tick(compared, compared)

    def _link(self, dataset: Dataset | None, has_group: "NDArray[np.bool_]", tick: Tick) -> None:
        """Add to `near` the texts with an equal key; leave the new keys in `new_key`."""
        self._db.executemany("DELETE FROM link WHERE n = ?", [(n,) for n in self._forgotten])
        self._db.execute(
            "INSERT INTO new_key SELECT key, MIN(n), COUNT(*) FROM link GROUP BY key ORDER BY key"
        )
        self._db.executemany("DELETE FROM link WHERE n = ?", [(int(n),) for n in has_group.nonzero()[0]])
        keys = self._db.execute("SELECT key, n, texts FROM new_key ORDER BY key")
        linked = 0
        while chunk := keys.fetchmany(CHUNK):
            owners = self._owners(dataset, [key for key, *_ in chunk]).tolist()
            stored = Prompt.objects.filter(pk__in=set(owners) - {0})
            groups = dict(stored.values_list("pk", "group"))
            for (key, first, texts), owner in zip(chunk, owners, strict=True):
                if owner:
                    self._link_to(key, (1, owner, groups[owner]), after=-1)
                    self._owned.append((key,))
                elif texts > 1:
                    sql = "SELECT own_group FROM text WHERE n = ?"
                    (own_group,) = self._db.execute(sql, (first,)).fetchone()
                    self._link_to(key, (0, first, own_group.hex()), after=first)
            linked += len(chunk)
            tick(linked, linked)
        self._db.executemany("DELETE FROM new_key WHERE key = ?", self._owned)

    def _link_to(self, key: int, earlier: tuple[int, int, str], after: int) -> None:
        """Link the texts with the key and a number above `after` to `earlier`: (stored, number, group)."""
        sql = "INSERT INTO near SELECT n, ?, ?, ?, equal FROM link WHERE key = ? AND n > ?"
        self._db.execute(sql, (*earlier, key, after))

    def _texts(self, numbers: Iterable[int]) -> "dict[int, tuple[str, Shingles]]":
        """(own group, shingles) by number."""
        import numpy as np

        keys = list(numbers)
        sql = f"SELECT n, own_group, shingles FROM text WHERE n IN ({_placeholders(keys)})"  # noqa: S608
        rows = self._db.execute(sql, keys)
        return {n: (group.hex(), np.frombuffer(shingles, dtype=np.uint32)) for n, group, shingles in rows}

    def _join(self, dataset: Dataset) -> None:
        """Fill `joined` from `near`: an equal text decides, else the group that began first."""
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

    def _group_of(self, number: int, own_group: str) -> tuple[str, int]:
        """(group, its age) of an earlier text of the file."""
        joined = self._db.execute("SELECT grp, began FROM joined WHERE n = ?", (number,)).fetchone()
        return (joined[0], joined[1]) if joined else (own_group, IN_FILE + number)

    def near_duplicates(self) -> int:
        """How many texts joined the group of a near-duplicate, equal texts left out."""
        return int(self._db.execute("SELECT COUNT(*) FROM joined WHERE near").fetchone()[0])

    def note_stored(self, number: int, prompt: int) -> None:
        """Keep the first Prompt that was stored with the text of this number."""
        if not self._stored[number]:
            self._stored[number] = prompt

    def new_keys(self) -> Iterator[list[tuple[int, int]]]:
        """(key, id of a Prompt) to store, in the order of the keys."""
        import numpy as np

        new = self._db.execute("SELECT key, n FROM new_key ORDER BY key")
        while chunk := new.fetchmany(LOOKUP_KEYS):
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


def _placeholders(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
