"""Search history, and say its rows in words. Names are looked up now: an erased person has the pseudonym."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from workbench.models import AuditEvent, Dataset, ModelVersion, Release, User

A_PAGE = 100

WORDS = {"comparison": "pair", "modelversion": "model", "user": "account"}
"""Objects that a page calls by another word than the code does."""

SAID_BY_THE_KIND = {
    "dataset",
    "guidelines",
    "savedview",
    "upload",
    "allowedhost",
    "invitation",
    "act",
    "webhook",
}
"""Objects that the words of the kind name, and whose number nobody knows."""


Kind = AuditEvent.Kind
COUNTED: dict[str, tuple[str, str]] = {
    Kind.IMPORTED: ("row", "rows"),
    Kind.RELEASE_BUILT: ("row", "rows"),
    Kind.ACT: ("prompt", "prompts"),
    Kind.ACT_UNDONE: ("prompt", "prompts"),
    Kind.INVITED: ("person", "people"),
    Kind.CLAIMS_ENDED: ("pair", "pairs"),
    Kind.WEBHOOK_REPLAYED: ("event", "events"),
    Kind.SESSIONS_ENDED: ("login", "logins"),
}
"""What the count of a row counts: one, and several."""


@dataclass(frozen=True)
class Entry:
    """A row in words. of: the object that it is about, "" where the kind says it; details: a role, a kind,
    the number of things, the changed fields."""

    event: AuditEvent
    who: str
    of: str
    details: str
    dataset: str


def found(
    *,
    dataset: Dataset | None = None,
    kind: str = "",
    person: str = "",
    begin: datetime | None = None,
    end: datetime | None = None,
) -> QuerySet[AuditEvent]:
    """Rows, newest first: of a Dataset, of a kind, from `begin` and before `end`; of people with `person` in
    the name, as those who did it, or to whom it was done."""
    rows = AuditEvent.objects.between(begin, end).select_related("actor", "dataset").order_by("-pk")
    if dataset:
        rows = rows.filter(dataset=dataset)
    if kind:
        rows = rows.filter(kind=kind)
    if person:
        rows = rows.of_people(User.objects.filter(username__icontains=person).values_list("pk", flat=True))
    return rows


def page(rows: QuerySet[AuditEvent], before: int | None) -> tuple[list[AuditEvent], int | None]:
    """The A_PAGE newest rows whose key is less than `before`, and the next `before`; None = no more."""
    listed = list((rows.filter(pk__lt=before) if before else rows)[: A_PAGE + 1])
    return listed[:A_PAGE], listed[A_PAGE - 1].pk if len(listed) > A_PAGE else None


def entries(events: Sequence[AuditEvent]) -> list[Entry]:
    """The rows in words. Three queries, however many there are."""
    names = _names(events)
    return [
        Entry(
            event,
            _who(event),
            _object(event, names),
            _details(event),
            _dataset(event),
        )
        for event in events
    ]


def _names(events: Sequence[AuditEvent]) -> dict[tuple[str, str], str]:
    """The names of the people, models and releases that rows are about, as they are now."""

    def keys(target: str) -> list[str]:
        return [event.target_id for event in events if event.target == target]

    users = User.objects.filter(pk__in=keys("user")).values_list("pk", "username")
    versions = ModelVersion.objects.filter(pk__in=keys("modelversion")).values_list("pk", "name")
    releases = Release.objects.filter(pk__in=keys("release")).values_list("pk", "number")
    return {
        **{("user", str(pk)): name for pk, name in users},
        **{("modelversion", str(pk)): f"model {name}" for pk, name in versions},
        **{("release", str(pk)): f"release {number}" for pk, number in releases},
    }


def _who(event: AuditEvent) -> str:
    name = event.actor.username if event.actor else f"account {event.actor_id}" if event.actor_id else ""
    command = f"manage.py {event.command}" if event.command else ""
    return ", by ".join(part for part in (name, command) if part) or "the workbench"


def _object(event: AuditEvent, names: Mapping[tuple[str, str], str]) -> str:
    is_own = event.target == "user" and event.target_id == str(event.actor_id)
    if is_own or event.target in SAID_BY_THE_KIND:
        return ""
    word = WORDS.get(event.target, event.target)
    return names.get((event.target, event.target_id)) or f"{word} {event.target_id}".strip()


def _details(event: AuditEvent) -> str:
    """ "reviewer", "tag; 300 prompts", "overlap, due on"."""
    fields = ", ".join(name.replace("_", " ") for name in event.fields)
    return "; ".join(part for part in (event.word.replace("_", " "), _number(event), fields) if part)


def _number(event: AuditEvent) -> str:
    if event.count is None:
        return ""
    one, several = COUNTED.get(event.kind, ("", ""))  # a kind of a later version has no word here
    return f"{event.count:,} {one if event.count == 1 else several}".strip()


def _dataset(event: AuditEvent) -> str:
    if event.dataset_id is None:
        return ""
    is_there = event.dataset and event.dataset.deleted_at is None
    return event.dataset.name if is_there and event.dataset else f"dataset {event.dataset_id}, deleted"


COLUMNS = [
    "at", "kind", "who", "user", "command", "dataset", "dataset_id", "object", "object_id", "word", "count",
    "fields", "request",
]  # fmt: skip


def all_entries(rows: QuerySet[AuditEvent]) -> Iterator[Entry]:
    """All rows in words, newest first, read in chunks."""
    before = None
    while True:
        listed, before = page(rows, before)
        yield from entries(listed)
        if before is None:
            return


def lines(rows: QuerySet[AuditEvent]) -> Iterator[list[object]]:
    """COLUMNS of each row, newest first: for a file of all rows."""
    for entry in all_entries(rows):
        event = entry.event
        yield [
            event.at.isoformat(), event.kind, entry.who, event.actor_id, event.command, entry.dataset,
            event.dataset_id, event.target, event.target_id, event.word, event.count, " ".join(event.fields),
            event.request_id,
        ]  # fmt: skip
