"""Everything the figures say of a Dataset at one moment, as one JSON value that pages only read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.utils import timezone

from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Guidelines,
    Judgment,
    ModelVersion,
    Outcome,
    Suggestion,
)
from workbench.pipeline import quality
from workbench.pipeline.snapshot import snapshot
from workbench.pipeline.statistics import against, planning, work
from workbench.pipeline.statistics.audit import Choices, audit, style_of
from workbench.pipeline.statistics.columns import (
    ORDINAL,
    OUTCOMES,
    Answers,
    Pairs,
    answers_of,
    counted,
    cut_of,
    margins_of,
    pairs_of,
)
from workbench.pipeline.statistics.figures import (
    Figure,
    Index,
    Mask,
    Matrix,
    Vector,
    median,
    unknown,
    wilson_share,
)
from workbench.pipeline.statistics.skill import Skills, one_coin
from workbench.pipeline.statistics.voting import agreement, ceiling

Progress = Callable[[int, int], bool]
"""Told (rows read, rows in all) now and then; answers False when the work should stop."""

Report = dict[str, Any]

MOST_VERSIONS = 8
MOST_ROWS = 20
MOST_WEEKS = 52
MOST_ANNOTATORS = 500
WEEK_SECONDS = 7 * 86_400
FORMAT = 2


class Cancelled(Exception):
    """Somebody cancelled the Run; nothing was stored."""


@dataclass(frozen=True)
class Data:
    """All columns that a report is made of."""

    pairs: Pairs
    answers: Answers
    versions: Sequence[ModelVersion]
    margins: dict[int, Vector]
    cut: dict[int, Mask]
    guidelines: dict[int, int]
    taken_at: datetime


def _never_stop(done: int, total: int) -> bool:
    return True


def compute(dataset: Dataset, progress: Progress = _never_stop) -> Report:
    """All figures of the dataset now. Raises Cancelled when `progress` answers False.

    A Figure is {value, low, high, n, prompts} and, where value, low and high are null, `why` ("not enough
    data" or a sentence). Intervals are 95 %; those with prompts above 0 are bootstrapped over whole prompts.
    A voice is "people" or "imported"; only those that have said something are there.

        format        2; whoever reads another number shows nothing
        data          {taken_at, comparisons, judgments (rows of any kind), last_judgment (primary key),
                      opinions, version (name of the active one, or null), seconds (what computing took)}
        sample        voice -> {answers, led, picked, asked_after}: the independent answers, of which
                      `against`, `audit` and the ceilings are, and how many were left out as the Suggestion
                      may have led them, as the queue picked their Comparison, or as they were asked for
                      because of earlier answers
        agreement     voice -> {all, unseen, by_source, by_guidelines, by_week}: rows {label, units, opinions,
                      raw, alpha, alpha_ordinal, ac1}; the last three are lists of rows. unseen: of
                      independent answers alone, see sample (null for imported); units: Comparisons with two
                      opinions or more; by_week: labels are Mondays, oldest first, by the latest opinion
        annotators    [{annotator (primary key), imported, votes, week (votes of the seven days before),
                      skill, gold, consistent, left, towards, away, seconds, per_hour (number or null)}],
                      most votes first: all people, and what others are among the first 500. skill: of
                      one-coin Dawid-Skene; gold to away as in pipeline/quality
        everybody     {gold, consistent, left, towards, away}: of all people together
        aggregation   {rule (the Dataset's), annotators, comparisons, votes_per_annotator, enough (for skill
                      to decide), decided_by_majority, decided_by_skill, differ, mean_skill, posterior: mean
                      of {a, b, tie, both_bad}}
        seconds       {all, by_length: [{label, seconds}]}: median from shown to answered
        pace          {per_hour, by_week: [{week, judgments, annotators, hours}]}
        against       voice -> [version]: {version, pk, kind, calibrated, temperature, n, slices, surety, ece,
                      bins, histogram}, the active version first, `longest` and `random` not among them.
                      slices: rows {kind, label, accuracy, wilson: [low, high], longest, random, over_longest,
                      ceiling}; the first is of everything (kind "all"), the others are of kind "length" (of
                      the two texts), "preferred" (was the longer one preferred), "source", "topic" and
                      "truncated". surety: AUC of |margin| for "the model is right"; bins as
                      scoring.calibrate.Bin, none while uncalibrated; histogram: {edges, a, tie, b}
        audit         voice -> [{version, pk, n, prompts, people, model, excess, people_given_margin}]:
                      log-odds by feature, see statistics/audit
        plan          [{goal "accuracy" or "alpha", version, within, now (half the interval, or null),
                      judgments (that many more; null = not known), seconds (a Judgment), hours, measured}]
    """
    started = time.monotonic()
    data = _read(dataset, progress)
    answers = data.answers
    votes = answers.current & (answers.outcome >= 0)
    voices = {
        voice: chosen
        for voice, chosen in (("people", ~answers.imported), ("imported", answers.imported))
        if (votes & chosen).any()
    }
    samples = {voice: independent(dataset, data.pairs, answers, voice) for voice in voices}
    paced, per_hour, seconds = work.pace(answers)
    skills = skills_of(data.pairs, answers)
    found: Report = {
        "format": FORMAT,
        "sample": {voice: sample.as_json() for voice, sample in samples.items()},
        "agreement": {
            voice: _agreements(data, voice, chosen, samples[voice].chosen) for voice, chosen in voices.items()
        },
        **_annotators(dataset, data, skills, per_hour),
        "aggregation": _aggregation(dataset, data, skills),
        "seconds": work.reading(answers, data.pairs),
        "pace": paced,
        "against": {},
        "audit": {},
    }
    for voice in voices:
        _beat(progress, data)
        # "Both bad" prefers neither text, and is no tie between good ones.
        said = samples[voice].chosen & (answers.outcome != OUTCOMES.index(Outcome.BOTH_BAD))
        slices = list(_slices(data, said))
        models = [version for version in data.versions if not _is_rule(version)]
        found["against"][voice] = [_against(data, version, said, slices) for version in models]
        found["audit"][voice] = [_audit(data, version, said) for version in models]
    found["plan"] = _plan(found, seconds)
    found["data"] = {
        "taken_at": data.taken_at.isoformat(timespec="seconds"),
        "comparisons": len(data.pairs.pk),
        "judgments": len(answers),
        "last_judgment": answers.last,
        "opinions": int(votes.sum()),
        "version": next((v.name for v in data.versions if v.state == ModelVersion.State.ACTIVE), None),
        "seconds": round(time.monotonic() - started, 2),
    }
    return found


def _is_rule(version: ModelVersion) -> bool:
    return version.kind == ModelVersion.Kind.BASELINE and version.name in ("longest", "shortest", "random")


def _beat(progress: Progress, data: Data) -> None:
    rows = len(data.pairs.pk) + len(data.answers)
    if not progress(rows, rows):
        raise Cancelled


def _read(dataset: Dataset, progress: Progress) -> Data:
    with snapshot() as using:
        versions = _versions(dataset, using)
        comparisons = Comparison.objects.using(using).filter(dataset=dataset)
        total = (
            comparisons.count()
            + Completion.objects.using(using).of(dataset).count()
            + Judgment.objects.using(using).of(dataset).count()
            + comparisons.count() * len(versions)
        )
        done = 0

        def step(rows: int) -> None:
            nonlocal done
            done += rows
            if not progress(done, max(done, total)):
                raise Cancelled

        pairs = pairs_of(dataset, using, step)
        answers = answers_of(dataset, pairs, using, step)
        margins = {each.pk: margins_of(each, dataset, pairs, using, step) for each in versions}
        return Data(
            pairs=pairs,
            answers=answers,
            versions=versions,
            margins=margins,
            cut={each.pk: cut_of(each, dataset, pairs, using) for each in versions if not _is_rule(each)},
            guidelines=dict(
                Guidelines.objects.using(using).filter(dataset=dataset).values_list("pk", "number")
            ),
            taken_at=timezone.now(),
        )


def _versions(dataset: Dataset, using: str) -> list[ModelVersion]:
    """Those that suggest something here: the active one, then the newest others, then the rules."""
    suggesting = Suggestion.objects.using(using).filter(comparison__dataset=dataset)
    known = ModelVersion.objects.using(using).filter(
        pk__in=suggesting.order_by().values("version").distinct()
    )
    active_first = sorted(known, key=lambda it: (it.state != ModelVersion.State.ACTIVE, -it.pk))
    models = [each for each in active_first if not _is_rule(each)]
    return models[:MOST_VERSIONS] + [
        each for each in active_first if _is_rule(each) and each.name != "shortest"
    ]


@dataclass(frozen=True)
class Sample:
    """Opinions of one voice that nothing led and nothing chose, as a mask over all answers, and how many were
    left out for which reason."""

    chosen: Mask
    led: int = 0
    picked: int = 0
    asked_after: int = 0

    def as_json(self) -> dict[str, int]:
        told = {"led": self.led, "picked": self.picked, "asked_after": self.asked_after}
        return {"answers": int(self.chosen.sum()), **told}


def independent(dataset: Dataset, pairs: Pairs, answers: Answers, voice: str) -> Sample:
    """Of imported labels all that stand. Of people, one after the other, without

    - led: given beside a Suggestion, or after it was shown;
    - picked: of Comparisons begun by another arm than the random one, which say nothing of the others;
    - asked_after: asked for because of earlier answers, where some Comparisons get more people than others:
      beyond the places that each has from the start, unless it has them by lot (audited)."""
    opinion = answers.outcome >= 0
    if voice == "imported":
        return Sample(answers.current & answers.imported & opinion)
    first = answers.first & answers.work & ~answers.imported & opinion
    unled = answers.unseen & opinion
    random = unled & ~pairs.picked[answers.pair]
    kept = random
    if dataset.enough_at is not None or dataset.most_places > dataset.overlap:
        places = np.where(pairs.audited, dataset.overlap, dataset.first_places)
        kept = random & (_turn(answers, first) < places[answers.pair])
    led, picked, after = (int((x & ~y).sum()) for x, y in ((first, unled), (unled, random), (random, kept)))
    return Sample(kept, led, picked, after)


def _turn(answers: Answers, first: Mask) -> Index:
    """The how-manieth first answer to its Comparison each is, from 0; a large number for all others."""
    place = np.flatnonzero(first)
    order = place[np.argsort(answers.pair[place], kind="stable")]
    pair = answers.pair[order]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    turn = np.full(len(answers), 2**31)
    turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return turn


# --- people against people ----------------------------------------------------------------------------------


def _agreements(data: Data, voice: str, chosen: Mask, sample: Mask) -> dict[str, Any]:
    pairs, answers = data.pairs, data.answers
    votes = answers.current & chosen
    counts = counted(answers, votes, len(pairs.pk))

    def row(label: str, counts: Matrix, of: Mask | None = None) -> dict[str, Any]:
        use = counts.sum(axis=1) > 0 if of is None else of & (counts.sum(axis=1) > 0)
        return {"label": label, **_as_json(asdict(agreement(counts[use], pairs.prompt[use], ORDINAL)))}

    def of_guidelines(key: int) -> Matrix:
        return counted(answers, votes & (answers.guidelines == key), len(pairs.pk))

    latest = np.zeros(len(pairs.pk), dtype=np.int64)
    np.maximum.at(latest, answers.pair[votes], answers.at[votes])
    monday = work.week_of(latest)
    several = counts.sum(axis=1) >= 2
    return {
        "all": row("all", counts),
        "unseen": row("independent", counted(answers, sample, len(pairs.pk))) if voice == "people" else None,
        "by_source": [row(label, counts, of) for label, of in _by_source(pairs, several)],
        "by_guidelines": [
            row(str(number), of_guidelines(key))
            for key, number in sorted(data.guidelines.items(), key=lambda item: item[1])[-MOST_ROWS:]
            if voice == "people"
        ],
        "by_week": [
            row(work.week_name(start), counts, monday == start)
            for start in np.unique(monday[several]).tolist()[-MOST_WEEKS:]
        ],
    }


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Of a dataclass as a dict: Figures in it as they are stored."""
    return {name: Figure(**x).as_json() if isinstance(x, dict) else x for name, x in values.items()}


def _by_source(pairs: Pairs, use: Mask) -> Iterator[tuple[str, Mask]]:
    """(source, Comparisons with a text of it), most first; none where all are of one."""
    a, b = pairs.source[pairs.a], pairs.source[pairs.b]
    size = np.bincount(a[use], minlength=len(pairs.sources)) + np.bincount(
        b[use], minlength=len(pairs.sources)
    )
    order = [int(place) for place in np.argsort(-size, kind="stable") if size[place]][:MOST_ROWS]
    if len(order) > 1:
        for place in order:
            yield pairs.sources[place] or "not known", (a == place) | (b == place)


# --- each annotator -----------------------------------------------------------------------------------------


def skills_of(pairs: Pairs, answers: Answers) -> Skills:
    """One-coin Dawid-Skene over all standing opinions, of people and of files alike."""
    use = answers.current & (answers.outcome >= 0)
    shape = (len(pairs.pk), len(answers.annotators), len(OUTCOMES))
    return one_coin(answers.pair[use], answers.annotator[use], answers.outcome[use], shape)


def _annotators(dataset: Dataset, data: Data, skills: Skills, per_hour: dict[int, float]) -> dict[str, Any]:
    answers = data.answers
    qualities = quality.by_annotator(dataset)

    def counted_of(chosen: Mask) -> Index:
        return np.bincount(answers.annotator[chosen], minlength=len(answers.annotators))

    votes = counted_of(answers.current)
    week = counted_of(answers.current & (answers.at > data.taken_at.timestamp() - WEEK_SECONDS))
    timed = answers.first & np.isfinite(answers.seconds)
    most_first = np.argsort(-votes, kind="stable")
    told = answers.person[most_first] | (np.arange(len(votes)) < MOST_ANNOTATORS)
    rows = []
    for place in most_first[told].tolist():
        held = qualities.get(int(answers.annotators[place]), quality.Quality())
        n = int(skills.votes[place])
        skill = Figure(float(skills.skill[place]), float(skills.low[place]), float(skills.high[place]), n)
        rows.append(
            {
                "annotator": int(answers.annotators[place]),
                "imported": not bool(answers.person[place]),
                "votes": int(votes[place]),
                "week": int(week[place]),
                "skill": (skill if n >= quality.ENOUGH else unknown(n)).as_json(),
                **_of_quality(held),
                "seconds": median(answers.seconds[timed & (answers.annotator == place)]).as_json(),
                "per_hour": round(per_hour[place], 1) if place in per_hour else None,
            }
        )
    return {"annotators": rows, "everybody": _of_quality(quality.together(qualities.values()))}


def _of_quality(held: quality.Quality) -> dict[str, Any]:
    shares = {name: getattr(held, name) for name in quality.NAMES}
    return {name: wilson_share(share.k, share.n).as_json() for name, share in shares.items()}


def _aggregation(dataset: Dataset, data: Data, skills: Skills) -> dict[str, Any]:
    answers = data.answers
    counts = counted(answers, answers.current, len(data.pairs.pk))
    opinions = counts.sum(axis=1)
    voted = opinions > 0
    majority = np.where(2 * counts.max(axis=1, initial=0) > opinions, counts.argmax(axis=1), -1)[voted]
    posterior = skills.posterior[voted]
    likeliest = np.where(posterior.max(axis=1, initial=0) > 0.5, posterior.argmax(axis=1), -1)
    mean = posterior.mean(axis=0) if len(posterior) else np.zeros(len(OUTCOMES))
    return {
        "rule": dataset.aggregation,
        "annotators": int((skills.votes > 0).sum()),
        "comparisons": int(voted.sum()),
        "votes_per_annotator": round(skills.votes_each, 1),
        "enough": skills.enough,
        "decided_by_majority": int((majority >= 0).sum()),
        "decided_by_skill": int((likeliest >= 0).sum()),
        "differ": int(((majority >= 0) & (likeliest >= 0) & (majority != likeliest)).sum()),
        "mean_skill": round(float(skills.skill @ skills.votes / max(1.0, skills.votes.sum())), 6),
        "posterior": {o.value: round(float(share), 6) for o, share in zip(OUTCOMES, mean, strict=True)},
    }


# --- models against people ----------------------------------------------------------------------------------


def _slices(data: Data, said: Mask) -> Iterator[against.Slice]:
    """Parts of the answers `said`, which is a mask over all answers; each part is one over those."""
    pairs, answers = data.pairs, data.answers
    pair, outcome = answers.pair[said], answers.outcome[said]
    sides = counted(answers, said, len(pairs.pk))[:, :2]

    def part(kind: str, label: str, of: Mask) -> against.Slice:
        shared = of & (sides.sum(axis=1) > 0)
        agree = agreement(sides[shared], pairs.prompt[shared], ORDINAL[:2] // 2).raw
        return against.Slice(kind, label, of[pair], ceiling(agree))

    yield part("all", "all", np.ones(len(pairs.pk), dtype=bool))
    a, b = pairs.length[pairs.a], pairs.length[pairs.b]
    longer, shorter = np.maximum(a, b), np.minimum(a, b)
    alike, apart = longer <= 1.25 * shorter, longer >= 2 * shorter
    yield part("length", "alike: the longer text has up to a quarter more", alike)
    yield part("length", "between", ~alike & ~apart)
    yield part("length", "apart: the longer text has twice as much or more", apart)
    ahead = np.where(outcome == OUTCOMES.index(Outcome.A), a[pair] - b[pair], b[pair] - a[pair])
    none = unknown(0, why="not defined: a ceiling is of pairs, not of what was preferred")
    yield against.Slice("preferred", "the longer text was preferred", (ahead > 0) & ~alike[pair], none)
    yield against.Slice("preferred", "the shorter text was preferred", (ahead < 0) & ~alike[pair], none)
    asked = np.zeros(len(pairs.pk), dtype=bool)
    asked[pair] = True
    for label, of in _by_source(pairs, asked):
        yield part("source", label, of)
    size = np.bincount(pairs.topic[asked & (pairs.topic >= 0)], minlength=len(pairs.topics))
    for place in np.argsort(-size, kind="stable")[:MOST_ROWS].tolist():
        yield part("topic", pairs.topics[place], pairs.topic == place)


def _trial(data: Data, version: ModelVersion, said: Mask) -> against.Trial:
    pairs, answers = data.pairs, data.answers
    pair = answers.pair[said]
    drawn = [data.margins[each.pk] for each in data.versions if _is_rule(each) and each.name == "random"]
    return against.Trial(
        prompt=pairs.prompt[pair],
        target=np.array([1.0, 0.0, 0.5])[answers.outcome[said]],
        margin=data.margins[version.pk][pair],
        longest=(pairs.length[pairs.a] - pairs.length[pairs.b])[pair],
        random=drawn[0][pair] if drawn else np.full(len(pair), np.nan),
    )


def _against(
    data: Data, version: ModelVersion, said: Mask, slices: Sequence[against.Slice]
) -> dict[str, Any]:
    trial = _trial(data, version, said)
    cut = data.cut[version.pk][data.answers.pair[said]]
    none = unknown(0, why="not defined: a ceiling is of people, not of what a model could read")
    truncated = [
        against.Slice("truncated", "the model read all of it", ~cut, none),
        against.Slice("truncated", "the model read it cut short", cut, none),
    ]
    return {
        "version": version.name,
        "pk": version.pk,
        "kind": version.kind,
        "calibrated": version.calibrated,
        "temperature": version.temperature,
        "n": int(np.isfinite(trial.margin).sum()),
        "slices": against.accuracies(trial, [*slices, *(truncated if cut.any() else [])]),
        "surety": against.surety(trial).as_json(),
        **against.calibration(trial, version.temperature),
        "histogram": against.histogram(trial),
    }


def _audit(data: Data, version: ModelVersion, said: Mask) -> dict[str, Any]:
    pairs, answers = data.pairs, data.answers
    margin = data.margins[version.pk]
    preferred = np.flatnonzero(said & (answers.outcome < 2))
    preferred = preferred[
        np.isfinite(margin[answers.pair[preferred]]) & (margin[answers.pair[preferred]] != 0)
    ]
    pair = answers.pair[preferred]
    a, b = pairs.a[pair], pairs.b[pair]
    choices = Choices(
        prompt=pairs.prompt[pair],
        chose=(answers.outcome[preferred] == OUTCOMES.index(Outcome.A)).astype(np.float64),
        margin=margin[pair],
        style=style_of((pairs.length[a], pairs.length[b]), (pairs.markdown[a], pairs.markdown[b])),
        side=answers.side[preferred].astype(np.float64),
    )
    return {"version": version.name, "pk": version.pk, **audit(choices)}


# --- what it takes to know more -----------------------------------------------------------------------------


def _plan(found: Report, seconds: float | None) -> list[dict[str, Any]]:
    """From people's answers; from those of files where people have said nothing yet."""
    voice = next(iter(found["agreement"]), None)
    if voice is None:
        return []
    plan = [
        planning.for_accuracy(each["version"], _figure(each["slices"][0]["accuracy"]), seconds)
        for each in found["against"][voice]
    ]
    every = found["agreement"][voice]["all"]
    return [*plan, planning.for_alpha(_figure(every["alpha"]), every["opinions"], seconds)]


def _figure(stored: dict[str, Any]) -> Figure:
    return Figure(**stored)
