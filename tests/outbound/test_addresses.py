"""Which addresses a request may go to."""

import socket
import time

import pytest

from workbench.pipeline.outbound import addresses
from workbench.pipeline.outbound.addresses import HostRefused, addresses_of, is_public


def resolves_to(monkeypatch, *found: str) -> None:
    rows = [(2, 1, 6, "", (address, 443)) for address in found]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: rows)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.16.5.4", "192.168.1.1", "127.0.0.1", "0.0.0.0", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fd00:ec2::254", "fc00::1", "fec0::1", "ff02::1", "100::1", "2001:db8::1",
        "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe", "64:ff9b::127.0.0.1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe", "168.63.129.16", "::ffff:168.63.129.16",
        "64:ff9b::168.63.129.16",
    ],
)  # fmt: skip
def test_an_address_that_is_not_for_everybody_is_private(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "168.63.129.17", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch):
    resolves_to(monkeypatch, "8.8.8.8", "10.0.0.1")

    with pytest.raises(HostRefused, match=r"^hub.example has a private address.*in A_SETTING\."):
        addresses_of("hub.example", 443, (), "A_SETTING")


@pytest.mark.parametrize("allowed", ["hub.example", "hub.example:8443"])
def test_an_operator_may_allow_the_private_address_of_a_host(allowed, monkeypatch):
    resolves_to(monkeypatch, "10.0.0.1")

    assert addresses_of("hub.example", 8443, [allowed], "A_SETTING") == ["10.0.0.1"]


def test_an_allowed_port_allows_no_other(monkeypatch):
    resolves_to(monkeypatch, "10.0.0.1")

    with pytest.raises(HostRefused):
        addresses_of("hub.example", 443, ["hub.example:8443"], "A_SETTING")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "8.8.2056"])
def test_a_number_that_only_some_read_as_an_address_is_refused_without_a_look(host, monkeypatch):
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))

    with pytest.raises(HostRefused, match="no IP address as it is usually written"):
        addresses_of(host, 443, [], "A_SETTING")


def test_a_name_that_nobody_knows_is_an_error_of_the_system(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(addresses.socket, "getaddrinfo", unknown)

    with pytest.raises(OSError, match=r"hub\.example is not known"):
        addresses_of("hub.example", 443, (), "A_SETTING")


def test_a_resolver_that_hangs_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: time.sleep(2) or [])
    began = time.monotonic()

    with pytest.raises(OSError, match="was not found in time"):
        addresses_of("hub.example", 443, (), "A_SETTING", seconds=0.1)

    assert time.monotonic() - began < 1
