"""How fast the Data page finds prompts in a large dataset, and how much memory the web process needs for it.

    make bench-search                                      SQLite, 200,000 prompts, 600,000 answers
    make bench-search DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours
    make bench-search ARGS="--prompts 20000"               a quick look: a minute

Texts are random words of a Zipf distribution, as in natural text, and frequent words are short. Each table
has p50 and p95 of each kind of query, and the milliseconds of a core that Python took on average, which other
work on the machine hardly changes. The goal is a p95 of 200 ms on two cores. `--only words` runs one part
alone:

- words: queries drawn from the texts, so frequent words are asked for often. The baseline is
  `text LIKE '%word%'` over prompts and answers.
- facets: the Data page as a web process of the Dockerfile serves it, over loopback. The baseline is the
  counts of six facets by GROUP BY.
- similar: "More like this" by vectors of 384 numbers, and its page. The baseline is the product of all
  vectors in float32, with which the recall is computed: the share of its nearest that are found.

At the end, the private memory of the web process after all these pages; the goal is less than 200 MB.

The database is a test database on DATABASE_URL, or a file of SQLite; it is removed at the end.
"""

import argparse
import http.client
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from benchmarks.environment import start_django

FOLDER = start_django("search")

# isort: split
import numpy as np
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Count
from django.urls import reverse
from rich.console import Console
from rich.table import Table

from benchmarks import collection
from benchmarks.web import COLLECTING, Web, memory_of, web
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Decision,
    Member,
    Prompt,
    PromptChange,
    PromptTag,
    Role,
    User,
)
from workbench.pipeline.data.finding import SORTS
from workbench.pipeline.data.search import find
from workbench.pipeline.data.search_index import index_new
from workbench.pipeline.vectors import similar, store
from workbench.views.similar import SHOWN

GOAL_MS, GOAL_MB = 200, 200
FEW = 5
"""Queries of a baseline."""


@dataclass(frozen=True)
class Measured:
    """One line of the table: seconds of each query, seconds of a core that a query took on average, and how
    many Prompts the median query finds."""

    name: str
    seconds: list[float]
    core: float
    found: int | None = None

    def percentile(self, share: int) -> float:
        """In milliseconds."""
        return float(np.percentile(self.seconds, share)) * 1000


@dataclass(frozen=True)
class Bench:
    """What a section measures: the filled dataset, texts of it to draw queries from, and the web process with
    the session of a reviewer."""

    dataset: Dataset
    texts: list[list[str]]
    queries: int
    served: Web
    session: str
    console: Console

    def timed(
        self,
        name: str,
        ask: Callable[[str], int | None],
        queries: list[str],
        before: Callable[[], object] = lambda: None,
    ) -> Measured:
        """Ask each query once, after one that warms up, and after `before`; `ask` gives how many Prompts it
        found."""
        ask(queries[0])
        seconds, cores, counts = [], [], []
        for query in queries:
            before()
            start, core = time.perf_counter(), self.core_seconds()
            counts.append(ask(query))
            seconds.append(time.perf_counter() - start)
            cores.append(self.core_seconds() - core)
        found = [count for count in counts if count is not None]
        return Measured(name, seconds, float(np.mean(cores)), int(np.median(found)) if found else None)

    def core_seconds(self) -> float:
        """Of this process and the web process together: only one of the two is at work."""
        (pid,) = self.served.workers()
        ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def some(self, make: Callable[[], str]) -> list[str]:
        return [make() for _ in range(self.queries)]

    def get(self, page: str, query: str) -> str:
        """The page as the web process answers it."""
        path = f"{reverse(page, args=[self.dataset.pk])}?{query}"
        client = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=120)
        client.request("GET", path, headers={"Cookie": f"{settings.SESSION_COOKIE_NAME}={self.session}"})
        response = client.getresponse()
        body = response.read().decode()
        client.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        return body


# --- words --------------------------------------------------------------------------------------------------


