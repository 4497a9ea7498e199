"""What reviewers write: a reply to whoever flagged a Comparison or commented on it, and why a Comparison is
an example. A change, a removal and an undo are each a new row."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db import transaction
from django.db.models import BigIntegerField, DateTimeField, Exists, F, OuterRef, Subquery, Value

from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Decision,
    Example,
    Flag,
    Judgment,
    PromptChange,
    Reply,
    Told,
    User,
)
from workbench.models.annotation import FlagQuerySet
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.questions.telling import still_judged
from workbench.pipeline.review.gold import KNOWN_ANSWERS
from workbench.pipeline.runs.progress import Refused

Row = TypeVar("Row", Reply, Example)


def reply(
    comparison: Comparison, annotator: Annotator, text: str, by: User, closes_flag: bool = False
) -> Reply:
    """Reply to the annotator's flags and comments on the Comparison, in place of an earlier reply; an empty
    text takes it back. `closes_flag`: nothing is wrong with the pair, so their open flag is closed as well,
    at the moment of the reply. Raises Refused where the annotator has asked nothing here."""
    asked = Flag.objects.by_annotators().filter(comparison=comparison, annotator=annotator).exists()
    if not asked and not Judgment.objects.commented().filter(comparison=comparison, annotator=annotator):
        raise Refused("Nothing was saved: this person has neither flagged this pair nor commented on it.")
    with transaction.atomic():
        _lock(comparison)
        current = Reply.objects.filter(comparison=comparison, annotator=annotator, is_current=True).first()
        new = Reply(comparison=comparison, annotator=annotator, text=text, by=by, supersedes=current)
        stored = _put(current, new)
        if closes_flag:
            _flags_of(stored).open().update(closed_at=stored.created_at)
            PromptChange.objects.note(comparison.dataset_id, [comparison.prompt_id])
        return stored


def reply_to(comparison: Comparison, annotator: int, text: str, by: User, closes_flag: bool = False) -> Reply:
    """`reply` to the annotator of this primary key. Raises Refused where that person is gone too."""
    person = Annotator.objects.filter(pk=annotator).first()
    if person is None:
        raise Refused("Nothing was saved: this person is gone.")
    return reply(comparison, person, text, by, closes_flag)


def make_example(comparison: Comparison, text: str, by: User) -> Example:
    """Make the Comparison an example in the guidelines, with the reason why its final label is right; an
    empty text takes the example back. Raises Refused where it has no final label."""
    with transaction.atomic():
        _lock(comparison)
        if text and not comparison.decisions.current().filter(outcome__in=KNOWN_ANSWERS).exists():
            raise Refused("Nothing was saved: an example needs a final label. Settle the pair first.")
        current = Example.objects.filter(comparison=comparison, is_current=True).first()
        return _put(current, Example(comparison=comparison, text=text, by=by, supersedes=current))


def undo(row: Row, by: User) -> Row | None:
    """Put back what was there before this row, and open the flag that a reply has closed. None, and nothing
    changed, where it is no longer current."""
    with transaction.atomic():
        _lock(row.comparison)
        row.refresh_from_db(fields=["is_current"])
        if not row.is_current:
            return None
        before = row.supersedes.text if row.supersedes else ""
        new = type(row)(comparison=row.comparison, text=before, by=by, supersedes=row)
        if isinstance(row, Reply) and isinstance(new, Reply):
            new.annotator = row.annotator
            _open_flag_closed_by(row)
        return _put(row, new)


def _flags_of(row: Reply) -> FlagQuerySet:
    return Flag.objects.filter(comparison=row.comparison_id, annotator=row.annotator_id)


def _open_flag_closed_by(row: Reply) -> None:
    closed = _flags_of(row).filter(closed_at=row.created_at, closed_by=None)
    if not _flags_of(row).open().exists() and closed.update(closed_at=None):
        PromptChange.objects.note(row.comparison.dataset_id, [row.comparison.prompt_id])


def _put(current: Row | None, new: Row) -> Row:
    """Store the new row in place of the current one, where it says something else."""
    if current and current.text == new.text:
        return current
    if current:
        type(current).objects.filter(pk=current.pk).update(is_current=False)
    new.save()
    kind = Kind.REPLIED if isinstance(new, Reply) else Kind.EXAMPLE
    record(kind, by=new.by, dataset=new.comparison.dataset_id, target=new.comparison)
    return new


def _lock(comparison: Comparison) -> None:
    """Lock the Comparison until the transaction ends, so that reviewers take turns."""
    Comparison.objects.select_for_update().get(pk=comparison.pk)


# --- what reviewers see -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """A Reply or an Example for a page, also one that was taken back. is_held: somebody may still judge the
    Comparison, and is not shown it until then; told_at: when the annotator of a reply was last shown it."""

    pk: int
    text: str
    by: str
    created_at: datetime
    supersedes: int | None
    is_held: bool
    told_at: datetime | None


@dataclass(frozen=True)
class Asked:
    """What one annotator asked about a Comparison, and the reply: also one that was taken back."""

    annotator: Annotator
    flags: list[Flag]
    comments: list[Judgment]
    reply: Written | None
    read_at: datetime | None

    @property
    def has_open_flag(self) -> bool:
        return any(flag.closed_at is None for flag in self.flags)


@dataclass(frozen=True)
class Questions:
    """All questions about a Comparison, and its example: also one that was taken back."""

    comparison: Comparison
    asked: list[Asked]
    example: Written | None
    may_be_example: bool


def about(
    dataset: Dataset,
    comparisons: Iterable[Comparison],
    flags: Collection[Flag],
    judgments: Collection[Judgment],
    decisions: Collection[Decision],
) -> dict[int, Questions]:
    """The questions about these Comparisons of the Dataset by primary key, from all their flags, Judgments
    and Decisions. One query."""
    by_pk = {comparison.pk: comparison for comparison in comparisons}
    written = _written(dataset, by_pk)
    asked: defaultdict[int, dict[int, tuple[list[Flag], list[Judgment]]]] = defaultdict(dict)
    for flag in flags:
        if flag.reason != Flag.Reason.REVIEW:
            asked[flag.comparison_id].setdefault(flag.annotator_id, ([], []))[0].append(flag)
    superseded = {judgment.supersedes_id for judgment in judgments}
    for judgment in judgments:
        if judgment.comment and judgment.pk not in superseded and not judgment.annotator.is_imported:
            asked[judgment.comparison_id].setdefault(judgment.annotator_id, ([], []))[1].append(judgment)
    labelled = {row.comparison_id for row in decisions if row.is_current and row.outcome in KNOWN_ANSWERS}
    return {
        pk: Questions(
            comparison=comparison,
            asked=[
                _asked(flagged, commented, written.get((pk, annotator)))
                for annotator, (flagged, commented) in sorted(asked[pk].items())
            ],
            example=written.get((pk, None)),
            may_be_example=pk in labelled,
        )
        for pk, comparison in by_pk.items()
    }


def _written(dataset: Dataset, comparisons: Collection[int]) -> dict[tuple[int, int | None], Written]:
    """The replies on these Comparisons by (Comparison, Annotator), and their examples by (Comparison, None).
    One query."""
    pair, whom = OuterRef("comparison"), OuterRef(OuterRef("annotator"))
    same = Comparison.objects.filter(pk=pair)
    told = Told.objects.filter(comparison=pair, annotator=OuterRef("annotator"))
    of_reply = {
        "to": F("annotator"),
        "held": Exists(still_judged(same, dataset, whom)),
        "told_at": Subquery(told.values("at")),
    }
    of_example = {
        "to": Value(None, BigIntegerField()),
        "held": Exists(still_judged(same, dataset)),
        "told_at": Value(None, DateTimeField()),
    }
    said = ("pk", "text", "by__username", "created_at", "supersedes", "held", "told_at")
    columns = ("comparison", "to", *said)
    current = {"comparison__in": comparisons, "is_current": True}
    replies = Reply.objects.filter(**current).order_by().annotate(**of_reply).values_list(*columns)
    examples = Example.objects.filter(**current).order_by().annotate(**of_example).values_list(*columns)
    return {(pk, to): Written(*row) for pk, to, *row in replies.union(examples, all=True)}


def _asked(flags: list[Flag], comments: list[Judgment], row: Written | None) -> Asked:
    return Asked(
        annotator=(flags[0] if flags else comments[0]).annotator,
        flags=flags,
        comments=comments,
        reply=row,
        read_at=row.told_at if row and row.told_at and row.told_at >= row.created_at else None,
    )
