"""Tokens for programs, and service accounts."""

from collections.abc import Sequence

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from workbench.models import Dataset, Role, Token, User
from workbench.pipeline.people import tokens

LONGEST_VALID = 365


class TokenForm(forms.Form):
    """A new token. `datasets` are those to choose from."""

    prefix = "token"
    name = forms.CharField(max_length=100, help_text="What it is for: nightly scoring.")
    scope = forms.ChoiceField(label="What it may do", choices=Token.Scope.choices, initial=Token.Scope.READ)
    is_for_all = forms.BooleanField(
        label="For all datasets",
        required=False,
        help_text="Also later ones. Needed to create datasets and to manage models.",
    )
    datasets = forms.ModelMultipleChoiceField(
        Dataset.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )
    days = forms.IntegerField(
        label="Valid for this many days",
        min_value=1,
        max_value=LONGEST_VALID,
        initial=90,
        help_text="90 = three months.",
    )

    def __init__(
        self, data: QueryDict | None = None, *, datasets: Sequence[Dataset], for_all: bool = True
    ) -> None:
        super().__init__(data)
        field = self.fields["datasets"]
        if isinstance(field, forms.ModelMultipleChoiceField):
            field.queryset = Dataset.objects.filter(pk__in=[dataset.pk for dataset in datasets])
        if not for_all:
            del self.fields["is_for_all"]

    def clean(self) -> None:
        super().clean()
        if not self.cleaned_data.get("is_for_all") and not self.cleaned_data.get("datasets"):
            raise ValidationError({"datasets": "Choose at least one dataset."})

    def made(self, user: User, by: User) -> tuple[Token, str]:
        """The token and its secret. Raises Refused as `tokens.make` does."""
        chosen = self.cleaned_data
        return tokens.make(
            user,
            chosen["name"],
            Token.Scope(chosen["scope"]),
            datasets=None if chosen.get("is_for_all") else chosen["datasets"],
            days=chosen["days"],
            by=by,
        )


class ServiceTokenForm(TokenForm):
    """A token of a service account, for one dataset."""

    account = forms.ModelChoiceField(User.objects.none(), label="Service account", empty_label=None)
    field_order = ["account"]

    def __init__(self, data: QueryDict | None = None, *, dataset: Dataset) -> None:
        super().__init__(data, datasets=[dataset], for_all=False)
        field = self.fields["account"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = User.objects.filter(is_service=True, memberships__dataset=dataset)
        del self.fields["datasets"]
        self._dataset = dataset

    def clean(self) -> None:
        self.cleaned_data["datasets"] = [self._dataset]
        super().clean()


class ServiceAccountForm(forms.Form):
    """A new service account."""

    prefix = "service"
    name = forms.CharField(
        max_length=100,
        validators=[User.username_validator],
        help_text="It has no password: nobody logs in with it.",
    )
    role = forms.ChoiceField(
        choices=[choice for choice in Role.choices if choice[0] != Role.ANNOTATOR], initial=Role.ADMIN
    )
