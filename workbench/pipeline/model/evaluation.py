"""Pairs whose outcome is known -> what a ModelVersion is worth on them, beside what it must beat.

`of_dataset` and `of_file` make Pairs; `evaluate` reads or computes margins on them and stores an Evaluation;
`compared` puts two versions side by side on the same pairs. Which answers of a Dataset count is said in
pipeline/quality/accuracy; no figure is of a prompt group that its model has learnt."""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from django.db.models import Exists, OuterRef

from scoring import evaluate as figures_of
from scoring import shares
from scoring.evaluate import PairedComparison, by_length
from scoring.formats import BadText, Pair, Scored, Scorer, flatten_messages
from scoring.learnt import Text
from scoring.pairs import pairs_of
from scoring.rows.reading import read_whole
from scoring.rows.rows import BadRow
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Evaluation,
    Judgment,
    ModelVersion,
    Outcome,
    Run,
    Score,
)
from workbench.models.dataset import messages_digest, text_digest
from workbench.pipeline import imports
from workbench.pipeline.imports import Draft
from workbench.pipeline.imports.groups import own_group
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.accuracy import Ceiling, Opinions
from workbench.pipeline.runs.lifecycle import heartbeats
from workbench.pipeline.runs.progress import Cancelled, Progress, never_stop
from workbench.pipeline.scoring import batches
from workbench.pipeline.text import learnt
from workbench.pipeline.text.learnt import Seen
from workbench.pipeline.text.splits import Split, split_of

TARGETS = {Outcome.A: 1.0, Outcome.TIE: 0.5, Outcome.B: 0.0}
PROTOCOLS = {
    "": "every pair with a known outcome, ties among them",
    "webgpt": "only pairs with a preferred answer, citations kept",
    "webgpt-stripped": "only pairs with a preferred answer, [1] marks removed from the answers",
}
BESIDE = ("longest", "random")
KINDS_OF_PART = ("subset", "domain", "category")
"""Metadata of imported rows that says which part of a set a pair is of: each value is a slice."""
MOST_PARTS = 30
LEARNT = "a prompt that was learnt"
"""Why a pair is left out: one of the models in question was trained on its prompt group, or chosen by it."""
CHUNK = 500
SCORED_AT_ONCE = 256

WHAT_TO_DO = (
    "Collect more votes on random pairs (Settings: Random, or Mixture), with the model’s pick hidden."
)
"""For a Dataset with too few pairs that count."""

ScorerOf = Callable[[ModelVersion], Scorer]


class NothingToEvaluate(ValueError):
    """No pair to evaluate on; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Known:
    """One pair whose outcome is known. `key` is its Comparison's, 0 for a pair of a file; lengths are in
    characters; `parts` are its slices by name; `people` says whether an opinion of it is a person's vote."""

    key: int
    digest: str
    group: str
    outcome: float
    lengths: tuple[int, int]
    parts: dict[str, str]
    texts: tuple[Pair, Pair] | None = None
    people: bool = False


@dataclass(frozen=True)
class Pairs:
    """Known pairs of one source, in an order that content alone fixes; `left_out` counts the others by
    reason, `set_aside` votes that do not count (see accuracy.Opinions). `prompts`: the texts of each group,
    where they are in no Dataset. `ceiling`: how far the labels can be trusted, of whichever pairs."""

    source: str
    split: Split | Literal["all"]
    protocol: str
    known: list[Known]
    dataset: Dataset | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    set_aside: Mapping[str, int] = field(default_factory=dict)
    prompts: Mapping[str, Sequence[Text]] = field(default_factory=dict)
    ceiling: Ceiling = field(default_factory=Ceiling)

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

    @property
    def counted(self) -> dict[str, int]:
        """The `decided` pairs: those that people judged, before any Suggestion and where chance picked the
        pair, and those with imported labels alone."""
        people = sum(pair.people for pair in self.known if pair.outcome != TARGETS[Outcome.TIE])
        return {"people": people, "imported": self.decided - people}

    def seen_by(self, version: ModelVersion) -> Seen:
        """Which of the groups the version has learnt."""
        if self.dataset is not None:
            return learnt.seen(version, self.dataset)
        return learnt.seen_of_texts(version, self.prompts)

    def unseen_by(self, *seen: Seen) -> "Pairs":
        """Without the pairs of groups that one of these has learnt."""
        return self.only([not any(pair.group in one for one in seen) for pair in self.known], LEARNT)

    def lengths(self) -> accuracy.Vector:
        """(pairs, 2), in characters."""
        return np.array([pair.lengths for pair in self.known], dtype=np.float64).reshape(-1, 2)

    def length_rule(self) -> str:
        """Which of "longest" and "shortest" is right more often on the training split."""
        return accuracy.length_rule(np.array(self.outcomes), self.lengths(), self.groups)

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


