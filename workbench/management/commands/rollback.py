import json
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workbench.management.commands.promote import promotion_facts, user_named
from workbench.pipeline import promotion

EXAMPLES = """
example:
  manage.py rollback --by ada --reason "It prefers apologies"

The Scores of both were kept, so the model before serves at once. Rolling back again goes one further.
"""


class Command(BaseCommand):
    help = "Put the model back that the active one replaced."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--by", metavar="NAME", help="who does it")
        parser.add_argument("--reason", default="", help="why, kept on record")
        parser.add_argument("--json", action="store_true", help="print one machine-readable last line")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = promotion.roll_back(by=user_named(options["by"]), reason=options["reason"])
        except promotion.Refused as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(promotion_facts(made)))
        else:
            self.stdout.write(
                f"{made.version} is active again, in place of {made.replaced}. {promotion.where_it_serves()}"
            )
