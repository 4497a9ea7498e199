"""Projects of other annotation tools: tasks with the answers of several people to several questions.

A form of export becomes Tasks (label_studio, argilla). Here the first Tasks decide the Layout: which column
is the prompt, which columns are answers, and which question is the vote. A column mapping overrules it by the
words in NAMED.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from statistics import mean
from typing import Any, Literal, TypeGuard

from scoring.formats import Message
from scoring.rows.conversations import KNOWN_ROLES
from scoring.rows.drafts import (
    MAX_NAME,
    ComparisonDraft,
    Comparisons,
    CompletionDraft,
    Draft,
    ImportOptions,
    JudgmentDraft,
    leftovers,
    prompt_of,
    ranked_comparisons,
)
from scoring.rows.rows import BadRow, FileFault, Problem, Row, Values, escaped
from scoring.rows.shapes.pairs import PROMPTS, completion_of
from scoring.rows.shapes.shape import in_context

SAMPLE_TASKS = 100
"""Tasks with answers that decide the Layout."""
MAX_SAMPLE, MAX_SAMPLE_BYTES = 1_000, 16 * 2**20
"""Tasks read for them: an export of all tasks may begin with many that nobody has answered."""
NAMED = frozenset(
    {"prompt", "a", "b", "completion", "outcome", "comment", "says_a", "says_b", "says_tie", "says_both_bad"}
)
"""Words of a column mapping that these formats take; a question stands for its column."""

NOTHING_CHOSEN = "an answer in which nothing was chosen is no vote"
COMMENT_ALONE = "a comment of somebody who did not vote is kept beside the pair"
RANKS_LOST = (
    "all rankings of the file have the same order, as if the export had lost the ranks; they are no votes. "
    "If they are right, map outcome to the question"
)
SEVERAL = (
    "several questions of the file could be the vote, and one was taken; the others are kept beside it. Map "
    "outcome to another question to take that one"
)
NOT_SURE = "an answer that names no side is no vote"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one question.

    `kind`: "side" (left or right), "word" (a choice, or perhaps a comment), "choice" (a choice for certain),
    "text", "order" (tiers of names, best first; `about` is "list" for a bare list, which may have lost its
    ranks, or hold labels), "rating" (a number; `about` names what was rated), "marks" (labels or spans, which
    are never a vote).
    """

    kind: Literal["side", "word", "choice", "text", "order", "rating", "marks"]
    value: Any
    about: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one person to the questions of a task, by question."""

    annotator: str
    replies: Mapping[str, Reply]
    time: str = ""
    metadata: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """`row` holds the data of the task in the order of the file. `suggestions` are what models chose, as
    metadata. `mixed`: the answers hold columns of the data as well."""

    row: Row
    task_id: str
    answers: tuple[Answers, ...]
    suggestions: tuple[Values, ...] = ()
    notes: tuple[str, ...] = ()
    mixed: bool = False


def task_drafts(tasks: Iterable[Task | Problem], options: ImportOptions) -> Iterator[Draft | Problem]:
    """The Drafts of a project. Raises FileFault for a named column that no task has."""
    rest = iter(tasks)
    sample = _sample(rest)
    layout = Layout([task for task in sample if isinstance(task, Task)], options.columns)
    for task in chain(sample, rest):
        if isinstance(task, Problem):
            yield task
            continue
        try:
            yield in_context(_draft(task, layout, options), task.row)
        except BadRow as bad:
            yield bad.at(task.row)


def _sample(tasks: Iterator[Task | Problem]) -> list[Task | Problem]:
    sample: list[Task | Problem] = []
    answered = size = 0
    for task in islice(tasks, MAX_SAMPLE):
        sample.append(task)
        if isinstance(task, Task):
            answered += bool(task.answers)
            size += len(task.row.raw)
        if answered == SAMPLE_TASKS or size > MAX_SAMPLE_BYTES:
            break
    return sample


# --- which column is what -----------------------------------------------------------------------------------

_PROMPT_NAMES = (
    *PROMPTS, "dialogue", "dialog", "conversation", "chat", "query", "task", "user_prompt", "text"
)  # fmt: skip
_COMMENT_NAMES = frozenset(
    {"comment", "comments", "reason", "why", "explanation", "note", "notes", "feedback", "rationale"}
)
_ANSWER_STEMS = (
    "answer", "response", "completion", "output", "reply", "candidate", "option", "generation", "text", "",
)  # fmt: skip
_SOURCE_PARTS = frozenset({"model", "source"})
_NO_ANSWERS = frozenset({"id", "user", "name", "author", "language", *_SOURCE_PARTS})
_PLACES = {
    **{str(n): n for n in range(100)},
    **{
        word: 100 * (kind + 1) + n
        for kind, words in enumerate((
            "abcdefghi", ("left", "right"), ("first", "second", "third"), ("one", "two", "three")
        ))
        for n, word in enumerate(words)
    },
}  # fmt: skip
"""Places in a name. Numbers, letters and words never mix: rating_1 says nothing of response_b."""
_PARTS = re.compile(r"[^\W\d_]+|\d+")


def _stem_and_place(name: str) -> tuple[str, int] | None:
    """("answer", 1) of answer1, answer_1 and 1_answer, ("model_answer", 1) of model_1_answer; None for a name
    without a place."""
    parts = [part.casefold() for part in _PARTS.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name))]
    for at in (-1, *range(len(parts) - 1)):
        if parts and parts[at] in _PLACES:
            return "_".join(part for n, part in enumerate(parts) if n != at % len(parts)), _PLACES[parts[at]]
    return None


def _families(columns: Iterable[str]) -> dict[str, dict[int, str]]:
    """Columns that differ in their place alone: stem -> place -> column."""
    families: dict[str, dict[int, str]] = {}
    for column in columns:
        if stem_place := _stem_and_place(column):
            families.setdefault(stem_place[0], {}).setdefault(stem_place[1], column)
    several = {stem: members for stem, members in families.items() if len(members) > 1}
    return dict(sorted(several.items(), key=lambda family: family[0].count("_")))


def _plain(name: str) -> str:
    return "".join(_PARTS.findall(name)).casefold()


_SPEAKERS = ("role", "from", "author", "speaker", "sender", "name", "user")
_SPOKEN = ("content", "value", "text", "message", "body", "utterance")


def is_items(value: object) -> TypeGuard[list[Values]]:
    """True for the answers of a task in one list: objects with an id and a text."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, dict)
            and "id" in item
            and _item_text(item) is not None
            and item.keys().isdisjoint(_SPEAKERS[:5])
            for item in value
        )
    )


