from datetime import datetime

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from workbench.db.away import is_disk_full
from workbench.management.base import WorkbenchCommand
from workbench.pipeline import backup


class Command(WorkbenchCommand):
    help = "Back up the whole workbench: database, models, releases and uploads."
    examples = """
examples:
  manage.py backup /mnt/backups                      a folder
  manage.py backup s3://team-backups/workbench       a bucket; S3_ENDPOINT names a store other than Amazon's
  manage.py backup /mnt/backups --keep 30            and delete all but the 30 latest
  manage.py backup /mnt/backups --list               what there is

People go on working meanwhile. A file is kept once, however many backups hold it.
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "target", nargs="?", default=settings.BACKUP_TARGET, help="default: BACKUP_TARGET"
        )
        parser.add_argument("--keep", type=int, metavar="N", help="delete all backups but the N latest")
        parser.add_argument("--list", action="store_true", help="list the backups, and take none")

    def handle(self, *, target: str, keep: int | None, list: bool, **options: object) -> None:  # noqa: A002
        if not target:
            raise CommandError("Name a folder or a bucket, or set BACKUP_TARGET.")
        if keep is not None and keep < 1:
            raise CommandError("--keep takes 1 or more.")
        place = backup.open_target(target, settings.S3_ENDPOINT, settings.S3_REGION)
        if list:
            names = place.names()
            self.answer("\n".join(names) or f"No backup in {target}.", names)
            return
        started_at = timezone.now()
        try:
            taken = backup.take(place, settings.DATA_DIR)
        except OSError as error:
            if is_disk_full(error):
                raise
            raise CommandError(f"The backup could not be written, and there is none: {error}") from None
        backup.record(taken, started_at)
        deleted = backup.forget_old(place, keep) if keep else 0
        moment = datetime.fromisoformat(taken.made_at).strftime("%d %B %Y, %H:%M:%S UTC")
        size = filesizeformat(taken.bytes).replace("\xa0", " ")
        text = f"{taken.name}: all that was saved by {moment}. {len(taken.files)} files, {size}."
        if deleted:
            text += f" Deleted {deleted} older."
        facts = {
            "name": taken.name,
            "made_at": taken.made_at,
            "files": len(taken.files),
            "bytes": taken.bytes,
        }
        self.answer(text, facts | {"deleted": deleted})
