"""What became of an annotator's flags and comments, for the annotator alone.

Nothing becomes of a question while its annotator may still judge the pair (`telling.still_judged`): the page
then has the same words as where no reviewer has looked at it, whatever was decided, replied or made gold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Substr

from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Decision,
    Flag,
    Judgment,
    Prompt,
    Reply,
    Told,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.models.dataset import OUT_OF_QUEUE
from workbench.pipeline.annotate import statements
from workbench.pipeline.questions.telling import closed_to, still_judged, tell

A_PAGE = 20
BEGINNING = 400
"""Characters of each text."""


@dataclass(frozen=True)
class Outcome:
    """What became of a pair. outcome: of the reviewer's final label, "" for none; `news`: since the annotator
    looked last."""

    outcome: str
    is_excluded: bool
    reply: str
    replied_at: datetime | None
    is_news: bool


OPEN = Outcome("", is_excluded=False, reply="", replied_at=None, is_news=False)


@dataclass(frozen=True)
class Question:
    """A flag or a comment, with the beginnings of the texts as they stood before the annotator."""

    at: datetime
    flag: str
    """The words of the reason; "" for a comment."""
    text: str
    left: str
    prompt: str
    answers: list[tuple[str, str]]
    became: Outcome
    is_closed: bool
    """A reviewer has looked at the flag and closed it, without a final label."""


def has_news(dataset: Dataset, annotator: Annotator) -> bool:
    """Whether something became of a question since the annotator looked last, that they may read."""
    asked = Q(pk__in=_flags(dataset, annotator).values("comparison"))
    asked |= Q(pk__in=_comments(dataset, annotator).values("comparison"))
    news = _with_news(Comparison.objects.filter(asked, dataset=dataset), annotator)
    return news.exclude(pk__in=_open_to(news, dataset, annotator)).exists()


def questions(dataset: Dataset, annotator: Annotator) -> "Paginator[dict[str, Any]]":
    """The annotator's flags and comments of the Dataset, newest first; `read` gives those of a page."""
    flags = _flags(dataset, annotator).order_by().annotate(kind=Value("flag", output_field=CharField()))
    comments = _comments(dataset, annotator).order_by()
    comments = comments.annotate(kind=Value("comment", output_field=CharField()))
    columns = ("kind", "pk", "comparison", "created_at")
    rows = flags.values(*columns).union(comments.values(*columns), all=True)
    return Paginator(rows.order_by("-created_at", "-pk"), A_PAGE)


def read(dataset: Dataset, annotator: Annotator, rows: Sequence[dict[str, Any]]) -> list[Question]:
    """These questions with what became of them. From now on the annotator is told, and can judge the pairs no
    more of which there was something to tell."""
    keys = {kind: [row["pk"] for row in rows if row["kind"] == kind] for kind in ("flag", "comment")}
    flags = Flag.objects.in_bulk(keys["flag"])
    comments = Judgment.objects.in_bulk(keys["comment"])
    pairs = {row["comparison"] for row in rows}
    became = _read(dataset, annotator, pairs)
    # Of a flag without its side: the side of the first Claim.
    claims = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk")).order_by("pk")
    texts = Comparison.objects.filter(pk__in=pairs).values_list(
        "pk", "prompt", Subquery(claims.values("left")[:1]),
        Substr("a__text", 1, BEGINNING), Substr("b__text", 1, BEGINNING),
    )  # fmt: skip
    shown = {pk: row for pk, *row in texts}
    excerpts = Prompt.objects.filter(pk__in={prompt for prompt, *_ in shown.values()}).excerpts()
    found = []
    for row in rows:
        prompt, first_left, text_a, text_b = shown[row["comparison"]]
        flag = flags[row["pk"]] if row["kind"] == "flag" else None
        comment = None if flag else comments[row["pk"]]
        left = (flag.left if flag else comment.left if comment else "") or first_left or "a"
        sides = (text_a, text_b) if left == "a" else (text_b, text_a)
        found.append(
            Question(
                at=row["created_at"],
                flag=flag.get_reason_display() if flag else "",
                text=flag.note if flag else comment.comment if comment else "",
                left=left,
                prompt=excerpts.get(prompt, ""),
                answers=list(zip(("Left", "Right"), sides, strict=True)),
                became=(outcome := became.get(row["comparison"], OPEN)),
                is_closed=outcome is not OPEN and bool(flag and flag.closed_at and not flag.closed_by_id),
            )
        )
    return found


