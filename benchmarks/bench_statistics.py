"""How long the figures of a Dataset take, in how much memory, and what Dawid-Skene makes of real votes.

    python benchmarks/bench_statistics.py                       20,000 Comparisons, 60,000 Judgments
    python benchmarks/bench_statistics.py --comparisons 200000  600,000 Judgments
    python benchmarks/bench_statistics.py --only real           the public set alone
    python benchmarks/bench_statistics.py --only gate           what the gate sees of a known difference
    DATABASE_URL=postgresql://... python benchmarks/bench_statistics.py    an empty database of that server

Makes a Dataset in a scratch folder (or in the empty database that is named) with three Judgments a Comparison
by thirty people, a model and the rules, and, each in a process of its own: computes all figures; aggregates,
twice; and reads the stored report as a page does. Then imports ukpconvarg from ../shared/data (84,445 votes
of 3,815 people; see the README there), and prints its agreement and how often the majority and one-coin
Dawid-Skene say what the published gold label says.

--only gate: twelve campaigns by the product's own queue (a third at random, a third what the model is unsure
of; half of the votes beside its suggestion, which people follow in six of ten cases), for two models whose
true difference is known. Prints what the gate makes of it, and what it would make of every label.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import statistics as stdlib_statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
UKP = ROOT.parent / "shared" / "data" / "ukpconvarg" / "full_votes.jsonl.gz"
NAME, REAL = "Bench", "ukpconvarg"
CHUNK = 2_000
PEOPLE = 30


def fill(comparisons: int) -> None:
    """Four Comparisons a Prompt; people are right with a chance of their own, and the model more often where
    it is surer."""
    from workbench.models import (
        Annotator,
        Comparison,
        Completion,
        Dataset,
        Judgment,
        ModelVersion,
        Prompt,
        Suggestion,
        User,
    )
    from workbench.models.dataset import answer_digest, group_digest, messages_digest

    random.seed(7)
    dataset = Dataset.objects.create(name=NAME, overlap=3, aggregation="skill")
    users = User.objects.bulk_create(User(username=f"bench{n}") for n in range(PEOPLE))
    people = Annotator.objects.bulk_create(Annotator(user=user) for user in users)
    skill = [0.6 + 0.35 * n / PEOPLE for n in range(PEOPLE)]
    model = ModelVersion.objects.create(
        name="judge", kind="transformer", weights_sha256="0" * 64, state="active", temperature=1.5
    )
    rules = {name: ModelVersion.objects.get(name=name) for name in ("longest", "random")}
    words = ["alpha", "beta", "gamma", "- delta\n", "**epsilon**", "zeta", "eta", "theta"]
    for first in range(0, comparisons, CHUNK):
        size = min(CHUNK, comparisons - first)
        asked = [[{"role": "user", "content": f"Question {first + n}?"}] for n in range(0, size, 4)]
        prompts = Prompt.objects.bulk_create(
            Prompt(
                dataset=dataset,
                messages=it,
                sha256=messages_digest(it),
                group=group_digest(it),
                metadata={"topic": f"topic {n % 7}"},
            )
            for n, it in enumerate(asked)
        )
        texts = [
            f"{first + n} {side} " + " ".join(random.choices(words, k=random.randint(20, 200)))
            for n in range(size)
            for side in "ab"
        ]
        completions = Completion.objects.bulk_create(
            Completion(prompt=prompts[n // 8], text=it, sha256=answer_digest(it), source=f"writer {n % 5}")
            for n, it in enumerate(texts)
        )
        made = Comparison.objects.bulk_create(
            Comparison(
                dataset=dataset, prompt=prompts[n // 4], a=completions[2 * n], b=completions[2 * n + 1]
            )
            for n in range(size)
        )
        suggestions, judgments = [], []
        for it in made:
            truth, sure = random.choice("ab"), abs(random.gauss(0, 2))
            margin = sure if (truth == "a") == (random.random() < 1 / (1 + 2.718 ** (-sure / 1.5))) else -sure
            values = {
                model: margin,
                rules["longest"]: float(len(it.a.text) - len(it.b.text)),
                rules["random"]: random.random() - 0.5,
            }
            suggestions += [
                Suggestion(comparison=it, version=version, margin=value) for version, value in values.items()
            ]
            for who in random.sample(range(PEOPLE), 3):
                other = {"a": "b", "b": "a"}[truth]
                said = truth if random.random() < skill[who] else random.choice([other, other, "tie"])
                judgments.append(
                    Judgment(
                        comparison=it,
                        annotator=people[who],
                        outcome=said,
                        stage="first",
                        mode="blind",
                        left=random.choice("ab"),
                        seconds=random.lognormvariate(3, 0.5),
                    )
                )
        Suggestion.objects.bulk_create(suggestions)
        Judgment.objects.bulk_create(judgments)


def compute() -> dict[str, Any]:
    from workbench.models import Dataset
    from workbench.pipeline import quality

    run = quality.begin(Dataset.objects.get(name=NAME))
    run.start()
    stored = quality.carry_out(run)
    assert stored is not None
    return {"kB": len(json.dumps(stored.report)) / 1e3}


def aggregate() -> dict[str, Any]:
    from workbench.models import Dataset
    from workbench.pipeline.decisions import aggregation

    settled = aggregation.derive(Dataset.objects.get(name=NAME))
    return {"made": settled.made}


def read() -> dict[str, Any]:
    """What a page does: the stored report, and how many votes came since; p95 of 50."""
    from workbench.models import Statistics

    times = []
    for _ in range(50):
        start = time.perf_counter()
        stored = Statistics.objects.select_related("dataset").get(dataset__name=NAME)
        assert stored.judgments_since == 0
        times.append(time.perf_counter() - start)
    return {"p95 ms": 1000 * stdlib_statistics.quantiles(times, n=20)[-1]}


VARIANTS: dict[str, Callable[[], dict[str, Any]]] = {
    "all figures": compute,
    "aggregate": aggregate,
    "aggregate again": aggregate,
    "read the report": read,
}


def resident() -> float:
    """Memory of this process now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def child(variant: str) -> dict[str, Any]:
    """One measured run in this process."""
    from workbench.models import Dataset
    from workbench.pipeline import quality  # noqa: F401 - imported before the clock starts
    from workbench.pipeline.decisions import aggregation  # noqa: F401 - imported before the clock starts

    Dataset.objects.count()
    idle, start = resident(), time.perf_counter()
    told = VARIANTS[variant]()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": seconds, "memory": peak - idle, "told": told}


