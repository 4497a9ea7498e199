"""What every stage that takes long has in common: how it reports, how it is stopped, how it refuses."""

from collections.abc import Callable

Progress = Callable[[int, int], bool]
"""Called with (units done, units in all) now and then; answers False when the work should stop."""


class Refused(ValueError):
    """An act that cannot be carried out. The message is a sentence for people: why, and what to do. Nothing
    was stored."""


class Cancelled(Exception):
    """Progress answered False: the Run was cancelled, or another worker has it. A function that raises this
    names in its docstring what stays stored."""


def is_for_people(error: BaseException) -> bool:
    """Whether the message of an error is a sentence for people: one of our own classes wrote it. What a
    library says may hold the text of an item, a path or SQL."""
    return type(error).__module__.partition(".")[0] in ("workbench", "scoring")


def never_stop(done: int, total: int) -> bool:
    """The Progress of a caller that neither shows nor stops anything."""
    return True
