"""Releases against their files, against the database, and against each other."""

import gzip
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow.parquet as pq
from django.core.files.storage import default_storage

from workbench.db.storage import names_in
from workbench.models import Release
from workbench.pipeline.releases.building import ReleaseError, made
from workbench.pipeline.releases.manifest import NAME as MANIFEST
from workbench.pipeline.releases.manifest import Manifest

BLOCK = 2**20


@dataclass(frozen=True)
class Verified:
    """What `verify` found. `damaged` says of each file what is wrong with it; `changed` names the files that
    the database would give otherwise today, None where that was not asked."""

    damaged: dict[str, str]
    changed: list[str] | None = None

    @property
    def intact(self) -> bool:
        return not self.damaged


def verify(release: Release, folder: Path | None = None, *, rebuild: bool = True) -> Verified:
    """Compare the files of a ready release, in Django's storage or copied to `folder`, with its manifest in
    the database; then build it again from the database as it is now, and compare that.

    People may have judged since, so a file that would be another today is no damage. Raises ReleaseError when
    the release is not ready; a database that holds nothing to release any more changes every file."""
    if not release.is_ready:
        raise ReleaseError(f"{release} is not ready, so there is nothing to verify.")
    expected = _expected(release.manifest)
    found = _digests(release, folder)
    damaged = {
        name: "is missing" if name not in found else "is not the file that was released"
        for name in expected
        if found.get(name) != expected[name]
    }
    damaged |= dict.fromkeys(found.keys() - expected.keys() - {MANIFEST}, "is not a file of this release")
    if told := _manifest_damage(release, folder, found):
        damaged[MANIFEST] = told
    return Verified(damaged, _changed(release) if rebuild else None)


def _expected(facts: Manifest) -> dict[str, str]:
    return {name: file["sha256"] for name, file in facts["files"].items()}


def _digests(release: Release, folder: Path | None) -> dict[str, str]:
    if folder is None:
        names = names_in(release.folder)
    else:
        names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return {name: _digest(_blocks(release, folder, name)) for name in sorted(names)}


def _blocks(release: Release, folder: Path | None, name: str) -> Iterator[bytes]:
    path = f"{release.folder}/{name}"
    with (folder / name).open("rb") if folder else default_storage.open(path) as file:
        while block := file.read(BLOCK):
            yield block


