"""Search by words in the Prompts of a Dataset and their Completions.

A query is words, all of which a Prompt or its Completions must have; `"a phrase"`, `word*` for words that
begin so, and `-word` for Prompts without it. Everything else is text. Case and accents do not matter.

The index lacks the newest Prompts for a while after an import. A few of them are looked through here; of more
than that, a search says how many it left out."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from django.db import DEFAULT_DB_ALIAS, connection, connections

from workbench.models import Dataset, SearchDocument, SearchWord
from workbench.pipeline.data import search_index
from workbench.pipeline.data.search_index import LONG, SHORT, border, joined_words
from workbench.pipeline.text.words import placed_words, words

MOST_TERMS = 40
MOST_WORDS_OF_A_PHRASE = 50
INSTEAD = 20
"""Words that are looked for in the place of one that is nowhere."""

LOOKED_THROUGH = 200
"""Prompts that are not in the index yet and are looked through by a search."""

MOST_CHARACTERS = 500_000
"""Characters of their texts, at most: their words are in memory."""

Keys: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"


class BadQuery(ValueError):
    """A query that cannot be answered, with a sentence for people."""


class NotYet(BadQuery):
    """Not all Prompts can be searched yet, and the caller needs all of them."""


@dataclass(frozen=True)
class Term:
    """One part of a query: a Prompt must have one of the `phrases`, or none of them where it is `left_out`.
    The last word of each phrase may be a beginning only (`is_prefix`). `said`: the part as typed."""

    said: str
    phrases: tuple[tuple[str, ...], ...]
    is_prefix: bool = False
    left_out: bool = False


@dataclass(frozen=True)
class Query:
    """A query that was read."""

    terms: tuple[Term, ...]

    @property
    def wanted(self) -> list[Term]:
        return [term for term in self.terms if not term.left_out]

    @property
    def left_out(self) -> list[Term]:
        return [term for term in self.terms if term.left_out]


_PART = re.compile(r'(-?)"([^"]*)(?:"(\*?)|$)|(\S+)')


def parse(text: str) -> Query:
    """Read a query. Raises BadQuery with a sentence that names the place."""
    terms = []
    for found in _PART.finditer(text):
        minus, quoted, star, bare = found.groups()
        said = found[0]
        if bare is not None:
            quoted, minus, star = bare.lstrip("-"), bare[: bare.startswith("-")], bare[-1:]
        phrase = tuple(words(quoted))
        if len(phrase) > MOST_WORDS_OF_A_PHRASE:
            raise BadQuery(
                f"“{said[:40]}…” is too long: look for at most {MOST_WORDS_OF_A_PHRASE} words in a row."
            )
        if phrase:
            terms.append(Term(said, (phrase,), is_prefix=star == "*", left_out=bool(minus)))
    if not terms:
        raise BadQuery(
            f"“{text.strip()[:40]}” has no letter or digit to look for."
            if text.strip()
            else "Type a word to look for."
        )
    if len(terms) > MOST_TERMS:
        raise BadQuery(
            f"Look for at most {MOST_TERMS} words: “{terms[MOST_TERMS].said[:40]}” is one too many."
        )
    if all(term.left_out for term in terms):
        raise BadQuery(f"“{terms[0].said[:40]}” only leaves prompts out. Add a word to look for.")
    return Query(tuple(terms))


@dataclass(frozen=True)
class Found:
    """Primary keys of the matching Prompts, sorted, and the query as it was answered. `instead`: for each
    word that is nowhere, the words that were looked for in its place. `waiting`: how many new Prompts were
    left out, as they are not in the index yet."""

    keys: Keys
    query: Query
    instead: dict[str, tuple[str, ...]]
    waiting: int = 0


@dataclass(frozen=True)
class Newest:
    """Prompts that are not in the index yet. words: of each text of those that are looked through; left:
    how many others there are."""

    words: dict[int, list[list[str]]]
    left: int

    @classmethod
    def of(cls, dataset: int, using: str) -> "Newest":
        waiting = search_index.waiting(dataset, using)
        found: dict[int, list[list[str]]] = {}
        characters = 0
        for prompt, texts in search_index.texts_of(
            list(waiting.order_by("pk").values_list("pk", flat=True)[:LOOKED_THROUGH]), using
        ):
            characters += sum(map(len, texts))
            if characters > MOST_CHARACTERS:
                break
            found[prompt] = [words(text) for text in texts]
        left = waiting.count() - len(found) if found or characters else 0
        return cls(found, max(left, 0))

    def matching(self, query: Query) -> Keys:
        """Those that are looked through and match, sorted."""
        keys = [
            prompt
            for prompt, texts in self.words.items()
            if all(_has(term, texts) for term in query.wanted)
            and not any(_has(term, texts) for term in query.left_out)
        ]
        return np.array(keys, np.int64)


def matching(dataset: Dataset, query: str) -> Keys:
    """Primary keys of the Prompts that match the query, sorted. Raises BadQuery."""
    return find(dataset, query).keys


def find(dataset: Dataset, query: str, using: str = DEFAULT_DB_ALIAS, *, needs_all: bool = False) -> Found:
    """Look for the query, and where nothing matches, for words like those that are nowhere; `using`: the
    connection that reads. Raises BadQuery; with `needs_all`, NotYet where new Prompts would be left out."""
    asked = parse(query)
    # Before the index is read: a worker may move them there meanwhile, and then they are found twice.
    newest = Newest.of(dataset.pk, using)
    if newest.left and needs_all:
        raise NotYet(
            f"{newest.left:,} new prompt{'s' * (newest.left != 1)} can't be searched yet. "
            "Try again in a minute or two."
        )

    def look_for(query: Query) -> Keys:
        keys, new = _matching(dataset.pk, query, using), newest.matching(query)
        return np.union1d(keys, new) if len(new) else keys  # union1d sorts

    keys = look_for(asked)
    if len(keys):
        return Found(keys, asked, {}, newest.left)
    terms: list[Term] = []
    instead: dict[str, tuple[str, ...]] = {}
    for term in asked.terms:
        (phrase,) = term.phrases
        near: tuple[str, ...] = ()
        if not term.left_out and len(phrase) == 1 and not len(look_for(Query((term,)))):
            near = near_words(dataset.pk, phrase[0], using)
        if near:
            instead[phrase[0]] = near
        terms.append(
            replace(term, phrases=tuple((word,) for word in near), is_prefix=False) if near else term
        )
    if not instead:
        return Found(keys, asked, {}, newest.left)
    answered = Query(tuple(terms))
    return Found(look_for(answered), answered, instead, newest.left)


def _matching(dataset: int, query: Query, using: str) -> Keys:
    wanted, left_out = query.wanted, query.left_out
    if len(wanted) == 1 and not left_out:
        return _keys(dataset, _any(wanted[0]), using)
    all_of = _and([_any(term) for term in wanted])
    if left_out:
        all_of = _but_not(all_of, _or([_any(term) for term in left_out]))
    # Not whether there is one long document, by LIMIT 1: PostgreSQL then reads them all.
    short, are_long = _all_keys(dataset, [_but_not(all_of, _phrase((LONG,))), _phrase((LONG,))], using)
    if not len(are_long):
        return short
    # The words of a long document may be in different parts.
    among_long = _all_keys(dataset, [_and([_phrase((LONG,)), _any(term)]) for term in query.terms], using)
    long = reduce(
        np.intersect1d,
        [keys for keys, term in zip(among_long, query.terms, strict=True) if not term.left_out],
    )
    for keys, term in zip(among_long, query.terms, strict=True):
        if term.left_out:
            long = np.setdiff1d(long, keys, assume_unique=True)
    return np.union1d(short, long)


def _any(term: Term) -> str:
    return _or([_phrase(phrase, term.is_prefix) for phrase in term.phrases])


def _phrase(phrase: Sequence[str], is_prefix: bool = False) -> str:
    """A phrase as the database writes it. Words are letters and digits, so nothing in them is an operator."""
    if connection.vendor == "sqlite":
        return f'"{" ".join(phrase)}"' + (" *" if is_prefix else "")
    # Short words that follow each other are a word of their own: see search_index.
    last = len(phrase) - 2 if is_prefix else len(phrase)
    joined = [
        f"'{joined_words(a, b)}'"
        for place, (a, b) in enumerate(pairwise(phrase))
        if len(a) + len(b) <= SHORT and place < last
    ]
    if len(phrase) == 2 and joined:
        return joined[0]
    return _and([*joined, " <-> ".join(f"'{word}'" for word in phrase) + (":*" if is_prefix else "")])


def _and(parts: Sequence[str]) -> str:
    return _between(parts, " AND " if connection.vendor == "sqlite" else " & ")


def _or(parts: Sequence[str]) -> str:
    return _between(parts, " OR " if connection.vendor == "sqlite" else " | ")


def _between(parts: Sequence[str], operator: str) -> str:
    return operator.join(f"({part})" for part in parts) if len(parts) > 1 else parts[0]


def _but_not(part: str, other: str) -> str:
    return f"({part}) NOT ({other})" if connection.vendor == "sqlite" else f"({part}) & !({other})"


def _keys(dataset: int, expression: str, using: str) -> Keys:
    """Primary keys of the Prompts with a part that matches."""
    return _all_keys(dataset, [expression], using)[0]


def _all_keys(dataset: int, expressions: Sequence[str], using: str) -> list[Keys]:
    """The same for several expressions, in one query. As texts: a row for each of 200,000 Prompts takes the
    drivers longer than finding them."""
    mark = _phrase((border(dataset),))
    each = f"workbench_prompts_with(%s::tsquery, {SearchDocument.PART_BITS})"
    if connection.vendor == "sqlite":
        keys = f"group_concat(rowid >> {SearchDocument.PART_BITS})"
        found = "workbench_searchindex WHERE workbench_searchindex MATCH %s"
        each = f"(SELECT {keys} FROM {found})"  # noqa: S608
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join([each] * len(expressions))}",
            [_and([mark, expression]) for expression in expressions],
        )
        return [_as_keys(text) for text in cursor.fetchone()]


def _as_keys(text: str | None) -> Keys:
    # Mostly sorted already. np.unique would take ten times as long.
    found = np.sort(np.fromstring(text or "", dtype=np.int64, sep=","), kind="stable")
    return found[np.diff(found, prepend=-1) > 0]


def near_words(dataset: int, word: str, using: str = DEFAULT_DB_ALIAS) -> tuple[str, ...]:
    """Words of the Dataset that contain this one, or where there are none, those that are a typing error
    away; the nearest first."""
    of = SearchWord.objects.using(using).filter(dataset=dataset)
    if len(word) < 3:
        return ()
    parts = sorted(of.filter(word__contains=word).values_list("word", flat=True), key=lambda w: (len(w), w))
    if parts:
        return tuple(parts[:INSTEAD])
    allowed = 1 if len(word) < 8 else 2
    near = [
        (apart, other)
        for other in of.filter(word__startswith=word[0]).values_list("word", flat=True)
        if (apart := _errors(word, other, allowed)) <= allowed
    ]
    return tuple(other for _, other in sorted(near)[:INSTEAD])


def _errors(a: str, b: str, allowed: int) -> int:
    """How many letters were left out, added, changed or swapped with the next (optimal string alignment);
    more than `allowed` where there are more."""
    if abs(len(a) - len(b)) > allowed:
        return allowed + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        two_before, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                least = min(least, two_before[j - 2] + 1)
            row.append(least)
        if min(row) > allowed:
            return allowed + 1
    return row[-1]


@dataclass(frozen=True)
class Fragment:
    """A piece of a text, and whether it matches the query."""

    text: str
    is_match: bool


def highlighted(text: str, query: str | Query) -> list[Fragment]:
    """The whole text, in pieces."""
    return _cut(text, _matches(text, query), 0, len(text))


def excerpt(text: str, query: str | Query, length: int = 240) -> list[Fragment]:
    """About `length` characters of the text round the first match, in pieces."""
    spans = _matches(text, query)
    first = spans[0][0] if spans else 0
    start = 0 if first < length // 2 else first - length // 4
    start = max(0, min(start, len(text) - length))
    end = min(len(text), start + length)
    pieces = _cut(text, spans, start, end)
    before = [Fragment("… ", is_match=False)] if start else []
    after = [Fragment(" …", is_match=False)] if end < len(text) else []
    return [*before, *pieces, *after]


def has_match(text: str, query: str | Query) -> bool:
    return bool(_matches(text, query))


def _cut(text: str, spans: Sequence[tuple[int, int]], start: int, end: int) -> list[Fragment]:
    pieces, at = [], start
    for a, b in spans:
        if b <= at or a >= end:
            continue
        a, b = max(a, at), min(b, end)
        pieces += [Fragment(text[at:a], is_match=False), Fragment(text[a:b], is_match=True)]
        at = b
    return [piece for piece in [*pieces, Fragment(text[at:end], is_match=False)] if piece.text]


def _matches(text: str, query: str | Query) -> list[tuple[int, int]]:
    """(start, end) of the places that match, in order, none inside another."""
    if isinstance(query, str):
        try:
            query = parse(query)
        except BadQuery:
            return []
    placed = list(placed_words(text))
    found = [word for word, _, _ in placed]
    places = _places(found)
    spans = []
    for term in query.wanted:
        for phrase in term.phrases:
            spans += [
                (placed[at][1], placed[at + len(phrase) - 1][2])
                for at in _starts(phrase, term.is_prefix, places)
                if _is_at(phrase, term.is_prefix, found, at)
            ]
    return list(_merged(sorted(spans)))


def _has(term: Term, texts: Sequence[Sequence[str]]) -> bool:
    """Whether one of the texts, as its words, has the term."""
    for found in texts:
        places = _places(found)
        for phrase in term.phrases:
            starts = _starts(phrase, term.is_prefix, places)
            if any(_is_at(phrase, term.is_prefix, found, at) for at in starts):
                return True
    return False


def _places(found: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for at, word in enumerate(found):
        places.setdefault(word, []).append(at)
    return places


def _starts(phrase: Sequence[str], is_prefix: bool, places: dict[str, list[int]]) -> list[int]:
    """Where the first word of the phrase is."""
    if len(phrase) > 1 or not is_prefix:
        return places.get(phrase[0], [])
    return [at for word, places_of in places.items() if word.startswith(phrase[0]) for at in places_of]


def _is_at(phrase: Sequence[str], is_prefix: bool, found: Sequence[str], at: int) -> bool:
    there = found[at : at + len(phrase)]
    if len(there) < len(phrase) or there[:-1] != list(phrase[:-1]):
        return False
    return there[-1].startswith(phrase[-1]) if is_prefix else there[-1] == phrase[-1]


def _merged(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last: tuple[int, int] | None = None
    for start, end in spans:
        if last and start <= last[1]:
            last = (last[0], max(last[1], end))
            continue
        if last:
            yield last
        last = (start, end)
    if last:
        yield last
