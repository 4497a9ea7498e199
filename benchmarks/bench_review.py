"""How quickly the pages with lists and figures answer on a large dataset.

    make bench-review                                      SQLite, 200,000 pairs, 600,000 votes: 15 minutes
    make bench-review DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours
    make bench-review ARGS="--comparisons 20000"           a quick look: two minutes
    make bench-review ARGS="--serve 8000"                  serves the pages afterwards (log in: alice, rita)

Simulates a campaign, derives final labels, settles and flags some pairs, and computes the statistics. Then it
asks for each page through Django in this process. The table has for each page p50, p95, processor time (which
other work on the machine does not lengthen; SQLite's own work is part of it) and queries. The baseline is a
goal: p95 of 300 ms for a list and 1 s for the Quality page, and 15 queries.
"""

import argparse
import statistics
import time
from collections.abc import Iterator

from benchmarks.environment import start_django

start_django("review", ALLOWED_HOSTS="localhost,127.0.0.1,testserver")

from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from benchmarks import campaign
from workbench.models import Annotator, Dataset, Decision, Flag, Judgment, ModelVersion, Role, User
from workbench.pipeline import quality
from workbench.pipeline.decisions import majority
from workbench.pipeline.review import queue as review_queue

LIST_MS, QUALITY_MS, QUERIES = 300, 1_000, 15
REVIEWED, FLAGGED = 500, 50
MEMBERS = {"alice": Role.ADMIN, "rita": Role.REVIEWER}


def settle(dataset: Dataset, reviewer: User) -> None:
    """Derive Decisions, settle 500 pairs in disagreement as a reviewer, and flag 50 others."""
    majority.derive(dataset)
    disputed = dataset.comparisons.in_disagreement(ModelVersion.objects.active()).order_by("random_rank")
    keys = list(disputed.values_list("pk", flat=True)[: REVIEWED + FLAGGED])
    Decision.objects.filter(comparison__in=keys).update(is_current=False)
    Decision.objects.bulk_create(
        Decision(comparison_id=key, outcome="ab"[key % 2], method="reviewer", decided_by=reviewer)
        for key in keys[:REVIEWED]
    )
    voter = Annotator.objects.exclude(user=reviewer).first()
    Flag.objects.bulk_create(
        Flag(comparison_id=key, annotator=voter, reason="other") for key in keys[REVIEWED:]
    )


def pages(dataset: Dataset) -> Iterator[tuple[str, str, int]]:
    """(name, URL, goal in milliseconds) of each page."""
    version = ModelVersion.objects.active()
    filters = review_queue.Filters()
    queue = reverse("review", args=[dataset.pk])
    stamp = f"&version={version.pk}&as_of={round(filters.as_of.timestamp(), 3)}"
    after = ""
    for _ in range(20):
        page = review_queue.page(dataset, version, filters, after)
        after = page.after
    disputed = dataset.comparisons.in_disagreement(version)
    case = disputed[min(1000, disputed.count() - 1)]
    old = ModelVersion.objects.get(name="reward-1")
    yield "queue", queue, LIST_MS
    yield "queue, page 21", f"{queue}?after={after}{stamp}", LIST_MS
    yield "queue, people differ", f"{queue}?why=people", LIST_MS
    yield "queue, one annotator", f"{queue}?annotator={Annotator.objects.first().pk}", LIST_MS
    yield "queue, one source", f"{queue}?source=dune", LIST_MS
    yield "queue, lengths apart", f"{queue}?lengths=apart", LIST_MS
    yield "queue, oldest first", f"{queue}?order=oldest", LIST_MS
    yield "queue, flagged", f"{queue}?why=flagged", LIST_MS
    yield "queue, gold missed", f"{queue}?why=gold", LIST_MS
    yield "queue, flips", f"{queue}?old={old.pk}", LIST_MS
    yield "queue, flips away", f"{queue}?old={old.pk}&why=away", LIST_MS
    yield "case", reverse("review_case", args=[case.pk]), LIST_MS
    pages_of_dataset = (
        "guideline_gaps", "people", "data", "groups", "runs", "releases", "release_leakage", "import",
        "settings", "model", "model_compare", "dataset",
    )  # fmt: skip
    for name in pages_of_dataset:
        yield name.replace("_", " "), reverse(name, args=[dataset.pk]), LIST_MS
    yield "data, last page", reverse("data", args=[dataset.pk]) + "?page=last", LIST_MS
    yield "home", reverse("home"), LIST_MS
    yield "quality", reverse("quality", args=[dataset.pk]), QUALITY_MS
    compared = f"?new={old.pk}&old={version.pk}"
    yield "model compare, two", reverse("model_compare", args=[dataset.pk]) + compared, LIST_MS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--serve", type=int, default=0, metavar="PORT")
    parser.add_argument(
        "--again", action="store_true", help="measure the dataset of the last run in DATABASE_URL"
    )
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    dataset = Dataset.objects.latest("pk") if options.again else make(options.comparisons)
    measure(dataset, options.requests)
    if options.serve:
        for name in MEMBERS:
            user = User.objects.get(username=name)
            user.set_password("campaign to look at")
            user.save()
        print(f"http://127.0.0.1:{options.serve} as alice or rita: campaign to look at")
        call_command("runserver", str(options.serve), use_reloader=False)


def make(comparisons: int) -> Dataset:
    """The campaign with its figures; prints how long both took."""
    started = time.perf_counter()
    dataset = campaign.make_simulated(comparisons)
    people = {name: campaign.add_person(dataset, name, role) for name, role in MEMBERS.items()}
    settle(dataset, people["alice"].user)
    if connection.vendor == "postgresql":
        connection.cursor().execute("VACUUM ANALYZE")  # as autovacuum does after a while
    seconds = time.perf_counter() - started
    run = quality.begin(dataset)
    run.start()
    started = time.perf_counter()
    quality.carry_out(run)
    print(
        f"{connection.vendor}, {dataset.comparisons.count():,} Comparisons, "
        f"{Judgment.objects.count():,} Judgments, made in {seconds:.0f} s; "
        f"statistics and charts {time.perf_counter() - started:.1f} s"
    )
    return dataset


def measure(dataset: Dataset, requests: int) -> None:
    """Print a line for each page."""
    client = Client()
    client.force_login(User.objects.get(username="alice"), backend="workbench.backends.NameOrMail")
    print(f"{'page':24}{'p50 ms':>8}{'p95 ms':>8}{'cpu ms':>8}{'queries':>9}  goal")
    for name, url, goal in pages(dataset):
        client.get(url)  # the first visitor fills the caches
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200, url
            number = len(queries)
        times, processor_times = [], []
        for _ in range(requests):
            started, processor_started = time.perf_counter(), time.process_time()
            client.get(url)
            times.append((time.perf_counter() - started) * 1000)
            processor_times.append((time.process_time() - processor_started) * 1000)
        cuts = statistics.quantiles(times, n=20)
        missed = "  missed" if cuts[18] > goal or number > QUERIES else ""
        cpu = statistics.median(processor_times)
        print(f"{name:24}{cuts[9]:8.0f}{cuts[18]:8.0f}{cpu:8.0f}{number:9}  {goal}{missed}", flush=True)


if __name__ == "__main__":
    main()
