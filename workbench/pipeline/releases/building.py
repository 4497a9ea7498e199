"""From a Dataset to a Release: settle, take a snapshot, write the files, prove them, keep them."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import OperationalError, transaction
from django.db.models.fields.json import KeyTransform

from workbench.db.snapshot import snapshot
from workbench.db.storage import delete_folder
from workbench.models import Comparison, Dataset, Guidelines, ModelVersion, Release
from workbench.pipeline.decisions import aggregation
from workbench.pipeline.releases import card, manifest, proof
from workbench.pipeline.releases.cases import CHUNK, Case, Kept, LeftOut, cases, kept_by
from workbench.pipeline.releases.files import FORMATS, RowFile
from workbench.pipeline.releases.filters import BadFilter, Filters, count
from workbench.pipeline.releases.manifest import Counts, Manifest, manifest_of
from workbench.pipeline.releases.profiles import PROFILES, Profile
from workbench.pipeline.runs.progress import Cancelled, Progress, never_stop
from workbench.pipeline.text import splits
from workbench.pipeline.text.splits import SPLITS, Split, split_of

LLAMA_FACTORY = "dataset_info.json"
ABANDONED_SECONDS = 24 * 60 * 60
PROVEN_HERE_BYTES = 8 * 2**20
_FULL_DISK = "The disk is full, so nothing was kept. Make room and try again."


class ReleaseError(Exception):
    """A Release that cannot be built or written; the message is a sentence for people."""


@dataclass(frozen=True)
class Recipe:
    """What a Release is made of: of which profiles, in which formats, narrowed by which filters."""

    profiles: Sequence[Profile]
    formats: Sequence[str]
    filters: Filters

    def keeping(self, kept: Kept) -> "Recipe":
        """The same, of profiles with the columns that it takes to write all that is kept."""
        return replace(self, profiles=[profile.keeping(kept) for profile in self.profiles])

    @classmethod
    def of(cls, release: Release) -> "Recipe":
        """The recipe in the row of a release. Raises ReleaseError when it cannot be followed."""
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


def begin(release: Release) -> Release:
    """Store the row of a Release that a worker will build, under the next number. Raises ReleaseError when
    its recipe cannot be followed."""
    Recipe.of(release)
    with _next_number(release.dataset) as number:
        release.number = number
        release.save(force_insert=True)
    return release


def build(release: Release, progress: Progress = never_stop) -> Release:
    """Write the files of the release into Django's storage and make it ready, in one step at the very end.

    A release that is not saved yet gets its number then, so that a build that dies leaves no row. One that
    failed or was interrupted may be built again; one that is ready is left as it is.
    Raises ReleaseError when the recipe cannot be followed, nothing is decided, `datasets` can load none
    of the files, or the disk is full; Cancelled when `progress` answered False. Nothing is kept in any of
    these cases, and nobody else is locked out meanwhile."""
    with made(release, progress) as (folder, facts):
        return _keep(release, facts, folder)


@contextmanager
def made(release: Release, progress: Progress = never_stop) -> Iterator[tuple[Path, Manifest]]:
    """A scratch folder with the files of the release, proven loadable, and their manifest. Raises as `build`
    does; stores nothing but derived Decisions."""
    recipe = Recipe.of(release)
    _refuse_other_splits()
    scratch = settings.DATA_DIR / "releases-being-built"
    with _plain_words_for_a_full_disk():
        scratch.mkdir(parents=True, exist_ok=True)
        _sweep(scratch)
        with (
            tempfile.TemporaryDirectory(dir=scratch) as name,
            tempfile.TemporaryDirectory(dir=scratch) as cache,
        ):
            aggregation.derive(release.dataset)
            facts = _proven(write(release.dataset, recipe, Path(name), progress), Path(cache), progress)
            yield Path(name), facts


def _refuse_other_splits() -> None:
    """Raise ReleaseError when a Release was split in another way than this program would split now: what one
    tested on, the next would train on."""
    told = Release.objects.ready().annotate(split=KeyTransform("split", "manifest"))
    for name, number, split in told.values_list("dataset__name", "number", "split").iterator():
        if (split["salt"], split["shares"]) != (splits.SALT, splits.SHARES):
            raise ReleaseError(
                f"Release {number} of {name} was split by another salt or in other shares than this program "
                "would take, so its test prompts would come into training. Nothing was built."
            )


def _sweep(scratch: Path) -> None:
    """Remove what builds that were killed have left: anything of yesterday, as no build takes a day."""
    for folder in scratch.iterdir():
        with suppress(FileNotFoundError):  # another build sweeps at the same moment
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def count_now(dataset: Dataset, filters: Filters) -> tuple[int, int]:
    """(Comparisons decided for a side that the filters let through, all that are), as Decisions stand.
    Raises BadFilter."""
    return count(dataset, filters, ModelVersion.objects.serving(dataset))


def copy_to(release: Release, folder: Path) -> None:
    """Copy the files of a ready release to `folder`, which appears whole or not at all. Raises ReleaseError
    when there is something in it already, or it cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            whole = Path(scratch) / folder.name
            whole.mkdir()
            for name in names_of(release.manifest):
                with (
                    default_storage.open(f"{release.folder}/{name}") as source,
                    (whole / name).open("wb") as to,
                ):
                    to.writelines(source.chunks())
            os.rename(whole, folder)  # fails on a folder that has something in it
    except OSError as error:
        raise ReleaseError(
            f"{release} is ready, but cannot be copied to {folder}: {error.strerror}."
        ) from error


