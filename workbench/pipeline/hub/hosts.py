"""Where a worker may send a request: https, to a host that staff allowed, at an address that is public."""

import re
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from workbench.models import AllowedHost, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.outbound import addresses
from workbench.pipeline.outbound.addresses import LOOPBACK, HostRefused, name_of

SUGGESTED = ("huggingface.co", "cas-bridge.xethub.hf.co", "cdn-lfs.hf.co", "cdn-lfs-us-1.hf.co")
"""The public hub, and hosts that it sends large files from."""

_NAME = re.compile(
    r"(?=.{1,253}(:|$))([a-z0-9]([a-z0-9-]*[a-z0-9])?\.?)+(:[0-9]{1,5})?|\[[0-9a-f:.]+\](:[0-9]{1,5})?"
)


def hub_host() -> str:
    """The name of the hub's host."""
    address = urlsplit(settings.HUB_URL)
    return name_of(address.hostname or "", address.port)


def read_name(text: str) -> str:
    """The name of a host that somebody typed, perhaps as an address of a page; "" for no such name."""
    text = text.strip()
    try:
        address = urlsplit(text if "//" in text else f"//{text}")
        host = (
            (address.hostname or "").encode("idna").decode()
            if ":" not in (address.hostname or "")
            else address.hostname
        )
        name = name_of(host or "", address.port)
    except (ValueError, UnicodeError):
        return ""
    return name if _NAME.fullmatch(name) else ""


def is_allowed(name: str) -> bool:
    return AllowedHost.objects.filter(name=name).exists()


@transaction.atomic
def allow(name: str, by: User) -> AllowedHost:
    """The row of the host, new or not."""
    host, is_new = AllowedHost.objects.get_or_create(name=name, defaults={"added_by": by})
    if is_new:
        record(Kind.HOST_ALLOWED, by=by, target=host)
    return host


@transaction.atomic
def remove(host: AllowedHost, by: User) -> None:
    record(Kind.HOST_REMOVED, by=by, target=host)
    host.delete()


def refuse_unlisted(scheme: str, host: str, port: int | None) -> None:
    """Raise HostRefused for a request that is not https, or goes to a host that nobody has allowed. In
    development, http is fine on this machine."""
    name = name_of(host, port)
    if scheme != "https" and not (scheme == "http" and settings.DEBUG and host in LOOPBACK):
        raise HostRefused(name, f"{name} would be asked by {scheme}. Only https is allowed.")
    if not is_allowed(name):
        raise HostRefused(
            name,
            f"Requests to {name} are not allowed. Staff can allow this host on the page “Allowed hosts”.",
        )


def addresses_of(host: str, port: int) -> list[str]:
    """The addresses of an allowed host, to connect to these and no others. Raises HostRefused for a host with
    a private address, unless PRIVATE_HOSTS names it, and OSError for an unknown name."""
    return addresses.addresses_of(host, port, settings.PRIVATE_HOSTS, "PRIVATE_HOSTS")
