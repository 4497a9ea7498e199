"""How reliable an annotator's answers are: against gold, the annotator's earlier answers, the side of a
completion, and the model's pick. Each figure is a share with its interval, and no ranking."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery

from workbench.models import Claim, Dataset, Judgment, Outcome, Purpose
from workbench.pipeline.quality.shares import Share

NAMES = {
    "gold": "right on known answers",
    "consistent": "same answer when asked again",
    "left": "chose left",
    "towards": "changed to the model’s pick",
    "away": "changed to something else",
}
"""The shares of a Quality in words."""


@dataclass(frozen=True)
class Quality:
    """Shares of one annotator's answers, or of everybody's.

    gold: answers to gold that equal the known answer, before any reveal;
    consistent: repeats (sides swapped) that equal the vote on the same Comparison;
    left: answers for one side that chose the left side, a half where sides do not matter;
    towards, away: blind votes changed after the reveal to the model's pick, and to another outcome."""

    gold: Share = field(default=Share(0, 0))
    consistent: Share = field(default=Share(0, 0))
    left: Share = field(default=Share(0, 0))
    towards: Share = field(default=Share(0, 0))
    away: Share = field(default=Share(0, 0))


def together(qualities: Iterable[Quality]) -> Quality:
    """Of several annotators together, each weighed by the number of answers."""
    rows = list(qualities)

    def summed(name: str) -> Share:
        shares = [getattr(quality, name) for quality in rows]
        return Share(sum(share.k for share in shares), sum(share.n for share in shares))

    return Quality(**{name: summed(name) for name in NAMES})


Answers = tuple[QuerySet[Judgment], Q]
"""Judgments, and which of them are hits."""


def gold_and_repeats(dataset: Dataset) -> tuple[Answers, Answers]:
    """People's first answers to gold and to repeats, with those that are right and the same."""
    first = Judgment.objects.of(dataset).by_people().order_by().filter(supersedes=None).opinions()
    gold = first.filter(purpose=Purpose.GOLD).exclude(comparison__gold_outcome="")
    vote = Judgment.objects.current().filter(
        comparison=OuterRef("comparison"), annotator=OuterRef("annotator")
    )
    repeats = first.filter(purpose=Purpose.REPEAT).annotate(vote=Subquery(vote.values("outcome")[:1]))
    repeats = repeats.exclude(vote=None).exclude(vote=Outcome.CANNOT_JUDGE)
    return (gold, Q(outcome=F("comparison__gold_outcome"))), (repeats, Q(outcome=F("vote")))


def by_annotator(dataset: Dataset) -> dict[int, Quality]:
    """Each person who has answered in the Dataset, by primary key. Five queries, for any number of people."""
    judgments = Judgment.objects.of(dataset).by_people().order_by()
    first = judgments.filter(supersedes=None)
    gold, repeats = gold_and_repeats(dataset)
    sided = first.exclude(left="").filter(outcome__in=[Outcome.A, Outcome.B])
    revealed = judgments.current().filter(mode=Claim.Mode.BLIND).exclude(suggested="")
    changed = Q(stage=Judgment.Stage.REVEALED) & ~Q(outcome=F("supersedes__outcome"))
    columns = {
        "gold": shares_of(*gold),
        "consistent": shares_of(*repeats),
        "left": shares_of(sided, Q(outcome=F("left"))),
        "towards": shares_of(revealed, changed & Q(outcome=F("suggested"))),
        "away": shares_of(revealed, changed & ~Q(outcome=F("suggested"))),
    }
    people = {pk for column in columns.values() for pk in column}
    none = Share(0, 0)
    return {pk: Quality(**{name: column.get(pk, none) for name, column in columns.items()}) for pk in people}


def shares_of(judgments: QuerySet[Judgment], hit: Q) -> dict[int, Share]:
    """The share of hits among these Judgments of each annotator, by primary key."""
    rows = judgments.values("annotator").annotate(n=Count("pk"), k=Count("pk", filter=hit))
    return {row["annotator"]: Share(row["k"], row["n"]) for row in rows}
