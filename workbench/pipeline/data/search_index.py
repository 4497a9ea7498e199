"""The search index: one document for each Prompt, with the words of its messages and of its Completions.

A document is a list of words (pipeline.text.words) with a border before each text, so that no phrase crosses
from one text into the next. The border is a word of its own that names the Dataset; no text contains it. A
long document is several parts, each marked as such.

New Prompts get their documents after the transaction that stores them, by a worker, in short transactions: an
import of long texts is done in less than half of the time on PostgreSQL, and in three quarters on SQLite.
`Dataset.indexed_to` says how far the index has come. A search looks through the few Prompts after it itself.

The databases only keep and find words; they take no text apart, so both find the same:

- SQLite: the words with blanks between, which triggers copy to an external-content table of FTS5.
- PostgreSQL: a `tsvector` with a GIN index. A phrase needs the positions in every document that has all its
  words, which takes seconds for "of the". So two short words that follow each other are a word as well."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, groupby, islice, pairwise
from operator import itemgetter
from struct import pack

import orjson
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from workbench.db.bulk import RowValues, in_chunks, insert
from workbench.models import Completion, Dataset, Prompt, SearchDocument, SearchWord
from workbench.models.dataset import MessagesText
from workbench.pipeline.text.words import word_lists

CHUNK = 500
"""Prompts of one statement."""

CHUNK_CHARACTERS = 2_000_000
"""Characters after which a chunk is written, however few Prompts they are of."""

STEP = 200
"""Prompts of one transaction of a worker: a tenth of a second."""

PAUSE = 0.02
"""Seconds between two transactions on SQLite, where whoever waits to write looks again from time to time."""

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


def index_new(dataset: int, last_prompt: int = 0) -> Iterator[int]:
    """Write the documents of Prompts that are newer than this key. Yields the number of Prompts of each
    step."""
    while chunk := _after(dataset, last_prompt, CHUNK):
        _write(dataset, chunk)
        last_prompt = chunk[-1]
        yield len(chunk)


def index_grown(dataset: int, last_prompt: int, last_completion: int) -> Iterator[int]:
    """Write the documents anew of Prompts that have a Completion after `last_completion`, and leave those
    after `last_prompt` to `index_some`. For the transaction that adds the texts, which has locked the
    Dataset. Yields the number of Prompts of each step."""
    rows = Dataset.objects.filter(pk=dataset)
    rows.filter(indexed_to=None).update(indexed_to=last_prompt)
    indexed_to = rows.values_list("indexed_to", flat=True).get()
    grown = Completion.objects.filter(prompt__dataset=dataset, pk__gt=last_completion, prompt__lte=indexed_to)
    for chunk in in_chunks(list(grown.order_by("prompt").values_list("prompt", flat=True).distinct()), CHUNK):
        _write_anew(dataset, chunk)
        yield len(chunk)


@transaction.atomic
def index_some(dataset: int) -> bool:
    """Write the documents of the next Prompts that wait for them, in a short transaction; False where none
    waits. Imports into the Dataset wait meanwhile, and nobody else does on PostgreSQL."""
    rows = Dataset.objects.filter(pk=dataset)
    indexed_to = rows.select_for_update(no_key=True).values_list("indexed_to", flat=True).first()
    if indexed_to is None:
        return False
    chunk = _after(dataset, indexed_to, STEP)
    if chunk:
        _write_anew(dataset, chunk)  # an act that was undone may have written some
    # Nobody adds prompts meanwhile: imports wait for the lock.
    is_last = len(chunk) < STEP
    rows.update(indexed_to=None if is_last else chunk[-1], indexed_at=timezone.now())
    return not is_last


def index_waiting(dataset: int, go_on: Callable[[], bool] = lambda: True) -> bool:
    """Write the documents of all Prompts that wait for them; False where `go_on` said to stop before."""
    while index_some(dataset):
        if not go_on():
            return False
        if connection.vendor == "sqlite":
            time.sleep(PAUSE)
    return True


def waiting(dataset: int, using: str) -> QuerySet[Prompt]:
    """The Prompts whose texts the index does not have yet."""
    indexed_to = Dataset.objects.using(using).values_list("indexed_to", flat=True).filter(pk=dataset).first()
    prompts = Prompt.objects.using(using).filter(dataset=dataset)
    return prompts.none() if indexed_to is None else prompts.filter(pk__gt=indexed_to)


def _after(dataset: int, prompt: int, most: int) -> list[int]:
    newer = Prompt.objects.filter(dataset=dataset, pk__gt=prompt).order_by("pk")
    return list(newer.values_list("pk", flat=True)[:most])


@transaction.atomic
def reindex(dataset: Dataset, prompts: Collection[int]) -> None:
    """Write the documents of these Prompts anew."""
    _write_anew(dataset.pk, sorted(prompts))


def _write_anew(dataset: int, prompts: Sequence[int]) -> None:
    SearchDocument.objects.filter(prompt__in=prompts).delete()
    _write(dataset, prompts)


def _write(dataset: int, prompts: Sequence[int]) -> None:
    """Write the documents of Prompts that have none, and the words that the Dataset did not have."""
    mark, found = border(dataset), set[str]()
    rows: list[RowValues] = []
    characters = 0
    for prompt, texts in texts_of(prompts):
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


def texts_of(prompts: Sequence[int], using: str = DEFAULT_DB_ALIAS) -> Iterator[tuple[int, list[str]]]:
    """Each of these Prompts (sorted) with its texts. Read a few at a time, as each may be megabytes."""
    reading = Coalesce("reading", MessagesText("messages"))
    if prompts and prompts[-1] - prompts[0] == len(prompts) - 1:
        # As in an import. Django looks at each key of a list, which takes longer than reading the texts.
        first, last = prompts[0], prompts[-1]
        stored = Prompt.objects.filter(pk__gte=first, pk__lte=last)
        answers = Completion.objects.filter(prompt__gte=first, prompt__lte=last)
    else:
        stored, answers = Prompt.objects.filter(pk__in=prompts), Completion.objects.filter(prompt__in=prompts)
    messages = stored.using(using).order_by("pk").values_list("pk", reading)
    answers = answers.using(using).order_by("prompt_id", "pk")
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
