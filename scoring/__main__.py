"""`python -m scoring`: score, train and evaluate over JSONL files."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from scoring import command_evaluate, command_train
from scoring.baselines import BASELINES
from scoring.config import (
    TEMPLATE_HELP,
    TEMPLATES,
    TOKEN_TYPES,
    TOKEN_TYPES_HELP,
    Stopped,
    TrainingError,
    template_named,
)
from scoring.formats import BadLine, BadText, Pair, Scorer, line_of_row, pair_of_row, read_rows
from scoring.scorers import open_scorer

WINDOW = 4096

EPILOG = """\
examples:
  python -m scoring check ~/models/reward
  python -m scoring score --model ~/models/reward completions.jsonl -o scored.jsonl
  python -m scoring score --model longest completions.jsonl -o scored.jsonl
  python -m scoring train --model ~/models/reward --data releases/kitchen-3 -o ~/models/kitchen
  python -m scoring train --model ~/models/reward --data releases/kitchen-3 -o ~/models/kitchen --check
  python -m scoring evaluate --model ~/models/kitchen --against ~/models/reward preference.test.jsonl
  python -m scoring evaluate --model longest --protocol webgpt --citations stripped comparisons.jsonl

IN.jsonl has one {"prompt": ..., "completion": ...} a line; the prompt is text or a list of messages
[{"role": ..., "content": ...}]. OUT.jsonl has the same rows in the same order, with "score" added.
Keep the completions of one prompt together: with --precision exact-order, completions within 4,096 rows of
each other are ranked as fp32 would rank them.

train and evaluate read labelled pairs in any format of a release (docs/reference/profiles.md). When train is
stopped or killed, the same command continues where it was.
"""

LENGTH_HELP = "tokens a text is cut to (default: 512, for chat 4,096, or all that the model has)"


class CommandError(Exception):
    """One sentence for the terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        summary = options.run(options)
    except Stopped as stopped:
        print(f"{stopped}; the same command continues from there", file=sys.stderr)
        return 130
    except (CommandError, TrainingError, ValueError, OSError) as error:
        # BadLine, DataError and CheckpointError are ValueErrors; a bad setting raises ValueError too.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(summary))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scoring",
        description="Score answers with a reward model, train one, and measure how good it is.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], object], about: str
    ) -> argparse.ArgumentParser:
        subparser = commands.add_parser(
            name,
            help=about,
            description=about,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(run=run)
        subparser.add_argument("--json", action="store_true", help="end with one line of JSON, for programs")
        return subparser

    score = command("score", score_file, "Add a score to every row of a JSONL file.")
    score.add_argument("input", metavar="IN.jsonl", type=Path)
    score.add_argument("-o", "--output", metavar="OUT.jsonl", type=Path, required=True)
    score.add_argument("--model", required=True, help=f"a checkpoint folder, or {', '.join(BASELINES)}")
    score.add_argument("--max-length", type=int, help=LENGTH_HELP)
    score.add_argument(
        "--precision",
        default="exact-order",
        choices=("exact-order", "fp32", "bf16"),
        help="default: exact-order",
    )
    score.add_argument("--threads", type=int, help="processor threads (default: torch's choice)")
    score.add_argument("--template", choices=TEMPLATES, help=TEMPLATE_HELP)
    score.add_argument("--token-types", choices=TOKEN_TYPES, help=TOKEN_TYPES_HELP)
    train = command("train", command_train.run, "Train a reward model on labelled pairs.")
    command_train.add_arguments(train)
    evaluate = command("evaluate", command_evaluate.run, "Measure a model on labelled pairs.")
    command_evaluate.add_arguments(evaluate)
    check = command("check", check_folder, "Verify a checkpoint folder and compare it with transformers.")
    check.add_argument("model", metavar="PATH", type=Path)
    check.add_argument("--max-length", type=int, help=LENGTH_HELP)
    check.add_argument("--template", choices=TEMPLATES, help=TEMPLATE_HELP)
    check.add_argument("--token-types", choices=TOKEN_TYPES, help=TOKEN_TYPES_HELP)
    merge = command("merge", merge_adapter, "Merge a low-rank adapter (LoRA) into its base model.")
    merge.add_argument("adapter", metavar="ADAPTER", type=Path)
    merge.add_argument(
        "--base", metavar="FOLDER", type=Path, required=True, help="the model it was trained on"
    )
    merge.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="a new folder")
    return parser


