from uuid import UUID, uuid4

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from workbench.models import Completion, Dataset, ModelVersion, Strategy, Topic
from workbench.pipeline.data.more_pairs import MOST, Wanted

MODELS = "models"
"""The choice of pairs on which two models disagree. These pairs carry Strategy.DISAGREEMENT."""

MOST_SOURCES = 500
"""Names in the lists; a Dataset with more lists the first."""


class MorePairsForm(forms.Form):
    """Which pairs to make of the answers that there are."""

    strategy = forms.ChoiceField(
        label="Which pairs first",
        choices=[
            (Strategy.RANDOM, "By lot: figures for the whole dataset may use them"),
            (Strategy.UNCERTAIN, "Where the model is least sure"),
            (Strategy.DISAGREEMENT, "Of prompts on whose pairs opinions differ"),
            (MODELS, "Where two models prefer different answers"),
        ],
        initial=Strategy.RANDOM,
        widget=forms.RadioSelect,
        required=False,
    )
    model = forms.ModelChoiceField(
        ModelVersion.objects.exclude(state=ModelVersion.State.RETIRED),
        label="One model",
        empty_label="choose a model",
        required=False,
    )
    other_model = forms.ModelChoiceField(
        ModelVersion.objects.exclude(state=ModelVersion.State.RETIRED),
        label="Against",
        empty_label="choose a model",
        required=False,
    )
    source = forms.ChoiceField(label="Answers of", required=False)
    against = forms.ChoiceField(label="Against answers of", required=False)
    topic = forms.ModelChoiceField(Topic.objects.none(), empty_label="Any topic", required=False)
    number = forms.IntegerField(label="Pairs", min_value=1, max_value=MOST, initial=100, required=False)
    per_prompt = forms.IntegerField(
        label="At most per prompt",
        min_value=1,
        max_value=100,
        initial=1,
        required=False,
        help_text="Pairs of different prompts say more than pairs of one.",
    )
    key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)

    def __init__(self, data: QueryDict | None, *, dataset: Dataset) -> None:
        super().__init__(data)
        sources = Completion.objects.of(dataset).exclude(source="").order_by("source")
        names = list(sources.values_list("source", flat=True).distinct()[:MOST_SOURCES])
        for name in ("source", "against"):
            self.fields[name].choices = [("", "any source"), *((source, source) for source in names)]  # type: ignore[attr-defined]
        self.fields["topic"].queryset = Topic.objects.of(dataset).largest_first()  # type: ignore[attr-defined]
        self.has_topics = Topic.objects.of(dataset).exists()

    def clean(self) -> None:
        super().clean()
        source, against = (self.cleaned_data.get(name) for name in ("source", "against"))
        if source and source == against:
            raise ValidationError("Choose two different sources, or leave one at “any source”.")
        model, other = (self.cleaned_data.get(name) for name in ("model", "other_model"))
        if self.cleaned_data.get("strategy") == MODELS and (not (model and other) or model == other):
            raise ValidationError("Choose two different models.")

    def wanted(self) -> Wanted:
        """What was chosen; needs a valid form. An empty field has its first value."""
        chosen = self.cleaned_data
        by_models = chosen["strategy"] == MODELS
        return Wanted(
            strategy=Strategy.DISAGREEMENT if by_models else Strategy(chosen["strategy"] or Strategy.RANDOM),
            models=(chosen["model"], chosen["other_model"]) if by_models else None,
            source=chosen["source"],
            against=chosen["against"],
            topic=chosen["topic"],
            number=chosen["number"] or 100,
            per_prompt=chosen["per_prompt"] or 1,
        )

    def key_of_the_button(self) -> UUID:
        """The key of the act: a second press of one button makes nothing more."""
        key: UUID | None = self.cleaned_data["key"]
        return key or uuid4()
