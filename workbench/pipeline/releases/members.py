"""Which Prompts a Release has a row of.

The rows themselves name no Prompt. So a build keeps the primary keys of their Prompts, sorted, in a file of
its own (int64, little-endian), which is no part of the Release and is not downloaded. One Prompt is looked up
by a search that reads some twenty keys. Releases that were built before have no such file."""

from array import array
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from workbench.models import Release

NAME = "prompts.i64"
"""The file in the scratch folder of a build."""

_BYTES = 8


class Members:
    """Collects the Prompts of each profile's rows while a build writes them."""

    def __init__(self) -> None:
        self._of: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))

    def add(self, profile: str, prompt: int) -> None:
        """A row of the profile is of this Prompt. Rows of one Prompt follow each other."""
        prompts = self._of[profile]
        if not prompts or prompts[-1] != prompt:
            prompts.append(prompt)

    def write(self, folder: Path, profiles: Collection[str | None]) -> None:
        """Write the file of NAME, with the Prompts of these profiles."""
        chosen = [np.frombuffer(prompts, np.int64) for name, prompts in self._of.items() if name in profiles]
        keys = np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
        (folder / NAME).write_bytes(keys.astype("<i8").tobytes())


def _path_of(release: Release) -> str:
    return f"release-prompts/{release.pk}"


def store(release: Release, folder: Path) -> None:
    """Keep the file of a build in Django's storage."""
    default_storage.save(_path_of(release), ContentFile((folder / NAME).read_bytes()))


def delete(release: Release) -> None:
    default_storage.delete(_path_of(release))


def has_row_of(release: Release, prompt: int) -> bool | None:
    """Whether the Release has a row of the Prompt of this primary key; None where it was built before that
    was kept."""
    try:
        size = default_storage.size(_path_of(release)) // _BYTES
        with default_storage.open(_path_of(release)) as file:
            low, high = 0, size
            while low < high:
                middle = (low + high) // 2
                file.seek(middle * _BYTES)
                key = int.from_bytes(file.read(_BYTES), "little", signed=True)
                if key == prompt:
                    return True
                low, high = (middle + 1, high) if key < prompt else (low, middle)
    except FileNotFoundError:
        return None
    return False
