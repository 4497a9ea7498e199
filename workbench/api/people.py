"""People of a dataset: members and their roles, what they know, pauses, qualification, figures and hours."""

from copy import copy
from datetime import date, datetime
from decimal import Decimal

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.requests import unless_stale
from workbench.api.sending import Body, created, etag_of, form_data, patched, valid
from workbench.forms.people import FactsForm, GrantForm, MemberForm, ReasonForm, RoleForm
from workbench.forms.timesheet import CorrectionForm, PeriodForm
from workbench.models import Dataset, Flag, Member, Pause, QualificationGrant, QualificationTry, Role
from workbench.pipeline import quality
from workbench.pipeline.history.recording import File, record_download
from workbench.pipeline.people import pausing, qualifying, timesheet
from workbench.pipeline.people.members import LAST_ADMIN, active_members, change_role, remove
from workbench.pipeline.people.timesheet import Line, Period, Total
from workbench.pipeline.quality.panels import names_of
from workbench.pipeline.quality.reports import AnnotatorRow
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text.spreadsheets import csv_lines
from workbench.worker import enqueue, tasks

router = Router(tags=["people"])
_CSV = {"responses": {200: {"description": "CSV", "content": {"text/csv": {}}}}}


class PersonFigure(Schema):
    """A figure with its 95 % interval; null where there is not enough data."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class PersonFigures(Schema):
    """Votes and checks, as of the last figures of the dataset. week: votes of its last seven days; gold:
    right on known answers; consistent: the same answer when asked again; left: chose left; towards, away:
    changed to the model's pick, and to something else; seconds: for a vote."""

    votes: int
    week: int
    gold: PersonFigure
    consistent: PersonFigure
    left: PersonFigure
    towards: PersonFigure
    away: PersonFigure
    skill: PersonFigure
    seconds: PersonFigure
    per_hour: float | None


class PauseOut(Schema):
    """A pause of somebody's voting; a warning until it begins. reason: what the person is told; evidence: in
    words, empty where an admin began it."""

    reason: str
    evidence: str
    announced_at: datetime
    began_at: datetime | None
    begun_by: str
    ended_at: datetime | None
    ended_by: str
    ended_reason: str


class PersonOut(Schema):
    """A member. id: of the membership; languages: codes, as an admin says; says: the
    languages that the person says they read; annotator: null before the first vote; settled: cases of the
    review; has_failed: no try to qualify is left."""

    id: int
    user: int
    name: str
    is_service: bool
    role: str
    languages: list[str]
    says: str
    skills: list[str]
    annotator: int | None
    last_active: datetime | None
    settled: int
    agreed_at: datetime | None
    pause: PauseOut | None
    has_failed: bool
    figures: PersonFigures | None


class FormerVoter(Schema):
    """Somebody who voted here and is a member no more, or a label source."""

    annotator: int
    name: str
    figures: PersonFigures


class People(Schema):
    """Members by role and name; others whose votes are here. taken_at: when the figures were computed."""

    items: list[PersonOut]
    others: list[FormerVoter]
    taken_at: datetime | None


class TryOut(Schema):
    """A try to qualify."""

    number: int
    pairs: int
    needed: int
    answered: int
    right: int | None
    passed: bool | None
    started_at: datetime
    ended_at: datetime | None


class GrantOut(Schema):
    """What an admin gave. kind: try, waiver, or needed: a waiver was taken back."""

    kind: str
    reason: str
    by: str
    created_at: datetime


class PersonQualification(Schema):
    """state: off, exempt, waived, passed, too_few, open, due or failed; left: tries that may be started."""

    state: str
    left: int
    tries: list[TryOut]
    grants: list[GrantOut]


class PersonDetails(PersonOut):
    """A member, or somebody who was one (`role` is empty and `id` is 0). ended_at: when access ended;
    flags: how many; views: the saved views whose pairs they get first; qualification: null where the dataset
    asks for none."""

    ended_at: datetime | None
    views: list[int]
    flags: int
    pauses: list[PauseOut]
    qualification: PersonQualification | None


class NewPerson(Body):
    """username: of somebody with an account."""

    username: str
    role: Role = Field(Role.ANNOTATOR, strict=False)


class RoleChange(Body):
    role: Role = Field(strict=False)


