from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workbench import access
from workbench.forms.people import FactsForm, GrantForm, MemberForm, ReasonForm, RoleForm
from workbench.forms.timesheet import PeriodForm
from workbench.models import Annotator, Dataset, Member, Role, User
from workbench.pipeline import quality
from workbench.pipeline.annotate import requirements
from workbench.pipeline.people import invitations, pausing, qualifying, timesheet, work
from workbench.pipeline.people.members import LAST_ADMIN, active_members, change_role, remove
from workbench.pipeline.quality import annotators
from workbench.pipeline.quality.panels import names_of
from workbench.pipeline.quality.reports import AnnotatorRow, Checks, StoredFigure, has_value
from workbench.pipeline.runs.progress import Refused
from workbench.views.figures import as_of, computing
from workbench.views.pictures import Bars, Span
from workbench.views.timesheet import hours_of, shown
from workbench.worker import enqueue, tasks


@require_http_methods(["GET", "HEAD", "POST"])
def people(request: HttpRequest, pk: int) -> HttpResponse:
    """Members with their roles and last activity; their votes and checks, by the stored report."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    form = MemberForm(request.POST or None, dataset=dataset)
    if form.is_valid():
        member = form.save(access.person(request.user))
        messages.info(request, f"Added {member.user} as {member.role}.")
        return redirect("people", pk=pk)
    members = active_members(dataset)
    stored = quality.stored(dataset)
    rows: Mapping[str, Any] = _reliability(stored.report, members) if stored else {}
    find = Find.of(request.GET)
    context = {
        "dataset": dataset,
        "tab": "people",
        "form": form,
        "roles": Role.choices,
        "short": requirements.short_of_people(dataset),
        "untold": requirements.untold(dataset),
        "pauses": pausing.of(dataset, members),
        "unqualified": qualifying.failed_in(dataset),
        **computing(dataset),
        **as_of(dataset, stored),
        **rows,
        "members": find.found(rows.get("members") or [(member, None) for member in members]),
        "find": find,
        **_strips(dataset, members, stored.report if stored else None),
    }
    return render(request, "people/people.html", context, status=400 if form.errors else 200)


MemberRow = tuple[Member, AnnotatorRow | None]


@dataclass(frozen=True)
class Find:
    """Which members the list shows, and in which order."""

    q: str
    sort: str
    sorts: ClassVar = {"role": "role", "name": "name", "votes": "most votes", "active": "last active"}

    @classmethod
    def of(cls, query: QueryDict) -> "Find":
        sort = query.get("sort", "")
        return cls(query.get("q", "").strip(), sort if sort in cls.sorts else "role")

    def found(self, rows: Sequence[MemberRow]) -> list[MemberRow]:
        """The rows, which come by role and name, whose name has `q`; capital letters don't count."""
        found = [row for row in rows if self.q.casefold() in str(row[0].user).casefold()]
        keys: dict[str, Callable[[MemberRow], Any]] = {
            "name": lambda row: str(row[0].user).casefold(),
            "votes": lambda row: -row[1]["votes"] if row[1] else 0,
            "active": lambda row: -(row[0].last_active.timestamp() if row[0].last_active else 0),
        }
        return sorted(found, key=keys[self.sort]) if self.sort in keys else found