def of_dataset(dataset: Dataset, protocol: str = "", *, split: Split | Literal["all"] = "all") -> Pairs:
    """The pairs of the dataset whose outcome may be counted (see pipeline/quality/accuracy), of one split or
    all."""
    found = accuracy.opinions_of(dataset)
    target, opinions = found.labels()
    left_out = Counter(accuracy.undecided(target, opinions))
    usable = np.isfinite(target) & (target >= 0)
    places = [
        place
        for place in np.flatnonzero(usable).tolist()
        if split == "all" or split_of(found.groups[place]) == split
    ]
    if protocol:
        ties = [place for place in places if target[place] == TARGETS[Outcome.TIE]]
        left_out["no preferred option"] += len(ties)
        left_out = +left_out
        places = [place for place in places if target[place] != TARGETS[Outcome.TIE]]
    known: list[Known] = []
    for start in range(0, len(places), CHUNK):
        known += _known(found, target, places[start : start + CHUNK], protocol)
    known.sort(key=lambda pair: pair.digest)
    return Pairs(
        dataset.name, split, protocol, known, dataset, left_out, found.set_aside, ceiling=found.ceiling()
    )


def _known(found: Opinions, target: accuracy.Vector, places: list[int], protocol: str) -> Iterator[Known]:
    """Some of the pairs; texts only where the protocol changes them."""
    keys = [found.keys[place] for place in places]
    pairs = Comparison.objects.filter(pk__in=keys).order_by()
    digests = {
        key: "".join(of) for key, *of in pairs.values_list("pk", "prompt__sha256", "a__sha256", "b__sha256")
    }
    parts = _parts(keys)
    texts = _stripped_texts(keys) if protocol == "webgpt-stripped" else {}
    for place in places:
        key = found.keys[place]
        people = bool(found.counts[place, 0].any())
        yield Known(
            key=key,
            digest=text_digest(digests[key]),
            group=found.groups[place],
            outcome=float(target[place]),
            lengths=(int(found.lengths[place, 0]), int(found.lengths[place, 1])),
            parts={**parts[key], **({"labelled by": "people"} if people else {})},
            texts=texts.get(key),
            people=people,
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
    labels = Judgment.objects.labels().filter(comparison__in=keys).order_by("annotator__source")
    for key, source in labels.values_list("comparison_id", "annotator__source").distinct():
        parts[key]["labelled by"] = source or "people"
    return parts


def _stripped_texts(keys: Collection[int]) -> dict[int, tuple[Pair, Pair]]:
    found = Comparison.objects.filter(pk__in=keys).select_related("prompt", "a", "b")
    return {
        comparison.pk: tuple(  # type: ignore[misc]
            (flatten_messages(comparison.prompt.messages), imports.without_citations(side.text)[0])
            for side in (comparison.a, comparison.b)
        )
        for comparison in found
    }


# --- pairs of a file ----------------------------------------------------------------------------------------


def of_file(path: Path, protocol: str = "") -> Pairs:
    """The labelled pairs of a file in any known shape; nothing of it is stored. Raises NothingToEvaluate with
    the first fault, by line, of a file that has rows which cannot be taken."""
    options = imports.ImportOptions(strip_citations=protocol == "webgpt-stripped")
    found = read_whole(path, options)
    if found.problems:
        first = found.problems[0]
        where = f"line {first.line}: " if first.line else ""
        raise NothingToEvaluate(f"{path.name}, {where}{first.message}")
    left_out: Counter[str] = Counter()
    # Twice the same pair is one pair: a copy would only make the intervals look narrower.
    pairs = (pair for draft in found.drafts for pair in _of_draft(draft, found.format, protocol, left_out))
    try:
        known = {pair.digest: pair for pair in pairs}
    except BadRow as bad:
        raise NothingToEvaluate(f"{path.name}: {bad.message}") from None
    in_order = [known[digest] for digest in sorted(known)]
    prompts: dict[str, list[Text]] = defaultdict(list)
    for draft in found.drafts:
        prompts[own_group(draft.messages)].append(Text.of(flatten_messages(draft.messages)))
    return Pairs(path.name[:200], "all", protocol, in_order, None, left_out, prompts=prompts)


def _of_draft(draft: Draft, shape: str, protocol: str, left_out: Counter[str]) -> Iterator[Known]:
    for comparison, pair in pairs_of(draft, shape, left_out):
        if protocol and pair.is_tie:
            left_out["no preferred option"] += 1
            continue
        target = pair.target
        sides = [draft.completions[at] for at in (comparison.first, comparison.second)]
        if sides[0].digest > sides[1].digest:  # the canonical order, as a Dataset has it
            target, sides = 1 - target, sides[::-1]
        texts = [side.text for side in sides]
        metadata = {**draft.metadata, **comparison.metadata}
        yield Known(
            key=0,
            digest=text_digest(
                messages_digest(draft.messages, draft.tools) + "".join(side.digest for side in sides)
            ),
            group=own_group(draft.messages),
            outcome=target,
            lengths=(len(texts[0]), len(texts[1])),
            parts={n: v[:60] for n in KINDS_OF_PART if isinstance(v := metadata.get(n), str)},
            texts=((pair.prompt, texts[0]), (pair.prompt, texts[1])),
        )


# --- margins ------------------------------------------------------------------------------------------------


def stored_margins(version: ModelVersion, pairs: Pairs) -> list[float | None]:
    """The version's margins by the Scores that are there; None where one is lacking."""
    found = accuracy.margins(version, [pair.key for pair in pairs.known])
    return [None if np.isnan(margin) else margin for margin in found.tolist()]


def margins_of(
    version: ModelVersion, pairs: Pairs, scorer_of: ScorerOf, progress: Progress = never_stop
) -> tuple[list[float | None], float | None]:
    """(margin of each pair, texts scored a second). Where both texts are the Dataset's own, Scores are read,
    and those that are lacking are stored; None for a pair with a text that cannot be scored. The rate is None
    when nothing had to be scored. Raises Cancelled."""
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
    lacking = Completion.objects.filter(pk__in=completion_ids).lacking_score(version.pk)
    ids = list(lacking.values_list("pk", flat=True))
    for start in range(0, len(ids), SCORED_AT_ONCE):
        if not progress(done, len(ids)):
            raise Cancelled
        done += batches.score_now(version, ids[start : start + SCORED_AT_ONCE], score)
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
            raise Cancelled
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
    progress: Progress = never_stop,
) -> Evaluation:
    """Evaluate the version on the pairs that it has not learnt and store it: its figures, the same of
    `longest`, `random` and the active version, paired differences to the active version and to `longest`, and
    the human ceiling. What the active version has learnt is left out of its own figures and the difference.

    Pairs with a text that one of them cannot score are left out. Raises NothingToEvaluate, Cancelled."""
    if not pairs.known:
        raise NothingToEvaluate(_nothing(pairs))
    others = _beside(version)
    seen = {one.pk: pairs.seen_by(one) for one in (version, *others)}
    decided, given, rule = pairs.decided, pairs.known, pairs.length_rule()
    pairs = pairs.unseen_by(seen[version.pk])
    if not pairs.known:
        raise NothingToEvaluate(
            f"{version} has learnt the prompts of all {len(given):,} pairs of {pairs.source}."
        )
    learnt_pairs = decided - pairs.decided
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
    active = ModelVersion.objects.active()
    figures: dict[str, Any] = {
        "model": _figures(version, clean[version.pk], pairs, seen[version.pk]),
        "beside": {other.name: _figures(other, clean[other.pk], pairs, seen[other.pk]) for other in others},
        "differences": {
            other.name: asdict(
                _paired(version, other, clean[version.pk], clean[other.pk], pairs, [seen[other.pk]])
            )
            for other in others
            if other.name != "random"
        },
        "rule": asdict(_against_rule(clean[version.pk], pairs, rule)),
        "active": active.name if active else "",
        "people": asdict(pairs.ceiling),
        "counted": pairs.counted,
        "left_out": dict(pairs.left_out),
        "set_aside": dict(pairs.set_aside),
        "learnt": {"pairs": learnt_pairs, "known": version.learnt},
        "texts_per_second": rate,
    }
    figures["people"]["ceiling"] = figures["people"].pop("value")
    return Evaluation.objects.create(
        version=version,
        dataset=pairs.dataset,
        source=pairs.source,
        split=Evaluation.Split.UNSEEN,
        protocol=pairs.protocol,
        data_sha256=pairs.sha256,
        pairs=len(pairs.known),
        figures=figures,
        run=run,
    )


