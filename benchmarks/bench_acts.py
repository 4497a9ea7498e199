"""How long acts on many prompts take, and their undo.

    make bench-acts                                    SQLite, 10,000 prompts with three pairs each: a minute
    make bench-acts DATABASE_URL=postgresql://...      an empty PostgreSQL database of yours
    make bench-acts ARGS="--prompts 1000"              a quick look

Each act is done to all prompts and undone, in the order of the table. The aim is 5 seconds for 10,000."""

import argparse
import random
import time
from itertools import pairwise

from benchmarks.environment import start_django

start_django("acts")

from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rich.console import Console
from rich.table import Table

from benchmarks import campaign
from workbench.db import bulk
from workbench.models import Comparison, Completion, Dataset, ModelVersion, Prompt, Score, User
from workbench.models.dataset import answer_digest
from workbench.pipeline.data import acts, changes, copying, pairing, rescoring
from workbench.pipeline.data.change import Change
from workbench.pipeline.decisions import majority
from workbench.pipeline.scoring import suggestions

AIM = 5.0
VOTED = (
    changes.GiveTag("hard"),
    changes.SendToReview("Look at these"),
    changes.MarkGold("They agree"),
    changes.SetOverlap(4),
    changes.PutFirst(),
    changes.Exclude("both", "Too old"),
)
"""Done to prompts with three votes a pair."""
AFTER = (
    (changes.GiveTag("old"), changes.TakeTag("old")),
    (changes.Exclude("both", "Too old"), changes.Restore()),
)
"""What takes an earlier act back, with that act, which is not timed."""
OPEN = (
    rescoring.Rescore(),
    pairing.PairAnew("lot", 1),
    pairing.PairAnew("best-worst", 1),
    copying.Copy(to_name=f"Copy {time.time_ns()}"),
)
"""Done to prompts without votes, with Scores and Suggestions of a model and of three rules."""


def scored_and_open(prompts: int) -> Dataset:
    """Prompts with three scored answers and all three pairs of them, which nobody has begun."""
    dataset = Dataset.objects.create(name=f"Open {time.time_ns()}")
    questions = [f"Which of these would you cook first, and why, number {n}?" for n in range(prompts)]
    answers = [(f"I would cook {n} " + "word " * 60, f"Rather {n} " + "word " * 50) for n in range(prompts)]
    pairs = campaign.add_pairs(dataset, questions, answers)
    thirds = Completion.objects.bulk_create(
        [
            Completion(prompt_id=pair.prompt_id, text=f"Neither {n}.", sha256=answer_digest(f"Neither {n}."))
            for n, pair in enumerate(pairs)
        ],
        batch_size=campaign.CHUNK,
    )
    Comparison.objects.bulk_create(
        (
            Comparison(dataset=dataset, prompt_id=pair.prompt_id, a_id=side, b=third)
            for pair, third in zip(pairs, thirds, strict=True)
            for side in (pair.a_id, pair.b_id)
        ),
        batch_size=campaign.CHUNK,
    )
    completions = list(Completion.objects.of(dataset).values_list("pk", flat=True))
    for version in ModelVersion.objects.scoring_all():
        draw = random.Random(version.pk)
        for chunk in bulk.in_chunks(completions, campaign.CHUNK):
            Score.objects.bulk_create(
                Score(completion_id=pk, version=version, value=draw.gauss(0, 1), precision="fp32")
                for pk in chunk
            )
        suggestions.suggest_all(dataset, version)
    return dataset


def measured(dataset: Dataset, change: Change, by: User, prompts: int) -> list[str]:
    """A row of the table: the act on all prompts, and its undo."""
    pks = list(Prompt.objects.of(dataset).values_list("pk", flat=True))
    moments = [time.perf_counter()]
    acts.preview(dataset, change, pks, by=by)
    moments.append(time.perf_counter())
    cpu = time.process_time()
    with CaptureQueriesContext(connection) as captured:
        act = acts.do(dataset, change, pks, by=by)
    moments.append(time.perf_counter())
    cpu = time.process_time() - cpu
    acts.undo(act, by)
    moments.append(time.perf_counter())
    looked, done, undone = (after - before for before, after in pairwise(moments))
    return [
        acts.sentence(act).partition(":")[0].partition(" to Copy")[0], f"{act.pair_count:,}",
        f"{looked:.2f}", f"{done:.2f}", f"{cpu:.2f}",
        f"{done / AIM * 10_000 / prompts:.2f}", f"{undone:.2f}", str(len(captured)),
    ]  # fmt: skip


def as_a_minute_later() -> None:
    """PostgreSQL looks at its tables, as autovacuum does within a minute after they were filled."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompts", type=int, default=10_000)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    by = User.objects.get_or_create(username="alice")[0]
    voted = campaign.make_simulated(options.prompts * 3, campaign.Recipe(pairs_per_prompt=3))
    majority.derive(voted)
    as_a_minute_later()
    title = f"{options.prompts:,} prompts, {connection.vendor}"
    table = Table(title, "pairs", "preview s", "act s", "of it CPU s", "of the aim", "undo s", "statements")
    for change in VOTED:
        table.add_row(*measured(voted, change, by, options.prompts))
    pks = list(Prompt.objects.of(voted).values_list("pk", flat=True))
    for before, change in AFTER:
        done = acts.do(voted, before, pks, by=by)
        table.add_row(*measured(voted, change, by, options.prompts))
        acts.undo(done, by)
    dataset = scored_and_open(options.prompts)
    as_a_minute_later()
    for change in OPEN:
        table.add_row(*measured(dataset, change, by, options.prompts))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
