from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import QueryDict
from django.utils import timezone

from workbench.forms.fields import LARGEST, LanguageField, WordsField
from workbench.models import Dataset, Guidelines, Role, SavedView, User
from workbench.pipeline.annotate import requirements
from workbench.pipeline.datasets import cloning, guidelines
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.people import members

NAME_TAKEN = "Another dataset has this name. Choose a different one."
NAME_ERRORS = {"name": {"unique": NAME_TAKEN}}


class NamedForm(forms.ModelForm):
    """Stores a Dataset under a name of its own."""

    def stored(self) -> Dataset | None:
        """The stored Dataset; None, with an error on the form, when somebody took its name a moment ago."""
        try:
            with transaction.atomic():
                dataset: Dataset = self.save()
        except IntegrityError:
            self.add_error("name", NAME_TAKEN)
            return None
        return dataset


class NewDatasetForm(NamedForm):
    """A new Dataset, whose admin is the person who creates it."""

    def __init__(self, data: QueryDict | None = None, *, by: User) -> None:
        super().__init__(data)
        self._by = by

    def save(self, commit: bool = True) -> Dataset:
        dataset: Dataset = super().save()
        record(Kind.DATASET_CREATED, by=self._by, dataset=dataset, target=dataset)
        members.add(dataset, self._by, Role.ADMIN, self._by)
        return dataset

    class Meta:
        model = Dataset
        fields = ["name", "description", "licence"]
        error_messages = NAME_ERRORS
        widgets = {"description": forms.Textarea(attrs={"rows": 3})}


class CloneForm(NamedForm):
    """The name of a clone of the Dataset `source`."""

    prefix = "clone"

    class Meta:
        model = Dataset
        fields = ["name"]
        labels = {"name": "Name of the new dataset"}
        error_messages = NAME_ERRORS

    def __init__(self, data: QueryDict | None = None, *, source: Dataset, by: User | None = None) -> None:
        super().__init__(data)
        self._source, self._by = source, by

    def save(self, commit: bool = True) -> Dataset:
        if self._by is None:
            raise ValueError("A clone needs the person who creates it.")
        return cloning.clone(self._source, self.cleaned_data["name"], self._by)


class DeleteForm(forms.Form):
    """The name of the Dataset, typed to confirm its deletion."""

    name = forms.CharField(
        label="Type the name of the dataset to confirm",
        strip=False,
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, data: QueryDict | None = None, *, dataset: Dataset) -> None:
        super().__init__(data)
        self._dataset = dataset

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self._dataset.name:
            raise ValidationError(f"The names differ. Type “{self._dataset.name}”. Nothing was deleted.")
        return name


SETTINGS = {
    "About": ["name", "description", "licence"],
    "How many people vote": ["overlap", "max_overlap", "due_on"],
    "Before the first vote": ["qualify_pairs", "qualify_share", "qualify_tries"],
    "Checks on people": ["gold_share", "repeat_share"],
    "When people are paused": ["pause_alpha", "pause_good", "pause_bad"],
    "What people see": ["blind_share", "allows_ranking", "lease_minutes"],
    "Who gets which pair": [
        "required_language",
        "required_skill",
        "requires_prompt_language",
        "language_key",
        "skill_key",
    ],
    "What to vote on first": ["order", "random_share", "max_per_group", "first_view"],
    "How votes become final labels": ["aggregation", "single_vote_threshold", "audit_share"],
    "Time and pay": ["idle_limit", "pay_rate", "pay_per", "currency"],
    "What people agree to": ["consent"],
    "Benchmark": ["frozen"],
    "Filters of the Data page": ["facet_keys"],
}
"""The settings of a Dataset by group, in the order of the page."""

BY_PAIR = {"requires_prompt_language", "language_key", "skill_key"}
"""What the requirement of a pair follows from."""

MOST_KEYS = 8
"""Metadata keys that the Data page counts: each is a column in memory."""

OPEN = {"About", "How many people vote", "Checks on people"}
"""The groups that everybody needs; the others are folded."""


@dataclass(frozen=True)
class Group:
    """A group of settings on the page; `now` says what a folded group is set to."""

    title: str
    fields: list[forms.BoundField]
    is_open: bool
    now: str


