"""Logging in, and changing one's own password."""

from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.http import HttpRequest, HttpResponse

from workbench import pace


class LogIn(LoginView):
    """The login form; answers 429 with Retry-After to guessed passwords."""

    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if seconds := pace.before_login(request, request.POST.get("username", "")):
            return _wait(self, seconds)
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        pace.remember_device(self.request, response, form.get_user().get_username())
        return response


class ChangePassword(PasswordChangeView):
    """The form that changes one's own password; guesses of the old password are slowed down."""

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if seconds := pace.before_change(request):
            return _wait(self, seconds)
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        if "old_password" in form.errors:
            pace.note_wrong_old_password(self.request)
        return super().form_invalid(form)


def _wait(view: LoginView | PasswordChangeView, seconds: int) -> HttpResponse:
    # Without the data: a check of the password takes time, and its result tells whether it was right.
    form = view.get_form_class()(**{**view.get_form_kwargs(), "data": None})
    response = view.render_to_response(view.get_context_data(form=form, wait=seconds))
    response.status_code = 429
    response["Retry-After"] = str(seconds)
    return response