def _item_text(item: Values) -> tuple[str, str] | None:
    """(the text, the source) of an item: `body` beside a `title` with the model, or one of them alone."""
    texts = [
        item[key] for key in ("body", "text", "content", "answer", "html") if isinstance(item.get(key), str)
    ]
    title = item.get("title")
    if texts:
        return texts[0], title if isinstance(title, str) else ""
    return (title, "") if isinstance(title, str) else None


def is_dialogue(value: object) -> TypeGuard[list[Values]]:
    """True for a list of turns, each with a speaker and a text."""
    return (
        isinstance(value, list)
        and bool(value)
        and not is_items(value)
        and all(
            isinstance(turn, dict)
            and any(isinstance(turn.get(key), str) for key in _SPEAKERS)
            and any(isinstance(turn.get(key), str) for key in _SPOKEN)
            for turn in value
        )
    )


def _turns(value: list[Values]) -> list[Message]:
    """The turns as messages. Of two speakers with other names, the last is the user."""
    if all(("role" in turn and "content" in turn) or ("from" in turn and "value" in turn) for turn in value):
        names = {str(turn.get("role", turn.get("from"))) for turn in value}
        if names <= KNOWN_ROLES.keys():
            return value
    spoken = [
        (
            next(turn[key] for key in _SPEAKERS if isinstance(turn.get(key), str)),
            next(turn[key] for key in _SPOKEN if isinstance(turn.get(key), str)),
        )
        for turn in value
    ]
    speakers = list(dict.fromkeys(speaker for speaker, _ in spoken))
    roles = {speaker: KNOWN_ROLES.get(speaker.strip().casefold(), "") for speaker in speakers}
    if not all(roles.values()):
        if len(speakers) > 2:
            shown = ", ".join(escaped(speaker, 40) for speaker in speakers[:5])
            message = f"the speakers of a conversation should be user and assistant, not {shown}"
            raise BadRow("prompt", "unknown_role", message)
        others = {"user": "assistant", "assistant": "user"}
        known = next((others.get(role, "") for role in roles.values() if role), "")
        last = {speaker: "user" if speaker == spoken[-1][0] else "assistant" for speaker in speakers}
        roles = {speaker: roles[speaker] or known or last[speaker] for speaker in speakers}
    return [{"role": roles[speaker], "content": text} for speaker, text in spoken]