def told_replies(annotator: Annotator) -> QuerySet[Reply]:
    """Replies that the annotator was shown, for their own data."""
    told = Told.objects.filter(
        annotator=annotator, comparison=OuterRef("comparison"), at__gte=OuterRef("created_at")
    )
    return Reply.objects.current().filter(Exists(told), annotator=annotator)


def _read(dataset: Dataset, annotator: Annotator, pairs: set[int]) -> dict[int, Outcome]:
    """What became of those of the Comparisons that the annotator may read of, who is told from now on."""
    touched = _touched(Comparison.objects.filter(pk__in=pairs), annotator)
    if not touched.exists():
        return {}
    with transaction.atomic():
        # An answer of theirs at this moment is stored before, or is refused after.
        statements.lock(annotator.pk)
        rows = _facts(touched, annotator)
        closed = closed_to(dataset, annotator, [row["pk"] for row in rows])
        rows = [row for row in rows if row["pk"] in closed]
        tell(annotator, [row["pk"] for row in rows if row["is_news"] or row["told_at"] is None])
    return {
        row["pk"]: Outcome(
            outcome=row["outcome"] or "",
            is_excluded=row["outcome"] == Decision.DROP or row["prompt__excluded_from"] in OUT_OF_QUEUE,
            reply=row["reply"] or "",
            replied_at=row["replied_at"],
            is_news=row["is_news"],
        )
        for row in rows
    }


def _facts(touched: ComparisonQuerySet, annotator: Annotator) -> list[Any]:
    replies = Reply.objects.current().filter(comparison=OuterRef("pk"), annotator=annotator)
    told = Told.objects.filter(comparison=OuterRef("pk"), annotator=annotator)
    decisions = _reviews().filter(comparison=OuterRef("pk"))
    return list(
        touched.values(
            "pk",
            "prompt__excluded_from",
            outcome=Subquery(decisions.values("outcome")[:1]),
            reply=Subquery(replies.values("text")[:1]),
            replied_at=Subquery(replies.values("created_at")[:1]),
            told_at=Subquery(told.values("at")[:1]),
            is_news=_is_news(annotator),
        )
    )


def _flags(dataset: Dataset, annotator: Annotator) -> QuerySet[Flag]:
    return Flag.objects.by_annotators().filter(annotator=annotator, comparison__dataset=dataset)


def _comments(dataset: Dataset, annotator: Annotator) -> QuerySet[Judgment]:
    return Judgment.objects.commented().of(dataset).filter(annotator=annotator)


def _reviews() -> QuerySet[Decision]:
    return Decision.objects.current().filter(method=Decision.Method.REVIEWER)


def _touched(comparisons: ComparisonQuerySet, annotator: Annotator) -> ComparisonQuerySet:
    """Those of the Comparisons of which there is something to tell the annotator."""
    replies = Reply.objects.current().filter(comparison=OuterRef("pk"), annotator=annotator)
    reviews = _reviews().filter(comparison=OuterRef("pk"))
    return comparisons.filter(
        Exists(replies) | Exists(reviews) | Q(prompt__excluded_from__in=OUT_OF_QUEUE)
    ).order_by("pk")


def _is_news(annotator: Annotator) -> Exists:
    """A reply or a final label is newer than when the annotator was told."""
    told = Told.objects.filter(
        annotator=annotator, comparison=OuterRef("comparison"), at__gte=OuterRef("created_at")
    )
    replies = Reply.objects.current().filter(~Exists(told), comparison=OuterRef("pk"), annotator=annotator)
    reviews = _reviews().filter(~Exists(told), comparison=OuterRef("pk"))
    return Exists(replies) | Exists(reviews)  # type: ignore[return-value]


def _with_news(comparisons: ComparisonQuerySet, annotator: Annotator) -> ComparisonQuerySet:
    return comparisons.filter(_is_news(annotator))


def _open_to(
    comparisons: ComparisonQuerySet, dataset: Dataset, annotator: Annotator
) -> QuerySet[Comparison, Any]:
    return still_judged(comparisons, dataset, annotator.pk).values("pk")
