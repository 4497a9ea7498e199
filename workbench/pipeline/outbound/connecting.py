"""Connections to addresses that were checked at this very moment, within a limit of time for all of it."""

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2

AddressesOf = Callable[[str, int], list[str]]


class CheckedAddresses(httpcore2.SyncBackend):
    """Connects to the addresses that passed the check. TLS still proves the name of the host.

    until: the moment, of time.monotonic, at which whatever is going on is given up; None = no limit."""

    def __init__(self, addresses_of: AddressesOf) -> None:
        self._addresses_of = addresses_of
        self.until: float | None = None

    def left(self, timeout: float | None) -> float | None:
        """Seconds that a step may take. Raises ReadTimeout when the time is over."""
        if self.until is None:
            return timeout
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("The time is over")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            addresses = self._addresses_of(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for n, address in enumerate(addresses, start=1):
            try:
                stream = super().connect_tcp(address, port, self.left(timeout), local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if n == len(addresses):
                    raise
            else:
                return _Bounded(stream, self)
        raise httpcore2.ConnectError(f"{host} has no address")


class _Bounded(httpcore2.NetworkStream):
    """A stream of which each step takes what is left of the time at most: a receiver that sends a byte now
    and then would never run into a limit of each step."""

    def __init__(self, stream: httpcore2.NetworkStream, limits: CheckedAddresses) -> None:
        self._stream, self._limits = stream, limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._limits.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._limits.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._limits.left(timeout))
        return _Bounded(stream, self._limits)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
