"""Spooled Drafts into the database: one transaction, a chunk at a time, set by set.

The caller holds the lock of the Dataset's row, so nobody else adds Prompts to it meanwhile and a look-up
followed by an insert can't be overtaken. Ids are taken beforehand, so that a chunk needs one statement a
table and no round trip a row.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import orjson
from django.db import connection, models
from django.db.backends.utils import CursorWrapper
from django.db.models import Max
from django.utils import timezone

from scoring.rows.drafts import FILE_LICENCE
from workbench.models import Annotator, Comparison, Completion, Dataset, Judgment, Outcome, Prompt, PromptKey
from workbench.pipeline.imports.groups import Groups
from workbench.pipeline.imports.spool import Packed

CHUNK_ROWS = 1000
SQLITE_CACHE_KIB = 64 * 1024
LOOKUP_KEYS = 5000
INSERT_ROWS = 100
"""Rows of one statement on SQLite, where a statement a row takes three times as long."""
MAX_ANNOTATORS_KEPT = 100_000

Key = tuple[Any, Any]
Found = dict[Key, tuple[Any, ...]]


class Store:
    """Adds Drafts to `dataset`; `counts` says what was new, by kind of row.

    Keys of `counts`: prompts, completions, comparisons, judgments, ties, superseded (votes that no longer
    stand, which come with the one of their label source that does); and of rows that brought nothing new:
    already_there (it was stored before this import), duplicates (it came with an earlier row); identical
    (twice the same completion, which makes no Comparison); of Judgments that were not added,
    repeated_judgments (the label source had said so already) and contradictions (it had said otherwise: its
    first answer stands). `licence`, where it is another than the Dataset's, is kept with each new text,
    beside a licence that the text or its row names itself.
    """

    def __init__(self, dataset: Dataset, source: str, groups: Groups, licence: str = "") -> None:
        self.counts: Counter[str] = Counter()
        self._dataset = dataset
        self._source = source
        self._groups = groups
        self._licence = {FILE_LICENCE: licence} if licence else {}
        # As text once, not once a row.
        self._now = str(connection.ops.adapt_datetimefield_value(timezone.now()))
        self._annotators: dict[str, int] = {}
        self._ids = {model: _Ids(model) for model in (Prompt, Completion, Comparison, Judgment)}
        if connection.vendor == "postgresql":
            # Two imports that add the same annotators in different order would wait for each other for ever.
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [source])
        else:
            # The default of 2 MB makes SQLite write the same index pages again and again.
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")

    def add(self, chunk: Sequence[Packed]) -> None:
        """Store one chunk of Drafts."""
        known = _Known(self._dataset, chunk)
        annotators = self._annotator_ids({vote[0] for row in chunk for pair in row[6] for vote in pair[4]})
        known.find_judgments(annotators)
        new = _New()
        for row in chunk:
            self._add_row(row, known, annotators, new)
        _insert(Prompt, _PROMPT_COLUMNS, new.prompts)
        _insert(Completion, _COMPLETION_COLUMNS, new.completions)
        _insert(Comparison, _COMPARISON_COLUMNS, new.comparisons)
        _insert(Judgment, _JUDGMENT_COLUMNS, new.superseded, stage=Judgment.Stage.IMPORTED, is_current=False)
        _insert(Judgment, _JUDGMENT_COLUMNS, new.judgments, stage=Judgment.Stage.IMPORTED)
        for name in ("prompts", "completions", "comparisons", "judgments", "superseded"):
            self.counts[name] += len(getattr(new, name))

    def keep_keys(self) -> Iterator[int]:
        """Store what the Prompts that were added are found by as near-duplicates; yields how many keys were
        stored, now and then."""
        PromptKey.objects.filter(dataset=self._dataset, key__in=self._groups.orphans).delete()
        for keys in self._groups.new_keys():
            rows = [(self._dataset.pk, *key) for key in keys]
            for start in range(0, len(rows), LOOKUP_KEYS):
                part = rows[start : start + LOOKUP_KEYS]
                _insert(PromptKey, _KEY_COLUMNS, part)
                yield len(part)

    def _add_row(self, row: Packed, known: "_Known", annotators: dict[str, int], new: "_New") -> None:
        """Put what the row brings into `new`, and into `known` for the rows after it."""
        sha256, group, messages, external_id, metadata, completions, pairs, tools, reading, text = row
        size = len(new)
        prompt = known.prompts.get(sha256)
        if prompt is None:
            prompt = known.prompts[sha256] = self._ids[Prompt].take()
            new.prompts.append(
                (prompt, self._dataset.pk, sha256, group, messages, tools, reading, external_id, metadata,
                 self._now)
            )  # fmt: skip
            if text is not None:
                self._groups.stored(text, prompt)
        ids = [self._completion(prompt, completion, known, new) for completion in completions]
        ours = prompt > self._ids[Prompt].before or max(ids, default=0) > self._ids[Completion].before
        for first, second, pair_id, pair_metadata, votes in pairs:
            key = (ids[first], ids[second])
            if key[0] == key[1]:
                self.counts["identical"] += 1
                continue
            comparison = known.comparisons.get(key)
            if comparison is None:
                comparison = known.comparisons[key] = self._ids[Comparison].take()
                new.comparisons.append(
                    (comparison, self._dataset.pk, prompt, *key, pair_id, pair_metadata, self._now)
                )
            ours = ours or comparison > self._ids[Comparison].before
            for annotator, *answer in votes:
                self._judge((comparison, annotators[annotator]), answer, known, new)
        if len(new) == size:
            self.counts["duplicates" if ours else "already_there"] += 1

    def _completion(self, prompt: int, completion: Packed, known: "_Known", new: "_New") -> int:
        key = (prompt, completion[0])
        pk = known.completions.get(key)
        if pk is None:
            pk = known.completions[key] = self._ids[Completion].take()
            sha256, text, source, metadata, messages = completion
            if self._licence:
                metadata = orjson.dumps(orjson.loads(metadata) | self._licence).decode()
            new.completions.append((pk, prompt, sha256, text, source, metadata, messages, self._now))
        return pk

    def _judge(self, key: tuple[int, int], vote: list[Any], known: "_Known", new: "_New") -> None:
        outcome, strength, comment, metadata, earlier, stands = vote
        said = known.judgments.get(key)
        if said is not None:
            self.counts["repeated_judgments" if said == outcome else "contradictions"] += 1
            return
        known.judgments[key] = outcome
        before = None
        if not stands:
            earlier = [*earlier, vote[:4]]
        for each in earlier:
            pk = self._ids[Judgment].take()
            new.superseded.append((pk, *key, *each, before, self._now))
            before = pk
        if stands:
            if outcome == Outcome.TIE:
                self.counts["ties"] += 1
            pk = self._ids[Judgment].take()
            new.judgments.append((pk, *key, outcome, strength, comment, metadata, before, self._now))

    def _annotator_ids(self, names: set[str]) -> dict[str, int]:
        missing = names - self._annotators.keys()
        if len(self._annotators) + len(missing) > MAX_ANNOTATORS_KEPT:
            self._annotators.clear()
            missing = names
        if missing:
            ours = Annotator.objects.filter(user=None, source=self._source, external_id__in=missing)
            self._annotators |= dict(ours.values_list("external_id", "pk"))
            new = sorted(missing - self._annotators.keys())
            made = Annotator.objects.bulk_create(Annotator(source=self._source, external_id=n) for n in new)
            self._annotators |= {annotator.external_id: annotator.pk for annotator in made}
        return self._annotators


_PROMPT_COLUMNS = (
    "id", "dataset_id", "sha256", "group", "messages", "tools", "reading", "external_id", "metadata",
    "created_at",
)  # fmt: skip
_COMPLETION_COLUMNS = (
    "id", "prompt_id", "sha256", "text", "source", "metadata", "conversation", "created_at"
)  # fmt: skip
_COMPARISON_COLUMNS = (
    "id", "dataset_id", "prompt_id", "a_id", "b_id", "external_id", "metadata", "created_at"
)  # fmt: skip
_KEY_COLUMNS = ("dataset_id", "key", "prompt_id")
_JUDGMENT_COLUMNS = (
    "id", "comparison_id", "annotator_id", "outcome", "strength", "comment", "metadata", "supersedes_id",
    "created_at",
)  # fmt: skip


@dataclass
class _New:
    """Rows to insert for one chunk."""

    prompts: list[tuple[Any, ...]] = field(default_factory=list)
    completions: list[tuple[Any, ...]] = field(default_factory=list)
    comparisons: list[tuple[Any, ...]] = field(default_factory=list)
    judgments: list[tuple[Any, ...]] = field(default_factory=list)
    superseded: list[tuple[Any, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        of_pairs = len(self.comparisons) + len(self.judgments) + len(self.superseded)
        return len(self.prompts) + len(self.completions) + of_pairs


class _Known:
    """What of a chunk is stored already: ids by key, and outcomes of Judgments."""

    def __init__(self, dataset: Dataset, chunk: Sequence[Packed]) -> None:
        wanted = {(dataset.pk, row[0]) for row in chunk}
        self.prompts = {
            key[1]: pk for key, (pk,) in _stored(Prompt, ("dataset_id", "sha256"), wanted).items()
        }
        # A Prompt that is new has nothing yet: only rows of the others need a look.
        self._rows = [(self.prompts[row[0]], row) for row in chunk if row[0] in self.prompts]
        keys = {(prompt, completion[0]) for prompt, row in self._rows for completion in row[5]}
        found = _stored(Completion, ("prompt_id", "sha256"), keys)
        self.completions = {key: pk for key, (pk,) in found.items()}
        pairs = {pair for prompt, row in self._rows for pair, _ in self.pairs(prompt, row)}
        found = _stored(Comparison, ("a_id", "b_id"), pairs)
        self.comparisons = {key: pk for key, (pk,) in found.items()}
        self.judgments: dict[Key, str] = {}

    def pairs(self, prompt: int, row: Packed) -> Iterator[tuple[Key, Packed]]:
        """((id of a, id of b), pair) of those of the row's pairs whose Completions are stored."""
        ids = [self.completions.get((prompt, completion[0])) for completion in row[5]]
        for pair in row[6]:
            if ids[pair[0]] is not None and ids[pair[1]] is not None:
                yield (ids[pair[0]], ids[pair[1]]), pair

    def find_judgments(self, annotators: dict[str, int]) -> None:
        given = ((key, pair) for prompt, row in self._rows for key, pair in self.pairs(prompt, row))
        keys = {
            (self.comparisons[key], annotators[vote[0]])
            for key, pair in given
            if key in self.comparisons
            for vote in pair[4]
        }
        columns = ("comparison_id", "annotator_id")
        found = _stored(Judgment, columns, keys, also="outcome", where="AND t.is_current")
        # Of a label source that took all its votes back, the last stands for what it said.
        gone = _stored(Judgment, columns, keys - found.keys(), also="outcome", where="AND NOT t.is_current")
        self.judgments = {key: outcome for key, (_, outcome) in (gone | found).items()}