def carry_out(
    run: Run,
    scorer_of: ScorerOf,
    progress: Progress = never_stop,
    stopping: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Evaluate the Run's version on its Dataset or file, and end the Run; None when it could not be, or was
    stopped."""
    protocol = run.params.get("protocol", "")
    with heartbeats(run) as alive:

        def noted(done: int, total: int) -> bool:
            alive()
            progress(done, total)
            return run.update_progress(done, total) and not stopping()

        try:
            found = evaluate(_version(run), _pairs(run, protocol), scorer_of, run=run, progress=noted)
        except Cancelled:
            if stopping():
                run.hand_back()
            return None
        except (NothingToEvaluate, OSError, ValueError) as error:
            run.fail(str(error))
            return None
    run.finish(pairs=found.pairs, evaluation=found.pk, said=in_words(found))
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


def in_words(found: Evaluation) -> str:
    """ "Kitchen: 64 % of 412 pairs right (95 % interval 59 to 69 %). Left out: ..." """
    own = found.own
    if own["accuracy"] is None:
        return f"{found.on}: no pairs to measure on."
    low, high = own["clustered"] or own["wilson"]
    right = (
        f"{found.on}: {shares.in_words(own['accuracy'])} of {own['decided']:,} pairs right "
        f"(95 % interval {shares.between((low, high))})."
    )
    return " ".join(filter(None, [right, *remarks(found), warning(found)]))


def remarks(found: Evaluation) -> list[str]:
    """What must be said beside the figure: what it is of, what was left out, and what is not known."""
    figures = found.figures
    said = [
        counted_in_words(figures["counted"]) if found.dataset_id else "",
        accuracy.left_out_in_words(figures["learnt"]["pairs"], figures["set_aside"]),
        learnt.beware(figures["learnt"]["known"]),
    ]
    return [sentence for sentence in said if sentence]


def warning(found: Evaluation) -> str:
    """A sentence where the figure is too good to be true, else ""."""
    people = found.figures["people"]
    return figures_of.above_ceiling(found.own["accuracy"], people["ceiling"], people.get("twos", 0))


def counted_in_words(counted: Mapping[str, int]) -> str:
    """ "96 random pairs have votes from before ...; 12 pairs have imported labels." """
    people, labels = counted["people"], counted["imported"]
    judged = f"{_have(people, 'random pair')} votes from before the model’s pick was shown"
    carry = f"{_have(labels, 'pair')} imported labels"
    return f"{judged}; {carry}." if people and labels else f"{judged}." if people else f"{carry}."


def _have(n: int, what: str) -> str:
    return f"{n:,} {what} has" if n == 1 else f"{n:,} {what}s have"


def difference_in_words(name: str, other: str, paired: Mapping[str, Any]) -> str:
    """ "new minus old: +6.1 points (+3.3 to +9.4); 98 picks are now right, 31 now wrong; ..." """
    if paired["accuracy_difference"] is None:
        return f"{name} minus {other}: no pairs to measure on."
    interval = paired["accuracy_interval"]
    difference = shares.points_with_interval(paired["accuracy_difference"], interval)
    return (
        f"{name} minus {other}: {difference}{'' if interval else ' (one prompt group only)'}; "
        f"{paired['n01']:,} picks now right, {paired['n10']:,} now wrong; "
        f"McNemar p = {paired['p']:.3g}."
    )


def _nothing(pairs: Pairs) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in pairs.left_out.items())
    nothing = f"{pairs.source} has no pair with a vote or label that counts"
    aside = accuracy.left_out_in_words(0, dict(pairs.set_aside))
    said = f"{nothing}. Left out: {why}." if why else f"{nothing}."
    return f"{said} {aside} {WHAT_TO_DO}" if aside else said


def _beside(version: ModelVersion) -> list[ModelVersion]:
    """The baselines and the active version, each once and not the version itself."""
    baselines = ModelVersion.objects.baselines().filter(name__in=BESIDE).order_by("name")
    active = ModelVersion.objects.active()
    others = [*baselines, *([active] if active else [])]
    return [other for other in dict.fromkeys(others) if other != version]


def _figures(version: ModelVersion, margins: list[float], pairs: Pairs, seen: Seen) -> dict[str, Any]:
    """Of those of the pairs that the version has not learnt. Figures at its temperature are of groups that no
    temperature is fitted on; `calibrated_n` says how many pairs these are."""
    margins, pairs = _of_both(margins, pairs, [pair.group not in seen for pair in pairs.known])
    whole = figures_of.evaluate(margins, pairs.outcomes, pairs.groups, slices=pairs.slices())
    held_out = [seen.measures_calibration(pair.group) for pair in pairs.known]
    margins, pairs = _of_both(margins, pairs, held_out)
    at = figures_of.evaluate(margins, pairs.outcomes, pairs.groups, temperature=version.temperature)
    return {
        **asdict(whole),
        "temperature": version.temperature,
        **{name: getattr(at, name) for name in CALIBRATED},
        "calibrated_n": at.n,
    }


def _against_rule(margins: list[float], pairs: Pairs, rule: str) -> accuracy.Measured:
    """The version beside the length rule, as every page has it."""
    nothing = Seen(ModelVersion.Known.YES)
    return accuracy.measure(
        np.array(margins), np.array(pairs.outcomes), pairs.groups, pairs.lengths(), nothing, rule
    )


CALIBRATED = ("calibrated_log_loss", "calibrated_brier", "calibrated_ece")


def _of_both(margins: list[float], pairs: Pairs, kept: list[bool]) -> tuple[list[float], Pairs]:
    chosen = [margin for margin, keep in zip(margins, kept, strict=True) if keep]
    return chosen, pairs.only(kept, LEARNT)


def _paired(
    new: ModelVersion,
    old: ModelVersion,
    new_margins: list[float],
    old_margins: list[float],
    pairs: Pairs,
    seen: Sequence[Seen],
) -> PairedComparison:
    """On the pairs that none of `seen` has learnt."""
    kept = [not any(pair.group in one for one in seen) for pair in pairs.known]
    old_margins, _ = _of_both(old_margins, pairs, kept)
    new_margins, pairs = _of_both(new_margins, pairs, kept)
    return figures_of.compare(
        new_margins,
        old_margins,
        pairs.outcomes,
        pairs.groups,
        temperatures=(new.temperature or 1.0, old.temperature or 1.0),
        slices=pairs.slices(),
    )


@dataclass(frozen=True)
class Compared:
    """Two versions on the same pairs: how many of these lack a Score of one of them (`lacking`), how many are
    of prompts that one has learnt (`learnt`), and what the others are of (see Pairs.counted, set_aside)."""

    paired: PairedComparison
    lacking: int
    learnt: int
    counted: Mapping[str, int]
    set_aside: Mapping[str, int]
    ceiling: Ceiling

    @property
    def warning(self) -> str:
        """A sentence where one of the two is above the human ceiling, else "": of the better one."""
        of_both = [self.paired.new_accuracy, self.paired.old_accuracy]
        return self.ceiling.warning(max((share for share in of_both if share is not None), default=None))

    @property
    def said(self) -> str:
        """What the pairs are, and what was left out."""
        left_out = accuracy.left_out_in_words(self.learnt, dict(self.set_aside), of="one of the two")
        return " ".join(filter(None, (counted_in_words(self.counted), left_out)))


def compared(new: ModelVersion, old: ModelVersion, pairs: Pairs) -> Compared:
    """The two on those pairs that both have scored and neither has learnt."""
    unseen = pairs.unseen_by(pairs.seen_by(new), pairs.seen_by(old))
    new_margins, old_margins = stored_margins(new, unseen), stored_margins(old, unseen)
    both = [m is not None and n is not None for m, n in zip(new_margins, old_margins, strict=True)]
    scored = unseen.only(both, "not scored by both")
    paired = _paired(
        new,
        old,
        [m for m, keep in zip(new_margins, both, strict=True) if keep and m is not None],
        [m for m, keep in zip(old_margins, both, strict=True) if keep and m is not None],
        scored,
        [],
    )
    return Compared(
        paired=paired,
        lacking=_lacking(
            new, old, [pair.key for pair, have in zip(unseen.known, both, strict=True) if not have]
        ),
        learnt=pairs.decided - unseen.decided,
        counted=scored.counted,
        set_aside=pairs.set_aside,
        ceiling=pairs.ceiling,
    )


def _lacking(new: ModelVersion, old: ModelVersion, keys: list[int]) -> int:
    """Of Comparisons without a margin of both, those that lack a Score. Where both texts have their Scores, a
    version may still say nothing: it reads the two alike."""
    lacking = 0
    for start in range(0, len(keys), CHUNK):
        pairs = Comparison.objects.filter(pk__in=keys[start : start + CHUNK])
        scored = [
            Exists(Score.objects.filter(version=version, completion=OuterRef(side)))
            for version in (new, old)
            for side in ("a", "b")
        ]
        lacking += pairs.count() - pairs.filter(*scored).count()
    return lacking