class DatasetForm(NamedForm):
    """A Dataset's settings. Writes only the changed fields, so that two people who each change one field do
    not undo each other."""

    stored_settings: Mapping[str, object] = {}
    by: User | None = None
    facet_keys = WordsField(
        most=MOST_KEYS,
        longest=60,
        label="Metadata to filter by",
        help_text="Keys of a prompt’s metadata, with commas: level, subject.",
    )

    required_language = LanguageField(
        label="Language that everybody must read",
        required=False,
        max_length=50,
        help_text="Polish, or pl. Empty = any.",
        widget=forms.TextInput(attrs={"list": "languages"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        views = cast("forms.ModelChoiceField", self.fields["first_view"])
        views.queryset = SavedView.objects.filter(dataset=self.instance.pk, shared=True)
        views.empty_label = "none"

    class Meta:
        model = Dataset
        fields = [name for names in SETTINGS.values() for name in names]
        error_messages = NAME_ERRORS
        labels = {
            "overlap": "People per pair",
            "max_overlap": "On disagreement, ask more people, up to",
            "single_vote_threshold": "Accept one vote when the model is this sure of it too",
            "audit_share": "Spot-check this share of those with the full number of people",
            "aggregation": "How votes become a final label",
            "order": "Which pairs come first",
            "random_share": "Share of random pairs in a mixture",
            "max_per_group": "At most this many pairs of one prompt in a row",
            "allows_ranking": "Rank 3 to 9 answers together instead of pair by pair",
            "lease_minutes": "Hold a pair for this many minutes",
            "blind_share": "Hide the model's pick until people have voted",
            "gold_share": "Share of pairs with a known answer",
            "repeat_share": "Share of pairs asked again",
            "qualify_pairs": "Pairs with a known answer to qualify",
            "qualify_share": "Share of them that must be right",
            "qualify_tries": "Tries for each person",
            "pause_alpha": "Risk of pausing a careful person by mistake",
            "pause_good": "Share that a careful person gets right",
            "pause_bad": "Share that somebody to be paused gets right",
            "required_skill": "Skill that everybody must have",
            "requires_prompt_language": "People must read the language of the prompt",
            "language_key": "Metadata key of the language to read",
            "skill_key": "Metadata key of the skill to have",
            "first_view": "Vote first on the pairs of this view",
            "due_on": "All votes in by",
            "idle_limit": "Most seconds that one vote counts",
            "pay_rate": "Rate",
            "pay_per": "Rate is for a",
            "consent": "What people agree to before they join",
            "frozen": "Benchmark only: never train on this dataset",
        }
        help_texts = {
            "overlap": "2 = two different people vote on each pair.",
            "max_overlap": "5 = at most five people per pair. 0 = don’t ask more.",
            "single_vote_threshold": "0.9 = 90 % sure. Empty = never.",
            "audit_share": "0.1 = one in 10. Shows where person and model err together.",
            "aggregation": "A reviewer’s label always wins. Skill needs 20 shared votes per person.",
            "order": "Only random picks give figures that hold for the whole dataset.",
            "random_share": "0.3 = three pairs in 10, the least allowed.",
            "max_per_group": "1 = none in a row. Applies when uncertain pairs come first.",
            "allows_ranking": "A ranking is stored as votes on pairs.",
            "lease_minutes": "20 = after 20 minutes, somebody else may get the pair.",
            "blind_share": "1 = always, 0 = never, 0.5 = for half of the pairs.",
            "gold_share": "0.05 = one pair in 20. Checks people; never counts as votes.",
            "repeat_share": "0.05 = one pair in 20, same person, sides swapped.",
            "qualify_pairs": "10 = ten pairs, each explained after the answer. 0 = none.",
            "qualify_share": "0.8 = 8 of 10 pass.",
            "qualify_tries": "2 = a second try, with other pairs where there are any.",
            "pause_alpha": "0.01 = one in 100. 0 = pause nobody.",
            "pause_good": "0.75 = three of four known answers.",
            "pause_bad": "0.5 = as if by tossing a coin.",
            "required_skill": "law = only people with this skill vote here. Empty = none.",
            "requires_prompt_language": "As detected at import. Prompts in no sure language go to all.",
            "language_key": "language, where a row says “pl”. Goes before the detected one.",
            "skill_key": "subject, where a row says “law”. Empty = none.",
            "first_view": "A shared view of the Data page; its pairs come first.",
            "due_on": "The Overview shows the pace that this takes. Empty = open.",
            "idle_limit": "300 = 5 minutes; a longer look counts as 5 minutes.",
            "pay_rate": "0.05 per vote, or 15 per hour. Empty = hours alone.",
            "pay_per": "Checks are votes too. A changed vote is paid once.",
            "currency": "EUR, or another word for the time sheet.",
            "consent": "Shown with a checkbox to whoever opens an invitation. Empty = nothing.",
            "frozen": "A model that loses on it is not promoted.",
        }
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "consent": forms.Textarea(attrs={"rows": 6}),
            "blind_share": forms.NumberInput(attrs={"step": "0.05", "min": "0", "max": "1"}),
            "single_vote_threshold": forms.NumberInput(attrs={"step": "0.01", "min": "0.5", "max": "1"}),
            "audit_share": forms.NumberInput(attrs={"step": "0.05", "min": "0", "max": "1"}),
            "random_share": forms.NumberInput(attrs={"step": "0.05", "min": "0.3", "max": "1"}),
            "gold_share": forms.NumberInput(attrs={"step": "0.01", "min": "0", "max": "0.5"}),
            "repeat_share": forms.NumberInput(attrs={"step": "0.01", "min": "0", "max": "0.5"}),
            "qualify_share": forms.NumberInput(attrs={"step": "0.05", "min": "0", "max": "1"}),
            "pause_alpha": forms.NumberInput(attrs={"step": "0.01", "min": "0", "max": "0.2"}),
            "pause_good": forms.NumberInput(attrs={"step": "0.05", "min": "0.55", "max": "0.99"}),
            "pause_bad": forms.NumberInput(attrs={"step": "0.05", "min": "0.05", "max": "0.9"}),
            "due_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            "pay_rate": forms.NumberInput(attrs={"step": "0.0001", "min": "0"}),
        }

    def clean_required_skill(self) -> str:
        return requirements.skill_of(self.cleaned_data["required_skill"])

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        good, bad = cleaned.get("pause_good"), cleaned.get("pause_bad")
        if good is not None and bad is not None and bad >= good:
            self.add_error("pause_bad", f"Must be less than {good:g}, which a careful person gets right.")
        return cleaned

    def groups(self) -> list[Group]:
        return [self._group(title, [self[name] for name in names]) for title, names in SETTINGS.items()]

    def _group(self, title: str, fields: list[forms.BoundField]) -> Group:
        changed = any(field.name in self.preset_changes for field in fields)
        is_open = title in OPEN or changed or any(field.errors for field in fields)
        return Group(title, fields, is_open, self._in_words(fields[0]))

    def _in_words(self, field: forms.BoundField) -> str:
        """What a field is set to, for the line of a folded group."""
        value = field.value()
        if isinstance(field.field, forms.ChoiceField):
            return str(getattr(self.instance, f"get_{field.name}_display")()).partition(":")[0]
        if isinstance(field.field, forms.BooleanField):
            return str(field.label) if value else ""
        return f"{field.label}: {value:g}" if isinstance(value, int | float) else ""

    @property
    def preset_changes(self) -> dict[str, object]:
        """The settings that a preset has filled in and that are not stored yet."""
        stored = self.stored_settings
        return {
            name: value for name, value in (self.initial or {}).items() if stored.get(name, value) != value
        }

    @classmethod
    def with_preset(cls, dataset: Dataset, settings: Mapping[str, object]) -> "DatasetForm":
        """The form of the Dataset with these settings filled in; nothing is stored."""
        form = cls(instance=copy(dataset), initial=dict(settings))
        form.stored_settings = {name: getattr(dataset, name) for name in settings}
        for name, value in settings.items():
            setattr(form.instance, name, value)
        return form

    @classmethod
    def sent(cls, data: QueryDict, dataset: Dataset, by: User) -> "DatasetForm":
        """The form with the data that `by` has sent. Validation writes into the instance, so it gets a copy:
        a page that refuses a name still shows the Dataset under its own."""
        form = cls(data, instance=copy(dataset))
        form.by = by
        return form

    def save(self, commit: bool = True) -> Dataset:
        dataset: Dataset = self.instance
        written = list(self.changed_data)
        if written:
            record(Kind.SETTINGS, by=self.by, dataset=dataset, target=dataset, fields=written)
        if {"max_per_group", "first_view", *BY_PAIR} & set(written):
            dataset.queue_stale_since = timezone.now()
            written.append("queue_stale_since")
        dataset.save(update_fields=written)
        return dataset


class GuidelinesForm(forms.Form):
    """The text of the next version, byte for byte, except that the CRLF of browsers becomes LF."""

    text = forms.CharField(strip=False, required=False, widget=forms.Textarea(attrs={"rows": 18}))
    based_on = forms.IntegerField(min_value=0, max_value=LARGEST, widget=forms.HiddenInput)

    @classmethod
    def of(cls, dataset: Dataset) -> "GuidelinesForm":
        current = dataset.current_guidelines
        return cls(
            initial={"text": current.text if current else "", "based_on": current.number if current else 0}
        )

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"]
        return text.replace("\r\n", "\n")

    def revise(self, dataset: Dataset, by: User) -> Guidelines | None:
        """The stored version; None, with an error on the form, when somebody stored another meanwhile."""
        try:
            return guidelines.revise(dataset, self.cleaned_data["text"], by, self.cleaned_data["based_on"])
        except ValidationError as conflict:
            self.add_error("text", conflict)
            # A person who saves again has seen that there is a newer version.
            self.data = {**self.data, "based_on": dataset.guidelines.count()}
            return None


class SimilarForm(forms.Form):
    """The text that others are to be like: a prompt or an answer, by its number."""

    prompt = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    completion = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
