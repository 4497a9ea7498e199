"""How long the figures of a dataset take, in how much memory, and how good they are on a known truth.

    make bench-statistics                                      20,000 pairs, 60,000 votes: six minutes
    make bench-statistics ARGS="--comparisons 2000 --only made"    a quick look: one minute
    make bench-statistics ARGS="--comparisons 200000"          600,000 votes
    make bench-statistics ARGS="--only real"                   the public set alone
    make bench-statistics ARGS="--only gate"                   the gate on known differences: ten minutes
    make bench-statistics ARGS="--only peeking"                the gate looked at again and again: a minute
    make bench-statistics ARGS="--only pausing"                who is paused, in 1,000 campaigns: seconds
    make bench-statistics DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours

`made`: on a simulated campaign of thirty people, a model and the rules, the seconds and memory of all
figures, of two aggregations, and of reading the stored report. Each runs in a process of its own. There is no
baseline.

`real`: imports ukpconvarg from ../shared/data (84,445 votes of 3,815 people; see the README there). The table
has how often majority (the baseline) and one-coin Dawid-Skene agree with the published gold labels.

`gate`: twelve simulated campaigns for two models of a known difference. A third of the pairs are random, and
a third are those that the model is unsure of. Half of the votes are beside a suggestion, which people follow
in six of ten cases. The table has the gate's estimate, and the baseline: the estimate from every label.

`peeking`: the gate's decision on simulated pairs, looked at every 100 pairs from 300 to 2,000. How often does
it promote an equal model, at any look; how often any of ten equal models, each on pairs of its own or all on
the same ones; how often a model that is 3 or 5 points better; how often is an equal model shown to be no
worse? The baseline is a 95 % interval for one look. Groups are single pairs, or thirty prompts of many pairs
that share an effect and grow together.

`pausing`: 1,000 people of each kind answer 2,000 gold pairs, or 2,000 gold pairs and 2,000 repeats. The table
has how many are ever paused, and after how many gold pairs. The baseline is a bare rule: from the 20th gold
pair on, whoever has less than 62.5 % right is paused.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

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
from scoring import anytime, shares
from scoring.anytime import GroupTotals
from workbench.models import Comparison, Dataset, Decision, Statistics
from workbench.pipeline import quality
from workbench.pipeline.decisions import aggregation
from workbench.pipeline.people import pausing
from workbench.pipeline.people.pausing import Evidence

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


RUNS, LOOKS = 2_000, range(300, 2_001, 100)
TEN = 10
DISAGREE = (0.05, 0.1, 0.2, 0.4)
"""Share of pairs that one of the two models alone has right."""
PROMPTS, EFFECT = 30, 0.05
"""Few prompts with many pairs each: the difference of the models varies by prompt, with this deviation."""


@dataclass(frozen=True)
class Looks:
    """At each look, (runs, looks): the evidence that the new model is better, that it is no worse, and
    whether a 95 % interval for one look is above 0."""

    better: npt.NDArray[np.float64]
    no_worse: npt.NDArray[np.float64]
    one_look: npt.NDArray[np.bool_]

    def promoted(self, candidate: int = 1) -> npt.NDArray[np.bool_]:
        return self.better > -np.log(anytime.level_of(candidate))


def peeking(console: Console) -> None:
    draw = np.random.default_rng(17)
    table = Table(
        "the two disagree on",
        "difference",
        "promoted at any look",
        "at 1,000 pairs",
        "at 2,000 pairs",
        "no worse at 300, 1,000, 2,000",
        "one-look interval, any look",
        title=f"One candidate, looked at every 100 pairs from 300 to 2,000; {RUNS:,} runs",
    )
    cases = [(disagree, 0) for disagree in DISAGREE] + [(0.2, PROMPTS)]
    for disagree, prompts in cases:
        for difference in (0.0, 0.03, 0.05):
            seen = looks(draw, disagree, difference, prompts=prompts)
            promoted, no_worse = seen.promoted(), seen.no_worse > -np.log(anytime.LEVEL)
            table.add_row(
                f"{disagree:.0%}, {f'{prompts} prompts that grow' if prompts else 'one pair a prompt'}",
                shares.points(difference),
                _share(promoted.any(1)),
                _share(promoted[:, LOOKS.index(1_000)]),
                _share(promoted[:, -1]),
                ", ".join(_share(no_worse[:, LOOKS.index(n)]) for n in (300, 1_000, 2_000)),
                _share(seen.one_look.any(1)),
            )
    console.print(table)
    table = Table(
        "ten equal candidates disagree with the old model on",
        "any promoted",
        "without the correction",
        "by a one-look interval",
        title=f"Ten candidates one after the other, each looked at as above; {RUNS:,} runs",
    )
    for disagree in DISAGREE:
        for words, same in (("on pairs of their own", False), ("all on the same pairs", True)):
            old = draw.random((RUNS, LOOKS[-1])) if same else None
            ten = [looks(draw, disagree, 0.0, old=old) for _ in range(TEN)]
            # As models registered one after the other: the nth has number 2n - 1.
            by_gate = np.any([seen.promoted(2 * n + 1).any(1) for n, seen in enumerate(ten)], axis=0)
            uncorrected = np.any([seen.promoted().any(1) for seen in ten], axis=0)
            one_look = np.any([seen.one_look.any(1) for seen in ten], axis=0)
            table.add_row(f"{disagree:.0%}, {words}", _share(by_gate), _share(uncorrected), _share(one_look))
    console.print(table)


def looks(
    draw: np.random.Generator,
    disagree: float,
    difference: float,
    prompts: int = 0,
    old: npt.NDArray[np.float64] | None = None,
) -> Looks:
    """Simulate RUNS comparisons. `prompts`: of so many prompts, whose pairs come in turn; 0 = one pair each.
    `old` (RUNS, pairs), uniform: what the old model has right, shared by several candidates."""
    shape = (RUNS, LOOKS[-1])
    shift = np.full(shape, difference)
    if prompts:
        shift += EFFECT * draw.standard_normal((RUNS, prompts))[:, np.arange(LOOKS[-1]) % prompts]
    if old is None:
        up = draw.random(shape)
        gain = np.where(up < (disagree + shift) / 2, 1.0, np.where(up < disagree, -1.0, 0.0))
    else:
        # The old one is right on a half; where the two disagree, the new one is right on the other half.
        gain = np.where(draw.random(shape) < disagree, np.where(old < 0.5, -1.0, 1.0), 0.0)
    groups = np.arange(LOOKS[-1]) % (prompts or LOOKS[-1])
    totals = [[GroupTotals.of(row[:n], groups[:n]) for n in LOOKS] for row in gain]
    return Looks(
        np.array([[anytime.evidence(t, 0.0) for t in row] for row in totals]),
        np.array([[anytime.evidence(t, -anytime.MARGIN) for t in row] for row in totals]),
        np.array([[t.gain > 1.96 * np.sqrt(t.gain_squared) for t in row] for row in totals]),
    )


def _share(hits: npt.NDArray[np.bool_]) -> str:
    return f"{100 * hits.mean():.1f} %"


PEOPLE, ANSWERS, AT_LEAST = 1_000, 2_000, 20


def pause(console: Console) -> None:
    table = Table(
        "right in", "answers", "ever paused", "after gold pairs", "by a bare share", "after gold pairs "
    )
    draw = np.random.default_rng(11)
    good, bad, alpha = (Dataset._meta.get_field(f"pause_{name}").default for name in ("good", "bad", "alpha"))
    steps = {name: pausing.log_ratio(Evidence(**{name: 1}), good, bad) for name in asdict(Evidence())}
    for skill in (0.5, 0.6, 0.7, 0.75, 0.8, 0.9):
        right = draw.random((PEOPLE, ANSWERS)) < skill
        same = draw.random((PEOPLE, ANSWERS)) < skill**2 + (1 - skill) ** 2
        gold = np.where(right, steps["right"], steps["wrong"])
        repeats = np.where(same, steps["same"], steps["other"])
        share = np.cumsum(right, axis=1) / np.arange(1, ANSWERS + 1)
        bare = (share < (good + bad) / 2) & (np.arange(ANSWERS) >= AT_LEAST - 1)
        for words, gain in (("gold", gold), ("gold and repeats", gold + repeats)):
            table.add_row(
                shares.in_words(skill),
                words,
                *_ever(np.cumsum(gain, axis=1) >= pausing.boundary(alpha)),
                *_ever(bare),
            )
    console.print(table)


def _ever(paused: npt.NDArray[np.bool_]) -> tuple[str, str]:
    """(share of people that are ever paused, mean number of gold pairs until then)."""
    ever = paused.any(axis=1)
    after = f"{1 + paused.argmax(axis=1)[ever].mean():.1f}" if ever.any() else "-"
    return f"{100 * ever.mean():.1f} %", after


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=20_000)
    parser.add_argument("--only", choices=["made", "real", "gate", "peeking", "pausing"])
    parser.add_argument("--child", choices=list(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        Dataset.objects.count()  # connects
        print(json.dumps(measure(VARIANTS[options.child])))
        return
    console = Console()
    call_command("migrate", verbosity=0)
    simulated = {"gate": gate, "peeking": peeking, "pausing": pause}
    if options.only in simulated:
        simulated[options.only](console)
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
    if not options.only:
        peeking(console)
        pause(console)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
