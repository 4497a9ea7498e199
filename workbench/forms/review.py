import re
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import cast

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, Q, Subquery
from django.http import QueryDict
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
from workbench.pipeline.data import search
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Selection, find
from workbench.pipeline.datasets import overview
from workbench.pipeline.review import queue as review_queue

QUICKLY_COUNTED = 20_000
"""Comparisons of a Dataset whose queues are counted while the page waits."""


class ReviewFilterForm(forms.Form):
    """Which cases of the review queue to show, and in which order: all parameters of its URLs."""

    q = forms.CharField(label="Search", max_length=500, required=False)
    where = forms.CharField(widget=forms.HiddenInput, max_length=2000, required=False)
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

    def __init__(self, data: QueryDict, dataset: Dataset) -> None:
        super().__init__(data)
        self.dataset = dataset
        self.found: frozenset[int] | None = None
        self.waiting = 0
        self.selection = Selection()
        self.pairs: frozenset[int] | None = None
        # As functions: most requests show no list, and need no query for one.
        self._field("annotator").choices = lambda: [
            ("", "anybody"),
            *((annotator.pk, str(annotator)) for annotator in self._people),
        ]
        cast("forms.ChoiceField", self.fields["source"]).choices = lambda: self._sources
        for name, nothing in (("version", "the model in use here"), ("old", "no other model")):
            self._field(name).choices = partial(self._version_choices, nothing)
            self._field(name).coerce = lambda pk: self._versions[int(pk)]

    def _field(self, name: str) -> forms.TypedChoiceField:
        return cast("forms.TypedChoiceField", self.fields[name])

    @cached_property
    def _people(self) -> list[Annotator]:
        """The people who have judged, and the annotator in the URL: an imported file can hold thousands of
        annotators, too many for a list."""
        offered = Q(user__isnull=False)
        if pk := re.fullmatch(r"[0-9]{1,18}", self.data.get("annotator", "")):
            offered |= Q(pk=pk[0])
        # Each one's newest Judgment by the index: for an EXISTS, PostgreSQL reads all Judgments.
        judgments = Judgment.objects.of(self.dataset).filter(annotator=OuterRef("pk"))
        newest = Subquery(judgments.order_by("-created_at").values("pk")[:1])
        annotators = Annotator.objects.alias(newest=newest).filter(offered, newest__isnull=False)
        return list(annotators.select_related("user"))

    def _version_choices(self, nothing: str) -> list[tuple[int | str, str]]:
        return [("", nothing), *((pk, str(version)) for pk, version in self._versions.items())]

    @cached_property
    def _versions(self) -> dict[int, ModelVersion]:
        return {version.pk: version for version in ModelVersion.objects.all()}

    @cached_property
    def serving(self) -> ModelVersion | None:
        """The version that serves the Dataset."""
        versions = self._versions
        active = (version for version in versions.values() if version.state == ModelVersion.State.ACTIVE)
        return versions.get(self.dataset.held_by_id or 0) or next(active, None)

    @cached_property
    def shown_version(self) -> ModelVersion | None:
        """The chosen version, else the one that serves the Dataset."""
        chosen: ModelVersion | None = self.cleaned_data.get("version")
        return chosen or self.serving

    @cached_property
    def _sources(self) -> list[tuple[str, str]]:
        # The query of the counts has read the newest Completion too.
        sources = overview.sources_of(self.dataset, self.counted.newest)
        return [("", "anybody"), *((name, name) for name in sources)]

    def clean_q(self) -> str:
        """The search, whose prompts are in `found`; it left out the prompts that are `waiting`."""
        text: str = self.cleaned_data["q"]
        if text:
            try:
                searched = search.find(self.dataset, text)
            except search.BadQuery as error:
                raise ValidationError(str(error)) from None
            self.found = frozenset(searched.keys.tolist())
            self.waiting = max(self.waiting, searched.waiting)
        return text

    def clean_where(self) -> str:
        """A selection of the Data page, whose pairs are in `pairs`."""
        query: str = self.cleaned_data["where"]
        if query:
            try:
                self.selection = Selection.parse(query, self.dataset.facet_keys)
                found = find(self.dataset, self.selection, self.serving)
                self.pairs = frozenset(found.pairs.tolist())
                self.waiting = max(self.waiting, found.searched.waiting if found.searched else 0)
            except (BadSelection, search.BadQuery) as error:
                self.selection = Selection()
                raise ValidationError(str(error)) from None
        return self.selection.query

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

    def clean(self) -> dict[str, object]:
        chosen = self.cleaned_data
        if chosen.get("why") in review_queue.FLIPS and not chosen.get("old"):
            self.add_error("why", "Choose the model to compare with under “Changed since”.")
        if chosen.get("old") and chosen["old"] == self.shown_version:
            self.add_error("old", "Choose a different model under “Changed since”.")
        return chosen

    @property
    def shown_queue(self) -> str:
        """The chosen queue, "" for all queues. Without a choice: all of them for a reason, a flip or a group,
        else the queue to begin with."""
        chosen = self.cleaned_data
        queue: str = chosen.get("queue", "")
        if queue == "all" or (not queue and (chosen.get("why") or chosen.get("old") or chosen.get("group"))):
            return ""
        return queue or self.first_queue

    @cached_property
    def counted(self) -> Dataset:
        """The Dataset with the count of each queue (None where counting takes too long), `report_cells`,
        `newest`, and the sizes of the queue's bands. One query."""
        version = self.shown_version
        datasets = Dataset.objects.filter(pk=self.dataset.pk)
        counted = overview.with_quick_queue_counts(datasets, version, QUICKLY_COUNTED)
        facts = {"report_cells": quality.in_report(version), "newest": Subquery(Completion.objects.newest())}
        sizes = dict(
            zip(("is_large", "many_suggested"), review_queue.sizes(self.dataset, version), strict=True)
        )
        return counted.annotate(**facts, **sizes).get()

    @property
    def sizes(self) -> review_queue.Sizes:
        counted = vars(self.counted)
        return counted["is_large"], counted["many_suggested"]

    @property
    def names(self) -> dict[str, str]:
        """The names of people, by primary key of the Annotator; imported label sources have none here."""
        return {str(person.pk): str(person) for person in self._people if person.user_id}

    @property
    def sources(self) -> list[str]:
        """The sources of answers of the Dataset."""
        return [name for name, _ in self._sources if name]

    @property
    def model_fields(self) -> list[forms.BoundField]:
        """The choices of models, where there are several."""
        return [self["version"], self["old"]] if len(self._versions) > 1 else []

    @property
    def model_accuracy(self) -> quality.ModelAccuracy | None:
        """The accuracy of the version on this Dataset in the last report."""
        return quality.from_cells(self.counted.report_cells)

    @property
    def first_queue(self) -> str:
        """The queue to begin with: disagreements of people, unless the model beats the length rule."""
        model = self.model_accuracy
        return ReviewQueue.MODEL if model and model.beats_rule else ReviewQueue.PEOPLE

    def filters(self) -> review_queue.Filters:
        """The valid choices."""
        chosen = self.cleaned_data
        # In whole milliseconds, as in the links of the page.
        as_of = chosen.get("as_of") or round(timezone.now().timestamp(), 3)
        return review_queue.Filters(
            queue=self.shown_queue,
            why=chosen.get("why", ""),
            old=chosen.get("old"),
            annotator=chosen.get("annotator"),
            source=chosen.get("source", ""),
            lengths=chosen.get("lengths", ""),
            group=chosen.get("group", ""),
            prompts=self.found,
            pairs=self.pairs,
            order=chosen.get("order") or review_queue.Order.VALUE,
            as_of=datetime.fromtimestamp(as_of, tz=UTC),
        )


