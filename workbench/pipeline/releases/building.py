"""Build a Release: derive Decisions, take a snapshot, write the files, load them, store them."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import OperationalError, transaction
from django.db.models.fields.json import KeyTransform

from workbench.db.away import DISK_IS_FULL, is_disk_full
from workbench.db.snapshot import snapshot
from workbench.db.storage import Moved, delete_folder
from workbench.models import Comparison, Dataset, Guidelines, ModelVersion, Release, Run, User
from workbench.pipeline.data.search_index import index_waiting
from workbench.pipeline.decisions import aggregation
from workbench.pipeline.history.recording import Kind, record, record_run
from workbench.pipeline.releases import card, manifest, members, proof
from workbench.pipeline.releases.cases import CHUNK, Case, LeftOut, cases, extras_of
from workbench.pipeline.releases.files import FORMATS, Row, RowFile
from workbench.pipeline.releases.filters import BadFilter, Filters
from workbench.pipeline.releases.lines import named_in_info
from workbench.pipeline.releases.manifest import Counts, FileFacts, Manifest, manifest_of
from workbench.pipeline.releases.members import Members
from workbench.pipeline.releases.profiles import PROFILES, Profile
from workbench.pipeline.runs.progress import Cancelled, Progress, Refused, never_stop
from workbench.pipeline.text import splits
from workbench.pipeline.text.splits import SPLITS, Split, split_of
from workbench.pipeline.webhooks import outbox

LLAMA_FACTORY = "dataset_info.json"
ABANDONED_SECONDS = 24 * 60 * 60
LOADED_HERE_BYTES = 8 * 2**20


class ReleaseError(Refused):
    """A Release that cannot be built or written."""


@dataclass(frozen=True)
class Recipe:
    """The profiles, formats and filters of a Release."""

    profiles: Sequence[Profile]
    formats: Sequence[str]
    filters: Filters

    @classmethod
    def of(cls, release: Release) -> "Recipe":
        """The recipe in the row of a release. Raises ReleaseError for a recipe that cannot be followed."""
        for name in release.profiles:
            if name not in PROFILES:
                raise ReleaseError(f'There is no profile "{name}"; there are {", ".join(PROFILES)}.')
        for name in release.formats:
            if name not in FORMATS:
                raise ReleaseError(f'There is no format "{name}"; there are {", ".join(FORMATS)}.')
        profiles = [PROFILES[name] for name in release.profiles]
        nested = [profile.name for profile in profiles if not profile.is_flat]
        if nested and "csv" in release.formats:
            raise ReleaseError(f"CSV cannot hold the conversations of {' and '.join(nested)}.")
        try:
            return cls(profiles, release.formats or ["jsonl"], Filters.parse(release.filters))
        except BadFilter as error:
            raise ReleaseError(str(error)) from None


def begin(release: Release, by: User | None = None) -> Run:
    """A new Run, to be enqueued, that builds the release, whose row is stored under the next number. Raises
    ReleaseError for a recipe that cannot be followed."""
    Recipe.of(release)
    with _next_number(release.dataset) as number:
        run = Run.objects.create(kind=Run.Kind.RELEASE, dataset=release.dataset, created_by=by)
        release.number, release.run, release.created_by = number, run, by
        release.save(force_insert=True)
        record_run(run)
    return run


def carry_out(run: Run) -> Release:
    """Build the Release of a started Run, and finish the Run. Raises as `build` does."""
    release = build(run.release, run.update_progress)
    run.finish(number=release.number, rows=release.rows)
    return release


def build(release: Release, progress: Progress = never_stop) -> Release:
    """Build the files of the release, then move them into Django's storage and make the release ready in one
    step.

    An unsaved release gets its number in this step, so a build that dies leaves no row. A failed or
    interrupted release may be built again; a ready release stays as it is. No lock is held while the files
    are written. Raises ReleaseError, with nothing stored, when the recipe cannot be followed, no pair is
    decided, `datasets` can load none of the files, or the disk is full. Raises Cancelled when `progress`
    gives False."""
    with built_in_scratch(release, progress) as (folder, facts):
        return _store(release, facts, folder)


@contextmanager
def built_in_scratch(release: Release, progress: Progress = never_stop) -> Iterator[tuple[Path, Manifest]]:
    """(scratch folder with the files of the release, which `datasets` has loaded; their manifest). Stores
    derived Decisions alone. Raises as `build` does."""
    recipe = Recipe.of(release)
    _refuse_other_splits()
    scratch = settings.DATA_DIR / "releases-being-built"
    with _full_disk_refused():
        scratch.mkdir(parents=True, exist_ok=True)
        _delete_abandoned(scratch)
        with (
            tempfile.TemporaryDirectory(dir=scratch) as name,
            tempfile.TemporaryDirectory(dir=scratch) as cache,
        ):
            aggregation.derive(release.dataset)
            if recipe.filters.view:  # it may search by words
                index_waiting(release.dataset_id)
            files = write(release.dataset, recipe, Path(name), progress)
            while faults := _load(files, Path(cache), progress):
                files.leave_out(faults)
            yield files.folder, files.facts


def _refuse_other_splits() -> None:
    """Raise ReleaseError when an earlier Release has another split: its test prompts would become training
    prompts."""
    releases = Release.objects.ready().annotate(split=KeyTransform("split", "manifest"))
    for name, number, split in releases.values_list("dataset__name", "number", "split").iterator():
        if (split["salt"], split["shares"]) != (splits.SALT, splits.SHARES):
            raise ReleaseError(
                f"Release {number} of {name} was split with another salt or other shares. A new release "
                "would move its test prompts into training. Nothing was built."
            )


def _delete_abandoned(scratch: Path) -> None:
    """Delete the folders of builds that were killed: no build takes a day."""
    for folder in scratch.iterdir():
        with suppress(FileNotFoundError):  # another build may delete the same folders
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def copy_to(release: Release, folder: Path) -> None:
    """Copy the files of a ready release to `folder`, all or none. Raises ReleaseError when the folder is not
    empty or cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            copy = Path(scratch) / folder.name
            copy.mkdir()
            for name in names_of(release.manifest):
                with (
                    default_storage.open(f"{release.folder}/{name}") as source,
                    (copy / name).open("wb") as target,
                ):
                    target.writelines(source.chunks())
            os.rename(copy, folder)  # fails on a folder that is not empty
    except OSError as error:
        words = f"{release} is ready, but cannot be copied to {folder}"
        if is_disk_full(error):
            raise ReleaseError(f"The disk is full: {words}. Make room and try again.") from error
        raise ReleaseError(f"{words}: {error.strerror}.") from error