class Layout:
    """Which column of a project is the prompt, which are the answers, and which question is the vote."""

    def __init__(self, sample: Sequence[Task], named: Mapping[str, str]) -> None:
        self._says = _words_of(named)
        data: dict[str, list[Any]] = {}
        for task in sample:
            for column, value in task.row.values.items():
                data.setdefault(column, []).append(value)
        questions: dict[str, list[Reply]] = {}
        for task in sample:
            for answers in task.answers:
                for question, reply in answers.replies.items():
                    questions.setdefault(question, []).append(reply)
        self._named = {
            word: _spelled(path, word, {**data, **questions}) for word, path in named.items() if word in NAMED
            and not word.startswith("says_")
        }  # fmt: skip
        self._known = {*questions}
        ordered = {
            _plain(str(name))
            for reply in chain.from_iterable(questions.values())
            if reply.kind == "order"
            for tier in reply.value
            for name in tier
        }
        self.items = self._named.get("completion", "") or next(
            (column for column, values in data.items() if any(map(is_items, values))), ""
        )
        self.answers = [] if self.items else self._answer_columns(data, ordered)
        self.prompt = self._named.get("prompt", "") or self._prompt_column(data)
        if not self.items and not self.answers:
            texts = [column for column, values in data.items() if any(map(_may_be_answer, values))]
            self.answers = [column for column in texts if column != self.prompt][:2]
        self._sources = next(
            (
                [column for column in data if column in members.values()]
                for stem, members in _families(data).items()
                if not _SOURCE_PARTS.isdisjoint(stem.split("_")) and not {*members.values()} & {*self.answers}
            ),
            [],
        )
        self._choose_question(questions)
        self._sort_questions(sample, questions)
        self._beside = self._questions_beside(sample)
        self.ranks_lost = "outcome" not in self._named and self._all_equal(sample)

    def _answer_columns(self, data: Mapping[str, list[Any]], ordered: set[str]) -> list[str]:
        if "a" in self._named and "b" in self._named:
            return [self._named["a"], self._named["b"]]
        by_order = [column for column in data if _plain(column) in ordered]
        if len(by_order) > 1:
            return by_order
        texts = [column for column, values in data.items() if any(map(_may_be_answer, values))]
        families = {
            stem: members
            for stem, members in _families(texts).items()
            if _NO_ANSWERS.isdisjoint(stem.split("_"))
        }
        for known in _ANSWER_STEMS:
            for stem, members in families.items():
                if not known or known in stem.split("_"):
                    return [column for column in texts if column in members.values()]
        return []

    def _prompt_column(self, data: Mapping[str, list[Any]]) -> str:
        free = [column for column in data if column not in self.answers and column != self.items]
        folded = {column.casefold(): column for column in free}
        known = next((folded[name] for name in _PROMPT_NAMES if name in folded), "")
        return known or next(
            (
                column
                for column in free
                if any(value and _may_be_answer(value) for value in data[column])
                and not column.casefold().endswith("id")
            ),
            "",
        )

    def _choose_question(self, questions: Mapping[str, list[Reply]]) -> None:
        """Decide the ranking and the side that are the vote, of several."""
        named = self._named.get("outcome", "")
        orders = [
            question
            for question, replies in questions.items()
            if any(reply.kind == "order" and self._is_ranking(reply) for reply in replies)
        ]
        sides = [
            question
            for question, replies in questions.items()
            if any(reply.kind == "side" for reply in replies)
        ]
        if named in sides:
            orders, sides = [], [named]
        elif named in orders:
            orders, sides = [named], []
        self._order = min(orders, key=_not_overall, default="")
        self._side = min(sides, key=_not_overall, default="")
        self.several = len(orders or sides) > 1

    def _is_ranking(self, reply: Reply) -> bool:
        """True for an order that names answers; a bare list of other words holds labels."""
        if reply.about != "list" or self.items:
            return True
        places = {_place(name, self.answers) for tier in reply.value for name in tier}
        return len(places) > 1 and None not in places

    def order(self, replies: Mapping[str, Reply]) -> Reply | None:
        """The ranking that is the vote, of the answers of one person."""
        return self._vote(replies, self._order, "order")

    def side(self, replies: Mapping[str, Reply]) -> Reply | None:
        """The side that is the vote, of the answers of one person."""
        return self._vote(replies, self._side, "side")

    def _vote(self, replies: Mapping[str, Reply], question: str, kind: str) -> Reply | None:
        """The reply to the question; to another of that kind only where no sampled task has it."""
        if question in replies and replies[question].kind == kind:
            return replies[question]
        others = (name for name, reply in replies.items() if reply.kind == kind and name not in self._known)
        return replies.get(next(others, ""))

    def _sort_questions(self, sample: Sequence[Task], questions: Mapping[str, list[Reply]]) -> None:
        """Decide the question of a choice, and the questions of comments."""
        mixed = any(task.mixed for task in sample)
        taken = {self.prompt, self.items, *self.answers, *self._sources}
        words = {
            question: [reply for reply in of_question if reply.kind in ("word", "choice")]
            for question, of_question in questions.items()
            if question not in taken and any(reply.kind in ("word", "choice") for reply in of_question)
        }
        self.choice = self._named.get("outcome", "")
        if not self.choice:
            sided = any(reply.kind == "side" for reply in chain.from_iterable(questions.values()))
            naming = [
                question
                for question, of_question in words.items()
                if all(self._names_side(reply.value, no_side=sided and mixed) for reply in of_question)
            ]
            naming.sort(
                key=lambda question: (
                    question.casefold() in _COMMENT_NAMES,
                    not _varies(question, sample),
                    _not_overall(question),
                )
            )
            self.choice = naming[0] if naming else ""
            votes = [question for question in naming if question.casefold() not in _COMMENT_NAMES]
            self.several |= not self._order and not sided and not mixed and len(votes) > 1
        self.comments = [self._named["comment"]] if "comment" in self._named else [
            question
            for question, of_question in questions.items()
            if question != self.choice
            and question not in taken
            and (
                any(reply.kind == "text" for reply in of_question)
                or question.casefold() in _COMMENT_NAMES
                or (question in words and not any(s.kind == "choice" for s in of_question) and not mixed)
            )
        ]  # fmt: skip
        self.asked = {self.choice, *self.comments} if mixed else {*questions}
        self._votes = bool(self.choice) or any(
            reply.kind in ("side", "order", "rating") for reply in chain.from_iterable(questions.values())
        )
        self._ratings = [
            question
            for question, of_question in questions.items()
            if any(s.kind == "rating" for s in of_question)
        ]

    def _all_equal(self, sample: Sequence[Task]) -> bool:
        """True if rankings that came as bare lists are all alike: in the order of the columns, or three and
        more in another."""
        orders = [
            tuple(_plain(str(name)) for tier in reply.value for name in tier)
            for task in sample
            for answers in task.answers
            if (reply := self.order(answers.replies)) and reply.about == "list"
        ]
        columns = [_plain(column) for column in self.answers]
        as_asked = all(list(order) == [name for name in columns if name in order] for order in orders)
        return (as_asked and len(orders) > 1) or (len(set(orders)) == 1 and len(orders) > 2)

    def _questions_beside(self, sample: Sequence[Task]) -> set[str]:
        """The questions that somebody answered beside the vote: a choice there is about something else."""
        return {
            question
            for task in sample
            for answers in task.answers
            if any(
                reply.kind in ("side", "order", "rating") or question == self.choice
                for question, reply in answers.replies.items()
            )
            for question in answers.replies
            if question != self.choice
        }

    def refuse_unknown(self, replies: Mapping[str, Reply]) -> None:
        """Raise BadRow for a choice of unknown words, and for words where no question is the vote."""
        for question, reply in replies.items():
            if (reply.kind == "choice" and question not in self._beside) or (
                reply.kind == "word" and not self._votes and question in self.asked
            ):
                raise _unknown(question, reply.value)

    def _names_side(self, word: object, *, no_side: bool) -> bool:
        outcome = self.outcome(word)
        return outcome in ("", "tie", "both_bad") if no_side else outcome is not None

    def outcome(self, word: object) -> str | None:
        """The outcome that a choice stands for, or a place among the answers as text; "" for a choice of no
        side, None for an unknown word."""
        if not isinstance(word, str):
            return None
        folded = word.strip().casefold()
        if folded in self._says:
            return self._says[folded]
        plain = [_plain(column) for column in self.answers]
        if _plain(word) in plain:
            return str(plain.index(_plain(word)))
        outcome = _outcome_in_words(folded)
        places = [stem_place[1] for column in self.answers if (stem_place := _stem_and_place(column))]
        by_name = not {*_PARTS.findall(folded)} & {"left", "right", "first", "second"}
        if by_name and outcome in _OTHER and len(places) == len(self.answers) == 2 and places[0] > places[1]:
            return _OTHER[outcome]
        return outcome

    def place(self, name: object, ids: Sequence[str]) -> int:
        """The place of an answer by a name in an order. Raises BadRow."""
        if (place := _place(name, ids)) is not None:
            return place
        raise BadRow("ranking", "unknown_answer", f'"{escaped(name, 40)}" is none of the answers', name)

    def rated(self, question: str, about: str, count: int) -> int | None:
        """The place of the answer that a rating is about; None for a rating of something else."""
        for name in (about, question):
            if name in self.answers:
                return self.answers.index(name)
        places = {
            stem_place[1]: n
            for n, column in enumerate(self.answers)
            if (stem_place := _stem_and_place(column))
        }
        for name in (about, question):
            if (stem_place := _stem_and_place(name)) and stem_place[1] in places:
                return places[stem_place[1]]
        inside = [n for n, column in enumerate(self.answers) if _plain(column) in _plain(question)]
        if len(inside) == 1:
            return inside[0]
        if question in self._ratings and len(self._ratings) == count:
            return self._ratings.index(question)
        return None

    def source(self, column: str, values: Values) -> str:
        """Who wrote the answer of a column, by a column as model1 beside answer1; "" for unknown."""
        place = (_stem_and_place(column) or ("", None))[1]
        by_place = [name for name in self._sources if (_stem_and_place(name) or ("", -1))[1] == place]
        by_order = self._sources if len(self._sources) == len(self.answers) else []
        source = next(iter(by_place), "") or next(
            (name for name, answer in zip(by_order, self.answers, strict=False) if answer == column), ""
        )
        name = values.get(source) if source else ""
        return name[:MAX_NAME] if isinstance(name, str) else ""

    def numbers_a_label(self, task: Task) -> bool:
        """True for a suggestion that is a number, to a question that people answer by a word."""
        return any(
            suggestion.get("question") == self.choice and str(suggestion.get("value")).isdecimal()
            for suggestion in task.suggestions
        )

    @property
    def used(self) -> set[str]:
        """Columns that do not become metadata."""
        return {self.prompt, self.items, *self.answers, *self._sources, *self.asked}