def are_stored(dataset: Dataset, packed: Sequence[Packed]) -> list[bool]:
    """Of each row, whether it has nothing new but, maybe, Judgments. Reads only."""
    if dataset.pk is None:
        return [False] * len(packed)
    known = _Known(dataset, packed)
    return [
        (prompt := known.prompts.get(row[0])) is not None
        and all((prompt, completion[0]) in known.completions for completion in row[5])
        and all(key[0] == key[1] or key in known.comparisons for key, _ in known.pairs(prompt, row))
        for row in packed
    ]


class _Ids:
    """Ids for new rows of a model, which nobody else will be given; `before` is the last one given until
    now."""

    BLOCK = 1000

    def __init__(self, model: type[models.Model]) -> None:
        self._table = model._meta.db_table
        self.before: int = model._default_manager.aggregate(last=Max("pk"))["last"] or 0
        self._next: Iterator[int] = iter(())

    def take(self) -> int:
        pk = next(self._next, None)
        if pk is None:
            self._next = self._more()
            pk = next(self._next)
        return pk

    def _more(self) -> Iterator[int]:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                sql = "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)"
                cursor.execute(sql, [self._table, self.BLOCK])
                return iter([pk for (pk,) in cursor.fetchall()])
            # The transaction holds SQLite's one write lock, so after the highest id ever given all are free.
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [self._table])
            found = cursor.fetchone()
        return count(found[0] + 1 if found else 1)


