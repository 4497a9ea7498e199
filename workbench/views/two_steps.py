"""The second step of a login: an app's code, a recovery code or a passkey, and the pages that set them up."""

from typing import Any

from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn import views as webauthn
from allauth.mfa.webauthn.internal import auth
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.safestring import mark_safe

from workbench import access, mails, pace
from workbench.pipeline.history.recording import Kind, record_own
from workbench.views.accounts import SlowedReauthentication, too_soon


class SecondStep(mfa.AuthenticateView):
    """Asks for a code or a passkey after the password; guesses of codes are slowed down."""

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        user = self.stage.login.user
        if "code" in request.POST:
            if seconds := pace.before_secret(request, user.get_username()):
                self.auth_form = self.get_form_class()(user=user)
                return too_soon(self, seconds)
            if not self.form.is_valid():
                pace.note_wrong_secret(request, user.get_username())
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: object) -> dict[str, Any]:
        return {**super().get_context_data(), **kwargs}


class ConfirmByCode(SlowedReauthentication, mfa.ReauthenticateView):
    """Asks for a code once more."""

    secret = "code"  # noqa: S105  the name of a field


class Recorded:
    """A view of a form that changes somebody's second step: history says so, and a mail."""

    request: HttpRequest

    @transaction.atomic
    def form_valid(self, form: Form) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)  # type: ignore[misc]
        user = access.person(self.request.user)
        record_own(Kind.SECOND_STEP, user)
        mails.tell_of_change(user, "second step", mails.origin_of(self.request))
        return response


class RemoveApp(Recorded, DeactivateTOTPView):
    """Ends the codes of an app."""


class NewCodes(Recorded, GenerateRecoveryCodesView):
    """Makes new recovery codes; the old ones end."""


class RemovePasskey(Recorded, webauthn.RemoveWebAuthnView):
    """Ends a passkey."""


class ActivateApp(Recorded, ActivateTOTPView):
    """Shows the QR code that an authenticator app reads, and takes the app's first code."""

    def get_context_data(self, **kwargs: object) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        # Drawn by qrcode out of squares. In the page, and not as a data: address, which the content policy
        # refuses for pictures.
        svg: str = context["totp_svg"]
        return context | {"qr": mark_safe(svg[svg.index("<svg") :])}  # noqa: S308


class AddPasskey(Recorded, webauthn.AddWebAuthnView):
    """Adds a passkey that also logs in without a password."""

    def get_context_data(self, **kwargs: object) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {"options": auth.begin_registration(self.request.user, passwordless=True)}


class LogInByPasskey(webauthn.LoginWebAuthnView):
    """GET: what the browser needs to ask for a passkey. POST: logs in with it."""

    def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        return JsonResponse(auth.begin_authentication(user=None))
