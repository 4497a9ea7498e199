"""The split of a prompt group, which never changes; training and evaluation use it too."""

import hashlib
from typing import get_args

from workbench.models.runs import Split as Split

SPLITS: tuple[Split, ...] = get_args(Split)

SALT = "preference-workbench/split/1"
"""One salt for all Datasets, so that a group has the same split in each. A change would move test prompts
into training."""
SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split_of(group: str) -> Split:
    """The split of a prompt group (see models.dataset.group_digest), by a salted hash alone, so that no later
    Prompt, Release or Dataset can change it."""
    digest = hashlib.sha256(f"{SALT}:{group}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    if point < SHARES["train"]:
        return "train"
    return "validation" if point < SHARES["train"] + SHARES["validation"] else "test"