def _stored(
    model: type[models.Model], columns: tuple[str, str], keys: Iterable[Key], also: str = "", where: str = ""
) -> Found:
    """(id, `also`) of the rows that have these keys, by key."""
    quote = connection.ops.quote_name
    chosen = ", ".join(["asked.x", "asked.y", *(f"t.{quote(name)}" for name in ("id", also) if name)])
    match = f"t.{columns[0]} = asked.x AND t.{columns[1]} = asked.y {where}"
    kinds = {f.attname: f.db_type(connection) for f in model._meta.concrete_fields}
    found: Found = {}
    asked = list(keys)
    with connection.cursor() as cursor:
        for start in range(0, len(asked), LOOKUP_KEYS):
            part = asked[start : start + LOOKUP_KEYS]
            if connection.vendor == "postgresql":
                # As JSON: thousands of placeholders take the driver longer than the look-up takes.
                pair = ", ".join(f"(pair->>{n})::{kinds[name]}" for n, name in enumerate(columns))
                given = f"SELECT {pair} FROM json_array_elements(%s) AS pair"  # noqa: S608
                values = [orjson.dumps(part).decode()]
            else:
                given = f"VALUES {', '.join(['(%s, %s)'] * len(part))}"
                values = [value for key in part for value in key]
            # CROSS JOIN makes SQLite look each key up; for (x, y) IN (VALUES ...) it scans the table.
            table = f"asked CROSS JOIN {model._meta.db_table} t"
            sql = f"WITH asked(x, y) AS ({given}) SELECT {chosen} FROM {table} WHERE {match}"  # noqa: S608
            cursor.execute(sql, values)
            found.update({(row[0], row[1]): row[2:] for row in cursor.fetchall()})
    return found