_OVERALL = frozenset(
    {
        "overall", "preference", "preferred", "better", "best", "winner", "verdict", "vote", "choice",
        "comparison", "ranking", "rank",
    }
)  # fmt: skip


def _not_overall(question: str) -> bool:
    """False for a question whose name says that it is the vote, so that it sorts first."""
    return _OVERALL.isdisjoint(part.casefold() for part in _PARTS.findall(question))


def _place(name: object, ids: Sequence[str]) -> int | None:
    """The place of an answer by a name in an order; None for a name of no answer."""
    if str(name) in ids:
        return ids.index(str(name))
    plain = [_plain(column) for column in ids]
    if _plain(str(name)) in plain:
        return plain.index(_plain(str(name)))
    by_place = _stem_and_place(str(name))
    places = {stem_place[1]: n for n, column in enumerate(ids) if (stem_place := _stem_and_place(column))}
    return places.get(by_place[1]) if by_place else None


def _varies(question: str, sample: Sequence[Task]) -> bool:
    """True for a question that some people of a task answered otherwise, or not at all."""
    return any(
        len(
            {
                str(answers.replies[question].value) if question in answers.replies else None
                for answers in task.answers
            }
        )
        > 1
        for task in sample
    )


def _may_be_answer(value: object) -> bool:
    return isinstance(value, str) or is_dialogue(value)


