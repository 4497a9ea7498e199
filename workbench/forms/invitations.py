"""Inviting people, and coming by an invitation."""

from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import IntegrityError, transaction
from django.http import QueryDict

from workbench.backends import has_address
from workbench.models import Dataset, Invitation, Member, Role, User
from workbench.pipeline.people import addresses, invitations

LONGEST_VALID = 365
MOST_USES = 1000


def _role() -> forms.ChoiceField:
    return forms.ChoiceField(choices=Role.choices, initial=Role.ANNOTATOR)


def _days() -> forms.IntegerField:
    return forms.IntegerField(
        label="Valid for this many days", min_value=1, max_value=LONGEST_VALID, initial=invitations.DAYS
    )


class LinkForm(forms.Form):
    """A link for several people."""

    prefix = "link"
    role = _role()
    uses = forms.IntegerField(label="For this many people", min_value=1, max_value=MOST_USES, initial=20)
    days = _days()
    domain = forms.CharField(
        label="Only mail addresses of",
        required=False,
        max_length=253,
        help_text="For example example.org. Empty = any. Addresses are not verified.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
        validators=[
            RegexValidator(
                r"^(?:[^\s@.,;<>]+\.)+[^\s@.,;<>]{2,}$", "This is no mail domain. Write it as in example.org."
            )
        ],
    )

    def clean_domain(self) -> str:
        domain: str = self.cleaned_data["domain"]
        return domain.lower()


