"""A file of the local storage has its name when it is whole."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage

from workbench.db.storage import WholeFiles, names_in, paths_below


class Written(File):
    """A file in two pieces; `between` is what happens after the first."""

    def __init__(self, between) -> None:
        super().__init__(None, "rows")
        self.between = between

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"half" * 10_000
        self.between()
        yield b"and half"


@pytest.fixture
def storage(tmp_path: Path) -> WholeFiles:
    return WholeFiles(tmp_path / "files")


def test_the_product_stores_its_files_so():
    assert type(default_storage._wrapped) is WholeFiles


def test_a_file_that_is_being_written_is_not_there_yet(storage):
    seen = []

    storage.save("uploads/rows", Written(lambda: seen.extend(paths_below("", storage))))

    assert seen == []
    assert list(paths_below("", storage)) == ["uploads/rows"]
    with storage.open("uploads/rows") as file:
        assert file.read() == b"half" * 10_000 + b"and half"


def test_a_file_that_breaks_off_leaves_nothing(storage):
    def break_off() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        storage.save("uploads/rows", Written(break_off))

    assert not [path for path in Path(storage.location).rglob("*") if path.is_file()]


def test_two_files_of_one_name_get_two_names(storage):
    first, second = (storage.save("rows", ContentFile(text)) for text in ("one", "two"))

    assert first == "rows" != second
    with storage.open(second) as file:
        assert file.read() == b"two"


def test_a_file_on_the_same_disk_is_renamed_into_place(storage, tmp_path):
    class Sent(File):
        def temporary_file_path(self) -> str:
            return self.name

    sent = tmp_path / "sent"
    sent.write_bytes(b"rows")
    inode = sent.stat().st_ino

    with sent.open("rb") as file:
        storage.save("rows", Sent(file))

    assert Path(storage.path("rows")).stat().st_ino == inode


def test_what_a_killed_process_left_is_no_file_and_goes_after_a_day(storage):
    storage.save("rows", ContentFile(b"rows"))
    left = Path(storage.path("x.part"))
    left.write_bytes(b"ro")
    assert names_in("", storage) == ["rows"]

    storage.save("more", ContentFile(b"rows"))
    assert left.exists(), "it may be on its way"
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    storage.save("most", ContentFile(b"rows"))

    assert not left.exists()
