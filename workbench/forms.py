import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import fields
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models import OuterRef, Q, Subquery
from django.http import QueryDict
from django.utils import timezone

from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Decision,
    Flag,
    Guidelines,
    Judgment,
    Member,
    ModelVersion,
    Release,
    ReviewQueue,
    Role,
    User,
)
from workbench.pipeline import cloning, disagreement, intake, statistics, training
from workbench.pipeline.annotation import Answer
from workbench.pipeline.progress import Refused
from workbench.pipeline.release import DEFAULT_PROFILES, FORMATS, PROFILES, Filters

QUICKLY_COUNTED = 20_000
LARGEST = 2**63 - 1
"""What a database takes for a primary key; a larger number would be an error of the query."""
LARGEST_COUNT = 10**9
"""Comparisons of a Dataset whose queues are counted while the page waits."""

_DAY = forms.DateInput(attrs={"type": "date"})


NAME_TAKEN = "Another dataset has this name. Choose a different one."
NAME_ERRORS = {"name": {"unique": NAME_TAKEN}}


class NamedForm(forms.ModelForm):
    """Writes a Dataset with a name that no other has."""

    def stored(self) -> Dataset | None:
        """The Dataset, or None when somebody took its name a moment ago: `errors` then says so."""
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
    """The name of a Dataset that is set up like another."""

    prefix = "clone"

    class Meta:
        model = Dataset
        fields = ["name"]
        labels = {"name": "Name of the new dataset"}
        error_messages = NAME_ERRORS

    def __init__(self, *args: Any, source: Dataset, by: User | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._source, self._by = source, by

    def save(self, commit: bool = True) -> Dataset:
        if self._by is None:
            raise ValueError("A clone needs the person who makes it.")
        return cloning.clone(self._source, self.cleaned_data["name"], self._by)


class DeleteForm(forms.Form):
    """The name of the Dataset, typed once more by whoever deletes it."""

    name = forms.CharField(
        label="Type the name of the dataset to confirm",
        strip=False,
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, dataset: Dataset, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
"""The settings of a Dataset by what they are about, in the order of the page."""


class DatasetForm(NamedForm):
    """A Dataset's settings. Only what was changed is written, so that two people who each change one field
    do not undo each other."""

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
        """Over a copy, as validation writes what was sent into its instance: a page that says why a name is
        refused still has the Dataset under its own."""
        return cls(data, instance=copy(dataset))

    def save(self, commit: bool = True) -> Dataset:
        dataset: Dataset = self.instance
        written = list(self.changed_data)
        if "max_per_group" in written:
            dataset.queue_stale_since = timezone.now()
            written.append("queue_stale_since")
        dataset.save(update_fields=written)
        return dataset


class CalibrateForm(forms.Form):
    """What to fit a temperature on."""

    dataset = forms.ModelChoiceField(Dataset.objects.there(), required=False, empty_label="all datasets")
    labels = forms.BooleanField(required=False, label="Include imported labels")


class RetrainForm(forms.Form):
    """What to train a new version on, from what, and how."""

    release = forms.ModelChoiceField(Release.objects.none(), empty_label=None)
    base = forms.ModelChoiceField(
        ModelVersion.objects.none(),
        empty_label=None,
        label="Start from",
        help_text="Keep this model the same each time to compare fairly.",
    )
    preset = forms.ChoiceField(choices=list(training.IN_WORDS.items()), widget=forms.RadioSelect)
    name = forms.CharField(
        max_length=80, required=False, help_text="Leave empty to name it after the dataset and release."
    )

    def __init__(self, dataset: Dataset, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        releases = dataset.releases.ready().order_by("-number")
        bases = ModelVersion.objects.transformers().exclude(state=ModelVersion.State.RETIRED)
        self._field("release").queryset = releases.defer("manifest")
        self._field("base").queryset = bases
        # Read once: a field reads its queryset anew whenever it is shown or looked at.
        self._field("base").choices = [(base.pk, str(base)) for base in bases]
        newest = releases.first()
        self.initial = {"release": newest, "base": training.usual_base(), "preset": _preset_for(newest)}

    def _field(self, name: str) -> forms.ModelChoiceField:
        return cast("forms.ModelChoiceField", self.fields[name])

    def chosen_release(self) -> Release | None:
        """The one that is chosen, or stands first; None while the Dataset has none."""
        if not self.is_bound:
            newest: Release | None = self.initial["release"]
            return newest
        self.is_valid()
        chosen: Release | None = self.cleaned_data.get("release")
        return chosen


def _preset_for(release: Release | None) -> str:
    try:
        return training.usual_preset(release) if release else "recommended"
    except Refused:  # the page says why, beside the release
        return "recommended"


class CompareForm(forms.Form):
    """Which two versions to compare."""

    new = forms.ModelChoiceField(ModelVersion.objects.exclude(state=ModelVersion.State.RETIRED))
    old = forms.ModelChoiceField(ModelVersion.objects.exclude(state=ModelVersion.State.RETIRED))

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        if chosen.get("new") and chosen["new"] == chosen.get("old"):
            raise ValidationError("Choose two different models.")
        return chosen


class PromoteForm(forms.Form):
    """An override, and why; both may be left out where the gate says yes."""

    override = forms.BooleanField(required=False)
    reason = forms.CharField(required=False, max_length=2000)


class GuidelinesForm(forms.Form):
    """The text of the next version, kept byte for byte but for the CRLF that browsers send."""

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
        """The stored version, or None when somebody stored another meanwhile: `errors` then says so."""
        try:
            return dataset.revise_guidelines(self.cleaned_data["text"], by, self.cleaned_data["based_on"])
        except ValidationError as conflict:
            self.add_error("text", conflict)
            # Whoever saves again has seen that there is a newer version.
            self.data = {**self.data, "based_on": dataset.guidelines.count()}
            return None


class MemberForm(forms.Form):
    """Adds a person who has an account."""

    username = forms.CharField(label="Name", max_length=150)
    role = forms.ChoiceField(choices=Role.choices, initial=Role.ANNOTATOR)

    def __init__(self, *args: Any, dataset: Dataset, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataset = dataset

    def clean_username(self) -> User:
        name = self.cleaned_data["username"]
        user = User.objects.filter(username=name, is_active=True).first()
        if user is None:
            raise ValidationError(
                f"No account is named {name}. Capital letters count. Whoever runs this workbench can create "
                "accounts."
            )
        if self.dataset.members.filter(user=user).exists():
            raise ValidationError(f"{name} is already a member. Change the role in the list.")
        return user

    def save(self) -> Member:
        user, role = self.cleaned_data["username"], self.cleaned_data["role"]
        return Member.objects.get_or_create(dataset=self.dataset, user=user, defaults={"role": role})[0]


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class SearchForm(forms.Form):
    q = forms.CharField(label="Exact text", required=False, strip=False, max_length=500)
    prompt = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    empty = forms.BooleanField(required=False)


class ReviewFilterForm(forms.Form):
    """What of the review queue to show. Everything that may be asked of it is named here."""

    queue = forms.ChoiceField(
        choices=[*ReviewQueue.choices, ("all", "All")], widget=forms.HiddenInput, required=False
    )
    why = forms.ChoiceField(label="Reason", choices=[("", "any"), *disagreement.Why.choices], required=False)
    version = forms.TypedChoiceField(label="Model", empty_value=None, required=False)
    annotator = forms.TypedChoiceField(coerce=int, empty_value=None, required=False)
    source = forms.ChoiceField(label="Answer by", required=False)
    lengths = forms.ChoiceField(choices=[("", "any"), *disagreement.Lengths.choices], required=False)
    old = forms.TypedChoiceField(label="Changed since", empty_value=None, required=False)
    order = forms.ChoiceField(choices=disagreement.Order.choices, required=False)
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
        if self.is_bound:
            _ = self.counted  # which has read along what the list needs
        return [("", "anybody"), *((name, name) for name in self.dataset.sources)]

    def clean_after(self) -> str:
        after: str = self.cleaned_data["after"]
        try:
            if after:
                disagreement.check_cursor(after)
        except ValueError:
            raise ValidationError(
                "This link to a later page is broken. The queue starts from the top."
            ) from None
        return after

    def clean(self) -> dict[str, Any]:
        asked = self.cleaned_data
        version = self.looked_at
        if asked.get("why") in disagreement.FLIPS and not asked.get("old"):
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
        found = Dataset.objects.filter(pk=self.dataset.pk).with_quick_queue_counts(version, QUICKLY_COUNTED)
        counted = found.with_told(statistics.told(version)).with_newest_completion().get()
        self.dataset.newest_completion = counted.newest
        return counted

    @property
    def unseen(self) -> statistics.Unseen | None:
        """How good the version is here, as far as the last report says."""
        return statistics.unseen(self.counted.told)

    @property
    def first_queue(self) -> str:
        """What a reviewer begins with: what people brought up, unless the model is shown to be better than
        the length rule."""
        return ReviewQueue.MODEL if self.unseen and self.unseen.beats_rule else ReviewQueue.PEOPLE

    def filters(self) -> disagreement.Filters:
        """What was asked for, without what was not valid."""
        asked = self.cleaned_data
        # In whole milliseconds, as a link gives it back.
        as_of = asked.get("as_of") or round(timezone.now().timestamp(), 3)
        return disagreement.Filters(
            queue=self.queue_shown,
            why=asked.get("why", ""),
            old=asked.get("old"),
            annotator=asked.get("annotator"),
            source=asked.get("source", ""),
            lengths=asked.get("lengths", ""),
            group=asked.get("group", ""),
            order=asked.get("order") or disagreement.Order.VALUE,
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


class ReleaseForm(forms.Form):
    """What goes into the next Release: its profiles, formats, and every filter that there is."""

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
        self, *args: Any, sources: Sequence[str], leaked: Callable[[], Sequence[str]], **kwargs: Any
    ) -> None:
        """`leaked` gives the prompt groups that the last leakage report found."""
        super().__init__(*args, **kwargs)
        self.leaked = leaked
        chosen = cast(forms.MultipleChoiceField, self.fields["source"])
        chosen.choices = [(source, source) for source in sources]
        self.has_sources = bool(sources)

    def filters(self) -> Filters:
        """Those of a valid form."""
        asked = [each.name for each in fields(Filters) if each.name in self.fields]
        given = {name: self.cleaned_data[name] for name in asked}
        if self.cleaned_data["without_leaked"]:
            given["without_groups"] = tuple(self.leaked())
        return Filters.parse(given)

    def release(self, dataset: Dataset) -> Release:
        """The unsaved row of a valid form."""
        return Release(
            dataset=dataset,
            profiles=self.cleaned_data["profiles"],
            formats=self.cleaned_data["formats"],
            filters=self.filters().as_json(),
        )

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        nested = [name for name in cleaned.get("profiles", []) if not PROFILES[name].is_flat]
        if nested and "csv" in cleaned.get("formats", []):
            raise ValidationError(
                f"CSV cannot hold conversations. Choose another format for {' and '.join(nested)}."
            )
        return cleaned


class LeakageForm(forms.Form):
    """What a leakage report looks at beside the Datasets. Several files may be sent as `benchmarks`."""

    benchmarks = forms.FileField(required=False)
    column = forms.CharField(
        label="Prompt column",
        max_length=100,
        required=False,
        initial="prompt",
        help_text="Only for .jsonl files. Other files have one prompt per line.",
    )


def _pk(required: bool = True) -> forms.IntegerField:
    """A primary key."""
    return forms.IntegerField(required=required, min_value=0, max_value=LARGEST)


class UploadForm(forms.Form):
    """A file to import. Its name is only ever shown; its ending has to be one that is known."""

    file = forms.FileField(
        allow_empty_file=True,  # refused as every other bad file is: on the page of its preview
        error_messages={"required": "Choose a file first."},
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if not intake.known_name(file.name or ""):
            raise ValidationError(
                f"{intake.escaped(file.name or 'This file', 100)} can't be imported. "
                f"Supported files: {intake.endings()}."
            )
        return file


_NAMED = {
    **intake.COLUMN_WORDS,
    **{word: f"value of the outcome column for {outcome}" for word, outcome in intake.OUTCOME_WORDS.items()},
}


class ImportForm(forms.Form):
    """How a file is taken."""

    format = forms.ChoiceField(
        label="Format",
        choices=[("auto", "Detect automatically"), *((s.name, s.title) for s in intake.SHAPES.values())],
        required=False,
    )
    pairs = forms.ChoiceField(
        label="Make pairs from rankings and ratings",
        choices=[(name, sentence) for name, sentence in intake.PAIRS_POLICIES.items()],
        required=False,
    )
    minimum_gap = forms.FloatField(
        label="Smallest rating difference",
        min_value=0,
        required=False,
        help_text="0.5 = pairs rated closer than half a point are left out.",
    )
    max_pairs = forms.IntegerField(
        label="Most pairs per prompt",
        min_value=1,
        max_value=10_000,
        required=False,
        help_text="Leave empty for 64. Further pairs are left out evenly.",
    )
    source = forms.CharField(
        label="Who made these labels? (e.g. “crowd 2023”)",
        max_length=200,
        required=False,
        help_text="Leave empty to use the name of the format.",
    )
    licence = forms.CharField(
        label="Licence of the texts",
        max_length=100,
        required=False,
        help_text="Leave empty to use the dataset’s licence.",
    )
    no_labels = forms.BooleanField(label="Ignore labels in this file", required=False)
    formula_safe = forms.BooleanField(
        label="Remove the leading ' that protects cells of a spreadsheet",
        required=False,
    )
    strip_citations = forms.BooleanField(label="Remove [1] marks from WebGPT answers", required=False)
    no_near_duplicates = forms.BooleanField(label="Treat near-duplicate prompts as different", required=False)
    lenient = forms.BooleanField(label="Skip bad rows (you can download them)", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for word, meaning in _NAMED.items():
            widget = forms.TextInput(attrs={"list": "columns"} if word in intake.COLUMN_WORDS else {})
            self.fields[f"column_{word}"] = forms.CharField(
                label=word, help_text=meaning, max_length=200, required=False, widget=widget
            )

    def named_columns(self) -> list[forms.BoundField]:
        return [self[f"column_{word}"] for word in _NAMED]

    @classmethod
    def asked(cls, params: dict[str, Any]) -> dict[str, Any]:
        """The data of a form that asks for the options of a Run."""
        left_out = {f"no_{name}": not params.get(name, True) for name in ("labels", "near_duplicates")}
        named = {f"column_{word}": column for word, column in params.get("columns", {}).items()}
        return {**params, **left_out, **named}

    def options(self) -> intake.ImportOptions:
        """As asked for; what was not valid keeps its default."""
        asked = self.cleaned_data
        return intake.ImportOptions(
            format=asked.get("format") or "auto",
            columns={word: column for word in _NAMED if (column := asked.get(f"column_{word}"))},
            lenient=asked.get("lenient", False),
            source=asked.get("source", ""),
            licence=asked.get("licence", ""),
            labels=not asked.get("no_labels", False),
            pairs=asked.get("pairs") or "all",
            max_pairs=asked.get("max_pairs") or 64,
            minimum_gap=asked.get("minimum_gap") or 0.0,
            formula_safe=asked.get("formula_safe", False),
            strip_citations=asked.get("strip_citations", False),
            near_duplicates=not asked.get("no_near_duplicates", False),
        )


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

    def clean(self) -> dict[str, Any]:
        """Without the page's script the ranks come one by one, each as `rank`."""
        cleaned = self.cleaned_data
        if cleaned.get("answer") == "allows_ranking":
            given = cast("QueryDict", self.data).getlist("rank")
            if len(given) not in range(3, 10) or not all(re.fullmatch("[1-9]", rank) for rank in given):
                self.add_error("answer", "Rank every answer: 1 is best. Equal answers share a rank.")
            else:
                cleaned["answer"] = f"ranks:{','.join(given)}"
        return cleaned

    @property
    def ranks(self) -> list[int]:
        """Of a ranking, in the order shown; empty for any other answer."""
        kind, _, given = self.cleaned_data["answer"].partition(":")
        return [int(rank) for rank in given.split(",")] if kind == "ranks" else []

    def answer_given(self, dataset: Dataset) -> Answer:
        shown, _, strength = self.cleaned_data["answer"].partition(":")
        return Answer(
            outcome=shown,
            key=self.cleaned_data["key"],
            strength=None if self.ranks else int(strength or 1),
            comment=self.cleaned_data["comment"],
            seconds=self.cleaned_data["seconds"],
            supersedes=self.cleaned_data["supersedes"],
            guidelines=self._guidelines_shown(dataset),
        )

    def _guidelines_shown(self, dataset: Dataset) -> Guidelines | None:
        pk = self.cleaned_data["guidelines"]
        return dataset.guidelines.filter(pk=pk).first() if pk else None


class HeldForm(forms.Form):
    """The Comparisons that the annotation page has, as "12,15"."""

    have = forms.RegexField(r"^(\d{1,18}(,\d{1,18}){0,50})?$", required=False)
    again = forms.BooleanField(required=False)

    def clean_have(self) -> list[int]:
        return [int(pk) for pk in self.cleaned_data["have"].split(",") if pk]


class WhichForm(forms.Form):
    """Which Comparison, before which Judgment, or which Judgment was the last."""

    comparison = _pk(required=False)
    claim = _pk(required=False)
    before = _pk(required=False)
    last = _pk(required=False)


class SkipForm(forms.Form):
    user = _pk()
    comparison = _pk()
    claim = _pk(required=False)


class FlagForm(SkipForm):
    reason = forms.ChoiceField(choices=Flag.Reason.choices)
    note = forms.CharField(required=False, max_length=2000)
