"""Opens the files of a Release with `datasets`, as their readers will. Also a program of its own, for when
what `datasets` holds in memory should be gone at the end: python proof.py FOLDER SCRATCH.

Exit status 0: SCRATCH/faults.json names what does not load as it was written. One of FULL: there is no room
for the copies that `datasets` makes. Otherwise 1, and the last line on standard error says why."""

import csv
import errno
import json
import os
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the operating system that mean: no room."""

FAULTS = "faults.json"
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


FOLDER = "FOLDER"
"""Stands in a call for the folder that the files lie in."""


NAMES = ("Features", "Json", "List", "Value", "load_dataset")
"""What a call takes from `datasets`."""


def calls_of(files: dict[str, Any], profiles: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The call that loads each profile in each of its formats, as Python: what the card and the page show,
    and what the proof carries out. `datasets` reads one format a folder by its card: the first, for others
    the call names the files."""
    written: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, file in files.items():
        if file["profile"]:
            written[file["profile"], file["format"]][file["split"]] = name
    calls: dict[str, dict[str, str]] = {name: {} for name in profiles}
    for (profile, kind), named in written.items():
        if kind == format_of_card(files):
            calls[profile][kind] = f"load_dataset({json.dumps(FOLDER)}, {json.dumps(profile)})"
        else:
            paths = {split: f"{FOLDER}/{name}" for split, name in named.items()}
            given = f"{json.dumps(BUILDERS[kind])}, data_files={json.dumps(paths)}"
            calls[profile][kind] = f"load_dataset({given}{_typed(kind, profiles[profile]['columns'])})"
    return calls


def format_of_card(files: dict[str, Any]) -> str:
    """The format that the card's configurations are of: the first that something is written in."""
    return next((file["format"] for file in files.values() if file["profile"]), "")


def _typed(kind: str, columns: dict[str, str]) -> str:
    """The part of a call that gives the types, where the files leave them open: of a CSV, and of JSON of any
    keys, where each file has its own."""
    if kind != "csv" and {"object", "objects"}.isdisjoint(columns.values()):
        return ""
    types = ", ".join(f"{json.dumps(name)}: {_type(of)}" for name, of in columns.items())
    words = ", keep_default_na=False" if kind == "csv" else ""
    return f"{words}, features=Features({{{types}}})"


def _type(kind: str) -> str:
    message = '{"role": Value("string"), "content": Value("string")}'
    words = {
        "object": "Json()",
        "objects": "List(Json())",
        "message": message,
        "messages": f"List({message})",
    }
    return words.get(kind) or f"Value({json.dumps(kind)})"


def card_options(kind: str, columns: dict[str, str]) -> dict[str, Any]:
    """What a configuration of the card says beside its files. A CSV says nothing of types: pandas would make
    a number of the text "42", and nothing of the text "None"."""
    if kind != "csv":
        return {}
    features = [{"name": name, "dtype": of} for name, of in columns.items()]
    return {"keep_default_na": False, "features": features}


@dataclass(frozen=True)
class Fault:
    """A profile in a format that does not load as it was written, and why, for people."""

    profile: str
    format: str
    why: str


def check(folder: Path, scratch: Path) -> list[Fault]:
    """Carry out every call of the manifest and compare what it gives with the manifest's columns and rows,
    and a CSV's texts with the file's. Raises OSError when the disk is full."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    faults = []
    for profile, facts in manifest["profiles"].items():
        for kind, call in facts["load"].items():
            files = {
                file["split"]: folder / name
                for name, file in manifest["files"].items()
                if (file["profile"], file["format"]) == (profile, kind)
            }
            if why := _wrong(call, folder, scratch, facts, files):
                faults.append(Fault(profile, kind, f"{profile} as {kind} was not written: {why}"))
    return faults


def _wrong(call: str, folder: Path, scratch: Path, facts: dict[str, Any], files: dict[str, Path]) -> str:
    """What is wrong with what the call loads; "" = nothing."""
    features = features_of(facts["columns"])
    try:
        loaded = _called(call, folder, scratch)
    except Exception as error:  # noqa: BLE001 - whatever it is, the file does not load
        cause = _innermost(error)
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise cause from None
        return _dates(files) or f"`datasets` cannot load it. {_ADVICE} It says: {_outside(cause, folder)}"
    for split, rows in loaded.items():
        if rows.features != features:
            return _dates(files) or f"it loads with other columns or types: {rows.features}. {_ADVICE}"
        if len(rows) != facts["rows"][split]:
            return f"{files[split].name} loads as {len(rows)} rows, not {facts['rows'][split]}. {_ADVICE}"
        if files[split].suffix == ".csv" and (column := _other_text(files[split], rows, facts["columns"])):
            return f"{files[split].name} loads with other texts in the column {column}. {_ADVICE}"
    return ""


_ADVICE = "Parquet keeps every text as it is: build it as Parquet."


def _called(call: str, folder: Path, scratch: Path) -> Any:
    import datasets

    names: dict[str, Any] = {name: getattr(datasets, name) for name in NAMES}
    names["load_dataset"] = partial(datasets.load_dataset, cache_dir=str(scratch))
    return eval(in_folder(call, str(folder)), names)  # noqa: S307 - our own text, of names of ours


def in_folder(call: str, folder: str) -> str:
    """The call with the name of the folder in it."""
    return call.replace(f'"{FOLDER}', f'"{json.dumps(folder, ensure_ascii=False)[1:-1]}')


def _dates(files: dict[str, Path]) -> str:
    """The sentence on columns in which every text looks like a date, which pyarrow reads as one; "" where
    there is none."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    dated = set()
    for path in files.values():
        if ".json" not in path.name:
            return ""
        try:
            options = arrow_json.ReadOptions(block_size=32 << 20)
            with pa.input_stream(str(path)) as file:
                schema = arrow_json.read_json(file, read_options=options).schema
        except pa.ArrowInvalid:
            continue
        dated |= {column.name for column in schema if pa.types.is_temporal(column.type)}
    if not dated:
        return ""
    columns = "column" if len(dated) == 1 else "columns"
    named = " and ".join(sorted(dated))
    return f"every text in the {columns} {named} looks like a date, so it would load as dates. {_ADVICE}"


def _other_text(path: Path, rows: Any, columns: dict[str, str]) -> str:
    """The first column of the CSV whose texts are others when loaded; "" = none is."""
    places = {name: n for n, (name, kind) in enumerate(columns.items()) if kind == "string"}
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as file:
        written = csv.reader(file)
        next(written)
        for batch in rows.select_columns(list(places)).iter(batch_size=1_000):
            some = list(islice(written, len(next(iter(batch.values())))))
            for name, place in places.items():
                if batch[name] != [cells[place] for cells in some]:
                    return name
    return ""


def _outside(error: BaseException, folder: Path) -> str:
    """The error's first line without the inner path."""
    first = next(iter(str(error).strip().split("\n")), "")
    return first.replace(f"{folder}/", "").replace(str(folder), "")[:300]


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": sys.argv[2]}
    try:
        found = check(Path(sys.argv[1]), Path(sys.argv[2]))
    except OSError as error:
        sys.exit(error.errno if error.errno in FULL else str(error))
    Path(sys.argv[2], FAULTS).write_text(json.dumps([asdict(fault) for fault in found]))
