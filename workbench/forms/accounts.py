"""Logging in, asking for a new password, and what staff fill in about accounts."""

from typing import Any

from allauth.account.forms import ResetPasswordKeyForm
from allauth.account.internal import flows
from allauth.account.models import Login
from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, QueryDict

from workbench import mails
from workbench.backends import has_address
from workbench.forms.invitations import SignUpForm, free_name
from workbench.models import User
from workbench.pipeline.people import accounts


class LogInForm(AuthenticationForm):
    """Name or mail address, and password."""

    def login(self, request: HttpRequest, redirect_url: str | None = None) -> HttpResponse:
        """Log in, or go on to the second step where the account has one."""
        credentials = {"username": self.cleaned_data["username"]}
        login = Login(user=self.get_user(), redirect_url=redirect_url)
        response: HttpResponse = flows.login.perform_password_login(request, credentials, login)
        return response


class ResetForm(forms.Form):
    """The address that a link to set a new password goes to."""

    email = forms.EmailField(
        label="Mail address", widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True})
    )

    def save(self, request: HttpRequest) -> None:
        """Have the link sent. Looks no account up, so the answer is the same for each address."""
        mails.later(mails.reset_password, self.cleaned_data["email"], mails.origin_of(request))


class NewPasswordForm(ResetPasswordKeyForm):
    """The new password of whoever opened the link of a mail, typed twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].label = "New password"
        self.fields["password2"].label = "New password, once more"
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)


class NewAccountForm(SignUpForm):
    """An account that staff make: the person sets the password by a link."""

    password = None  # type: ignore[assignment]
    is_staff = forms.BooleanField(
        label="Staff: may do everything here",
        required=False,
        help_text="They look after all accounts and datasets.",
    )

    def __init__(self, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.fields["username"].label = "Name"
        self.fields["username"].widget.attrs["autocomplete"] = "off"
        self.fields["email"].required = False
        self.fields["email"].help_text = "The link to set a password can go there."
        self.fields["email"].widget.attrs["autocomplete"] = "off"

    def created(self, by: User) -> User | None:
        """The new account; None, with an error on the form, when somebody took its name a moment ago."""
        data = self.cleaned_data
        try:
            return accounts.create(data["username"], data["email"], is_staff=data["is_staff"], by=by)
        except IntegrityError:
            self.add_error("username", "This name was taken a moment ago. Choose another.")
            return None


class NameAndAddressForm(forms.Form):
    """The name and the mail address that staff give an account."""

    username = forms.CharField(
        label="Name",
        max_length=150,
        help_text="The person logs in with it, and colleagues see it.",
        validators=[User.username_validator],
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
    )
    email = forms.EmailField(
        label="Mail address",
        required=False,
        max_length=254,
        help_text="Empty = none. The address before opens the account no more.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: QueryDict | None = None, *, account: User) -> None:
        super().__init__(data, initial={"username": account.username, "email": account.email})
        self._account = account

    def clean_username(self) -> str:
        typed: str = self.cleaned_data["username"]
        return typed if typed == self._account.username else free_name(typed, self._account)

    def clean_email(self) -> str:
        address: str = self.cleaned_data["email"].lower()
        if User.objects.filter(has_address(address)).exclude(pk=self._account.pk).exists():
            raise ValidationError("Another account has this address. Nothing was changed.")
        return address

    def store(self, by: User) -> bool:
        """False, with an error on the form, when somebody took the name a moment ago."""
        name, address = self.cleaned_data["username"], self.cleaned_data["email"]
        try:
            accounts.change_name_and_address(self._account, name, address, by)
        except IntegrityError:
            self._account.refresh_from_db()
            self.add_error("username", "This name was taken a moment ago. Nothing was changed.")
            return False
        return True


class EraseForm(forms.Form):
    """The name of the account, typed to confirm that it is erased."""

    name = forms.CharField(
        label="Type the name of the account to confirm",
        strip=False,
        max_length=150,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )

    def __init__(self, data: QueryDict | None = None, *, account: User) -> None:
        super().__init__(data)
        self._account = account

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self._account.username:
            raise ValidationError(f"The names differ. Type “{self._account}”. Nobody was erased.")
        return name