def names_of(facts: Manifest) -> list[str]:
    """Names of all files of a release, the manifest too."""
    return [*facts["files"], manifest.NAME]


def refuse_unusable(folder: Path) -> None:
    """Raise ReleaseError unless `folder` is new or empty: a Release never mixes with other files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ReleaseError(f"{folder} exists and is not an empty folder. Name a new folder.")


@contextmanager
def _full_disk_refused() -> Iterator[None]:
    try:
        yield
    except (OSError, OperationalError) as error:
        if not is_disk_full(error):
            raise
        raise ReleaseError(DISK_IS_FULL) from error


@contextmanager
def _next_number(dataset: Dataset) -> Iterator[int]:
    """The next free number, locked for the body of `with`. Raises Cancelled when the dataset is gone."""
    with transaction.atomic():
        # no_key: imports and Runs, which refer to the Dataset, do not wait for the upload to a bucket.
        if not Dataset.objects.not_deleted().select_for_update(no_key=True).filter(pk=dataset.pk).first():
            raise Cancelled
        last = dataset.releases.order_by("-number").values_list("number", flat=True).first()
        yield (last or 0) + 1


@dataclass(frozen=True)
class WrittenFiles:
    """The files of one snapshot, in a folder."""

    dataset: Dataset
    folder: Path
    facts: Manifest
    guidelines: str
    members: Members

    def finish(self) -> None:
        """Write the card and the manifest, with the calls that load the files; may be called again."""
        facts = self.facts
        for name in (card.NAME, LLAMA_FACTORY):
            facts["files"].pop(name, None)
        for name, calls in proof.calls_of(facts["files"], facts["profiles"]).items():
            facts["profiles"][name]["load"] = calls
        _add(facts, self.folder, card.NAME, card.card_of(facts, self.guidelines).encode())
        if info := _dataset_info(self.dataset, facts):
            _add(facts, self.folder, LLAMA_FACTORY, _json(info))
        (self.folder / manifest.NAME).write_bytes(_json(facts))
        self.members.write(self.folder, {file["profile"] for file in facts["files"].values()})

    def leave_out(self, faults: Sequence[proof.Fault]) -> None:
        """Delete the files that do not load, and note why. Raises ReleaseError when no file is left."""
        facts, faulty = self.facts, {(fault["profile"], fault["format"]) for fault in faults}
        for name, file in list(facts["files"].items()):
            if (file["profile"], file["format"]) in faulty:
                (self.folder / name).unlink()
                del facts["files"][name]
        facts["not_written"] += faults
        if not any(file["profile"] for file in facts["files"].values()):
            whys = " ".join(fault["why"] for fault in facts["not_written"])
            raise ReleaseError(f"Nothing was kept. {whys}")
        for name, profile in facts["profiles"].items():
            profile["rows"] = manifest.rows_of(name, facts["files"])
        self.finish()


def write(dataset: Dataset, recipe: Recipe, folder: Path, progress: Progress = never_stop) -> WrittenFiles:
    """Write files and manifest of one snapshot into the folder, in one pass and in constant memory."""
    with snapshot() as using:
        version = ModelVersion.objects.using(using).serving(dataset)
        total = Comparison.objects.using(using).filter(dataset=dataset).count()
        recipe, stream = read(dataset, recipe, version, using)
        # The stream ends before its connection is closed, whatever ends the loop.
        with _Files(folder, recipe) as files, closing(stream):
            for done, case in enumerate(stream):
                if done % CHUNK == 0 and not progress(done, total):
                    raise Cancelled
                files.add(case)
        if not progress(total, total):
            raise Cancelled
        if not files.open:
            raise ReleaseError(_nothing_to_release(dataset, files.counts))
        facts = manifest_of(
            dataset, version, recipe.profiles, recipe.filters, files.counts, files.facts(), using
        )
        guidelines = Guidelines.objects.using(using).filter(dataset=dataset).order_by("-number")
        newest = guidelines.values_list("text", flat=True).first()
    written = WrittenFiles(dataset, folder, facts, newest or "", files.members)
    written.finish()
    return written


def read(
    dataset: Dataset, recipe: Recipe, version: ModelVersion | None, using: str
) -> tuple[Recipe, Generator[Case]]:
    """(the recipe, with columns for all that the dataset holds; the cases, marked by its filters). Raises
    ReleaseError."""
    extras = extras_of(dataset, using)
    recipe = replace(recipe, profiles=[profile.with_columns_for(extras) for profile in recipe.profiles])
    try:
        return recipe, cases(dataset, using, filters=recipe.filters, version=version)
    except BadFilter as error:
        raise ReleaseError(str(error)) from None


def _nothing_to_release(dataset: Dataset, counts: Counts) -> str:
    outcomes = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in counts.by_outcome.most_common()
    )
    why = "has nothing to release yet"
    if counts.by_outcome and counts.by_outcome.keys() <= {LeftOut.FILTERED.value, LeftOut.OUTSIDE_VIEW.value}:
        why = "has no pair that passes the filters"
    return f"{dataset} {why}. Its pairs: {outcomes or 'none'}."


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"


def _add(facts: Manifest, folder: Path, name: str, content: bytes) -> None:
    """Write a file without rows, and add it to the manifest."""
    (folder / name).write_bytes(content)
    facts["files"][name] = {
        "profile": None,
        "split": None,
        "format": None,
        "rows": None,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _dataset_info(dataset: Dataset, facts: Manifest) -> dict[str, object]:
    """The description of each file for LLaMA-Factory."""
    return {
        f"{named_in_info(dataset.name)}_{file['split']}": {
            "file_name": name,
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        }
        for name, file in facts["files"].items()
        if file["profile"] == "llama-factory"
    }


class Sorter:
    """Sorts cases into rows of profiles and splits, and counts. A preview and a build sort by it alike."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._profiles = profiles
        self.counts = Counts({profile.name: Counter() for profile in profiles})

    def rows(self, case: Case) -> Iterator[tuple[Profile, Split, Row]]:
        """The rows of the next case."""
        split = split_of(case.group)
        self.counts.count(case, split)
        profiles = [profile for profile in self._profiles if self._takes(profile, case, split)]
        if profiles:
            self.counts.count_released(case, split)
        for profile in profiles:
            self.counts.torn[profile.name] += profile.torn(case)
            for row in profile.rows(case):
                yield profile, split, row

    def _takes(self, profile: Profile, case: Case, split: Split) -> bool:
        reason = profile.left_out(case, split)
        if reason is not None:
            self.counts.left_out[profile.name][reason.value] += 1
        return reason is None


