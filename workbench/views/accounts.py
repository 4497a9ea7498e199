"""Logging in, passwords, and one's own mail address: the views of django-allauth and Django in our frame."""

from typing import Any

from allauth.account import views as allauth
from allauth.account.forms import AddEmailForm
from allauth.account.views._reauthenticate import BaseReauthenticateView
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LogoutView, PasswordChangeView
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.generic.base import TemplateResponseMixin

from workbench import mails, pace
from workbench.forms.accounts import LogInForm, NewPasswordForm, ResetForm
from workbench.models import User
from workbench.pipeline.history.recording import Kind, record_own


class LogIn(allauth.LoginView):
    """The login form; answers 429 with Retry-After to guessed passwords."""

    form_class = LogInForm
    template_name = "registration/login.html"

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if seconds := pace.before_login(request, request.POST.get("username", "")):
            return wait(self, seconds)
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    def form_valid(self, form: LogInForm) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        pace.remember_device(self.request, response, form.get_user().get_username())
        return response

    def get_context_data(self, **kwargs: object) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "providers": settings.OIDC_PROVIDERS}


@method_decorator(login_not_required, name="dispatch")
class LogOut(LogoutView):
    """Logs out; also cancels a login that waits for its second step."""

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        with transaction.atomic():
            if isinstance(request.user, User):
                record_own(Kind.LOGGED_OUT, request.user)
            return super().post(request, *args, **kwargs)


class ChangePassword(PasswordChangeView):
    """The form that changes one's own password; guesses of the old password are slowed down."""

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if seconds := pace.before_secret(request, request.user.get_username()):
            return wait(self, seconds)
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    @transaction.atomic
    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        record_own(Kind.PASSWORD, form.user)
        mails.tell_of_change(form.user, "password", mails.origin_of(self.request))
        return super().form_valid(form)

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        if "old_password" in form.errors:
            pace.note_wrong_secret(self.request, self.request.user.get_username())
        return super().form_invalid(form)


class SlowedReauthentication(BaseReauthenticateView):
    """Asks once more for what proves who somebody is; guesses of `secret`, a field, are slowed down."""

    secret = ""

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if seconds := pace.before_secret(request, request.user.get_username()):
            return wait(self, seconds)
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    def form_invalid(self, form: Form) -> HttpResponse:
        if form.data.get(self.secret):
            pace.note_wrong_secret(self.request, self.request.user.get_username())
        response: HttpResponse = super().form_invalid(form)
        return response


class Reauthenticate(SlowedReauthentication, allauth.ReauthenticateView):
    """Asks for the password once more."""

    secret = "password"  # noqa: S105  the name of a field


class AskForReset(allauth.PasswordResetView):
    """Has a link to set a new password sent. The answer is the same whether or not there is an account."""

    form_class = ResetForm

    def form_valid(self, form: ResetForm) -> HttpResponse:
        address = form.cleaned_data["email"]
        if seconds := pace.before_mail(self.request, address):
            return too_soon(self, seconds)
        pace.note_mail(self.request, address)
        response: HttpResponse = super().form_valid(form)
        return response


class SetPassword(allauth.PasswordResetFromKeyView):
    """Sets a new password for whoever opened the link of the mail."""

    form_class = NewPasswordForm


class MailAddress(allauth.EmailView):
    """One's own mail address: change it, and have the mail that verifies it sent again."""

    def form_valid(self, form: AddEmailForm) -> HttpResponse:
        address = form.cleaned_data["email"]
        if seconds := pace.before_mail(self.request, address):
            return too_soon(self, seconds, form=form)
        # Raises where the password is to be typed once more: then nothing was sent.
        response: HttpResponse = super().form_valid(form)
        pace.note_mail(self.request, address)
        return response

    def _action_send(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse | None:
        address = request.POST["email"]
        if seconds := pace.before_mail(request, address):
            return too_soon(self, seconds)
        pace.note_mail(request, address)
        response: HttpResponse | None = super()._action_send(request, *args, **kwargs)
        return response

    def _action_primary(self, request: HttpRequest, *args: object, **kwargs: object) -> None:
        """Nothing: an address counts once it is verified, and not before."""


def wait(view: LogIn | PasswordChangeView | SlowedReauthentication, seconds: int) -> HttpResponse:
    """429, with the form of the page and how long to wait."""
    # Without the data: a check of the password takes time, and its result tells whether it was right.
    form = view.get_form_class()(**{**view.get_form_kwargs(), "data": None})
    return too_soon(view, seconds, form=form)


def too_soon(view: TemplateResponseMixin, seconds: int, **shown: object) -> HttpResponse:
    """429, with the page of the view and how long to wait."""
    response: HttpResponse = view.render_to_response(view.get_context_data(wait=seconds, **shown))  # type: ignore[attr-defined]
    response.status_code = 429
    response["Retry-After"] = str(seconds)
    return response
