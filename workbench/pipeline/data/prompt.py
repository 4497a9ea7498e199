"""All that is known of one Prompt, for its page. The number of queries does not depend on its pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db.models import Q

from workbench.models import (
    ActOnPrompt,
    Comparison,
    Completion,
    Decision,
    Flag,
    Judgment,
    Outcome,
    Prompt,
    Release,
    Run,
    Score,
    Topic,
)
from workbench.models.dataset import OUT_OF_QUEUE
from workbench.pipeline.data import acts
from workbench.pipeline.datasets import overview
from workbench.pipeline.quality.panels.words import votes_and_labels
from workbench.pipeline.questions import replying
from workbench.pipeline.releases import members
from workbench.pipeline.review import decide
from workbench.pipeline.review.gold import KNOWN_ANSWERS
from workbench.pipeline.text.language_names import name_of
from workbench.pipeline.text.splits import split_of

SIBLINGS_SHOWN = 20
RELEASES_SHOWN = 50
WORDS = {
    Outcome.TIE.value: "Tie",
    Outcome.BOTH_BAD.value: "Both bad",
    Outcome.CANNOT_JUDGE.value: "Can’t judge",
}

Row = TypeVar("Row", Judgment, Flag, Decision)


@dataclass(frozen=True)
class Answer:
    """A Completion with its number on the page and its Scores, the newest version first."""

    number: int
    completion: Completion
    scores: list[Score]


@dataclass(frozen=True)
class Pair:
    """A Comparison of two answers by their numbers, with its votes, labels and final label."""

    comparison: Comparison
    first: Answer
    second: Answer
    judgments: list[Judgment]
    flags: list[Flag]
    decisions: list[Decision]
    questions: replying.Questions

    @property
    def current(self) -> Decision | None:
        return next((decision for decision in self.decisions if decision.is_current), None)

    @property
    def is_settled(self) -> bool:
        return self.current is not None and self.current.method == Decision.Method.REVIEWER

    @property
    def opinions(self) -> list[Judgment]:
        """The votes of people and the imported labels that count."""
        return [judgment for judgment in self.judgments if judgment.is_current]

    @property
    def counted(self) -> str:
        """ "2 votes and 1 imported label"."""
        labels = sum(judgment.annotator.is_imported for judgment in self.opinions)
        return votes_and_labels(len(self.opinions) - labels, labels)

    @property
    def open_flags(self) -> list[Flag]:
        return [flag for flag in self.flags if flag.closed_at is None]

    @property
    def token(self) -> str:
        """What a reviewer has seen of the pair (see review.decide)."""
        current = [self.current] if self.current else []
        return decide.token_of(self.comparison, self.opinions, self.open_flags, current)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """(outcome, words) of a reviewer's choice, the answer with the smaller number first."""
        a_first = self.comparison.a_id == self.first.completion.pk
        sides = ("a", "b") if a_first else ("b", "a")
        named = [(side, self.in_words(side)) for side in sides]
        return [*named, ("tie", "Tie"), ("both_bad", "Both bad"), (Decision.DROP, "Exclude pair")]

    @property
    def label(self) -> str:
        """The final label: "Answer 2"."""
        return self.in_words(self.current.outcome) if self.current else ""

    @property
    def tally(self) -> list[tuple[str, int]]:
        """How many votes and imported labels each choice has, the most first."""
        counts = Counter(self.in_words(judgment.outcome) for judgment in self.opinions)
        return counts.most_common()

    @property
    def comments(self) -> list[dict[str, str]]:
        """What people wrote in an imported project who did not vote: `annotator` and `comment`."""
        said = self.comparison.metadata.get("comments_without_vote")
        listed = said if isinstance(said, list) else []
        return [one for one in listed if isinstance(one, dict) and {"annotator", "comment"} <= one.keys()]

    @property
    def gold(self) -> str:
        return self.in_words(self.comparison.gold_outcome) if self.comparison.gold_outcome else ""

    @property
    def may_be_gold(self) -> bool:
        """Whether the label of a reviewer can become the known answer."""
        if self.current is None or self.comparison.gold_outcome:
            return False
        is_out = self.comparison.prompt.excluded_from in OUT_OF_QUEUE
        return self.is_settled and self.current.outcome in KNOWN_ANSWERS and not is_out

    def in_words(self, outcome: str) -> str:
        if outcome == Decision.DROP:
            return "Excluded"
        if outcome in WORDS:
            return WORDS[outcome]
        pk = self.comparison.a_id if outcome == Outcome.A else self.comparison.b_id
        return f"Answer {self.first.number if pk == self.first.completion.pk else self.second.number}"


