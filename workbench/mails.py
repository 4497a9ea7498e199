"""Mails, each as plain text and HTML, sent by a thread once the answer has left.

A page neither waits for the mail server nor fails with it, and its time does not tell whether a mail was
sent. A mail that can't be sent is logged; whoever waits for one asks again.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import connection, transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse

from workbench import backends
from workbench.models import User

DELAY = 1.0
"""Seconds before a mail is begun: its work must not slow down the answer to the request that asked for it."""

log = logging.getLogger(__name__)
_senders = ThreadPoolExecutor(max_workers=4, thread_name_prefix="mail")


def origin_of(request: HttpRequest) -> str:
    """Scheme and host of the site, for links in mails."""
    return settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")


def later(send: Callable[..., object], *args: object) -> None:
    """Call `send` in a thread, after the answer to this request. A process that ends waits for it."""
    _senders.submit(_send, send, *args)


def written(place: str, to: str, context: dict[str, object]) -> EmailMultiAlternatives:
    """The mail of templates/PLACE_*: its subject, plain text and HTML."""
    subject = " ".join(render_to_string(f"{place}_subject.txt", context).split())
    mail = EmailMultiAlternatives(
        subject, render_to_string(f"{place}_message.txt", context).strip() + "\n", to=[to]
    )
    mail.attach_alternative(render_to_string(f"{place}_message.html", context), "text/html")
    return mail


def reset_password(address: str, origin: str) -> None:
    """Send the link that sets a new password, to the account of this address; nothing where there is none.
    origin: scheme and host of the site."""
    user = backends.by_mail(address)
    if user is None:
        return
    # As it is stored: who typed the address may have chosen letters that only look like it.
    send_link(user, user.email if user.email.lower() == address.lower() else address.lower(), origin)


def send_link(user: User, to: str, origin: str) -> None:
    """Send the link that sets a new password to an address of the account."""
    context = {"user": user, "url": password_link(user, origin), "origin": origin}
    written("account/email/password_reset_key", to, context).send()


def password_link(user: User, origin: str) -> str:
    """The link that lets whoever opens it set the password of the account: once, within
    PASSWORD_RESET_TIMEOUT."""
    key = [user_pk_to_url_str(user), default_token_generator.make_token(user)]
    return origin + reverse("account_reset_password_from_key", args=key)


def tell_of_change(user: User, what: str, origin: str, *, to: str = "") -> None:
    """Tell the person that `what`, "password", "second step" or "mail address", was changed, once that is
    stored: somebody else may have done it. Nobody is told who has no mail address. to: another address than
    that of the account, as the old one."""
    address = to or user.email or EmailAddress.objects.get_primary_email(user)
    if address:
        reset = origin + reverse("account_reset_password")
        context = {"user": user, "what": what, "reset": reset, "origin": origin}
        transaction.on_commit(partial(later, written("account/email/changed", address, context).send))


def _send(send: Callable[..., object], *args: object) -> None:
    time.sleep(DELAY)
    try:
        send(*args)
    except Exception:
        log.exception("A mail could not be sent")
    finally:
        connection.close()