def names_of(facts: Manifest) -> list[str]:
    """Every file of a release, its manifest too."""
    return [*facts["files"], manifest.NAME]


def refuse_unusable(folder: Path) -> None:
    """Raise ReleaseError unless `folder` is new or empty: a Release never mixes with other files."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ReleaseError(f"{folder} is there already and not an empty folder; name a new one.")


@contextmanager
def _plain_words_for_a_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in proof.FULL:
            raise
        raise ReleaseError(_FULL_DISK) from error
    except OperationalError as error:
        if "is full" not in str(error):  # SQLite's "database or disk is full"
            raise
        raise ReleaseError(_FULL_DISK) from error


@contextmanager
def _next_number(dataset: Dataset) -> Iterator[int]:
    """The next free number; whoever asks at the same moment waits until this one is taken."""
    with transaction.atomic():
        # no_key: imports and Runs name the Dataset, and should not wait while a bucket takes the files.
        if not Dataset.objects.there().select_for_update(no_key=True).filter(pk=dataset.pk).first():
            raise Cancelled
        last = dataset.releases.order_by("-number").values_list("number", flat=True).first()
        yield (last or 0) + 1


@dataclass(frozen=True)
class Written:
    """Files of one snapshot in a folder, and what goes beside them."""

    dataset: Dataset
    folder: Path
    facts: Manifest
    guidelines: str

    def finish(self) -> None:
        """Write, or write again, what tells of the files: the calls that load them, card and manifest."""
        facts = self.facts
        for name in (card.NAME, LLAMA_FACTORY):
            facts["files"].pop(name, None)
        for name, calls in proof.calls_of(facts["files"], facts["profiles"]).items():
            facts["profiles"][name]["load"] = calls
        _add(facts, self.folder, card.NAME, card.card_of(facts, self.guidelines).encode())
        if facts["profiles"].get("llama-factory", {}).get("rows"):
            _add(facts, self.folder, LLAMA_FACTORY, _json(_dataset_info(self.dataset, facts)))
        (self.folder / manifest.NAME).write_bytes(_json(facts))

    def leave_out(self, faults: Sequence[proof.Fault]) -> None:
        """Keep what loads, and say why the rest is not there. Raises ReleaseError when nothing loads."""
        facts, gone = self.facts, {(fault.profile, fault.format) for fault in faults}
        for name, file in list(facts["files"].items()):
            if (file["profile"], file["format"]) in gone:
                (self.folder / name).unlink()
                del facts["files"][name]
        facts["not_written"] += [asdict(fault) for fault in faults]
        if not any(file["profile"] for file in facts["files"].values()):
            whys = " ".join(fault["why"] for fault in facts["not_written"])
            raise ReleaseError(f"Nothing was kept. {whys}")
        for name, profile in facts["profiles"].items():
            profile["rows"] = manifest.rows_of(name, facts["files"])
        self.finish()


def write(dataset: Dataset, recipe: Recipe, folder: Path, progress: Progress = never_stop) -> Written:
    """Write files and manifest of one snapshot into the folder, in one pass and in constant memory."""
    with snapshot() as using:
        version = ModelVersion.objects.using(using).serving(dataset)
        total = Comparison.objects.using(using).filter(dataset=dataset).count()
        recipe = recipe.keeping(kept_by(dataset, using))
        with _Files(folder, recipe) as files:
            try:
                read = cases(dataset, using, filters=recipe.filters, version=version)
            except BadFilter as error:
                raise ReleaseError(str(error)) from None
            with closing(read):  # before its connection is, whatever ends the loop
                for done, case in enumerate(read):
                    if done % CHUNK == 0 and not progress(done, total):
                        raise Cancelled
                    files.add(case)
        if not files.open:
            raise ReleaseError(_nothing(dataset, files.counts))
        facts = manifest_of(
            dataset, version, recipe.profiles, recipe.filters, files.counts, files.facts(), using
        )
        of_dataset = Guidelines.objects.using(using).filter(dataset=dataset).order_by("-number")
        newest = of_dataset.values_list("text", flat=True).first()
    written = Written(dataset, folder, facts, newest or "")
    written.finish()
    return written


def _nothing(dataset: Dataset, counts: Counts) -> str:
    counted = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in counts.by_outcome.most_common()
    )
    why = "has nothing to release yet"
    if counts.by_outcome.keys() == {LeftOut.FILTERED.value}:
        why = "has nothing that the filters let through"
    return f"{dataset} {why}. Its pairs: {counted or 'none'}."


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"


def _add(facts: Manifest, folder: Path, name: str, content: bytes) -> None:
    """Write a file that holds no rows, and enter it in the manifest."""
    (folder / name).write_bytes(content)
    facts["files"][name] = {
        "profile": None,
        "split": None,
        "format": None,
        "rows": None,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _dataset_info(dataset: Dataset, facts: Manifest) -> dict[str, Any]:
    """What LLaMA-Factory wants to know of each file, by a name of ours."""
    return {
        f"{dataset.name}_{it['split']}": {
            "file_name": name,
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        }
        for name, it in facts["files"].items()
        if it["profile"] == "llama-factory"
    }


class _Files(ExitStack):
    """All files of rows of one build, written in one pass over the cases, and what was counted on the way."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        super().__init__()
        self._folder, self._recipe = folder, recipe
        self.open: dict[tuple[str, Split, str], RowFile] = {}
        self.counts = Counts({profile.name: Counter() for profile in recipe.profiles})

    def add(self, case: Case) -> None:
        split = split_of(case.group)
        self.counts.see(case, split)
        wanted = [profile for profile in self._recipe.profiles if self._wants(profile, case, split)]
        if wanted:
            self.counts.release(case, split)
        for profile in wanted:
            self.counts.torn[profile.name] += profile.torn(case)
            files = [self._file(profile, split, name) for name in self._recipe.formats]
            for row in profile.rows(case):
                for file in files:
                    file.write(row)

    def facts(self) -> dict[str, dict[str, Any]]:
        """What the manifest says of each file, in the order of profiles, formats and splits."""
        keys = [
            (profile.name, split, name)
            for profile in self._recipe.profiles
            for name in self._recipe.formats
            for split in SPLITS
        ]
        return {self.open[key].path.name: self._fact(*key) for key in keys if key in self.open}

    def _fact(self, profile: str, split: Split, name: str) -> dict[str, Any]:
        file = self.open[profile, split, name]
        return {
            "profile": profile,
            "split": split,
            "format": name,
            "rows": file.rows,
            "bytes": file.size,
            "sha256": file.sha256,
        }

    def _wants(self, profile: Profile, case: Case, split: Split) -> bool:
        reason = profile.left_out(case, split)
        if reason is None and profile.undecided_too and case.filtered:
            reason = LeftOut.FILTERED
        if reason is not None:
            self.counts.left_out[profile.name][reason.value] += 1
        return reason is None

    def _file(self, profile: Profile, split: Split, name: str) -> RowFile:
        # Opened at its first row: a file without rows is one that `datasets` cannot load.
        key = profile.name, split, name
        if key not in self.open:
            path = self._folder / f"{profile.name}.{split}.{name}"
            self.open[key] = self.enter_context(RowFile(path, name, profile.columns))
        return self.open[key]


