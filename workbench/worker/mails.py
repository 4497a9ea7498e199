"""Mails of invitations, sent over one connection at a time."""

import logging
import smtplib
from contextlib import suppress

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.urls import reverse

from workbench import mails
from workbench.models import Invitation
from workbench.pipeline.people import invitations

MOST = 50
"""Mails of one task: other work gets its turn in between."""

log = logging.getLogger(__name__)


def send_some(dataset_id: int) -> bool:
    """Send mails of the Dataset that are due; whether to go on at once."""
    connection = get_connection()
    try:
        for _ in range(MOST):
            invitation = invitations.take(dataset_id)
            if invitation is None:
                return False
            if not _send(invitation, connection):
                return False
    finally:
        _close(connection)
    return True


def written(invitation: Invitation) -> EmailMultiAlternatives:
    """The mail to `address`, as plain text and as HTML without pictures or counted links."""
    link = (settings.PUBLIC_URL or invitation.origin) + reverse("join_link", args=[invitation.token])
    context = {"invitation": invitation, "dataset": invitation.dataset, "link": link}
    return mails.written("invitations/mail", invitation.address, context)


def _send(invitation: Invitation, connection: BaseEmailBackend) -> bool:
    """Send one mail, and note what came of it; False when the server can't be reached."""
    try:
        mail = written(invitation)
        connection.open()
    except Exception as error:  # noqa: BLE001  before the first byte of the mail, so that another try is safe
        log.warning("The mail server can't be reached: %s", error)
        invitations.held_up(invitation, f"The mail server could not be reached: {_words(error)}")
        return False
    try:
        connection.send_messages([mail])
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
        # The server said no, so it has not taken the mail: 4xx is for now, 5xx for ever (RFC 5321, 4.2.1).
        _close(connection)
        note = invitations.held_up if _code(error) < 500 else invitations.refused
        note(invitation, f"The mail server refused it: {_words(error)}")
    except (smtplib.SMTPNotSupportedError, ValueError) as error:
        _close(connection)
        invitations.refused(invitation, f"The mail could not be written: {_words(error)}")
    except Exception as error:
        log.warning("A mail may not have gone out", exc_info=True)
        _close(connection)
        invitations.unsure(
            invitation,
            f"The connection broke ({_words(error)}). Ask whether it came before you send it again.",
        )
    else:
        invitations.sent(invitation)
    return True


def _close(connection: BaseEmailBackend) -> None:
    with suppress(OSError, smtplib.SMTPException):
        connection.close()


def _code(error: smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused) -> int:
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code
    return max(code for code, _ in error.recipients.values())


def _words(error: Exception) -> str:
    """What the server said, or the error, on one line."""
    said: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, said = error.smtp_code, error.smtp_error
    else:
        return " ".join(str(error).split()) or type(error).__name__
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return " ".join(f"{code} {words}".split())