def by_words(bench: Bench) -> Iterator[Measured]:
    """Search by words, against LIKE over all texts."""
    draw = random.Random(5)

    def drawn(count: int) -> list[str]:
        text = draw.choice([text for text in bench.texts if len(text) > count])
        at = draw.randrange(len(text) - count)
        return text[at : at + count]

    def ask(query: str) -> int:
        return len(find(bench.dataset, query).keys)

    def like(word: str) -> int:
        """The baseline."""
        with connection.cursor() as cursor:
            messages = "messages::text" if connection.vendor == "postgresql" else "messages"
            cursor.execute(
                "SELECT count(*) FROM (SELECT prompt_id FROM workbench_completion WHERE text LIKE %s UNION "
                f"SELECT id FROM workbench_prompt WHERE {messages} LIKE %s) AS found",
                [f"%{word}%"] * 2,
            )
            return int(cursor.fetchone()[0])

    some = bench.some
    yield bench.timed("LIKE '%word%' (baseline)", like, [drawn(1)[0] for _ in range(FEW)])
    yield bench.timed("one word", ask, some(lambda: drawn(1)[0]))
    yield bench.timed("two words", ask, some(lambda: " ".join(drawn(1) + drawn(1))))
    yield bench.timed("five words", ask, some(lambda: " ".join(drawn(5))))
    yield bench.timed("phrase of two", ask, some(lambda: f'"{" ".join(drawn(2))}"'))
    yield bench.timed("phrase of four", ask, some(lambda: f'"{" ".join(drawn(4))}"'))
    yield bench.timed("beginning of three letters", ask, some(lambda: f"{drawn(1)[0][:3]}*"))
    yield bench.timed("word without another", ask, some(lambda: f"{drawn(1)[0]} -{drawn(1)[0]}"))
    yield bench.timed("typing error", ask, some(lambda: misspelt(draw, drawn(1)[0])))


def misspelt(draw: random.Random, word: str) -> str:
    """A word that is nowhere, one letter away."""
    at = draw.randrange(1, len(word) + 1)
    return f"{word[:at]}xq{word[at:]}"


# --- facets -------------------------------------------------------------------------------------------------

CHOICES: dict[str, list[str]] = {
    "source": list(collection.SOURCES),
    "topic": [str(n) for n in range(1, collection.TOPICS + 1)],
    "tag": list(collection.TAGS),
    "language": ["en", "de", "fr", "es", "zh", "none"],
    "split": ["train", "validation", "test"],
    "state": ["unjudged", "open", "agreement"],
    "confidence": ["50-60", "60-70", "70-80", "80-90", "90-"],
    "agreement": ["0-50", "51-66", "100-"],
    "length": ["0-99", "100-499", "500-1999", "-120"],
    "turns": ["1-1", "3-4", "5-"],
    "meta.level": list(collection.LEVELS),
    "gold": ["1"],
    "flagged": ["1"],
}
"""What a reviewer may click: the values of each facet."""


def by_facets(bench: Bench) -> Iterator[Measured]:
    """The Data page, with all its facets and their counts."""
    draw = random.Random(6)

    def chosen(count: int) -> str:
        return urlencode([(name, draw.choice(CHOICES[name])) for name in draw.sample(sorted(CHOICES), count)])

    def page(query: str) -> None:
        assert 'id="data"' in bench.get("data", query)

    def word() -> str:
        return draw.choice(draw.choice(bench.texts))

    yield bench.timed("six facets by GROUP BY (baseline)", lambda _: _group_by(bench.dataset), ["."] * FEW)
    start, core = time.perf_counter(), bench.core_seconds()
    page("now=1")
    first = time.perf_counter() - start
    yield Measured("first page of a new process", [first], bench.core_seconds() - core)
    some = bench.some
    yield bench.timed("no facet", page, [""] * bench.queries)
    yield bench.timed("one facet", page, some(lambda: chosen(1)))
    yield bench.timed("four facets", page, some(lambda: chosen(4)))
    yield bench.timed("one facet, sorted", page, some(lambda: f"{chosen(1)}&sort={draw.choice([*SORTS])}"))
    yield bench.timed("one facet, second page", page, some(lambda: f"{chosen(1)}&page=2"))
    yield bench.timed("a word and a facet", page, some(lambda: f"q={word()}&{chosen(1)}"))
    write = _writes(bench.dataset)
    yield bench.timed("one facet, after a write", page, some(lambda: chosen(1)), lambda: next(write))


def _group_by(dataset: Dataset) -> None:
    """The counts of six facets as the database computes them: what the baseline takes."""
    prompts, pairs = Prompt.objects.of(dataset).order_by(), Comparison.objects.filter(dataset=dataset)
    counted = Count("prompt", distinct=True)
    answers = Completion.objects.of(dataset).order_by().values("source").annotate(n=counted)
    decided = Decision.objects.current().filter(comparison__dataset=dataset).order_by()
    for rows in (
        prompts.values("language").annotate(n=Count("pk")),
        prompts.values("topic").annotate(n=Count("pk")),
        prompts.values("turns").annotate(n=Count("pk")),
        answers,
        decided.values("method").annotate(n=Count("comparison__prompt", distinct=True)),
        pairs.order_by().values("priority").annotate(n=counted),
    ):
        list(rows)


