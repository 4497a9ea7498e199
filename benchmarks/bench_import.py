"""How fast a file of preference rows is imported, beside a plain loop of json.loads and bulk_create.

    python benchmarks/bench_import.py                   200,000 short rows, three rounds
    python benchmarks/bench_import.py --rows 20000      a shorter look
    python benchmarks/bench_import.py --grown 1000000   also into a Dataset that has a million rows
    python benchmarks/bench_import.py --words 40        prompts long enough to have near-duplicates

Runs in a scratch database of its own (a test database on DATABASE_URL, or SQLite), which it removes. The
loop checks nothing, keeps nothing from coming twice and holds the whole file in memory; variants take turns,
since a shared machine is never equally fast twice. Memory is what the process grew by while importing.
"""

import argparse
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = tempfile.TemporaryDirectory(prefix="bench-import-")
os.environ.setdefault("WORKBENCH_DATA", FOLDER.name)
os.environ.setdefault("DEBUG", "1")
os.environ["DJANGO_SETTINGS_MODULE"] = "workbench.settings"

import django

django.setup()

from django.conf import settings
from django.db import connection, transaction
from rich.console import Console
from rich.table import Table

from workbench.models import Annotator, Comparison, Completion, Dataset, Judgment, Prompt, PromptKey
from workbench.models.dataset import answer_digest, group_digest, messages_digest
from workbench.pipeline import imports

WORDS = [
    "the",
    "a",
    "of",
    "to",
    "and",
    "in",
    "is",
    "it",
    "you",
    "that",
    "he",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "they",
    "be",
    "at",
    "one",
    "have",
    "this",
    "from",
]


def write_rows(path: Path, rows: int, seed: int, words: int = 8) -> None:
    """Short rows, each with a prompt of its own."""
    draw = random.Random(seed)
    with path.open("w") as file:
        for n in range(rows):
            prompt, chosen, rejected = (" ".join(draw.choices(WORDS, k=k)) for k in (words, 14, 12))
            row = {
                "id": f"{seed}-{n}",
                "prompt": f"{prompt} {seed}-{n}?",
                "chosen": chosen,
                "rejected": rejected,
            }
            file.write(json.dumps(row) + "\n")


def ours(path: Path, dataset: Dataset) -> None:
    assert imports.import_file(path, dataset).accepted


@transaction.atomic
def plain_loop(path: Path, dataset: Dataset) -> None:
    """What one writes first: parse all, four bulk_create."""
    label_source, _ = Annotator.objects.get_or_create(source="loop")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    prompts = []
    for row in rows:
        messages = [{"role": "user", "content": row["prompt"]}]
        digests = {"sha256": messages_digest(messages), "group": group_digest(messages)}
        prompts.append(Prompt(dataset=dataset, messages=messages, **digests))
    Prompt.objects.bulk_create(prompts, batch_size=1000)
    pairs = [
        [
            Completion(prompt=prompt, text=text, sha256=answer_digest(text))
            for text in (row["chosen"], row["rejected"])
        ]
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    Completion.objects.bulk_create([completion for pair in pairs for completion in pair], batch_size=1000)
    comparisons = [Comparison(dataset=dataset, prompt=a.prompt, a=a, b=b) for a, b in pairs]
    Comparison.objects.bulk_create(comparisons, batch_size=1000)
    Judgment.objects.bulk_create(
        [Judgment(comparison=c, annotator=label_source, outcome="a", stage="imported") for c in comparisons],
        batch_size=1000,
    )


def timed(run: Callable[[Path, Dataset], None], path: Path, dataset: Dataset) -> tuple[float, float]:
    """(seconds, MiB that the peak memory grew by)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run(path, dataset)
    seconds = time.perf_counter() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def emptied(dataset: Dataset) -> Dataset:
    with connection.cursor() as cursor:
        for model in (Judgment, Comparison, Completion, Prompt, PromptKey):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grown", type=int, default=0, help="rows to put there before a last measurement")
    parser.add_argument(
        "--words", type=int, default=8, help="words of a prompt; from 20 on near-duplicates count"
    )
    given = parser.parse_args()
    settings.DEBUG = False  # or every query would be kept in memory
    connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        measure(given.rows, given.rounds, given.grown, given.words)
    finally:
        connection.creation.destroy_test_db("", verbosity=0)


def measure(rows: int, rounds: int, grown: int, words: int) -> None:
    path = Path(FOLDER.name) / "rows.jsonl"
    write_rows(path, rows, 0, words)
    dataset = Dataset.objects.create(name="Bench")
    # Ours first: the peak that the loop leaves behind would hide what ours takes.
    variants = {"import": ours, "plain loop": plain_loop}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            found[name].append(timed(run, path, emptied(dataset)))
    if grown:
        emptied(dataset)
        more = Path(FOLDER.name) / "more.jsonl"
        write_rows(more, grown, 1, words)
        ours(more, dataset)
        found[f"import into {grown:,} rows"] = [timed(ours, path, dataset)]
    show(rows, found)


def show(rows: int, found: dict[str, list[tuple[float, float]]]) -> None:
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in found.items()}
    loop, base = medians["plain loop"], medians["import"]
    table = Table(title=f"{rows:,} preference rows, {connection.vendor}, load {os.getloadavg()[0]:.1f}")
    for column in ("variant", "rows/s", "ratio to the loop", "ratio to import", "first peak, MiB"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, seconds in medians.items():
        ratios = f"{loop / seconds:.2f}", f"{base / seconds:.2f}"
        table.add_row(name, f"{rows / seconds:,.0f}", *ratios, f"{found[name][0][1]:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
