"""Which addresses a webhook may have: the list of what is refused, row by row."""

import socket

import pytest

from workbench.pipeline.outbound import addresses
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.webhooks import targets

NO_ADDRESS = "This is no address"
PRIVATE = "has a private address"
ODD = "no IP address as it is usually written"
ONLY_HTTPS = "Only https is allowed"


@pytest.fixture(autouse=True)
def names(monkeypatch) -> dict[str, list[str]]:
    """A resolver that knows these names, and reads numbers as the system's does."""
    known = {"hooks.example": ["93.184.216.34"], "xn--bcher-kva.example": ["93.184.216.34"]}
    real = socket.getaddrinfo

    def look_up(host, port, **options):
        if host in known:
            return [(2, 1, 6, "", (address, port)) for address in known[host]]
        if host == "localhost" or ":" in host or host[-1].isdigit():
            return real(host, port, **options)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    return known


REFUSED = [
    # IPv4
    ("https://127.0.0.1/", PRIVATE),
    ("https://10.0.0.1/", PRIVATE),
    ("https://172.16.0.1/", PRIVATE),
    ("https://192.168.0.1:8443/", PRIVATE),
    ("https://169.254.169.254/latest/meta-data/", PRIVATE),
    ("https://168.63.129.16/machine/?comp=goalstate", PRIVATE),  # Azure's, though a global address
    ("https://100.64.0.1/", PRIVATE),
    ("https://0.0.0.0/", PRIVATE),
    ("https://224.0.0.1/", PRIVATE),
    ("https://240.0.0.1/", PRIVATE),
    ("https://255.255.255.255/", PRIVATE),
    # as a decimal, octal or hexadecimal number, short, or with other digits
    ("https://2130706433/", ODD),
    ("https://0x7f000001/", ODD),
    ("https://0x7f.0.0.1/", ODD),
    ("https://0177.0.0.1/", ODD),
    ("https://127.1/", ODD),
    ("https://0/", ODD),
    ("https://134744072/", ODD),
    ("https://127.0.0.1./", PRIVATE),
    ("https://１２７.0.0.1/", PRIVATE),
    ("https://127。0。0。1/", PRIVATE),
    ("https://%31%32%37.0.0.1/", NO_ADDRESS),
    # IPv6
    ("https://[::1]/", PRIVATE),
    ("https://[::]/", PRIVATE),
    ("https://[fe80::1]/", PRIVATE),
    ("https://[fe80::1%25eth0]/", NO_ADDRESS),
    ("https://[fc00::1]/", PRIVATE),
    ("https://[fd00:ec2::254]/", PRIVATE),
    ("https://[ff02::1]/", PRIVATE),
    ("https://[2001:db8::1]/", PRIVATE),
    ("https://[::ffff:127.0.0.1]/", PRIVATE),
    ("https://[::ffff:7f00:1]/", PRIVATE),
    ("https://[::ffff:169.254.169.254]/", PRIVATE),
    ("https://[::7f00:1]/", PRIVATE),
    ("https://[64:ff9b::a9fe:a9fe]/", PRIVATE),
    ("https://[64:ff9b:1::a00:1]/", PRIVATE),
    ("https://[2002:7f00:1::]/", PRIVATE),
    ("https://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/", PRIVATE),
    # names
    ("https://localhost/", PRIVATE),
    ("https://LOCALHOST:8000/", PRIVATE),
    ("https://unknown.example/", "No host is called unknown.example"),
    # what is no plain address
    ("http://hooks.example/", ONLY_HTTPS),
    ("http://127.0.0.1/", ONLY_HTTPS),
    ("ftp://hooks.example/", ONLY_HTTPS),
    ("file:///etc/passwd", NO_ADDRESS),
    ("gopher://hooks.example/", ONLY_HTTPS),
    ("hooks.example/votes", NO_ADDRESS),
    ("//hooks.example/votes", ONLY_HTTPS),
    ("https://", NO_ADDRESS),
    ("https:///votes", NO_ADDRESS),
    ("https://hooks.example:99999/", NO_ADDRESS),
    ("https://hooks .example/", NO_ADDRESS),
    ("https://-hooks.example/", NO_ADDRESS),
    ("https://[::1/", NO_ADDRESS),
    ("https://[::1]x/", NO_ADDRESS),
    ("https://[::1]:/", NO_ADDRESS),
    ("https://user@[::1]/", "can’t hold a name"),
    ("https://user@hooks.example/", "can’t hold a name"),
    ("https://user:password@hooks.example/", "can’t hold a name"),
    ("https://hooks.example@127.0.0.1/", "can’t hold a name"),
    ("https://hooks.example\\@127.0.0.1/", "can’t hold a name"),
    ("https://hooks.example/votes#top", "Leave out"),
    ("https://hooks.example/a b", "plain ASCII"),
    ("https://hooks.example/ä", "plain ASCII"),
    ("https://hooks.example/" + "a" * 500, "more than 500"),
]


@pytest.mark.parametrize(("url", "why"), REFUSED)
def test_an_address_is_refused_with_the_reason(url, why):
    with pytest.raises(Refused, match=why):
        targets.checked(url)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("https://hooks.example/votes", "https://hooks.example/votes"),
        ("  https://HOOKS.example  ", "https://hooks.example/"),
        ("https://hooks.example.:8443/a?b=c%20d", "https://hooks.example:8443/a?b=c%20d"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
    ],
)
def test_an_address_that_everybody_can_reach_is_stored_in_one_form(typed, stored):
    assert targets.checked(typed) == stored
    assert targets.checked(stored) == stored


def test_one_private_address_of_several_refuses_the_host(names):
    names["hooks.example"].append("10.0.0.1")

    with pytest.raises(Refused, match=r"private.*WEBHOOK_PRIVATE_HOSTS"):
        targets.checked("https://hooks.example/")


def test_an_operator_may_allow_a_host_of_the_own_network_by_https_alone(names, settings):
    names["hooks.example"][:] = ["10.0.0.1"]
    settings.WEBHOOK_PRIVATE_HOSTS = ["hooks.example"]

    assert targets.checked("https://hooks.example/") == "https://hooks.example/"
    with pytest.raises(Refused, match=ONLY_HTTPS):
        targets.checked("http://hooks.example/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_in_development_http_is_fine_on_this_machine(host, settings):
    settings.DEBUG = True

    assert targets.checked(f"http://{host}:8000/") == f"http://{host}:8000/"


@pytest.mark.parametrize("url", ["http://hooks.example/", "http://10.0.0.1/", "https://10.0.0.1/"])
def test_in_development_no_other_host_gains_anything(url, settings):
    settings.DEBUG = True

    with pytest.raises(Refused):
        targets.checked(url)
