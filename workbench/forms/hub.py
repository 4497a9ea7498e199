import re
from urllib.parse import unquote, urlsplit

from django import forms
from django.core.exceptions import ValidationError

from workbench.pipeline.hub import hosts
from workbench.pipeline.hub.models import is_repository

_ADDRESS = re.compile(r"datasets/([^/]+/[^/]+)(?:/(?:tree|blob|resolve)/([^/]+)(?:/(.+))?)?")


_MODEL_ADDRESS = re.compile(r"([^/]+/[^/]+)(?:/(?:tree|blob|resolve)/([^/]+)(?:/.+)?)?")


def repository_of(text: str) -> tuple[str, str]:
    """(owner/name, revision or "") of a model, by its name or by the address of its page."""
    if "://" not in text:
        return text.strip(), ""
    found = _MODEL_ADDRESS.fullmatch(unquote(urlsplit(text).path).strip("/"))
    return (found[1], found[2] or "") if found else ("", "")


class FetchForm(forms.Form):
    """A file or a split of a repository on the hub. `repository` may be the address of its page."""

    repository = forms.CharField(
        label="Repository",
        max_length=1000,
        help_text="owner/name, or the address of its page.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    revision = forms.CharField(
        label="Revision",
        max_length=200,
        required=False,
        help_text="A branch, tag or commit. Empty: main.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "placeholder": "main"}),
    )
    wanted = forms.CharField(
        label="File or split",
        max_length=500,
        required=False,
        help_text="Empty: choose from a list of its files.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, str]:
        cleaned = super().clean() or self.cleaned_data
        name = cleaned.get("repository", "")
        if "://" in name:
            path = unquote(urlsplit(name).path).strip("/")
            name = path if _ADDRESS.fullmatch(path) else ""
        if address := _ADDRESS.fullmatch(name):
            name, revision, path = address.groups()
            cleaned["revision"] = cleaned.get("revision") or revision or ""
            cleaned["wanted"] = cleaned.get("wanted") or path or ""
        if "repository" in cleaned and not is_repository(name):
            self.add_error("repository", "This is no name of a repository. Write owner/name.")
        cleaned["repository"] = name
        cleaned["revision"] = cleaned.get("revision") or "main"
        return cleaned


class PushForm(forms.Form):
    """Where to push a release."""

    repository = forms.CharField(
        label="Repository",
        max_length=200,
        help_text="owner/name. It is created if it is missing.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    private = forms.BooleanField(label="Private: only its owner sees it", required=False, initial=True)

    def clean_repository(self) -> str:
        name: str = self.cleaned_data["repository"].strip()
        if not is_repository(name) or "/" not in name:
            raise ValidationError("This is no name of a repository. Write owner/name.")
        return name


class HostForm(forms.Form):
    name = forms.CharField(
        label="Host",
        max_length=1000,
        help_text="For example huggingface.co; with its port unless that is 443.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_name(self) -> str:
        name = hosts.read_name(self.cleaned_data["name"])
        if not name:
            raise ValidationError("This is no name of a host. Write it as in huggingface.co.")
        return name