def _insert(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]], **same: Any
) -> None:
    """Insert rows given as values of `columns`; every other column gets `same` or the field's default, drawn
    for each row where it is a function."""
    if not rows:
        return
    rest = [f for f in model._meta.concrete_fields if f.attname not in columns and not f.primary_key]
    drawn = [f for f in rest if f.has_default() and callable(f.default) and f.attname not in same]
    fixed = [f for f in rest if f not in drawn]
    values = [same[f.attname] if f.attname in same else f.get_default() for f in fixed]
    constants = tuple(f.get_db_prep_save(v, connection) for f, v in zip(fixed, values, strict=True))
    if drawn:
        rows = [(*row, *(f.get_db_prep_save(f.get_default(), connection) for f in drawn)) for row in rows]
    names = [*columns, *(f.column for f in drawn), *(f.column for f in fixed)]
    into = f"{model._meta.db_table} ({', '.join(map(connection.ops.quote_name, names))})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row + constants)
            return
        even = len(rows) - len(rows) % INSERT_ROWS
        for some, size in ((rows[:even], INSERT_ROWS), (rows[even:], len(rows) - even)):
            if some:
                _insert_many(cursor, into, some, size, constants)


def _insert_many(
    cursor: CursorWrapper, into: str, rows: Sequence[tuple[Any, ...]], size: int, constants: tuple[Any, ...]
) -> None:
    """Insert `size` rows a statement; each row is followed by the constants."""
    given = ", ".join(f"c{n}" for n in range(len(rows[0])))
    places = ", ".join([f"({', '.join(['%s'] * len(rows[0]))})"] * size)
    chosen = ", ".join([given, *["%s"] * len(constants)])
    cursor.executemany(
        f"WITH given({given}) AS (VALUES {places}) INSERT INTO {into} SELECT {chosen} FROM given",  # noqa: S608
        [[*chain(*rows[at : at + size]), *constants] for at in range(0, len(rows), size)],
    )
