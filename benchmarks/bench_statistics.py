"""How long the figures of a dataset take, in how much memory, and how good they are on a known truth.

    make bench-statistics                                      20,000 pairs, 60,000 votes: six minutes
    make bench-statistics ARGS="--comparisons 2000 --only made"    a quick look: one minute
    make bench-statistics ARGS="--comparisons 200000"          600,000 votes
    make bench-statistics ARGS="--only real"                   the public set alone
    make bench-statistics ARGS="--only gate"                   the gate on known differences: ten minutes
    make bench-statistics DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours

`made`: on a simulated campaign of thirty people, a model and the rules, the seconds and memory of all
figures, of two aggregations, and of reading the stored report. Each runs in a process of its own. There is no
baseline.

`real`: imports ukpconvarg from ../shared/data (84,445 votes of 3,815 people; see the README there). The table
has how often majority (the baseline) and one-coin Dawid-Skene agree with the published gold labels.

`gate`: twelve simulated campaigns for two models of a known difference. A third of the pairs are random, and
a third are those that the model is unsure of. Half of the votes are beside a suggestion, which people follow
in six of ten cases. The table has the gate's estimate, and the baseline: the estimate from every label.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.environment import ROOT, measure, measure_in_child, start_django

start_django("statistics", DEBUG="1")

# isort: split
from django.core.management import call_command
from django.db import connection

from benchmarks import campaign
from scoring import shares
from workbench.models import Comparison, Dataset, Decision, Statistics
from workbench.pipeline import quality
from workbench.pipeline.decisions import aggregation

UKP = ROOT.parent / "shared" / "data" / "ukpconvarg" / "full_votes.jsonl.gz"
NAME, REAL = "Bench", "ukpconvarg"
MARKDOWN_WORDS = ["alpha", "beta", "gamma", "- delta\n", "**epsilon**", "zeta", "eta", "theta"]


def uniform_lengths(draw: np.random.Generator, pairs: int) -> npt.NDArray[np.int_]:
    return draw.integers(20, 201, (pairs, 2))


def markdown_text(draw: np.random.Generator, words: int) -> str:
    return " ".join(draw.choice(MARKDOWN_WORDS, words))


RECIPE = campaign.Recipe(
    seed=7,
    pairs_per_prompt=4,
    people=30,
    skill=(0.6, 0.95),
    models={"judge": 1.5},
    sources=[f"writer {n}" for n in range(5)],
    topics=[f"topic {n}" for n in range(7)],
    lengths=uniform_lengths,
    text=markdown_text,
)


def compute() -> dict[str, float]:
    run = quality.begin(Dataset.objects.get(name=NAME))
    run.start()
    stored = quality.carry_out(run)
    assert stored is not None
    return {"kB": len(json.dumps(stored.report)) / 1e3}


def aggregate() -> dict[str, float]:
    return {"made": aggregation.derive(Dataset.objects.get(name=NAME)).made}


def read() -> dict[str, float]:
    """p95 of 50 reads of the stored report with the number of later votes, as on a page."""
    times = []
    for _ in range(50):
        start = time.perf_counter()
        stored = Statistics.objects.select_related("dataset").get(dataset__name=NAME)
        assert stored.judgments_since == 0
        times.append(time.perf_counter() - start)
    return {"p95 ms": 1000 * statistics.quantiles(times, n=20)[-1]}


VARIANTS: dict[str, Callable[[], dict[str, float]]] = {
    "all figures": compute,
    "aggregate": aggregate,
    "aggregate again": aggregate,
    "read the report": read,
}


def gold_labels() -> Iterator[tuple[tuple[str, str], str]]:
    """(texts of a1 and a2, "a1", "a2" or "equal") of the pairs that have a gold label."""
    with gzip.open(UKP, "rt") as file:
        for row in map(json.loads, file):
            if row["gold"]:
                yield (row["a1"], row["a2"]), row["gold"]


def real(console: Console) -> None:
    """Decisions by each rule on the public set, against the gold labels."""
    call_command("import_dataset", REAL, str(UKP))
    start = time.perf_counter()
    call_command("statistics", REAL)
    console.print(f"all figures of {REAL}: {time.perf_counter() - start:.1f} s")
    dataset = Dataset.objects.get(name=REAL)
    gold = dict(gold_labels())
    labels: dict[int, str] = {}
    rows = Comparison.objects.filter(dataset=dataset).values_list("pk", "a__text", "b__text")
    for key, a, b in rows:
        forwards, backwards = gold.get((a, b)), gold.get((b, a))
        if forwards or backwards:
            swapped = {"a1": "a2", "a2": "a1"}.get(backwards or "", backwards)
            labels[key] = {"a1": "a", "a2": "b", "equal": "tie"}[forwards or swapped or ""]
    table = Table(
        "rule",
        "seconds",
        "decided",
        "as gold, of all",
        "as gold, of decided",
        "of gold a or b",
        "of gold ties",
    )
    for rule in Dataset.Aggregation.values:
        dataset.aggregation = rule
        dataset.save()
        start = time.perf_counter()
        aggregation.derive(dataset)
        seconds = time.perf_counter() - start
        outcomes = dict(Decision.objects.of(dataset).current().values_list("comparison", "outcome"))
        right = {key: outcomes.get(key) == label for key, label in labels.items()}
        decided = [key for key in labels if key in outcomes]
        table.add_row(
            rule,
            f"{seconds:.1f}",
            f"{len(decided):,} of {len(labels):,}",
            f"{statistics.mean(right.values()):.4f}",
            f"{statistics.mean(right[key] for key in decided):.4f}",
            f"{statistics.mean(right[key] for key, label in labels.items() if label != 'tie'):.4f}",
            f"{statistics.mean(right[key] for key, label in labels.items() if label == 'tie'):.4f}",
        )
    console.print(table)


CAMPAIGNS, PAIRS, VOTES = 12, 4_000, 1_500


def gate(console: Console) -> None:
    from tests.simulated import campaign as simulate

    table = Table(
        "campaign",
        "true difference",
        "pairs that count",
        "the gate",
        "holds",
        "every label",
        "holds ",
        "verdict",
    )
    gate_holds = every_label_holds = 0
    for number in range(1, CAMPAIGNS + 1):
        outcome = simulate(number, pairs=PAIRS, votes=VOTES)
        low, high = outcome.every_interval
        holds = low <= outcome.truth <= high
        gate_holds += bool(outcome.holds)
        every_label_holds += holds
        table.add_row(
            str(number),
            shares.points(outcome.truth),
            f"{outcome.gate.paired.n:,}",
            shares.points_with_interval(outcome.estimate, outcome.gate.paired.accuracy_interval),
            "yes" if outcome.holds else "no",
            shares.points_with_interval(outcome.every_label, outcome.every_interval),
            "yes" if holds else "no",
            outcome.verdict,
        )
    console.print(table)
    console.print(
        f"The gate's interval holds the truth in {gate_holds} of {CAMPAIGNS} campaigns, "
        f"every label's in {every_label_holds}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=20_000)
    parser.add_argument("--only", choices=["made", "real", "gate"])
    parser.add_argument("--child", choices=list(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        Dataset.objects.count()  # connects
        print(json.dumps(measure(VARIANTS[options.child])))
        return
    console = Console()
    call_command("migrate", verbosity=0)
    if options.only == "gate":
        gate(console)
        return
    if options.only != "real":
        start = time.perf_counter()
        campaign.make_simulated(options.comparisons, RECIPE, name=NAME, aggregation="skill")
        size = f"{options.comparisons:,} Comparisons, {3 * options.comparisons:,} Judgments"
        console.print(f"{size} on {connection.vendor}, made in {time.perf_counter() - start:.0f} s")
        table = Table("work", "seconds", "memory above idle", "")
        for name in VARIANTS:
            measured = measure_in_child(__file__, name)
            result = ", ".join(f"{label} {value:,.0f}" for label, value in measured["result"].items())
            table.add_row(name, f"{measured['seconds']:.1f}", f"{measured['memory']:.0f} MB", result)
        console.print(table)
    if options.only != "made":
        real(console)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
