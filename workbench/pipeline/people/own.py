"""A person's own data.

Nobody reads here what others did, or anything by which gold or a repeat could be told from work: no pair has
a name or number, as one that comes twice is a repeat; and pauses have the words that the person was told,
without counts."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import QuerySet

from workbench.models import (
    Annotator,
    AuditEvent,
    Dataset,
    Decision,
    Example,
    Flag,
    Judgment,
    Outcome,
    QualificationGrant,
    QualificationTry,
    Reply,
    User,
)
from workbench.pipeline.questions.asked import told_replies

Rows = Iterator[dict[str, object]]
CHUNK = 1000


def datasets_of(user: User) -> list[Dataset]:
    """The Datasets that the person is a member of, with `role`, by name. Archived ones too."""
    return list(Dataset.objects.with_role_of_member(user).filter(members__user=user).order_by("name"))


def data_of(user: User) -> Iterator[str]:
    """The parts of a JSON object. Times are in UTC. A Dataset that the person has left is null."""
    names = {dataset.pk: dataset.name for dataset in datasets_of(user)}
    parts: dict[str, Callable[[User, dict[int, str]], Rows]] = {
        "logins": _logins,
        "memberships": _memberships,
        "agreements": _agreements,
        "votes": _votes,
        "flags": _flags,
        "settled": _settled,
        "replies_to_you": _replies,
        "replies_and_examples": _written,
        "pauses": _pauses,
        "qualifications": _qualifications,
        "qualification_grants": _grants,
        "time_corrections": _corrections,
        "visits": _visits,
        "tokens": _tokens,
        "history": _history,
    }
    yield f'{{"account": {_json(_account(user))}'
    for name, rows_of in parts.items():
        yield f',\n"{name}": ['
        for number, row in enumerate(rows_of(user, names)):
            yield ("," if number else "") + "\n" + _json(row)
        yield "]"
    yield "}\n"


def _json(row: dict[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False, default=lambda moment: moment.isoformat())


def _account(user: User) -> dict[str, object]:
    fields = ("username", "first_name", "last_name", "email", "date_joined", "last_login", "is_staff")
    account = {name: getattr(user, name) for name in (*fields, "goes_straight_on", "languages")}
    addresses = user.emailaddress_set.order_by("pk").values("email", "verified")
    return account | {"mail_addresses": list(addresses)}


def _logins(user: User, names: dict[int, str]) -> Rows:
    """Without the keys, which open the account."""
    for login in user.logins.order_by("pk"):
        yield {"browser": login.browser, "since": login.since, "last_seen": login.last_seen}


def _memberships(user: User, names: dict[int, str]) -> Rows:
    """Views that are given to the person are left out: a name may say what a view's pairs have in common."""
    for member in user.memberships.order_by("pk"):
        if member.dataset_id in names:
            facts = {"role": member.role, "languages": member.languages, "skills": member.skills}
            yield {"dataset": names[member.dataset_id], **facts}


def _agreements(user: User, names: dict[int, str]) -> Rows:
    """Consent texts that the person agreed to, by their digest."""
    came = user.acceptances.exclude(consent_sha256="").order_by("pk")
    for rows, dataset in ((came, "invitation__dataset"), (user.agreements.order_by("pk"), "dataset")):
        for pk, at, digest in rows.values_list(dataset, "at", "consent_sha256"):
            yield {"dataset": names.get(pk), "at": at, "text_sha256": digest}


def _votes(user: User, names: dict[int, str]) -> Rows:
    """With gold and repeats, which look like the others."""
    judgments = Judgment.objects.filter(annotator__user=user).order_by("pk")
    rows = judgments.values_list(
        "comparison__dataset", "outcome", "left", "strength", "comment", "seconds", "guidelines__number",
        "supersedes", "created_at",
    )  # fmt: skip
    for dataset, outcome, left, strength, comment, seconds, guidelines, supersedes, at in _read(rows):
        yield {
            "dataset": names.get(dataset),
            "at": at,
            "answer": Outcome.seen_as(outcome, left),
            "strength": strength,
            "comment": comment,
            "seconds": seconds,
            "guidelines": guidelines,
            "changes_an_earlier_vote": supersedes is not None,
        }


def _flags(user: User, names: dict[int, str]) -> Rows:
    flags = Flag.objects.filter(annotator__user=user).order_by("pk")
    for dataset, reason, note, at in _read(
        flags.values_list("comparison__dataset", "reason", "note", "created_at")
    ):
        yield {"dataset": names.get(dataset), "at": at, "reason": reason, "note": note}


