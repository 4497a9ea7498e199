import json
import socket

from django.core.management.base import CommandError, CommandParser
from django.utils.timesince import timesince

from workbench.management.base import WorkbenchCommand
from workbench.models import Worker


class Command(WorkbenchCommand):
    help = "List the workers; exits with 1 if none is alive."
    examples = """
examples:
  manage.py workers           which workers are alive, and when the others were last seen
  manage.py workers --here    exit 0 if a worker of this machine is alive: a health check
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--here", action="store_true", help="only the workers of this machine")

    def handle(self, *, here: bool, **options: object) -> None:
        workers = Worker.objects.all()
        if here:
            workers = workers.filter(name__startswith=f"{socket.gethostname()}:")
        alive = set(workers.alive().values_list("name", flat=True))
        for worker in workers:
            state = "alive" if worker.name in alive else f"last seen {timesince(worker.last_seen)} ago"
            self.stdout.write(f"{worker.name}  {worker.queues}  {state}")
        if self.as_json:
            self.stdout.write(json.dumps({"alive": sorted(alive)}))
        if not alive:
            raise CommandError("No worker is alive. Start the workers with manage.py up.")
