from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from workbench.models import Dataset, Decision, Release
from workbench.pipeline.releases import DEFAULT_PROFILES, FORMATS, PROFILES, Filters

LARGEST_COUNT = 10**9
_DAY = forms.DateInput(attrs={"type": "date"})


class ReleaseForm(forms.Form):
    """The profiles, formats and filters of the next Release."""

    profiles = forms.MultipleChoiceField(
        choices=[(profile.name, profile.purpose) for profile in PROFILES.values()],
        initial=DEFAULT_PROFILES,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one profile."},
    )
    formats = forms.MultipleChoiceField(
        choices=[(name, name) for name in FORMATS],
        initial=["jsonl"],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one format."},
    )
    method = forms.MultipleChoiceField(
        label="Final label by",
        choices=Decision.Method.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    min_votes = forms.IntegerField(
        label="Minimum votes per pair", min_value=1, max_value=LARGEST_COUNT, required=False
    )
    min_agreement = forms.FloatField(
        label="Minimum agreement (0.8 = 80 % of the votes)", min_value=0, max_value=1, required=False
    )
    min_posterior = forms.FloatField(
        label="Minimum probability by aggregation (0.9 = 90 %)",
        min_value=0,
        max_value=1,
        required=False,
    )
    source = forms.MultipleChoiceField(label="Both answers written by", required=False)
    judged_from = forms.DateField(label="Last vote from (UTC)", required=False, widget=_DAY)
    judged_until = forms.DateField(label="Last vote until (UTC)", required=False, widget=_DAY)
    min_length = forms.IntegerField(
        label="Shortest answer (characters)", min_value=1, max_value=LARGEST_COUNT, required=False
    )
    max_length = forms.IntegerField(
        label="Longest answer (characters)", min_value=1, max_value=LARGEST_COUNT, required=False
    )
    min_confidence = forms.FloatField(
        label="Minimum model confidence (0.9 = 90 % sure)",
        min_value=0.5,
        max_value=0.999999,
        required=False,
    )

    without_leaked = forms.BooleanField(required=False)

    narrowing = (
        "min_votes",
        "min_agreement",
        "min_posterior",
        "source",
        "judged_from",
        "judged_until",
        "min_length",
        "max_length",
        "min_confidence",
    )

    def __init__(
        self, data: QueryDict | None = None, *, sources: Sequence[str], leaked: Callable[[], Sequence[str]]
    ) -> None:
        """sources: offered for `source`; leaked: gives the prompt groups of the newest leakage report."""
        super().__init__(data)
        self.leaked = leaked
        field = cast(forms.MultipleChoiceField, self.fields["source"])
        field.choices = [(source, source) for source in sources]
        self.has_sources = bool(sources)

    def filters(self) -> Filters:
        """The filters of a valid form."""
        names = [field.name for field in fields(Filters) if field.name in self.fields]
        values = {name: self.cleaned_data[name] for name in names}
        if self.cleaned_data["without_leaked"]:
            values["without_groups"] = tuple(self.leaked())
        return Filters.parse(values)

    def release(self, dataset: Dataset) -> Release:
        """The unsaved row of a valid form."""
        return Release(
            dataset=dataset,
            profiles=self.cleaned_data["profiles"],
            formats=self.cleaned_data["formats"],
            filters=self.filters().as_json(),
        )

    def clean(self) -> dict[str, object]:
        cleaned = self.cleaned_data
        nested = [name for name in cleaned.get("profiles", []) if not PROFILES[name].is_flat]
        if nested and "csv" in cleaned.get("formats", []):
            raise ValidationError(
                f"CSV cannot hold conversations. Choose another format for {' and '.join(nested)}."
            )
        return cleaned


class LeakageForm(forms.Form):
    """The benchmarks of a leakage report, as one file or more."""

    benchmarks = forms.FileField(required=False)
    column = forms.CharField(
        label="Prompt column",
        max_length=100,
        required=False,
        initial="prompt",
        help_text="Only for .jsonl files. Other files have one prompt per line.",
    )
