"""One file of the corpus and what an import does with it, and the rows that the files are made of."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class CorpusFile:
    """A file that is built on demand.

    `rows` is how many rows a strict import takes, None where it refuses the file. For a refused file, `line`
    is the line of the first problem (None: the whole file), and `says` are words of the output. `lenient` is
    (rows taken, lines refused) by an import that skips bad rows, None where that refuses the file as well.
    """

    name: str
    build: Callable[[], bytes]
    why: str
    rows: int | None = None
    line: int | None = None
    says: str = ""
    lenient: tuple[int, tuple[int, ...]] | None = None

    def content(self) -> bytes:
        return _built(self.build)

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.content())
        return path


@cache
def _built(build: Callable[[], bytes]) -> bytes:
    return build()


def dish(number: int, **changes: object) -> dict[str, object]:
    """A good row, but for the changes; a column that is changed to ... is left out."""
    row: dict[str, object] = {
        "id": f"dish-{number}",
        "prompt": f"What goes with dish {number}?",
        "chosen": f"Lemon, and {number} leaves of mint.",
        "rejected": f"Sugar, {number} spoons.",
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def text_of(*rows: dict[str, object] | str) -> str:
    """JSON lines: rows as JSON, texts as they are."""
    return "".join(
        (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows
    )


def lines(*rows: dict[str, object] | str) -> Callable[[], bytes]:
    return lambda: text_of(*rows).encode()