def _digest(blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _manifest_damage(release: Release, folder: Path | None, found: dict[str, str]) -> str:
    if MANIFEST not in found:
        return "is missing"
    try:
        written = orjson.loads(b"".join(_blocks(release, folder, MANIFEST)))
    except ValueError:
        return "is not JSON"
    return "" if written == release.manifest else "says something else than the database does"


def _changed(release: Release) -> list[str]:
    expected = _expected(release.manifest)
    again = Release(
        dataset=release.dataset,
        profiles=release.profiles,
        formats=release.formats,
        filters=release.filters,
    )
    try:
        with made(again) as (_, facts):
            now = _expected(facts)
            same_facts = orjson.loads(orjson.dumps(facts)) == release.manifest
    except ReleaseError:
        return sorted([*expected, MANIFEST])
    other = [name for name in expected.keys() | now.keys() if expected.get(name) != now.get(name)]
    return sorted(other if same_facts else [*other, MANIFEST])


@dataclass(frozen=True)
class ProfileDiff:
    """Rows of one profile that only one of two Releases has. A flipped row has the same texts in other
    places, so that the other one is preferred; it is neither added nor removed. A moved row is in another
    split, which never happens by itself."""

    added: int
    removed: int
    flipped: int
    moved: int


@dataclass(frozen=True)
class Diff:
    """What changed from one Release to another. `settings` has what their manifests say differently, as
    (before, after); profiles that only one of them has are in `missing`."""

    profiles: dict[str, ProfileDiff]
    missing: dict[str, str]
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    outcomes: dict[str, tuple[int, int]] = field(default_factory=dict)


_SETTINGS = ("dataset", "guidelines", "model_version", "aggregation", "filters", "split", "software")


def diff(old: Release, new: Release) -> Diff:
    """What changed from `old` to `new`. Holds 16 bytes of each row of one profile at a time. Raises
    ReleaseError when one of them is not ready."""
    for release in (old, new):
        if not release.is_ready:
            raise ReleaseError(f"{release} is not ready, so it cannot be compared.")
    before, after = old.manifest, new.manifest
    return Diff(
        profiles={
            name: _rows_diff(old, new, name) for name in before["profiles"] if name in after["profiles"]
        },
        missing=dict.fromkeys(before["profiles"].keys() - after["profiles"], f"only in release {old.number}")
        | dict.fromkeys(after["profiles"].keys() - before["profiles"], f"only in release {new.number}"),
        settings={
            name: (before[name], after[name])
            for name in _SETTINGS
            if _lasting(before, name) != _lasting(after, name)
        },
        outcomes={
            name: (before["comparisons"]["by_outcome"].get(name, 0), count)
            for name, count in _both(before, after)
            if before["comparisons"]["by_outcome"].get(name, 0) != count
        },
    )


def _lasting(facts: Manifest, name: str) -> Any:
    """The part that is a setting: how many prompt groups a split has is a count, and grows."""
    return {**facts[name], "groups": None} if name == "split" else facts[name]


def _both(before: Manifest, after: Manifest) -> list[tuple[str, int]]:
    counts = after["comparisons"]["by_outcome"]
    names = sorted(before["comparisons"]["by_outcome"].keys() | counts.keys())
    return [(name, counts.get(name, 0)) for name in names]


def _rows_diff(old: Release, new: Release, profile: str) -> ProfileDiff:
    before, after = _keys(old, profile), _keys(new, profile)
    gone, come = before.rows - after.rows, after.rows - before.rows
    flipped = (before.texts_of(gone) & after.texts_of(come)).total()
    stayed = before.rows.keys() & after.rows.keys()
    moved = sum(before.splits[row] != after.splits[row] for row in stayed)
    return ProfileDiff(come.total() - flipped, gone.total() - flipped, flipped, moved)


@dataclass
class _Keys:
    """The rows of one profile by a digest of them, with their split, and a digest of their texts whatever
    column they are in."""

    rows: Counter[bytes] = field(default_factory=Counter)
    splits: dict[bytes, str] = field(default_factory=dict)
    texts: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, row: dict[str, Any], split: str) -> None:
        values = [orjson.dumps(value) for value in row.values()]
        key = hashlib.sha256(b"\0".join(values)).digest()[:16]
        self.rows[key] += 1
        self.splits[key] = split
        self.texts[key] = hashlib.sha256(b"\0".join(sorted(values))).digest()[:16]

    def texts_of(self, rows: Counter[bytes]) -> Counter[bytes]:
        return Counter(self.texts[row] for row in rows.elements())


def _keys(release: Release, profile: str) -> _Keys:
    keys = _Keys()
    files = {name: it for name, it in release.manifest["files"].items() if it["profile"] == profile}
    readable = [it["format"] for it in files.values() if it["format"] in _READERS]
    if files and not readable:
        raise ReleaseError(f"{release} has {profile} as CSV alone, which cannot be compared row by row.")
    for name, it in files.items():
        if it["format"] == readable[0]:
            with default_storage.open(f"{release.folder}/{name}") as file:
                for row in _READERS[it["format"]](file):
                    keys.add(row, it["split"])
    return keys


def _json_rows(file: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    return (orjson.loads(line) for line in file)


def _gzip_rows(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    with gzip.GzipFile(fileobj=file) as lines:
        yield from _json_rows(lines)


def _parquet_rows(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(file).iter_batches(batch_size=500):
        yield from batch.to_pylist()


_READERS: dict[str, Callable[[IO[bytes]], Iterator[dict[str, Any]]]] = {
    "jsonl": _json_rows,
    "jsonl.gz": _gzip_rows,
    "parquet": _parquet_rows,
}