def merge_adapter(options: argparse.Namespace) -> dict[str, Any]:
    """Write the base with the adapter in it as a checkpoint of its own."""
    from scoring.adapter import merge

    merge(options.adapter, options.base, options.output)
    print(f"{options.output}: {options.base.name} with {options.adapter.name} in its weights")
    return {"path": str(options.output)}


def check_folder(options: argparse.Namespace) -> dict[str, Any]:
    """Verify a folder, compare its scores with plain `transformers`, and print its Checkpoint, its template
    and one pair as the model reads it."""
    from scoring.adapter import opened
    from scoring.proof import prove

    template = template_named(options.template, options.token_types)
    with opened(options.model) as folder:
        proven = prove(folder, options.max_length, template=template)
    facts = asdict(proven.checkpoint) | {"path": str(options.model)}
    facts |= {"template": proven.template, "max_length": proven.max_length}
    facts |= {"compared": proven.compared, "together": proven.together}
    for name, value in facts.items():
        print(f"{name:>17}  {value:,}" if isinstance(value, int) else f"{name:>17}  {value}")
    texts = (json.dumps(token.text, ensure_ascii=False)[1:-1] for token in proven.shown)
    print(f"{'one pair':>17}  {'|'.join(texts)}")
    return facts | {"shown": [token._asdict() for token in proven.shown]}


def score_file(options: argparse.Namespace) -> dict[str, Any]:
    """Score a file window by window. The output appears only when every row has a score."""
    scorer = open_scorer(
        options.model,
        max_length=options.max_length,
        precision=options.precision,
        threads=options.threads,
        template=template_named(options.template, options.token_types),
    )
    started = time.monotonic()
    scored_in: Counter[str] = Counter()
    rows = 0
    with options.input.open("rb") as source, _appearing(options.output) as target, _progress() as progress:
        task = progress.add_task("scoring", total=os.fstat(source.fileno()).st_size, rows=0)
        for window in _windows(source):
            target.writelines(_scored_lines(window, scorer, scored_in))
            rows = scored_in.total()
            progress.update(task, completed=source.tell(), rows=rows)
        if not rows:
            raise CommandError(f"{options.input} has no rows; nothing was written")
    seconds = time.monotonic() - started
    precisions = ", ".join(f"{count:,} in {precision}" for precision, count in scored_in.items())
    print(f"{rows:,} rows in {seconds:.1f} s, {rows / seconds:.1f} a second ({precisions}): {options.output}")
    return {
        "rows": rows,
        "seconds": round(seconds, 3),
        "texts_per_second": round(rows / seconds, 2),
        "precision": "exact" if options.model in BASELINES else options.precision,
        "scored_in": scored_in,
    }


class _Row(NamedTuple):
    line: int
    values: dict[str, Any]
    pair: Pair


def _rows(source: BinaryIO) -> Iterator[_Row]:
    for line, values in read_rows(source):
        try:
            yield _Row(line, values, pair_of_row(values))
        except ValueError as error:
            raise BadLine(line, str(error)) from None


def _windows(source: BinaryIO) -> Iterator[list[_Row]]:
    """Windows of 4,096 rows, or up to 8,192 to keep the rows of a prompt together."""
    window: list[_Row] = []
    for row in _rows(source):
        same_prompt = window and window[-1].pair[0] == row.pair[0] and len(window) < 2 * WINDOW
        if len(window) >= WINDOW and not same_prompt:
            yield window
            window = []
        window.append(row)
    if window:
        yield window


def _scored_lines(window: Sequence[_Row], scorer: Scorer, scored_in: Counter[str]) -> Iterator[bytes]:
    try:
        scores = scorer([row.pair for row in window])
    except BadText as error:
        raise BadLine(window[error.index].line, error.reason) from None
    scored_in.update(scored.precision for scored in scores)
    for row, scored in zip(window, scores, strict=True):
        yield line_of_row({**row.values, "score": scored.value})


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, renamed to `path` only when the block ends without an error."""
    if not path.parent.is_dir():
        raise CommandError(f"there is no folder {path.parent}; create it first")
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


def _umask() -> int:
    """The process's umask: mkstemp ignores it, and only the owner can read its files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


if __name__ == "__main__":
    sys.exit(main())
