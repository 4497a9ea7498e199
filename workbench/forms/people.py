from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from workbench.models import Dataset, Member, Role, User


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
                f"No account is named {name}. Capital letters count. Whoever runs this workbench can create "
                "accounts."
            )
        if self.dataset.members.filter(user=user).exists():
            raise ValidationError(f"{name} is already a member. Change the role in the list.")
        return user

    def save(self) -> Member:
        user, role = self.cleaned_data["username"], self.cleaned_data["role"]
        return Member.objects.get_or_create(dataset=self.dataset, user=user, defaults={"role": role})[0]


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)
