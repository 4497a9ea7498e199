"""Backups of the whole workbench: database, models, Releases and uploads."""

from workbench.pipeline.backup.restoring import restore
from workbench.pipeline.backup.run import begin_if_due, carry_out, latest, made_at, record
from workbench.pipeline.backup.taking import forget_old, take
from workbench.pipeline.backup.target import Backup, Target, open_target

__all__ = [
    "Backup", "Target", "begin_if_due", "carry_out", "forget_old", "latest", "made_at", "open_target",
    "record", "restore", "take",
]  # fmt: skip
