"""How quick the pages that show lists and figures are on a large Dataset: the review queue, later pages and
filters of it, a case, data, groups, people, Runs, Releases, models, Quality.

    make bench-review                                      SQLite, 200,000 Comparisons, 600,000 Judgments
    make bench-review DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours
    make bench-review ARGS="--comparisons 20000"           a quick look
    make bench-review ARGS="--serve 8000"                  and leaves the pages open to look at (alice, rita)

Makes a campaign of a known truth (annotators of known skill, a model of known accuracy, guidelines that grow
better), decided as a Release leaves it, some of it reviewed and flagged; computes its statistics as a worker
would, and asks for each page through the whole of Django in this process. Prints p50, p95, this process's own
time (which other work on the machine does not lengthen; with SQLite the database is in it) and the number of
queries of each page, and where the 300 ms of a list, the second of the Quality page or 15 queries are missed.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import django
import numpy as np

DATA = tempfile.TemporaryDirectory(prefix="bench-review-")
os.environ |= {
    "SECRET_KEY": "only-for-the-benchmark-" + uuid4().hex * 2,
    "WORKBENCH_DATA": DATA.name,
    "DJANGO_SETTINGS_MODULE": "workbench.settings",
    "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
}
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from workbench.models import (  # noqa: E402
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Decision,
    Flag,
    Guidelines,
    Judgment,
    Member,
    ModelVersion,
    Prompt,
    Role,
    Suggestion,
    User,
)
from workbench.models.dataset import answer_digest, group_digest  # noqa: E402
from workbench.pipeline import quality as figures  # noqa: E402
from workbench.pipeline.decisions import majority  # noqa: E402
from workbench.pipeline.review import queue as review_queue  # noqa: E402

LIST_MS, QUALITY_MS, QUERIES = 300, 1_000, 15
REVIEWED, FLAGGED = 500, 50
CHUNK = 5_000
MEMBERS = {"alice": Role.ADMIN, "rita": Role.REVIEWER}
WORDS = np.array(["pan", "heat", "oil", "salt", "stir", "until", "done", "then", "serve", "with", "bread"])


def make_campaign(comparisons: int, annotators: int = 24, seed: int = 5) -> Dataset:
    """A Dataset with three Judgments a Comparison, by people of skill 0.65 to 0.95, one of whom leans to
    the left, over twelve weeks and two versions of the guidelines; two calibrated models, of which the active
    one is better."""
    rng = np.random.default_rng(seed)
    # Judgments are to be of the past weeks, and not of the moment of the insert.
    Judgment._meta.get_field("created_at").auto_now_add = False
    dataset = Dataset.objects.create(name=f"Campaign {time.time_ns()}", overlap=3)
    now = timezone.now()
    guidelines = [Guidelines.objects.create(dataset=dataset, number=n, text=f"Version {n}.") for n in (1, 2)]
    people = [_person(dataset, f"person{n:02}", Role.ANNOTATOR) for n in range(annotators)]
    skill = np.linspace(0.65, 0.95, annotators)
    models = [
        ModelVersion.objects.create(
            name=f"reward-{n}",
            kind="transformer",
            weights_sha256=f"{n:064x}",
            temperature=1.3,
        )
        for n in (1, 2)
    ]
    models[1].activate()
    rules = {version.name: version for version in ModelVersion.objects.baselines()}
    sources = np.array(["amber", "birch", "cedar", "dune"])
    for start in range(0, comparisons, CHUNK):
        size = min(CHUNK, comparisons - start)
        lengths = rng.lognormal(4.2, 0.6, (size, 2)).astype(int) + 3
        quality = rng.normal(0, 1, size) + 0.25 * np.log2(lengths[:, 0] / lengths[:, 1])
        with transaction.atomic():
            made = _comparisons(dataset, start, lengths, sources[rng.integers(0, 4, (size, 2))])
            _suggest(made, models, rules, quality, lengths, rng)
            _judge(made, people, skill, guidelines, quality, now, rng)
    return dataset


def _person(dataset: Dataset, name: str, role: Role) -> Annotator:
    user, _ = User.objects.get_or_create(username=name)
    Member.objects.create(dataset=dataset, user=user, role=role)
    return Annotator.objects.for_user(user)


def _comparisons(dataset: Dataset, start: int, lengths: np.ndarray, sources: np.ndarray) -> list[Comparison]:
    asked = [[{"role": "user", "content": f"How do I cook dish {start + n}?"}] for n in range(len(lengths))]
    prompts = Prompt.objects.bulk_create(
        [
            # Each twentieth is a near-duplicate of the one before it.
            Prompt(
                dataset=dataset,
                messages=it,
                sha256=f"{start + n:064x}",
                group=group_digest(asked[n - (n % 20 == 19)]),
            )
            for n, it in enumerate(asked)
        ]
    )
    texts = [
        (prompt, f"{side} {prompt.pk} " + " ".join(np.resize(WORDS, size)), source)
        for prompt, both, names in zip(prompts, lengths, sources, strict=True)
        for side, size, source in zip("ab", both, names, strict=True)
    ]
    completions = Completion.objects.bulk_create(
        [
            Completion(prompt=p, text=text, sha256=answer_digest(text), source=source)
            for p, text, source in texts
        ]
    )
    return Comparison.objects.bulk_create(
        [
            Comparison(dataset=dataset, prompt=prompt, a=a, b=b, claimed=3)
            for prompt, a, b in zip(prompts, completions[::2], completions[1::2], strict=True)
        ]
    )


def _suggest(made, models, rules, quality, lengths, rng) -> None:
    margins = {
        models[0]: quality + rng.normal(0, 2.2, len(made)),
        models[1]: quality + rng.normal(0, 1.3, len(made)),
    }
    margins[rules["longest"]] = lengths[:, 0] - lengths[:, 1]
    margins[rules["random"]] = rng.normal(0, 1, len(made))
    Suggestion.objects.bulk_create(
        Suggestion(comparison=comparison, version=version, margin=float(margin))
        for version, column in margins.items()
        for comparison, margin in zip(made, column, strict=True)
    )


def _judge(made, people, skill, guidelines, quality, now, rng) -> None:
    judgments = []
    for comparison, truth in zip(made, quality, strict=True):
        ago = float(rng.uniform(0, 84))
        newer = ago < 42
        for place in rng.choice(len(people), 3, replace=False):
            right = rng.random() < skill[place] + (0.04 if newer else -0.04)
            outcome = "a" if (truth > 0) == right else "b"
            left = "ab"[int(rng.integers(2))]
            if place == 3 and rng.random() < 0.25:
                outcome = left
            if rng.random() < 0.06:
                outcome = "tie"
            judgments.append(
                Judgment(
                    comparison=comparison,
                    annotator=people[place],
                    outcome=outcome,
                    stage="first",
                    mode="blind",
                    left=left,
                    guidelines=guidelines[newer],
                    seconds=float(rng.lognormal(3.4, 0.5)),
                    created_at=now - timedelta(days=ago, seconds=float(rng.uniform(0, 300))),
                )
            )
    Judgment.objects.bulk_create(judgments)


def settle(dataset: Dataset, reviewer: User) -> None:
    """Decisions as people agree, over some of them a reviewer's, and open Flags on others."""
    majority.derive(dataset)
    waiting = dataset.comparisons.in_disagreement(ModelVersion.objects.active()).order_by("random_rank")
    some = list(waiting.values_list("pk", flat=True)[: REVIEWED + FLAGGED])
    Decision.objects.filter(comparison__in=some).update(is_current=False)
    Decision.objects.bulk_create(
        Decision(comparison_id=pk, outcome="ab"[pk % 2], method="reviewer", decided_by=reviewer)
        for pk in some[:REVIEWED]
    )
    voter = Annotator.objects.exclude(user=reviewer).first()
    Flag.objects.bulk_create(
        Flag(comparison_id=pk, annotator=voter, reason="other") for pk in some[REVIEWED:]
    )