@dataclass(frozen=True)
class Cell:
    """One answer against another, as the answer of the row fares. mark: "won", "lost", "even", or "" without
    a final label. wins, losses: votes and imported labels for either."""

    pair: Pair | None
    mark: str
    words: str
    wins: int = 0
    losses: int = 0


@dataclass(frozen=True)
class Event:
    """Something that happened to the Prompt. tells: whether it says what somebody thinks of a pair."""

    at: datetime
    who: str
    what: str
    detail: str = ""
    tells: bool = False
    act: int | None = None
    """Primary key of an act that can be undone."""


@dataclass(frozen=True)
class Page:
    """prompt: whole, or shortened (`too_long`) where it is larger than a page."""

    prompt: Prompt
    answers: list[Answer]
    pairs: list[Pair]
    table: list[tuple[Answer, list[Cell | None]]]
    tags: list[str]
    history: list[Event]
    siblings: list[tuple[int, str]]
    more_siblings: bool
    split: str
    topic: Topic | None
    releases: list[tuple[Release, bool | None]]
    """Each with whether it has a row of the Prompt; None where nobody knows (see releases.members)."""

    @property
    def memberships(self) -> list[tuple[str, list[Release]]]:
        """The releases that have the prompt, those that have not, and those of which nobody knows."""
        words = {True: "In releases", False: "Not in", None: "Not recorded for"}
        of = {has: [release for release, has_row in self.releases if has_row is has] for has in words}
        return [(words[has], found) for has, found in of.items() if found]

    @property
    def language(self) -> str:
        """The name of the prompt's language; "" where it is not sure."""
        return name_of(self.prompt.language)

    @property
    def is_open(self) -> bool:
        """Whether a reviewer has a pair to settle, and should not have read the votes on it before."""
        return any(not pair.is_settled for pair in self.pairs)


def page_of(found: Prompt) -> Page:
    """All that is known of the Prompt, which knows its `size`, `tag_names`, topic and import, by eleven
    queries."""
    pk, dataset, facts = found.pk, found.dataset, vars(found)
    (prompt,) = overview.within_memory([pk], overview.MOST_OF_ONE, sizes={pk: facts["size"]})
    prompt.dataset = dataset
    completions = sorted(prompt.completions.all(), key=lambda completion: completion.pk)
    scores: defaultdict[int, list[Score]] = defaultdict(list)
    for score in Score.objects.filter(completion__prompt=pk).select_related("version").order_by("-version"):
        scores[score.completion_id].append(score)
    answers = [Answer(n, completion, scores[completion.pk]) for n, completion in enumerate(completions, 1)]
    pairs = _pairs(prompt, {answer.completion.pk: answer for answer in answers})
    on = ActOnPrompt.objects.filter(prompt=pk).select_related("act__by", "act__undone_by")
    others = Prompt.objects.of(dataset).filter(group=prompt.group).exclude(pk=pk).order_by("pk")
    shown = Prompt.objects.filter(pk__in=others.values("pk")[: SIBLINGS_SHOWN + 1])
    excerpts = sorted(shown.excerpts().items())
    ready = Release.objects.ready().filter(dataset=dataset).order_by("-number")
    releases = [
        (release, has_row)
        for release in ready.only("pk", "number", "dataset", "created_at")[:RELEASES_SHOWN]
        if (has_row := members.has_row_of(release, pk)) is not None or release.created_at > prompt.created_at
    ]
    return Page(
        prompt=prompt,
        answers=answers,
        pairs=pairs,
        table=_table(answers, pairs),
        tags=sorted(facts["tag_names"] or []),
        history=_history(prompt, found.imported_by, pairs, on),
        siblings=excerpts[:SIBLINGS_SHOWN],
        more_siblings=len(excerpts) > SIBLINGS_SHOWN,
        split=split_of(prompt.group),
        topic=found.topic,
        releases=releases,
    )


