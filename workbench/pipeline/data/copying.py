"""Copy: Prompts with their Completions, but without votes, into another Dataset, by the stages of an import.

The pairs are those that the last import of the other Dataset would make. What is there already is not stored
again. A Prompt keeps its group, and so its split, unless the other Dataset has a near-duplicate. The history
of each of the two Datasets gets an act; undoing one undoes both."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Max, Q

from scoring.rows.drafts import (
    FILE_LICENCE,
    PAIRS_POLICIES,
    ComparisonDraft,
    CompletionDraft,
    Draft,
    ImportOptions,
    policy_pairs,
)
from workbench.db import bulk
from workbench.db.removal import delete_with_dependants
from workbench.models import Act, ActOnPrompt, Comparison, Completion, Dataset, Prompt, Run, User
from workbench.pipeline.data import more_pairs
from workbench.pipeline.data.change import Before, Cannot, Change, Chunk, Found
from workbench.pipeline.data.search_index import reindex
from workbench.pipeline.datasets import cloning
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.imports.importing import store_spooled
from workbench.pipeline.imports.spool import Spool
from workbench.pipeline.imports.store import Store
from workbench.pipeline.runs.progress import Refused

READ = 100
"""Prompts whose texts are in memory at a time."""


class Known(NamedTuple):
    """What the other Dataset has of a Prompt. is_there: the Prompt; `new`: places of the Completions that it
    lacks, in the order of their keys; `pairs`: places of the pairs to make."""

    is_there: bool
    new: set[int]
    pairs: list[tuple[int, int]]


@dataclass
class Copy(Change):
    """Copy to the Dataset `to`, a primary key; 0 = a new one named `to_name`, with the settings and people of
    this one.

    answers, made: numbers of Completions and pairs, known after the act. other: primary key of the act in the
    other Dataset's history. came_from: in that act, the name of the Dataset that the Prompts came from."""

    kind = Act.Kind.COPY
    button = "Copy {}"
    counts_pairs = False
    is_shown_first = True
    most = 20_000
    to: int = 0
    to_name: str = ""
    answers: int = 0
    made: int = 0
    other: int = 0
    came_from: str = ""

    def __post_init__(self) -> None:
        self._open: _Open | None = None

    @property
    def in_words(self) -> str:
        where = f" from {self.came_from}" if self.came_from else f" to {self.to_name}"
        answers = f"{self.answers:,} answer{'s' * (self.answers != 1)}"
        return f"{where}: {answers}, {self.made:,} pair{'s' * (self.made != 1)}"

    @property
    def promise(self) -> str:
        target = Dataset.objects.filter(pk=self.to).first()
        to = self.to_name if target else f"{self.to_name}, a new dataset with these settings and people"
        return f"To {to}; without votes. Pairs there: {PAIRS_POLICIES[policy_of(target).pairs]}."

    @property
    def undone_with(self) -> int:
        return self.other

    @property
    def is_undone_there(self) -> bool:
        return not self.came_from

    def begin(self, dataset: Dataset, by: User, stack: ExitStack) -> None:
        self._open = _Open(dataset, self._target(dataset, by), stack)
        self.to, self.to_name = self._open.target.pk, self._open.target.name

    def _target(self, dataset: Dataset, by: User) -> Dataset:
        """The other Dataset, locked."""
        if not self.to:
            try:
                with transaction.atomic():
                    self.to = cloning.clone(dataset, self.to_name, by).pk
            except IntegrityError:
                raise Refused(f"There is a dataset {self.to_name} already. Choose another name.") from None
        # Imports wait here, as they do for each other.
        target = Dataset.objects.in_use().select_for_update().filter(pk=self.to).first()
        if target is None or target == dataset:
            raise Refused("Choose another dataset that is in use.")
        return target

    def examine(self, chunk: Chunk) -> Found:
        target = self._open.target if self._open else Dataset.objects.filter(pk=self.to).first()
        found = Found(plan=_known(chunk, target))
        for prompt, known in found.plan.items():
            if known.new or not known.is_there:
                found.before[prompt] = {}
            found.answers += len(known.new)
            found.pairs += len(known.pairs)
        found.cannot["prompt", "there already"] = len(chunk.prompts) - len(found.before)
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        if self._open is None:
            raise ValueError("A copy begins before it is written.")
        for draft, group, language in _drafts(found.before, found.plan, self._open.licence):
            self._open.spool.add(draft, group, language)

    def finish(self, act: Act) -> None:
        if self._open is None:
            return
        before = self._open.stored()
        self.answers = sum(len(was["answers"]) for was in before.values())
        self.made = sum(was["pairs"] for was in before.values())
        there = Act.objects.create(
            dataset=self._open.target,
            kind=self.kind,
            by=act.by,
            at=act.at,
            details={**self.details, "other": act.pk, "came_from": act.dataset.name, "left": []},
            prompt_count=len(before),
            pair_count=self.made,
        )
        rows = [(there.pk, prompt, json.dumps(was)) for prompt, was in before.items()]
        bulk.insert(ActOnPrompt, ("act_id", "prompt_id", "before"), rows)
        self.other = there.pk
        record(Kind.ACT, by=act.by, dataset=there.dataset_id, target=there, word=self.kind, count=len(before))

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        """before: by Prompt of the other Dataset, which is the chunk's: whether the copy made it (`new`), and
        primary keys of the Completions that the copy added (`answers`)."""
        new = {prompt for prompt, was in before.items() if was["new"]}
        added = {pk for was in before.values() for pk in was["answers"]}
        of_copy = Q(prompt__in=new) | Q(a__in=added) | Q(b__in=added)
        # Whoever hands out a pair locks it first: once all are locked, none is begun meanwhile.
        pairs = dict(
            Comparison.objects.filter(of_copy, prompt__in=before)
            .select_for_update(of=("self",))
            .order_by("pk")
            .values_list("pk", "prompt")
        )
        begun = {pairs[pk] for pk in more_pairs.begun(list(pairs))}
        for prompt in begun:
            del before[prompt]
        more_pairs.delete_free([pk for pk, prompt in pairs.items() if prompt not in begun])
        answers = [pk for prompt, was in before.items() if prompt not in new for pk in was["answers"]]
        delete_with_dependants(Completion, answers, Comparison)
        reindex(chunk.dataset, [prompt for prompt in before if prompt not in new])
        delete_with_dependants(Prompt, [prompt for prompt in before if prompt in new], Comparison)
        return Counter({("prompt", "begun by somebody"): len(begun)})


