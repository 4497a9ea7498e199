"""Invitations: who is invited, who comes, and which mails are due.

The rows are the queue of mails. A worker marks a row as being sent before it asks the mail server, and as
sent after. If it dies in between, nobody knows whether the mail went out: the row becomes "unsure", and only
a person has it sent again. So a mail never goes out twice by itself.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models.functions import Lower
from django.utils import timezone

from workbench.models import Acceptance, Agreement, Dataset, Invitation, Member, Role, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused

DAYS = 14
"""How long an invitation is valid, unless an admin says otherwise."""

RETRY_AFTER = [timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 480)]
"""Waits after the first, second, ... try of a mail; after the last, it counts as not sent."""

LOST_AFTER = timedelta(minutes=10)
"""A mail that is being sent for so long has lost its worker: each step with the server may take
EMAIL_TIMEOUT."""

UNSURE = "The worker stopped while it sent this mail. Ask whether it came before you send it again."

# --- inviting -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Invited:
    """What became of pasted addresses."""

    new: list[Invitation]
    before: list[str]
    members: list[str]


@transaction.atomic
def create_link(
    dataset: Dataset, role: str, by: User, *, days: int = DAYS, uses: int = 1, domain: str = ""
) -> Invitation:
    """A link to copy, for so many people; `domain` limits it to mail addresses there."""
    expires_at = timezone.now() + timedelta(days=days)
    invitation = dataset.invitations.create(
        role=role, created_by=by, expires_at=expires_at, max_uses=uses, domain=domain
    )
    record(Kind.INVITED, by=by, dataset=dataset, target=invitation, word=Role(role), count=uses)
    return invitation


@transaction.atomic
def invite(
    dataset: Dataset, addresses: Sequence[str], role: str, by: User, origin: str, *, days: int = DAYS
) -> Invited:
    """Store an invitation, with a mail that is due, for each address (in lower case) that has none and is no
    member's. origin: scheme and host of the site."""
    # Locked: the same list sent twice at once must not invite anybody twice.
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    members = set(
        dataset.members.annotate(address=Lower("user__email"))
        .filter(address__in=addresses)
        .values_list("address", flat=True)
    )
    standing = dataset.invitations.filter(revoked_at=None, address__in=addresses)
    before = set(standing.values_list("address", flat=True)) - members
    now = timezone.now()
    new = [
        Invitation(
            dataset=dataset,
            role=role,
            address=address,
            created_by=by,
            expires_at=now + timedelta(days=days),
            origin=origin,
            mail=Invitation.Mail.WAITING,
            mail_due_at=now,
        )
        for address in addresses
        if address not in members and address not in before
    ]
    Invitation.objects.bulk_create(new)
    if new:
        record(Kind.INVITED, by=by, dataset=dataset, word=Role(role), count=len(new))
    return Invited(new, _in_order(addresses, before), _in_order(addresses, members))


def _in_order(addresses: Sequence[str], some: Collection[str]) -> list[str]:
    return [address for address in addresses if address in some]


@transaction.atomic
def revoke(invitation: Invitation, by: User | None = None) -> None:
    """End the invitation; who has come stays."""
    if Invitation.objects.filter(pk=invitation.pk, revoked_at=None).update(revoked_at=timezone.now()):
        record(Kind.INVITATION_REVOKED, by=by, dataset=invitation.dataset_id, target=invitation)


@transaction.atomic
def resend(invitation: Invitation, origin: str, by: User | None = None) -> None:
    """Have the mail sent again; an expired invitation is valid for DAYS again. Refused while a mail is on its
    way, and for an invitation that is accepted or revoked."""
    row = Invitation.objects.select_for_update().get(pk=invitation.pk)
    if not row.can_be_sent:
        raise Refused("Nothing was sent: the mail is on its way already, or the invitation is over.")
    now = timezone.now()
    if row.expires_at <= now:
        row.expires_at = now + timedelta(days=DAYS)
    row.origin, row.mail, row.mail_due_at = origin, Invitation.Mail.WAITING, now
    row.mail_tries, row.mail_error = 0, ""
    row.save()
    record(Kind.INVITATION_RESENT, by=by, dataset=row.dataset_id, target=row)


# --- coming -------------------------------------------------------------------------------------------------


def digest(text: str) -> str:
    """SHA-256 of a consent text in UTF-8; "" for no text."""
    return sha256(text.encode()).hexdigest() if text else ""


def why_closed(invitation: Invitation) -> str:
    """Why nobody can come by this invitation, and what to do; "" while somebody can."""
    who = f"Ask {invitation.created_by} for a new one." if invitation.created_by else "Ask for a new one."
    if invitation.dataset.archived_at:
        return f"{invitation.dataset} is archived: nobody votes there now."
    if invitation.revoked_at:
        return f"This invitation was withdrawn. {who}"
    if invitation.is_used_up:
        used = (
            "This invitation was used already." if invitation.address else "Too many people used this link."
        )
        return f"{used} If it was you, log in. Otherwise: {who[0].lower()}{who[1:]}"
    if invitation.is_expired:
        return f"This invitation has expired. {who}"
    return ""