class FactsChange(Body):
    """What is sent is changed. languages: names or codes; views: saved views that are shared."""

    languages: list[str] | None = None
    skills: list[str] | None = None
    views: list[int] | None = None


class Because(Body):
    """Why: of a pause, the person reads it."""

    reason: str


class Grant(Body):
    """kind: try (one more), waiver (vote without), or needed (take a waiver back)."""

    kind: str
    reason: str


class Months(Schema):
    """Whole months, as in 2026-11; this month where none is given, and 24 at most."""

    first: str = ""
    last: str = ""


class TimeTotal(Schema):
    """votes: first answers; changes: later ones; untimed: answers whose time nobody measured; pay: null
    without a rate."""

    votes: int
    changes: int
    untimed: int
    seconds: Decimal
    pay: Decimal | None


class TimeLine(TimeTotal):
    """The answers of a person on a day (UTC), or a correction of their time, with its reason."""

    user: int
    person: str
    day: date
    reason: str
    corrected_by: str


class TimeSheet(Schema):
    """rate: what is paid per hour or vote, as `per` says."""

    first: date
    last: date
    lines: list[TimeLine]
    total: TimeTotal
    rate: Decimal | None
    per: str
    currency: str


class Correction(Body):
    """seconds: to add; below 0 takes time away. reason: the person reads it."""

    user: int
    day: date = Field(strict=False)
    seconds: int
    reason: str


# --- members ------------------------------------------------------------------------------------------------


@router.get("/datasets/{id:pk}/people", response=People)
def list_people(request: HttpRequest, pk: int) -> People:
    """The members of a dataset, with their votes and checks."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    members, stored = active_members(dataset), quality.stored(dataset)
    pausing.of(dataset, members)
    rows = _rows_of(stored.report) if stored else {}
    failed = qualifying.failed_in(dataset)
    items = [_person(member, rows.pop(member.annotator or 0, None), failed) for member in members]
    names = names_of(stored.report) if stored else {}
    return People(
        items=items,
        others=[
            FormerVoter(annotator=key, name=names.get(key, "removed"), figures=_figures(row))
            for key, row in rows.items()
            if row["votes"]
        ],
        taken_at=stored.taken_at if stored else None,
    )


@router.post("/datasets/{id:pk}/people", response={201: PersonOut})
def add_person(request: HttpRequest, pk: int, body: NewPerson) -> HttpResponse:
    """Make somebody with an account a member. Invite whoever has none."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    form = valid(MemberForm(form_data(MemberForm, body.model_dump()), dataset=dataset))
    member = form.save(access.person(request.user))
    return created(_member(member), f"{request.path}/{member.pk}")


@router.get("/datasets/{id:pk}/people/{id:member_pk}", response=PersonDetails)
def read_person(request: HttpRequest, response: HttpResponse, pk: int, member_pk: int) -> PersonDetails:
    """One member, with figures, pauses and qualification. The ETag makes a change of their role or facts
    safe."""
    member = access.member_for(request.user, pk, member_pk)
    response["ETag"] = _etag(member)
    (found,) = active_members(member.dataset, only=member.pk)
    return _details(found)


@router.get("/datasets/{id:pk}/people/former/{id:annotator_pk}", response=PersonDetails)
def read_former_person(request: HttpRequest, pk: int, annotator_pk: int) -> PersonDetails:
    """Somebody who voted here and is a member no more."""
    return _details(access.former_member_for(request.user, pk, annotator_pk))


@router.post("/datasets/{id:pk}/people/{id:member_pk}/role", response=PersonOut)
def change_person_role(
    request: HttpRequest, response: HttpResponse, pk: int, member_pk: int, body: RoleChange
) -> PersonOut:
    """Change what a member may do. A dataset keeps at least one admin."""
    member = access.member_for(request.user, pk, member_pk)
    role = valid(RoleForm(form_data(RoleForm, body.model_dump()))).cleaned_data["role"]
    admins = Member.objects.filter(dataset=pk, role=Role.ADMIN)
    with unless_stale(request, member, _etag, after=admins):
        if not change_role(member, role, access.person(request.user)):
            raise Refused(LAST_ADMIN)
    response["ETag"] = _etag(member)
    return _member(member)


