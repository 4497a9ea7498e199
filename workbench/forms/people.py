from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import QueryDict
from django.utils import timezone

from workbench.forms.fields import LanguagesField, SkillsField
from workbench.models import Dataset, Member, QualificationGrant, Role, SavedView, User
from workbench.pipeline.annotate.requirements import MOST_WORDS
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.people import members


class MemberForm(forms.Form):
    """Adds a person with an account to the Dataset."""

    username = forms.CharField(label="Name", max_length=150)
    role = forms.ChoiceField(choices=Role.choices, initial=Role.ANNOTATOR)

    def __init__(self, data: QueryDict | None = None, *, dataset: Dataset) -> None:
        super().__init__(data)
        self.dataset = dataset

    def clean_username(self) -> User:
        name = self.cleaned_data["username"]
        user = User.objects.filter(username=name, is_active=True).first()
        if user is None:
            raise ValidationError(
                f"No account is named {name}. Capital letters count. Invite whoever has no account."
            )
        if self.dataset.members.filter(user=user).exists():
            raise ValidationError(f"{name} is already a member. Change the role in the list.")
        return user

    def save(self, by: User) -> Member:
        return members.add(self.dataset, self.cleaned_data["username"], self.cleaned_data["role"], by)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class FactsForm(forms.ModelForm):
    """What a member reads and knows, and the saved views whose pairs they get first."""

    languages = LanguagesField(
        label="Languages",
        most=MOST_WORDS,
        help_text="With commas: English, Polish.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    skills = SkillsField(
        label="Skills",
        most=MOST_WORDS,
        help_text="With commas: law, medicine.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    views = forms.ModelMultipleChoiceField(
        SavedView.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Member
        fields = ["languages", "skills", "views"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        views = cast("forms.ModelMultipleChoiceField", self.fields["views"])
        views.queryset = SavedView.objects.filter(dataset=self.instance.dataset_id, shared=True)

    def store(self, by: User) -> None:
        """Store what was changed. A worker looks up what a view finds that is given anew."""
        with transaction.atomic():
            self.save()
            if fields := self.changed_data:
                member = self.instance
                record(Kind.MEMBER_FACTS, by=by, dataset=member.dataset_id, target=member.user, fields=fields)
            if "views" in self.changed_data:
                Dataset.objects.filter(pk=self.instance.dataset_id).update(queue_stale_since=timezone.now())


class OwnLanguagesForm(forms.ModelForm):
    """What a person says they read. An admin's word goes before it, in their own dataset."""

    languages = LanguagesField(
        label="Languages you read",
        most=MOST_WORDS,
        help_text="With commas: English, Polish.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    class Meta:
        model = User
        fields = ["languages"]


class ReasonForm(forms.Form):
    """Why a person is paused, or may go on."""

    reason = forms.CharField(
        max_length=500, error_messages={"required": "Nothing was changed: say why, in a word or two."}
    )


class GrantForm(ReasonForm):
    """What an admin gives a person who is to qualify."""

    kind = forms.ChoiceField(choices=QualificationGrant.Kind.choices)