def _settled(user: User, names: dict[int, str]) -> Rows:
    """Final labels that the person gave as a reviewer, by their reasons and notes."""
    settled = Decision.objects.filter(decided_by=user).order_by("pk")
    for dataset, reason, note, at in _read(
        settled.values_list("comparison__dataset", "reason", "note", "created_at")
    ):
        yield {"dataset": names.get(dataset), "at": at, "reason": reason, "note": note}


def _replies(user: User, names: dict[int, str]) -> Rows:
    """Replies of reviewers that the person was shown."""
    annotator = Annotator.objects.filter(user=user).first()
    replies = told_replies(annotator).order_by("pk") if annotator else Reply.objects.none()
    for dataset, text, at in _read(replies.values_list("comparison__dataset", "text", "created_at")):
        yield {"dataset": names.get(dataset), "at": at, "text": text}


def _written(user: User, names: dict[int, str]) -> Rows:
    """What the person wrote as a reviewer; an empty text took something back."""
    for kind, rows in (("reply", Reply.objects.all()), ("example", Example.objects.all())):
        written = rows.filter(by=user).order_by("pk")
        for dataset, text, at in _read(written.values_list("comparison__dataset", "text", "created_at")):
            yield {"dataset": names.get(dataset), "at": at, "kind": kind, "text": text}


def _pauses(user: User, names: dict[int, str]) -> Rows:
    for pause in user.pauses.order_by("pk"):
        yield {
            "dataset": names.get(pause.dataset_id),
            "reason": pause.reason,
            "warned_at": pause.announced_at,
            "began_at": pause.began_at,
            "ended_at": pause.ended_at,
        }


def _qualifications(user: User, names: dict[int, str]) -> Rows:
    """With the answers: the person was told there how each went."""
    tries = QualificationTry.objects.filter(annotator__user=user).select_related("guidelines")
    for attempt in tries.prefetch_related("answers").order_by("pk"):
        yield {
            "dataset": names.get(attempt.dataset_id),
            "started_at": attempt.started_at,
            "ended_at": attempt.ended_at,
            "guidelines": attempt.guidelines.number if attempt.guidelines else None,
            "pairs": attempt.pairs,
            "needed": attempt.needed,
            "right": attempt.right,
            "passed": attempt.passed,
            "answers": [
                {
                    "at": row.answered_at,
                    "answer": Outcome.seen_as(row.outcome, row.left),
                    "known_answer": Outcome.seen_as(row.known, row.left),
                    "seconds": row.seconds,
                }
                for row in attempt.answers.all()
                if row.outcome
            ],
        }


def _grants(user: User, names: dict[int, str]) -> Rows:
    grants = QualificationGrant.objects.filter(annotator__user=user).order_by("pk")
    for dataset, kind, reason, at in grants.values_list("dataset", "kind", "reason", "created_at"):
        yield {"dataset": names.get(dataset), "at": at, "kind": kind, "reason": reason}


def _corrections(user: User, names: dict[int, str]) -> Rows:
    for correction in user.time_corrections.order_by("pk"):
        yield {
            "dataset": names.get(correction.dataset_id),
            "day": correction.day,
            "seconds": correction.seconds,
            "reason": correction.reason,
        }


def _visits(user: User, names: dict[int, str]) -> Rows:
    for visit in user.visits.order_by("pk"):
        yield {"dataset": names.get(visit.dataset_id), "at": visit.at}


def _tokens(user: User, names: dict[int, str]) -> Rows:
    moments = ("created_at", "expires_at", "last_used_at", "revoked_at")
    fields = ("name", "prefix", "scope", "is_for_all", *moments)
    for token in user.tokens.order_by("pk").prefetch_related("datasets"):
        named = [names[dataset.pk] for dataset in token.datasets.all() if dataset.pk in names]
        yield {name: getattr(token, name) for name in fields} | {"datasets": named}


def _history(user: User, names: dict[int, str]) -> Rows:
    """What the person did, without the objects: the number of a pair would tell that it is gold."""
    events = AuditEvent.objects.filter(actor=user).order_by("pk")
    for at, kind, dataset, fields in _read(events.values_list("at", "kind", "dataset", "fields")):
        yield {"dataset": names.get(dataset), "at": at, "kind": kind, "fields": fields}


def _read(rows: QuerySet[Any, tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    return rows.iterator(chunk_size=CHUNK)
