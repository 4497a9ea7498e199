"""Forms of the time sheet."""

from calendar import monthrange
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q
from django.http import QueryDict

from workbench.models import Dataset, TimeCorrection, User
from workbench.pipeline.people import timesheet
from workbench.pipeline.people.timesheet import Period


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


class MonthField(forms.RegexField):
    """A month as a browser sends it, "2026-11"; its first day. None where nothing was sent."""

    def __init__(self, label: str) -> None:
        super().__init__(
            r"^(19[7-9]\d|20\d\d)-(0[1-9]|1[0-2])$",
            label=label,
            required=False,
            widget=forms.DateInput(attrs={"type": "month", "placeholder": "2026-11"}),
            error_messages={"invalid": "Write the month as 2026-11."},
        )

    def clean(self, value: object) -> date | None:
        month: str = super().clean(value)
        return date.fromisoformat(f"{month}-01") if month else None


class PeriodForm(forms.Form):
    """The months of a time sheet; this month where none is chosen."""

    LONGEST = 24
    first = MonthField("From")
    last = MonthField("To")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last and last < first:
            self.add_error("last", "Choose a month that is not before the first.")
        elif first and last and 12 * (last.year - first.year) + last.month - first.month >= self.LONGEST:
            self.add_error("last", f"Choose at most {self.LONGEST} months.")
        return cleaned

    @classmethod
    def of(cls, query: QueryDict) -> "PeriodForm":
        """The form with the months of this query; one of them stands for both."""
        given = {name: query.get(name, "") for name in ("first", "last")}
        now = f"{today():%Y-%m}"
        first = given["first"] or given["last"] or now
        return cls({"first": first, "last": given["last"] or first})

    @property
    def period(self) -> Period:
        """The chosen months; this month where the choice has errors."""
        chosen = self.cleaned_data if self.is_valid() else {}
        first: date = chosen.get("first") or today().replace(day=1)
        last: date = chosen.get("last") or first
        return Period(first, last.replace(day=monthrange(last.year, last.month)[1]))


class CorrectionForm(forms.Form):
    """Seconds to add to a person's day, with a reason."""

    user = forms.ModelChoiceField(User.objects.none(), label="Person", empty_label=None)
    day = forms.DateField(label="Day (UTC)", widget=forms.DateInput(attrs={"type": "date"}))
    seconds = forms.IntegerField(
        label="Seconds to add",
        min_value=-86_400,
        max_value=86_400,
        help_text="600 adds 10 minutes; -600 takes them away.",
    )
    reason = forms.CharField(max_length=500, label="Why", help_text="The person reads it.")

    def __init__(
        self, data: QueryDict | None = None, *, dataset: Dataset, people: Collection[int] = ()
    ) -> None:
        """people: primary keys of the users to choose from besides the members."""
        super().__init__(data, initial={"day": today()})
        self.dataset = dataset
        is_member = Exists(dataset.members.filter(user=OuterRef("pk")))
        chosen = User.objects.filter(is_member | Q(pk__in=people)).order_by("username")
        self.fields["user"].queryset = chosen  # type: ignore[attr-defined]

    def clean_seconds(self) -> int:
        seconds: int = self.cleaned_data["seconds"]
        if seconds == 0:
            raise ValidationError("0 seconds change nothing. Write how many to add.")
        return seconds

    def clean_day(self) -> date:
        day: date = self.cleaned_data["day"]
        if day.year < 1970 or day > today():
            raise ValidationError("Choose a day that is not in the future.")
        return day

    def correct(self, by: User) -> TimeCorrection:
        """Raises Refused."""
        cleaned = self.cleaned_data
        return timesheet.correct(
            self.dataset, cleaned["user"], cleaned["day"], cleaned["seconds"], cleaned["reason"], by
        )
