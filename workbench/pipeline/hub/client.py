"""The hub's own client behind the check of hosts, for workers: each request, and each redirect, is checked at
its own moment, and connects to the very address that was checked."""

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpcore2
import httpx2
import huggingface_hub.utils
from django.conf import settings
from huggingface_hub import HfApi, constants, hf_hub_url, set_client_factory
from huggingface_hub import errors as hub
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import default_client_factory, get_session, hf_raise_for_status

from workbench.pipeline.hub import hosts
from workbench.pipeline.outbound.addresses import name_of
from workbench.pipeline.outbound.connecting import CheckedAddresses
from workbench.pipeline.runs.progress import Refused

SILENCE_SECONDS = 30.0
"""A host that says nothing for so long is given up."""
MOST_REDIRECTS = 5
_client = threading.RLock()


class _CheckedTransport(httpx2.HTTPTransport):
    def __init__(self) -> None:
        context = ssl.create_default_context()
        super().__init__(verify=context)
        # The public constructor takes no network backend.
        backend = CheckedAddresses(hosts.addresses_of)
        self._pool = httpcore2.ConnectionPool(ssl_context=context, network_backend=backend)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        hosts.refuse_unlisted(request.url.scheme, request.url.host, request.url.port)
        return super().handle_request(request)


def checked_client() -> httpx2.Client:
    # trust_env: a proxy of the environment would resolve names itself, unchecked.
    return httpx2.Client(
        transport=_CheckedTransport(),
        follow_redirects=True,
        max_redirects=MOST_REDIRECTS,
        trust_env=False,
        timeout=SILENCE_SECONDS,
    )


@contextmanager
def hub_client() -> Iterator[HfApi]:
    """The hub's client with checked requests; all other use of huggingface_hub in this process waits for
    nothing and is checked as well meanwhile."""
    with _client:
        xet = constants.HF_HUB_DISABLE_XET
        # Xet has a network stack of its own, which would pass by the check.
        constants.HF_HUB_DISABLE_XET = True
        set_client_factory(checked_client)
        huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]  # no stub exports it
        try:
            # False: no token that somebody's login left on the disk.
            yield HfApi(endpoint=settings.HUB_URL, token=settings.HUB_TOKEN or False)
        finally:
            set_client_factory(default_client_factory)
            constants.HF_HUB_DISABLE_XET = xet


@contextmanager
def opened(
    hub: HfApi, repository: str, path: str, revision: str, repo_type: str = "dataset"
) -> Iterator[httpx2.Response]:
    """A file of a repository, to be read as it is sent: no compression on the way, so that the bytes are
    those that the hub has the digest of. The token goes to the hub, and to no host that it redirects to."""
    url = hf_hub_url(repository, path, repo_type=repo_type, revision=revision, endpoint=hub.endpoint)
    headers = {**build_hf_headers(token=hub.token), "Accept-Encoding": "identity"}
    with get_session().stream("GET", url, headers=headers) as response:
        if response.status_code >= 400:
            response.read()
        hf_raise_for_status(response)
        yield response


@contextmanager
def in_words(repository: str, revision: str = "main") -> Iterator[None]:
    """Turn what goes wrong between us and the hub into Refused, in a sentence without addresses: a signed
    address is a credential."""
    try:
        yield
    except (httpx2.HTTPError, RuntimeError, OSError, ValueError) as error:
        # The client wraps the errors of an upload, and ours with them.
        cause = _first_of(error, Refused, httpx2.HTTPError, hub.HFValidationError)
        if cause is None or (cause is error and isinstance(error, Refused)):
            raise
        if isinstance(cause, Refused):
            raise cause from None
        raise Refused(_sentence(cause, repository, revision)) from None


def _sentence(error: BaseException, repository: str, revision: str) -> str:
    name = hosts.hub_host()
    if isinstance(error, hub.HFValidationError):
        return f"{repository} is not the name of a repository, such as owner/name."
    if isinstance(error, hub.GatedRepoError):
        return f"{repository} is gated: accept its terms on the hub, and set HF_TOKEN for the workers."
    if isinstance(error, hub.RevisionNotFoundError):
        return f"{repository} has no revision {revision}."
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"{name} has no repository {repository}, or it is private and HF_TOKEN may not read it."
    return _refusal(error, repository) if isinstance(error, hub.HfHubHTTPError) else _silence(error)


def _refusal(error: hub.HfHubHTTPError, repository: str) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return f"{hosts.hub_host()} refused: HF_TOKEN has no right to do this with {repository}."
    if status == 429:
        return f"{hosts.hub_host()} had too many requests from here. Try again in a few minutes."
    said = re.sub(r"\s+", " ", re.sub(r"https?://\S+", "", error.server_message or ""))[:200].strip()
    return f"{hosts.hub_host()} answered {status}{f': {said}' if said else ''}."


def _silence(error: BaseException) -> str:
    name = hosts.hub_host()
    if isinstance(error, httpx2.RequestError):
        with suppress(RuntimeError):  # an error without a request
            name = name_of(error.request.url.host, error.request.url.port)
    if isinstance(error, httpx2.TimeoutException):
        return f"{name} did not answer for {SILENCE_SECONDS:.0f} seconds. Try again later."
    if isinstance(error, httpx2.TooManyRedirects):
        return f"{name} redirects without an end."
    return f"{name} cannot be reached ({type(error).__name__}). Try again later."


def _first_of(error: BaseException, *kinds: type[BaseException]) -> BaseException | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, kinds):
        seen = seen.__cause__ or seen.__context__
    return seen