def _writes(dataset: Dataset) -> Iterator[None]:
    """Tag a prompt each time, as an act does."""
    draw, tag = random.Random(7), dataset.tags.create(name="written")
    keys = list(Prompt.objects.of(dataset).values_list("pk", flat=True))
    for key in draw.sample(keys, len(keys)):
        with transaction.atomic():
            PromptTag.objects.create(prompt_id=key, tag=tag)
            PromptChange.objects.note(dataset.pk, [key])
        yield


# --- similar ------------------------------------------------------------------------------------------------


def by_vectors(bench: Bench) -> Iterator[Measured]:
    """More like this, against the product in float32; and its recall."""
    draw, dataset = random.Random(8), bench.dataset
    prompts, answers = store.rows(dataset.pk, "prompts"), store.rows(dataset.pk, "completions")
    assert prompts is not None
    assert answers is not None

    def drawn(of: store.Rows) -> list[str]:
        return [str(key) for key in draw.sample(of.keys[:, 0].tolist(), bench.queries)]

    def product(key: str) -> None:
        exact_nearest(answers, place_of(answers, key), 50)

    yield bench.timed("all answers in float32 (baseline)", product, drawn(answers)[:FEW])

    def answers_like(key: str) -> None:
        assert len(similar.like_completion(dataset, int(key), SHOWN)) == SHOWN

    def prompts_like(key: str) -> None:
        assert len(similar.like_prompt(dataset, int(key), SHOWN)) == SHOWN

    yield bench.timed("prompts like an answer", answers_like, drawn(answers))
    yield bench.timed("prompts like a prompt", prompts_like, drawn(prompts))

    def page(query: str) -> None:
        assert bench.get("similar", query).count('class="likeness"') == SHOWN

    yield bench.timed("its page, of an answer", page, [f"completion={key}" for key in drawn(answers)])
    yield bench.timed("its page, of a prompt", page, [f"prompt={key}" for key in drawn(prompts)])
    bench.console.print(recall(answers, [place_of(answers, key) for key in drawn(answers)]))


def place_of(rows: store.Rows, key: str) -> int:
    place = rows.place_of(int(key))
    assert place is not None
    return place


def exact_nearest(rows: store.Rows, place: int, most: int) -> set[int]:
    """Places of the rows nearest to this one, by the product of all rows in float32."""
    return nearest_of(rows.exact @ rows.exact[place], most)


def nearest_of(products: similar.Vectors, most: int) -> set[int]:
    return set(np.argpartition(products, -most)[-most:].tolist())


def recall(rows: store.Rows, places: list[int]) -> Table:
    """The share of the nearest rows by float32 that are found: by int8 and the best ranked again, as "More
    like this" does it, and by int8 alone."""
    shares: dict[tuple[str, int], list[float]] = {}
    for place in places:
        query = np.array(rows.exact[place])
        exact = rows.exact @ query
        rounded = (rows.scanned @ store.round_rows(query[None])[0][0].astype(np.float32)) * rows.scales
        for most in (10, 50):
            nearest = nearest_of(exact, most)
            ranked = set(similar.nearest(rows, query, most)[0].tolist())
            for name, found in (("ranked", ranked), ("int8", nearest_of(rounded, most))):
                shares.setdefault((name, most), []).append(len(found & nearest) / most)
    table = Table(title=f"Recall of the nearest by float32, of {len(rows):,} answers, {len(places)} queries")
    for column in ("", "recall@10", "recall@50"):
        table.add_column(column, justify="right" if column else "left")
    for name, words in (
        ("ranked", f"int8, the best {similar.RERANKED:,} ranked exactly"),
        ("int8", "int8 alone"),
    ):
        table.add_row(words, *(f"{np.mean(shares[name, most]):.4f}" for most in (10, 50)))
    return table


# --- all sections -------------------------------------------------------------------------------------------