NOTE_WANTED = {
    Decision.Reason.GUIDELINE_GAP: "Write a note: what do the guidelines leave open?",
    Decision.Reason.BAD_DATA: "Write a note: what is wrong with the data?",
}


class SettleForm(forms.Form):
    """A reviewer's answer to the case `of`. `seen`: the token of the state that the page showed;
    `comparison`: the case on the page."""

    OUTCOMES = [(outcome, outcome) for outcome in ("a", "b", "tie", "both_bad", Decision.DROP)]

    outcome = forms.ChoiceField(
        choices=OUTCOMES, error_messages={"required": "Choose one of the five options. Nothing was saved."}
    )
    reason = forms.ChoiceField(choices=Decision.Reason.choices, required=False)
    note = forms.CharField(max_length=5000, required=False)
    seen = forms.CharField(max_length=64)
    comparison = forms.IntegerField(min_value=0, max_value=LARGEST, required=False)
    blind_outcome = forms.ChoiceField(choices=OUTCOMES, required=False)

    def __init__(self, data: QueryDict, of: Comparison) -> None:
        super().__init__(data)
        self.of = of

    @property
    def is_of_another(self) -> bool:
        return self.has_error("comparison", "another")

    def clean(self) -> dict[str, object]:
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
    note = forms.CharField(max_length=1000, required=False)


class UnsettleForm(forms.Form):
    decision = forms.IntegerField(min_value=0, max_value=LARGEST)
