"""Where a request may go: to a host at public addresses, or at any that the operator allows."""

import queue
import re
import socket
import threading
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from workbench.pipeline.runs.progress import Refused

HTTPS_PORT = 443
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NAT64 = IPv6Network("64:ff9b::/96")
_OF_CLOUDS = {IPv4Address("168.63.129.16")}
"""Global by its number, and yet Azure's own: it tells each machine its settings."""
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class HostRefused(Refused):
    """A request may not go to `host`."""

    def __init__(self, host: str, message: str) -> None:
        super().__init__(message)
        self.host = host


def name_of(host: str, port: int | None) -> str:
    """The name of a host as people allow it: "huggingface.co", or "[::1]:8080"."""
    host = f"[{host}]" if ":" in host else host.lower()
    return host if port in (None, HTTPS_PORT) else f"{host}:{port}"


def addresses_of(
    host: str, port: int, private_hosts: Collection[str], setting: str, seconds: float | None = None
) -> list[str]:
    """The addresses of a host, to connect to these and no others. Raises HostRefused for a host with a
    private address, unless one of `private_hosts` (of the setting with this name) names it, and OSError for
    an unknown name, or one that is not found within `seconds`."""
    name = name_of(host, port)
    if _is_odd_number(host):
        raise HostRefused(name, f"{name} is no name, and no IP address as it is usually written.")
    found = _look_up(host, port, seconds)
    if not {name, name_of(host, None)} & set(private_hosts) and not all(map(is_public, found)):
        sentence = f"Whoever runs this workbench can allow it in {setting}."
        raise HostRefused(name, f"{name} has a private address. {sentence}")
    return found


def is_public(address: str) -> bool:
    """Whether an IP address is reachable for everybody: not private, loopback, link-local (where clouds keep
    their metadata), reserved, multicast or a cloud's own, also where IPv6 wraps such an address of IPv4."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and (inner := _inside(ip)) is not None:
        ip = inner
    is_site_local = isinstance(ip, IPv6Address) and ip.is_site_local
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or is_site_local or ip in _OF_CLOUDS)


def _inside(ip: IPv6Address) -> IPv4Address | None:
    if ip.teredo:
        return ip.teredo[1]
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _is_odd_number(host: str) -> bool:
    """Whether resolvers would read the host as an address of IPv4 that is not written as usual: 2130706433,
    0x7f.1, 0177.0.0.1."""
    if ":" in host or not _NUMBER.fullmatch(host.lower().rstrip(".").rpartition(".")[2]):
        return False
    try:
        return str(IPv4Address(host)) != host
    except ValueError:
        return True


def _look_up(host: str, port: int, seconds: float | None) -> list[str]:
    """All addresses of the host. The resolver knows no limit of time, so it has a thread of its own."""
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(OSError(f"{host} is not known ({error})"))
        else:
            answers.put(list(dict.fromkeys(str(at[4][0]) for at in found)))

    threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"{host} was not found in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer
