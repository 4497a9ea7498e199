import re
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from workbench.forms.fields import LARGEST
from workbench.models import (
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Decision,
    Judgment,
    ModelVersion,
    ReviewQueue,
)
from workbench.pipeline import quality
from workbench.pipeline.datasets import overview
from workbench.pipeline.review import queue as review_queue

QUICKLY_COUNTED = 20_000
"""Comparisons of a Dataset whose queues are counted while the page waits."""


class ReviewFilterForm(forms.Form):
    """What of the review queue to show. Everything that may be asked of it is named here."""

    queue = forms.ChoiceField(
        choices=[*ReviewQueue.choices, ("all", "All")], widget=forms.HiddenInput, required=False
    )
    why = forms.ChoiceField(label="Reason", choices=[("", "any"), *review_queue.Why.choices], required=False)
    version = forms.TypedChoiceField(label="Model", empty_value=None, required=False)
    annotator = forms.TypedChoiceField(coerce=int, empty_value=None, required=False)
    source = forms.ChoiceField(label="Answer by", required=False)
    lengths = forms.ChoiceField(choices=[("", "any"), *review_queue.Lengths.choices], required=False)
    old = forms.TypedChoiceField(label="Changed since", empty_value=None, required=False)
    order = forms.ChoiceField(choices=review_queue.Order.choices, required=False)
    votes = forms.ChoiceField(choices=[("", "hidden until I choose"), ("shown", "shown")], required=False)
    group = forms.RegexField(r"^[0-9a-f]{64}$", widget=forms.HiddenInput, required=False)
    as_of = forms.FloatField(widget=forms.HiddenInput, min_value=0, max_value=1e10, required=False)
    after = forms.CharField(widget=forms.HiddenInput, required=False, max_length=200)

    def __init__(self, *args: Any, dataset: Dataset, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataset = dataset
        # As functions: most requests show no list, and need not wait for it.
        self._field("annotator").choices = lambda: self._people
        cast("forms.ChoiceField", self.fields["source"]).choices = lambda: self._sources
        for name, nothing in (("version", "the model in use here"), ("old", "no other model")):
            self._field(name).choices = partial(self._versions, nothing)
            self._field(name).coerce = lambda pk: self._every[int(pk)]

    def _field(self, name: str) -> forms.TypedChoiceField:
        return cast("forms.TypedChoiceField", self.fields[name])

    @cached_property
    def _people(self) -> list[tuple[Any, str]]:
        """Any annotator may be asked for, but an imported file can hold thousands: people are offered."""
        offered = Q(user__isnull=False)
        if asked := re.fullmatch(r"[0-9]{1,18}", self.data.get("annotator", "")):
            offered |= Q(pk=asked[0])
        # The newest of each by the index, and no EXISTS, for which PostgreSQL reads all Judgments there are.
        own = Judgment.objects.of(self.dataset).filter(annotator=OuterRef("pk"))
        newest = Subquery(own.order_by("-created_at").values("pk")[:1])
        judged = Annotator.objects.alias(newest=newest).filter(offered, newest__isnull=False)
        return [("", "anybody"), *((one.pk, str(one)) for one in judged.select_related("user"))]

    def _versions(self, nothing: str) -> list[tuple[Any, str]]:
        return [("", nothing), *((pk, str(version)) for pk, version in self._every.items())]

    @cached_property
    def _every(self) -> dict[int, ModelVersion]:
        return {version.pk: version for version in ModelVersion.objects.all()}

    @cached_property
    def looked_at(self) -> ModelVersion | None:
        """The version that was asked for, else the one that serves the Dataset."""
        active = (version for version in self._every.values() if version.state == ModelVersion.State.ACTIVE)
        asked: ModelVersion | None = self.cleaned_data.get("version")
        return asked or self._every.get(self.dataset.held_by_id or 0) or next(active, None)

    @cached_property
    def _sources(self) -> list[tuple[str, str]]:
        # The counts have read the newest Completion too.
        newest = self.counted.newest if self.is_bound else None
        return [("", "anybody"), *((name, name) for name in overview.sources_of(self.dataset, newest))]

    def clean_after(self) -> str:
        after: str = self.cleaned_data["after"]
        try:
            if after:
                review_queue.check_cursor(after)
        except ValueError:
            raise ValidationError(
                "This link to a later page is broken. The queue starts from the top."
            ) from None
        return after

    def clean(self) -> dict[str, Any]:
        asked = self.cleaned_data
        version = self.looked_at
        if asked.get("why") in review_queue.FLIPS and not asked.get("old"):
            self.add_error("why", "Choose the model to compare with under “Changed since”.")
        if asked.get("old") and asked["old"] == version:
            self.add_error("old", "Choose a different model under “Changed since”.")
        return asked

    @property
    def queue_shown(self) -> str:
        """The queue that was asked for, "" for all of them: a reason or a flip is looked for everywhere. The
        first that is worth it where none was named."""
        asked = self.cleaned_data
        named: str = asked.get("queue", "")
        if named == "all" or (not named and (asked.get("why") or asked.get("old") or asked.get("group"))):
            return ""
        return named or self.first_queue

    @cached_property
    def counted(self) -> Dataset:
        """The Dataset with what waits in each queue, where that is quickly counted, and `told`. One query."""
        version = self.looked_at
        datasets = Dataset.objects.filter(pk=self.dataset.pk)
        counted = overview.with_quick_queue_counts(datasets, version, QUICKLY_COUNTED)
        facts = {"told": quality.in_report(version), "newest": Subquery(Completion.objects.newest())}
        return counted.annotate(**facts).get()

    @property
    def unseen(self) -> quality.ModelAccuracy | None:
        """How good the version is here, as far as the last report says."""
        return quality.from_cells(self.counted.told)

    @property
    def first_queue(self) -> str:
        """What a reviewer begins with: what people brought up, unless the model is shown to be better than
        the length rule."""
        return ReviewQueue.MODEL if self.unseen and self.unseen.beats_rule else ReviewQueue.PEOPLE

    def filters(self) -> review_queue.Filters:
        """What was asked for, without what was not valid."""
        asked = self.cleaned_data
        # In whole milliseconds, as a link gives it back.
        as_of = asked.get("as_of") or round(timezone.now().timestamp(), 3)
        return review_queue.Filters(
            queue=self.queue_shown,
            why=asked.get("why", ""),
            old=asked.get("old"),
            annotator=asked.get("annotator"),
            source=asked.get("source", ""),
            lengths=asked.get("lengths", ""),
            group=asked.get("group", ""),
            order=asked.get("order") or review_queue.Order.VALUE,
            as_of=datetime.fromtimestamp(as_of, tz=UTC),
        )


NOTE_WANTED = {
    Decision.Reason.GUIDELINE_GAP: "Write a note: what do the guidelines leave open?",
    Decision.Reason.BAD_DATA: "Write a note: what is wrong with the data?",
}


class SettleForm(forms.Form):
    """A reviewer's answer to the case `of`; `seen` is the token of what the page showed, and `comparison`
    the case that it showed."""

    OUTCOMES = [(outcome, outcome) for outcome in ("a", "b", "tie", "both_bad", Decision.DROP)]

    outcome = forms.ChoiceField(
        choices=OUTCOMES, error_messages={"required": "Choose one of the five options. Nothing was saved."}
    )
    reason = forms.ChoiceField(choices=Decision.Reason.choices, required=False)
    note = forms.CharField(max_length=5000, required=False)
    seen = forms.CharField(max_length=64)
    comparison = forms.IntegerField(min_value=0, max_value=LARGEST, required=False)
    blind_outcome = forms.ChoiceField(choices=OUTCOMES, required=False)

    def __init__(self, data: Any = None, *, of: Comparison) -> None:
        super().__init__(data)
        self.of = of

    @property
    def is_of_another(self) -> bool:
        return self.has_error("comparison", "another")

    def clean(self) -> dict[str, Any]:
        reason = self.cleaned_data.get("reason")
        if reason in NOTE_WANTED and not self.cleaned_data.get("note") and "note" not in self.errors:
            self.add_error("note", NOTE_WANTED[Decision.Reason(reason)])
        if self.cleaned_data.get("comparison") not in (None, self.of.pk):
            sentence = "Nothing was saved: your answer was for another pair."
            self.add_error("comparison", ValidationError(sentence, "another"))
        return self.cleaned_data


class GoldForm(forms.Form):
    """The known answer of a Comparison; empty makes it ordinary again."""

    outcome = forms.ChoiceField(choices=[("", ""), *SettleForm.OUTCOMES[:-1]], required=False)


class UnsettleForm(forms.Form):
    decision = forms.IntegerField(min_value=0, max_value=LARGEST)
