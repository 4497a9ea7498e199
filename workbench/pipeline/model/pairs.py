"""Pairs whose outcome is known, of a Dataset or a file: what a ModelVersion is measured on.

Which answers of a Dataset count is said in pipeline/quality/accuracy."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scoring.evaluate import by_length
from scoring.formats import Message, Pair, flatten_messages, pair_of_messages
from scoring.learnt import Text
from scoring.pairs import TARGETS, pairs_of
from scoring.rows.drafts import CompletionDraft
from scoring.rows.reading import read_whole
from scoring.rows.rows import BadRow
from workbench.models import Comparison, Dataset, Judgment, ModelVersion
from workbench.models.dataset import messages_digest, text_digest
from workbench.pipeline import imports
from workbench.pipeline.imports import Draft
from workbench.pipeline.imports.groups import own_group
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.accuracy import Ceiling, Opinions, Vector
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text import learnt
from workbench.pipeline.text.learnt import Seen

PROTOCOLS = {
    "": "every pair with a known outcome, ties among them",
    "webgpt": "only pairs with a preferred answer, citations kept",
    "webgpt-stripped": "only pairs with a preferred answer, [1] marks removed from the answers",
}
SLICED_BY = ("subset", "domain", "category")
"""Metadata of imported rows: each value makes a slice."""
MOST_SLICES = 30
NO_PREFERENCE = "no preferred option"
LEARNT = "a prompt that was learnt"
"""Why a pair is left out: one of the models in question was trained on its prompt group, or chosen by it."""
CHUNK = 500

Mask = npt.NDArray[np.bool_]


class NothingToEvaluate(Refused):
    """No pair to evaluate on; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class KnownPair:
    """One pair whose outcome is known. `key` is its Comparison's, 0 for a pair of a file; lengths are in
    characters; `slices` has the label by name of slice; `by_people`: a person's vote is among its
    opinions."""

    key: int
    digest: str
    group: str
    outcome: float
    lengths: tuple[int, int]
    slices: dict[str, str]
    texts: tuple[Pair, Pair] | None = None
    by_people: bool = False


