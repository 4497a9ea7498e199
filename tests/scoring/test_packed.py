"""A model folder in a tar: only what a checkpoint has is written, and nothing outside of the folder."""

import io
import tarfile
from pathlib import Path

import pytest

from scoring.checkpoint import CheckpointError
from scoring.packed import unpack

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 100, "tokenizer.json": b"{}"}


def tar_of(files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1.5  # a fraction needs an extended header
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def with_entry(name: str, **facts) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        for fact, value in facts.items():
            setattr(entry, fact, value)
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    return packed.getvalue()


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_the_files_are_written_as_they_were(tmp_path, kind):
    unpack(io.BytesIO(tar_of(FILES, kind)), tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def test_a_tar_of_a_whole_folder_is_one_of_its_files(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    with tarfile.open(tmp_path / "model.tar", "w") as archive:
        archive.add(source, ".")

    with (tmp_path / "model.tar").open("rb") as file:
        unpack(file, target)

    assert {path.name for path in target.iterdir()} == set(FILES)


@pytest.mark.parametrize(
    "name",
    ["../config.json", "/etc/config.json", "inner/config.json", "..", "../model.safetensors", ".safetensors",
     "pytorch_model.bin", "training_args.bin", "modeling.py", "learnt.jsonl.gz", ""],
)  # fmt: skip
def test_any_other_file_is_refused_and_nothing_is_written(tmp_path, name):
    folder = tmp_path / "inner" / "folder"
    folder.mkdir(parents=True)

    with pytest.raises(CheckpointError):
        unpack(io.BytesIO(tar_of({name: b"x"})), folder)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
     tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME],
)  # fmt: skip
def test_what_is_no_plain_file_is_refused(tmp_path, kind):
    with pytest.raises(CheckpointError, match="no plain file"):
        unpack(io.BytesIO(with_entry("config.json", type=kind, linkname="/etc/passwd")), tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    once = tar_of({"config.json": b"{}"})[:1024].rstrip(b"\0")
    twice = once.ljust(-(-len(once) // 512) * 512, b"\0") + tar_of({"config.json": b"[]"})

    with pytest.raises(CheckpointError, match="twice"):
        unpack(io.BytesIO(tar_of({"config.json": b"{}"}, tarfile.USTAR_FORMAT)[:1024] + twice), tmp_path)


@pytest.mark.parametrize("cut", [600, 1500, 3000])
def test_a_tar_that_is_cut_short_is_refused(tmp_path, cut):
    packed = tar_of({"model.safetensors": bytes(5000)}, tarfile.USTAR_FORMAT)

    with pytest.raises(CheckpointError, match="sent whole"):
        unpack(io.BytesIO(packed[:cut]), tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4" + bytes(2000), b"\x1f\x8b" + b"x" * 2000, bytes(1024)])
def test_what_is_no_tar_is_refused(tmp_path, content):
    with pytest.raises(CheckpointError):
        unpack(io.BytesIO(content), tmp_path)


def test_the_size_of_a_header_is_not_believed(tmp_path):
    """A header of a gigabyte that is not there, before a file, takes no memory."""
    entry = tarfile.TarInfo("config.json")
    entry.type, entry.size = tarfile.XHDTYPE, 2**30
    asked: list[int] = []

    class File(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    with pytest.raises(CheckpointError, match="no file"):
        unpack(File(entry.tobuf(tarfile.USTAR_FORMAT)), Path(tmp_path))

    assert max(asked) <= 2**20


def test_a_large_text_file_is_refused_before_it_is_written(tmp_path):
    entry = tarfile.TarInfo("config.json")
    entry.size = 2**31

    with pytest.raises(CheckpointError, match="larger than"):
        unpack(io.BytesIO(entry.tobuf(tarfile.USTAR_FORMAT)), tmp_path)

    assert not list(tmp_path.iterdir())
