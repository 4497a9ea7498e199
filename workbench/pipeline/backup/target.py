"""Where backups are kept: a folder, or a bucket of an S3-compatible store.

20261129T041500.000000Z-9f86d081884c7d65.json   one backup: what it holds, written last
content/9f/9f86d081…                     each file once, by its sha256, however many backups hold it
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage, default_storage

from workbench.db.storage import WholeFiles, names_in
from workbench.pipeline.runs.progress import Refused

FORMAT = 1
BLOCK = 2**20


@dataclass(frozen=True)
class Content:
    """A file by its content."""

    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        return f"content/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True)
class Backup:
    """One backup. `database` is "sqlite" or "postgresql", and `dump` its whole content; `migrations` are the
    latest ones applied, by app; `files` are those of the storage, by name. `made_at` is in UTC, in ISO 8601:
    what was committed before is in the backup."""

    made_at: str
    database: str
    dump: Content
    migrations: dict[str, str]
    files: dict[str, Content]
    format: int = FORMAT

    def as_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @property
    def name(self) -> str:
        moment = datetime.fromisoformat(self.made_at).strftime("%Y%m%dT%H%M%S.%fZ")
        return f"{moment}-{hashlib.sha256(self.as_json()).hexdigest()[:16]}"

    @property
    def contents(self) -> set[Content]:
        return {self.dump, *self.files.values()}

    @property
    def bytes(self) -> int:
        """Bytes of all that it holds, each content once."""
        return sum(content.bytes for content in self.contents)


@dataclass(frozen=True)
class Target:
    """A place for backups."""

    storage: Storage

    def names(self) -> list[str]:
        """Names of the backups, the latest first."""
        files = names_in("", self.storage)
        return sorted((name.removesuffix(".json") for name in files if name.endswith(".json")), reverse=True)

    def read(self, name: str) -> Backup:
        """Raises Refused where the backup is not there, is damaged, or is of a later form."""
        try:
            with self.storage.open(f"{name}.json") as file:
                raw = file.read()
        except FileNotFoundError:
            raise Refused(f"There is no backup {name} here.") from None
        if hashlib.sha256(raw).hexdigest()[:16] != name.rpartition("-")[2]:
            raise Refused(f"{name}.json is damaged: its digest is not that in its name.")
        facts = json.loads(raw)
        if facts["format"] > FORMAT:
            raise Refused(f"{name} was made by a later version of the workbench, which must restore it.")
        files = {path: Content(**content) for path, content in facts["files"].items()}
        return Backup(**facts | {"dump": Content(**facts["dump"]), "files": files})

    def write(self, backup: Backup) -> None:
        self.storage.save(f"{backup.name}.json", ContentFile(backup.as_json()))

    def has(self, content: Content) -> bool:
        """Whether the content is here as a whole."""
        return self.storage.exists(content.name) and self.storage.size(content.name) == content.bytes

    def add(self, file: IO[bytes]) -> Content:
        """Keep the file's content, unless it is here."""
        content = content_of(file)
        if not self.has(content):
            self.storage.delete(content.name)  # the part that a killed backup has left
            file.seek(0)
            self.storage.save(content.name, File(file))
        return content

    def blocks(self, content: Content) -> Iterator[bytes]:
        """The content in pieces. Raises Refused, after the last piece, where it is not what was kept."""
        digest = hashlib.sha256()
        try:
            with self.storage.open(content.name) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    yield block
        except FileNotFoundError:
            raise Refused(f"{content.name} is missing.") from None
        if digest.hexdigest() != content.sha256:
            raise Refused(f"{content.name} is damaged: its digest is not that in its name.")


def open_target(place: str, endpoint: str = "", region: str = "") -> Target:
    """The target that `place` names: a folder, or "s3://bucket/folder" at an endpoint. Raises Refused where
    the folder is among the files to be backed up, or the library for buckets is not installed."""
    if not place.startswith("s3://"):
        own = default_storage.path("") if isinstance(default_storage, FileSystemStorage) else None
        if own and Path(place).resolve().is_relative_to(Path(own).resolve()):
            raise Refused(f"{place} lies among the files that are backed up. Name a folder elsewhere.")
        folder = Path(place).absolute()
        private = WholeFiles(
            folder, base_url=None, file_permissions_mode=0o600, directory_permissions_mode=0o700
        )
        return Target(private)
    try:
        from storages.backends.s3 import S3Storage
    except ImportError:
        raise Refused("Backups to a bucket need a library: pip install .[s3].") from None
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    named = {"endpoint_url": endpoint or None, "region_name": region or None}
    return Target(
        S3Storage(bucket_name=bucket, location=prefix, default_acl=None, file_overwrite=True, **named)
    )


def content_of(file: IO[bytes]) -> Content:
    """Reads the file from its present place to its end."""
    digest, size = hashlib.sha256(), 0
    while block := file.read(BLOCK):
        digest.update(block)
        size += len(block)
    return Content(digest.hexdigest(), size)
