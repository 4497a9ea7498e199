from typing import cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from workbench.models import Dataset, ModelVersion, Release
from workbench.pipeline.model import plan
from workbench.pipeline.runs.progress import Refused


class RetrainForm(forms.Form):
    """The Release to train a new version on, its base, and the preset."""

    release = forms.ModelChoiceField(Release.objects.none(), empty_label=None)
    base = forms.ModelChoiceField(
        ModelVersion.objects.none(),
        empty_label=None,
        label="Start from",
        help_text="Keep this model the same each time to compare fairly.",
    )
    preset = forms.ChoiceField(choices=list(plan.PRESETS_IN_WORDS.items()), widget=forms.RadioSelect)
    name = forms.CharField(
        max_length=80, required=False, help_text="Leave empty to name it after the dataset and release."
    )

    def __init__(self, dataset: Dataset, data: QueryDict | None = None) -> None:
        super().__init__(data)
        releases = dataset.releases.ready().order_by("-number")
        bases = ModelVersion.objects.transformers().exclude(state=ModelVersion.State.RETIRED)
        self._field("release").queryset = releases.defer("manifest")
        self._field("base").queryset = bases
        # Read once: a field reads its queryset each time that it is rendered or validated.
        self._field("base").choices = [(base.pk, str(base)) for base in bases]
        newest = releases.first()
        self.initial = {"release": newest, "base": plan.usual_base(), "preset": _preset_for(newest)}

    def _field(self, name: str) -> forms.ModelChoiceField:
        return cast("forms.ModelChoiceField", self.fields[name])

    def chosen_release(self) -> Release | None:
        """The chosen Release, else the newest; None while the Dataset has none."""
        if not self.is_bound:
            newest: Release | None = self.initial["release"]
            return newest
        self.is_valid()
        chosen: Release | None = self.cleaned_data.get("release")
        return chosen


def _preset_for(release: Release | None) -> str:
    try:
        return plan.usual_preset(release) if release else "recommended"
    except Refused:  # the page says why, beside the release
        return "recommended"


class CompareForm(forms.Form):
    """Which two versions to compare."""

    new = forms.ModelChoiceField(
        ModelVersion.objects.exclude(state=ModelVersion.State.RETIRED), empty_label="choose a model"
    )
    old = forms.ModelChoiceField(
        ModelVersion.objects.exclude(state=ModelVersion.State.RETIRED), empty_label="choose a model"
    )

    def clean(self) -> dict[str, object]:
        chosen = super().clean() or {}
        if chosen.get("new") and chosen["new"] == chosen.get("old"):
            raise ValidationError("Choose two different models.")
        return chosen


class PromoteForm(forms.Form):
    """An override of the gate, and its reason; empty where the version passes the gate."""

    override = forms.BooleanField(required=False)
    reason = forms.CharField(required=False, max_length=2000)