SECTIONS: dict[str, Callable[[Bench], Iterator[Measured]]] = {
    "words": by_words,
    "facets": by_facets,
    "similar": by_vectors,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=2, help="of each prompt, at most 3")
    parser.add_argument("--queries", type=int, default=100, help="of each kind")
    parser.add_argument("--only", choices=SECTIONS)
    options = parser.parse_args()
    # In memory, SQLite is faster than anybody's file, and another process can't read it.
    connection.settings_dict["TEST"]["NAME"] = (
        str(FOLDER / "bench.sqlite3") if connection.vendor == "sqlite" else None
    )
    call_command("collectstatic", interactive=False, verbosity=0)
    connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        with web(database_url(), workers=1, threads=6, worker_class=COLLECTING) as served:
            run(options, served)
    finally:
        connection.creation.destroy_test_db("", verbosity=0)


def database_url() -> str:
    """The address of the test database, for the web process."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def run(options: argparse.Namespace, served: Web) -> None:
    console = Console(width=110)
    dataset = Dataset.objects.create(name="Bench", facet_keys=["level"])
    texts = filled(dataset, options.prompts, options.pairs, options.only, console)
    bench = Bench(dataset, texts, options.queries, served, session_of_a_reviewer(dataset), console)
    for name, section in SECTIONS.items():
        if options.only in (None, name):
            console.print(table_of(name, list(section(bench))))
    print_memory(console, served)


def filled(dataset: Dataset, prompts: int, pairs: int, only: str | None, console: Console) -> list[list[str]]:
    """Fill the dataset with what the sections need, and say how long it took."""
    took: dict[str, float] = {}

    def timed(what: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        with transaction.atomic():
            work()
        took[what] = time.perf_counter() - start

    texts: list[list[str]] = []
    timed("stored", lambda: texts.extend(collection.fill(dataset, prompts)))
    timed("words indexed", lambda: list(index_new(dataset.pk)))
    if only != "words":
        timed("pairs, votes and scores stored", lambda: collection.add_pairs(dataset, pairs))
        timed("vectors written", lambda: collection.add_vectors(dataset))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    console.print(
        f"{prompts:,} prompts, {prompts * collection.ANSWERS:,} answers, {prompts * pairs:,} pairs: "
        + ", ".join(f"{what} in {seconds:.0f} s" for what, seconds in took.items())
    )
    return texts


def session_of_a_reviewer(dataset: Dataset) -> str:
    """The key of a session."""
    user = User.objects.create(username="reviewer")
    user.set_unusable_password()
    user.save()
    Member.objects.create(dataset=dataset, user=user, role=Role.REVIEWER)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "workbench.backends.NameOrMail"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key
    return session.session_key


def table_of(name: str, lines: list[Measured]) -> Table:
    load = os.getloadavg()[0]
    table = Table(title=f"{name}: {connection.vendor}, {os.cpu_count()} cores, load {load:.1f}")
    columns = "query", "p50, ms", "p95, ms", f"p95 ≤ {GOAL_MS}", "x the baseline", "core, ms", "prompts found"
    for column in columns:
        table.add_column(column, justify="left" if column == "query" else "right")
    baseline = lines[0].percentile(50)
    for line in lines:
        good = "yes" if line.percentile(95) <= GOAL_MS else "no"
        found = "" if line.found is None else f"{line.found:,}"
        p50, p95 = line.percentile(50), line.percentile(95)
        faster = f"{baseline / p50:,.1f}"
        if line is lines[0] or len(line.seconds) == 1:
            good = faster = ""  # the baseline, and what happens once
        core = f"{1000 * line.core:,.1f}"
        table.add_row(line.name, f"{p50:,.1f}", f"{p95:,.1f}", good, faster, core, found)
    return table


def print_memory(console: Console, served: Web) -> None:
    """Memory of the one process that served all pages. Its own is what it has written: Private_Dirty, and
    Anonymous, which also has what it shares with the process that started it. Mapped files, as of vectors and
    of programs, are Clean: the kernel takes their pages back whenever it needs them."""
    (pid,) = served.workers()
    memory = memory_of(pid)
    own = max(memory["Private_Dirty"], memory["Anonymous"])
    good = "yes" if own < GOAL_MB else "no"
    parts = ", ".join(
        f"{name} {memory[name]:.0f}"
        for name in ("Private_Dirty", "Anonymous", "Private_Clean", "Shared_Clean", "Rss")
    )
    console.print(f"Private memory of the web process: {own:.0f} MB, below {GOAL_MB} MB: {good} ({parts})")


if __name__ == "__main__":
    main()
