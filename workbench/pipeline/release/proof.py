"""Opens the files of a Release with `datasets`, as their readers will. Also a program of its own, for when
what `datasets` holds in memory should be gone at the end: python proof.py FOLDER SCRATCH.

Exit status 0: every file loads, with the columns and the number of rows that the manifest names. One of FULL:
there is no room for the copies that `datasets` makes. Otherwise 1, and the last line on standard error says
which does not load and why."""

import errno
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the operating system that mean: no room."""

BUILDERS = {"jsonl": "json", "jsonl.gz": "json", "parquet": "parquet", "csv": "csv"}


def features_of(columns: dict[str, str]) -> Any:
    """The columns of a profile in the types of `datasets`."""
    from datasets import Features, Json, List, Value  # type: ignore[import-untyped]  # slow

    text = Value("string")
    words = {
        "message": {"role": text, "content": text},
        "messages": List({"role": text, "content": text}),
        "turn": {"from": text, "value": text},
        "turns": List({"from": text, "value": text}),
        "object": Json(),
        "objects": List(Json()),
    }
    return Features({name: words.get(kind) or Value(kind) for name, kind in columns.items()})


def check(folder: Path, scratch: Path) -> None:
    """Raise ValueError, with a sentence for people, at the first file that does not load as it should, and
    OSError when the disk is full."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    wanted: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, file in manifest["files"].items():
        if file["profile"]:
            wanted[file["profile"], file["format"]][file["split"]] = str(folder / name)
    for (profile, kind), data_files in wanted.items():
        facts = manifest["profiles"][profile]
        features = features_of(facts["columns"])
        # A CSV says nothing of types, and pandas would read the text "None" as no text.
        options = {"features": features, "keep_default_na": False} if kind == "csv" else {}
        # The card names the types of JSON of any keys: without them each file's own keys would be taken.
        if {"object", "objects"} & set(facts["columns"].values()):
            options = {"features": features}
        try:
            loaded = load_dataset(BUILDERS[kind], data_files=data_files, cache_dir=str(scratch), **options)
        except Exception as error:
            cause = _innermost(error)
            if isinstance(cause, OSError) and cause.errno in FULL:
                raise cause from None
            raise ValueError(f"{profile} as {kind} does not load: {cause}") from error
        for split, rows in loaded.items():
            if rows.features != features:
                raise ValueError(f"{data_files[split]} loads with other columns or types: {rows.features}")
            if len(rows) != facts["rows"][split]:
                raise ValueError(f"{data_files[split]} loads as {len(rows)} rows, not {facts['rows'][split]}")


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": sys.argv[2]}
    try:
        check(Path(sys.argv[1]), Path(sys.argv[2]))
    except OSError as error:
        sys.exit(error.errno if error.errno in FULL else str(error))
    except ValueError as error:
        sys.exit(str(error))
