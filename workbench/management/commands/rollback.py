import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, user_named
from workbench.management.commands.promote import promotion_facts
from workbench.pipeline.model import promotion
from workbench.pipeline.runs.progress import Refused

EXAMPLES = """
example:
  manage.py rollback --by ada --reason "It prefers apologies"

The scores of both models were kept, so the earlier model serves at once. A second rollback goes one model
further back.
"""


class Command(WorkbenchCommand):
    help = "Go back to the model that the active one replaced."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--by", metavar="NAME", help="the admin who decides")
        parser.add_argument("--reason", default="", help="why, kept on record")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = promotion.roll_back(by=user_named(options["by"]), reason=options["reason"])
        except Refused as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(promotion_facts(made)))
        else:
            self.stdout.write(
                f"{made.version} is active again in place of {made.supersedes}. {promotion.where_it_serves()}"
            )
