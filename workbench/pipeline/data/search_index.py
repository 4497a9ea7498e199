"""The search index: one document for each Prompt, with the words of its messages and of its Completions.

A document is a list of words (pipeline.text.words) with a border before each text, so that no phrase crosses
from one text into the next. The border is a word of its own that names the Dataset; no text contains it. A
long document is several parts, each marked as such.

The databases only keep and find words; they take no text apart, so both find the same:

- SQLite: the words with blanks between, which triggers copy to an external-content table of FTS5.
- PostgreSQL: a `tsvector` with a GIN index. A phrase needs the positions in every document that has all its
  words, which takes seconds for "of the". So two short words that follow each other are a word as well."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, groupby, islice, pairwise
from operator import itemgetter
from struct import pack

import orjson
from django.db import connection, transaction
from django.db.models.functions import Coalesce

from workbench.db.bulk import RowValues, in_chunks, insert
from workbench.models import Completion, Dataset, Prompt, SearchDocument, SearchWord
from workbench.models.dataset import MessagesText
from workbench.pipeline.text.words import word_lists

CHUNK = 500
"""Prompts of one statement."""

CHUNK_CHARACTERS = 2_000_000
"""Characters after which a chunk is written, however few Prompts they are of."""

READ = 10
"""Texts that are read at a time."""

PART_WORDS = 16_000
"""Words of a part. The positions of a tsvector end at 16,383."""

MOST_OF_A_WORD = 255
"""A tsvector keeps at most 256 positions of one word."""

SHARED = 50
"""Words that a part repeats of the part before: the longest phrase that is found everywhere."""

SHORT = 9
"""Letters of two short words together. The commonest words of most languages are short."""

WORTH_FINDING = (3, 30)
"""Letters of a word that is offered where a search finds nothing."""

LONG = "\ue000long"
JOINED = "\ue001"


def border(dataset: int) -> str:
    """The word before each text of the Dataset."""
    return f"\ue000data{dataset}"


def joined_words(a: str, b: str) -> str:
    """The word for two that follow each other. It begins as no other word does: else "th*" would find it,
    which has no position for a phrase."""
    return f"{JOINED}{a}{JOINED}{b}"


def index_new(dataset: int, last_prompt: int = 0, last_completion: int = 0) -> Iterator[int]:
    """Write the documents of Prompts that are newer than these keys, or have a newer Completion. Yields the
    number of Prompts of each step. For the transaction that adds the texts."""
    grown = Completion.objects.filter(
        prompt__dataset=dataset, pk__gt=last_completion, prompt__lte=last_prompt
    )
    for chunk in in_chunks(list(grown.order_by("prompt").values_list("prompt", flat=True).distinct()), CHUNK):
        SearchDocument.objects.filter(prompt__in=chunk).delete()
        _write(dataset, chunk)
        yield len(chunk)
    new = Prompt.objects.filter(dataset=dataset).order_by("pk").values_list("pk", flat=True)
    while chunk := list(new.filter(pk__gt=last_prompt)[:CHUNK]):
        _write(dataset, chunk)
        last_prompt = chunk[-1]
        yield len(chunk)


@transaction.atomic
def reindex(dataset: Dataset, prompts: Collection[int]) -> None:
    """Write the documents of these Prompts anew."""
    SearchDocument.objects.filter(prompt__in=prompts).delete()
    _write(dataset.pk, sorted(prompts))


def _write(dataset: int, prompts: Sequence[int]) -> None:
    """Write the documents of Prompts that have none, and the words that the Dataset did not have."""
    mark, found = border(dataset), set[str]()
    rows: list[RowValues] = []
    characters = 0
    for prompt, texts in _texts(prompts):
        stream = chain.from_iterable(chain.from_iterable(chain([[mark]], word_lists(text)) for text in texts))
        for number, part in enumerate(_parts(stream, mark)):
            key = (prompt << SearchDocument.PART_BITS) + number
            rows.append((key, prompt, _document(part)))
            found.update(part)
        characters += sum(map(len, texts))
        if characters > CHUNK_CHARACTERS:
            insert(SearchDocument, _COLUMNS, rows, binary=_BINARY)
            rows, characters = [], 0
    insert(SearchDocument, _COLUMNS, rows, binary=_BINARY)
    _add_words(dataset, found)


_COLUMNS = ("id", "prompt_id", "document")
_BINARY = ("int8", "int8", "bytea")  # a document as it is


def _texts(prompts: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    """Each of these Prompts (sorted) with its texts. Read a few at a time, as each may be megabytes."""
    reading = Coalesce("reading", MessagesText("messages"))
    if prompts and prompts[-1] - prompts[0] == len(prompts) - 1:
        # As in an import. Django looks at each key of a list, which takes longer than reading the texts.
        first, last = prompts[0], prompts[-1]
        stored = Prompt.objects.filter(pk__gte=first, pk__lte=last)
        answers = Completion.objects.filter(prompt__gte=first, prompt__lte=last)
    else:
        stored, answers = Prompt.objects.filter(pk__in=prompts), Completion.objects.filter(prompt__in=prompts)
    messages = stored.order_by("pk").values_list("pk", reading)
    answers = answers.order_by("prompt_id", "pk")
    by_prompt = groupby(answers.values_list("prompt_id", "text").iterator(READ), key=itemgetter(0))
    key, group = next(by_prompt, (None, iter(())))
    for prompt, text in messages.iterator(READ):
        texts = (text or "").split("\x1e")
        if key == prompt:
            texts += [answer for _, answer in group]
            key, group = next(by_prompt, (None, iter(())))
        yield prompt, texts


def _parts(stream: Iterator[str], mark: str) -> Iterator[list[str]]:
    """The words of a document, in one part or in several that overlap. Of a text of megabytes no more words
    are held than a part has."""
    ahead = list(islice(stream, PART_WORDS + 1))
    if _fitting(ahead) == len(ahead):
        yield ahead
        return
    while True:
        part = ahead[: _fitting(ahead)]
        yield [LONG, mark, *part]
        ahead = ahead[len(part) - SHARED :]
        ahead += islice(stream, PART_WORDS - len(ahead))
        if len(ahead) <= SHARED:
            return


def _fitting(found: list[str]) -> int:
    """How many of these words a part takes from the first on."""
    if len(found) <= MOST_OF_A_WORD:
        return len(found)
    if max(Counter(found[:PART_WORDS]).values()) <= MOST_OF_A_WORD:  # nearly always, and counted in C
        return min(len(found), PART_WORDS)
    seen: Counter[str] = Counter()
    for number, word in enumerate(found[:PART_WORDS]):
        seen[word] += 1
        if seen[word] > MOST_OF_A_WORD:
            return number
    return min(len(found), PART_WORDS)


def _document(part: Sequence[str]) -> str | bytes:
    """The words as the database takes them."""
    return " ".join(part) if connection.vendor == "sqlite" else tsvector(part)


def tsvector(part: Sequence[str]) -> bytes:
    """The words with their positions, and words for two short ones, in PostgreSQL's binary form: how many
    there are, then each in UTF-8 with a NUL, the number of its positions, and these, all big-endian. The
    server takes four times as long to read it as text."""
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, word in enumerate(part, start=1):
        positions[word].append(position)
    joined = {joined_words(a, b) for a, b in pairwise(part) if len(a) + len(b) <= SHORT}
    written = [pack(">i", len(positions) + len(joined)), "\0\0\0".join([*joined, ""]).encode()]
    written += [word.encode() + _positions(found) for word, found in positions.items()]
    return b"".join(written)


def _positions(found: Sequence[int]) -> bytes:
    """The end of a word in the form of `tsvector`."""
    if len(found) == 1:
        return b"\0\0\1" + found[0].to_bytes(2, "big")  # most words, and twice as fast
    return pack(f">xH{len(found)}H", len(found), *found)


def _add_words(dataset: int, found: Collection[str]) -> None:
    chosen = [word for word in found if WORTH_FINDING[0] <= len(word) <= WORTH_FINDING[1] and word.isalpha()]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            given = "SELECT %s, value FROM json_array_elements_text(%s::json)"
        else:
            given = "SELECT %s, value FROM json_each(%s)"
        table = SearchWord._meta.db_table
        # Where the words are many, most are stored already.
        cursor.execute(
            f"INSERT INTO {table} (dataset_id, word) {given} WHERE true ON CONFLICT DO NOTHING",
            [dataset, orjson.dumps(sorted(chosen)).decode()],
        )
