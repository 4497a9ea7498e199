"""Compare a Release with its files, with the database, and with another Release."""

import gzip
import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, get_args

import orjson
from django.core.files.storage import default_storage

from workbench.db.storage import names_in
from workbench.models import Release
from workbench.pipeline.releases.building import ReleaseError, built_in_scratch
from workbench.pipeline.releases.files import Row
from workbench.pipeline.releases.manifest import NAME as MANIFEST
from workbench.pipeline.releases.manifest import Manifest

BLOCK = 2**20


@dataclass(frozen=True)
class Verified:
    """damaged: the damage of each damaged file. changed: the files that a build of today's data would change;
    None = not compared."""

    damaged: dict[str, str]
    changed: list[str] | None = None


def verify(release: Release, folder: Path | None = None, *, rebuild: bool = True) -> Verified:
    """Compare the files of a ready release, in Django's storage or copied to `folder`, with the manifest in
    the database. `rebuild`: build the release again from the data of today, and compare the result too.

    A changed file is no damage, as people may have judged since. Where no pair is left to release, every file
    has changed. Raises ReleaseError for a release that is not ready."""
    if not release.is_ready:
        raise ReleaseError(f"{release} is not ready, so there is nothing to verify.")
    expected = _expected_digests(release.manifest)
    actual = _actual_digests(release, folder)
    damaged = {
        name: "is missing" if name not in actual else "is not the file that was released"
        for name in expected
        if actual.get(name) != expected[name]
    }
    damaged |= dict.fromkeys(actual.keys() - expected.keys() - {MANIFEST}, "is not a file of this release")
    if damage := _damage_of_manifest(release, folder, actual):
        damaged[MANIFEST] = damage
    return Verified(damaged, _changed(release) if rebuild else None)


def _expected_digests(facts: Manifest) -> dict[str, str]:
    return {name: file["sha256"] for name, file in facts["files"].items()}


def _actual_digests(release: Release, folder: Path | None) -> dict[str, str]:
    if folder is None:
        names = names_in(release.folder)
    else:
        names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    digests = {}
    for name in sorted(names):
        digest = hashlib.sha256()
        for block in _blocks(release, folder, name):
            digest.update(block)
        digests[name] = digest.hexdigest()
    return digests


def _blocks(release: Release, folder: Path | None, name: str) -> Iterator[bytes]:
    path = f"{release.folder}/{name}"
    with (folder / name).open("rb") if folder else default_storage.open(path) as file:
        while block := file.read(BLOCK):
            yield block


def _damage_of_manifest(release: Release, folder: Path | None, names: Container[str]) -> str:
    if MANIFEST not in names:
        return "is missing"
    try:
        written = orjson.loads(b"".join(_blocks(release, folder, MANIFEST)))
    except ValueError:
        return "is not JSON"
    return "" if written == release.manifest else "does not match the database"


def _changed(release: Release) -> list[str]:
    expected = _expected_digests(release.manifest)
    rebuilt = Release(
        dataset=release.dataset,
        profiles=release.profiles,
        formats=release.formats,
        filters=release.filters,
    )
    try:
        with built_in_scratch(rebuilt) as (_, facts):
            today = _expected_digests(facts)
            same_manifest = orjson.loads(orjson.dumps(facts)) == release.manifest
    except ReleaseError:
        return sorted([*expected, MANIFEST])
    changed = [name for name in expected.keys() | today.keys() if expected.get(name) != today.get(name)]
    return sorted(changed if same_manifest else [*changed, MANIFEST])


@dataclass(frozen=True)
class ProfileDiff:
    """Rows of one profile that differ between two Releases. A flipped row has its texts in swapped columns,
    as the other answer is preferred now; it counts neither as added nor as removed. A moved row has another
    split, which only a change of the program makes."""

    added: int
    removed: int
    flipped: int
    moved: int


@dataclass(frozen=True)
class Diff:
    """Changes from one Release to another. settings, outcomes: (before, after) of each that differs. missing:
    the profiles that only one of the two has."""

    profiles: dict[str, ProfileDiff]
    missing: dict[str, str]
    settings: dict[str, tuple[object, object]] = field(default_factory=dict)
    outcomes: dict[str, tuple[int, int]] = field(default_factory=dict)


