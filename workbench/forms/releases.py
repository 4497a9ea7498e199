from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import cast

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import QueryDict

from workbench.models import Dataset, Decision, Release, SavedView, User
from workbench.pipeline.datasets.overview import sources_of
from workbench.pipeline.releases import (
    FORMATS,
    IN_PER_CENT,
    OTHER,
    PROFILES,
    PURPOSES,
    BadFilter,
    Filters,
    View,
)
from workbench.pipeline.text import leakage

LARGEST_COUNT = 10**9
SOURCES_OFFERED = 100
_DAY = forms.DateInput(attrs={"type": "date"})


def _whole(label: str) -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=1, max_value=LARGEST_COUNT, required=False)


def _per_cent(label: str, least: int = 0, most: int | Decimal = 100) -> forms.DecimalField:
    # Decimal: 66.7 % must be the same share as 0.667 in a command.
    number = forms.NumberInput(attrs={"step": "any"})
    return forms.DecimalField(label=label, min_value=least, max_value=most, required=False, widget=number)


@dataclass(frozen=True)
class Range:
    """Filters that a slider sets. name: of the histogram; low, high: names of fields, "" = none."""

    name: str
    label: str
    unit: str
    low: str
    high: str


class ReleaseForm(forms.Form):
    """What the next Release is for, and its filters. A purpose picks a profile and a format; without one,
    both are chosen by hand."""

    purpose = forms.ChoiceField(
        choices=[
            *((purpose.name, purpose.title) for purpose in PURPOSES.values()),
            (OTHER, "Other formats"),
        ],
        initial=next(iter(PURPOSES)),
        required=False,
        widget=forms.RadioSelect,
    )
    profiles = forms.MultipleChoiceField(
        choices=[(profile.name, profile.title) for profile in PROFILES.values()],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    formats = forms.MultipleChoiceField(
        choices=[(name, name) for name in FORMATS],
        initial=["jsonl"],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    method = forms.MultipleChoiceField(
        label="Final label by",
        choices=Decision.Method.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    min_votes = _whole("Least votes and labels")
    max_votes = _whole("Most votes and labels")
    min_agreement = _per_cent("Least agreement in %")
    max_agreement = _per_cent("Most agreement in %")
    min_posterior = _per_cent("Least probability in %")
    source = forms.MultipleChoiceField(label="Both answers written by", required=False)
    judged_from = forms.DateField(label="First day", required=False, widget=_DAY)
    judged_until = forms.DateField(label="Last day", required=False, widget=_DAY)
    min_length = _whole("Shortest answer in characters")
    max_length = _whole("Longest answer in characters")
    min_confidence = _per_cent("Least confidence in %", 50, Decimal("99.9999"))
    max_confidence = _per_cent("Most confidence in %", 50, Decimal("99.9999"))
    view = forms.ModelChoiceField(
        SavedView.objects.none(),
        label="Only what a saved view finds",
        required=False,
        empty_label="all pairs",
    )
    without_leaked = forms.BooleanField(required=False)

    ranges = (
        Range("length", "Answer length", "characters", "min_length", "max_length"),
        Range("agreement", "Agreement of votes and labels", "%", "min_agreement", "max_agreement"),
        Range("confidence", "Model confidence", "%", "min_confidence", "max_confidence"),
        Range("votes", "Votes and labels on the pair", "votes and labels", "min_votes", "max_votes"),
        Range("posterior", "Probability by skill", "%", "min_posterior", ""),
        Range("days", "Day of the last vote or label (UTC)", "", "judged_from", "judged_until"),
    )

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        dataset: Dataset,
        views: QuerySet[SavedView],
        sources: Sequence[str],
        leaked: Callable[[], Sequence[str]],
    ) -> None:
        """views: offered for `view`; sources: offered for `source`; leaked: gives the prompt groups of the
        newest leakage report."""
        super().__init__(data)
        self.leaked = leaked
        self.dataset = dataset
        field = cast(forms.MultipleChoiceField, self.fields["source"])
        field.choices = [(source, source) for source in sources]
        self.has_sources = bool(sources)
        self.by_skill = dataset.aggregation == Dataset.Aggregation.SKILL
        cast("forms.ModelChoiceField[SavedView]", self.fields["view"]).queryset = views

    @classmethod
    def of(cls, dataset: Dataset, user: User, data: QueryDict | None = None) -> "ReleaseForm":
        """The form for the next Release, with the views that the user sees."""

        def leaked() -> tuple[str, ...]:
            report = leakage.latest(dataset)
            return leakage.groups_found(report) if report else ()

        return cls(
            data,
            dataset=dataset,
            views=SavedView.objects.seen_by(user, dataset),
            leaked=leaked,
            sources=sources_of(dataset)[:SOURCES_OFFERED],
        )

    def filters(self) -> Filters:
        """The filters of a valid form."""
        names = [field.name for field in fields(Filters) if field.name in self.fields]
        values = {name: self.cleaned_data[name] for name in names}
        values |= {name: float(values[name] / 100) for name in IN_PER_CENT if values[name] is not None}
        if self.cleaned_data["without_leaked"]:
            values["without_groups"] = tuple(self.leaked())
        return Filters.parse(values)

    def clean_view(self) -> View | None:
        saved = self.cleaned_data["view"]
        try:
            return View.of(saved, self.dataset.facet_keys) if saved else None
        except BadFilter as error:
            raise ValidationError(str(error)) from None

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
        if purpose := PURPOSES.get(cleaned.get("purpose", "")):
            cleaned |= {"profiles": [purpose.profile], "formats": [purpose.format]}
            return cleaned
        for name in ("profiles", "formats"):
            if not cleaned.get(name) and name not in self.errors:
                self.add_error(name, f"Choose at least one {name.removesuffix('s')}.")
        nested = [PROFILES[name].title for name in cleaned.get("profiles", []) if not PROFILES[name].is_flat]
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
