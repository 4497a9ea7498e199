"""The column mapping of a table, guessed by the names of its columns."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from scoring.rows.rows import Values
from scoring.rows.shapes.mapped import KINDS, OPTIONAL, belongs

MOST_PATHS = 200
"""At most so many paths of a table are offered for a mapping: a file may have a thousand columns."""
LISTED_ITEMS = 4
_DEEPEST = 3
_NEAR = 0.8
_LONGEST_NAME = 60

_SIDES = "answer|response|completion|output|reply|text|candidate|option|generation"
_FIRST, _SECOND = ("a", "1", "one", "first", "left"), ("b", "2", "two", "second", "right")


def _sided(nouns: str, sides: Sequence[str]) -> str:
    """Each noun with each side before and after it, as in "answera" and "lefttext"."""
    return "|".join(
        name for noun in nouns.split("|") for side in sides for name in (noun + side, side + noun)
    )


def _better(adjectives: str) -> str:
    """The adjectives, alone and with each noun for an answer, as in "chosen" and "chosenresponse"."""
    nouns = ["", *_SIDES.split("|")]
    return "|".join(adjective + noun for adjective in adjectives.split("|") for noun in nouns)


_SPELLINGS = {
    "prompt": "prompt|question|instruction|query|input|request|task|userprompt|usermessage|userinput",
    "system": "system|systemprompt|systemmessage|systeminstruction|sysprompt",
    "chosen": _better("chosen|preferred|prefered|better|best|good|accepted|winning"),
    "rejected": _better("rejected|dispreferred|worse|worst|bad|losing"),
    "a": "a|left|" + _sided(_SIDES, _FIRST),
    "b": "b|right|" + _sided(_SIDES, _SECOND),
    "outcome": "outcome|label|winner|preference|choice|verdict|vote|judgment|judgement|humanpreference",
    "score_a": _sided("score|rating|reward|points", _FIRST),
    "score_b": _sided("score|rating|reward|points", _SECOND),
    "completion": "completion|answer|response|output|reply|generation|generatedtext|modeloutput",
    "score": "score|rating|reward|points|grade",
    "rank": "rank|ranking|place",
    "source": "source|model|modelname|modelid|generator|generatedby",
    "source_a": "chosenmodel|modelchosen|chosensource|" + _sided("model|source|modelname", _FIRST),
    "source_b": "rejectedmodel|modelrejected|rejectedsource|" + _sided("model|source|modelname", _SECOND),
    "annotator": "annotator|annotatorid|annotatedby|labeller|labeler|rater|worker|workerid|judge|reviewer",
    "strength": "strength|preferencestrength",
    "comment": "comment|comments|note|notes|reason|rationale|explanation|feedback|remark",
    "id": "id|rowid|pairid|exampleid|recordid|uuid",
    "prompt_id": "promptid|questionid|instructionid|queryid|taskid",
}
"""The spellings of each word, without capitals, spaces and underscores. Not of current and time: they take
votes away, so nobody should have them by a guess."""

_WORDS = {
    spelling: word for word, spellings in reversed(_SPELLINGS.items()) for spelling in spellings.split("|")
}
"""The word of each spelling. Of two words with one spelling, the first counts."""

_FILLER = frozenset(
    ("the", "of", "text", "column", "field", "value", "content", "string", "full", "original")
)
_TOKEN = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])|\d+|[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Guess:
    """The word of a column mapping that a column's name stands for. Not `sure`: only a like name does."""

    word: str
    sure: bool


def guess(paths: Sequence[str], named: Mapping[str, str] | None = None) -> dict[str, Guess]:
    """A guess for each path (see mapped) whose name says what it holds, by path.

    `named`: a part of the mapping that is certain, word -> path; only further words and paths are guessed. No
    word is guessed twice: a sure guess comes before one that is not, then the order of `paths` decides. If
    the guesses make a mapping, the words that it could not use are left out.
    """
    named = named or {}
    by_word = {word: (path, Guess(word, sure=True)) for word, path in named.items()}
    for path in paths[:MOST_PATHS]:
        one = None if path in named.values() else _guess_of(path)
        if one and (one.word not in by_word or (one.sure and not by_word[one.word][1].sure)):
            by_word[one.word] = path, one
    kinds = [kind for kind in KINDS if by_word.keys() >= set(kind)]
    # Sure guesses make the better kind: "answer" beside "chosen" and "rejected" is not one answer a row.
    kinds.sort(key=lambda kind: (named.keys().isdisjoint(kind), not all(by_word[w][1].sure for w in kind)))
    for word in list(by_word):
        lacks_other = word in OPTIONAL and OPTIONAL[word] not in by_word
        if lacks_other or (kinds and not belongs(word, kinds[0])):
            del by_word[word]
    order = {path: n for n, path in enumerate(paths)}
    guessed = [pair for word, pair in by_word.items() if word not in named]
    return dict(sorted(guessed, key=lambda pair: order[pair[0]]))


def as_mapping(guesses: Mapping[str, Guess]) -> dict[str, str]:
    """The guesses as a column mapping, word -> path."""
    return {one.word: path for path, one in guesses.items()}


def is_whole(mapping: Mapping[str, str]) -> bool:
    """True if the mapping has a prompt and answers, and may be tried on a table."""
    return "prompt" in mapping and any(mapping.keys() >= set(kind) for kind in KINDS)


def _guess_of(path: str) -> Guess | None:
    """The guess by the last name of a path: "question.text" is the text of a question."""
    name = unicodedata.normalize("NFKC", path)[-_LONGEST_NAME:]
    tokens = [token.casefold() for token in _TOKEN.findall(name)]
    if word := _WORDS.get("".join(tokens)):
        return Guess(word, sure=True)
    spelled = "".join(token for token in tokens if token not in _FILLER)
    if word := _WORDS.get(spelled):
        return Guess(word, sure=False)
    close = get_close_matches("".join(tokens), _LONG_SPELLINGS, 1, _NEAR)
    return Guess(_WORDS[close[0]], sure=False) if close else None


_LONG_SPELLINGS = [spelling for spelling in _WORDS if len(spelling) > 4]
"""Of short names nearly every other is a near one."""


def paths_of(rows: Iterable[Values]) -> tuple[str, ...]:
    """The columns of the rows, each followed by the paths into its objects and short lists, at most 200.

    A list of messages has no paths of its own: it is read as a whole.
    """
    paths: dict[str, None] = {}
    columns: dict[str, list[object]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    for name, values in columns.items():
        paths[name] = None
        for value in values:
            paths.update(dict.fromkeys(islice(_inside(name, value, _DEEPEST), MOST_PATHS)))
        if len(paths) >= MOST_PATHS:
            break
    return tuple(paths)[:MOST_PATHS]


def _inside(path: str, value: object, depth: int) -> Iterator[str]:
    """The paths below a value, at most `depth` steps."""
    inner: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict) and value.keys().isdisjoint(("role", "from")):
        inner = value.items()
    elif isinstance(value, list) and len(value) <= LISTED_ITEMS and not _is_message(value):
        inner = enumerate(value)
    for step, item in inner if depth else ():
        yield f"{path}.{step}"
        yield from _inside(f"{path}.{step}", item, depth - 1)


def _is_message(value: list[object]) -> bool:
    return any(isinstance(item, dict) and not item.keys().isdisjoint(("role", "from")) for item in value)


def value_at(row: Values, path: str) -> object:
    """The value of a row at a path, None without one."""
    if path in row:
        return row[path]
    value: object = row
    for step in path.split("."):
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value