@router.patch("/datasets/{id:pk}/people/{id:member_pk}/facts", response=PersonDetails)
def change_person_facts(
    request: HttpRequest, response: HttpResponse, pk: int, member_pk: int, body: FactsChange
) -> PersonDetails:
    """Change what a member reads and knows, and which saved views they get first. It counts from their next
    request on."""
    member = access.member_for(request.user, pk, member_pk)
    sent = body.model_dump(exclude_unset=True)
    with unless_stale(request, member, _etag):
        form = FactsForm(patched(FactsForm(instance=member), sent), instance=copy(member))
        valid(form).store(access.person(request.user))
    if "views" in form.changed_data:
        enqueue.enqueue(tasks.order_queue, pk)
    response["ETag"] = _etag(form.instance)
    (found,) = active_members(member.dataset, only=member.pk)
    return _details(found)


@router.post("/datasets/{id:pk}/people/{id:member_pk}/pause", response=PersonOut)
def pause_person(request: HttpRequest, pk: int, member_pk: int, body: Because) -> PersonOut:
    """Stop a member from voting here, until an admin lets them go on. What they hold goes to others."""
    member = access.member_for(request.user, pk, member_pk)
    reason = valid(ReasonForm(form_data(ReasonForm, body.model_dump()))).cleaned_data["reason"]
    pausing.pause(member, access.person(request.user), reason)
    return _member(member)


@router.post("/datasets/{id:pk}/people/{id:member_pk}/resume", response=PersonOut)
def resume_person(request: HttpRequest, pk: int, member_pk: int, body: Because) -> PersonOut:
    """Let a member who is paused or warned go on."""
    member = access.member_for(request.user, pk, member_pk)
    reason = valid(ReasonForm(form_data(ReasonForm, body.model_dump()))).cleaned_data["reason"]
    pausing.resume(member, access.person(request.user), reason)
    return _member(member)


@router.post("/datasets/{id:pk}/people/{id:member_pk}/qualification", response=PersonQualification)
def grant_qualification(request: HttpRequest, pk: int, member_pk: int, body: Grant) -> PersonQualification:
    """Give a member one more try to qualify, let them vote without, or take that back."""
    member = access.member_for(request.user, pk, member_pk)
    given = valid(GrantForm(form_data(GrantForm, body.model_dump()))).cleaned_data
    qualifying.grant(member, access.person(request.user), given["kind"], given["reason"])
    return _qualification(member)


@router.delete("/datasets/{id:pk}/people/{id:member_pk}", response={204: None})
def remove_person(request: HttpRequest, pk: int, member_pk: int) -> HttpResponse:
    """End a membership. The person's votes stay, and so does one admin."""
    member = access.member_for(request.user, pk, member_pk)
    if not remove(member, access.person(request.user)):
        raise Refused(LAST_ADMIN)
    return HttpResponse(status=204)


# --- hours --------------------------------------------------------------------------------------------------


