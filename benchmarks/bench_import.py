"""How fast a file of preference rows is imported.

    make bench-import                              200,000 short rows, three rounds: five minutes
    make bench-import ARGS="--rows 20000"          a quick look: half a minute
    make bench-import ARGS="--grown 1000000"       also into a dataset with a million rows
    make bench-import ARGS="--words 40"            prompts long enough for near-duplicates

The baseline is a plain loop of json.loads and bulk_create: it checks nothing, may store a row twice, and
holds the whole file in memory. Import and loop take turns, because the speed of a shared machine changes.
Memory is the growth of the process during an import. The database is a test database on DATABASE_URL, or
SQLite; it is removed at the end.
"""

import argparse
import json
import os
import random
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.environment import start_django

FOLDER = start_django("import", DEBUG="1")

# isort: split
from django.db import connection, transaction
from rich.console import Console
from rich.table import Table

from workbench.models import (
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    Prompt,
    PromptKey,
    SearchDocument,
    SearchWord,
)
from workbench.models.dataset import answer_digest, group_digest, messages_digest
from workbench.pipeline import imports

WORDS = [
    "the", "a", "of", "to", "and", "in", "is", "it", "you", "that", "he", "was",
    "for", "on", "are", "with", "as", "they", "be", "at", "one", "have", "this", "from",
]  # fmt: skip


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
    """The baseline: parse all rows, then four bulk_create."""
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
    """(seconds, growth of the peak memory in MiB)."""
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run(path, dataset)
    seconds = time.perf_counter() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before) / 1024


def emptied(dataset: Dataset) -> Dataset:
    with connection.cursor() as cursor:
        for model in (SearchDocument, SearchWord, Judgment, Comparison, Completion, Prompt, PromptKey):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grown", type=int, default=0, help="rows in the dataset before a last measurement")
    parser.add_argument(
        "--words", type=int, default=8, help="words of a prompt; from 20 on near-duplicates count"
    )
    options = parser.parse_args()
    connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        measure(options.rows, options.rounds, options.grown, options.words)
    finally:
        connection.creation.destroy_test_db("", verbosity=0)


def measure(rows: int, rounds: int, grown: int, words: int) -> None:
    path = FOLDER / "rows.jsonl"
    write_rows(path, rows, 0, words)
    dataset = Dataset.objects.create(name="Bench")
    # The import is first: the loop's higher peak would hide the import's growth.
    variants = {"import": ours, "plain loop": plain_loop}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            runs[name].append(timed(variant, path, emptied(dataset)))
    if grown:
        emptied(dataset)
        more = FOLDER / "more.jsonl"
        write_rows(more, grown, 1, words)
        ours(more, dataset)
        runs[f"import into {grown:,} rows"] = [timed(ours, path, dataset)]
    show(rows, runs)


def show(rows: int, runs: dict[str, list[tuple[float, float]]]) -> None:
    medians = {name: statistics.median(seconds for seconds, _ in measured) for name, measured in runs.items()}
    loop, base = medians["plain loop"], medians["import"]
    table = Table(title=f"{rows:,} preference rows, {connection.vendor}, load {os.getloadavg()[0]:.1f}")
    for column in ("variant", "rows/s", "ratio to the loop", "ratio to import", "first peak, MiB"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for name, seconds in medians.items():
        ratios = f"{loop / seconds:.2f}", f"{base / seconds:.2f}"
        table.add_row(name, f"{rows / seconds:,.0f}", *ratios, f"{runs[name][0][1]:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
