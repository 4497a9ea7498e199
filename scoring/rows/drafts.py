"""Drafts: the Prompt, Completions, Comparisons and Judgments of a row in a file."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from scoring.messages import (
    Message,
    answer_digest,
    answer_reading,
    is_text_alone,
    message_reading,
    messages_digest,
)
from scoring.rows.conversations import is_result, message_of
from scoring.rows.rows import BadRow, Values, kind_of

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

MAX_NAME = 200
"""Characters of an id or a source; the columns of the database hold no more."""


@dataclass(frozen=True, slots=True)
class JudgmentDraft:
    """One vote in a file.

    `outcome` is "a" for the Comparison's `first`, "b" for its `second`. `annotator` is the annotator's id in
    the file, "" for the file's own label. `earlier` are the annotator's votes that this one superseded,
    oldest first. `stands` is False for a vote that was withdrawn.
    """

    outcome: str
    annotator: str = ""
    strength: int | None = None
    comment: str = ""
    metadata: Values = field(default_factory=dict)
    earlier: "tuple[JudgmentDraft, ...]" = ()
    stands: bool = True


@dataclass(frozen=True, slots=True)
class CompletionDraft:
    """One answer. `messages` is None where the answer is one assistant message of `text`."""

    text: str
    source: str = ""
    metadata: Values = field(default_factory=dict)
    messages: list[Message] | None = None

    @classmethod
    def of(
        cls, messages: list[Message], source: str = "", metadata: Values | None = None
    ) -> "CompletionDraft":
        if is_text_alone(messages):
            return cls(messages[0]["content"], source, metadata or {})
        return cls(answer_reading(messages), source, metadata or {}, messages)

    @property
    def digest(self) -> str:
        """sha256 in hex: answers to one prompt with the same digest are the same answer."""
        return answer_digest(self.text) if self.messages is None else messages_digest(self.messages)


@dataclass(frozen=True, slots=True)
class ComparisonDraft:
    """Two of the Draft's completions, by index, in the order of the file."""

    first: int
    second: int
    judgments: tuple[JudgmentDraft, ...] = ()
    external_id: str = ""
    metadata: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """One Prompt with its completions, pairs and votes.

    `row_id` is the id that must be unique in the file, "" for none; `external_id` is the id of the Prompt,
    which rows may share. `tools` are the tools of the conversation, None for none; they belong to the
    identity of the Prompt. `notes` are sentences on odd values.
    """

    line: int
    messages: list[Message]
    completions: tuple[CompletionDraft, ...]
    comparisons: tuple[ComparisonDraft, ...]
    row_id: str = ""
    external_id: str = ""
    metadata: Values = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tools: Any = None


def text_of(values: Mapping[str, Any], column: str) -> str:
    """The text of a column. Raises BadRow if it is missing or not text: nothing is ever turned into text."""
    if column not in values:
        raise BadRow(column, "missing", f'the column "{column}" is missing')
    return as_text(values[column], column)


def as_text(value: object, column: str) -> str:
    """The value itself. Raises BadRow if it is not text."""
    if not isinstance(value, str):
        raise BadRow(column, "not_text", f"{column} should be text, not {kind_of(value)}", value)
    return value