class MailsForm(forms.Form):
    """Addresses to write to."""

    prefix = "mails"
    addresses = forms.CharField(
        label=f"Mail addresses, up to {addresses.MOST}",
        help_text="One a line, or with commas. “Name <address>” works too.",
        widget=forms.Textarea(attrs={"rows": 6, "autocapitalize": "none", "spellcheck": "false"}),
    )
    role = _role()
    days = _days()
    skips_bad = forms.BooleanField(label="Skip lines that are no address", required=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        pasted = addresses.read(cleaned.get("addresses", ""))
        if len(pasted.addresses) > addresses.MOST:
            self.add_error(
                "addresses",
                f"Nobody was invited: these are {len(pasted.addresses)} addresses, and at most "
                f"{addresses.MOST} go at once.",
            )
        elif pasted.bad and not cleaned.get("skips_bad"):
            fix = ValidationError(
                "Nobody was invited. Fix these lines, or tick “Skip lines that are no address”."
            )
            self.add_error("addresses", [fix, *(ValidationError(str(bad)) for bad in pasted.bad)])
        elif not pasted.addresses and "addresses" in cleaned:
            self.add_error("addresses", "Nobody was invited: there is no mail address here.")
        cleaned["pasted"] = pasted
        return cleaned


def _has_account(address: str) -> bool:
    return User.objects.filter(has_address(address)).exists()


def free_name(typed: str, account: User | None = None) -> str:
    """The name as it is stored. Raises ValidationError where no account, or only this one, can have it."""
    name: str = User.normalize_username(typed)
    if "@" in name:
        # Else a name could be somebody's mail address, and be taken for it.
        raise ValidationError("A name has no @. Choose a short name; the mail address goes below.")
    if name.lower().startswith(User.ERASED):
        raise ValidationError(f"Names of erased accounts begin with “{User.ERASED}”. Choose another.")
    others = User.objects.exclude(pk=account.pk) if account else User.objects.all()
    if others.filter(username__iexact=name).exists():
        raise ValidationError(f"The name {name} is taken. Choose another, or log in if it is yours.")
    return name


class SignUpForm(forms.Form):
    """A new account: the rules for its name, mail address and password.

    It says when a name or an address is taken, unlike login and reset: both are unique, and whoever gets here
    holds the link of an admin. `pace.before_join` slows guesses down, and each refused one is kept."""

    username = forms.CharField(
        label="Your name here",
        max_length=150,
        help_text="Letters, digits and . - _ +. Colleagues see it.",
        validators=[User.username_validator],
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    email = forms.EmailField(
        label="Mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        help_text="At least 12 characters: three or four uncommon words.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean_username(self) -> str:
        return free_name(self.cleaned_data["username"])

    def clean_email(self) -> str:
        address: str = self.cleaned_data["email"].lower()
        if _has_account(address):
            raise ValidationError("This address has an account already. Log in with it instead.")
        return address

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if password := cleaned.get("password"):
            user = User(username=cleaned.get("username", ""), email=cleaned.get("email", ""))
            try:
                validate_password(password, user)
            except ValidationError as weak:
                self.add_error("password", weak)
        return cleaned

    def create_user(self) -> User:
        """The new account. Raises IntegrityError when somebody took the name a moment ago."""
        data = self.cleaned_data
        return User.objects.create_user(data["username"], data["email"], data["password"])


class ConsentForm(forms.Form):
    """Agrees to the Dataset's consent text, where it has one."""

    def __init__(self, data: QueryDict | None = None, *, dataset: Dataset) -> None:
        super().__init__(data)
        self.dataset = dataset
        if text := dataset.consent:
            self.fields["agrees"] = forms.BooleanField(
                label="I agree", error_messages={"required": "You can go on once you agree to the text."}
            )
            self.fields["agreed_to"] = forms.CharField(
                widget=forms.HiddenInput, max_length=64, initial=invitations.digest(text)
            )

    def clean_agreed_to(self) -> str:
        shown: str = self.cleaned_data["agreed_to"]
        now = invitations.digest(self.dataset.consent)
        if shown != now:
            # The page shows the text of now, and asks for the tick again.
            self.data = {name: value for name, value in self.data.items() if name != "agrees"} | {
                "agreed_to": now
            }
            self.add_error("agrees", "The text has changed meanwhile. Read it again.")
        return shown


class AcceptForm(ConsentForm):
    """Comes by an invitation with an account."""

    def __init__(self, data: QueryDict | None = None, *, invitation: Invitation) -> None:
        super().__init__(data, dataset=invitation.dataset)
        self.invitation = invitation

    def accepted(self, user: User | None) -> Member | None:
        """The membership; None, with an error on the form, when it can't be. Raises Refused, and stores
        nothing, when the invitation is closed by now."""
        if user is None:
            raise ValueError("Whoever has no account needs JoinForm.")
        domain = self.invitation.domain
        if domain and not user.email.lower().endswith(f"@{domain}"):
            self.add_error(
                None, f"This link is for mail addresses of {domain}. Yours: {user.email or 'none'}."
            )
            return None
        return invitations.accept(self.invitation, user, self.cleaned_data.get("agreed_to", ""))


class JoinForm(SignUpForm, AcceptForm):
    """Comes by an invitation with a new account."""

    def __init__(self, data: QueryDict | None = None, *, invitation: Invitation) -> None:
        super().__init__(data, invitation=invitation)
        self.fields["username"].widget.attrs["autofocus"] = True
        if invitation.address:
            del self.fields["email"]  # the mail came there

    def clean(self) -> dict[str, Any]:
        address, domain = self.invitation.address, self.invitation.domain
        if address:
            self.cleaned_data["email"] = address
            if _has_account(address):
                self.add_error(None, f"{address} has an account already. Log in with it to join.")
        cleaned = super().clean()
        if domain and "email" in cleaned and not cleaned["email"].endswith(f"@{domain}"):
            self.add_error("email", f"This link is for mail addresses of {domain}.")
        return cleaned

    def accepted(self, user: User | None = None) -> Member | None:
        try:
            with transaction.atomic():
                user = self.create_user()
                if address := self.invitation.address:
                    # The link came in a mail to it.
                    EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
                return super().accepted(user)
        except IntegrityError:
            self.add_error("username", "This name was taken a moment ago. Choose another.")
            return None
