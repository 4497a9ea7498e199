"""Store spooled rows in the database: one transaction, a chunk at a time, table by table.

The caller has locked the Dataset's row, so nobody else adds a Prompt to the Dataset between a look-up and an
insert. Ids are taken beforehand, so that a chunk needs one statement a table and no round trip a row."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from scoring.rows.drafts import FILE_LICENCE
from workbench.db.bulk import LOOKUP_KEYS, NewIds, RowValues, insert, look_up
from workbench.models import Annotator, Comparison, Completion, Dataset, Judgment, Outcome, Prompt, PromptKey
from workbench.models.annotation import ComparisonQuerySet
from workbench.pipeline.data.search_index import index_grown
from workbench.pipeline.imports.packed import PackedComparison, PackedCompletion, PackedJudgment, PackedRow
from workbench.pipeline.text.language import languages_of

CHUNK_ROWS = 1000
SQLITE_CACHE_KIB = 64 * 1024
MAX_ANNOTATORS_KEPT = 100_000


class Store:
    """Adds rows to `dataset`; `counts` says what was new, by kind of row.

    Keys of `counts`: prompts, completions, comparisons, judgments, ties, superseded (votes that the same
    label source replaced later). Rows that brought nothing new: already_there (stored before this import),
    duplicates (stored by an earlier row). identical: pairs of the same completion twice, which make no
    Comparison. Judgments that were not added: repeated_judgments (the label source has given the same
    answer), contradictions (it has given another answer, which stands). `licence`, where it differs from the
    Dataset's, is kept with each new text, beside a licence that the text or its row names. `run`: the primary
    key of the import, which is kept with each new prompt."""

    def __init__(self, dataset: Dataset, source: str, licence: str = "", run: int | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._dataset = dataset
        self._source = source
        self._run = run
        self._licence = {FILE_LICENCE: licence} if licence else {}
        # Adapted once, and not once a row.
        self._now = str(connection.ops.adapt_datetimefield_value(timezone.now()))
        self._annotators: dict[str, int] = {}
        self._ids = {model: NewIds(model) for model in (Prompt, Completion, Comparison, Judgment)}
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                # Two imports that add the same annotators in different order would deadlock.
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [source])
            else:
                # The default of 2 MB makes SQLite write the same index pages again and again.
                cursor.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")

    def add(self, chunk: Sequence[PackedRow]) -> list[tuple[int, int]]:
        """Store one chunk of rows. Gives (number of the text, id) of each new Prompt whose text has a
        number."""
        stored = _Stored(self._dataset, chunk)
        annotators = self._annotator_ids(
            {judgment.annotator for row in chunk for pair in row.comparisons for judgment in pair.judgments}
        )
        stored.look_up_judgments(annotators)
        new = _New()
        for row in chunk:
            self._add_row(row, stored, annotators, new)
        told = iter(languages_of([asked for asked, language in new.asked if language is None]))
        languages = [next(told) if language is None else language for _, language in new.asked]
        prompts = [(*row, language) for row, language in zip(new.prompts, languages, strict=True)]
        insert(Prompt, _PROMPT_COLUMNS, prompts)
        insert(Completion, _COMPLETION_COLUMNS, new.completions)
        insert(Comparison, _COMPARISON_COLUMNS, new.comparisons)
        imported = {"stage": Judgment.Stage.IMPORTED}
        insert(Judgment, _JUDGMENT_COLUMNS, new.superseded, imported | {"is_current": False})
        insert(Judgment, _JUDGMENT_COLUMNS, new.judgments, imported)
        for name in ("prompts", "completions", "comparisons", "judgments", "superseded"):
            self.counts[name] += len(getattr(new, name))
        return new.text_numbers

    @property
    def added(self) -> dict[type[Model], int]:
        """How many rows each table got."""
        named = {"prompts": Prompt, "completions": Completion, "comparisons": Comparison}
        added = {model: self.counts[name] for name, model in named.items()}
        return {**added, Judgment: self.counts["judgments"] + self.counts["superseded"]}

    def index_texts(self) -> Iterator[int]:
        """Make new texts of stored prompts findable; new prompts wait for `index_waiting`. Yields how many
        prompts each step has indexed."""
        return index_grown(self._dataset.pk, self._ids[Prompt].last_before, self._ids[Completion].last_before)

    def new_pairs(self) -> ComparisonQuerySet:
        """The Comparisons that this import has stored."""
        return Comparison.objects.filter(dataset=self._dataset, pk__gt=self._ids[Comparison].last_before)

    def replace_keys(
        self, orphaned: Sequence[int], new_keys: Iterable[Sequence[tuple[int, int]]]
    ) -> Iterator[int]:
        """Delete the orphaned keys, and store the new (key, id of a Prompt), by which later imports find
        near-duplicates. Yields how many keys each statement has stored."""
        PromptKey.objects.filter(dataset=self._dataset, key__in=orphaned).delete()
        for keys in new_keys:
            rows = [(self._dataset.pk, *key) for key in keys]
            for start in range(0, len(rows), LOOKUP_KEYS):
                part = rows[start : start + LOOKUP_KEYS]
                insert(PromptKey, _KEY_COLUMNS, part)
                yield len(part)

    def _add_row(self, row: PackedRow, stored: "_Stored", annotators: dict[str, int], new: "_New") -> None:
        """Put the new values of the row into `new`, and into `stored` for later rows."""
        size = len(new)
        prompt = stored.prompts.get(row.sha256)
        if prompt is None:
            prompt = stored.prompts[row.sha256] = self._ids[Prompt].take()
            new.prompts.append(
                (prompt, self._dataset.pk, row.sha256, row.group, row.messages, row.tools, row.reading,
                 row.external_id, row.metadata, row.characters, row.turns, self._run, self._now)
            )  # fmt: skip
            new.asked.append((row.asked, row.language))
            if row.text_number is not None:
                new.text_numbers.append((row.text_number, prompt))
        ids = [self._completion(prompt, completion, stored, new) for completion in row.completions]
        newest = max(ids, default=0)
        by_this_import = prompt > self._ids[Prompt].last_before or newest > self._ids[Completion].last_before
        for pair in row.comparisons:
            key = (ids[pair.a], ids[pair.b])
            if key[0] == key[1]:
                self.counts["identical"] += 1
                continue
            comparison = stored.comparisons.get(key)
            if comparison is None:
                comparison = stored.comparisons[key] = self._ids[Comparison].take()
                new.comparisons.append(
                    (comparison, self._dataset.pk, prompt, *key, pair.external_id, pair.metadata, self._now)
                )
            by_this_import = by_this_import or comparison > self._ids[Comparison].last_before
            for judgment in pair.judgments:
                self._judge((comparison, annotators[judgment.annotator]), judgment, stored, new)
        if len(new) == size:
            self.counts["duplicates" if by_this_import else "already_there"] += 1

    def _completion(self, prompt: int, completion: PackedCompletion, stored: "_Stored", new: "_New") -> int:
        key = (prompt, completion.sha256)
        pk = stored.completions.get(key)
        if pk is None:
            pk = stored.completions[key] = self._ids[Completion].take()
            metadata = completion.metadata
            if self._licence:
                metadata = orjson.dumps(orjson.loads(metadata) | self._licence).decode()
            new.completions.append(
                (pk, prompt, completion.sha256, completion.text, completion.source, metadata,
                 completion.messages, self._now)
            )  # fmt: skip
        return pk

    def _judge(self, key: tuple[int, int], judgment: PackedJudgment, stored: "_Stored", new: "_New") -> None:
        outcome = judgment.answer.outcome
        stored_outcome = stored.judgments.get(key)
        if stored_outcome is not None:
            self.counts["repeated_judgments" if stored_outcome == outcome else "contradictions"] += 1
            return
        stored.judgments[key] = outcome
        supersedes = None
        for answer in judgment.earlier if judgment.stands else [*judgment.earlier, judgment.answer]:
            pk = self._ids[Judgment].take()
            values = (answer.outcome, answer.strength, answer.comment, answer.metadata)
            new.superseded.append((pk, *key, *values, supersedes, self._now))
            supersedes = pk
        if judgment.stands:
            if outcome == Outcome.TIE:
                self.counts["ties"] += 1
            answer = judgment.answer
            values = (outcome, answer.strength, answer.comment, answer.metadata)
            new.judgments.append((self._ids[Judgment].take(), *key, *values, supersedes, self._now))

    def _annotator_ids(self, names: set[str]) -> dict[str, int]:
        missing = names - self._annotators.keys()
        if len(self._annotators) + len(missing) > MAX_ANNOTATORS_KEPT:
            self._annotators.clear()
            missing = names
        if missing:
            stored = Annotator.objects.filter(user=None, source=self._source, external_id__in=missing)
            self._annotators |= dict(stored.values_list("external_id", "pk"))
            new = sorted(missing - self._annotators.keys())
            created = Annotator.objects.bulk_create(
                Annotator(source=self._source, external_id=name) for name in new
            )
            self._annotators |= {annotator.external_id: annotator.pk for annotator in created}
        return self._annotators


_PROMPT_COLUMNS = (
    "id", "dataset_id", "sha256", "group", "messages", "tools", "reading", "external_id", "metadata",
    "characters", "turns", "imported_by_id", "created_at", "language",
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
    """Rows to insert for one chunk; `asked`: what the language of each new prompt is told by, and the
    language where it was told before."""

    prompts: list[RowValues] = field(default_factory=list)
    completions: list[RowValues] = field(default_factory=list)
    comparisons: list[RowValues] = field(default_factory=list)
    judgments: list[RowValues] = field(default_factory=list)
    superseded: list[RowValues] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    text_numbers: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        of_pairs = len(self.comparisons) + len(self.judgments) + len(self.superseded)
        return len(self.prompts) + len(self.completions) + of_pairs


class _Stored:
    """The part of a chunk that is stored already: ids of Prompts by sha256, of Completions by (Prompt,
    sha256), of Comparisons by (a, b); outcomes of Judgments by (Comparison, annotator)."""

    def __init__(self, dataset: Dataset, chunk: Sequence[PackedRow]) -> None:
        prompts = look_up(Prompt, ("dataset_id", "sha256"), {(dataset.pk, row.sha256) for row in chunk})
        self.prompts: dict[str, int] = {str(sha256): pk for (_, sha256), pk in prompts.items()}
        # A new Prompt has no Completions yet, so only the rows of stored Prompts need a look-up.
        self._rows = [(self.prompts[row.sha256], row) for row in chunk if row.sha256 in self.prompts]
        texts = {(prompt, completion.sha256) for prompt, row in self._rows for completion in row.completions}
        self.completions = look_up(Completion, ("prompt_id", "sha256"), texts)
        pairs = {ids for prompt, row in self._rows for ids, _ in self.stored_pairs(prompt, row)}
        self.comparisons = look_up(Comparison, ("a_id", "b_id"), pairs)
        self.judgments: dict[tuple[int, int | str], str] = {}

    def stored_pairs(self, prompt: int, row: PackedRow) -> Iterator[tuple[tuple[int, int], PackedComparison]]:
        """((id of a, id of b), pair) for the pairs of the row whose Completions are both stored."""
        ids = [self.completions.get((prompt, completion.sha256)) for completion in row.completions]
        for pair in row.comparisons:
            a, b = ids[pair.a], ids[pair.b]
            if a is not None and b is not None:
                yield (a, b), pair

    def look_up_judgments(self, annotators: dict[str, int]) -> None:
        keys = {
            (self.comparisons[ids], annotators[judgment.annotator])
            for prompt, row in self._rows
            for ids, pair in self.stored_pairs(prompt, row)
            if ids in self.comparisons
            for judgment in pair.judgments
        }
        columns = ("comparison_id", "annotator_id")
        current = look_up(Judgment, columns, keys, "outcome", "AND t.is_current")
        # Where a label source took back all its votes, its last vote counts as its answer.
        taken_back = look_up(Judgment, columns, keys - current.keys(), "outcome", "AND NOT t.is_current")
        self.judgments = taken_back | current


def are_stored(dataset: Dataset, rows: Sequence[PackedRow]) -> list[bool]:
    """For each row, whether its prompt, completions and pairs are all stored."""
    if dataset.pk is None:
        return [False] * len(rows)
    stored = _Stored(dataset, rows)
    return [
        (prompt := stored.prompts.get(row.sha256)) is not None
        and all((prompt, completion.sha256) in stored.completions for completion in row.completions)
        and all(ids[0] == ids[1] or ids in stored.comparisons for ids, _ in stored.stored_pairs(prompt, row))
        for row in rows
    ]