@dataclass(frozen=True)
class KnownPairs:
    """Known pairs of one source, in an order that content alone fixes; `left_out` counts the others by
    reason, `set_aside` votes that do not count (see accuracy.Opinions). `prompts`: the texts of each group,
    where no Dataset has them. `ceiling`: how far the labels can be trusted, of whichever pairs."""

    source: str
    protocol: str
    pairs: list[KnownPair]
    dataset: Dataset | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    set_aside: Mapping[str, int] = field(default_factory=dict)
    prompts: Mapping[str, Sequence[Text]] = field(default_factory=dict)
    ceiling: Ceiling = field(default_factory=Ceiling)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[KnownPair]:
        return iter(self.pairs)

    @property
    def sha256(self) -> str:
        """Over texts and outcomes of all pairs; the order in which they came does not matter."""
        lines = (f"{pair.digest} {pair.outcome:g}\n" for pair in self)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def outcomes(self) -> list[float]:
        return [pair.outcome for pair in self]

    @property
    def groups(self) -> list[str]:
        return [pair.group for pair in self]

    @property
    def decided(self) -> int:
        """Number of pairs with a preferred side."""
        return sum(pair.outcome != TARGETS["tie"] for pair in self)

    @property
    def counted(self) -> dict[str, int]:
        """The `decided` pairs: those that people judged, before any Suggestion and where chance picked the
        pair, and those with imported labels alone."""
        people = sum(pair.by_people for pair in self if pair.outcome != TARGETS["tie"])
        return {"people": people, "imported": self.decided - people}

    def seen_by(self, version: ModelVersion) -> Seen:
        """Which of the groups the version has learnt."""
        if self.dataset is not None:
            return learnt.seen(version, self.dataset)
        return learnt.seen_of_texts(version, self.prompts)

    def are_unseen(self, seen: Seen) -> Mask:
        """(pairs,), whether the pair's group is new to the version."""
        return np.array([pair.group not in seen for pair in self], dtype=bool)

    def unseen_by(self, seen: Seen) -> "KnownPairs":
        return self.only(self.are_unseen(seen), LEARNT)

    def lengths(self) -> Vector:
        """(pairs, 2), in characters."""
        return np.array([pair.lengths for pair in self], dtype=np.float64).reshape(-1, 2)

    def length_rule(self) -> str:
        """Which of "longest" and "shortest" is right more often on the training split."""
        return accuracy.length_rule(np.array(self.outcomes), self.lengths(), self.groups)

    def slices(self) -> dict[str, list[str | None]]:
        """Labels by name of slice: length, and each name with two to thirty labels."""
        lengths = self.lengths()
        slices = {"length": by_length(lengths[:, 0], lengths[:, 1], self.outcomes)}
        for name in sorted({name for pair in self for name in pair.slices}):
            labels = [pair.slices.get(name) for pair in self]
            if 1 < len(set(labels) - {None}) <= MOST_SLICES:
                slices[name] = labels
        return slices

    def only(self, kept: Iterable[bool], reason: str) -> "KnownPairs":
        """The pairs that are kept; the others are counted under `reason`."""
        pairs = [pair for pair, keep in zip(self.pairs, kept, strict=True) if keep]
        if len(pairs) == len(self):
            return self
        left_out = self.left_out + Counter({reason: len(self) - len(pairs)})
        return replace(self, pairs=pairs, left_out=left_out)

    def none_in_words(self) -> str:
        """Why no pair counts, and what to do."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        left_out = f" Left out: {reasons}." if reasons else ""
        aside = accuracy.left_out_in_words(0, dict(self.set_aside))
        advice = f" {aside} {WHAT_TO_DO}" if aside else ""
        return f"{self.source} has no pair with a vote or label that counts.{left_out}{advice}"


WHAT_TO_DO = (
    "Collect more votes on random pairs (Settings: Random, or Mixture), with the model’s pick hidden."
)
"""For a Dataset with too few pairs that count."""


def counted_in_words(counted: Mapping[str, int]) -> str:
    """ "96 random pairs have votes from before ...; 12 pairs have imported labels." """
    people, imported = counted["people"], counted["imported"]
    parts = [_have(people, "random pair", "votes from before the model’s pick was shown")] if people else []
    if imported or not people:
        parts.append(_have(imported, "pair", "imported labels"))
    return f"{'; '.join(parts)}."


def _have(n: int, subject: str, fact: str) -> str:
    return f"{n:,} {subject} has {fact}" if n == 1 else f"{n:,} {subject}s have {fact}"


# --- pairs of a Dataset -------------------------------------------------------------------------------------


def of_dataset(dataset: Dataset, protocol: str = "") -> KnownPairs:
    """The pairs of the dataset that count (see pipeline/quality/accuracy)."""
    opinions = accuracy.opinions_of(dataset)
    target, votes = opinions.labels()
    left_out = Counter(accuracy.undecided(target, votes))
    counts = np.isfinite(target) & (target >= 0)
    if protocol and (ties := int((target == TARGETS["tie"]).sum())):
        left_out[NO_PREFERENCE] += ties
        counts &= target != TARGETS["tie"]
    places = np.flatnonzero(counts).tolist()
    pairs: list[KnownPair] = []
    for start in range(0, len(places), CHUNK):
        pairs += _pairs_at(places[start : start + CHUNK], opinions, target, protocol)
    pairs.sort(key=lambda pair: pair.digest)
    return KnownPairs(
        dataset.name, protocol, pairs, dataset, left_out, opinions.set_aside, ceiling=opinions.ceiling()
    )


def _pairs_at(places: list[int], opinions: Opinions, target: Vector, protocol: str) -> Iterator[KnownPair]:
    """Pairs by their places in `opinions`; with texts only where the protocol changes them."""
    keys = [opinions.keys[place] for place in places]
    rows = Comparison.objects.filter(pk__in=keys).order_by()
    digests = {
        key: "".join(parts)
        for key, *parts in rows.values_list("pk", "prompt__sha256", "a__sha256", "b__sha256")
    }
    slices = _slices(keys)
    texts = _stripped_texts(keys) if protocol == "webgpt-stripped" else {}
    for place, key in zip(places, keys, strict=True):
        by_people = bool(opinions.counts[place, 0].any())
        if by_people:
            slices[key]["labelled by"] = "people"
        yield KnownPair(
            key=key,
            digest=text_digest(digests[key]),
            group=opinions.groups[place],
            outcome=float(target[place]),
            lengths=(int(opinions.lengths[place, 0]), int(opinions.lengths[place, 1])),
            slices=slices[key],
            texts=texts.get(key),
            by_people=by_people,
        )


def _slices(keys: Collection[int]) -> dict[int, dict[str, str]]:
    """The slices of each Comparison: by the rows' metadata, and by whose labels decided it."""
    slices: dict[int, dict[str, str]] = defaultdict(dict)
    rows = Comparison.objects.filter(pk__in=keys).values_list("pk", "prompt__metadata", "metadata")
    for key, prompt_metadata, metadata in rows:
        for name in SLICED_BY:
            label = metadata.get(name) or prompt_metadata.get(name)
            if isinstance(label, str):
                slices[key][name] = label[:60]
    labels = Judgment.objects.labels().filter(comparison__in=keys).order_by("annotator__source")
    for key, source in labels.values_list("comparison_id", "annotator__source").distinct():
        slices[key]["labelled by"] = source or "people"
    return slices


