from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from workbench.db.away import is_disk_full
from workbench.management.base import WorkbenchCommand
from workbench.pipeline import backup


class Command(WorkbenchCommand):
    help = "Restore a backup into an empty workbench."
    examples = """
examples:
  manage.py restore /mnt/backups                     the latest backup of a folder
  manage.py restore s3://team-backups/workbench 20261129T041500.000000Z-9f86d081884c7d65

The database must be new or empty. Afterwards run manage.py migrate, then start the workbench.
"""
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", help="the folder or bucket of the backups")
        parser.add_argument(
            "name", nargs="?", help="a backup as manage.py backup --list names it; default: the latest"
        )

    def handle(self, *, target: str, name: str | None, **options: object) -> None:
        place = backup.open_target(target, settings.S3_ENDPOINT, settings.S3_REGION)
        if name is None and not (names := place.names()):
            raise CommandError(f"There is no backup in {target}.")
        try:
            restored = backup.restore(place, name or names[0], settings.DATA_DIR)
        except Exception as error:
            if is_disk_full(error):
                raise CommandError(
                    "The disk is full, and the database is still empty. Make room and try again to continue."
                ) from None
            if not isinstance(error, OSError):
                raise
            raise CommandError(
                f"The backup could not be restored, and the database is still empty: {error}"
            ) from None
        held = f"the database and {len(restored.files)} files"
        text = f"Restored {restored.name}: {held}. Now run manage.py migrate."
        self.stdout.write(text)
