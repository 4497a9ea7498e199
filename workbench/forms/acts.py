"""The forms of acts, one a kind. All are parts of one form on the page, so their fields have names of their
own."""

from abc import abstractmethod

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from workbench.forms.fields import LARGEST
from workbench.models import Act, Excluded, Outcome
from workbench.pipeline.data import changes, pairing
from workbench.pipeline.data.change import Change
from workbench.pipeline.data.copying import Copy
from workbench.pipeline.data.rescoring import Rescore
from workbench.pipeline.review.gold import KNOWN_ANSWERS

MOST_CHECKED = 1000
"""Prompts that are sent one by one; more are found by their selection."""


def keys_in(data: QueryDict, name: str) -> list[int]:
    """The primary keys that a page sent. Raises ValidationError for anything else."""
    texts = data.getlist(name)
    if len(texts) > MOST_CHECKED or not all(text.isascii() and text.isdigit() for text in texts):
        raise ValidationError("The page sent no list of prompts. Load it again.")
    if any(int(text) > LARGEST for text in texts):
        raise ValidationError("The page sent no list of prompts. Load it again.")
    return [int(text) for text in texts]


class ActForm(forms.Form):
    @abstractmethod
    def change(self) -> Change:
        """What the valid form asks for."""

    @property
    def first_error(self) -> str:
        return str(next(iter(self.errors.values()))[0])


class TagForm(ActForm):
    tag = forms.CharField(max_length=50, error_messages={"required": "Write a tag."})

    def change(self) -> Change:
        return changes.GiveTag(self.cleaned_data["tag"])


class UntagForm(TagForm):
    def change(self) -> Change:
        return changes.TakeTag(self.cleaned_data["tag"])


class ExcludeForm(ActForm):
    where = forms.ChoiceField(label="From", choices=Excluded.choices, initial=Excluded.BOTH)
    excluded_reason = forms.CharField(
        label="Reason", max_length=300, error_messages={"required": "Write why the prompts are excluded."}
    )

    def change(self) -> Change:
        return changes.Exclude(self.cleaned_data["where"], self.cleaned_data["excluded_reason"])


class RestoreForm(ActForm):
    def change(self) -> Change:
        return changes.Restore()


class SendToReviewForm(ActForm):
    review_note = forms.CharField(label="Note for the reviewer", max_length=1000, required=False)

    def change(self) -> Change:
        return changes.SendToReview(self.cleaned_data["review_note"])


class MarkGoldForm(ActForm):
    gold_note = forms.CharField(
        label="Why is the answer right?",
        max_length=1000,
        error_messages={"required": "Write why the known answer is right."},
    )
    gold_outcome = forms.ChoiceField(
        choices=[("", "the final label"), *((o, Outcome(o).label) for o in KNOWN_ANSWERS)], required=False
    )

    def change(self) -> Change:
        return changes.MarkGold(self.cleaned_data["gold_note"], self.cleaned_data["gold_outcome"])


class OverlapForm(ActForm):
    people = forms.IntegerField(
        min_value=1, max_value=25, error_messages={"required": "Write a number of people."}
    )

    def change(self) -> Change:
        return changes.SetOverlap(self.cleaned_data["people"])


class PutFirstForm(ActForm):
    def change(self) -> Change:
        return changes.PutFirst()


class RescoreForm(ActForm):
    def change(self) -> Change:
        return Rescore()


class PairAnewForm(ActForm):
    policy = forms.ChoiceField(
        choices=list(pairing.POLICIES.items()), error_messages={"required": "Choose how to pair the answers."}
    )
    per_prompt = forms.IntegerField(
        min_value=1,
        max_value=pairing.MOST_OF_A_PROMPT,
        error_messages={"required": "Write a number of pairs per prompt."},
    )

    def change(self) -> Change:
        return pairing.PairAnew(self.cleaned_data["policy"], self.cleaned_data["per_prompt"])


class CopyForm(ActForm):
    to = forms.IntegerField(required=False, min_value=1, max_value=LARGEST)
    to_name = forms.CharField(max_length=100, required=False)

    def clean(self) -> None:
        super().clean()
        if not self.cleaned_data.get("to") and not self.cleaned_data.get("to_name"):
            raise ValidationError("Choose a dataset, or write the name of a new one.")

    def change(self) -> Change:
        to = self.cleaned_data["to"] or 0
        return Copy(to, "" if to else self.cleaned_data["to_name"])


FORMS: dict[str, type[ActForm]] = {
    Act.Kind.TAG: TagForm,
    Act.Kind.UNTAG: UntagForm,
    Act.Kind.EXCLUDE: ExcludeForm,
    Act.Kind.RESTORE: RestoreForm,
    Act.Kind.REVIEW: SendToReviewForm,
    Act.Kind.GOLD: MarkGoldForm,
    Act.Kind.OVERLAP: OverlapForm,
    Act.Kind.PRIORITY: PutFirstForm,
    Act.Kind.RESCORE: RescoreForm,
    Act.Kind.PAIRED: PairAnewForm,
    Act.Kind.COPY: CopyForm,
}
