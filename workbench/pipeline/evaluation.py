"""Pairs whose outcome people have settled -> what a ModelVersion is worth on them, beside what it must beat.

`of_dataset` and `of_file` make Pairs; `evaluate` reads or computes margins on them and stores an Evaluation;
`compared` puts two versions side by side on the same pairs."""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import Any, Literal

from django.db.models import Count
from django.db.models.functions import Length

from scoring import evaluate as figures_of
from scoring.evaluate import PairedComparison, by_length
from scoring.formats import BadText, Pair, Scored, Scorer, flatten_messages
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Decision,
    Evaluation,
    Judgment,
    ModelVersion,
    Outcome,
    Run,
    Suggestion,
)
from workbench.models.dataset import group_digest, messages_digest, text_digest
from workbench.pipeline import agreement, intake, scoring
from workbench.pipeline.intake import Draft
from workbench.pipeline.release.splits import Split, split_of
from workbench.pipeline.runs import kept_alive

TARGETS = {Outcome.A: 1.0, Outcome.TIE: 0.5, Outcome.B: 0.0}
PROTOCOLS = {
    "": "every settled pair, ties among them",
    "webgpt": "only comparisons with a preferred option, citations kept",
    "webgpt-stripped": "only comparisons with a preferred option, [1] marks removed from the answers",
}
BESIDE = ("longest", "random")
KINDS_OF_PART = ("subset", "domain", "category")
"""Metadata of imported rows that says which part of a set a pair is of: each value is a slice."""
MOST_PARTS = 30
CHUNK = 500
SCORED_AT_ONCE = 256

ScorerOf = Callable[[ModelVersion], Scorer]
Progress = Callable[[int, int], bool]
"""Told (texts scored, texts in all); answers False when the work should stop."""


class NothingToEvaluate(ValueError):
    """No pair to evaluate on; the message is a sentence for people."""


class Stopped(Exception):
    """The progress callable said stop; nothing was stored but Scores."""


@dataclass(frozen=True, slots=True)
class Known:
    """One pair whose outcome is known. `key` is its Comparison's, 0 for a pair of a file; lengths are in
    characters; `parts` are its slices by name."""

    key: int
    digest: str
    group: str
    outcome: float
    lengths: tuple[int, int]
    parts: dict[str, str]
    texts: tuple[Pair, Pair] | None = None


@dataclass(frozen=True)
class Pairs:
    """Known pairs of one source, in an order that content alone fixes; `left_out` counts the others by
    reason."""

    source: str
    split: Split | Literal["all"]
    protocol: str
    known: list[Known]
    dataset: Dataset | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def sha256(self) -> str:
        """Over texts and outcomes of all pairs; the order in which they came does not matter."""
        lines = (f"{pair.digest} {pair.outcome:g}\n" for pair in self.known)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def outcomes(self) -> list[float]:
        return [pair.outcome for pair in self.known]

    @property
    def groups(self) -> list[str]:
        return [pair.group for pair in self.known]

    @property
    def decided(self) -> int:
        """Those with a preferred side."""
        return sum(pair.outcome != TARGETS[Outcome.TIE] for pair in self.known)

    def slices(self) -> dict[str, list[str | None]]:
        """Labels by name of slice: length, and each part that has two to thirty values."""
        found: dict[str, list[str | None]] = {
            "length": by_length(
                [pair.lengths[0] for pair in self.known],
                [pair.lengths[1] for pair in self.known],
                self.outcomes,
            )
        }
        for name in sorted({name for pair in self.known for name in pair.parts}):
            labels = [pair.parts.get(name) for pair in self.known]
            if 1 < len(set(labels) - {None}) <= MOST_PARTS:
                found[name] = labels
        return found

    def only(self, kept: Sequence[bool], reason: str) -> "Pairs":
        """Those that are kept; the others are counted under `reason`."""
        known = [pair for pair, keep in zip(self.known, kept, strict=True) if keep]
        if len(known) == len(self.known):
            return self
        left_out = self.left_out + Counter({reason: len(self.known) - len(known)})
        return replace(self, known=known, left_out=left_out)


# --- pairs of a Dataset -------------------------------------------------------------------------------------


def of_dataset(dataset: Dataset, protocol: str = "", *, split: Split = "test", settle: bool = True) -> Pairs:
    """The settled pairs of the split, or all of them when the Dataset is frozen or a protocol asks for it.
    `settle` first brings derived Decisions in line with the Judgments, which writes."""
    if settle:
        agreement.settle(dataset)
    every = dataset.frozen or bool(protocol)
    left_out: Counter[str] = Counter()
    known: list[Known] = []
    wanted = (row for row in _settled(dataset) if every or split_of(row["group"]) == split)
    while chunk := list(islice(wanted, CHUNK)):
        known += _known(chunk, protocol, left_out)
    return Pairs(dataset.name, "all" if every else split, protocol, known, dataset, left_out)