class _Files(ExitStack):
    """All files of rows of one build, and the counts of the pass that writes them."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        super().__init__()
        self._folder, self._recipe = folder, recipe
        self.open: dict[tuple[str, Split, str], RowFile] = {}
        self.members = Members()
        self._sorter = Sorter(recipe.profiles)
        self.counts = self._sorter.counts

    def add(self, case: Case) -> None:
        for profile, split, row in self._sorter.rows(case):
            self.members.add(profile.name, case.prompt.pk)
            for name in self._recipe.formats:
                self._file(profile, split, name).write(row)

    def facts(self) -> dict[str, FileFacts]:
        """The facts of each file, in the order of profiles, formats and splits."""
        keys = [
            (profile.name, split, name)
            for profile in self._recipe.profiles
            for name in self._recipe.formats
            for split in SPLITS
        ]
        return {
            file.path.name: {
                "profile": profile,
                "split": split,
                "format": name,
                "rows": file.rows,
                "bytes": file.size,
                "sha256": file.sha256,
            }
            for profile, split, name in keys
            if (file := self.open.get((profile, split, name)))
        }

    def _file(self, profile: Profile, split: Split, name: str) -> RowFile:
        # Opened at its first row: `datasets` cannot load a file without rows.
        key = profile.name, split, name
        if key not in self.open:
            path = self._folder / f"{profile.name}.{split}.{name}"
            self.open[key] = self.enter_context(RowFile(path, name, profile.columns))
        return self.open[key]


def _load(files: WrittenFiles, cache: Path, progress: Progress) -> list[proof.Fault]:
    """Load the files as their readers will, and give the faults.

    A small release is loaded in this process, as a new process takes longer to start. A large release is
    loaded in a new process, as `datasets` keeps some 230 MB of memory for 600 MB of rows."""
    total = files.facts["comparisons"]["total"]
    with tempfile.TemporaryDirectory(dir=cache) as scratch:  # its own: `datasets` would reuse the rows in it
        if sum(file["bytes"] for file in files.facts["files"].values()) <= LOADED_HERE_BYTES:
            return proof.check(files.folder, Path(scratch))
        return _load_in_process(files.folder, Path(scratch), lambda: progress(total, total))


def _load_in_process(folder: Path, cache: Path, keep_going: Callable[[], bool]) -> list[proof.Fault]:
    command = [sys.executable, "-P", proof.__file__, str(folder), str(cache)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own file
        while True:
            try:
                _, errors = child.communicate(timeout=2)
                break
            except subprocess.TimeoutExpired:
                if not keep_going():
                    child.kill()
                    raise Cancelled from None
    if child.returncode in proof.FULL:
        raise OSError(child.returncode, os.strerror(child.returncode))
    if child.returncode:
        why = errors.strip().rsplit("\n", 1)[-1] if child.returncode == 1 else f"exit {child.returncode}"
        raise ReleaseError(f"The files were written but not kept, as they could not be loaded ({why}).")
    faults: list[proof.Fault] = orjson.loads((cache / proof.FAULTS).read_bytes())
    return faults


def _store(release: Release, facts: Manifest, folder: Path) -> Release:
    """Move the files into storage and make the release ready, under a lock. Of two workers that have built
    the release, the second finds it ready and changes nothing."""
    with _next_number(release.dataset) as number:
        if stored := Release.objects.select_for_update().filter(pk=release.pk).first():
            if stored.is_ready:
                return stored
            number = stored.number
        release.number = number
        release.manifest, release.state = facts, Release.State.READY
        row_counts = (sum(facts["profiles"][name]["rows"].values()) for name in release.profiles)
        release.rows = next(filter(None, row_counts), 0)
        release.save()
        by, rows = release.created_by, release.rows
        record(Kind.RELEASE_BUILT, by=by, dataset=release.dataset, target=release, count=rows)
        outbox.note_release(release)
        clear_storage(release)
        try:
            for name in names_of(facts):
                with (folder / name).open("rb") as file:
                    default_storage.save(f"{release.folder}/{name}", Moved(file))
            members.store(release, folder)
        except BaseException:
            clear_storage(release)
            raise
    return release


def clear_storage(release: Release) -> None:
    """Delete the folder of the release, which an interrupted build may have left."""
    delete_folder(release.folder)
    members.delete(release)