def name_of(values: Mapping[str, Any], column: str) -> str:
    """An id or a source: text, or a whole number kept digit by digit; "" when missing or null."""
    value = values.get(column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRow(column, "not_an_id", f"{column} should be text or a number, not {kind_of(value)}", value)
    text = str(value)
    if len(text) > MAX_NAME:
        raise BadRow(column, "too_long", f"{column} is longer than {MAX_NAME} characters", text)
    return text


def number_of(values: Mapping[str, Any], column: str) -> float | None:
    """The column as a finite number, also from the text of a CSV cell; None when missing, null or empty."""
    value = values.get(column)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRow(column, "not_a_number", f"{column} should be a number, not {kind_of(value)}", value)
    return number


def whole_number_of(
    values: Mapping[str, Any], column: str, allowed: set[int], *, or_none: bool = False
) -> Any:
    """The column as one of the `allowed` whole numbers. With `or_none`, None for a missing number."""
    number = number_of(values, column)
    if number is None and or_none:
        return None
    if number not in allowed:
        allowed_values = ", ".join(map(str, sorted(allowed)))
        raise BadRow(
            column, "unknown_value", f"{column} should be one of {allowed_values}", values.get(column)
        )
    return int(number)


def truth_of(values: Values, column: str) -> bool:
    """A boolean, also as text or as 1 and 0. Raises BadRow for anything else."""
    value = values.get(column)
    truth = {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
    if truth is None:
        raise BadRow(column, "unknown_value", f"{column} should be true or false", value)
    return truth


def list_of(values: Mapping[str, Any], column: str) -> list[Any]:
    value = values.get(column)
    if not isinstance(value, list):
        raise BadRow(column, "not_a_list", f"{column} should be a list, not {kind_of(value)}", value)
    return value


def prompt_of(value: object, column: str) -> list[Message]:
    """A prompt as messages: text becomes one user message. Raises BadRow when there is nothing to answer."""
    if isinstance(value, list):
        messages = [message_of(message, column) for message in value]
    else:
        messages = [{"role": "user", "content": as_text(value, column)}]
    if not messages or (not is_result(messages[-1]) and not message_reading(messages[-1]).strip()):
        raise BadRow(column, "empty", f"{column} is empty or blank; there is nothing to answer", value)
    return messages


def instruction_of(values: Mapping[str, Any]) -> list[Message]:
    """The Alpaca form: an instruction and, after a blank line, the input it is about, if any."""
    parts = [text_of(values, "instruction")]
    if values.get("input"):
        parts.append(text_of(values, "input"))
    return prompt_of("\n\n".join(parts), "instruction")


OWN_FACTS = "import:"
TRANSCRIPT = f"{OWN_FACTS}transcript"
NO_BLANK_AFTER_ROLE = f"{OWN_FACTS}no_blank_after_role"
"""Keys of metadata by which a Release writes a text back as the file had it. No column may have such a
name."""
FILE_LICENCE = f"{OWN_FACTS}licence"
_TYPE_OF_FACT: dict[str, type] = {TRANSCRIPT: str, NO_BLANK_AFTER_ROLE: bool, FILE_LICENCE: str}


def own_facts(metadata: Values, column: str) -> Values:
    """The metadata of a Release. Raises BadRow for an "import:" key that no import writes."""
    for key, value in metadata.items():
        if key.startswith(OWN_FACTS) and type(value) is not _TYPE_OF_FACT.get(key):
            raise BadRow(
                column, "reserved_name", f'"{key}" in {column} is reserved for imports; rename it', value
            )
    return metadata


def leftovers(values: Mapping[str, Any], used: Iterable[str]) -> Values:
    """The columns that are not `used`, which become metadata. Raises BadRow for a reserved name."""
    used = set(used)
    unused = {key: value for key, value in values.items() if key not in used}
    for key in unused:
        if key.startswith(OWN_FACTS):
            message = f'names that begin with "{OWN_FACTS}" are reserved for imports; rename the column'
            raise BadRow(key, "reserved_name", message)
    return unused


def metadata_json(metadata: Values) -> str:
    """Metadata as the JSON text that is stored. Dates become ISO text; a NaN (Parquet's "missing") null."""
    if not metadata:
        return "{}"
    try:
        return _json(metadata)
    except (ValueError, TypeError):
        return _json(_storable(metadata))


def iso(value: object) -> str:
    """ISO 8601 for dates, times and durations, str for any other value."""
    if isinstance(value, timedelta):
        sign, size = ("-", -value) if value < timedelta(0) else ("", value)
        fraction = f".{size.microseconds:06}".rstrip("0") if size.microseconds else ""
        return f"{sign}P{size.days}DT{size.seconds}{fraction}S"
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


def _storable(value: object, column: str = "") -> object:
    if isinstance(value, dict):
        return {str(key): _storable(item, column or str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item, column) for item in value]
    if isinstance(value, datetime | date | time | timedelta | Decimal):
        return iso(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    message = f'the column "{column}" holds {kind_of(value)}, which can\'t be stored as metadata'
    raise BadRow(column, "not_storable", message, value)


TREES = (
    "tree", "message_tree_id", "tree_id", "conversation_id", "conversation_hash", "dialog_id", "dialogue_id",
    "thread_id",
)  # fmt: skip
"""Columns with the id of a conversation."""
_TREES = frozenset(TREES)


def tree_of(draft: Draft) -> str:
    """The id of the conversation in the file; "" for none."""
    for metadata in (draft.metadata, *(comparison.metadata for comparison in draft.comparisons)):
        if _TREES.isdisjoint(metadata):
            continue
        for name in TREES:
            value = metadata.get(name)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                return str(value)
    return ""


PAIRS_POLICIES = {
    "all": "every two answers of a prompt",
    "adjacent": "only neighbours in the ranking",
    "best-worst": "only the best against the worst",
}


@dataclass(frozen=True)
class ImportOptions:
    """Settings of one import. By default nothing is changed, and one bad row refuses the file."""

    format: str = "auto"  # name of a Shape, or "auto": recognised by the columns
    columns: Values = field(default_factory=dict)  # of any table, by word (see shapes.mapped); {} = a Shape
    lenient: bool = False  # keep the good rows and hand back the bad ones
    source: str = ""  # name of the source that imported labels are stored under; "" = the Shape's name
    licence: str = ""  # of the texts in the file; "" = that of the Dataset
    labels: bool = True  # False: ignore the labels in the file
    pairs: str = "all"  # which Comparisons rankings and ratings become: a key of PAIRS_POLICIES
    max_pairs: int = 64  # of one prompt; of more, this many are taken evenly
    minimum_gap: float = 0.0  # ratings closer than this make no Comparison
    formula_safe: bool = False  # CSV: take away the ' that keeps a spreadsheet from running a cell
    strip_citations: bool = False  # WebGPT: remove the [1][2] marks from answers
    near_duplicates: bool = True  # False: only prompts of equal text are grouped
    dry_run: bool = False  # report, and store nothing


def ranked_comparisons(
    values: Sequence[float | None], options: ImportOptions, *, lower_is_better: bool = False
) -> tuple[ComparisonDraft, ...]:
    """Comparisons of completions by rating, chosen by the pairs policy.

    `values`: the rating of each completion, or None. Equal ratings are a tie. If only some completions have a
    rating, the others are in no Comparison. Without any rating, Comparisons have no Judgment and the order of
    the file.
    """
    if all(value is None for value in values):
        pairs, left_out = policy_pairs(range(len(values)), options.pairs, options.max_pairs)
        return Comparisons((ComparisonDraft(i, j) for i, j in pairs), left_out)
    rated = {i: -value if lower_is_better else value for i, value in enumerate(values) if value is not None}
    best_first = sorted(rated, key=lambda i: -rated[i])
    pairs, left_out = policy_pairs(best_first, options.pairs, options.max_pairs)
    return Comparisons(
        (
            ComparisonDraft(i, j, (JudgmentDraft("tie" if rated[i] == rated[j] else "a"),))
            for i, j in pairs
            if rated[i] - rated[j] >= options.minimum_gap
        ),
        left_out,
    )


class Comparisons(tuple[ComparisonDraft, ...]):
    """Comparisons of one prompt; `left_out` counts the Comparisons beyond `max_pairs`."""

    left_out: int

    def __new__(cls, comparisons: Iterable[ComparisonDraft], left_out: int = 0) -> "Comparisons":
        instance = super().__new__(cls, comparisons)
        instance.left_out = left_out
        return instance


def evenly(total: int, limit: int) -> list[int]:
    """At most `limit` of the numbers below `total`, evenly spread."""
    return list(range(total)) if total <= limit else [n * total // limit for n in range(limit)]


def policy_pairs(order: Sequence[int], policy: str, most: int) -> tuple[list[tuple[int, int]], int]:
    """(pairs, number of pairs beyond `most`) of a ranking, best first, by a key of PAIRS_POLICIES."""
    size = len(order)
    if size < 2:
        return [], 0
    if policy == "best-worst":
        return [(order[0], order[-1])], 0
    if policy == "adjacent":
        chosen = evenly(size - 1, most)
        return [(order[n], order[n + 1]) for n in chosen], size - 1 - len(chosen)
    total = size * (size - 1) // 2
    chosen = evenly(total, most)
    return [(order[i], order[j]) for i, j in _pairs_at(chosen, size)], total - len(chosen)


def _pairs_at(places: Iterable[int], size: int) -> Iterator[tuple[int, int]]:
    """The pairs at these ascending places of itertools.combinations(range(size), 2)."""
    first, begins = 0, 0
    for place in places:
        while place >= begins + size - 1 - first:
            begins += size - 1 - first
            first += 1
        yield first, first + 1 + place - begins


def sided_comparisons(better: Sequence[int], worse: Sequence[int], options: ImportOptions) -> "Comparisons":
    """Each of `better` against each of `worse`, at most `max_pairs`, evenly."""
    total = len(better) * len(worse)
    chosen = evenly(total, options.max_pairs)
    pairs = ((better[n // len(worse)], worse[n % len(worse)]) for n in chosen)
    label = (JudgmentDraft("a"),)
    return Comparisons((ComparisonDraft(i, j, label) for i, j in pairs), total - len(chosen))
