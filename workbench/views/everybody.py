"""Everybody with an account, for staff: find, make, change, close and erase."""

from collections.abc import Callable

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from workbench import access, mails
from workbench.forms.accounts import EraseForm, NameAndAddressForm, NewAccountForm
from workbench.mails import origin_of
from workbench.models import Token, User
from workbench.pipeline.people import accounts as pipeline
from workbench.pipeline.people import erasing, own
from workbench.pipeline.runs.progress import Refused
from workbench.views import orders
from workbench.views.tokens import page_of_tokens

A_PAGE = 100
SORTS: orders.Sorts = {
    "name": ("By name", ["-is_active", "username"]),
    "newest": ("Newest", ["-pk"]),
    "login": ("Last login", [F("last_login").desc(nulls_last=True), "-pk"]),
    "datasets": ("Most datasets", ["-datasets", "username"]),
}

Act = Callable[[User, User], None]
ACTS: dict[str, tuple[Act, str]] = {
    "make-staff": (pipeline.make_staff, "{} is staff now."),
    "end-staff": (pipeline.end_staff, "{} is no longer staff."),
    "close": (pipeline.close, "{} is closed: nobody can log in with it."),
    "open": (pipeline.reopen, "{} is open again."),
    "log-out": (pipeline.log_out, "{} is logged out everywhere."),
    "end-second-step": (pipeline.end_second_step, "{} logs in by password alone now."),
    "unlink": (pipeline.unlink, "{} is linked to no provider any more."),
    "mail-link": (pipeline.note_mailed_link, "A link to set a password goes to {0.email}."),
    "show-link": (pipeline.note_link, ""),
}
"""What staff do to an account: the function, and what the page then says."""


@require_http_methods(["GET", "HEAD", "POST"])
def accounts(request: HttpRequest) -> HttpResponse:
    """The list, with the form that makes an account."""
    by = access.staff_only(request.user)
    form = NewAccountForm(request.POST or None)
    if form.is_valid() and (account := form.created(by)):
        messages.info(request, f"{account} has an account. Give them a link to set a password.")
        return redirect("accounts_person", pk=account.pk)
    q = request.GET.get("q", "").strip()
    sort = orders.chosen(request, SORTS)
    found = pipeline.found(q).order_by(*SORTS[sort][1])
    page = Paginator(found, A_PAGE).get_page(request.GET.get("page"))
    context = {"form": form, "q": q, "page": page, **orders.links(SORTS, sort)}
    return render(request, "accounts/accounts.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def one_account(request: HttpRequest, pk: int) -> HttpResponse:
    """One account with its datasets and tokens. A POST gives it another name or mail address."""
    account = access.account_for(request.user, pk)
    name, address = account.username, account.email
    form = NameAndAddressForm(request.POST if request.method == "POST" else None, account=account)
    if not form.is_valid():
        return _page(request, account, form)
    try:
        if not form.store(access.person(request.user)):
            return _page(request, account, form)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("accounts_person", pk=pk)
    if name != account.username:
        mails.tell_of_change(account, "name", origin_of(request), to=address)
    if address and address != account.email:
        mails.tell_of_change(account, "mail address", origin_of(request), to=address)
    messages.info(request, f"Saved the name and mail address of {account}.")
    return redirect("accounts_person", pk=pk)


@require_POST
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """Do one of ACTS. A link to copy is shown once, on the page that answers."""
    account = access.account_for(request.user, pk)
    name = request.POST.get("act", "")
    if name not in ACTS:
        return HttpResponseBadRequest("Nothing was changed: there is no such act.")
    act, said = ACTS[name]
    try:
        act(account, access.person(request.user))
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("accounts_person", pk=pk)
    if name == "show-link":
        link = mails.password_link(account, origin_of(request))
        return _page(request, account, NameAndAddressForm(account=account), link=link)
    if name == "mail-link":
        mails.later(mails.send_link, account, account.email, origin_of(request))
    if name == "end-second-step":
        mails.tell_of_change(account, "second step", origin_of(request))
    if name == "unlink":
        mails.tell_of_change(account, "login by a provider", origin_of(request))
    messages.info(request, said.format(account))
    return redirect("accounts_person", pk=pk)


def _page(request: HttpRequest, account: User, form: NameAndAddressForm, link: str = "") -> HttpResponse:
    context = {
        "account": account,
        "form": form,
        "link": link,
        "is_own": account == request.user,
        "datasets": own.datasets_of(account),
        **page_of_tokens(request, Token.objects.filter(user=account)),
        "has_second_step": Authenticator.objects.filter(user=account).exists(),
        "linked": SocialAccount.objects.filter(user=account).exists(),
        "verified": account.emailaddress_set.filter(verified=True, email=account.email.lower()).exists(),
    }
    return render(request, "accounts/person.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def erase(request: HttpRequest, pk: int) -> HttpResponse:
    """What goes and what stays; with the name of the account typed, the person is erased."""
    account, by = access.account_for(request.user, pk), access.person(request.user)
    form = EraseForm(request.POST or None, account=account)
    if form.is_valid():
        try:
            name = erasing.erase(account, by)
        except Refused as refused:
            messages.error(request, str(refused))
        else:
            messages.info(request, f"Erased. The votes are those of {name} now.")
        return redirect("accounts_person", pk=pk)
    votes, with_comment = erasing.kept(account)
    context = {
        "account": account,
        "form": form,
        "votes": votes,
        "with_comment": with_comment,
        "why_not": erasing.why_not(account, by),
    }
    return render(request, "accounts/erase.html", context, status=400 if form.errors else 200)
