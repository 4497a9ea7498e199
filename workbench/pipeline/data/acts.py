"""Acts on the data of a Dataset: counted beforehand, done in one transaction, kept as history, undone.

`changes` has what each act does. Rows are changed in statements of at most CHUNK Prompts. Undoing gives back
what nobody has changed since: a vote, a review or a later act is never undone with it."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from django.db import transaction
from django.utils import timezone

from workbench.db import bulk
from workbench.models import Act, ActOnPrompt, Dataset, PromptChange, Role, Run, User
from workbench.pipeline.data import more_pairs
from workbench.pipeline.data.change import Before, Cannot, Change, Chunk
from workbench.pipeline.data.changes import (
    Exclude,
    GiveTag,
    MarkGold,
    PutFirst,
    Restore,
    SendToReview,
    SetOverlap,
    TakeTag,
)
from workbench.pipeline.data.copying import Copy
from workbench.pipeline.data.pairing import PairAnew
from workbench.pipeline.data.rescoring import Rescore
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused

CHANGES: dict[str, type[Change]] = {
    change.kind: change
    for change in (
        GiveTag,
        TakeTag,
        Exclude,
        Restore,
        SendToReview,
        MarkGold,
        SetOverlap,
        PutFirst,
        Rescore,
        PairAnew,
        Copy,
    )
}
"""Acts on chosen Prompts, by kind. `more_pairs` makes the acts of the one other kind."""

CHUNK = 1000
NOTED_ONE_BY_ONE = 5000
SAMPLE = 3


@dataclass
class Extent:
    """How many Prompts, pairs and Completions an act changes, how many pairs it takes away, and how many it
    leaves, by reason. `sample`: primary keys of the first Prompts that it changes."""

    prompts: int = 0
    pairs: int = 0
    removed: int = 0
    answers: int = 0
    cannot: Cannot = field(default_factory=Counter)
    sample: list[int] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """What stays as it is: "4 pairs without a final label"."""
        return left_in_words(self.cannot)


@dataclass(frozen=True)
class Undone:
    """How many Prompts got back what they had, and what stays, by reason. emptied: the name of another
    Dataset that has no Prompt any more."""

    prompts: int
    left: list[str]
    emptied: str = ""


def left_in_words(cannot: Cannot) -> list[str]:
    return [f"{n:,} {noun}{'s' * (n != 1)} {why}" for (noun, why), n in sorted(cannot.items()) if n]


def preview(
    dataset: Dataset,
    change: Change,
    prompts: Collection[int],
    pairs: Collection[int] | None = None,
    *,
    by: User,
) -> Extent:
    """What `do` would change, and what it would leave. Refused as `do` is."""
    _refuse_too_many(change, prompts)
    extent = Extent()
    for pks in bulk.in_chunks(sorted(set(prompts)), CHUNK):
        _count(extent, change, Chunk.of(dataset, by, pks, _among(pairs), lock=False))
    return extent


def do(
    dataset: Dataset,
    change: Change,
    prompts: Collection[int],
    pairs: Collection[int] | None = None,
    *,
    by: User,
    query: str = "",
) -> Act:
    """Change these Prompts of the Dataset, or of their pairs only `pairs`, and keep the act in the history.
    Refused, with nothing stored, where nothing can be changed."""
    _refuse_too_many(change, prompts)
    extent = Extent()
    with ExitStack() as stack, transaction.atomic():
        change.begin(dataset, by, stack)
        act = Act.objects.create(dataset=dataset, kind=change.kind, by=by, query=query[:2000])
        for pks in bulk.in_chunks(sorted(set(prompts)), CHUNK):
            chunk = Chunk.of(dataset, by, pks, _among(pairs), lock=True)
            before = _count(extent, change, chunk, write=True)
            rows = [(act.pk, pk, json.dumps(was)) for pk, was in before.items()]
            bulk.insert(ActOnPrompt, ("act_id", "prompt_id", "before"), rows)
            if extent.prompts <= NOTED_ONE_BY_ONE:
                PromptChange.objects.note(dataset.pk, before)
        if not extent.prompts:
            raise Refused(f"Nothing was changed: {', '.join(extent.left) or 'no prompt is selected'}.")
        if extent.prompts > NOTED_ONE_BY_ONE:
            PromptChange.objects.all_of(dataset.pk)
        act.prompt_count, act.pair_count = extent.prompts, extent.pairs
        change.finish(act)
        act.details = {**change.details, "left": extent.left}
        act.save()
        record(Kind.ACT, by=by, dataset=dataset, target=act, word=change.kind, count=extent.prompts)
    return act


def _refuse_too_many(change: Change, prompts: Collection[int]) -> None:
    if change.most is not None and len(prompts) > change.most:
        raise Refused(f"{len(prompts):,} prompts are too many at once. Choose at most {change.most:,}.")


def _among(pairs: Collection[int] | None) -> Collection[int] | None:
    return None if pairs is None else frozenset(pairs)


def _count(extent: Extent, change: Change, chunk: Chunk, *, write: bool = False) -> Before:
    found = change.examine(chunk)
    if write and found.before:
        change.write(chunk, found)
    extent.prompts += len(found.before)
    extent.pairs += found.pairs
    extent.removed += found.removed
    extent.answers += found.answers
    extent.cannot += found.cannot
    extent.sample += list(found.before)[: SAMPLE - len(extent.sample)]
    return found.before


def change_of(act: Act) -> Change:
    """The change that the act was."""
    choices = {name: value for name, value in act.details.items() if name != "left"}
    return CHANGES[act.kind](**choices)


def undo(act: Act, by: User) -> Undone:
    """Give back what the act changed, where nothing came after it. Refused where it was undone before."""
    with transaction.atomic():
        both = [act.pk, change_of(act).undone_with] if act.kind in CHANGES else [act.pk]
        # In one order, so that two people who undo from both sides wait for each other.
        held = Act.objects.done().select_for_update(of=("self",)).filter(pk__in=both).order_by("pk")
        locked = {row.pk: row for row in held.select_related("dataset", "by")}
        standing = locked.get(act.pk)
        if standing is None:
            raise Refused("This was undone before.")
        if standing.kind == Act.Kind.PAIRS:
            stayed = more_pairs.undo(standing, by)
            left = Counter({("pair", "begun by somebody"): stayed})
            return Undone(standing.prompt_count, left_in_words(left))
        act, change, cannot, given = standing, change_of(standing), Cannot(), 0
        if change.is_undone_there:
            there = locked.get(change.undone_with)
            if there is None:
                raise Refused("The other dataset is deleted, so nothing is left to undo.")
            act, change = there, change_of(there)
        touched: set[int] = set()
        later = _later(act, change)
        for rows in bulk.in_chunks(
            ActOnPrompt.objects.filter(act=act).order_by("prompt").values_list("prompt", "before"), CHUNK
        ):
            before = dict(rows)
            touched |= set(before)
            changed = set(
                ActOnPrompt.objects.filter(act__in=later, prompt__in=list(before)).values_list(
                    "prompt", flat=True
                )
            )
            cannot["prompt", "changed by a later act"] += len(changed)
            before = {pk: was for pk, was in before.items() if pk not in changed}
            chunk = Chunk.of(act.dataset, act.by or by, list(before), None, lock=True)
            cannot += change.give_back(chunk, before)
            given += len(before)
        if given > NOTED_ONE_BY_ONE:
            PromptChange.objects.all_of(act.dataset_id)
        else:
            PromptChange.objects.note(act.dataset_id, touched)
        Act.objects.filter(pk__in=both).update(undone_at=timezone.now(), undone_by=by)
        for done in locked.values():  # here, and in the other Dataset where a copy went
            kind = Act.Kind(done.kind)
            record(Kind.ACT_UNDONE, by=by, dataset=done.dataset_id, target=done, word=kind, count=given)
    is_empty = act.dataset_id != standing.dataset_id and not act.dataset.prompts.exists()
    emptied = act.dataset.name if is_empty else ""
    return Undone(given, left_in_words(cannot), emptied)


def role_for(act: Act) -> Role:
    """The least role that may do and undo such an act."""
    return CHANGES[act.kind].role if act.kind in CHANGES else Role.ADMIN


def undone_in(act: Act) -> int:
    """Primary key of another Dataset that undoing the act changes; 0 = none."""
    if act.kind not in CHANGES or not (change := change_of(act)).is_undone_there:
        return 0
    return Act.objects.filter(pk=change.undone_with).values_list("dataset", flat=True).first() or 0


def undoable(listed: Iterable[Act]) -> set[int]:
    """Primary keys of those of the acts that can be undone: neither undone yet, nor a rescoring whose Run has
    done all that it was to do."""
    standing = [act for act in listed if act.undone_at is None]
    runs = {act.pk: act.details["run"] for act in standing if act.kind == Act.Kind.RESCORE}
    done = Run.objects.filter(pk__in=runs.values(), state=Run.State.DONE) if runs else Run.objects.none()
    done_runs = set(done.values_list("pk", flat=True))
    return {act.pk for act in standing if runs.get(act.pk) not in done_runs}


def _later(act: Act, change: Change) -> Sequence[int]:
    """Later acts of the same family that stand."""
    later = Act.objects.of(act.dataset).done().filter(pk__gt=act.pk, kind__in=change.family)
    tag = act.details.get("tag")
    return [other.pk for other in later if other.details.get("tag") == tag]


def prompts_in_words(n: int) -> str:
    return f"{n:,} prompt{'s' * (n != 1)}"


def sentence(act: Act) -> str:
    """What the act did: "Excluded 3 prompts from the queue: spam"."""
    if act.kind == Act.Kind.PAIRS:
        made = f"{act.pair_count:,} pair{'s' * (act.pair_count != 1)}"
        return f"{act.get_kind_display()} {prompts_in_words(act.prompt_count)}: {made}"
    change = change_of(act)
    what = prompts_in_words(act.prompt_count)
    if act.pair_count and change.counts_pairs:
        what = f"{act.pair_count:,} pair{'s' * (act.pair_count != 1)}"
    return f"{act.get_kind_display()} {what}{change.in_words}"