def member_of(invitation: Invitation, user: User) -> Member | None:
    """The user's membership in the Dataset of the invitation."""
    return invitation.dataset.members.select_related("user").filter(user=user).first()


@transaction.atomic
def accept(invitation: Invitation, user: User, agreed_to: str = "") -> Member:
    """Make the user a member by the invitation, and count one use; a member stays as before.

    agreed_to: digest of the consent text that the user was shown. Refused when the invitation is closed, when
    the text is another by now, or when the user came by it before and was removed."""
    # Locked: the last use must not be given to two people.
    row = Invitation.objects.select_for_update().get(pk=invitation.pk)
    dataset = Dataset.objects.select_for_update().get(pk=row.dataset_id)
    if member := dataset.members.filter(user=user).first():
        return member
    if reason := why_closed(row):
        raise Refused(reason)
    if agreed_to != digest(dataset.consent):
        raise Refused("The text that you agree to has changed. Open the link once more and read it again.")
    if row.acceptances.filter(user=user).exists():
        raise Refused(f"An admin ended your access to {dataset}. Ask for a new invitation.")
    row.uses += 1
    row.save(update_fields=["uses"])
    Acceptance.objects.create(invitation=row, user=user, consent_sha256=agreed_to)
    record(Kind.JOINED, by=user, dataset=dataset, target=row, word=Role(row.role))
    return Member.objects.create(dataset=dataset, user=user, role=Role(row.role))


@transaction.atomic
def agree(dataset: Dataset, user: User, agreed_to: str) -> None:
    """Note that a member agreed to the consent text; the first time counts. Refused when the text is another
    than `agreed_to`, a digest, by now."""
    now = Dataset.objects.select_for_update().get(pk=dataset.pk)
    if agreed_to != digest(now.consent):
        raise Refused("The text has changed meanwhile. Read it again.")
    Agreement.objects.get_or_create(dataset=dataset, user=user, defaults={"consent_sha256": agreed_to})


# --- mails --------------------------------------------------------------------------------------------------


def datasets_to_send() -> list[int]:
    """Keys of the Datasets with mails that are due."""
    due = Invitation.objects.to_send(timezone.now()).order_by()
    return list(due.values_list("dataset", flat=True).distinct())


def note_lost() -> None:
    """Mark mails whose worker is gone as unsure."""
    lost = Invitation.objects.filter(
        mail=Invitation.Mail.SENDING, mail_taken_at__lt=timezone.now() - LOST_AFTER
    )
    lost.update(mail=Invitation.Mail.UNSURE, mail_error=UNSURE)


def take(dataset_id: int) -> Invitation | None:
    """An invitation whose mail this worker sends now, marked as being sent; None when no mail is due."""
    now = timezone.now()
    with transaction.atomic():
        due = Invitation.objects.to_send(now).filter(dataset=dataset_id).order_by("pk")
        invitation = due.select_for_update(skip_locked=True, of=("self",)).first()
        if invitation is None:
            return None
        invitation.mail, invitation.mail_taken_at = Invitation.Mail.SENDING, now
        invitation.mail_tries += 1
        invitation.save(update_fields=["mail", "mail_taken_at", "mail_tries"])
    return invitation


def sent(invitation: Invitation) -> None:
    _note(invitation, mail=Invitation.Mail.SENT, mail_sent_at=timezone.now(), mail_error="")


def unsure(invitation: Invitation, why: str) -> None:
    """The mail may have gone out or not: it is not tried again by itself."""
    _note(invitation, mail=Invitation.Mail.UNSURE, mail_error=why)


def refused(invitation: Invitation, why: str) -> None:
    """The mail did not go out, and another try would not help."""
    _note(invitation, mail=Invitation.Mail.FAILED, mail_error=why)


def held_up(invitation: Invitation, why: str) -> None:
    """The mail did not go out: it is due again later, or counts as not sent after the last try."""
    if invitation.mail_tries > len(RETRY_AFTER):
        refused(invitation, why)
        return
    due_at = timezone.now() + RETRY_AFTER[invitation.mail_tries - 1]
    _note(invitation, mail=Invitation.Mail.WAITING, mail_due_at=due_at, mail_error=why)


def _note(invitation: Invitation, mail_error: str, **fields: object) -> None:
    # Only while this worker has it: one that comes back late must not undo what a person did meanwhile.
    ours = Invitation.objects.filter(
        pk=invitation.pk, mail=Invitation.Mail.SENDING, mail_taken_at=invitation.mail_taken_at
    )
    ours.update(mail_error=mail_error[:500], **fields)