def _spelled(path: str, word: str, columns: Mapping[str, object]) -> str:
    folded = {column.casefold(): column for column in columns}
    first, _, rest = path.partition(".")
    for name in (path, path.removesuffix(".responses"), rest, first):
        if name.casefold() in folded:
            return folded[name.casefold()]
    names = ", ".join(escaped(name, 40) for name in columns)
    raise FileFault(
        "no_such_column", f'there is no "{escaped(path, 40)}" for {word}; the tasks have {names[:300]}'
    )


def _words_of(named: Mapping[str, str]) -> dict[str, str]:
    return {
        value.strip().casefold(): outcome
        for word, outcome in (
            ("says_a", "a"),
            ("says_b", "b"),
            ("says_tie", "tie"),
            ("says_both_bad", "both_bad"),
        )
        for value in named.get(word, "").split("|")
        if value.strip()
    }


_SIDES = (
    {"left": "a", "right": "b"},
    {"first": "a", "second": "b"},
    {"1": "a", "2": "b"},
    {"a": "a", "b": "b"},
)
_OTHER = {"a": "b", "b": "a"}
_TIES = frozenset({"tie", "tied", "equal", "equally", "same", "draw", "both", "similar", "equivalent"})
_BAD = frozenset({"bad", "wrong", "poor", "worse", "terrible", "incorrect", "unacceptable"})
_BEATS = frozenset({"better", "over", "beats"})
_UNSURE = frozenset({"unsure", "unclear", "skip", "cannot", "can't", "unknown"})


