from copy import copy

from django import forms
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import QueryDict
from django.utils import timezone

from workbench.forms.fields import LARGEST
from workbench.models import Dataset, Guidelines, User
from workbench.pipeline.datasets import cloning

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
    "How many vote": ["overlap", "max_overlap", "single_vote_threshold", "audit_share", "aggregation"],
    "What comes next": ["order", "random_share", "max_per_group", "allows_ranking", "lease_minutes"],
    "Fairness": ["blind_share", "gold_share", "repeat_share"],
    "Testing": ["frozen"],
}
"""The settings of a Dataset by section, in the order of the page."""


class DatasetForm(NamedForm):
    """A Dataset's settings. Writes only the changed fields, so that two people who each change one field do
    not undo each other."""

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
            "frozen": "Benchmark only: never train on this dataset",
        }
        help_texts = {
            "overlap": "How many different people vote on each pair.",
            "max_overlap": "5 = at most five people per pair. 0 = don’t ask more.",
            "single_vote_threshold": "0.9 = 90 % sure. Empty = never.",
            "audit_share": "0.1 = one in 10. Shows where person and model err together.",
            "aggregation": "A reviewer’s label always wins. Skill needs 20 shared votes per person.",
            "order": "Only random picks give figures that hold for the whole dataset.",
            "random_share": "0.3 = three pairs in 10, the least allowed.",
            "max_per_group": "Applies when uncertain pairs come first.",
            "allows_ranking": "A ranking is stored as votes on pairs.",
            "lease_minutes": "After that, somebody else may get the pair.",
            "blind_share": "1 = always, 0 = never, 0.5 = for half of the pairs.",
            "gold_share": "0.05 = one pair in 20. Checks people; never counts as votes.",
            "repeat_share": "0.05 = one pair in 20, same person, sides swapped.",
            "frozen": "A model that loses on it is not promoted. Leakage reports look for its prompts.",
        }
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "blind_share": forms.NumberInput(attrs={"step": "0.05", "min": "0", "max": "1"}),
            "single_vote_threshold": forms.NumberInput(attrs={"step": "0.01", "min": "0.5", "max": "1"}),
            "audit_share": forms.NumberInput(attrs={"step": "0.05", "min": "0", "max": "1"}),
            "random_share": forms.NumberInput(attrs={"step": "0.05", "min": "0.3", "max": "1"}),
            "gold_share": forms.NumberInput(attrs={"step": "0.01", "min": "0", "max": "0.5"}),
            "repeat_share": forms.NumberInput(attrs={"step": "0.01", "min": "0", "max": "0.5"}),
        }

    def sections(self) -> dict[str, list[forms.BoundField]]:
        return {title: [self[name] for name in names] for title, names in SETTINGS.items()}

    @classmethod
    def sent(cls, data: QueryDict, dataset: Dataset) -> "DatasetForm":
        """The form with the sent data. Validation writes into the instance, so it gets a copy: a page that
        refuses a name still shows the Dataset under its own."""
        return cls(data, instance=copy(dataset))

    def save(self, commit: bool = True) -> Dataset:
        dataset: Dataset = self.instance
        written = list(self.changed_data)
        if "max_per_group" in written:
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
            return dataset.revise_guidelines(self.cleaned_data["text"], by, self.cleaned_data["based_on"])
        except ValidationError as conflict:
            self.add_error("text", conflict)
            # A person who saves again has seen that there is a newer version.
            self.data = {**self.data, "based_on": dataset.guidelines.count()}
            return None


class SearchForm(forms.Form):
    q = forms.CharField(label="Exact text", required=False, strip=False, max_length=500)
    prompt = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    empty = forms.BooleanField(required=False)
