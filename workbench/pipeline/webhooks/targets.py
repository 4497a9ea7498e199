"""Addresses that a webhook may have: https, at a public host or one that the operator allows."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings

from workbench.pipeline.outbound import addresses
from workbench.pipeline.outbound.addresses import LOOPBACK, HostRefused, name_of
from workbench.pipeline.runs.progress import Refused

LONGEST = 500
LOOK_UP_SECONDS = 5.0
SETTING = "WEBHOOK_PRIVATE_HOSTS"
EXAMPLE = "Write the address as in https://hooks.example.org/votes."
_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_IN_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_PLAIN = re.compile(r"[!-~]+")
"""Printable ASCII: no spaces, and nothing that a client could read in another way."""


def checked(url: str) -> str:
    """The address in the form that is stored, after all checks, the look-up of its host included. Raises
    Refused with the reason."""
    url = read(url)
    host, port = host_of(url)
    try:
        addresses_of(host, port, LOOK_UP_SECONDS)
    except OSError:
        raise Refused(f"No host is called {host}. Check the spelling, and that it has an address.") from None
    return url


def read(url: str) -> str:
    """The address in the form that is stored, with its host in small letters and in ASCII. Raises Refused for
    one that no request may go to, whatever its host's addresses are."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host = host.encode("idna").decode().lower().rstrip(".")
    except (ValueError, UnicodeError):
        raise Refused(f"This is no address. {EXAMPLE}") from None
    if len(url) > LONGEST:
        raise Refused(f"The address has {len(url)} characters, more than {LONGEST}.")
    if parts.username is not None or parts.password is not None:
        raise Refused("An address can’t hold a name or a password. Put a secret into its path, if you must.")
    # urlsplit takes "[::1]x" for "::1".
    if not (_IN_BRACKETS.fullmatch(parts.netloc) if ":" in host else _HOST.fullmatch(host)):
        raise Refused(f"This is no address. {EXAMPLE}")
    if parts.fragment:
        raise Refused("Leave out “#” and what comes after it: no request carries this part.")
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if not _PLAIN.fullmatch(path) or "\\" in url:
        raise Refused("Write signs that are not plain ASCII in the path as %20 and the like.")
    refuse_scheme(parts.scheme, host)
    return f"{parts.scheme}://{_netloc(host, port)}{path}"


def _netloc(host: str, port: int | None) -> str:
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def host_of(url: str) -> tuple[str, int]:
    """Host and port of a stored address."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else addresses.HTTPS_PORT)


def scheme_and_host(url: str) -> tuple[str, str]:
    """Of a stored address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or ""


def refuse_scheme(scheme: str, host: str) -> None:
    """Raise HostRefused unless the scheme is https, or http to this machine in development."""
    if scheme != "https" and not (scheme == "http" and settings.DEBUG and host in LOOPBACK):
        shown = scheme or "no scheme"
        raise HostRefused(host, f"Only https is allowed, and this address has {shown}. {EXAMPLE}")


def addresses_of(host: str, port: int, seconds: float | None = None) -> list[str]:
    """The addresses to connect to, and no others. Raises HostRefused and OSError as outbound.addresses."""
    return addresses.addresses_of(host, port, _private_hosts(), SETTING, seconds)


def _private_hosts() -> Collection[str]:
    own = [name_of(host, None) for host in LOOPBACK] if settings.DEBUG else []
    return [*settings.WEBHOOK_PRIVATE_HOSTS, *own]