def _outcome_in_words(folded: str) -> str | None:
    """The outcome of a choice by usual words: "Response A is better" is "a". None where they say nothing."""
    parts = _PARTS.findall(folded)
    words = set(parts)
    if not parts or len(parts) > 8:
        return None
    if ("both" in words and words & _BAD) or "neither" in words:
        return "both_bad"
    if words & _UNSURE:
        return ""
    if words & _TIES or "=" in folded:
        return "tie"
    named = next(
        (sides_of for sides in _SIDES if (sides_of := [sides[part] for part in parts if part in sides])), []
    )
    if named and ("worse" in words or "<" in folded):
        return _OTHER[named[0]]
    if len(set(named)) == 1 or (named and (">" in folded or words & _BEATS)):
        return named[0]
    return None


# --- a task as a Draft --------------------------------------------------------------------------------------


def _draft(task: Task, layout: Layout, options: ImportOptions) -> Draft:
    values = task.row.values
    completions, ids = _completions(values, layout)
    if layout.prompt not in values:
        raise BadRow(
            layout.prompt or "prompt", "missing", "no column of this task is the prompt; map prompt to it"
        )
    prompt = _prompt(values[layout.prompt], layout.prompt)
    notes = [*task.notes, *([LABEL_NUMBER] if layout.numbers_a_label(task) else [])]
    if layout.several and task.answers:
        notes.append(SEVERAL)
    by_pair: dict[tuple[int, int], dict[str, JudgmentDraft]] = {}
    said: list[Values] = []
    left_out = 0
    for answers in sorted(task.answers, key=lambda answers: answers.time):
        pairs = _pairs(answers, layout, ids, options, notes)
        left_out = max(left_out, getattr(pairs, "left_out", 0))
        judgment = _judgment(answers, layout)
        if judgment.comment and not pairs:
            said.append({"annotator": answers.annotator, "comment": judgment.comment})
        for pair in pairs:
            (label,) = pair.judgments
            key, outcome = (pair.first, pair.second), label.outcome
            if pair.first > pair.second:
                key, outcome = (pair.second, pair.first), _OTHER.get(outcome, outcome)
            labels = by_pair.setdefault(key, {})
            new = replace(judgment, outcome=outcome)
            if old := labels.get(answers.annotator):
                new = replace(new, earlier=(*old.earlier, replace(old, earlier=())))
            labels[answers.annotator] = new
    metadata = {name: value for name, value in leftovers(values, layout.used).items() if value != ""}
    metadata |= _beside(task, said, notes)
    if by_pair:
        comparisons = Comparisons(
            (
                ComparisonDraft(i, j, tuple(labels.values()), task.task_id, metadata)
                for (i, j), labels in by_pair.items()
            ),
            left_out,
        )
    else:
        unlabelled = ranked_comparisons([None] * len(completions), options)
        comparisons = Comparisons(
            (replace(pair, external_id=task.task_id, metadata=metadata) for pair in unlabelled),
            getattr(unlabelled, "left_out", 0),
        )
    return Draft(
        task.row.line,
        prompt,
        completions,
        comparisons,
        external_id=task.task_id,
        notes=tuple(dict.fromkeys(notes)),
    )


