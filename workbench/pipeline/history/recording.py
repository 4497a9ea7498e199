"""One row for each act, written in the transaction of the act: both are there, or neither is."""

import re
from collections.abc import Iterable
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Model, TextChoices
from django.utils import timezone

from workbench import origin
from workbench.models import AuditEvent, Dataset, Member, Role, Run, User

Kind = AuditEvent.Kind
File = AuditEvent.File
Change = AuditEvent.Change

A_DAY = timedelta(days=1)

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,49}")


def record(
    kind: AuditEvent.Kind,
    *,
    by: User | None,
    dataset: Dataset | int | None = None,
    target: Model | None = None,
    fields: Iterable[str] = (),
    word: TextChoices | None = None,
    count: int | None = None,
) -> None:
    """Write the row of an act. Call it inside the transaction that does the act.

    by: None for a command without a named person, and for a worker. target: a stored object; one that is to
    be deleted must still have its key. fields: names of the changed fields. word: a member of a fixed list.
    count: to how many things it was done.

    Raises RuntimeError outside of a transaction, and ValueError for a field that no field is named like: a
    text of a person or an item must not get here."""
    if not connection.in_atomic_block:
        raise RuntimeError("History is written in the transaction of the act.")
    names = list(fields)
    if odd := [name for name in names if not _FIELD.fullmatch(name)]:
        raise ValueError(f"{odd[0]!r} is not the name of a field.")
    AuditEvent(
        kind=kind,
        actor=by,
        command=origin.command.get(),
        dataset_id=dataset.pk if isinstance(dataset, Dataset) else dataset,
        target=str(target._meta.model_name) if target else "",
        target_id=str(target.pk) if target else "",
        fields=names,
        word=word.value if word else "",
        count=count,
        request_id=origin.request_id.get(),
    ).save()


@transaction.atomic
def record_download(
    file: AuditEvent.File, *, by: User | None, dataset: Dataset | None, target: Model | None
) -> None:
    """Write the row of a file that somebody is about to get."""
    record(Kind.DOWNLOADED, by=by, dataset=dataset, target=target, word=file)


@transaction.atomic
def record_rows(*, by: User, dataset: Dataset) -> None:
    """Write the row of a list of the dataset that a program is about to get whole: one a day for each person
    and dataset, as a program that follows the votes asks every few seconds."""
    of_day = AuditEvent.objects.filter(at__gte=timezone.now() - A_DAY, kind=Kind.DOWNLOADED, word=File.ROWS)
    if not of_day.filter(actor=by, dataset=dataset).exists():
        record_download(File.ROWS, by=by, dataset=dataset, target=dataset)


def record_run(run: Run) -> Run:
    """Write the row of a Run that a person or a command begins, and return the Run. The clock's Runs are
    their own record."""
    if run.created_by or origin.command.get():
        kind = Run.Kind(run.kind)
        record(Kind.RUN_STARTED, by=run.created_by, dataset=run.dataset_id, target=run, word=kind)
    return run


def record_own(kind: AuditEvent.Kind, user: User) -> None:
    """Write the row of what somebody did to the own account: of staff, admins and reviewers. History keeps
    no track of annotators."""
    if is_of_interest(user):
        record(kind, by=user, target=user)


def is_of_interest(user: User) -> bool:
    """Whether the person is staff, or an admin or a reviewer of any dataset."""
    return user.is_staff or Member.objects.filter(user=user).exclude(role=Role.ANNOTATOR).exists()
