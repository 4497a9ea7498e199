"""What all commands share: examples under --help, an answer for people or programs, and look-ups by name."""

import json
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from difflib import get_close_matches

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from rich.console import Console
from rich.table import Table

from workbench import access, health, origin
from workbench.db.away import DISK_IS_FULL, is_disk_full
from workbench.models import Dataset, ModelVersion, Release, User
from workbench.pipeline.runs.progress import Refused


class WorkbenchCommand(BaseCommand):
    """A command with examples; with `takes_json` it has --json."""

    suppressed_base_arguments = {
        "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color",
        "--force-color",
    }  # fmt: skip
    """Django's own options: they work, and help does not list them."""
    examples = ""
    takes_json = False
    json_help = "end with one line of JSON, for programs"

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: object) -> CommandParser:
        kwargs |= {"epilog": self.examples, "formatter_class": RawDescriptionHelpFormatter}
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if skip := parser._option_string_actions.get("--skip-checks"):  # noqa: SLF001
            skip.help = SUPPRESS
        if self.takes_json:
            parser.add_argument("--json", action="store_true", help=self.json_help)
        return parser

    def execute(self, *args: object, **options: object) -> str | None:
        """Raises CommandError where the command is refused, the disk is full, or the database is away or
        lacks migrations."""
        self.as_json = bool(options.get("json"))
        # The module's name, as Django names commands: history says which one wrote a row.
        before = origin.command.set(type(self).__module__.rpartition(".")[2])
        try:
            return super().execute(*args, **options)
        except Refused as refused:
            raise CommandError(str(refused)) from None
        except Exception as error:
            if is_disk_full(error):
                raise CommandError(DISK_IS_FULL) from error
            if not isinstance(error, DatabaseError) or not (faults := health.database_faults()):
                raise
            raise CommandError(" ".join(faults.values())) from error
        finally:
            origin.command.reset(before)

    def answer(self, text: str, facts: object) -> None:
        """Print the text, or with --json the facts."""
        self.stdout.write(json.dumps(facts) if self.as_json else text)


def dataset_named(name: str) -> Dataset:
    """Raises CommandError that lists close names."""
    if dataset := Dataset.objects.filter(name=name).first():
        return dataset
    names = list(Dataset.objects.not_deleted().values_list("name", flat=True))
    raise CommandError(f'There is no dataset "{name}".{_instead(name, names)}')


def dataset_to_change(name: str) -> Dataset:
    """A dataset to write to. Raises CommandError also where it is archived."""
    dataset = dataset_named(name)
    refuse_archived(dataset)
    return dataset


def refuse_archived(dataset: Dataset) -> None:
    """Raises CommandError for an archived dataset."""
    try:
        access.refuse_archived(dataset)
    except access.Archived as archived:
        raise CommandError(str(archived)) from None


def release_numbered(dataset: Dataset, number: int) -> Release:
    """A release that is ready. Raises CommandError that lists those there are."""
    ready = dataset.releases.ready()
    if release := ready.filter(number=number).first():
        return release
    numbers = ", ".join(map(str, ready.order_by("number").values_list("number", flat=True)))
    choice = f"It has {numbers}." if numbers else "It has none: manage.py release builds one."
    raise CommandError(f"{dataset} has no release {number} that is ready. {choice}")


def newest_release(dataset: Dataset) -> Release:
    """Raises CommandError where no release is ready."""
    if newest := dataset.releases.ready().order_by("-number").first():
        return newest
    raise CommandError(f"{dataset} has no release that is ready: manage.py release builds one.")


def version_named(name: str) -> ModelVersion:
    """Raises CommandError that lists close names."""
    if version := ModelVersion.objects.filter(name=name).first():
        return version
    names = list(ModelVersion.objects.values_list("name", flat=True))
    raise CommandError(f'There is no model "{name}".{_instead(name, names)}')


def user_named(name: str | None) -> User | None:
    """None for no name. Raises CommandError for a name that nobody has."""
    if not name:
        return None
    if user := User.objects.filter(username=name).first():
        return user
    names = list(User.objects.filter(is_active=True).values_list("username", flat=True))
    raise CommandError(f'Nobody here is named "{name}".{_instead(name, names)}')


def counted(number: int, noun: str) -> str:
    """ "1 row", "2 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def as_text(table: Table, width: int) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _instead(name: str, names: list[str]) -> str:
    """ " Is it Kitchen or Garden?", of close names, or of the first five."""
    close = get_close_matches(name, names) or names[:5]
    return f" Is it {' or '.join(close)}?" if close else ""
