"""Whether many annotators at once get each pair judged by exactly the overlap, and how long they wait.

    make load                                       SQLite: 50 clients, 2,000 pairs, overlap 2: ten minutes
    make load DATABASE_URL=postgresql://...         an empty PostgreSQL database of yours
    make load ARGS="--clients 10 --pairs 100"       a quick look: one minute
    make load ARGS="--only plain"                   two rounds, to compare with another commit in turns

There are four rounds, on a dataset each. In the first, clients make no pause: this is the harder test of lost
and doubled votes. In the second, clients pause for 300 ms, in which the page takes no answer, and --pause
seconds on average; people who read are much slower. The other two are the same with languages and skills:
nearly all pairs require one or both, one in a hundred a language that only two clients read, and every Claim
is held against what its person reads and knows. One submit in five is sent twice. There is no baseline: the
exit status is 1 if a vote was lost or doubled, a pair went to the wrong person, or a request failed.
"""

import argparse
import functools
import random
import sys
import time
from collections import Counter
from itertools import product

# Before the models are imported: bench_annotate sets Django up.
from benchmarks.bench_annotate import Client, all_at_once, logged_in, percentiles

# isort: split
from django.core.management import call_command
from django.db import connection

from benchmarks.campaign import assign, make_uniform
from benchmarks.web import web
from workbench.models import Claim, Dataset, Judgment

ROUNDS = ("plain", "assigned")
LOOK = 0.3  # seconds in which the page takes no answer, as in onscreen.js


def work(client: Client, pause: float) -> None:
    """Answer until no pair comes for two seconds: other clients may still give pairs back."""
    idle = 0
    # People neither begin at the same moment nor pause for the same time.
    time.sleep(random.uniform(0, pause))
    while idle < 10:
        if client.judge_one(send_twice=random.random() < 0.2):
            idle = 0
            time.sleep(LOOK + random.expovariate(1 / pause) if pause else 0)
        else:
            idle += 1
            time.sleep(0.2)


def described(pause: float, is_assigned: bool) -> str:
    assigned = "with languages and skills, " if is_assigned else ""
    if not pause:
        return f"{assigned}without a pause (no person: the page takes no answer in its first 300 ms)"
    return f"{assigned}with 300 ms to look and pauses of {pause:g} s"


def give_to_wrong_people(dataset: Dataset) -> int:
    """How many Claims somebody has who lacks what the pair requires."""
    knows = {member.user_id: (set(member.languages), set(member.skills)) for member in dataset.members.all()}
    claims = Claim.objects.filter(comparison__dataset=dataset)
    rows = claims.values_list("annotator__user", "comparison__prompt__metadata")
    return sum(
        not (knows[user][0].issuperset(metadata["reads"]) and knows[user][1].issuperset(metadata["knows"]))
        for user, metadata in rows
    )


def wrong_in(dataset: Dataset, overlap: int) -> list[str]:
    """Deviations from `overlap` different people a pair, one vote each."""
    votes = list(Judgment.objects.of(dataset).order_by().values_list("comparison", "annotator"))
    people = Counter(comparison for comparison, _ in set(votes))
    keys = dataset.comparisons.values_list("pk", flat=True)
    problems = {
        "Comparisons with too few people": sum(people[key] < overlap for key in keys),
        "Comparisons with too many people": sum(people[key] > overlap for key in keys),
        "Judgments doubled": len(votes) - len(set(votes)),
    }
    return [f"{count} {problem}" for problem, count in problems.items() if count]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds, on average, in the second turn")
    parser.add_argument("--only", choices=ROUNDS, help="rounds without or with languages and skills")
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    problems = []
    with web() as served:
        rounds = [name == ROUNDS[1] for name in ROUNDS if options.only in (None, name)]
        for is_assigned, pause in product(rounds, (0.0, options.pause)):
            dataset = make_uniform(options.pairs, overlap=options.overlap)
            clients = [Client(served.port, dataset, *logged_in(dataset)) for _ in range(options.clients)]
            if is_assigned:
                assign(dataset, [client.user for client in clients], options.overlap)
            seconds = all_at_once(clients, functools.partial(work, pause=pause))
            claim = percentiles([ms for client in clients for ms in client.next_ms])
            submit = percentiles([ms for client in clients for ms in client.submit_ms])
            end = percentiles([ms for client in clients for ms in client.end_ms])
            judged = sum(len(client.handed) for client in clients)
            failures = [failure for client in clients for failure in client.failures]
            wrong = wrong_in(dataset, options.overlap)
            print(
                f"{connection.vendor}: {options.clients} clients {described(pause, is_assigned)} "
                f"judged {judged:,} in {seconds:.0f} s\n"
                f"claim p50 {claim[0]:.0f} ms, p95 {claim[1]:.0f} ms; submit p50 {submit[0]:.0f} ms, "
                f"p95 {submit[1]:.0f} ms; end page p95 {end[1]:.0f} ms; web {served.largest_mb():.0f} MB; "
                f"{len(failures)} failures"
            )
            if not wrong:
                print(f"every Comparison was judged by exactly {options.overlap} people")
            if is_assigned:
                to_wrong_people = give_to_wrong_people(dataset)
                print(f"hand-outs to the wrong person: {to_wrong_people}")
                wrong += ["Claims of the wrong person"] * bool(to_wrong_people)
            problems += [*wrong, *failures[:5]]
    print("\n".join(problems), end="")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
