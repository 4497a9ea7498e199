"""Load the files of a Release with `datasets`, as their readers will.

This module is also a program: python proof.py FOLDER SCRATCH. Its memory is free again when it ends. As a
program it imports no other module of the workbench.

Exit status 0: SCRATCH/faults.json lists the faults. One of FULL: the disk has no room for the copies that
`datasets` makes. Otherwise 1, and the last line on standard error gives the reason."""

import csv
import errno
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features  # type: ignore[import-untyped]

    from workbench.pipeline.releases.manifest import FileFacts, ProfileFacts
    from workbench.pipeline.text.splits import Split

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the operating system that mean a full disk: db.away.FULL_DISK, which a program may not import."""

FAULTS = "faults.json"
FOLDER = "FOLDER"
"""Stands in a call for the folder of the files."""

BUILDERS = {"jsonl": "json", "jsonl.gz": "json", "parquet": "parquet", "csv": "csv"}
NAMES = ("Features", "Json", "List", "Value", "load_dataset")
"""The names of `datasets` that a call may use."""

_ADVICE = "Parquet keeps every text as it is: build it as Parquet."


class Fault(TypedDict):
    """A profile in a format that does not load as it was written. `why` is a sentence for people."""

    profile: str
    format: str
    why: str


def features_of(columns: Mapping[str, str]) -> "Features":
    """The columns of a profile as types of `datasets`."""
    from datasets import Features, Json, List, Value  # slow

    text = Value("string")
    types = {
        "message": {"role": text, "content": text},
        "messages": List({"role": text, "content": text}),
        "turn": {"from": text, "value": text},
        "turns": List({"from": text, "value": text}),
        "object": Json(),
        "objects": List(Json()),
    }
    return Features({name: types.get(kind) or Value(kind) for name, kind in columns.items()})


def calls_of(
    files: Mapping[str, "FileFacts"], profiles: Mapping[str, "ProfileFacts"]
) -> dict[str, dict[str, str]]:
    """The Python call that loads each profile in each of its formats. The card and the page show the calls,
    and the proof carries them out.

    A card can describe one format for `datasets`. A call for another format names the files."""
    names_by_split: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, file in files.items():
        if file["profile"] and file["format"] and file["split"]:
            names_by_split[file["profile"], file["format"]][file["split"]] = name
    calls: dict[str, dict[str, str]] = {name: {} for name in profiles}
    for (profile, kind), names in names_by_split.items():
        if kind == format_of_card(files):
            arguments = f"{json.dumps(FOLDER)}, {json.dumps(profile)}"
        else:
            paths = {split: f"{FOLDER}/{name}" for split, name in names.items()}
            arguments = f"{json.dumps(BUILDERS[kind])}, data_files={json.dumps(paths)}"
            arguments += _type_arguments(kind, profiles[profile]["columns"])
        calls[profile][kind] = f"load_dataset({arguments})"
    return calls


def format_of_card(files: Mapping[str, "FileFacts"]) -> str:
    """The one format that the card describes: the format of the first file with rows."""
    return next((file["format"] for file in files.values() if file["format"]), "")


def _type_arguments(kind: str, columns: Mapping[str, str]) -> str:
    """Arguments that fix the types. A CSV has no types; JSON columns have other keys in each file."""
    if kind != "csv" and {"object", "objects"}.isdisjoint(columns.values()):
        return ""
    message = '{"role": Value("string"), "content": Value("string")}'
    types = {
        "object": "Json()",
        "objects": "List(Json())",
        "message": message,
        "messages": f"List({message})",
    }
    features = ", ".join(
        f"{json.dumps(name)}: {types.get(column) or f'Value({json.dumps(column)})'}"
        for name, column in columns.items()
    )
    blanks = ", keep_default_na=False" if kind == "csv" else ""
    return f"{blanks}, features=Features({{{features}}})"


def check(folder: Path, scratch: Path) -> list[Fault]:
    """Carry out every call of the manifest. Compare columns and rows with the manifest, and the texts of a
    CSV with the file. Raises OSError when the disk is full."""
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
            if fault := _fault(call, folder, scratch, facts, files):
                why = f"{profile} as {kind} was not written: {fault}"
                faults.append(Fault(profile=profile, format=kind, why=why))
    return faults


def _fault(
    call: str, folder: Path, scratch: Path, facts: "ProfileFacts", files: Mapping["Split", Path]
) -> str:
    """How the loaded rows differ from the written rows; "" = not at all."""
    columns = facts["columns"]
    features = features_of(columns)
    try:
        loaded = _load(call, folder, scratch)
    except Exception as error:  # noqa: BLE001 - whatever the error is, the file does not load
        cause = _innermost(error)
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise cause from None
        reason = next(iter(str(cause).strip().split("\n")), "")
        reason = reason.replace(f"{folder}/", "").replace(str(folder), "")[:300]
        return _columns_of_dates(files.values()) or f"`datasets` cannot load it. {_ADVICE} It says: {reason}"
    for split, rows in loaded.items():
        if rows.features != features:
            types = f"it loads with other columns or types: {rows.features}. {_ADVICE}"
            return _columns_of_dates(files.values()) or types
        if len(rows) != facts["rows"][split]:
            return f"{files[split].name} loads as {len(rows)} rows, not {facts['rows'][split]}. {_ADVICE}"
        if files[split].suffix == ".csv" and (column := _changed_column(files[split], rows, columns)):
            return f"{files[split].name} loads with other texts in the column {column}. {_ADVICE}"
    return ""


def _load(call: str, folder: Path, scratch: Path) -> "DatasetDict":
    import datasets

    names = {name: getattr(datasets, name) for name in NAMES}
    names["load_dataset"] = partial(datasets.load_dataset, cache_dir=str(scratch))
    return eval(in_folder(call, str(folder)), names)  # noqa: S307 - the text is ours


def in_folder(call: str, folder: str) -> str:
    """The call with the path of the folder."""
    return call.replace(f'"{FOLDER}', f'"{json.dumps(folder, ensure_ascii=False)[1:-1]}')


def _columns_of_dates(paths: Iterable[Path]) -> str:
    """A sentence that names the columns of dates, "" for none. pyarrow reads a text as a date where every
    text of the column looks like a date."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    dated = set()
    for path in paths:
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
    names = " and ".join(sorted(dated))
    return f"every text in the {columns} {names} looks like a date, so it would load as dates. {_ADVICE}"


def _changed_column(path: Path, rows: "Dataset", columns: Mapping[str, str]) -> str:
    """The first column of the CSV that loads with other texts; "" = none."""
    places = {name: n for n, (name, kind) in enumerate(columns.items()) if kind == "string"}
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for batch in rows.select_columns(list(places)).iter(batch_size=1_000):
            cells = list(islice(lines, len(next(iter(batch.values())))))
            for name, place in places.items():
                if batch[name] != [line[place] for line in cells]:
                    return name
    return ""


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": sys.argv[2]}
    try:
        faults = check(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:  # noqa: BLE001 - of any library, whose words may hold the text of an item
        number = error.errno if isinstance(error, OSError) else None
        sys.exit(number if number in FULL else type(error).__name__)
    Path(sys.argv[2], FAULTS).write_text(json.dumps(faults))