@require_safe
def person(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """One member of a dataset: role, votes and checks by the stored report, pauses, hours."""
    member = access.member_for(request.user, pk, member_pk)
    return _person_page(request, member, FactsForm(instance=member))


@require_POST
def member_facts(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """Store what somebody reads, knows, and gets first; it counts from their next request on."""
    member = access.member_for(request.user, pk, member_pk)
    form = FactsForm(request.POST, instance=copy(member))
    if form.is_valid():
        form.store(access.person(request.user))
        if "views" in form.changed_data:
            enqueue.enqueue(tasks.order_queue, pk)
        messages.info(request, f"Saved what {member.user} reads, knows and gets.")
        return redirect("person", pk, member_pk)
    return _person_page(request, member, form)


@require_safe
def former(request: HttpRequest, pk: int, annotator_pk: int) -> HttpResponse:
    """Somebody who is a member no more: since when, and what of them stays."""
    return _person_page(request, access.former_member_for(request.user, pk, annotator_pk), None)


def _person_page(request: HttpRequest, member: Member, form: FactsForm | None) -> HttpResponse:
    """The page of a member with the form of what they know, or without of somebody who was one."""
    dataset = member.dataset
    if form:
        (member,) = active_members(dataset, only=member.pk)
    annotator = Annotator(pk=member.annotator, user=member.user) if member.annotator else None
    stored = quality.stored(dataset)
    rows = stored.report["annotators"] if stored else []
    row = next((row for row in rows if row["annotator"] == member.annotator), None)
    chosen = PeriodForm.of(request.GET)
    period = chosen.period
    lines = timesheet.lines([dataset], period, member.user)
    context = {
        "dataset": dataset,
        "tab": "people",
        "member": member,
        "form": form,
        "agrees_now": member.agreed_to == invitations.digest(dataset.consent),
        "pauses": [pause for pause in pausing.of(dataset, [member]) if pause.user_id == member.user_id],
        "qualification": qualifying.of_member(member, annotator) if dataset.qualify_pairs else None,
        "quality": _shares(row) if row else None,
        **_strips(dataset, [member], stored.report if stored else None),
        **shown(chosen, lines),
        "hours": hours_of([(str(member.user), lines)], period)[0] if lines else None,
    }
    return render(request, "people/person.html", context, status=400 if form and form.errors else 200)


def _reliability(report: quality.Report, members: Sequence[Member]) -> dict[str, Any]:
    """The rows of the report: of each member and of others who have voted; the checks of everyone, then of
    each member who has voted."""
    rows = {row["annotator"]: row for row in report["annotators"]}
    names = names_of(report)
    member_rows = [(member, rows.pop(member.annotator or 0, None)) for member in members]
    of_members = [(str(member.user), _shares(row)) for member, row in member_rows if row]
    return {
        "members": member_rows,
        "others": [(names.get(pk, "removed"), row) for pk, row in rows.items() if row["votes"]],
        "quality": [("Everyone", _shares(report["everybody"])), *of_members],
    }


@dataclass(frozen=True)
class Strip:
    """One person in pictures: votes a day, gold, side, seconds a vote; and the cases that they settled."""

    name: str
    votes: int
    days: Bars
    row: AnnotatorRow | None
    gold: Span | None
    left: Span | None
    seconds: Span | None
    hurries: bool
    settled: int


def _strips(dataset: Dataset, members: Sequence[Member], report: quality.Report | None) -> dict[str, object]:
    """A strip for each member who has voted or settled, on axes that all of them share."""
    rows = {row["annotator"]: row for row in report["annotators"]} if report else {}
    days, reading = work.votes_by_day(dataset), work.reading_seconds(dataset)
    most = max((n for numbers in days.values() for n in numbers), default=0)
    ends = [row["seconds"]["high"] for row in rows.values() if has_value(row["seconds"])]
    longest = max([1.4 * (reading or 0), *(end for end in ends if end)], default=0) or 1.0

    def strip(member: Member) -> Strip:
        row = rows.get(member.annotator or 0)
        voted = days.get(member.annotator or 0, [0] * work.DAYS)
        seconds = row["seconds"] if row else None
        return Strip(
            name=str(member.user),
            votes=sum(voted),
            days=Bars.of(voted, most),
            row=row,
            gold=Span.of(row["gold"]) if row else None,
            left=Span.of(row["left"]) if row else None,
            seconds=Span.of(seconds, longest),
            hurries=bool(reading and has_value(seconds) and 2 * seconds["high"] < reading),
            settled=member.settled,
        )

    strips = [strip(member) for member in members]
    return {
        "strips": [strip for strip in strips if strip.row or strip.votes or strip.settled],
        "reading": reading,
        "reading_at": 100 * reading / longest if reading else None,
    }


def _shares(row: Checks) -> list[tuple[str, StoredFigure, bool]]:
    """(name, share, whether there is enough data to show it) of each check, for people/quality.html."""
    figures = (row["gold"], row["consistent"], row["left"], row["towards"], row["away"])
    return [
        (name, figure, has_value(figure))
        for name, figure in zip(annotators.NAMES.values(), figures, strict=True)
    ]


@require_POST
def member_change(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    member = access.member_for(request.user, pk, member_pk)
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was changed: choose a role from the list.")
    elif not change_role(member, form.cleaned_data["role"], access.person(request.user)):
        messages.error(request, LAST_ADMIN)
    return redirect("people", pk=pk)


@require_POST
def member_pause(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """Stop somebody from voting, until an admin lets them go on."""
    return _with_reason(request, pk, member_pk, pausing.pause)


@require_POST
def member_resume(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """Let somebody who is paused or warned go on."""
    return _with_reason(request, pk, member_pk, pausing.resume)


def _with_reason(
    request: HttpRequest, pk: int, member_pk: int, act: Callable[[Member, User, str], object]
) -> HttpResponse:
    member = access.member_for(request.user, pk, member_pk)
    form = ReasonForm(request.POST)
    if form.is_valid():
        try:
            act(member, access.person(request.user), form.cleaned_data["reason"])
        except Refused as refused:
            messages.error(request, str(refused))
    else:
        messages.error(request, str(form.errors["reason"][0]))
    return redirect("people", pk=pk)


@require_POST
def member_qualify(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """Give somebody who must qualify one more try, or let them vote without."""
    member = access.member_for(request.user, pk, member_pk)
    form = GrantForm(request.POST)
    if not form.is_valid():
        messages.error(request, str(next(iter(form.errors.values()))[0]))
        return redirect("person", pk=pk, member_pk=member_pk)
    kind, reason = form.cleaned_data["kind"], form.cleaned_data["reason"]
    try:
        qualifying.grant(member, access.person(request.user), kind, reason)
    except Refused as refused:
        messages.error(request, str(refused))
    return redirect("person", pk=pk, member_pk=member_pk)


@require_POST
def member_remove(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """Take somebody's access away; their votes stay."""
    member = access.member_for(request.user, pk, member_pk)
    if not remove(member, access.person(request.user)):
        messages.error(request, LAST_ADMIN)
    return redirect("people", pk=pk)