@router.get("/datasets/{id:pk}/people/time", response=TimeSheet)
def read_time_sheet(request: HttpRequest, pk: int, months: Query[Months]) -> TimeSheet:
    """Hours and pay by person and day."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    period = period_of(months)
    lines = timesheet.lines([dataset], period)
    return TimeSheet(
        first=period.first,
        last=period.last,
        lines=[time_line(line) for line in lines],
        total=time_total(lines),
        rate=dataset.pay_rate,
        per=dataset.pay_per,
        currency=dataset.currency,
    )


@router.get("/datasets/{id:pk}/people/time.csv", openapi_extra=_CSV)
def read_time_sheet_as_csv(request: HttpRequest, pk: int, months: Query[Months]) -> HttpResponseBase:
    """The same as CSV, for pay. The download stands in history."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    period = period_of(months)
    record_download(File.TIME_SHEET, by=access.person(request.user), dataset=dataset, target=dataset)
    name = timesheet.name_of_file(dataset, period)
    return StreamingHttpResponse(
        csv_lines(timesheet.rows_of_file(dataset, period)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.post("/datasets/{id:pk}/people/time", response={201: TimeLine})
def correct_time(request: HttpRequest, pk: int, body: Correction) -> HttpResponse:
    """Add seconds to a person's day, or take them away, with a reason."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    voted = {line.user for line in timesheet.lines([dataset], Period(body.day, body.day))}
    unsent = CorrectionForm(dataset=dataset)
    sent = CorrectionForm(form_data(unsent, body.model_dump()), dataset=dataset, people=voted)
    stored = valid(sent).correct(access.person(request.user))
    line = timesheet.line_of(stored)
    return created(time_line(line), f"{request.path}?first={stored.day:%Y-%m}")


# --- as it is written ---------------------------------------------------------------------------------------


def period_of(months: Months) -> Period:
    """Raises Invalid for months that are none."""
    return valid(PeriodForm.of(form_data(PeriodForm, months.model_dump()))).period


def time_total(lines: list[Line]) -> TimeTotal:
    return TimeTotal.from_orm(Total.of(lines))


def time_line(line: Line) -> TimeLine:
    return TimeLine(
        user=line.user,
        person=line.person,
        day=line.day,
        votes=line.votes,
        changes=line.changes,
        untimed=line.untimed,
        seconds=line.seconds,
        pay=line.pay,
        reason=line.reason,
        corrected_by=line.by,
    )


def _etag(member: Member) -> str:
    views = sorted(member.views.values_list("pk", flat=True))
    facts = {"languages": member.languages, "skills": member.skills, "views": views}
    return etag_of({"role": member.role, **facts})


def _rows_of(report: quality.Report) -> dict[int, AnnotatorRow]:
    return {row["annotator"]: row for row in report["annotators"]}


def _figures(row: AnnotatorRow) -> PersonFigures:
    return PersonFigures.model_validate(row)


def _pause(pause: Pause) -> PauseOut:
    return PauseOut(
        reason=pause.reason,
        evidence=pause.evidence_in_words,
        announced_at=pause.announced_at,
        began_at=pause.began_at,
        begun_by=str(pause.begun_by or ""),
        ended_at=pause.ended_at,
        ended_by=str(pause.ended_by or ""),
        ended_reason=pause.ended_reason,
    )


def _member(member: Member) -> PersonOut:
    """A member who was just changed."""
    dataset = member.dataset
    (found,) = active_members(dataset, only=member.pk)
    pausing.of(dataset, [found])
    return _person(found, _row_of(dataset, found), qualifying.failed_in(dataset))


def _row_of(dataset: Dataset, member: Member) -> AnnotatorRow | None:
    stored = quality.stored(dataset)
    return _rows_of(stored.report).get(member.annotator or 0) if stored else None


def _person(member: Member, row: AnnotatorRow | None, failed: set[int]) -> PersonOut:
    return PersonOut(
        id=member.pk or 0,
        user=member.user_id,
        name=member.user.username,
        is_service=member.user.is_service,
        role=member.role,
        languages=member.languages,
        says=member.says,
        skills=member.skills,
        annotator=member.annotator,
        last_active=member.last_active,
        settled=member.settled,
        agreed_at=member.agreed_at,
        pause=_pause(member.pause) if member.pause else None,
        has_failed=member.user_id in failed,
        figures=_figures(row) if row else None,
    )


def _details(member: Member) -> PersonDetails:
    dataset = member.dataset
    pauses = [pause for pause in pausing.of(dataset, [member]) if pause.user_id == member.user_id]
    person = _person(member, _row_of(dataset, member), qualifying.failed_in(dataset))
    return PersonDetails(
        **person.model_dump(),
        ended_at=vars(member).get("ended_at"),
        views=list(member.views.values_list("pk", flat=True)) if member.pk else [],
        flags=Flag.objects.filter(annotator=member.annotator, comparison__dataset=dataset).count(),
        pauses=[_pause(pause) for pause in pauses],
        qualification=_qualification(member) if dataset.qualify_pairs else None,
    )


def _qualification(member: Member) -> PersonQualification:
    standing = qualifying.of_member(member)
    return PersonQualification(
        state=standing.state.name.lower(),
        left=standing.left,
        tries=[_try(attempt) for attempt in standing.tries],
        grants=[_grant(grant) for grant in standing.grants],
    )


def _try(attempt: QualificationTry) -> TryOut:
    return TryOut.from_orm(attempt)


def _grant(grant: QualificationGrant) -> GrantOut:
    return GrantOut(kind=grant.kind, reason=grant.reason, by=str(grant.by or ""), created_at=grant.created_at)