def _beside(task: Task, said: list[Values], notes: list[str]) -> Values:
    """Metadata of the pairs: what models chose, and what people wrote who did not vote."""
    beside: Values = {"suggestions": list(task.suggestions)} if task.suggestions else {}
    if said:
        beside["comments_without_vote"] = said
        notes.append(COMMENT_ALONE)
    return beside


def _prompt(value: object, column: str) -> list[Message]:
    return prompt_of(_turns(value) if is_dialogue(value) else value, column)


def _completions(values: Values, layout: Layout) -> tuple[tuple[CompletionDraft, ...], list[str]]:
    """(the answers of a task, the names by which an order calls them)."""
    if layout.items:
        items = values.get(layout.items)
        if not is_items(items):
            raise BadRow(
                layout.items, "not_items", f"{layout.items} should be a list of objects with an id and a text"
            )
        completions = []
        for item in items:
            text, source = _item_text(item) or ("", "")
            metadata = leftovers(item, {"body", "text", "content", "answer", "html", "title", "id"})
            completions.append(CompletionDraft(text, source[:MAX_NAME], metadata))
        return tuple(completions), [str(item["id"]) for item in items]
    if len(layout.answers) < 2:
        raise BadRow("", "no_answers", "no columns of this task are the answers; map a and b to them")
    columns = [column for column in layout.answers if values.get(column) is not None]
    if len(columns) < 2:
        missing = next(column for column in layout.answers if values.get(column) is None)
        raise BadRow(missing, "missing", f"{missing} is missing")
    return (
        tuple(
            replace(_completion(values[column], column), source=layout.source(column, values))
            for column in columns
        ),
        columns,
    )


def _completion(value: object, column: str) -> CompletionDraft:
    return completion_of(_turns(value) if is_dialogue(value) else value, column)


def _judgment(answers: Answers, layout: Layout) -> JudgmentDraft:
    """The vote of one person, with its comment and metadata, and no outcome yet."""
    comments = [
        answers.replies[question].value for question in layout.comments if question in answers.replies
    ]
    texts = [comment for comment in comments if isinstance(comment, str) and comment.strip()]
    vote = layout.order(answers.replies) or layout.side(answers.replies)
    other = {
        question: _marks(reply)
        for question, reply in answers.replies.items()
        if (question in layout.asked or reply.kind not in ("choice", "word"))
        and question not in layout.comments
        and question != layout.choice
        and reply is not vote
        and reply.kind != "text"
    }
    metadata = {**answers.metadata, **leftovers(other, ())}
    return JudgmentDraft("tie", answers.annotator, comment="\n".join(texts), metadata=metadata)


