"""What each act on what is there changes, what it cannot change and why, and what undoing it gives back."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import connection
from django.utils import timezone

from workbench.db import bulk
from workbench.models import (
    Act,
    Annotator,
    Comparison,
    Dataset,
    Decision,
    Excluded,
    Flag,
    Prompt,
    PromptChange,
    PromptTag,
    Role,
    Tag,
)
from workbench.models.dataset import OUT_OF_QUEUE
from workbench.pipeline.data import excluding
from workbench.pipeline.data.change import Before, Cannot, Change, Chunk, Found, by_value, pairs_in
from workbench.pipeline.review.gold import KNOWN_ANSWERS
from workbench.pipeline.webhooks import outbox

FIRST = 2
"""The priority that an act gives. A saved view gives VIEWED, so that an act comes before the view."""
VIEWED = 1


# --- tags ---------------------------------------------------------------------------------------------------


@dataclass
class GiveTag(Change):
    kind = Act.Kind.TAG
    role = Role.REVIEWER
    tag: str

    @property
    def in_words(self) -> str:
        return f": {self.tag}"

    @property
    def family(self) -> tuple[Act.Kind, ...]:
        return (Act.Kind.TAG, Act.Kind.UNTAG)

    def _tagged(self, chunk: Chunk) -> set[int]:
        links = PromptTag.objects.filter(
            prompt__in=chunk.prompts, tag__name=self.tag, tag__dataset=chunk.dataset
        )
        return set(links.values_list("prompt", flat=True))

    def examine(self, chunk: Chunk) -> Found:
        tagged = self._tagged(chunk)
        found = Found(before={pk: {} for pk in chunk.prompts if pk not in tagged})
        found.cannot["prompt", "already tagged"] = len(tagged)
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        self._add(chunk, list(found.before))

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        self._remove(chunk, list(before))
        return Counter()

    def _add(self, chunk: Chunk, prompts: Sequence[int]) -> None:
        tag, _ = Tag.objects.get_or_create(dataset=chunk.dataset, name=self.tag)
        bulk.insert(PromptTag, ("prompt_id", "tag_id"), [(pk, tag.pk) for pk in prompts])

    def _remove(self, chunk: Chunk, prompts: Collection[int]) -> None:
        links = PromptTag.objects.filter(tag__name=self.tag, tag__dataset=chunk.dataset)
        links.filter(prompt__in=prompts).delete()


@dataclass
class TakeTag(GiveTag):
    kind = Act.Kind.UNTAG

    def examine(self, chunk: Chunk) -> Found:
        tagged = self._tagged(chunk)
        found = Found(before={pk: {} for pk in chunk.prompts if pk in tagged})
        found.cannot["prompt", "without this tag"] = len(chunk.prompts) - len(tagged)
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        self._remove(chunk, list(found.before))

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        tagged = self._tagged(chunk)
        self._add(chunk, [pk for pk in before if pk not in tagged])
        return Counter()


# --- exclusion ----------------------------------------------------------------------------------------------


def _with(where: str, more: str) -> str:
    """Out of both what it was out of before and what it is taken out of now."""
    return where if where == more else more if not where else Excluded.BOTH.value


def _set_excluded(prompts: Mapping[int, tuple[str, str]], now: Mapping[int, tuple[str, str]]) -> None:
    """prompts: (excluded_from, excluded_reason) of each Prompt as it is; now: as it shall be."""
    for (where, why), pks in by_value(now).items():
        Prompt.objects.filter(pk__in=pks).update(excluded_from=where, excluded_reason=why)
    was_out = {pk for pk in now if prompts[pk][0] in OUT_OF_QUEUE}
    is_out = {pk for pk, (where, _) in now.items() if where in OUT_OF_QUEUE}
    if is_out - was_out:
        excluding.leave_queue(is_out - was_out)
    if was_out - is_out:
        excluding.rejoin_queue(was_out - is_out)


@dataclass
class Exclude(Change):
    """Take Prompts out of the queue, of Releases, or of both. Nothing is deleted."""

    kind = Act.Kind.EXCLUDE
    where: str
    reason: str

    @property
    def in_words(self) -> str:
        return f" from {Excluded(self.where).label}: {self.reason}" if self.where else ""

    @property
    def family(self) -> tuple[Act.Kind, ...]:
        return (Act.Kind.EXCLUDE, Act.Kind.RESTORE)

    def examine(self, chunk: Chunk) -> Found:
        found = Found()
        for pk, (where, why) in chunk.prompts.items():
            if _with(where, self.where) == where:
                found.cannot["prompt", "already excluded"] += 1
            else:
                found.before[pk] = {"where": where, "reason": why}
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        now = {pk: (_with(chunk.prompts[pk][0], self.where), self.reason) for pk in found.before}
        _set_excluded(chunk.prompts, now)

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        _set_excluded(chunk.prompts, {pk: (was["where"], was["reason"]) for pk, was in before.items()})
        return Counter()


@dataclass
class Restore(Exclude):
    """Put excluded Prompts back into the queue and into Releases."""

    kind = Act.Kind.RESTORE
    where: str = ""
    reason: str = ""

    def examine(self, chunk: Chunk) -> Found:
        found = Found()
        for pk, (where, why) in chunk.prompts.items():
            if where:
                found.before[pk] = {"where": where, "reason": why}
            else:
                found.cannot["prompt", "not excluded"] += 1
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        _set_excluded(chunk.prompts, dict.fromkeys(found.before, ("", "")))


# --- pairs --------------------------------------------------------------------------------------------------


@dataclass
class SendToReview(Change):
    """A Flag of the person on each pair: it is a case under "Disagreements", and has no final label of votes
    until a reviewer settles it."""

    kind = Act.Kind.REVIEW
    role = Role.REVIEWER
    note: str = ""

    @property
    def in_words(self) -> str:
        return f": {self.note}" if self.note else ""

    def examine(self, chunk: Chunk) -> Found:
        found, pairs = Found(), chunk.pairs()
        pks = [pair.pk for pair in pairs]
        flagged = self._flagged(chunk, pks)
        settled = _settled(pks)
        for pair in pairs:
            if pair.pk in settled:
                found.cannot["pair", "settled by a reviewer already"] += 1
            elif pair.pk in flagged:
                found.cannot["pair", "sent to review by you already"] += 1
            else:
                found.add_pair(pair, None)
        return found

    @staticmethod
    def _flagged(chunk: Chunk, pairs: Collection[int]) -> set[int]:
        own = Flag.objects.open().filter(annotator__user=chunk.by, comparison__in=pairs)
        return set(own.values_list("comparison", flat=True))

    def write(self, chunk: Chunk, found: Found) -> None:
        annotator = Annotator.objects.for_user(chunk.by)
        fixed: dict[str, bulk.Value] = {
            "annotator_id": annotator.pk,
            "reason": Flag.Reason.REVIEW.value,
            "note": self.note,
        }
        now = str(connection.ops.adapt_datetimefield_value(timezone.now()))
        rows = [(pk, now) for pk in pairs_in(found.before)]
        bulk.insert(Flag, ("comparison_id", "created_at"), rows, fixed)
        outbox.note_flags(chunk.dataset, [pk for pk, _ in rows], Flag.Reason.REVIEW)

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        pairs = pairs_in(before)
        sent = Flag.objects.open().filter(
            comparison__in=pairs, annotator__user=chunk.by, reason=Flag.Reason.REVIEW
        )
        closed = sent.update(closed_at=timezone.now())
        return Counter({("pair", "reviewed meanwhile"): len(pairs) - closed})


def _settled(pairs: Collection[int]) -> set[int]:
    reviewed = Decision.objects.current().filter(method=Decision.Method.REVIEWER, comparison__in=pairs)
    return set(reviewed.values_list("comparison", flat=True))


@dataclass
class MarkGold(Change):
    """Make the final label of each pair, or for one pair the outcome chosen, its known answer."""

    kind = Act.Kind.GOLD
    role = Role.REVIEWER
    note: str = ""
    outcome: str = ""

    @property
    def in_words(self) -> str:
        return f": {self.note}" if self.note else ""

    def examine(self, chunk: Chunk) -> Found:
        found, pairs, out = Found(), chunk.pairs(), chunk.out_of_queue
        labels = {} if self.outcome else self._final_labels([pair.pk for pair in pairs])
        for pair in pairs:
            outcome = self.outcome or labels.get(pair.pk, "")
            if pair.prompt in out:
                found.cannot["pair", "excluded from the queue"] += 1
            elif pair.gold:
                found.cannot["pair", "gold already"] += 1
            elif outcome not in KNOWN_ANSWERS:
                found.cannot["pair", "without a final label"] += 1
            else:
                found.add_pair(pair, [outcome, pair.required])
        return found

    @staticmethod
    def _final_labels(pairs: Collection[int]) -> dict[int, str]:
        current = Decision.objects.current().filter(comparison__in=pairs)
        return dict(current.values_list("comparison", "outcome"))

    def write(self, chunk: Chunk, found: Found) -> None:
        outcomes = {pk: outcome for pk, (outcome, _) in pairs_in(found.before).items()}
        for outcome, pks in by_value(outcomes).items():
            rows = Comparison.objects.filter(pk__in=pks)
            rows.update(gold_outcome=outcome, gold_note=self.note, required=0)

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        now = {pair.pk: pair.gold for pair in chunk.pairs()}
        made = {pk: value for pk, value in pairs_in(before).items() if now.get(pk) == value[0]}
        for (_, required), pks in by_value(made).items():
            Comparison.objects.filter(pk__in=pks).update(gold_outcome="", gold_note="")
            excluding.set_required(pks, required)
        return Counter({("pair", "changed meanwhile"): len(pairs_in(before)) - len(made)})


@dataclass
class SetOverlap(Change):
    """Have each pair judged by this many people."""

    kind = Act.Kind.OVERLAP
    people: int

    @property
    def in_words(self) -> str:
        return f": {self.people}"

    def examine(self, chunk: Chunk) -> Found:
        found = Found()
        for pair in chunk.pairs():
            if pair.gold:
                found.cannot["pair", "that is gold"] += 1
            elif pair.required == self.people:
                found.cannot["pair", f"with {self.people} people already"] += 1
            else:
                found.add_pair(pair, pair.required)
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        excluding.set_required(pairs_in(found.before), self.people)

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        now = {pair.pk: None if pair.gold else pair.required for pair in chunk.pairs()}
        set_here = {pk: was for pk, was in pairs_in(before).items() if now.get(pk) == self.people}
        for required, pks in by_value(set_here).items():
            excluding.set_required(pks, required)
        return Counter({("pair", "changed meanwhile"): len(pairs_in(before)) - len(set_here)})


@dataclass
class PutFirst(Change):
    """Hand these pairs out before all others that nobody has begun."""

    kind = Act.Kind.PRIORITY

    def examine(self, chunk: Chunk) -> Found:
        found = Found()
        for pair in chunk.pairs():
            if pair.gold:
                found.cannot["pair", "that is gold"] += 1
            elif pair.priority >= FIRST:
                found.cannot["pair", "first already"] += 1
            else:
                found.add_pair(pair, pair.priority)
        return found

    def write(self, chunk: Chunk, found: Found) -> None:
        Comparison.objects.filter(pk__in=pairs_in(found.before)).update(priority=FIRST)

    def give_back(self, chunk: Chunk, before: Before) -> Cannot:
        for priority, pks in by_value(pairs_in(before)).items():
            Comparison.objects.filter(pk__in=pks, priority=FIRST).update(priority=priority)
        return Counter()


def put_first(dataset: Dataset, pairs: Iterable[int]) -> None:
    """Put the pairs of a saved view first, and no others but those that acts put first."""
    viewed = set(Comparison.objects.filter(dataset=dataset, priority=VIEWED).values_list("pk", flat=True))
    wanted = set(pairs)
    for gone in bulk.in_chunks(sorted(viewed - wanted), 1000):
        Comparison.objects.filter(pk__in=gone, priority=VIEWED).update(priority=0)
        PromptChange.objects.note_pairs(gone)
    for new in bulk.in_chunks(sorted(wanted - viewed), 1000):
        Comparison.objects.filter(dataset=dataset, pk__in=new, priority=0).update(priority=VIEWED)
        PromptChange.objects.note_pairs(new)
