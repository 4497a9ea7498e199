from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, counted, user_named
from workbench.pipeline.people import erasing


class Command(WorkbenchCommand):
    help = "Erase a person: name, mail and sessions go; the votes stay under a pseudonym."
    examples = """
examples:
  manage.py erase bob         say what would go, and erase nothing
  manage.py erase bob --yes   erase the account

There is no undo. Texts that the person wrote in comments, flags and notes stay; look through them first.
Backups keep the name until they are deleted.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the account")
        parser.add_argument("--yes", action="store_true", help="erase, and don't just say what would go")

    def handle(self, *, name: str, yes: bool, **options: object) -> None:
        user = user_named(name)
        if user is None:
            raise CommandError("Say whom to erase.")
        if not yes:
            votes, texts = erasing.kept(user)
            self.stdout.write(
                f"This erases {user}: name, mail, password, sessions, roles and pauses. "
                f"{counted(votes, 'vote')} would stay, {texts:,} with a comment. "
                "Nothing was erased; add --yes."
            )
            return
        self.stdout.write(f"Erased. The votes are those of {erasing.erase(user)} now.")
