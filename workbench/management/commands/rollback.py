from django.core.management.base import CommandParser

from workbench.management.base import WorkbenchCommand, user_named
from workbench.management.commands.promote import promotion_facts
from workbench.pipeline.model import promotion


class Command(WorkbenchCommand):
    help = "Go back to the model that the active one replaced."
    examples = """
example:
  manage.py rollback --by ada --reason "It prefers apologies"

The earlier model still has its scores, so it serves at once. A second rollback goes one model further back.
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--by", metavar="NAME", help="the admin who decides")
        parser.add_argument("--reason", default="", help="why, kept on record")

    def handle(self, *, by: str | None, reason: str, **options: object) -> None:
        rollback = promotion.roll_back(by=user_named(by), reason=reason)
        replaced = f"{rollback.version} is active again in place of {rollback.supersedes}."
        self.answer(f"{replaced} {promotion.where_it_serves()}", promotion_facts(rollback))
