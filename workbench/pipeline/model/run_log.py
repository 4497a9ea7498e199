"""What a training Run shows while it goes on: stage, log and curves."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.utils import timezone

from scoring.config import Progress, Stopped
from workbench.models import Run
from workbench.models.runs import Validation

log = logging.getLogger(__name__)

POINTS = 240
LINES = 200
SECONDS_A_WRITE = 1.0

Value = TypeVar("Value")


@dataclass
class RunLog:
    """Writes to the Run's result, which stays small: a curve of more than POINTS points loses every second
    one."""

    run: Run
    is_stopping: Callable[[], bool] = lambda: False
    alive: Callable[[], None] = lambda: None
    _written: float = 0.0
    _furthest: int = 0

    def __post_init__(self) -> None:
        self.run.result = {"log": [], "loss": [], "validation": [], **self.run.result}
        self._furthest = self.run.done

    def say(self, text: str) -> None:
        """A line of the log."""
        now = timezone.now().isoformat(timespec="seconds")
        self.run.result["log"] = [*self.run.result["log"], (now, text)][-LINES:]
        log.info("%s: %s", self.run, text)
        self.write()

    def stage(self, name: str) -> None:
        self.run.result["stage"] = name
        self.say(name)

    def write(self, done: int | None = None, total: int | None = None) -> None:
        """Store it. Raises Stopped when the Run was cancelled, or another worker has it."""
        self._written = time.monotonic()
        self.alive()
        if done is not None:
            self.run.done = done
        if not self.run.update_progress(self.run.done, total, self.run.result):
            raise Stopped

    def training(self, progress: Progress) -> bool:
        """Note the progress of the training; False when it should stop."""
        self.alive()
        _note(self.run.result["loss"], progress.step, progress.loss)
        news = False
        if measured := progress.measured:
            figures: Validation = {
                "log_loss": measured.log_loss,
                "accuracy": measured.accuracy,
                "best": measured.best,
            }
            news = _note(self.run.result["validation"], measured.step, figures)
        last = progress.step == progress.steps
        if not news and not last and time.monotonic() - self._written < SECONDS_A_WRITE:
            return not self.is_stopping()
        if progress.pairs_per_second:
            self.run.result["pairs_per_second"] = progress.pairs_per_second
        try:
            self.write(progress.step, progress.steps)
        except Stopped:
            return False
        self._forgive(progress.step)
        return not self.is_stopping()

    def _forgive(self, step: int) -> None:
        # A long training may lose more than three workers and still advance; a training that always dies at
        # the same step may not.
        if step > self._furthest and self.run.attempts > 1:
            Run.objects.filter(pk=self.run.pk).update(attempts=1)
            self.run.attempts = 1
        self._furthest = max(self._furthest, step)


def _note(points: list[tuple[int, Value]], step: int, value: Value | None) -> bool:
    """Add a point unless that step has one: a resumed training repeats the steps since its state."""
    while points and points[-1][0] > step:
        points.pop()
    if value is None or (points and points[-1][0] == step):
        return False
    points.append((step, value))
    if len(points) > POINTS:
        del points[1:-1:2]
    return True
