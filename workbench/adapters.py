"""What django-allauth asks this site: who may sign up, how mails go out, how secrets are stored."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from axes.helpers import get_client_ip_address
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from workbench import backends, mails
from workbench.models import Invitation, User
from workbench.pipeline.history.recording import Kind, record_own
from workbench.pipeline.people import invitations
from workbench.sealing import seal_for


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | {
        "duplicate_email": "This is your address already.",
        "incorrect_password": "This is not your password. Nothing was changed.",
        "rate_limited": "Too many tries. Wait a minute.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never: accounts come from staff and from invitations."""
        return False

    def is_ajax(self, request: HttpRequest) -> bool:
        """Never: pages alone ask for these views."""
        return False

    @transaction.atomic
    def login(self, request: HttpRequest, user: User) -> None:
        """Every login but the first of a new account passes here, after its second step."""
        login(request, user, backend="workbench.backends.NameOrMail")
        record_own(Kind.LOGGED_IN, user)

    @transaction.atomic
    def set_password(self, user: User, password: str) -> None:
        super().set_password(user, password)
        record_own(Kind.PASSWORD, user)
        mails.tell_of_change(user, "password", mails.origin_of(self.request))

    @transaction.atomic
    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        user = email_address.user
        before = user.email
        is_confirmed: bool = super().confirm_email(request, email_address)
        if is_confirmed:
            record_own(Kind.MAIL_ADDRESS, user)
            if before and before.lower() != email_address.email:
                mails.tell_of_change(user, "mail address", mails.origin_of(request), to=before)
        return is_confirmed

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        """Said only to whoever has proven that the account is theirs."""
        messages.error(
            request, f"The account {user.get_username()} is switched off. Ask staff to open it again."
        )
        return redirect("login")

    def reauthenticate(self, user: User, password: str) -> bool:
        """Checked without a login, which axes would count: nobody locks themselves out here."""
        return user.check_password(password)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, object]) -> None:
        kind = template_prefix.rpartition("/")[2]
        here = self.request.build_absolute_uri("/").rstrip("/")
        origin = mails.origin_of(self.request)
        # The links that allauth has made, at the address that people know.
        links = {k: v for k, v in context.items() if isinstance(v, str) and v.startswith(f"{here}/")}
        context |= {name: origin + link.removeprefix(here) for name, link in links.items()}
        mails.later(mails.written(f"account/email/{kind}", email, context | {"origin": origin}).send)

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that failed logins are counted for."""
        return str(get_client_ip_address(request))


class ProviderAdapter(DefaultSocialAccountAdapter):
    """Whom a login by an OpenID Connect provider opens an account to."""

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Link the account to whoever proves its address; nobody links an account in any other way."""
        if sociallogin.state.get("process") != "login":
            raise ImmediateHttpResponse(_not_logged_in(request, "The provider"))
        if sociallogin.is_existing:
            return
        for address in _proven(sociallogin):
            if user := backends.by_mail(address):
                sociallogin.connect(request, user)
                return

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Whether the provider vouches for an address that gets an account, and no account, be it switched
        off, has the address. Addresses of some domains get one, and any that fits an invitation whose link is
        open in this browser."""
        addresses = _proven(sociallogin)
        invitation = Invitation.objects.opened_in(request.session)
        if invitation and invitations.why_closed(invitation):
            invitation = None
        return bool(addresses) and all(
            (_is_invited(address, invitation) or _domain(address) in settings.OIDC_SIGNUP_DOMAINS)
            and not filter_users_by_email(address)
            for address in addresses
        )

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, *args: object, **kwargs: object
    ) -> None:
        raise ImmediateHttpResponse(_not_logged_in(request, provider.name))


def _proven(sociallogin: SocialLogin) -> list[str]:
    """The addresses that the provider says it has verified."""
    return [address.email for address in sociallogin.email_addresses if address.verified]


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()


def _is_invited(address: str, invitation: Invitation | None) -> bool:
    return invitation is not None and invitation.domain in ("", _domain(address))


def _not_logged_in(request: HttpRequest, name: str) -> HttpResponse:
    messages.error(request, f"{name} did not log you in. Nothing was changed; try again.")
    return redirect("login")


class SecondStepAdapter(DefaultMFAAdapter):
    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "This code is not right. Codes of an app change every 30 seconds.",
    }

    def encrypt(self, text: str) -> str:
        """Sealed with SECRET_KEY: a backup of the database alone opens no account."""
        return seal_for("second-step").encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return seal_for("second-step").decrypt(encrypted_text).decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {count + 1}"
