"""Tokens for programs: one's own, and those that reach a dataset."""

from collections.abc import Iterable

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from workbench import access
from workbench.forms.tokens import ServiceAccountForm, ServiceTokenForm, TokenForm
from workbench.models import Dataset, Role, Token
from workbench.models.tokens import TokenQuerySet
from workbench.pipeline.people import tokens as pipeline
from workbench.pipeline.runs.progress import Refused
from workbench.views import orders, page_to_return_to

A_PAGE = 50
SORTS: orders.Sorts = {
    "newest": ("Newest", ["-pk"]),
    "name": ("By name", ["name", "-pk"]),
    "used": ("Last used", [F("last_used_at").desc(nulls_last=True), "-pk"]),
    "unused": ("Longest unused", [F("last_used_at").asc(nulls_first=True), "pk"]),
    "ends": ("Ends first", [F("revoked_at").asc(nulls_first=True), "expires_at", "-pk"]),
}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """One's own tokens. A POST makes one, and its answer is the only place that shows the secret."""
    user = access.person(request.user)
    datasets = list(access.datasets_of(user).in_use())
    form = TokenForm(request.POST or None, datasets=datasets)
    made = None
    if form.is_valid():
        try:
            made = form.made(user, by=user)
        except Refused as refused:
            form.add_error(None, str(refused))
    shown = TokenForm(datasets=datasets) if made else form
    context = {
        "form": shown,
        "made": made,
        "first": _to_push_to(made[0], datasets) if made else None,
        "address": request.build_absolute_uri("/").rstrip("/"),
        **page_of_tokens(request, Token.objects.filter(user=user)),
        "has_datasets": bool(datasets),
    }
    return render(request, "tokens/tokens.html", context, status=400 if shown.errors else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def programs(request: HttpRequest, pk: int) -> HttpResponse:
    """The tokens that reach a dataset, and its service accounts. A POST makes one, or its token."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    by = access.person(request.user)
    account, form, made = ServiceAccountForm(), ServiceTokenForm(dataset=dataset), None
    try:
        if "service-name" in request.POST:
            account = ServiceAccountForm(request.POST)
            if account.is_valid():
                name, role = account.cleaned_data["name"], Role(account.cleaned_data["role"])
                pipeline.add_service_account(dataset, name, role, by)
                messages.info(request, f"{name} is a service account now. Make a token for it.")
                return redirect("programs", pk)
        elif request.method == "POST":
            form = ServiceTokenForm(request.POST, dataset=dataset)
            if form.is_valid():
                made = form.made(form.cleaned_data["account"], by)
                form = ServiceTokenForm(dataset=dataset)
    except Refused as refused:
        (account if account.is_bound else form).add_error(None, str(refused))
    context = {
        "dataset": dataset,
        "tab": "people",
        "account": account,
        "form": form,
        "accounts": _service_accounts(dataset),
        "made": made,
        **page_of_tokens(request, Token.objects.reaching(dataset)),
    }
    return render(
        request, "tokens/programs.html", context, status=400 if account.errors or form.errors else 200
    )


@require_POST
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    token = access.token_to_revoke(request.user, pk)
    pipeline.revoke(token, access.person(request.user))
    messages.info(request, f"Revoked {token}. Programs that send it are refused from now on.")
    return redirect(page_to_return_to(request) or reverse("tokens"))


def _to_push_to(token: Token, datasets: Iterable[Dataset]) -> Dataset | None:
    """The newest of one's datasets that a program with the token can push rows to; None = none."""
    if token.scope != Token.Scope.MANAGE:
        return None
    named = None if token.is_for_all else {dataset.pk for dataset in token.datasets.all()}
    own = [dataset for dataset in datasets if dataset.role == Role.ADMIN]
    reached = [dataset for dataset in own if named is None or dataset.pk in named]
    return max(reached, key=lambda dataset: dataset.pk, default=None)


def _service_accounts(dataset: Dataset) -> list[tuple[str, str]]:
    """(name, role) of each."""
    members = dataset.members.filter(user__is_service=True).select_related("user").order_by("user__username")
    return [(str(member.user), member.role) for member in members]


def page_of_tokens(request: HttpRequest, tokens: TokenQuerySet) -> dict[str, object]:
    """For tokens/table.html: a page of them, in the chosen order."""
    sort = orders.chosen(request, SORTS)
    ordered = tokens.listed().order_by(*SORTS[sort][1])
    page = Paginator(ordered, A_PAGE).get_page(request.GET.get("page"))
    return {"page": page, **orders.links(SORTS, sort)}
