"""Releases: the decided part of a Dataset as files that `datasets` loads. Equal data gives equal bytes.

`cases` reads, `filters` narrow, `profiles` shape, `files` write, `manifest` and `card` describe, `proof`
loads the files, `building` does all of this, and `history` compares Releases later."""

from workbench.pipeline.releases.archive import zip_blocks
from workbench.pipeline.releases.building import (
    Recipe,
    ReleaseError,
    begin,
    build,
    carry_out,
    copy_to,
    count_now,
    names_of,
    refuse_unusable,
)
from workbench.pipeline.releases.cases import LeftOut
from workbench.pipeline.releases.files import FORMATS
from workbench.pipeline.releases.filters import BadFilter, Filters, FilterValue
from workbench.pipeline.releases.history import Diff, ProfileDiff, Verified, diff, verify
from workbench.pipeline.releases.manifest import NAME as MANIFEST
from workbench.pipeline.releases.manifest import FileFacts, Manifest, people_and_label_sources
from workbench.pipeline.releases.profiles import DEFAULT_PROFILES, PROFILES, Profile
from workbench.pipeline.releases.proof import in_folder
from workbench.pipeline.text.splits import SPLITS, split_of

__all__ = [
    "DEFAULT_PROFILES",
    "FORMATS",
    "MANIFEST",
    "PROFILES",
    "SPLITS",
    "BadFilter",
    "Diff",
    "FileFacts",
    "FilterValue",
    "Filters",
    "LeftOut",
    "Manifest",
    "Profile",
    "ProfileDiff",
    "Recipe",
    "ReleaseError",
    "Verified",
    "begin",
    "build",
    "carry_out",
    "copy_to",
    "count_now",
    "diff",
    "in_folder",
    "names_of",
    "people_and_label_sources",
    "refuse_unusable",
    "split_of",
    "verify",
    "zip_blocks",
]
