"""JSON lines: one object a line."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from scoring.rows.formats.base import Entry, numbered_lines
from scoring.rows.rows import MAX_DEPTH, BadRow, FileFault, Row, Values, refuse_bad_text


class Decoder:
    """Strict JSON. `faults` collects what Python's own decoder accepts: NaN, 1e999, duplicate keys, and
    numbers with too many digits."""

    def __init__(self) -> None:
        self.faults: list[BadRow] = []
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._int,
        )

    def decode(self, text: str) -> Any:
        """The value of the whole text. Raises BadRow."""
        self.faults.clear()
        try:
            value, end = self._json.raw_decode(text)
            if end < len(text):
                self._json.decode(text)  # raises, with the place of the extra text
        except json.JSONDecodeError as error:
            message = f"not JSON at column {error.colno}: {error.msg}"
            if "\r" in text.rstrip("\r\n"):
                message += "; the line holds a bare carriage return, which does not end a line"
            raise BadRow(f"column {error.colno}", "not_json", message) from None
        except RecursionError:
            raise BadRow("", "too_deep", f"nested deeper than {MAX_DEPTH} levels") from None
        if self.faults:
            raise self.faults[0]
        return value

    def decode_at(self, text: str, position: int) -> tuple[Any, int]:
        """(value, end) of the value that begins at `position`. Raises json.JSONDecodeError, RecursionError;
        look at `faults` afterwards."""
        self.faults.clear()
        return self._json.raw_decode(text, position)

    def _object(self, pairs: list[tuple[str, Any]]) -> Values:
        values = dict(pairs)
        if len(values) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated = next(key for key, count in counts.items() if count > 1)
            self.faults.append(
                BadRow(repeated, "duplicate_key", "the same key appears twice in one object", repeated)
            )
        return values

    def _constant(self, name: str) -> float:
        self.faults.append(BadRow("", "not_finite", f"{name} is not a JSON number", name))
        return 0.0

    def _float(self, digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            self.faults.append(BadRow("", "not_finite", "a number is too large to store", digits))
        return number

    def _int(self, digits: str) -> int:
        try:
            return int(digits)
        except ValueError:
            self.faults.append(
                BadRow(
                    "", "number_too_long", "a number has too many digits to store; write it as text", digits
                )
            )
            return 0


def as_row(line: int, value: Any, raw: bytes, suspicious: bool) -> Row:
    """The value as a Row. Raises BadRow. Only a `suspicious` text, with escapes or deep nesting, is searched
    for bad characters: without an escape, valid UTF-8 has none."""
    if not isinstance(value, dict):
        raise BadRow("", "not_an_object", 'a row should be an object with columns, like {"prompt": ...}')
    if suspicious:
        refuse_bad_text(value)
    return Row(line, value, raw)


def json_lines(file: BinaryIO) -> Iterator[Entry]:
    decoder = Decoder()
    first = True
    for number, line in numbered_lines(file):
        content = line.strip(b" \t\r\n")
        if not content:
            continue
        if first and content.startswith(b"["):
            raise FileFault(
                "json_array",
                "a JSON array begins here, after thousands of blanks; remove the blanks",
                number,
                content,
            )
        first = False
        try:
            suspicious = b"\\u" in content or content.count(b"[") + content.count(b"{") > MAX_DEPTH
            yield as_row(number, decoder.decode(content.decode()), content, suspicious)
        except UnicodeDecodeError as error:
            bad = BadRow(
                f"byte {error.start + 1}", "not_utf8", "the line is not valid UTF-8; save the file as UTF-8"
            )
            yield bad.at(Row(number, {}, content))
        except BadRow as bad:
            yield bad.at(Row(number, {}, content))