def pages(dataset: Dataset) -> Iterator[tuple[str, str, int]]:
    """(what, URL, milliseconds that it may take)."""
    version = ModelVersion.objects.active()
    filters = review_queue.Filters()
    queue = reverse("review", args=[dataset.pk])
    stamp = f"&version={version.pk}&as_of={round(filters.as_of.timestamp(), 3)}"
    after = ""
    for _ in range(20):
        page = review_queue.page(dataset, version, filters, after)
        after = page.after
    some = dataset.comparisons.in_disagreement(version)[1000]
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
    yield "case", reverse("review_case", args=[some.pk]), LIST_MS
    of_dataset = (
        "guideline_gaps", "people", "data", "groups", "runs", "releases", "release_leakage", "import",
        "settings", "model", "model_compare", "dataset",
    )  # fmt: skip
    for name in of_dataset:
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
    parser.add_argument("--again", action="store_true", help="measure what the last run left in DATABASE_URL")
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    dataset = Dataset.objects.latest("pk") if options.again else make(options)
    measure(dataset, options.requests)
    if options.serve:
        for name in MEMBERS:
            user = User.objects.get(username=name)
            user.set_password("campaign to look at")
            user.save()
        print(f"http://127.0.0.1:{options.serve} as alice or rita: campaign to look at")
        call_command("runserver", str(options.serve), use_reloader=False)


def make(options: argparse.Namespace) -> Dataset:
    """The campaign with its figures; prints how long both took."""
    started = time.perf_counter()
    dataset = make_campaign(options.comparisons)
    people = {name: _person(dataset, name, role) for name, role in MEMBERS.items()}
    settle(dataset, people["alice"].user)
    if connection.vendor == "postgresql":
        connection.cursor().execute("VACUUM ANALYZE")  # as autovacuum does after a while
    made = time.perf_counter() - started
    run = figures.order(dataset)
    run.start()
    started = time.perf_counter()
    figures.carry_out(run)
    print(
        f"{connection.vendor}, {dataset.comparisons.count():,} Comparisons, "
        f"{Judgment.objects.count():,} Judgments, made in {made:.0f} s; "
        f"statistics and charts {time.perf_counter() - started:.1f} s"
    )
    return dataset


def measure(dataset: Dataset, requests: int) -> None:
    """Prints a line a page."""
    client = Client()
    client.force_login(
        User.objects.get(username="alice"), backend="django.contrib.auth.backends.ModelBackend"
    )
    print(f"{'page':24}{'p50 ms':>8}{'p95 ms':>8}{'cpu ms':>8}{'queries':>9}  allowed")
    for what, url, allowed in pages(dataset):
        client.get(url)  # what is kept for all visitors is read by the first
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200, url
            number = len(queries)
        times, busy = [], []
        for _ in range(requests):
            begun, worked = time.perf_counter(), time.process_time()
            client.get(url)
            times.append((time.perf_counter() - begun) * 1000)
            busy.append((time.process_time() - worked) * 1000)
        cuts = statistics.quantiles(times, n=20)
        missed = "  missed" if cuts[18] > allowed or number > QUERIES else ""
        cpu = statistics.median(busy)
        print(f"{what:24}{cuts[9]:8.0f}{cuts[18]:8.0f}{cpu:8.0f}{number:9}  {allowed}{missed}", flush=True)


if __name__ == "__main__":
    main()
