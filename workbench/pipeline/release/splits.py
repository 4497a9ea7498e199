"""Which split a prompt group belongs to: see workbench.pipeline.splits, which figures read too."""

from workbench.pipeline.splits import SALT, SHARES, SPLITS, Split, split_of

__all__ = ["SALT", "SHARES", "SPLITS", "Split", "split_of"]
