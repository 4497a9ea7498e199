import json
from contextlib import ExitStack
from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from scoring.rows.rows import escaped
from workbench.management.base import WorkbenchCommand, counted, refuse_archived
from workbench.management.progress import shown
from workbench.models import Dataset, Run
from workbench.pipeline import imports
from workbench.pipeline.data.search_index import index_waiting
from workbench.pipeline.history.recording import Kind, record


class Command(WorkbenchCommand):
    help = "Import a file (JSONL, JSON, CSV, TSV, Parquet; plain, .gz or .zst) into a dataset."
    examples = """
example:
  manage.py import_dataset "Kitchen" answers.jsonl.gz
  manage.py import_dataset "Kitchen" survey.csv --guess-columns
  manage.py import_dataset "Kitchen" rankings.parquet --pairs best-worst --lenient --rejects bad.jsonl

Nothing is stored while a row is bad; --lenient stores the good rows and lists the bad ones.
The same file a second time adds nothing. docs/how-to/imports.md shows every format.
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset; a new name creates one")
        parser.add_argument("file", type=Path, help="the file, or a folder saved by datasets.save_to_disk")
        parser.add_argument(
            "--format",
            default="auto",
            choices=["auto", *imports.SHAPES],
            metavar="NAME",
            help=f"default: detected from the columns. Formats: {', '.join(imports.SHAPES)}",
        )
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="WORD=COLUMN",
            help="name a column of any table, as in --column prompt=question --column chosen=best; the "
            f"dataset remembers the names for the next table. Words: {', '.join(imports.COLUMN_WORDS)}; "
            f"for the values of the outcome column: {', '.join(imports.OUTCOME_WORDS)}",
        )
        parser.add_argument(
            "--guess-columns",
            action="store_true",
            help="map further columns by their names, as in Question or chosen_response; a name that is not "
            "clear is an error that says what to write",
        )
        parser.add_argument("--lenient", action="store_true", help="skip bad rows and store the good ones")
        parser.add_argument(
            "--rejects", metavar="FILE", type=Path, help="write the bad rows to this file as JSON lines"
        )
        parser.add_argument("--source", default="", help='who made the labels, as in "crowd 2023"')
        parser.add_argument("--no-labels", action="store_true", help="ignore the labels in the file")
        parser.add_argument(
            "--pairs",
            default="all",
            choices=list(imports.PAIRS_POLICIES),
            help="which pairs to make of a ranking (default: all)",
        )
        parser.add_argument(
            "--max-pairs",
            metavar="N",
            type=int,
            default=64,
            help="at most this many pairs of one prompt (default: 64)",
        )
        parser.add_argument(
            "--minimum-gap",
            metavar="GAP",
            type=float,
            default=0.0,
            help="make no pair of two ratings that differ by less",
        )
        parser.add_argument(
            "--formula-safe",
            action="store_true",
            help="CSV of a release: remove the ' that begins a cell",
        )
        parser.add_argument(
            "--strip-citations", action="store_true", help="WebGPT: remove [1] marks from answers"
        )
        parser.add_argument(
            "--no-near-duplicates",
            action="store_true",
            help="treat near-duplicate prompts as different prompts",
        )
        parser.add_argument(
            "--licence", default="", help="licence of the texts (default: that of the dataset)"
        )
        parser.add_argument("--dry-run", action="store_true", help="check the whole file and store nothing")

    def handle(
        self,
        *,
        name: str,
        file: Path,
        format: str,  # noqa: A002
        column: list[str],
        guess_columns: bool,
        lenient: bool,
        rejects: Path | None,
        source: str,
        no_labels: bool,
        pairs: str,
        max_pairs: int,
        minimum_gap: float,
        formula_safe: bool,
        strip_citations: bool,
        no_near_duplicates: bool,
        licence: str,
        dry_run: bool,
        **options: object,
    ) -> None:
        if not file.exists():
            raise CommandError(f"There is no file {escaped(file, 300)}. Check the path.")
        dataset = Dataset.objects.filter(name=name).first() or Dataset(name=name, licence=licence)
        refuse_archived(dataset)
        import_options = imports.ImportOptions(
            format=format,
            columns=guessed(file, columns_named(column)) if guess_columns else columns_named(column),
            lenient=lenient,
            source=source,
            licence=licence,
            labels=not no_labels,
            pairs=pairs,
            max_pairs=max(1, max_pairs),
            minimum_gap=minimum_gap,
            formula_safe=formula_safe,
            strip_citations=strip_citations,
            near_duplicates=not no_near_duplicates,
            dry_run=dry_run,
        )
        result = self._import(file, dataset, import_options, rejects)
        self._report(result, dataset)
        if self.as_json:
            self.stdout.write(json.dumps({"dataset": dataset.name, **result.as_dict()}))
        if not result.accepted:
            raise SystemExit(1)

    def _import(
        self, file: Path, dataset: Dataset, options: imports.ImportOptions, rejects: Path | None
    ) -> imports.ImportResult:
        with ExitStack() as stack:
            show = stack.enter_context(shown(Run.Kind.IMPORT, escaped(file.name)))
            bad = stack.enter_context(rejects.open("wb")) if rejects else None

            def show_phase(phase: str, done: int, total: int) -> bool:
                # The steps of grouping have no fixed size.
                return phase == "grouping" or show(done, total, phase=phase)

            is_new = dataset.pk is None

            def note(result: imports.ImportResult) -> bool:
                if is_new:
                    record(Kind.DATASET_CREATED, by=None, dataset=dataset, target=dataset)
                record(Kind.IMPORTED, by=None, dataset=dataset, target=dataset, count=result.rows)
                return True

            result = imports.import_file(file, dataset, options, show_phase, rejects=bad, before_commit=note)
            if result.accepted and not options.dry_run:
                index_waiting(dataset.pk)  # here, as there may be no worker
            return result

    def _report(self, result: imports.ImportResult, dataset: Dataset) -> None:
        for problem in result.problems:
            place = f"line {problem.line}" if problem.line else "file"
            names_field = problem.field and problem.field not in problem.message
            field = f", {escaped(problem.field)}" if names_field else ""
            excerpt = f": {problem.excerpt}" if problem.excerpt else ""
            self.stdout.write(f"{place}{field}: {problem.message} [{problem.code}]{excerpt}")
        if result.problem_count > len(result.problems):
            self.stdout.write(
                f"… and {counted(result.problem_count - len(result.problems), 'more problem')}."
            )
        for column in result.columns:
            self.stdout.write(
                f"column {escaped(column.name)}: {column.became} ({counted(column.held, 'row')})"
            )
        for note in result.notes:
            self.stdout.write(f"note: {note}")
        self.stdout.write(summary(result, dataset))


def columns_named(arguments: list[str]) -> dict[str, str]:
    """The columns by word. Raises CommandError for an unknown word."""
    columns = {}
    for argument in arguments:
        word, _, column = argument.partition("=")
        if word not in {*imports.COLUMN_WORDS, *imports.OUTCOME_WORDS} or not column:
            words = ", ".join([*imports.COLUMN_WORDS, *imports.OUTCOME_WORDS])
            raise CommandError(f"--column takes WORD=COLUMN, not {escaped(argument)}. The words are {words}.")
        columns[word] = column
    return columns


def guessed(file: Path, named: dict[str, str]) -> dict[str, str]:
    """The columns by word: the named ones, and a guess at the others by the names in the file.

    Raises CommandError for a name that is not clear, and if no name says where prompt and answers are.
    """
    try:
        paths = imports.paths_in(file)
    except imports.FileFault as fault:
        raise CommandError(f"The columns can't be guessed: {fault}.") from None
    guesses = imports.guess(paths, named)
    mapping = {**named, **imports.as_mapping(guesses)}
    unsure = [(one.word, escaped(path)) for path, one in guesses.items() if not one.sure]
    if unsure:
        options = " ".join(f'--column "{word}={path}"' for word, path in unsure)
        raise CommandError(f"These names are not clear. Did you mean {options}? Add what is right.")
    if not imports.is_whole(mapping):
        names = escaped(", ".join(paths), 300)
        raise CommandError(
            "No names say which columns hold the prompt and the answers. Name them with --column; the file "
            f"has {names}."
        )
    return mapping


def summary(result: imports.ImportResult, dataset: Dataset) -> str:
    if not result.accepted:
        if not result.rejected:
            return "Nothing was stored. Fix the file and import it again."
        rows = counted(result.rejected, "bad row")
        return f"Nothing was stored: {rows}. Fix the file, or skip bad rows with --lenient."
    verb = "Would add" if result.dry_run else "Added"
    added = (
        f"{verb} to {dataset.name}: {counted(result.prompts, 'prompt')}, "
        f"{counted(result.completions, 'answer')}, {counted(result.comparisons, 'pair')}, {result.labels}. "
        f"Format: {result.format}."
    )
    lines = [added]
    for count, singular, plural in (
        (result.already_there, "row is in the dataset already", "rows are in the dataset already"),
        (result.duplicates, "row repeats an earlier row", "rows repeat an earlier row"),
        (
            result.near_duplicates,
            "new prompt is a near-duplicate and joins the group of another prompt",
            "new prompts are near-duplicates and join the group of another prompt",
        ),
        (
            result.pairs_left_out,
            "pair is left out: its prompt has --max-pairs already",
            "pairs are left out: their prompts have --max-pairs already (--pairs best-worst makes fewer)",
        ),
        (
            result.identical,
            "pair is left out: both answers are the same text",
            "pairs are left out: both answers are the same text",
        ),
        (result.rejected, "bad row is skipped", "bad rows are skipped"),
        (
            result.empty_completions,
            "answer is empty: releases and training leave it out",
            "answers are empty: releases and training leave them out",
        ),
        (
            result.names_a_model,
            "answer seems to name the model that wrote it",
            "answers seem to name the model that wrote them",
        ),
        (result.cut_off, "answer seems to be cut off", "answers seem to be cut off"),
    ):
        if count:
            lines.append(f"{count:,} {singular if count == 1 else plural}.")
    if result.cuts:
        lines.append(f"{result.cuts.capitalize()}.")
    return "\n".join(lines)