def _marks(reply: Reply) -> object:
    """The value of a reply that is not the vote: of a bare list, its words."""
    return [name for tier in reply.value for name in tier] if reply.about == "list" else reply.value


def _pairs(
    answers: Answers, layout: Layout, ids: Sequence[str], options: ImportOptions, notes: list[str]
) -> Sequence[ComparisonDraft]:
    """The pairs that the answers of one person imply, each with one label."""
    replies = answers.replies
    if order := layout.order(replies):
        return _of_order(order, layout, ids, options, notes)
    if side := layout.side(replies):
        return _sided({"left": "a", "right": "b"}[side.value], len(ids))
    word = replies.get(layout.choice)
    if word is not None and word.kind in ("word", "choice"):
        return _of_word(word, layout, ids, notes)
    ratings: dict[int, list[float]] = {}
    for question, reply in replies.items():
        if reply.kind == "rating" and (place := layout.rated(question, reply.about, len(ids))) is not None:
            ratings.setdefault(place, []).append(reply.value)
    if ratings:
        means = [mean(ratings[n]) if n in ratings else None for n in range(len(ids))]
        return _ranked(means, options, notes)
    layout.refuse_unknown(replies)
    notes.append(NOTHING_CHOSEN)
    return ()


def _of_order(
    order: Reply, layout: Layout, ids: Sequence[str], options: ImportOptions, notes: list[str]
) -> Sequence[ComparisonDraft]:
    if layout.ranks_lost:
        notes.append(RANKS_LOST)
        return ()
    ranks: list[float | None] = [None] * len(ids)
    for rank, tier in enumerate(order.value):
        for name in tier:
            ranks[layout.place(name, ids)] = float(rank)
    return _ranked(ranks, options, notes, lower_is_better=True)


def _of_word(word: Reply, layout: Layout, ids: Sequence[str], notes: list[str]) -> Sequence[ComparisonDraft]:
    outcome = layout.outcome(word.value)
    if outcome is None:
        raise _unknown(layout.choice, word.value)
    if not outcome:
        notes.append(NOT_SURE)
        return ()
    return _sided(outcome, len(ids))


def _unknown(question: str, value: object) -> BadRow:
    return BadRow(
        question,
        "unknown_value",
        f'"{escaped(value, 40)}" of {escaped(question, 40)} names no side; map outcome to the question that '
        "does, and says_a, says_b and says_tie to its words",
        value,
    )


def _ranked(
    values: Sequence[float | None], options: ImportOptions, notes: list[str], *, lower_is_better: bool = False
) -> Sequence[ComparisonDraft]:
    if sum(value is not None for value in values) < 2:
        notes.append(ONE_ALONE)
        return ()
    return ranked_comparisons(values, options, lower_is_better=lower_is_better)


LABEL_NUMBER = (
    "a model's pick is the number of a label, whose name this form of export leaves out; Parquet has it"
)
ONE_ALONE = "an answer that rates or ranks fewer than two answers is no vote"


def _sided(outcome: str, count: int) -> Sequence[ComparisonDraft]:
    """The pairs of one choice. Of more than two answers, the chosen one is better than each other."""
    if outcome in ("a", "b"):
        outcome = str("ab".index(outcome))
    if not outcome.isdecimal():
        label = (JudgmentDraft(outcome),)
        return [ComparisonDraft(i, j, label) for i in range(count) for j in range(i + 1, count)]
    best = int(outcome)
    return (
        [ComparisonDraft(best, other, (JudgmentDraft("a"),)) for other in range(count) if other != best]
        if best < count
        else ()
    )


def name_as_text(value: object, column: str) -> str:
    """A person's number, email or id. Raises BadRow."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise BadRow(column, "not_an_id", f"{column} should name a person by a number or a text", value)
    # A data frame with an empty cell writes the number 2 as 2.0.
    return re.sub(r"^(\d+)\.0$", r"\1", str(value))[:MAX_NAME]
