"""What an act is made of. A change is given the Prompts of one statement at a time, and knows nothing of the
history (pipeline.data.acts). `before` holds by Prompt what undoing needs; the primary keys of pairs in it are
texts, as JSON has no others."""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NamedTuple

from workbench.models import Act, Comparison, Dataset, Prompt, Role, User
from workbench.models.dataset import OUT_OF_QUEUE

Before = dict[int, dict[str, Any]]
Cannot = Counter[tuple[str, str]]
"""How many could not be changed, by ("pair" or "prompt", why)."""


class Pair(NamedTuple):
    """What acts ask of a Comparison. `required` is the number that holds once its Prompt is in the queue."""

    pk: int
    prompt: int
    required: int | None
    gold: str
    gold_note: str
    priority: int


@dataclass
class Chunk:
    """Some Prompts of the Dataset, by primary key with (excluded_from, excluded_reason), and of their pairs
    those that were chosen: all for None."""

    dataset: Dataset
    by: User
    prompts: dict[int, tuple[str, str]]
    chosen: Collection[int] | None
    lock: bool
    """Whether the rows are about to be written."""

    @classmethod
    def of(
        cls, dataset: Dataset, by: User, pks: Collection[int], chosen: Collection[int] | None, lock: bool
    ) -> "Chunk":
        # In one order, so that two acts at once wait for each other and do not deadlock.
        rows = Prompt.objects.of(dataset).filter(pk__in=pks).order_by("pk")
        if lock:
            rows = rows.select_for_update(of=("self",), no_key=True)
        values = rows.values_list("pk", "excluded_from", "excluded_reason")
        return cls(dataset, by, {pk: (where, why) for pk, where, why in values}, chosen, lock)

    @property
    def out_of_queue(self) -> set[int]:
        return {pk for pk, (where, _) in self.prompts.items() if where in OUT_OF_QUEUE}

    def pairs(self) -> list[Pair]:
        rows = Comparison.objects.filter(prompt__in=self.prompts).order_by("pk")
        if self.lock:
            rows = rows.select_for_update(of=("self",), no_key=True)
        values = rows.values_list(
            "pk", "prompt_id", "required", "required_if_restored", "gold_outcome", "gold_note", "priority"
        )
        out = self.out_of_queue
        return [
            Pair(pk, prompt, kept if prompt in out else required, gold, note, priority)
            for pk, prompt, required, kept, gold, note, priority in values
            if self.chosen is None or pk in self.chosen
        ]


@dataclass
class Found:
    """What a change would do to a chunk: the Prompts that it changes, the number of pairs and of Completions,
    of pairs that it takes away, and the rest."""

    before: Before = field(default_factory=dict)
    pairs: int = 0
    removed: int = 0
    answers: int = 0
    cannot: Cannot = field(default_factory=Counter)
    plan: Any = None
    """What `write` needs besides."""

    def add_pair(self, pair: Pair, value: object) -> None:
        self.before.setdefault(pair.prompt, {})[str(pair.pk)] = value
        self.pairs += 1


class Change(ABC):
    """The choices of an act, as stored in `Act.details`, and what follows from them."""

    kind: ClassVar[Act.Kind]
    role: ClassVar[Role] = Role.ADMIN
    """The least role that may do it."""
    counts_pairs: ClassVar[bool] = True
    """Whether a sentence about the act names the pairs in the place of the prompts."""
    button: ClassVar[str] = "Change {}"
    """What the button of the page that shows the act first says; {} = "3 prompts"."""
    is_shown_first: ClassVar[bool] = False
    """Whether a page shows what the act would change even where the prompts were checked one by one."""
    most: ClassVar[int | None] = None
    """Prompts of one act; None = any number."""

    @property
    def family(self) -> tuple[Act.Kind, ...]:
        """Kinds of acts after which this one cannot be undone where both changed a Prompt."""
        return (self.kind,)

    @property
    def in_words(self) -> str:
        """What follows the number of prompts in a sentence about the act."""
        return ""

    @property
    def promise(self) -> str:
        """A sentence for the page that shows what the act would change; "" = none."""
        return ""

    @property
    def undone_with(self) -> int:
        """Primary key of an act of another Dataset that is undone together with this one; 0 = none."""
        return 0

    @property
    def is_undone_there(self) -> bool:
        """Whether what is to be undone is in that Dataset."""
        return False

    @property
    def details(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # each change is a dataclass

    def begin(self, dataset: Dataset, by: User, stack: ExitStack) -> None:  # noqa: B027  most need no beginning
        """Called once, in the transaction of the act, before the first chunk. `stack` is closed after it."""

    def finish(self, act: Act) -> None:  # noqa: B027  nor an end
        """Called once, in the transaction of the act, after the last chunk. `act` is stored then."""

    @abstractmethod
    def examine(self, chunk: Chunk) -> Found:
        """What the change would do. Writes nothing."""

    @abstractmethod
    def write(self, chunk: Chunk, found: Found) -> None:
        """Change what was found. May add to `found.before` what is known only now."""

    @abstractmethod
    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        """Undo the change where nothing came after it, and take out of `before` the Prompts that stay as they
        are. Returns what stays, by reason. Raises Refused where nothing can be undone."""


def by_value(before: Mapping[int, Any]) -> dict[Any, list[int]]:
    """Primary keys by the value that they get back, so that each value takes one statement."""
    keys: defaultdict[Any, list[int]] = defaultdict(list)
    for pk, value in before.items():
        keys[tuple(value) if isinstance(value, list) else value].append(pk)
    return keys


def pairs_in(before: Before) -> dict[int, Any]:
    return {int(pk): value for pairs in before.values() for pk, value in pairs.items()}