def _pairs(prompt: Prompt, answers: dict[int, Answer]) -> list[Pair]:
    comparisons = list(Comparison.objects.filter(prompt=prompt.pk).order_by("pk"))
    of_prompt = Q(comparison__prompt=prompt.pk)
    judgments = _by_pair(
        Judgment.objects.filter(of_prompt).select_related("annotator__user", "version").order_by("pk")
    )
    flags = _by_pair(Flag.objects.filter(of_prompt).select_related("annotator__user").order_by("pk"))
    decisions = _by_pair(
        Decision.objects.filter(of_prompt).select_related("decided_by", "undone_by").order_by("pk")
    )
    questions = replying.about(prompt.dataset, comparisons, _all(flags), _all(judgments), _all(decisions))
    pairs = []
    for comparison in comparisons:
        comparison.prompt = prompt
        sides = [answers[comparison.a_id], answers[comparison.b_id]]
        first, second = sorted(sides, key=lambda answer: answer.number)
        pk = comparison.pk
        pairs.append(Pair(comparison, first, second, judgments[pk], flags[pk], decisions[pk], questions[pk]))
    return sorted(pairs, key=lambda pair: (pair.first.number, pair.second.number))


def _by_pair(rows: Iterable[Row]) -> defaultdict[int, list[Row]]:
    by_pair: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_pair[row.comparison_id].append(row)
    return by_pair


def _all(by_pair: dict[int, list[Row]]) -> list[Row]:
    return [row for rows in by_pair.values() for row in rows]


def _table(answers: list[Answer], pairs: list[Pair]) -> list[tuple[Answer, list[Cell | None]]]:
    """A row for each answer, with a cell for each answer; None where an answer meets itself."""
    pair_of = {}
    for pair in pairs:
        pair_of[pair.first.number, pair.second.number] = pair
        pair_of[pair.second.number, pair.first.number] = pair
    return [
        (
            row,
            [
                None if row is column else _cell(row, pair_of.get((row.number, column.number)))
                for column in answers
            ],
        )
        for row in answers
    ]


def _cell(row: Answer, pair: Pair | None) -> Cell:
    if pair is None:
        return Cell(None, "", "No pair")
    own = Outcome.A if pair.comparison.a_id == row.completion.pk else Outcome.B
    other = Outcome.B if own == Outcome.A else Outcome.A
    outcomes = Counter(judgment.outcome for judgment in pair.opinions)
    for_each = outcomes[own], outcomes[other]
    if pair.current is None:
        return Cell(pair, "", "Open", *for_each)
    outcome = pair.current.outcome
    if outcome in (own, other):
        won = outcome == own
        return Cell(pair, "won" if won else "lost", "Won" if won else "Lost", *for_each)
    return Cell(pair, "even", pair.label, *for_each)


def _history(
    prompt: Prompt, imported_by: Run | None, pairs: list[Pair], on: Iterable[ActOnPrompt]
) -> list[Event]:
    """All that happened, newest first."""
    who = str(imported_by.created_by or "an import") if imported_by else "a command"
    file = str(imported_by.upload or "") if imported_by else ""
    events = [Event(prompt.created_at, who, "Imported", file)]
    for pair in pairs:
        between = f"answers {pair.first.number} and {pair.second.number}"
        for judgment in pair.judgments:
            changed = " (changed later)" if not judgment.is_current and judgment.purpose == "work" else ""
            what = {"gold": "Answered as a check", "repeat": "Answered again"}.get(judgment.purpose, "Voted")
            what = "Imported label" if judgment.annotator.is_imported else what
            said = f"{between}: {pair.in_words(judgment.outcome)}{changed}"
            events.append(
                Event(judgment.created_at, str(judgment.annotator), what, _with(said, judgment.comment), True)
            )
        for decision in pair.decisions:
            by = str(decision.decided_by) if decision.decided_by else decision.method
            said = f"{between}: {pair.in_words(decision.outcome)}"
            what = "Settled" if decision.decided_by else "Final label"
            events.append(Event(decision.created_at, by, what, _with(said, decision.note), True))
            if decision.undone_at:
                events.append(
                    Event(decision.undone_at, str(decision.undone_by), "Undid a review", said, True)
                )
        for flag in pair.flags:
            if flag.reason == Flag.Reason.REVIEW:
                continue  # its act says it
            said = f"{between}: {flag.get_reason_display()}"
            events.append(Event(flag.created_at, str(flag.annotator), "Flagged", _with(said, flag.note)))
    done = [row.act for row in on]
    can_be_undone = acts.undoable(done)
    for act in done:
        undoable = act.pk if act.pk in can_be_undone else None
        events.append(Event(act.at, str(act.by or "somebody"), acts.sentence(act), act=undoable))
        if act.undone_at:
            events.append(
                Event(act.undone_at, str(act.undone_by or "somebody"), f"Undid: {acts.sentence(act)}")
            )
    return sorted(events, key=lambda event: event.at, reverse=True)


def _with(said: str, note: str) -> str:
    return f"{said}. {note}" if note else said
