"""Releases: the decided part of a Dataset as files that `datasets` loads. Equal data gives equal bytes.

`cases` reads, `filters` narrow, `profiles` shape, `files` write, `manifest` and `card` describe, `proof`
loads the files, `building` does all of this, and `history` compares Releases later. `counting` tells from
columns in memory what a build would write."""

from workbench.pipeline.releases.archive import zip_blocks
from workbench.pipeline.releases.building import (
    Recipe,
    ReleaseError,
    begin,
    build,
    carry_out,
    copy_to,
    names_of,
    refuse_unusable,
)
from workbench.pipeline.releases.cases import LeftOut
from workbench.pipeline.releases.files import FORMATS
from workbench.pipeline.releases.filters import (
    IN_PER_CENT,
    BadFilter,
    Filters,
    FilterValue,
    View,
    view_named,
)
from workbench.pipeline.releases.flow import Flow
from workbench.pipeline.releases.histograms import Histogram
from workbench.pipeline.releases.history import Diff, ProfileDiff, Verified, diff, verify
from workbench.pipeline.releases.lines import Lines, lines_of
from workbench.pipeline.releases.manifest import NAME as MANIFEST
from workbench.pipeline.releases.manifest import FileFacts, Manifest, people_and_label_sources
from workbench.pipeline.releases.previewing import Preview, preview
from workbench.pipeline.releases.profiles import DEFAULT_PROFILES, PROFILES, Profile
from workbench.pipeline.releases.proof import in_folder
from workbench.pipeline.releases.purposes import OTHER, PURPOSES, Purpose
from workbench.pipeline.text.splits import SPLITS, split_of

__all__ = [
    "DEFAULT_PROFILES",
    "FORMATS",
    "IN_PER_CENT",
    "MANIFEST",
    "OTHER",
    "PROFILES",
    "PURPOSES",
    "SPLITS",
    "BadFilter",
    "Diff",
    "FileFacts",
    "FilterValue",
    "Filters",
    "Flow",
    "Histogram",
    "LeftOut",
    "Lines",
    "Manifest",
    "Preview",
    "Profile",
    "ProfileDiff",
    "Purpose",
    "Recipe",
    "ReleaseError",
    "Verified",
    "View",
    "begin",
    "build",
    "carry_out",
    "copy_to",
    "diff",
    "in_folder",
    "lines_of",
    "names_of",
    "people_and_label_sources",
    "preview",
    "refuse_unusable",
    "split_of",
    "verify",
    "view_named",
    "zip_blocks",
]