def _proven(written: Written, cache: Path, progress: Progress) -> Manifest:
    """The manifest of what loads by the calls in it; what does not load is left out, with the reason. Raises
    ReleaseError when nothing loads, Cancelled when it was stopped."""
    while faults := _prove(written, cache, progress):
        written.leave_out(faults)
    return written.facts


def _prove(written: Written, cache: Path, progress: Progress) -> list[proof.Fault]:
    """Load everything as its readers will. A small release is loaded here, since to start a process takes
    longer than to load it; a large one in a process of its own, as `datasets` keeps hold of some 230 MB for
    600 MB of rows."""
    total = written.facts["comparisons"]["total"]
    with tempfile.TemporaryDirectory(dir=cache) as scratch:  # a folder that changed is no folder to remember
        if sum(file["bytes"] for file in written.facts["files"].values()) <= PROVEN_HERE_BYTES:
            return proof.check(written.folder, Path(scratch))
        return _prove_elsewhere(written.folder, Path(scratch), lambda: progress(total, total))


def _prove_elsewhere(folder: Path, cache: Path, go_on: Callable[[], bool]) -> list[proof.Fault]:
    command = [sys.executable, "-P", proof.__file__, str(folder), str(cache)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own file
        while True:
            try:
                _, said = child.communicate(timeout=2)
                break
            except subprocess.TimeoutExpired:
                if not go_on():
                    child.kill()
                    raise Cancelled from None
    if child.returncode in proof.FULL:
        raise OSError(child.returncode, os.strerror(child.returncode))
    if child.returncode:
        why = said.strip().rsplit("\n", 1)[-1]
        raise ReleaseError(f"The files were written but not kept, as they could not be loaded: {why}")
    return [proof.Fault(**fault) for fault in orjson.loads((cache / proof.FAULTS).read_bytes())]


def _keep(release: Release, facts: Manifest, folder: Path) -> Release:
    """Move the files into storage and make the release ready, under a lock: of two workers that built the
    same one, the second finds it ready and keeps its hands off the files."""
    with _next_number(release.dataset) as number:
        if stored := Release.objects.select_for_update().filter(pk=release.pk).first():
            if stored.is_ready:
                return stored
            number = stored.number
        release.number = number
        release.manifest, release.state = facts, Release.State.READY
        rows = (sum(facts["profiles"][name]["rows"].values()) for name in release.profiles)
        release.rows = next(filter(None, rows), 0)
        release.save()
        clear_storage(release)
        try:
            for name in names_of(facts):
                with (folder / name).open("rb") as file:
                    default_storage.save(f"{release.folder}/{name}", _Moved(file))
        except BaseException:
            clear_storage(release)
            raise
    return release


class _Moved(File):  # type: ignore[type-arg]  # generic in the stubs only
    """A file that a local storage may rename into place; another kind of storage reads it."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def clear_storage(release: Release) -> None:
    """Delete whatever a build that was interrupted left in the release's folder."""
    delete_folder(release.folder)
