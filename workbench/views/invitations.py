"""Inviting people to a Dataset, and coming by an invitation."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.core.paginator import Paginator
from django.db.models import F, Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workbench import access, pace
from workbench.forms.invitations import AcceptForm, ConsentForm, JoinForm, LinkForm, MailsForm
from workbench.mails import origin_of
from workbench.models import Dataset, Invitation, Member, Role, User
from workbench.pipeline.people import invitations as inviting
from workbench.pipeline.runs.progress import Refused
from workbench.views import orders
from workbench.worker import enqueue, tasks

A_PAGE = 100
_CLOSED = Q(revoked_at__isnull=False) | Q(expires_at__lte=Now()) | Q(uses__gte=F("max_uses"))
SORTS: orders.Sorts = {
    "newest": ("Newest", ["-pk"]),
    "who": ("By address", ["address", "-pk"]),
    "open": ("Open first", [orders.last_where(_CLOSED), "expires_at", "-pk"]),
    "came": ("Most came", ["-uses", "-pk"]),
}
NAMED = 5

GONE = 410
TOO_MANY = 429
CONSOLE = "django.core.mail.backends.console.EmailBackend"

# --- for admins ---------------------------------------------------------------------------------------------


@require_safe
def invitations(request: HttpRequest, pk: int) -> HttpResponse:
    """The forms, and all invitations with who came."""
    return _page(request, access.dataset_for(request.user, pk, Role.ADMIN))


@require_POST
def invite_link(request: HttpRequest, pk: int) -> HttpResponse:
    """Create a link to copy."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = LinkForm(request.POST)
    if not form.is_valid():
        return _page(request, dataset, link=form)
    inviting.create_link(dataset, by=access.person(request.user), **form.cleaned_data)
    messages.info(request, "The link is ready: copy it below.")
    return redirect("invitations", pk=pk)


