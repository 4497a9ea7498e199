"""The output of the processes of `up`: all lines go to files, warnings and errors to the screen as well."""

import re
from collections.abc import Callable, Iterable
from logging import makeLogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

from honcho.manager import SYSTEM_PRINTER_NAME
from honcho.printer import Message, Printer

LOG_BYTES = 10 * 2**20
OLD_LOGS = 3

ORDINARY = re.compile(
    r"""\s*$
    | \[?\d{4}-\d\d-\d\d\ [^A-Z]*\b(?:DEBUG|INFO)\b   # of Django, of gunicorn and of Celery
    | worker:\ (?:Warm|Cold)\ shutdown                # Celery, on its way out
    """,
    re.VERBOSE,
)
"""A line without a fault. Lines without a level are shown: they may be part of a traceback."""
STARTED = re.compile(r"(\w+) started ")
ENDED = re.compile(r"(\w+) stopped \(rc=(-?\d+)\)")


class Screen(Printer):  # type: ignore[misc]  # honcho ships no types
    """Writes each line to NAME.log in `folder`, and shows the lines that may tell of a fault. `on_started` is
    called once, when all of the named processes have been started."""

    def __init__(self, folder: Path, names: Iterable[str], on_started: Callable[[], None]) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        self.is_stopping = False
        self._to_start = set(names)
        self._on_started = on_started
        self._logs = {
            name: RotatingFileHandler(
                folder / f"{'up' if name == SYSTEM_PRINTER_NAME else name}.log",
                maxBytes=LOG_BYTES,
                backupCount=OLD_LOGS,
                encoding="utf-8",
            )
            for name in (*self._to_start, SYSTEM_PRINTER_NAME)
        }

    def write(self, message: Message) -> None:
        text = message.data
        for line in (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).splitlines():
            if message.name == SYSTEM_PRINTER_NAME:
                self._log(message.name, f"{message.time:%Y-%m-%d %H:%M:%S} {line}")
                self._follow(line)
            else:
                self._log(message.name, line)
                if not ORDINARY.match(line):
                    self.show(f"{message.name}: {line}")

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def show(self, text: str) -> None:
        print(text, file=self.output, flush=True)

    def _log(self, name: str, line: str) -> None:
        self._logs[name].emit(makeLogRecord({"msg": line}))

    def _follow(self, line: str) -> None:
        """Follow the starts and ends of processes in honcho's messages."""
        if started := STARTED.match(line):
            self._to_start.discard(started[1])
            if not self._to_start:
                self._on_started()
        elif line.endswith(" received") and not self.is_stopping:
            self.is_stopping = True
            self.show("Stopping …")
        elif (ended := ENDED.match(line)) and not self.is_stopping:
            self.is_stopping = True
            name, code = ended.groups()
            self.show(f"{name} ended with code {code}, so everything stops. See {self.place / name}.log.")
