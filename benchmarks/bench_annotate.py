"""How quickly the annotation page's server answers, over real web processes on loopback.

    make bench-annotate                                     SQLite, 10,000 pairs, 1 and 8 clients: 2 minutes
    make bench-annotate DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours
    make bench-annotate ARGS="--pairs 500 --seconds 10"      a quick look: 30 seconds
    make bench-annotate ARGS="--pairs 200000 --votes 4 --order mixture --lists"
                                                             with 600,000 earlier votes: ten minutes or more

Each client asks for the next pair and answers it, without think time, for --seconds. The table has p50 and
p95 of both requests, pairs a second, pairs handed out twice, failures, and the MB of the largest web process.
The baselines are the published figures of two other tools, measured on other machines.

With --votes, three of four pairs already have that many votes. With --order, the queue is in that order, by
random suggestions. --lists times the pages with lists, in this process, as an admin.
"""

import argparse
import http.client
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import uuid4

from benchmarks.environment import start_django

start_django("annotate")

from django import test
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from benchmarks import campaign
from benchmarks.web import web
from workbench.models import Dataset, Member, Role, User
from workbench.pipeline.annotate import queue

# Published figures: next p50 and submit p50 in ms, pairs a second with 1 client and with 8.
PUBLISHED = {"Label Studio 1.23": (108, 116, 4.2, 11.3), "Potato 2.12": (27, 12, 23, 34)}
ITEM = re.compile(r'data-comparison="(\d+)" data-claim="(\d+)" data-key="([^"]+)"')
CSRF = "c" * 32


def time_lists(dataset: Dataset) -> None:
    """Print for each page with a list the median of five requests in ms, and the queries of one."""
    admin = User.objects.create(username=uuid4().hex)
    Member.objects.create(dataset=dataset, user=admin, role=Role.ADMIN)
    client = test.Client()
    client.force_login(admin, backend="workbench.backends.NameOrMail")
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
    """A new annotator of the dataset, and the key of a session."""
    user = User.objects.create(username=uuid4().hex)
    user.set_unusable_password()
    user.save()
    Member.objects.create(dataset=dataset, user=user, role=Role.ANNOTATOR)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "workbench.backends.NameOrMail"
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
        """Status and body. A broken connection is tried again, as the page does; then the status is 0."""
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
                failure = f"{name}: {error!r}"
        self.failures.append(failure)
        return 0, ""

    def judge_one(self, send_twice: bool = False) -> bool:
        """Ask for the next pair and answer it; False when no pair is left."""
        times: list[float] = []
        status, body = self.post("next", {"have": ""}, "text/html", times)
        item = ITEM.search(body)
        if status != 200 or item is None:
            self.end_ms += times  # the end page has figures on the whole dataset, so it is slower
            return False
        self.next_ms += times
        comparison, claim, key = item.groups()
        self.handed.append(int(comparison))
        fields = {"user": self.user.pk, "comparison": comparison, "claim": claim, "key": key}
        fields |= {"answer": "left" if int(comparison) % 3 else "right", "seconds": 1}
        for _ in range(1 + send_twice):
            self.post("judge", fields, "application/json", self.submit_ms)
        return True


def all_at_once(clients: Sequence[Client], work: Callable[[Client], None]) -> float:
    """Run `work` in a thread for each client; return the seconds until the last one ended."""
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
        f"{connection.vendor}, {options.pairs:,} pairs, {options.seconds:.0f} s each, no think time "
        "(from people, the page takes no answer in its first 300 ms)"
    )
    print("clients  next p50   p95  submit p50   p95  pairs/s  twice  failures  web MB")
    with web() as served:
        for number in options.clients:
            dataset = campaign.make_uniform(options.pairs, overlap=options.votes or 1)
            if options.votes:
                campaign.add_votes(dataset, options.votes)
            if options.order != Dataset.Order.RANDOM:
                Dataset.objects.filter(pk=dataset.pk).update(order=options.order)
                campaign.add_suggestions(dataset)
                started = time.perf_counter()
                queue.renew_all(dataset)
                print(f"{options.pairs:,} pairs sorted in {time.perf_counter() - started:.0f} s")
            clients = [Client(served.port, dataset, *logged_in(dataset)) for _ in range(number)]
            deadline = time.monotonic() + options.seconds

            def work(client: Client, deadline: float = deadline) -> None:
                while time.monotonic() < deadline and client.judge_one():
                    pass

            seconds = all_at_once(clients, work)
            handed = Counter(key for client in clients for key in client.handed)
            next_ms = percentiles([ms for client in clients for ms in client.next_ms])
            submit_ms = percentiles([ms for client in clients for ms in client.submit_ms])
            failures = [failure for client in clients for failure in client.failures]
            rate = handed.total() / seconds
            print(
                f"{number:7}  {next_ms[0]:8.1f} {next_ms[1]:5.1f}  "
                f"{submit_ms[0]:10.1f} {submit_ms[1]:5.1f}  {rate:7.1f}  "
                f"{handed.total() - len(handed):5}  {len(failures):8}  {served.largest_mb():6.0f}"
            )
            for failure in failures[:3]:
                print(" ", failure)
            if options.lists:
                time_lists(dataset)
            for peer, (peer_next, peer_submit, rate_of_one, rate_of_eight) in PUBLISHED.items():
                peer_rate = rate_of_one if number == 1 else rate_of_eight
                ratios = f"{rate / peer_rate:.1f} times the pairs/s of {peer}"
                if number == 1:
                    ratios += f", next {peer_next / next_ms[0]:.1f} x as quick"
                    ratios += f", submit {peer_submit / submit_ms[0]:.1f} x"
                print(f"  {ratios} (published, other machine)")


if __name__ == "__main__":
    main()
