from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import ProhibitNullCharactersValidator

from scoring import seed
from scoring.config import TEMPLATES, TOKEN_TYPES
from workbench.forms.hub import repository_of
from workbench.models import Dataset, ModelVersion
from workbench.pipeline.hub.models import is_repository

PRECISIONS = {
    "exact-order": "Exact order: fast",
    "fp32": "fp32: slower",
    "bf16": "bf16: fastest",
}
USUAL_PRECISION = next(iter(PRECISIONS))
LONGEST = 1_000_000
MOST_SETTINGS = 100


class CalibrateForm(forms.Form):
    """The data to fit a temperature on."""

    dataset = forms.ModelChoiceField(
        Dataset.objects.not_deleted(), required=False, empty_label="all datasets"
    )
    labels = forms.BooleanField(required=False, label="Include imported labels")


class NameForm(forms.ModelForm):
    """What a model is called, and the sentence beside its picks."""

    class Meta:
        model = ModelVersion
        fields = ["name", "notice"]
        widgets = {
            "name": forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
            "notice": forms.TextInput({"autocomplete": "off"}),
        }
        help_texts = {"notice": "A sentence shown wherever its picks appear. Empty = none."}
        error_messages = {"name": {"unique": "Another model has this name. Nothing was changed."}}


class RegisterForm(forms.Form):
    """What a checkpoint that was trained elsewhere is called, how its texts are encoded, and its lineage."""

    name = forms.CharField(max_length=80)
    max_length = forms.IntegerField(min_value=1, max_value=LONGEST, required=False)
    precision = forms.ChoiceField(choices=list(PRECISIONS.items()))
    template = forms.ChoiceField(choices=list(TEMPLATES.items()), required=False)
    token_types = forms.ChoiceField(choices=[(name, name) for name in TOKEN_TYPES], required=False)
    notice = forms.CharField(max_length=500, required=False)
    base = forms.ModelChoiceField(ModelVersion.objects.transformers(), required=False)
    settings = forms.JSONField(required=False)

    def clean_settings(self) -> dict[str, object]:
        """Settings of a training by name, to be shown: plain values alone."""
        settings = self.cleaned_data["settings"] or {}
        plain = isinstance(settings, dict) and all(
            isinstance(value, str | int | float | bool | None) for value in settings.values()
        )
        if not plain or len(settings) > MOST_SETTINGS:
            raise ValidationError(
                f"Send an object of at most {MOST_SETTINGS} settings, each a text, a number, true or false."
            )
        for text in (*settings, *map(str, settings.values())):
            ProhibitNullCharactersValidator()(text)
        return settings


_TYPED = {"autocomplete": "off", "spellcheck": "false"}


class AddModelForm(forms.Form):
    """A model to register: of the hub, or of a folder that workers can read."""

    HUB, FOLDER = "hub", "folder"

    source = forms.ChoiceField(
        label="Where it is",
        choices=[(HUB, "On the hub"), (FOLDER, "In a folder")],
        initial=HUB,
        widget=forms.RadioSelect,
    )
    repository = forms.CharField(
        label="Repository",
        max_length=1000,
        required=False,
        initial=seed.REPOSITORY,
        help_text="owner/name, or the address of its page.",
        widget=forms.TextInput(_TYPED),
    )
    revision = forms.CharField(
        label="Revision",
        max_length=200,
        required=False,
        initial="main",
        help_text="A branch, tag or commit. Its commit of that moment is pinned.",
        widget=forms.TextInput(_TYPED),
    )
    folder = forms.CharField(
        label="Folder",
        max_length=1000,
        required=False,
        help_text="One that workers can read, with its whole path: /models/mine.",
        widget=forms.TextInput(_TYPED),
    )
    name = forms.CharField(
        label="Name here",
        max_length=80,
        required=False,
        help_text="Empty: its own name.",
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    template = forms.ChoiceField(
        label="Template",
        choices=[("", "As the model says"), *TEMPLATES.items()],
        required=False,
        help_text="How a prompt and an answer become one text.",
    )
    max_length = forms.IntegerField(
        label="Most tokens of a text",
        min_value=1,
        max_value=LONGEST,
        required=False,
        help_text="Empty: the usual number of its template. Longer texts are cut.",
    )
    precision = forms.ChoiceField(
        label="Precision",
        choices=list(PRECISIONS.items()),
        required=False,
        initial=USUAL_PRECISION,
        help_text="Exact order ranks answers as fp32 does. bf16 may swap close ones.",
    )
    notice = forms.CharField(
        label="Notice",
        max_length=500,
        required=False,
        help_text="A sentence to show beside its picks.",
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    activate = forms.BooleanField(label="Activate it if no model is active", required=False, initial=True)

    def clean(self) -> dict[str, object]:
        """The fields of an adding.Order."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        repository, revision, folder = "", "", ""
        if cleaned.pop("source") == self.HUB:
            repository, named = repository_of(cleaned["repository"])
            revision = named or cleaned["revision"] or "main"
            if not is_repository(repository):
                self.add_error("repository", "This is no name of a repository. Write owner/name.")
        else:
            folder = cleaned["folder"]
            if not folder.startswith("/"):
                self.add_error("folder", "Write the whole path of the folder, from / on.")
        own_name = (repository or folder).rstrip("/").rpartition("/")[2][:80]
        return {
            **cleaned,
            "repository": repository,
            "revision": revision,
            "folder": folder,
            "name": cleaned["name"] or own_name,
            "precision": cleaned["precision"] or USUAL_PRECISION,
        }
