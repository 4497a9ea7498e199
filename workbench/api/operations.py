"""All operations: what the API is made of."""

from ninja import NinjaAPI
from ninja.operation import Operation
from ninja.security import HttpBearer

from workbench.api import (
    annotate,
    data,
    datasets,
    external,
    history,
    imports,
    invitations,
    items,
    own,
    people,
    quality,
    refusals,
    releases,
    review,
    runs,
    system,
    tokens,
    versions,
    webhooks,
)
from workbench.api.requests import once_per_key


class Bearer(HttpBearer):
    """Says in the document how programs get in. `programs.Programs` has let them in before."""

    def authenticate(self, request, token):  # type: ignore[no-untyped-def]
        return getattr(request, "token", None)


class Api(NinjaAPI):
    def get_openapi_operation_id(self, operation: Operation) -> str:
        """The name of its function: clients are made from these."""
        return operation.view_func.__name__

    def set_default_exception_handlers(self) -> None:
        """Problems, and not ninja's: those show tracebacks while DEBUG is on."""
        refusals.handle(self)


api = Api(
    title="Preference workbench",
    version="1",
    urls_namespace="api",
    openapi_url=None,
    docs_url=None,
    auth=Bearer(),
    parser=refusals.Objects(),
)
api.add_decorator(once_per_key, mode="view")
api.add_router("/datasets", datasets.router)
for noun in (
    runs,
    own,
    people,
    invitations,
    imports,
    data,
    items,
    annotate,
    review,
    history,
    quality,
    releases,
    versions,
    webhooks,
    system,
    tokens,
    external,
):
    api.add_router("", noun.router)
