import re
from typing import cast

from django import forms
from django.http import QueryDict

from workbench.forms.fields import LARGEST
from workbench.models import Dataset, Flag
from workbench.pipeline.annotate.answers import Answer


def _pk(required: bool = True) -> forms.IntegerField:
    """A primary key."""
    return forms.IntegerField(required=required, min_value=0, max_value=LARGEST)


class AnswerForm(forms.Form):
    """An answer as the annotation page sends it: "left", "right:2" (much better), "tie", ..."""

    user = _pk()
    comparison = _pk()
    claim = _pk(required=False)
    key = forms.UUIDField()
    answer = forms.RegexField(
        r"^(left|left:2|right|right:2|tie|both_bad|cannot_judge|ranks(:[1-9](,[1-9]){2,8})?)$",
        error_messages={"invalid": "Choose one of the answers on the page."},
    )
    rank = forms.CharField(required=False)
    supersedes = forms.UUIDField(required=False)
    guidelines = _pk(required=False)
    seconds = forms.FloatField(required=False, min_value=0, max_value=24 * 60 * 60)
    comment = forms.CharField(required=False, strip=False, max_length=5000)

    def clean(self) -> dict[str, object]:
        """Without the page's script, each rank comes in a field `rank` of its own."""
        cleaned = self.cleaned_data
        if cleaned.get("answer") == "ranks":
            ranks = cast("QueryDict", self.data).getlist("rank")
            if len(ranks) not in range(3, 10) or not all(re.fullmatch("[1-9]", rank) for rank in ranks):
                self.add_error("answer", "Rank every answer: 1 is best. Equal answers share a rank.")
            else:
                cleaned["answer"] = f"ranks:{','.join(ranks)}"
        return cleaned

    @property
    def ranks(self) -> list[int]:
        """The ranks in the order shown; empty for the answer to a pair."""
        kind, _, ranks = self.cleaned_data["answer"].partition(":")
        return [int(rank) for rank in ranks.split(",")] if kind == "ranks" else []

    def answer_in(self, dataset: Dataset) -> Answer:
        shown, _, strength = self.cleaned_data["answer"].partition(":")
        guidelines = self.cleaned_data["guidelines"]
        return Answer(
            outcome=shown,
            key=self.cleaned_data["key"],
            strength=None if self.ranks else int(strength or 1),
            comment=self.cleaned_data["comment"],
            seconds=self.cleaned_data["seconds"],
            supersedes=self.cleaned_data["supersedes"],
            guidelines=dataset.guidelines.filter(pk=guidelines).first() if guidelines else None,
        )


class HeldForm(forms.Form):
    """The Comparisons on the annotation page, as "12,15"."""

    have = forms.RegexField(r"^(\d{1,18}(,\d{1,18}){0,100})?$", required=False)
    again = forms.BooleanField(required=False)
    along = forms.BooleanField(required=False)

    def clean_have(self) -> list[int]:
        return [int(pk) for pk in self.cleaned_data["have"].split(",") if pk]


class WhichForm(forms.Form):
    """Primary keys in the URL: of a Comparison, its Claim, or the Judgment before or last."""

    comparison = _pk(required=False)
    claim = _pk(required=False)
    before = _pk(required=False)
    last = _pk(required=False)


class SkipForm(forms.Form):
    user = _pk()
    comparison = _pk()
    claim = _pk(required=False)


class FlagForm(SkipForm):
    reason = forms.ChoiceField(choices=Flag.Reason.of_annotators())
    note = forms.CharField(required=False, max_length=2000)


class QualifyForm(forms.Form):
    """An answer to a pair of a qualification; "much better" counts as "better"."""

    pair = _pk()
    answer = forms.RegexField(
        r"^(left|left:2|right|right:2|tie|both_bad)$",
        error_messages={"invalid": "Choose one of the answers on the page."},
    )
    seconds = forms.FloatField(required=False, min_value=0, max_value=24 * 60 * 60)

    def clean_answer(self) -> str:
        answer: str = self.cleaned_data["answer"]
        return answer.partition(":")[0]