class _Open:
    """A copy under way: the other Dataset, locked, and the spool of what goes there."""

    def __init__(self, dataset: Dataset, target: Dataset, stack: ExitStack) -> None:
        self.target = target
        self.licence = dataset.licence if dataset.licence != target.licence else ""
        self.spool = Spool(Path(stack.enter_context(TemporaryDirectory(prefix="workbench-copy-"))))
        stack.callback(self.spool.close)
        self._last = {model: model._default_manager.aggregate(last=Max("pk"))["last"] or 0
                      for model in (Prompt, Completion, Comparison)}  # fmt: skip

    def stored(self) -> dict[int, dict[str, Any]]:
        """Store what was spooled. Gives what is new, by Prompt of the other Dataset: whether the Prompt is,
        primary keys of Completions, and the number of pairs."""
        store_spooled(self.spool, Store(self.target, "copy"), self.target)
        new: defaultdict[int, dict[str, Any]] = defaultdict(lambda: {"new": False, "answers": [], "pairs": 0})
        prompts = Prompt.objects.of(self.target).filter(pk__gt=self._last[Prompt])
        for prompt in prompts.values_list("pk", flat=True):
            new[prompt]["new"] = True
        answers = Completion.objects.of(self.target).filter(pk__gt=self._last[Completion])
        for prompt, pk in answers.order_by("pk").values_list("prompt", "pk"):
            new[prompt]["answers"].append(pk)
        pairs = Comparison.objects.filter(dataset=self.target, pk__gt=self._last[Comparison])
        for prompt in pairs.values_list("prompt", flat=True):
            new[prompt]["pairs"] += 1
        return new


def policy_of(dataset: Dataset | None) -> ImportOptions:
    """How the last import of the Dataset made pairs of unrated answers; for None, how any import does."""
    runs = Run.objects.of_kind(Run.Kind.IMPORT).filter(dataset=dataset, state=Run.State.DONE)
    last = runs.order_by("-pk").values_list("params", flat=True).first() if dataset else None
    chosen = {name: last[name] for name in ("pairs", "max_pairs") if name in last} if last else {}
    return ImportOptions(**chosen)


def _known(chunk: Chunk, target: Dataset | None) -> dict[int, Known]:
    """What the target lacks of each Prompt. Reads no text."""
    options = policy_of(target)
    digests = dict(Prompt.objects.filter(pk__in=chunk.prompts).values_list("pk", "sha256"))
    answers = _answers(digests)
    there: dict[str, set[str]] = {}
    if target:
        of_target = Prompt.objects.of(target).filter(sha256__in=digests.values())
        found = dict(of_target.values_list("pk", "sha256"))
        of_prompts = _answers(found)
        there = {sha256: set(of_prompts[pk]) for pk, sha256 in found.items()}
    known = {}
    for prompt, sha256 in digests.items():
        stored = there.get(sha256)
        new = {n for n, digest in enumerate(answers[prompt]) if stored is None or digest not in stored}
        pairs, _ = policy_pairs(range(len(answers[prompt])), options.pairs, options.max_pairs)
        known[prompt] = Known(stored is not None, new, [pair for pair in pairs if not new.isdisjoint(pair)])
    return known


def _answers(prompts: Collection[int]) -> defaultdict[int, list[str]]:
    """sha256 of the Completions of each Prompt, in the order of their keys."""
    answers: defaultdict[int, list[str]] = defaultdict(list)
    rows = Completion.objects.filter(prompt__in=prompts).order_by("prompt_id", "pk")
    for prompt, sha256 in rows.values_list("prompt_id", "sha256"):
        answers[prompt].append(sha256)
    return answers


def _drafts(
    prompts: Collection[int], known: dict[int, Known], licence: str
) -> Iterator[tuple[Draft, str, str]]:
    """Each Prompt as a row of an import, with its group and language. licence: kept with each answer that
    names none."""
    for pks in bulk.in_chunks(prompts, READ):
        answers: defaultdict[int, list[CompletionDraft]] = defaultdict(list)
        completions = Completion.objects.filter(prompt__in=pks).order_by("prompt_id", "pk")
        columns = completions.values_list("prompt_id", "text", "source", "metadata", "conversation")
        for of, text, source, metadata, conversation in columns:
            kept = {FILE_LICENCE: licence, **metadata} if licence else metadata
            answers[of].append(CompletionDraft(text, source, kept, conversation))
        for prompt in Prompt.objects.filter(pk__in=pks).order_by("pk"):
            comparisons = tuple(ComparisonDraft(first, second) for first, second in known[prompt.pk].pairs)
            draft = Draft(
                line=prompt.pk,
                messages=prompt.messages,
                completions=tuple(answers[prompt.pk]),
                comparisons=comparisons,
                external_id=prompt.external_id,
                metadata=prompt.metadata,
                tools=prompt.tools,
            )
            yield draft, prompt.group, prompt.language
