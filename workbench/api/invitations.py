"""Invitations to a dataset: links to copy, and mails."""

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.requests import ApiRequest
from workbench.api.sending import After, Body, created, form_data, page_of, valid
from workbench.forms.invitations import LinkForm, MailsForm
from workbench.mails import origin_of
from workbench.models import Invitation, Role
from workbench.pipeline.people import invitations as inviting
from workbench.worker import enqueue, tasks

router = Router(tags=["invitations"])


class Guest(Schema):
    """Somebody who came by the invitation."""

    user: int
    name: str
    at: datetime


class InvitationOut(Schema):
    """An invitation. link: null for a token that only reads, as whoever has the link comes in; address: whom
    the mail goes to, empty for a link to copy; domain: of the mail addresses that it lets in, empty for any;
    state: open, revoked, expired, accepted or used up; mail: none, waiting, sending, sent, failed, unsure."""

    id: int
    role: str
    link: str | None
    address: str
    domain: str
    uses: int
    max_uses: int
    state: str
    mail: str
    mail_error: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    came: list[Guest]


class Invitations(Schema):
    items: list[InvitationOut]
    next_after: int | None


class LinkWanted(Body):
    """A link for so many people. domain: let in mail addresses of this domain alone."""

    role: Role = Field(Role.ANNOTATOR, strict=False)
    uses: int = 20
    days: int = inviting.DAYS
    domain: str = ""


class MailsWanted(Body):
    """Whom to write to. skips_bad: leave out what is no address, in place of inviting nobody."""

    addresses: list[str]
    role: Role = Field(Role.ANNOTATOR, strict=False)
    days: int = inviting.DAYS
    skips_bad: bool = False


class Invited(Schema):
    """Addresses that get a mail; that were invited before; that are members' already; and lines that are no
    address."""

    invited: list[str]
    before: list[str]
    members: list[str]
    skipped: list[str]


@router.get("/datasets/{id:pk}/invitations", response=Invitations)
def list_invitations(request: HttpRequest, pk: int, after: Query[After]) -> dict[str, object]:
    """The invitations of a dataset, with who came."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    rows = dataset.invitations.select_related("created_by").prefetch_related("acceptances__user")
    return page_of(rows, after, lambda invitation: _invitation(request, invitation))


@router.post("/datasets/{id:pk}/invitations/link", response={201: InvitationOut})
def create_invitation_link(request: ApiRequest, pk: int, body: LinkWanted) -> HttpResponse:
    """Create a link to copy. Whoever opens it joins the dataset."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    given = valid(LinkForm(form_data(LinkForm, body.model_dump()))).cleaned_data
    invitation = inviting.create_link(dataset, by=access.person(request.user), **given)
    request.shows_secret = True
    return created(_invitation(request, invitation), f"/api/v1/datasets/{pk}/invitations")


@router.post("/datasets/{id:pk}/invitations/mails", response=Invited)
def invite_by_mail(request: HttpRequest, pk: int, body: MailsWanted) -> Invited:
    """Invite people by mail."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    sent = {**body.model_dump(), "addresses": "\n".join(body.addresses)}
    given = valid(MailsForm(form_data(MailsForm, sent))).cleaned_data
    pasted, by = given["pasted"], access.person(request.user)
    origin = origin_of(request)
    invited = inviting.invite(dataset, pasted.addresses, given["role"], by, origin, days=given["days"])
    if invited.new:
        enqueue.enqueue(tasks.send_invitations, dataset.pk)
    return Invited(
        invited=[invitation.address for invitation in invited.new],
        before=invited.before,
        members=invited.members,
        skipped=[bad.text for bad in pasted.bad],
    )


@router.post("/invitations/{id:pk}/resend", response={204: None})
def resend_invitation(request: HttpRequest, pk: int) -> HttpResponse:
    """Have the mail of an invitation sent again."""
    invitation = access.invitation_for(request.user, pk)
    inviting.resend(invitation, origin_of(request), access.person(request.user))
    enqueue.enqueue(tasks.send_invitations, invitation.dataset_id)
    return HttpResponse(status=204)


@router.post("/invitations/{id:pk}/revoke", response={204: None})
def revoke_invitation(request: HttpRequest, pk: int) -> HttpResponse:
    """End an invitation. Who has come by it stays."""
    invitation = access.invitation_for(request.user, pk, even_archived=True)
    inviting.revoke(invitation, access.person(request.user))
    return HttpResponse(status=204)


def _invitation(request: HttpRequest, invitation: Invitation) -> InvitationOut:
    link = origin_of(request) + reverse("join_link", args=[invitation.token])
    return InvitationOut(
        id=invitation.pk,
        role=invitation.role,
        link=None if access.only_reads() else link,
        address=invitation.address,
        domain=invitation.domain,
        uses=invitation.uses,
        max_uses=invitation.max_uses,
        state=invitation.state,
        mail=invitation.mail,
        mail_error=invitation.mail_error,
        created_at=invitation.created_at,
        created_by=str(invitation.created_by or ""),
        expires_at=invitation.expires_at,
        came=[
            Guest(user=guest.user_id, name=guest.user.username, at=guest.at)
            for guest in invitation.acceptances.all()
        ],
    )