def _stripped_texts(keys: Collection[int]) -> dict[int, tuple[Pair, Pair]]:
    comparisons = Comparison.objects.filter(pk__in=keys).select_related("prompt", "a", "b")
    return {
        comparison.pk: tuple(  # type: ignore[misc]
            _answered(comparison.prompt.messages, imports.without_citations(side.text)[0])
            for side in (comparison.a, comparison.b)
        )
        for comparison in comparisons
    }


def _answered(messages: list[Message], text: str) -> Pair:
    return pair_of_messages(messages, [{"role": "assistant", "content": text}], text)


# --- pairs of a file ----------------------------------------------------------------------------------------


def of_file(path: Path, protocol: str = "") -> KnownPairs:
    """The labelled pairs of a file in any known shape; nothing of the file is stored. Raises
    NothingToEvaluate with the first fault, by line, of a file with bad rows."""
    contents = read_whole(path, imports.ImportOptions(strip_citations=protocol == "webgpt-stripped"))
    if contents.problems:
        first = contents.problems[0]
        where = f"line {first.line}: " if first.line else ""
        raise NothingToEvaluate(f"{path.name}, {where}{first.message}")
    left_out: Counter[str] = Counter()
    try:
        # A copy of a pair would only make the intervals look narrower.
        pairs = {
            pair.digest: pair
            for draft in contents.drafts
            for pair in _pairs_of_draft(draft, contents.format, protocol, left_out)
        }
    except BadRow as bad:
        raise NothingToEvaluate(f"{path.name}: {bad.message}") from None
    prompts: dict[str, list[Text]] = defaultdict(list)
    for draft in contents.drafts:
        prompts[own_group(draft.messages)].append(Text.of(flatten_messages(draft.messages)))
    in_order = [pairs[digest] for digest in sorted(pairs)]
    return KnownPairs(path.name[:200], protocol, in_order, None, left_out, prompts=prompts)


def _pairs_of_draft(draft: Draft, shape: str, protocol: str, left_out: Counter[str]) -> Iterator[KnownPair]:
    for comparison, pair in pairs_of(draft, shape, left_out):
        if protocol and pair.is_tie:
            left_out[NO_PREFERENCE] += 1
            continue
        target = pair.target
        sides = [draft.completions[at] for at in (comparison.first, comparison.second)]
        if sides[0].digest > sides[1].digest:  # the canonical order, as a Dataset has it
            target, sides = 1 - target, sides[::-1]
        texts = [side.text for side in sides]
        metadata = {**draft.metadata, **comparison.metadata}
        digests = [messages_digest(draft.messages, draft.tools), *(side.digest for side in sides)]
        yield KnownPair(
            key=0,
            digest=text_digest("".join(digests)),
            group=own_group(draft.messages),
            outcome=target,
            lengths=(len(texts[0]), len(texts[1])),
            slices={name: label[:60] for name in SLICED_BY if isinstance(label := metadata.get(name), str)},
            texts=(_scored(draft, sides[0]), _scored(draft, sides[1])),
        )


def _scored(draft: Draft, side: CompletionDraft) -> Pair:
    """An answer of a file for a scorer."""
    if side.messages is None:
        return _answered(draft.messages, side.text)
    return pair_of_messages(draft.messages, side.messages, side.text)
