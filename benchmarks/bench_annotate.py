"""How quick the annotation page's server is, over real web processes on loopback.

    make bench-annotate                                      SQLite, 10,000 pairs, 1 and 8 clients
    make bench-annotate DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours
    make bench-annotate ARGS="--pairs 500 --seconds 10"      a quick look
    make bench-annotate ARGS="--pairs 200000 --votes 4 --order mixture --lists"
                                                             three quarters judged by four people before

Each client asks for the next Comparison and answers it, without think time, for --seconds. Prints p50 and p95
of both requests, pairs a second, Comparisons handed out twice, failures, and the memory of the largest web
process. With --votes, three quarters of the pairs have been judged by so many people before, so that 200,000
pairs and --votes 4 are 600,000 Judgments; with --order the queue is in that order, by made-up Suggestions;
--lists times the pages that show lists, in this process, as an admin.
"""

import argparse
import http.client
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import django

ROOT = Path(__file__).resolve().parents[1]
DATA = tempfile.TemporaryDirectory(prefix="bench-annotate-")
os.environ |= {
    "SECRET_KEY": "only-for-the-benchmark-" + uuid4().hex * 2,
    "WORKBENCH_DATA": DATA.name,
    "DJANGO_SETTINGS_MODULE": "workbench.settings",
}
django.setup()

from django import test  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from workbench.models import (  # noqa: E402
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    Member,
    ModelVersion,
    Prompt,
    Role,
    Suggestion,
    User,
)
from workbench.models.dataset import answer_digest, text_digest  # noqa: E402
from workbench.pipeline.annotate import queue  # noqa: E402

# Measured elsewhere: next p50 and submit p50 in ms, pairs a second with 1 and with 8 clients.
STATED = {"Label Studio 1.23": (108, 116, 4.2, 11.3), "Potato 2.12": (27, 12, 23, 34)}
ITEM = re.compile(r'data-comparison="(\d+)" data-claim="(\d+)" data-key="([^"]+)"')
CSRF = "c" * 32


def make_dataset(pairs: int, overlap: int) -> Dataset:
    """Prompts of 60 words with two completions of 180 words, and their Comparison."""
    dataset = Dataset.objects.create(name=f"bench {time.time_ns()}", overlap=overlap)
    prompts = Prompt.objects.bulk_create(
        [
            Prompt(
                dataset=dataset,
                messages=[{"role": "user", "content": f"{n} " + "question " * 59}],
                sha256=f"{n:064x}",
                group=text_digest(f"{n}"),
            )
            for n in range(pairs)
        ],
        batch_size=2000,
    )
    texts = [(prompt, f"{side} {prompt.pk} " + "answer " * 178) for prompt in prompts for side in "ab"]
    made = Completion.objects.bulk_create(
        [Completion(prompt=prompt, text=text, sha256=answer_digest(text)) for prompt, text in texts],
        batch_size=2000,
    )
    sides = zip(prompts, made[::2], made[1::2], strict=True)
    Comparison.objects.bulk_create(
        [Comparison(dataset=dataset, prompt=prompt, a=a, b=b) for prompt, a, b in sides], batch_size=2000
    )
    return dataset


def judge_before(dataset: Dataset, votes: int) -> None:
    """Three quarters of the Comparisons judged by `votes` people each, every place taken."""
    people = [Annotator.objects.create(user=User.objects.create(username=uuid4().hex)) for _ in range(votes)]
    pks = [pk for n, pk in enumerate(dataset.comparisons.values_list("pk", flat=True)) if n % 4]
    later = timezone.now() + timedelta(hours=1)
    for start in range(0, len(pks), 5000):
        some = [(n, pk, who) for pk in pks[start : start + 5000] for n, who in enumerate(people)]
        Claim.objects.bulk_create(
            Claim(
                comparison_id=pk,
                annotator=who,
                state="done",
                slot=n,
                left="a",
                mode="blind",
                expires_at=later,
            )
            for n, pk, who in some
        )
        Judgment.objects.bulk_create(
            Judgment(
                comparison_id=pk,
                annotator=who,
                outcome="ab"[(pk + n * (pk % 5 == 0)) % 2],
                stage="first",
                mode="blind",
                left="a",
            )
            for n, pk, who in some
        )
        Comparison.objects.filter(pk__in=pks[start : start + 5000]).update(claimed=votes)


