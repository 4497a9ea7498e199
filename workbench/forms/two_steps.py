"""Passkeys as browsers send them."""

from collections.abc import Callable
from typing import Any

from allauth.mfa.webauthn import forms as webauthn
from django.core.exceptions import ValidationError


class AddPasskeyForm(webauthn.AddWebAuthnForm):
    def clean(self) -> Any:
        return _read(super().clean)


class PasskeyForm(webauthn.AuthenticateWebAuthnForm):
    """The passkey of the second step."""

    def clean_credential(self) -> Any:
        return _read(super().clean_credential)


class LogInByPasskeyForm(webauthn.LoginWebAuthnForm):
    def clean_credential(self) -> Any:
        return _read(super().clean_credential)


class ConfirmByPasskeyForm(webauthn.ReauthenticateWebAuthnForm):
    def clean_credential(self) -> Any:
        return _read(super().clean_credential)


def _read(read: Callable[[], Any]) -> Any:
    """What `read` gives. Raise ValidationError for a credential that can't be read or is of nobody here."""
    try:
        return read()
    except Exception as error:  # fido2 raises what its parsers raise, KeyError and struct.error among them
        raise ValidationError("This passkey opens no account here. Nothing was changed.") from error