@require_POST
def invite_mails(request: HttpRequest, pk: int) -> HttpResponse:
    """Invite pasted addresses by mail."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = MailsForm(request.POST)
    if not form.is_valid():
        return _page(request, dataset, mails=form)
    pasted, data = form.cleaned_data["pasted"], form.cleaned_data
    invited = inviting.invite(
        dataset,
        pasted.addresses,
        data["role"],
        access.person(request.user),
        origin_of(request),
        days=data["days"],
    )
    if invited.new:
        enqueue.enqueue(tasks.send_invitations, dataset.pk)
    messages.info(request, _in_words(invited, skipped=len(pasted.bad)))
    return redirect("invitations", pk=pk)


@require_POST
def invitation_resend(request: HttpRequest, pk: int) -> HttpResponse:
    """Have the mail of an invitation sent again."""
    invitation = access.invitation_for(request.user, pk)
    try:
        inviting.resend(invitation, origin_of(request), access.person(request.user))
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        enqueue.enqueue(tasks.send_invitations, invitation.dataset_id)
        messages.info(request, f"The mail to {invitation.address} goes out again.")
    return redirect("invitations", pk=invitation.dataset_id)


@require_POST
def invitation_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """End an invitation; who has come stays."""
    invitation = access.invitation_for(request.user, pk, even_archived=True)
    inviting.revoke(invitation, access.person(request.user))
    messages.info(request, "The link lets nobody in any more. Members stay.")
    return redirect("invitations", pk=invitation.dataset_id)


def _page(
    request: HttpRequest, dataset: Dataset, link: LinkForm | None = None, mails: MailsForm | None = None
) -> HttpResponse:
    sort = orders.chosen(request, SORTS)
    rows = dataset.invitations.select_related("created_by").prefetch_related("acceptances__user")
    page = Paginator(rows.order_by(*SORTS[sort][1]), A_PAGE).get_page(request.GET.get("page"))
    for invitation in page:
        invitation.link = origin_of(request) + reverse("join_link", args=[invitation.token])
    context = {
        "dataset": dataset,
        "tab": "people",
        "link": link or LinkForm(),
        "mails": mails or MailsForm(),
        "page": page,
        **orders.links(SORTS, sort),
        "prints_mails": settings.EMAIL_BACKEND == CONSOLE,
    }
    return render(request, "invitations/invitations.html", context, status=400 if link or mails else 200)


def _in_words(invited: inviting.Invited, skipped: int) -> str:
    parts = [_people(len(invited.new), "Invited")]
    if invited.before:
        parts.append(f"Invited before, so not again: {_named(invited.before)}.")
    if invited.members:
        parts.append(f"Members already: {_named(invited.members)}.")
    if skipped:
        parts.append(f"Skipped {skipped} that {'is' if skipped == 1 else 'are'} no address.")
    return " ".join(parts)


def _people(number: int, verb: str) -> str:
    return (
        f"{verb} {number} {'person' if number == 1 else 'people'}." if number else "Nobody new was invited."
    )


def _named(addresses: list[str]) -> str:
    more = len(addresses) - NAMED
    return ", ".join(addresses[:NAMED]) + (f" and {more} more" if more > 0 else "")


# --- for whoever is invited ---------------------------------------------------------------------------------


@login_not_required
@never_cache
@require_safe
def join_link(request: HttpRequest, token: str) -> HttpResponse:
    """Keep the token of the link in the session and go on without it in the address: an address is logged,
    and told to other sites."""
    if Invitation.objects.by_token(token) is None:
        return _closed(request, "This site has no such invitation.", status=404)
    request.session[Invitation.SESSION_KEY] = token
    response = redirect("join")
    response["Referrer-Policy"] = "no-referrer"
    return response


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest) -> HttpResponse:
    """Join the Dataset of the link that was opened: with a new account, or with that of who is logged in."""
    invitation = Invitation.objects.opened_in(request.session)
    if invitation is None:
        return _closed(request, "No invitation is open here.")
    user = request.user if isinstance(request.user, User) else None
    if user and (member := inviting.member_of(invitation, user)):
        return _enter(request, member)
    if why := inviting.why_closed(invitation):
        return _closed(request, why, status=GONE)
    form_class = AcceptForm if user else JoinForm
    is_sent = request.method == "POST"
    if is_sent and not user and (seconds := pace.before_join(request)):
        # Without the data: a check of the form would tell which names there are.
        response = _join_page(request, form_class(invitation=invitation), status=TOO_MANY, wait=seconds)
        response["Retry-After"] = str(seconds)
        return response
    form = form_class(request.POST if is_sent else None, invitation=invitation)
    try:
        member = form.accepted(user) if form.is_valid() else None
    except Refused as refused:
        return _closed(request, str(refused), status=GONE)
    if member is None:
        if form.errors and not user:
            pace.note_refused_join(request)
        return _join_page(request, form, status=400 if form.errors else 200)
    if user is None:
        # The last backend is the one that checks passwords.
        login(request, member.user, backend=settings.AUTHENTICATION_BACKENDS[-1])
    response = _enter(request, member)
    pace.remember_device(request, response, member.user.get_username())
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def agree(request: HttpRequest, pk: int) -> HttpResponse:
    """The consent text, for a member who has not agreed to one yet: an admin added them by name."""
    user = access.person(request.user)
    dataset = access.dataset_for(user, pk, even_archived=True, before_agreeing=True)
    form = ConsentForm(request.POST or None, dataset=dataset)
    if dataset.has_agreed:
        return _to_work(pk, dataset.role or Role.ANNOTATOR)
    if form.is_valid():
        try:
            inviting.agree(dataset, user, form.cleaned_data["agreed_to"])
        except Refused as refused:
            messages.error(request, str(refused))
            return redirect("agree", pk=pk)
        return _to_work(pk, dataset.role or Role.ANNOTATOR)
    context = {"dataset": dataset, "form": form}
    return render(request, "invitations/agree.html", context, status=400 if form.errors else 200)


def _join_page(request: HttpRequest, form: AcceptForm, status: int, wait: int = 0) -> HttpResponse:
    context = {
        "invitation": form.invitation,
        "dataset": form.invitation.dataset,
        "form": form,
        "providers": [] if request.user.is_authenticated else settings.OIDC_PROVIDERS,
        "wait": wait,
    }
    return render(request, "invitations/join.html", context, status=status)


def _enter(request: HttpRequest, member: Member) -> HttpResponse:
    """To where the work of the role begins."""
    request.session.pop(Invitation.SESSION_KEY, None)
    return _to_work(member.dataset_id, member.role)


def _to_work(dataset: int, role: str) -> HttpResponse:
    pages = {Role.ANNOTATOR: "annotate", Role.REVIEWER: "review", Role.ADMIN: "dataset"}
    return redirect(pages[Role(role)], pk=dataset)


def _closed(request: HttpRequest, why: str, status: int = 200) -> HttpResponse:
    return render(request, "invitations/closed.html", {"why": why}, status=status)