def suggest(dataset: Dataset) -> float:
    """Made-up Suggestions of an active version, and the queue in their order; the seconds of the latter."""
    version = ModelVersion.objects.active() or ModelVersion.objects.create(
        name="bench", kind="transformer", state="active", activated_at=timezone.now(), temperature=1.0
    )
    dice = random.Random(1)
    Suggestion.objects.bulk_create(
        (
            Suggestion(comparison_id=pk, version=version, margin=dice.gauss(0, 2))
            for pk in dataset.comparisons.values_list("pk", flat=True)
        ),
        batch_size=5000,
    )
    started = time.perf_counter()
    queue.renew_all(dataset)
    return time.perf_counter() - started


def time_lists(dataset: Dataset) -> None:
    """The median of five of each page with a list, in ms, and its queries."""
    admin = User.objects.create(username=uuid4().hex)
    Member.objects.create(dataset=dataset, user=admin, role=Role.ADMIN)
    client = test.Client()
    client.force_login(admin, backend="django.contrib.auth.backends.ModelBackend")
    for name in ("annotate", "data", "groups", "review", "people", "dataset", "runs", "releases", "model"):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            with CaptureQueriesContext(connection) as captured:
                response = client.get(reverse(name, args=[dataset.pk]), headers={"host": "localhost"})
            times.append((time.perf_counter() - started) * 1000)
        print(
            f"  {name:9} {statistics.median(times):7.0f} ms, {len(captured)} queries, {response.status_code}"
        )


def logged_in(dataset: Dataset) -> tuple[User, str]:
    """A new annotator of the dataset, and the key of their session."""
    user = User.objects.create(username=uuid4().hex)
    user.set_unusable_password()
    user.save()
    Member.objects.create(dataset=dataset, user=user, role=Role.ANNOTATOR)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key
    return user, session.session_key


@dataclass
class Client:
    """One annotator's browser, without the browser."""

    port: int
    dataset: Dataset
    user: User
    session: str
    next_ms: list[float] = field(default_factory=list)
    end_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)
    handed: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None

    def post(self, name: str, fields: dict[str, object], accept: str, times: list[float]) -> tuple[int, str]:
        """Status and body; 0 when the connection broke twice: the page tries again as well."""
        path = f"/datasets/{self.dataset.pk}/annotate/{name}/"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"{settings.SESSION_COOKIE_NAME}={self.session}; {settings.CSRF_COOKIE_NAME}={CSRF}",
            "X-CSRFToken": CSRF,
            "X-Requested-With": "fetch",
            "Accept": accept,
        }
        started = time.perf_counter()
        for _ in range(2):
            try:
                self._connection = self._connection or http.client.HTTPConnection(
                    "127.0.0.1", self.port, timeout=60
                )
                self._connection.request("POST", path, urlencode(fields), headers)
                response = self._connection.getresponse()
                body = response.read().decode()
                times.append((time.perf_counter() - started) * 1000)
                if response.status >= 400:
                    self.failures.append(f"{name}: {response.status} {body[:200]}")
                return response.status, body
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                trouble = f"{name}: {error!r}"
        self.failures.append(trouble)
        return 0, ""

    def judge_one(self, send_twice: bool = False) -> bool:
        """Ask for the next and answer it; False when there is none."""
        asked: list[float] = []
        status, body = self.post("next", {"have": ""}, "text/html", asked)
        item = ITEM.search(body)
        if status != 200 or item is None:
            self.end_ms += asked  # another answer: why nothing is left, with figures on all there is
            return False
        self.next_ms += asked
        comparison, claim, key = item.groups()
        self.handed.append(int(comparison))
        fields = {"user": self.user.pk, "comparison": comparison, "claim": claim, "key": key}
        fields |= {"answer": "left" if int(comparison) % 3 else "right", "seconds": 1}
        for _ in range(1 + send_twice):
            self.post("judge", fields, "application/json", self.submit_ms)
        return True


