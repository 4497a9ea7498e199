"""A model folder in a tar, as another machine sends it.

Headers are read here and not by `tarfile`, which reads the extended ones whole into memory, however large
they say they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from tarfile import AREGTYPE, DIRTYPE, REGTYPE, XGLTYPE, XHDTYPE, HeaderError, TarInfo
from typing import IO

from scoring.checkpoint import ADAPTER, INDEX, MAX_JSON_BYTES, TOKENIZER_FILES, CheckpointError

BLOCK = 512
PIECE = 2**20
MOST_FILES = 200
_OTHERS = {"config.json", ADAPTER, INDEX, *TOKENIZER_FILES}
_WEIGHTS = re.compile(r"[A-Za-z0-9_-][\w.-]{0,99}\.safetensors", re.ASCII)


def unpack(file: IO[bytes], folder: Path) -> None:
    """Write the files of a tar into an empty folder: config.json, safetensors and tokenizer files, all at the
    top. Raises CheckpointError for any other entry, a link, a file that is there twice, and a tar that is
    compressed or cut short. The files are not checked: `open_checkpoint` does that."""
    files = 0
    while header := _next(file):
        if header.type in (XHDTYPE, XGLTYPE):
            _skip(file, header.size)  # times and owners; a name that needs such a header is none of ours
            continue
        name = header.name.removeprefix("./")
        if header.type == DIRTYPE and name in ("", "."):
            continue
        files += 1
        if header.type not in (REGTYPE, AREGTYPE):
            raise CheckpointError(
                f"{name!r} is no plain file; put the files themselves at the top of the tar"
            )
        if name not in _OTHERS and not _WEIGHTS.fullmatch(name):
            raise CheckpointError(
                f"{name!r} is no file of a model; send config.json, safetensors and tokenizer files, "
                "all at the top of the tar"
            )
        if name in _OTHERS and header.size > MAX_JSON_BYTES:
            raise CheckpointError(f"{name} is larger than {MAX_JSON_BYTES} bytes")
        if files > MOST_FILES or (folder / name).exists():
            raise CheckpointError(f"{name} is there twice, or the tar has more than {MOST_FILES} files")
        _write(file, header.size, folder / name)
    if not files:
        raise CheckpointError("the tar holds no file")


def _next(file: IO[bytes]) -> TarInfo | None:
    """The next header; None at the end."""
    block = file.read(BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        header = TarInfo.frombuf(block, "utf-8", "strict")
    except (HeaderError, ValueError):
        raise CheckpointError("this is no tar, or the tar is compressed or damaged") from None
    if header.size < 0:
        raise CheckpointError("this tar is damaged")
    return header


def _write(file: IO[bytes], size: int, path: Path) -> None:
    left = size
    with path.open("xb") as target:
        while left and (piece := file.read(min(PIECE, left))):
            target.write(piece)
            left -= len(piece)
    if left:
        raise CheckpointError("the tar ends in the middle of a file; was it sent whole?")
    file.read(-size % BLOCK)


def _skip(file: IO[bytes], size: int) -> None:
    left = size + -size % BLOCK
    while left > 0 and (piece := file.read(min(PIECE, left))):
        left -= len(piece)
