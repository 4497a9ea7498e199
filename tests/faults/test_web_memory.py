"""The web process stays small while ten clients send and fetch large texts, and soon gives memory back."""

import gzip
import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse

from tests.conftest import client_of
from tests.factories import ComparisonFactory, DatasetFactory, JudgmentFactory, UserFactory
from tests.imports.test_bombs import MEGABYTE, dictionary, one_row_of, same
from tests.processes import wait_until
from tests.webserver import web_process
from workbench.models import Comparison, Member, Role, User

pytestmark = pytest.mark.long

CLIENTS = 10
PEAK = 500
REST = 200
REST_WITHIN = 60
TEXT = ("A sentence of an answer that goes on for long. " * 80_000)[:3_500_000]
UPLOAD = 68 * 2**20


class Web:
    """A web process, and the ten people who use it."""

    def __init__(self, port: int, process: int, people: list[Client]) -> None:
        self.port, self.process = port, process
        self.cookies = [
            "; ".join(f"{name}={cookie.value}" for name, cookie in person.cookies.items())
            for person in people
        ]

    def memory(self, key: str) -> int:
        """MiB of RssAnon (what is the process's own now: the files of libraries are shared) or VmHWM (all of
        it, at the peak)."""
        lines = Path(f"/proc/{self.process}/status").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith(key)]
        return int(line.split()[1]) // 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process}/clear_refs").write_text("5")

    def ask(
        self, person: int, method: str, path: str, body: bytes | str | None = None, kind: str = ""
    ) -> tuple[int, int]:
        """(status, bytes of the answer), read in pieces."""
        token = "t" * 32
        headers = {"Cookie": f"{self.cookies[person]}; csrftoken={token}", "X-CSRFToken": token}
        if kind:
            headers["Content-Type"] = kind
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            size = 0
            while piece := answer.read(2**16):
                size += len(piece)
            return answer.status, size

    def all_at_once(self, act: Callable[[int], tuple[int, int]]) -> list[tuple[int, int]]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(act, range(CLIENTS)))

    def stays_small(self, act: Callable[[int], tuple[int, int]]) -> set[int]:
        """Have ten clients act at once, and see that memory stays small and is given back; their statuses."""
        self.forget_peak()
        statuses = {status for status, _ in self.all_at_once(act)}
        peak = self.memory("VmHWM")
        with suppress(AssertionError):
            wait_until(lambda: self.memory("RssAnon") < REST, REST_WITHIN)
        print(f"peak {peak} MiB, then {self.memory('RssAnon')} MiB")  # shown when the test has failed
        assert self.memory("RssAnon") < REST
        assert peak < PEAK
        return statuses


def form_data(name: str, content: bytes) -> tuple[bytes, str]:
    """(body, content type) of a form that sends one file."""
    head = f'--part\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--part--\r\n", "multipart/form-data; boundary=part"


def bombs(folder: Path) -> dict[str, bytes]:
    """Small files of every format that unfold to much, or hold more than a page should read."""
    blank = b"\n" * 2**28
    lists = b"[" + b"[]," * 2_000_000 + b"[]]"
    cells = b"prompt,chosen,rejected\n" + b'"' + b"a" * 2**26 + b'",b,c\n'
    return {
        "blank.jsonl.gz": gzip.compress(blank, 9),
        "lists.json.gz": gzip.compress(lists, 9),
        "cells.csv.gz": gzip.compress(cells, 9),
        "cells.tsv": cells.replace(b",", b"\t"),
        "line.jsonl": b'{"prompt": "' + b"a" * 2**26 + b'"}\n',
        "dictionary.parquet": dictionary(folder / "dictionary.parquet").read_bytes(),
        "row.parquet": one_row_of(folder / "row.parquet", same(MEGABYTE, 7_000)).read_bytes(),
    }


@pytest.fixture
def people(transactional_db: None) -> list[User]:
    return [UserFactory.create(is_staff=True) for _ in range(CLIENTS)]


@pytest.fixture
def comparisons(people: list[User]) -> list[Comparison]:
    """Twenty cases for a reviewer, each as long as a row of a file may be."""
    dataset = DatasetFactory.create(name="Kitchen")
    for person in people:
        Member.objects.create(dataset=dataset, user=person, role=Role.ADMIN)
    dataset.guidelines.create(number=1, text=TEXT)
    pairs = []
    for number in range(20):
        messages = [{"role": "user", "content": f"{number} {TEXT[:900_000]}"}]
        comparison = ComparisonFactory.create(
            prompt__dataset=dataset,
            prompt__messages=messages,
            prompt__group=f"{number // 2:064}",
            a__text=f"{number} {TEXT}",
            b__text=f"{number}, {TEXT[::-1]}",
        )
        for outcome in "ab":
            JudgmentFactory.create(comparison=comparison, outcome=outcome)
        pairs.append(comparison)
    return pairs


@pytest.fixture
def web(people: list[User], comparisons: list[Comparison], tmp_path: Path) -> Iterator[Web]:
    with web_process(tmp_path / "web.log") as (port, process):
        yield Web(port, process, [client_of(person) for person in people])


def test_pages_of_large_texts_leave_the_web_process_small(web, comparisons):
    dataset = comparisons[0].dataset_id
    pages = {
        name: reverse(name, args=[dataset]) for name in ("settings", "annotate", "review", "data", "groups")
    }
    for page in pages.values():
        assert web.stays_small(lambda n, page=page: web.ask(n, "GET", page)) == {200}

    found = f"{pages['data']}?q=sentence"
    prompts = [reverse("prompt", args=[comparison.prompt_id]) for comparison in comparisons]
    cases = [reverse("review_case", args=[comparison.pk]) for comparison in comparisons]
    assert web.stays_small(lambda n: web.ask(n, "GET", found)) == {200}
    assert web.stays_small(lambda n: web.ask(n, "GET", prompts[n])) == {200}
    assert web.stays_small(lambda n: web.ask(n, "GET", cases[n])) == {200}


def test_large_texts_and_files_that_ten_clients_send_leave_it_small(web, comparisons, tmp_path):
    dataset = comparisons[0].dataset
    guidelines, uploads = (reverse(name, args=[dataset.pk]) for name in ("guidelines_revise", "import"))
    text = urlencode({"text": TEXT[::-1], "based_on": 1})
    statuses = web.stays_small(
        lambda n: web.ask(n, "POST", guidelines, text, "application/x-www-form-urlencoded")
    )
    assert statuses <= {
        302,
        400,
    }  # the first is stored; a copy of it is none, and what is based on the old is told so

    row = json.dumps({"prompt": "Why?", "chosen": TEXT, "rejected": TEXT[::-1]}).encode() + b"\n"
    large = form_data("large.jsonl", row * (UPLOAD // len(row)))
    assert web.stays_small(lambda n: web.ask(n, "POST", uploads, *large)) == {302}
    previews = [reverse("import_preview", args=[pk]) for pk in dataset.uploads.values_list("pk", flat=True)]
    assert web.stays_small(lambda n: web.ask(n, "GET", previews[n])) == {200}


def test_previews_of_bombs_leave_it_small(web, comparisons, tmp_path):
    dataset = comparisons[0].dataset
    for name, content in bombs(tmp_path).items():
        sent = form_data(name, content)
        status, _ = web.ask(0, "POST", reverse("import", args=[dataset.pk]), *sent)
        assert status == 302, name
        preview = reverse("import_preview", args=[dataset.uploads.order_by("-created_at").first().pk])

        assert web.stays_small(lambda n, preview=preview: web.ask(n, "GET", preview)) == {200}, name