@contextmanager
def web(
    database_url: str = "", workers: int = 2, threads: int = 8
) -> Iterator[tuple[int, Callable[[], float]]]:
    """gunicorn on a free port of loopback; the port, and what tells its largest process in MB."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "workbench.wsgi", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads)]
    environment = os.environ | ({"DATABASE_URL": database_url} if database_url else {})
    process = subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT, env=environment)
    try:
        _await(port, process)
        yield port, lambda: _largest(process.pid)
    finally:
        process.terminate()
        process.wait()


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            asked.request("GET", "/healthz")
            asked.getresponse()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("The web processes did not start.")


def _largest(pid: int) -> float:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    statuses = [Path(f"/proc/{child}/status").read_text() for child in children]
    found = [re.search(r"VmRSS:\s+(\d+)", status) for status in statuses]
    return max((int(match[1]) / 1024 for match in found if match), default=0.0)


def all_at_once(clients: Sequence[Client], work: Callable[[Client], None]) -> float:
    """Each client works in a thread of its own; the seconds that all of them took."""
    threads = [threading.Thread(target=work, args=[client]) for client in clients]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def percentiles(times: list[float]) -> tuple[float, float]:
    """p50 and p95, in milliseconds."""
    cuts = statistics.quantiles(times, n=20) if len(times) > 1 else [0.0] * 19
    return cuts[9], cuts[18]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--votes", type=int, default=0)
    parser.add_argument("--order", choices=Dataset.Order.values, default=Dataset.Order.RANDOM)
    parser.add_argument("--lists", action="store_true")
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    print(
        f"{connection.vendor}, {options.pairs:,} pairs, {options.seconds:.0f} s each, no think time: "
        "these are no people, from whom the page takes no answer in its first 300 ms"
    )
    print("clients  next p50   p95  submit p50   p95  pairs/s  twice  failures  web MB")
    with web() as (port, memory):
        for number in options.clients:
            dataset = make_dataset(options.pairs, overlap=options.votes or 1)
            if options.votes:
                judge_before(dataset, options.votes)
            if options.order != Dataset.Order.RANDOM:
                Dataset.objects.filter(pk=dataset.pk).update(order=options.order)
                print(f"{options.pairs:,} put in order in {suggest(dataset):.0f} s")
            clients = [Client(port, dataset, *logged_in(dataset)) for _ in range(number)]
            until = time.monotonic() + options.seconds

            def work(client: Client, until: float = until) -> None:
                while time.monotonic() < until and client.judge_one():
                    pass

            taken = all_at_once(clients, work)
            handed = Counter(pk for client in clients for pk in client.handed)
            ahead = percentiles([ms for client in clients for ms in client.next_ms])
            sent = percentiles([ms for client in clients for ms in client.submit_ms])
            failures = [failure for client in clients for failure in client.failures]
            rate = handed.total() / taken
            print(
                f"{number:7}  {ahead[0]:8.1f} {ahead[1]:5.1f}  {sent[0]:10.1f} {sent[1]:5.1f}  {rate:7.1f}  "
                f"{handed.total() - len(handed):5}  {len(failures):8}  {memory():6.0f}"
            )
            for failure in failures[:3]:
                print(" ", failure)
            if options.lists:
                time_lists(dataset)
            for peer, (their_next, their_submit, alone, eight) in STATED.items():
                theirs = alone if number == 1 else eight
                latency = (
                    f", next {their_next / ahead[0]:.1f} and submit {their_submit / sent[0]:.1f} x as quick"
                    if number == 1
                    else ""
                )
                print(f"  {rate / theirs:.1f} times the pairs/s of {peer}{latency} (stated, other machine)")


if __name__ == "__main__":
    main()