def _settled(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Comparisons with a standing Decision, as rows in the order of their content."""
    decided = (
        Decision.objects.standing()
        .of(dataset)
        .order_by("comparison__prompt__sha256", "comparison__a__sha256", "comparison__b__sha256")
        .annotate(a_length=Length("comparison__a__text"), b_length=Length("comparison__b__text"))
    )
    columns = {
        "key": "comparison_id",
        "group": "comparison__prompt__group",
        "prompt": "comparison__prompt__sha256",
        "a": "comparison__a__sha256",
        "b": "comparison__b__sha256",
    }
    names = [*columns, "outcome", "a_length", "b_length"]
    rows = decided.values_list(*columns.values(), "outcome", "a_length", "b_length")
    return (dict(zip(names, row, strict=True)) for row in rows.iterator(chunk_size=CHUNK))


def _known(rows: list[dict[str, Any]], protocol: str, left_out: Counter[str]) -> Iterator[Known]:
    """Rows with an outcome that a margin can agree with; texts only where the protocol changes them."""
    usable = []
    for row in rows:
        if row["outcome"] not in TARGETS:
            left_out[row["outcome"].replace("_", " ")] += 1
        elif protocol and row["outcome"] == Outcome.TIE:
            left_out["no preferred option"] += 1
        else:
            usable.append(row)
    parts = _parts([row["key"] for row in usable])
    texts = _stripped_texts([row["key"] for row in usable]) if protocol == "webgpt-stripped" else {}
    for row in usable:
        yield Known(
            key=row["key"],
            digest=text_digest(row["prompt"] + row["a"] + row["b"]),
            group=row["group"],
            outcome=TARGETS[Outcome(row["outcome"])],
            lengths=(row["a_length"], row["b_length"]),
            parts=parts[row["key"]],
            texts=texts.get(row["key"]),
        )


def _parts(keys: Collection[int]) -> dict[int, dict[str, str]]:
    """The slices of each Comparison: part of its set by the rows' metadata, and whose labels decided it."""
    parts: dict[int, dict[str, str]] = defaultdict(dict)
    metadata = Comparison.objects.filter(pk__in=keys).values_list("pk", "prompt__metadata", "metadata")
    for key, of_prompt, own in metadata:
        for name in KINDS_OF_PART:
            value = own.get(name) or of_prompt.get(name)
            if isinstance(value, str):
                parts[key][name] = value[:60]
    voices = Judgment.objects.current().filter(comparison__in=keys).order_by("annotator__source")
    for key, source in voices.values_list("comparison_id", "annotator__source").distinct():
        parts[key]["labelled by"] = source or "people"
    return parts


def _stripped_texts(keys: Collection[int]) -> dict[int, tuple[Pair, Pair]]:
    found = Comparison.objects.filter(pk__in=keys).select_related("prompt", "a", "b")
    return {
        comparison.pk: tuple(  # type: ignore[misc]
            (flatten_messages(comparison.prompt.messages), intake.without_citations(side.text)[0])
            for side in (comparison.a, comparison.b)
        )
        for comparison in found
    }


# --- pairs of a file ----------------------------------------------------------------------------------------


def of_file(path: Path, protocol: str = "") -> Pairs:
    """The labelled pairs of a file in any known shape; nothing of it is stored. Raises NothingToEvaluate with
    the first fault, by line, of a file that has rows which cannot be taken."""
    options = intake.ImportOptions(strip_citations=protocol == "webgpt-stripped")
    drafts, problems = intake.read_file(path, options)
    if problems:
        where = f"line {problems[0].line}: " if problems[0].line else ""
        raise NothingToEvaluate(f"{path.name}, {where}{problems[0].message}")
    left_out: Counter[str] = Counter()
    # Twice the same pair is one pair: a copy would only make the intervals look narrower.
    known = {pair.digest: pair for draft in drafts for pair in _of_draft(draft, protocol, left_out)}
    in_order = [known[digest] for digest in sorted(known)]
    return Pairs(path.name[:200], "all", protocol, in_order, None, left_out)


def _of_draft(draft: Draft, protocol: str, left_out: Counter[str]) -> Iterator[Known]:
    prompt = flatten_messages(draft.messages)
    for comparison in draft.comparisons:
        outcome = _majority(judgment.outcome for judgment in comparison.judgments)
        sides = [draft.completions[at] for at in (comparison.first, comparison.second)]
        if outcome not in TARGETS:
            left_out[outcome.replace("_", " ") or "no majority"] += 1
            continue
        if protocol and outcome == Outcome.TIE:
            left_out["no preferred option"] += 1
            continue
        target = TARGETS[Outcome(outcome)]
        if sides[0].digest > sides[1].digest:  # the canonical order, as a Dataset has it
            target, sides = 1 - target, sides[::-1]
        texts = [side.text for side in sides]
        metadata = {**draft.metadata, **comparison.metadata}
        yield Known(
            key=0,
            digest=text_digest(
                messages_digest(draft.messages, draft.tools) + "".join(side.digest for side in sides)
            ),
            group=group_digest(draft.messages),
            outcome=target,
            lengths=(len(texts[0]), len(texts[1])),
            parts={n: v[:60] for n in KINDS_OF_PART if isinstance(v := metadata.get(n), str)},
            texts=((prompt, texts[0]), (prompt, texts[1])),
        )


def _majority(outcomes: Iterable[str]) -> str:
    """The outcome of more than half of the opinions, "" when there is none."""
    opinions = Counter(outcome for outcome in outcomes if outcome != Outcome.CANNOT_JUDGE)
    most = opinions.most_common(1)
    return most[0][0] if most and most[0][1] * 2 > opinions.total() else ""


# --- margins ------------------------------------------------------------------------------------------------


def stored_margins(version: ModelVersion, pairs: Pairs) -> list[float | None]:
    """The version's margins by the Scores that are there; None where one is lacking."""
    margins: dict[int, float] = {}
    keys = iter([pair.key for pair in pairs.known])
    while chunk := list(islice(keys, CHUNK)):
        found = Suggestion.objects.filter(version=version, comparison__in=chunk)
        margins |= dict(found.values_list("comparison_id", "margin"))
    return [margins.get(pair.key) for pair in pairs.known]


def _never_stop(done: int, total: int) -> bool:
    return True


def margins_of(
    version: ModelVersion, pairs: Pairs, scorer_of: ScorerOf, progress: Progress = _never_stop
) -> tuple[list[float | None], float | None]:
    """(margin of each pair, texts scored a second). Where both texts are the Dataset's own, Scores are read,
    and those that are lacking are stored; None for a pair with a text that cannot be scored. The rate is None
    when nothing had to be scored. Raises Stopped."""
    if any(pair.texts for pair in pairs.known):
        return _margins_of_texts(pairs, scorer_of(version), progress)
    lacking = [
        pair.key
        for pair, margin in zip(pairs.known, stored_margins(version, pairs), strict=True)
        if margin is None
    ]
    rate = None
    if lacking:
        sides = Comparison.objects.filter(pk__in=lacking).values_list("a_id", "b_id")
        wanted = sorted({pk for row in sides for pk in row})
        rate = _score_lacking(version, wanted, scorer_of(version), progress)
    return stored_margins(version, pairs), rate


def _score_lacking(
    version: ModelVersion, completion_ids: list[int], score: Scorer, progress: Progress
) -> float | None:
    started, done = time.monotonic(), 0
    lacking = Completion.objects.filter(pk__in=completion_ids).lacking_score(version)
    ids = list(lacking.values_list("pk", flat=True))
    for start in range(0, len(ids), SCORED_AT_ONCE):
        if not progress(done, len(ids)):
            raise Stopped
        done += scoring.score_now(version, ids[start : start + SCORED_AT_ONCE], score)
    seconds = time.monotonic() - started
    return done / seconds if done and seconds else None


def _margins_of_texts(
    pairs: Pairs, score: Scorer, progress: Progress
) -> tuple[list[float | None], float | None]:
    texts = list(dict.fromkeys(text for pair in pairs.known for text in pair.texts or ()))
    started = time.monotonic()
    values: dict[Pair, float] = {}
    for start in range(0, len(texts), SCORED_AT_ONCE):
        if not progress(start, len(texts)):
            raise Stopped
        slice_of = texts[start : start + SCORED_AT_ONCE]
        values |= {text: scored.value for text, scored in _scored(slice_of, score)}
    seconds = time.monotonic() - started
    margins = [
        values[pair.texts[0]] - values[pair.texts[1]]
        if pair.texts and pair.texts[0] in values and pair.texts[1] in values
        else None
        for pair in pairs.known
    ]
    return margins, len(texts) / seconds if seconds else None


def _scored(texts: list[Pair], score: Scorer) -> list[tuple[Pair, Scored]]:
    """Each text with its score; those that cannot be scored are left out."""
    left = list(texts)
    while left:
        try:
            return list(zip(left, score(left), strict=True))
        except BadText as bad:
            left.pop(bad.index)
    return []


# --- figures ------------------------------------------------------------------------------------------------


def evaluate(
    version: ModelVersion,
    pairs: Pairs,
    scorer_of: ScorerOf,
    *,
    run: Run | None = None,
    progress: Progress = _never_stop,
) -> Evaluation:
    """Evaluate the version on the pairs and store it: its figures, the same of `longest`, `random` and the
    active version, paired differences to the active version and to `longest`, and the human ceiling.

    Pairs with a text that one of them cannot score are left out. Raises NothingToEvaluate, Stopped."""
    if not pairs.known:
        raise NothingToEvaluate(_nothing(pairs))
    others = _beside(version)
    margins, rate = margins_of(version, pairs, scorer_of, progress)
    columns = {version.pk: margins}
    for other in others:
        columns[other.pk] = margins_of(other, pairs, scorer_of, progress)[0]
    kept = [all(m is not None for m in row) for row in zip(*columns.values(), strict=True)]
    pairs = pairs.only(kept, "a text that cannot be scored")
    if not pairs.known:
        raise NothingToEvaluate(f"No pair of {pairs.source} can be scored.")
    clean = {
        pk: [m for m, keep in zip(column, kept, strict=True) if keep and m is not None]
        for pk, column in columns.items()
    }
    slices = pairs.slices()
    active = ModelVersion.objects.active()
    figures: dict[str, Any] = {
        "model": asdict(_figures(version, clean[version.pk], pairs, slices)),
        "beside": {other.name: asdict(_figures(other, clean[other.pk], pairs, slices)) for other in others},
        "differences": {
            other.name: asdict(_paired(version, other, clean[version.pk], clean[other.pk], pairs, slices))
            for other in others
            if other.name != "random"
        },
        "active": active.name if active else "",
        "people": _people(pairs),
        "left_out": dict(pairs.left_out),
        "seen_in_training": _seen_in_training(version, pairs),
        "texts_per_second": rate,
    }
    return Evaluation.objects.create(
        version=version,
        dataset=pairs.dataset,
        source=pairs.source,
        split=pairs.split,
        protocol=pairs.protocol,
        data_sha256=pairs.sha256,
        pairs=len(pairs.known),
        figures=figures,
        run=run,
    )


def carry_out(
    run: Run,
    scorer_of: ScorerOf,
    progress: Progress = _never_stop,
    stopping: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Evaluate the Run's version on its Dataset or file, and end the Run; None when it could not be, or was
    stopped."""
    protocol = run.params.get("protocol", "")
    with kept_alive(run) as alive:

        def noted(done: int, total: int) -> bool:
            alive()
            progress(done, total)
            return run.beat(done, total) and not stopping()

        try:
            found = evaluate(_version(run), _pairs(run, protocol), scorer_of, run=run, progress=noted)
        except Stopped:
            if stopping():
                run.hand_back()
            return None
        except (NothingToEvaluate, OSError, ValueError) as error:
            run.fail(str(error))
            return None
    run.finish(pairs=found.pairs, evaluation=found.pk, said=in_words(found.source, found.own))
    return found


def _version(run: Run) -> ModelVersion:
    if run.version is None:
        raise NothingToEvaluate("Its model is gone.")
    return run.version


def _pairs(run: Run, protocol: str) -> Pairs:
    if run.dataset is not None:
        return of_dataset(run.dataset, protocol)
    path = Path(run.params["file"])
    if not path.is_file():
        raise NothingToEvaluate(f"{path.name} is not on this machine; run the command again where it is.")
    return of_file(path, protocol)


def in_words(source: str, figures: Mapping[str, Any]) -> str:
    """ "Kitchen: 64.0 % of 412 decided pairs right (95 % interval 59.2 % to 68.5 %)." """
    if figures["accuracy"] is None:
        return f"{source}: no decided pair."
    low, high = figures["clustered"] or figures["wilson"]
    return (
        f"{source}: {share_in_words(figures['accuracy'])} of {figures['decided']:,} decided pairs right "
        f"(95 % interval {share_in_words(low)} to {share_in_words(high)})."
    )


def difference_in_words(name: str, other: str, paired: Mapping[str, Any]) -> str:
    """ "new less old: +6.1 points (3.3 to 9.4), 98 flips towards people, 31 away, McNemar p = 0.001." """
    if paired["accuracy_difference"] is None:
        return f"{name} less {other}: no decided pair."
    interval = paired["accuracy_interval"]
    bounds = f"{interval[0] * 100:+.1f} to {interval[1] * 100:+.1f}" if interval else "one prompt group only"
    return (
        f"{name} less {other}: {paired['accuracy_difference'] * 100:+.1f} points ({bounds}); "
        f"{paired['n01']:,} flips towards people, {paired['n10']:,} away, McNemar p = {paired['p']:.3g}."
    )


def share_in_words(share: float) -> str:
    return f"{share * 100:.1f} %"


def _nothing(pairs: Pairs) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in pairs.left_out.items())
    of = "the test split of " if pairs.split == "test" else ""
    return f"Nothing is settled in {of}{pairs.source}" + (f" but what is left out: {why}." if why else ".")


def _beside(version: ModelVersion) -> list[ModelVersion]:
    """The baselines and the active version, each once and not the version itself."""
    baselines = ModelVersion.objects.baselines().filter(name__in=BESIDE).order_by("name")
    active = ModelVersion.objects.active()
    others = [*baselines, *([active] if active else [])]
    return [other for other in dict.fromkeys(others) if other != version]


def _figures(
    version: ModelVersion, margins: list[float], pairs: Pairs, slices: Mapping[str, list[str | None]]
) -> figures_of.Evaluation:
    return figures_of.evaluate(
        margins, pairs.outcomes, pairs.groups, temperature=version.temperature, slices=slices
    )


def _paired(
    new: ModelVersion,
    old: ModelVersion,
    new_margins: list[float],
    old_margins: list[float],
    pairs: Pairs,
    slices: Mapping[str, list[str | None]],
) -> PairedComparison:
    return figures_of.compare(
        new_margins,
        old_margins,
        pairs.outcomes,
        pairs.groups,
        temperatures=(new.temperature or 1.0, old.temperature or 1.0),
        slices=slices,
    )


def compared(new: ModelVersion, old: ModelVersion, pairs: Pairs) -> tuple[PairedComparison, int]:
    """(the two on those pairs that both have scored, how many pairs lack a Score of one of them)."""
    new_margins, old_margins = stored_margins(new, pairs), stored_margins(old, pairs)
    both = [m is not None and n is not None for m, n in zip(new_margins, old_margins, strict=True)]
    scored = pairs.only(both, "not scored by both")
    paired = _paired(
        new,
        old,
        [m for m, keep in zip(new_margins, both, strict=True) if keep and m is not None],
        [m for m, keep in zip(old_margins, both, strict=True) if keep and m is not None],
        scored,
        scored.slices(),
    )
    return paired, len(pairs.known) - len(scored.known)


def _people(pairs: Pairs) -> dict[str, Any]:
    """How far people's own labels can be trusted: share of two opinions for a side that are the same, over
    all two on one of these pairs, and the accuracy that a model without error would show against them."""
    tallies: dict[int, Counter[str]] = defaultdict(Counter)
    keys = iter([pair.key for pair in pairs.known if pair.key])
    while chunk := list(islice(keys, CHUNK)):
        for_a_side = Judgment.objects.current().filter(comparison__in=chunk, outcome__in=["a", "b"])
        counted = for_a_side.order_by().values_list("comparison_id", "outcome").annotate(n=Count("pk"))
        for key, outcome, n in counted:
            tallies[key][outcome] += n
    twos = [tally.total() * (tally.total() - 1) / 2 for tally in tallies.values()]
    same = [sum(n * (n - 1) / 2 for n in tally.values()) for tally in tallies.values()]
    if not sum(twos):
        return {"agreement": None, "twos": 0, "votes": None, "ceiling": None}
    share = sum(same) / sum(twos)
    votes = median_low([tally.total() for tally in tallies.values()])
    odd = max(1, votes if votes % 2 else votes - 1)
    ceiling = figures_of.human_ceiling(share, odd)
    return {"agreement": share, "twos": int(sum(twos)), "votes": odd, "ceiling": ceiling}


def _seen_in_training(version: ModelVersion, pairs: Pairs) -> int:
    """Pairs whose prompt group is one that the version was trained on: its figures are too good by them."""
    if version.release is None or pairs.split == "test":
        return 0
    trained_on = version.release.dataset.prompts.values_list("group", flat=True).distinct()
    groups = {group for group in trained_on.iterator() if split_of(group) == "train"}
    return sum(pair.group in groups for pair in pairs.known)
