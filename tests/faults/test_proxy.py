"""The web process behind nginx, with the configuration that compose mounts."""

import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from axes.models import AccessFailureLog
from django.urls import reverse

from tests import services
from tests.processes import ROOT, wait_until
from tests.webserver import ask, free_port, running, web
from workbench.models import Upload

pytestmark = pytest.mark.services

MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/a;
    uwsgi_temp_path {folder}/b;
    scgi_temp_path {folder}/c;
    include {folder}/site.conf;
}}
"""


@pytest.fixture(autouse=True)
def nginx_is_here() -> None:
    services.require(services.nginx())


@contextmanager
def nginx(
    folder: Path, upstream: int, https: int = 0, certificates: Path = Path()
) -> Iterator[tuple[int, int]]:
    """(http port, https port) of nginx before a web process."""
    ports = free_port(), free_port()
    values = {
        "UPSTREAM": f"127.0.0.1:{upstream}",
        "LISTEN": f"127.0.0.1:{ports[0]}",
        "LISTEN_TLS": f"127.0.0.1:{ports[1]}",
        "UPLOAD_MAX_BYTES": "4294967296",
        "CERTIFICATES": str(folder),
        "INCLUDED": str(folder),
        "ACCESS_LOG": str(folder / "access.log"),
        "ERROR_LOG": str(folder / "error.log"),
    }
    for template, name in ((f"site-{https}.conf.template", "site.conf"), ("proxy.inc.template", "proxy.inc")):
        text = (ROOT / "deploy" / "nginx" / template).read_text()
        for key, value in values.items():
            text = text.replace("${" + key + "}", value)
        (folder / name).write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    command = [str(services.nginx_path()), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with running(command, folder / "nginx.log"):
        wait_until(lambda: listens(ports[https]))
        yield ports


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def proxied(transactional_db: None, tmp_path: Path) -> Iterator[int]:
    with web(tmp_path / "web.log", PROXY_COUNT="1") as upstream, nginx(tmp_path, upstream) as (port, _):
        yield port


HEAD = b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"


@pytest.mark.long
@pytest.mark.parametrize("sent", [b"P", HEAD, HEAD + b"a" * 1000], ids=len)
def test_two_hundred_slow_clients_keep_nobody_waiting(sent, proxied):
    with ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", proxied)))
            client.sendall(sent)

        responses = [ask(proxied, "/healthz") for _ in range(5)]

    assert [status for status, _, _ in responses] == [200] * 5
    assert sorted(seconds for _, _, seconds in responses)[2] < 1


def test_a_stranger_s_file_is_refused_at_once_and_kept_by_neither(proxied, dataset, tmp_path):
    path = reverse("import", args=[dataset.pk])
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000000\r\n\r\n".encode()
    with closing(socket.create_connection(("127.0.0.1", proxied), timeout=10)) as client:
        client.sendall(head + b"a" * 100_000)

        assert client.recv(100).startswith(b"HTTP/1.1 302")
    assert not [file for file in (tmp_path / "bodies").rglob("*") if file.is_file()]


@pytest.mark.parametrize(("path", "megabytes"), [("/login/", 2), ("/datasets/1/settings/guidelines/", 11)])
def test_a_large_body_is_refused_by_its_length(path, megabytes, proxied):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {megabytes * 2**20}\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", proxied), timeout=10)) as client:
        client.sendall(head.encode())

        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_an_admin_s_large_file_goes_through(proxied, dataset, alice, as_user):
    row = b'{"prompt": "p", "chosen": "a", "rejected": "b"}\n'
    file = row * (20 * 2**20 // len(row))
    client = as_user(alice)
    client.get("/")
    cookies = f"sessionid={client.cookies['sessionid'].value}; csrftoken={'a' * 32}"
    start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
    kind = "multipart/form-data; boundary=x"
    headers = {"Cookie": cookies, "X-CSRFToken": "a" * 32, "Content-Type": kind}

    with closing(http.client.HTTPConnection("localhost", proxied, timeout=60)) as connection:
        connection.request(
            "POST", reverse("import", args=[dataset.pk]), start + file + b"\r\n--x--\r\n", headers
        )
        status = connection.getresponse().status

    assert status == 302
    assert Upload.objects.get().size == len(file)


def test_a_line_for_each_request_has_its_id_and_not_what_was_searched_for(proxied, tmp_path):
    ask(proxied, "/login/?next=/datasets/1/data/%3Fq%3Dsourdough", **{"X-Request-ID": "of-a-browser-1"})
    for holding_a_secret in ("/join/a-secret/", "/password/reset/1-a-secret/", "/account/verify/a-secret/"):
        ask(proxied, holding_a_secret)
    ask(proxied, "/help/?q=sourdough")
    written = tmp_path / "access.log"
    wait_until(lambda: " /help/ " in written.read_text(), 20)

    lines = [line for line in written.read_text().splitlines() if " /healthz " not in line]
    assert len(lines) == 2, "the links are in no line"
    assert re.fullmatch(r"127\.0\.0\.1 \[\S+\] GET /login/ 200 \d+ [\d.]+ of-a-browser-1", lines[0])
    assert "sourdough" not in written.read_text()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[int]:
    """The port of nginx before a web process that is gone."""
    with nginx(tmp_path, free_port()) as (port, _):
        yield port


def test_a_request_that_nobody_answers_has_a_line_without_its_query_and_its_secret(alone, tmp_path):
    headers = {"Referer": "http://localhost/datasets/1/data/?q=rye"}

    for path in ("/help/?q=sourdough", "/join/a-secret/?next=sourdough"):
        assert ask(alone, path, **headers)[0] == 502
    too_large = "POST /login/?q=sourdough HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", alone), timeout=10)) as client:
        client.sendall(too_large.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413")
    written = tmp_path / "access.log"
    wait_until(lambda: " /login/ 413 " in written.read_text(), 20)

    said = written.read_text() + (tmp_path / "error.log").read_text()
    assert " GET /help/ 502 " in said
    for part in ("sourdough", "a-secret", "rye"):
        assert part not in said


@pytest.mark.parametrize("forged", [None, "203.0.113.9", "203.0.113.9, 198.51.100.7"])
def test_failed_logins_are_counted_for_the_address_that_nginx_saw(forged, proxied):
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={'a' * 32}"}
    headers |= {"X-CSRFToken": "a" * 32} | ({"X-Forwarded-For": forged} if forged else {})
    with closing(http.client.HTTPConnection("localhost", proxied, timeout=10)) as connection:
        connection.request("POST", "/login/", "username=ann&password=wrong", headers)
        assert connection.getresponse().status == 200

    assert AccessFailureLog.objects.get().ip_address == "127.0.0.1"


def test_one_setting_makes_it_https(transactional_db, tmp_path):
    certificate = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", str(tmp_path / "privkey.pem"), "-out", str(tmp_path / "fullchain.pem")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))

    with (
        web(tmp_path / "web.log", PROXY_COUNT="1", HTTPS="1") as upstream,
        nginx(tmp_path, upstream, https=1) as (plain, port),
    ):
        with closing(
            http.client.HTTPSConnection("localhost", port, context=trusting, timeout=10)
        ) as connection:
            connection.request("GET", "/login/", headers={"Host": "localhost"})
            answer = connection.getresponse()
            answer.read()
        redirected = ask(plain, "/login/")[0]
        ready = ask(upstream, "/readyz", Host="10.1.2.3")

    assert answer.status == 200
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert redirected == 308
    assert ready[0] in {200, 503}  # static files were not collected here; never 400, never a redirect
    assert b'"ready"' in ready[1]
