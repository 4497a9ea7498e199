"""Import a file into a Dataset: read and check the whole file, then store its rows in one transaction."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson
from django.db import transaction
from django.utils import timezone

from scoring.rows.columns import ColumnUse
from scoring.rows.drafts import ImportOptions
from scoring.rows.formats import open_rows
from scoring.rows.reading import Reader
from scoring.rows.rows import FileFault, Problem
from scoring.rows.shapes import COLUMNS
from workbench.db.bulk import look_at_grown
from workbench.models import Dataset, ModelVersion, PromptChange
from workbench.pipeline.annotate import requirements
from workbench.pipeline.data import excluding
from workbench.pipeline.imports.spool import Spool
from workbench.pipeline.imports.store import CHUNK_ROWS, Store
from workbench.pipeline.runs.progress import Cancelled
from workbench.pipeline.scoring.cuts import estimate_in_words, limit_of
from workbench.pipeline.text import learnt

SHOWN_PROBLEMS = 100
PLAIN = ImportOptions()

Progress = Callable[[str, int, int], bool]
"""Called with (phase, done, total); False cancels. The phase is "reading", "grouping" or "storing". `done`
and `total` count rows, and while grouping steps of no fixed size. While reading, `total` is an estimate."""


@dataclass(frozen=True)
class ImportResult:
    """The counts of an import, and its problems.

    `rows` are the good rows of the file without exact repeats; `already_there` counts those that were stored
    before. `prompts` to `superseded` (votes that no longer stand) count new rows of the database.
    `near_duplicates` counts new prompts that joined the group of another; `labels_of_repeats` counts labels
    in exact repeats. When `accepted` is False nothing was stored, and `problems` says why (the first 100 of
    `problem_count`). `empty_completions` have no text; Releases and trainings leave them out.
    `over_token_limit` (completions beyond the `token_limit` of the model), `names_a_model` and `cut_off` are
    estimates, which only a dry run and a preview fill. `columns` says what each column became.
    """

    accepted: bool
    format: str = ""
    rows: int = 0
    prompts: int = 0
    completions: int = 0
    comparisons: int = 0
    judgments: int = 0
    ties: int = 0
    superseded: int = 0
    near_duplicates: int = 0
    pairs_left_out: int = 0
    already_there: int = 0
    duplicates: int = 0
    identical: int = 0
    repeated_judgments: int = 0
    labels_of_repeats: int = 0
    contradictions: int = 0
    rejected: int = 0
    problem_count: int = 0
    empty_completions: int = 0
    over_token_limit: int = 0
    token_limit: int = 0
    names_a_model: int = 0
    cut_off: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[ColumnUse, ...] = ()
    dry_run: bool = False

    @property
    def labels(self) -> str:
        """The labels that count, and the others by reason: "2,589 labels, 12 of them ties (left out: 400
        duplicates, 8 contradictions)"."""
        reasons = {
            "duplicate": self.repeated_judgments + self.labels_of_repeats,
            "contradiction": self.contradictions,
            "replaced label": self.superseded,
        }
        left_out = ", ".join(_count(n, noun) for noun, n in reasons.items() if n)
        ties = f", {self.ties:,} of them tie{'s' * (self.ties != 1)}" if self.ties else ""
        return f"{_count(self.judgments, 'label')}{ties}" + (f" (left out: {left_out})" if left_out else "")

    @property
    def cuts(self) -> str:
        """How many completions the model would cut, by estimate; "" for none."""
        return estimate_in_words(self.over_token_limit, self.token_limit) if self.over_token_limit else ""

    def as_dict(self) -> dict[str, object]:
        """The result as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {
            "labels": self.labels,
            "cuts": self.cuts,
            "problems": [problem.as_dict() for problem in self.problems],
            "notes": list(self.notes),
            "columns": [asdict(column) for column in self.columns],
        }


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _no_progress(phase: str, done: int, total: int) -> bool:
    return True


def _commit(result: ImportResult) -> bool:
    return True


def import_file(
    source: Path | BinaryIO,
    dataset: Dataset,
    options: ImportOptions = PLAIN,
    progress: Progress = _no_progress,
    *,
    name: str = "",
    rejects: BinaryIO | None = None,
    run: int | None = None,
    before_commit: Callable[[ImportResult], bool] = _commit,
) -> ImportResult:
    """Read `source` and store its rows in `dataset`: all of them, or nothing.

    `source` is a path, or a seekable file open for reading bytes. `name` is the sender's name of the file,
    whose ending claims a format; a path needs no `name`. An unsaved `dataset` is created together with its
    first rows. Bad rows are written to `rejects` as JSON lines. A refused file raises nothing, but its result
    is not `accepted`. `run`: the primary key of the import, kept with each new prompt.

    `before_commit` is called once, with the result, in the transaction that stores the rows; its own writes
    are committed with the rows. Raises Cancelled, with nothing stored, when `progress` or `before_commit`
    gives False."""
    with tempfile.TemporaryDirectory(prefix="workbench-import-") as folder, ExitStack() as stack:
        spool = Spool(Path(folder), options.near_duplicates)
        stack.callback(spool.close)

        def tell_progress(phase: str, done: int, total: int) -> None:
            if not progress(phase, done, total):
                raise Cancelled

        tokens = limit_of(ModelVersion.objects.serving(dataset))
        reader = Reader(spool, options, partial(tell_progress, "reading"), dataset.columns, tokens=tokens)
        faulty = False
        try:
            rows = open_rows(source, name, stack, COLUMNS, formula_safe=options.formula_safe)
            reader.read(rows)
        except FileFault as fault:
            spool.refuse(fault.problem)
            faulty = True
        spool.refuse_contradicting_ids()
        duplicates, labels_of_repeats = spool.skip_duplicates()
        if rejects is not None:
            rejects.writelines(
                orjson.dumps(problem.as_dict() | {"row": problem.raw}) + b"\n" for problem in spool.problems()
            )
        read = ImportResult(
            accepted=False,
            format=reader.format,
            rejected=spool.bad_rows(),
            problem_count=spool.problem_count(),
            problems=tuple(spool.problems(SHOWN_PROBLEMS)),
            notes=reader.notes(),
            columns=reader.column_uses(),
            pairs_left_out=reader.pairs_left_out,
            duplicates=duplicates,
            labels_of_repeats=labels_of_repeats,
            dry_run=options.dry_run,
            token_limit=tokens,
            **reader.observed,
        )
        if faulty or not spool.count() or (read.problem_count and not options.lenient):
            return read
        return _store(spool, dataset, read, options, run, tell_progress, before_commit)


def _store(
    spool: Spool,
    dataset: Dataset,
    read: ImportResult,
    options: ImportOptions,
    run: int | None,
    tell_progress: Callable[[str, int, int], None],
    before_commit: Callable[[ImportResult], bool],
) -> ImportResult:
    total = spool.count()
    tell_progress("storing", 0, total)
    with transaction.atomic():
        if dataset.pk is None:
            new = {"licence": dataset.licence}
            dataset.pk = Dataset.objects.get_or_create(name=dataset.name, defaults=new)[0].pk
        # A second import into the Dataset waits here, and then sees the rows of the first import.
        if not Dataset.objects.not_deleted().select_for_update().filter(pk=dataset.pk).first():
            raise Cancelled
        dataset_licence = Dataset.objects.values_list("licence", flat=True).get(pk=dataset.pk)
        licence = options.licence if options.licence != dataset_licence else ""
        store = Store(dataset, options.source or read.format, licence, run)
        store_spooled(spool, store, dataset, tell_progress)
        if options.columns:
            Dataset.objects.filter(pk=dataset.pk).update(columns=options.columns)
        counts = {**store.counts, "duplicates": read.duplicates + store.counts["duplicates"]}
        counts["near_duplicates"] = spool.near_duplicates()
        result = replace(read, accepted=True, rows=total, **counts)  # type: ignore[arg-type]
        if not before_commit(result):
            raise Cancelled
        transaction.set_rollback(options.dry_run)
    if not options.dry_run:
        look_at_grown(store.added)
    return result


def _silent(phase: str, done: int, total: int) -> None:
    """For a caller that shows none."""


def store_spooled(
    spool: Spool, store: Store, dataset: Dataset, tell_progress: Callable[[str, int, int], None] = _silent
) -> None:
    """Store the rows of the spool, group their prompts, make them findable, and have them scored. The caller
    has locked the row of the Dataset before it made the store."""
    total, done = spool.count(), 0
    spool.assign_groups(dataset, partial(tell_progress, "grouping"))
    for chunk in spool.chunks(CHUNK_ROWS):
        spool.note_stored(store.add(chunk))
        done += len(chunk)
        tell_progress("storing", done, total)
    for _ in store.replace_keys(spool.orphaned_keys(), spool.new_keys()):
        tell_progress("storing", done, total)
    for _ in store.index_texts():
        tell_progress("storing", done, total)
    requirements.require(dataset, store.new_pairs())
    excluding.keep_out_new(dataset)
    learnt.look_through(dataset, partial(tell_progress, "storing", done, total))
    # In the same transaction, as a message that asks for Scores may be lost.
    Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=True, queue_stale_since=timezone.now())
    PromptChange.objects.all_of(dataset.pk)