def measured(variant: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", variant], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def gold_labels() -> Iterator[tuple[tuple[str, str], str]]:
    """(texts of a1 and a2, "a1", "a2" or "equal") of the pairs that have a gold label."""
    with gzip.open(UKP, "rt") as file:
        for row in map(json.loads, file):
            if row["gold"]:
                yield (row["a1"], row["a2"]), row["gold"]


def real(console: Console) -> None:
    """Agreement on the public set, and decisions by majority and by skill against its gold labels."""
    from django.core.management import call_command

    from workbench.models import Comparison, Dataset, Decision
    from workbench.pipeline.decisions import aggregation

    call_command("import_dataset", REAL, str(UKP))
    start = time.perf_counter()
    call_command("statistics", REAL)
    console.print(f"all figures of {REAL}: {time.perf_counter() - start:.1f} s")
    dataset = Dataset.objects.get(name=REAL)
    gold = dict(gold_labels())
    texts: dict[int, str] = {}
    rows = Comparison.objects.filter(dataset=dataset).values_list("pk", "a__text", "b__text")
    for key, a, b in rows:
        forwards, backwards = gold.get((a, b)), gold.get((b, a))
        if forwards or backwards:
            swapped = {"a1": "a2", "a2": "a1"}.get(backwards or "", backwards)
            texts[key] = {"a1": "a", "a2": "b", "equal": "tie"}[forwards or swapped or ""]
    shown = Table(
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
        said = dict(Decision.objects.of(dataset).current().values_list("comparison", "outcome"))
        right = {key: said.get(key) == label for key, label in texts.items()}
        of = {key: texts[key] == "tie" for key in texts}
        decided = [key for key in texts if key in said]
        shown.add_row(
            rule,
            f"{seconds:.1f}",
            f"{len(decided):,} of {len(texts):,}",
            f"{sum(right.values()) / len(texts):.4f}",
            f"{sum(right[key] for key in decided) / len(decided):.4f}",
            f"{stdlib_statistics.mean(right[key] for key in texts if not of[key]):.4f}",
            f"{stdlib_statistics.mean(right[key] for key in texts if of[key]):.4f}",
        )
    console.print(shown)


CAMPAIGNS, PAIRS, VOTES = 12, 4_000, 1_500


def gate(console: Console) -> None:
    from tests.simulated import Outcome, campaign

    shown = Table(
        "campaign",
        "true difference",
        "pairs that count",
        "the gate",
        "holds",
        "every label",
        "holds ",
        "verdict",
    )
    held: list[bool] = []
    naive: list[bool] = []

    def points(value: float | None) -> str:
        return "-" if value is None else f"{value * 100:+.1f}"

    def span(found: tuple[float, float] | None) -> str:
        return "" if found is None else f" ({points(found[0])} to {points(found[1])})"

    def row(number: int, found: Outcome) -> None:
        low, high = found.every_interval
        held.append(bool(found.holds))
        naive.append(low <= found.truth <= high)
        shown.add_row(
            str(number),
            points(found.truth),
            f"{found.gate.paired.n:,}",
            points(found.estimate) + span(found.gate.paired.accuracy_interval),
            "yes" if held[-1] else "no",
            points(found.every_label) + span(found.every_interval),
            "yes" if naive[-1] else "no",
            found.verdict,
        )

    for number in range(1, CAMPAIGNS + 1):
        row(number, campaign(number, pairs=PAIRS, votes=VOTES))
    console.print(shown)
    console.print(
        f"The gate's interval holds the truth in {sum(held)} of {CAMPAIGNS}, every label's in {sum(naive)}."
    )


def setup(data: str) -> None:
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")
    os.environ |= {"DEBUG": "1", "WORKBENCH_DATA": data}
    import django
    from django.conf import settings

    django.setup()
    settings.DEBUG = False  # or every query would be kept in memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=20_000)
    parser.add_argument("--only", choices=["made", "real", "gate"])
    parser.add_argument("--child", choices=list(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        setup(os.environ["WORKBENCH_DATA"])
        print(json.dumps(child(options.child)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-statistics-") as data:
        setup(data)
        run(options, Console())


def run(options: argparse.Namespace, console: Console) -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    if options.only == "gate":
        gate(console)
        return
    if options.only != "real":
        start = time.perf_counter()
        fill(options.comparisons)
        size = f"{options.comparisons:,} Comparisons, {3 * options.comparisons:,} Judgments"
        console.print(f"{size} on {connection.vendor}, made in {time.perf_counter() - start:.0f} s")
        shown = Table("what", "seconds", "memory above idle", "")
        for name in VARIANTS:
            found = measured(name)
            told = ", ".join(f"{label} {value:,.0f}" for label, value in found["told"].items())
            shown.add_row(name, f"{found['seconds']:.1f}", f"{found['memory']:.0f} MB", told)
        console.print(shown)
    if options.only != "made":
        real(console)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