_Setting = Literal["dataset", "guidelines", "model_version", "aggregation", "filters", "split", "software"]
_SETTINGS: tuple[_Setting, ...] = get_args(_Setting)


def diff(old: Release, new: Release) -> Diff:
    """Changes from `old` to `new`. Memory: some digests of 16 bytes for each row of one profile. Raises
    ReleaseError for a release that is not ready."""
    for release in (old, new):
        if not release.is_ready:
            raise ReleaseError(f"{release} is not ready, so it cannot be compared.")
    before: Manifest = old.manifest
    after: Manifest = new.manifest
    outcomes_before = before["comparisons"]["by_outcome"]
    outcomes_after = after["comparisons"]["by_outcome"]
    return Diff(
        profiles={
            name: _rows_diff(old, new, name) for name in before["profiles"] if name in after["profiles"]
        },
        missing=dict.fromkeys(before["profiles"].keys() - after["profiles"], f"only in release {old.number}")
        | dict.fromkeys(after["profiles"].keys() - before["profiles"], f"only in release {new.number}"),
        settings={
            name: (before[name], after[name])
            for name in _SETTINGS
            if _setting(before, name) != _setting(after, name)
        },
        outcomes={
            name: (outcomes_before.get(name, 0), outcomes_after.get(name, 0))
            for name in sorted(outcomes_before.keys() | outcomes_after.keys())
            if outcomes_before.get(name, 0) != outcomes_after.get(name, 0)
        },
    )


def _setting(facts: Manifest, name: _Setting) -> object:
    """A setting to compare. The number of prompt groups in a split is left out, as it grows."""
    return {**facts["split"], "groups": None} if name == "split" else facts[name]


def _rows_diff(old: Release, new: Release, profile: str) -> ProfileDiff:
    before, after = _digests_of(old, profile), _digests_of(new, profile)
    removed, added = before.rows - after.rows, after.rows - before.rows
    flipped = (before.texts_of(removed) & after.texts_of(added)).total()
    in_both = before.rows.keys() & after.rows.keys()
    moved = sum(before.splits[row] != after.splits[row] for row in in_both)
    return ProfileDiff(added.total() - flipped, removed.total() - flipped, flipped, moved)


@dataclass
class _RowDigests:
    """The rows of one profile by digest: their number, split, and a digest of their sorted values."""

    rows: Counter[bytes] = field(default_factory=Counter)
    splits: dict[bytes, str] = field(default_factory=dict)
    texts: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, row: Row, split: str) -> None:
        values = [orjson.dumps(value) for value in row.values()]
        digest = hashlib.sha256(b"\0".join(values)).digest()[:16]
        self.rows[digest] += 1
        self.splits[digest] = split
        self.texts[digest] = hashlib.sha256(b"\0".join(sorted(values))).digest()[:16]

    def texts_of(self, rows: Counter[bytes]) -> Counter[bytes]:
        return Counter(self.texts[row] for row in rows.elements())


def _digests_of(release: Release, profile: str) -> _RowDigests:
    digests = _RowDigests()
    files = {name: file for name, file in release.manifest["files"].items() if file["profile"] == profile}
    readable = [file["format"] for file in files.values() if file["format"] in _READERS]
    if files and not readable:
        raise ReleaseError(f"{release} has {profile} as CSV alone, which cannot be compared row by row.")
    for name, file in files.items():
        if file["format"] == readable[0]:
            with default_storage.open(f"{release.folder}/{name}") as content:
                for row in _READERS[file["format"]](content):
                    digests.add(row, file["split"])
    return digests


def _json_rows(file: Iterable[bytes]) -> Iterator[Row]:
    return (orjson.loads(line) for line in file)


def _gzip_rows(file: IO[bytes]) -> Iterator[Row]:
    with gzip.GzipFile(fileobj=file) as lines:
        yield from _json_rows(lines)


def _parquet_rows(file: IO[bytes]) -> Iterator[Row]:
    import pyarrow.parquet as pq  # megabytes of memory that few processes need

    for batch in pq.ParquetFile(file).iter_batches(batch_size=500):
        yield from batch.to_pylist()


_READERS: dict[str, Callable[[IO[bytes]], Iterator[Row]]] = {
    "jsonl": _json_rows,
    "jsonl.gz": _gzip_rows,
    "parquet": _parquet_rows,
}
