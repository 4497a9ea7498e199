"""Members: who they are for the page of people, and how they come, change and go."""

from datetime import datetime

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce

from workbench.models import (
    Acceptance,
    Agreement,
    Annotator,
    AuditEvent,
    Dataset,
    Decision,
    Flag,
    Judgment,
    Member,
    Role,
    User,
)
from workbench.models.counts import count_of
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.text.language_names import names_of

LAST_ADMIN = "A dataset needs an admin. Make somebody else an admin first."
"""Why `change_role` and `remove` change nothing."""


def active_members(dataset: Dataset, only: int | None = None) -> list[Member]:
    """All members, or `only` the one of this primary key. Admins first, then reviewers, then annotators; by
    name within each. Each has `annotator`, its primary key as an Annotator (None before its first vote),
    `last_active`, when it last voted in the dataset, `settled`: how many cases it has settled there, without
    those that were undone, `flags`: how many it has raised there, `agreed_at` and `agreed_to`: when to which
    consent text, by its digest (None and "" without), `knows`: its languages and skills in words, and `says`:
    the languages that the person says they read."""
    judgments = Judgment.objects.current().filter(
        annotator=OuterRef("annotator"), comparison__dataset=OuterRef("dataset")
    )
    newest = judgments.order_by("-created_at").values("created_at")[:1]
    reviews = Decision.objects.by_reviewers_of(dataset).filter(undone_by=None, decided_by=OuterRef("user"))
    settled = reviews.order_by().values("decided_by").annotate(n=Count("pk")).values("n")
    flags = Flag.objects.filter(annotator=OuterRef("annotator"), comparison__dataset=OuterRef("dataset"))
    agreed = Agreement.objects.filter(dataset=OuterRef("dataset"), user=OuterRef("user"))
    came = Acceptance.objects.filter(invitation__dataset=OuterRef("dataset"), user=OuterRef("user"))
    came = came.exclude(consent_sha256="").order_by("-pk")
    facts = {
        "agreed_at": Coalesce(Subquery(came.values("at")[:1]), Subquery(agreed.values("at"))),
        "agreed_to": Coalesce(
            Subquery(came.values("consent_sha256")[:1]), Subquery(agreed.values("consent_sha256")), Value("")
        ),
        "annotator": F("user__annotator"),
        "last_active": Subquery(newest),
        "settled": Coalesce(Subquery(settled), 0),
        "flags": count_of(flags, "annotator"),
    }
    members = dataset.members.by_role()
    found = list((members if only is None else members.filter(pk=only)).annotate(**facts))
    for member in found:
        member.knows = "; ".join(filter(None, map(", ".join, (names_of(member.reads), member.skills))))
        member.says = ", ".join(names_of(member.user.languages))
    return found


def former_member(dataset: Dataset, annotator: int) -> Member | None:
    """Somebody who votes here no more, by primary key as an Annotator: as `active_members` gives a member,
    but not stored and without a role, and with `ended_at`, since when as far as history knows. None for a
    member, for a label source, and for who neither voted here nor was removed."""
    votes = Judgment.objects.current().filter(annotator=OuterRef("pk"), comparison__dataset=dataset)
    flags = Flag.objects.filter(annotator=OuterRef("pk"), comparison__dataset=dataset)
    reviews = Decision.objects.by_reviewers_of(dataset).filter(undone_by=None, decided_by=OuterRef("user"))
    facts = {
        "last_active": Subquery(votes.order_by("-created_at").values("created_at")[:1]),
        "settled": Coalesce(
            Subquery(reviews.order_by().values("decided_by").annotate(n=Count("pk")).values("n")), 0
        ),
        "flag_count": count_of(flags, "annotator"),
    }
    is_member = Exists(Member.objects.filter(dataset=dataset, user=OuterRef("user")))
    people = Annotator.objects.filter(~is_member, pk=annotator).exclude(user=None).select_related("user")
    person = people.annotate(**facts).first()
    if person is None or person.user is None:
        return None
    member = Member(dataset=dataset, user=person.user, role="")
    found = vars(person)
    member.annotator, member.last_active, member.settled = annotator, found["last_active"], found["settled"]
    member.flags = found["flag_count"]
    member.knows, member.says, member.agreed_at, member.agreed_to = "", "", None, ""
    member.ended_at = _access_ended_at(dataset, person.user)
    return member if member.last_active or member.ended_at else None


def _access_ended_at(dataset: Dataset, user: User) -> datetime | None:
    """When the person was last removed from the Dataset, or erased."""
    ends = Q(kind=Kind.MEMBER_REMOVED, dataset=dataset) | Q(kind=Kind.ERASED)
    events = AuditEvent.objects.filter(ends, target="user", target_id=str(user.pk)).order_by("-pk")
    return events.values_list("at", flat=True).first()


@transaction.atomic
def add(dataset: Dataset, user: User, role: str, by: User | None) -> Member:
    """Make the user a member; one who is a member stays as before."""
    member, is_new = Member.objects.get_or_create(dataset=dataset, user=user, defaults={"role": role})
    if is_new:
        record(Kind.MEMBER_ADDED, by=by, dataset=dataset, target=user, fields=["role"], word=Role(role))
    return member


@transaction.atomic
def change_role(member: Member, role: str, by: User | None) -> bool:
    """False, and nothing changed, when it would leave the Dataset without an admin."""
    before = member.role
    if not member.change_role(role):
        return False
    if role != before:
        dataset, user = member.dataset_id, member.user
        record(Kind.ROLE_CHANGED, by=by, dataset=dataset, target=user, fields=["role"], word=Role(role))
    return True


@transaction.atomic
def remove(member: Member, by: User | None) -> bool:
    """End the membership; votes stay. False when it would leave the Dataset without an admin."""
    if not member.remove():
        return False
    record(Kind.MEMBER_REMOVED, by=by, dataset=member.dataset_id, target=member.user, word=Role(member.role))
    return True
