from datetime import datetime, time, timedelta

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone

from workbench.models import AuditEvent, Dataset
from workbench.pipeline.history import finding

DAY = {"type": "date"}


class HistoryForm(forms.Form):
    """What to find in history. Of one Dataset, or, for staff, of all."""

    person = forms.CharField(
        required=False,
        max_length=150,
        label="Person",
        help_text="By or about this person.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false"}),
    )
    kind = forms.ChoiceField(
        required=False, label="What", choices=[("", "everything"), *AuditEvent.Kind.choices]
    )
    dataset = forms.ModelChoiceField(
        Dataset.objects.not_deleted().order_by("name"), required=False, empty_label="all"
    )
    first = forms.DateField(required=False, label="From", widget=forms.DateInput(attrs=DAY))
    last = forms.DateField(required=False, label="To", widget=forms.DateInput(attrs=DAY))

    def __init__(self, data: QueryDict, *, dataset: Dataset | None = None) -> None:
        super().__init__(data)
        self._dataset = dataset
        if dataset:
            del self.fields["dataset"]

    def found(self) -> QuerySet[AuditEvent]:
        """The rows, newest first; none where the form has errors."""
        if not self.is_valid():
            return AuditEvent.objects.none()
        chosen = self.cleaned_data
        return finding.found(
            dataset=self._dataset or chosen.get("dataset"),
            kind=chosen["kind"],
            person=chosen["person"],
            begin=_midnight(chosen["first"]),
            end=_midnight(chosen["last"], days=1),
        )


def _midnight(day: datetime | None, days: int = 0) -> datetime | None:
    """The first moment of the day, or of a day so many later, in the zone of the pages."""
    return timezone.make_aware(datetime.combine(day, time()) + timedelta(days=days)) if day else None
