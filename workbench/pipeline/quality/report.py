"""All figures of a Dataset at one moment, as one JSON value that pages only read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.utils import timezone

from workbench.db.snapshot import snapshot
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
from workbench.pipeline.quality import accuracy, annotators, planning, reports, work
from workbench.pipeline.quality.accuracy import Measured
from workbench.pipeline.quality.against import (
    Slice,
    Trial,
    accuracies,
    calibration,
    confidence_auc,
    histogram,
)
from workbench.pipeline.quality.annotators import Quality
from workbench.pipeline.quality.audit import Choices, audit, style_of
from workbench.pipeline.quality.columns import (
    ORDINAL,
    OUTCOMES,
    Answers,
    Pairs,
    answers_of,
    blind_of,
    counted,
    cut_of,
    independent_of,
    margins_of,
    pairs_of,
)
from workbench.pipeline.quality.figures import (
    ENOUGH,
    Figure,
    Index,
    Mask,
    Matrix,
    Vector,
    median,
    unknown,
    wilson_share,
)
from workbench.pipeline.quality.reports import (
    FORMAT,
    Aggregation,
    AgreementRow,
    Agreements,
    AnnotatorRow,
    AuditRow,
    Board,
    Checks,
    Goal,
    ModelRow,
    Report,
    SliceRow,
    StoredFigure,
)
from workbench.pipeline.quality.skill import Skills, one_coin
from workbench.pipeline.quality.voting import agreement, ceiling
from workbench.pipeline.runs.progress import Cancelled, Progress, never_stop
from workbench.pipeline.sources import board as sources
from workbench.pipeline.text import learnt
from workbench.pipeline.text.learnt import Seen

MOST_VERSIONS = 8
MOST_ROWS = 20
MOST_WEEKS = 52
MOST_ANNOTATORS = 500
WEEK_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class Data:
    """The columns that a report is computed from."""

    pairs: Pairs
    answers: Answers
    versions: Sequence[ModelVersion]
    serving: str | None
    margins: dict[int, Vector]
    cut: dict[int, Mask]
    guidelines: dict[int, int]
    taken_at: datetime
    samples: dict[str, Sample]
    blind: Mask
    """The opinions of people before any Suggestion."""


@dataclass(frozen=True)
class Sample:
    """The independent opinions of a label source, as a mask over all answers. set_aside: the other opinions,
    by reason (see accuracy.set_aside)."""

    chosen: Mask
    set_aside: dict[str, int]

    def as_json(self) -> reports.Sample:
        led, picked, asked_after = (self.set_aside[name] for name in ("led", "picked", "asked_after"))
        answers = int(self.chosen.sum())
        return {"answers": answers, "led": led, "picked": picked, "asked_after": asked_after}


@dataclass(frozen=True)
class Labels:
    """The pairs that a majority of the opinions of a label source labels a, b or tie. pair: the place of the
    pair; target: 1 for a, 0 for b, 0.5 for a tie. counts: (all pairs, outcomes), opinions."""

    pair: Index
    target: Vector
    counts: Matrix


def compute(dataset: Dataset, progress: Progress = never_stop) -> Report:
    """All figures of the dataset now. Raises Cancelled when `progress` gives False."""
    started = time.monotonic()
    data = _read(dataset, progress)
    answers = data.answers
    votes = answers.current & (answers.outcome >= 0)
    answers_by_source = {
        label_source: chosen
        for label_source, chosen in (("people", ~answers.imported), ("imported", answers.imported))
        if (votes & chosen).any()
    }
    samples = {label_source: data.samples[label_source] for label_source in answers_by_source}
    # Read again, as the connection of the versions in `data` was closed with the snapshot.
    versions = ModelVersion.objects.select_related("release").in_bulk(
        [version.pk for version in data.versions]
    )
    seen = {pk: learnt.seen(version, dataset) for pk, version in versions.items()}
    pace, per_hour, seconds = work.pace(answers)
    skills = skills_of(data.pairs, answers)
    agreements = {
        label_source: _agreements(data, label_source, chosen, samples[label_source].chosen)
        for label_source, chosen in answers_by_source.items()
    }
    qualities = annotators.by_annotator(dataset)
    models = [version for version in data.versions if not _is_rule(version)]
    against: dict[str, list[ModelRow]] = {}
    audits: dict[str, list[AuditRow]] = {}
    rows = len(data.pairs.pk) + len(answers)
    for label_source, sample in samples.items():
        if not progress(rows, rows):
            raise Cancelled
        labels = _labels(data, sample.chosen)
        slices = list(_slices(data, labels))
        against[label_source] = [
            _against(data, version, labels, slices, seen[version.pk]) for version in models
        ]
        audits[label_source] = [_audit(data, version, sample.chosen, seen[version.pk]) for version in models]
    if len(samples) > 1:
        labels = _labels(data, samples["people"].chosen | samples["imported"].chosen)
        slices = [next(_slices(data, labels))]
        against["all"] = [_against(data, version, labels, slices, seen[version.pk]) for version in models]
    return {
        "format": FORMAT,
        "sample": {label_source: sample.as_json() for label_source, sample in samples.items()},
        "agreement": agreements,
        "annotators": _annotators(data, qualities, skills, per_hour),
        "everybody": _checks(annotators.together(qualities.values())),
        "aggregation": _aggregation(dataset, data, skills),
        "seconds": work.reading(answers, data.pairs),
        "pace": pace,
        "against": against,
        "audit": audits,
        "plan": _plan(agreements, against, seconds),
        "boards": _boards(data),
        "data": {
            "taken_at": data.taken_at.isoformat(timespec="seconds"),
            "comparisons": len(data.pairs.pk),
            "judgments": len(answers),
            "last_judgment": answers.last,
            "opinions": int(votes.sum()),
            "votes": int((votes & ~answers.imported).sum()),
            "labels": int((votes & answers.imported).sum()),
            "version": data.serving,
            "seconds": round(time.monotonic() - started, 2),
        },
    }


def _is_rule(version: ModelVersion) -> bool:
    return version.kind == ModelVersion.Kind.BASELINE and version.name in ("longest", "shortest", "random")


def _read(dataset: Dataset, progress: Progress) -> Data:
    with snapshot() as using:
        versions = _versions(dataset, using)
        fresh = Dataset.objects.using(using).get(pk=dataset.pk)
        serving = ModelVersion.objects.using(using).serving(fresh)
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
        margins = {v.pk: margins_of(v, dataset, pairs, using, step) for v in versions}
        return Data(
            pairs=pairs,
            answers=answers,
            versions=versions,
            serving=serving.name if serving in versions else None,
            margins=margins,
            cut={v.pk: cut_of(v, dataset, pairs, using) for v in versions if not _is_rule(v)},
            guidelines=dict(
                Guidelines.objects.using(using).filter(dataset=dataset).values_list("pk", "number")
            ),
            taken_at=timezone.now(),
            samples=_samples(dataset, answers, using),
            blind=blind_of(dataset, answers, using),
        )


def _versions(dataset: Dataset, using: str) -> list[ModelVersion]:
    """Versions with Suggestions in the dataset: the serving version, then the newest others, then the rules.
    A new active version is left out until it serves the dataset."""
    suggesting = Suggestion.objects.using(using).filter(comparison__dataset=dataset)
    versions = ModelVersion.objects.using(using).filter(
        pk__in=suggesting.order_by().values("version").distinct()
    )
    fresh = Dataset.objects.using(using).get(pk=dataset.pk)
    serving = ModelVersion.objects.using(using).serving(fresh)
    if fresh.held_by_id:
        versions = versions.exclude(state=ModelVersion.State.ACTIVE)
    serving_first = sorted(versions, key=lambda version: (version != serving, -version.pk))
    models = [version for version in serving_first if not _is_rule(version)]
    rules = [version for version in serving_first if _is_rule(version) and version.name != "shortest"]
    return models[:MOST_VERSIONS] + rules


def _samples(dataset: Dataset, answers: Answers, using: str) -> dict[str, Sample]:
    """The independent answers of people, and all current labels of files."""
    people = independent_of(dataset, answers, using)
    labels = answers.current & answers.imported & (answers.outcome >= 0)
    set_aside = accuracy.set_aside(dataset, int(people.sum()), using)
    return {"people": Sample(people, set_aside), "imported": Sample(labels, dict.fromkeys(set_aside, 0))}


# --- people against people ----------------------------------------------------------------------------------


def _agreements(data: Data, label_source: str, chosen: Mask, sample: Mask) -> Agreements:
    pairs, answers = data.pairs, data.answers
    votes = answers.current & chosen
    counts = counted(answers, votes, len(pairs.pk))

    def row(label: str, counts: Matrix, of: Mask | None = None) -> AgreementRow:
        use = counts.sum(axis=1) > 0 if of is None else of & (counts.sum(axis=1) > 0)
        agreed = agreement(counts[use], pairs.prompt[use], ORDINAL)
        return {
            "label": label,
            "units": agreed.units,
            "opinions": agreed.opinions,
            "raw": agreed.raw.as_json(),
            "alpha": agreed.alpha.as_json(),
            "alpha_ordinal": agreed.alpha_ordinal.as_json(),
            "ac1": agreed.ac1.as_json(),
        }

    def of_guidelines(key: int) -> Matrix:
        return counted(answers, votes & (answers.guidelines == key), len(pairs.pk))

    latest = np.zeros(len(pairs.pk), dtype=np.int64)
    np.maximum.at(latest, answers.pair[votes], answers.at[votes])
    monday = work.week_of(latest)
    several = counts.sum(axis=1) >= 2
    return {
        "all": row("all", counts),
        "unseen": row("independent", counted(answers, sample, len(pairs.pk)))
        if label_source == "people"
        else None,
        "by_source": [row(label, counts, of) for label, of in _by_source(pairs, several)],
        "by_guidelines": [
            row(str(number), of_guidelines(key))
            for key, number in sorted(data.guidelines.items(), key=lambda item: item[1])[-MOST_ROWS:]
            if label_source == "people"
        ],
        "by_week": [
            row(work.week_name(start), counts, monday == start)
            for start in np.unique(monday[several]).tolist()[-MOST_WEEKS:]
        ],
    }


def _by_source(pairs: Pairs, use: Mask) -> Iterator[tuple[str, Mask]]:
    """(source, Comparisons with a text by the source), most first; none where all texts have one source."""
    a, b = pairs.source[pairs.a], pairs.source[pairs.b]
    size = np.bincount(a[use], minlength=len(pairs.sources)) + np.bincount(
        b[use], minlength=len(pairs.sources)
    )
    order = [int(place) for place in np.argsort(-size, kind="stable") if size[place]][:MOST_ROWS]
    if len(order) > 1:
        for place in order:
            yield pairs.sources[place] or "not known", (a == place) | (b == place)


# --- annotators -----------------------------------------------------------------------------------------


def skills_of(pairs: Pairs, answers: Answers) -> Skills:
    """One-coin Dawid-Skene over all current opinions, of people and of files."""
    use = answers.current & (answers.outcome >= 0)
    shape = (len(pairs.pk), len(answers.annotators), len(OUTCOMES))
    return one_coin(answers.pair[use], answers.annotator[use], answers.outcome[use], shape)


def _annotators(
    data: Data, qualities: Mapping[int, Quality], skills: Skills, per_hour: Mapping[int, float]
) -> list[AnnotatorRow]:
    """All people, and the label sources among the MOST_ANNOTATORS annotators with most votes."""
    answers = data.answers

    def counted_of(chosen: Mask) -> Index:
        return np.bincount(answers.annotator[chosen], minlength=len(answers.annotators))

    votes = counted_of(answers.current)
    week = counted_of(answers.current & (answers.at > data.taken_at.timestamp() - WEEK_SECONDS))
    timed = answers.first & np.isfinite(answers.seconds)
    most_first = np.argsort(-votes, kind="stable")
    listed = answers.person[most_first] | (np.arange(len(votes)) < MOST_ANNOTATORS)
    rows: list[AnnotatorRow] = []
    for place in most_first[listed].tolist():
        quality = qualities.get(int(answers.annotators[place]), Quality())
        n = int(skills.votes[place])
        skill = Figure(float(skills.skill[place]), float(skills.low[place]), float(skills.high[place]), n)
        rows.append(
            {
                "annotator": int(answers.annotators[place]),
                "imported": not bool(answers.person[place]),
                "votes": int(votes[place]),
                "week": int(week[place]),
                "skill": (skill if n >= ENOUGH else unknown(n)).as_json(),
                **_checks(quality),
                "seconds": median(answers.seconds[timed & (answers.annotator == place)]).as_json(),
                "per_hour": round(per_hour[place], 1) if place in per_hour else None,
            }
        )
    return rows


def _checks(quality: Quality) -> Checks:
    return {
        "gold": wilson_share(quality.gold).as_json(),
        "consistent": wilson_share(quality.consistent).as_json(),
        "left": wilson_share(quality.left).as_json(),
        "towards": wilson_share(quality.towards).as_json(),
        "away": wilson_share(quality.away).as_json(),
    }


def _aggregation(dataset: Dataset, data: Data, skills: Skills) -> Aggregation:
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


def _labels(data: Data, chosen: Mask) -> Labels:
    counts = counted(data.answers, chosen, len(data.pairs.pk))
    target = accuracy.majority(counts)
    # "Both bad" prefers neither text, and is no tie between good texts.
    pair = np.flatnonzero(np.isfinite(target) & (target >= 0))
    return Labels(pair, target[pair], counts)


def _slices(data: Data, labels: Labels) -> Iterator[Slice]:
    """Parts of the labelled pairs, each a mask over these pairs; all pairs come first."""
    pairs, pair = data.pairs, labels.pair
    sides = labels.counts[:, :2]
    decided = np.zeros(len(pairs.pk), dtype=bool)
    decided[pair] = True
    group = np.unique(pairs.groups, return_inverse=True)[1][pairs.prompt]

    def part(kind: str, label: str, of: Mask) -> Slice:
        best = ceiling(sides[of], decided[of], group[of])
        return Slice(kind, label, of[pair], best.share)

    yield part("all", "all", np.ones(len(pairs.pk), dtype=bool))
    a, b = pairs.length[pairs.a], pairs.length[pairs.b]
    longer, shorter = np.maximum(a, b), np.minimum(a, b)
    alike, apart = longer <= 1.25 * shorter, longer >= 2 * shorter
    yield part("length", "similar: the longer answer is at most a quarter longer", alike)
    yield part("length", "between", ~alike & ~apart)
    yield part("length", "different: the longer answer is at least twice as long", apart)
    ahead = np.sign(labels.target - 0.5) * (a[pair] - b[pair])
    none = unknown(0, why="not defined: a ceiling is of pairs, not of what was preferred")
    yield Slice("preferred", "longer answer", (ahead > 0) & ~alike[pair], none)
    yield Slice("preferred", "shorter answer", (ahead < 0) & ~alike[pair], none)
    for label, of in _by_source(pairs, decided):
        yield part("source", label, of)
    size = np.bincount(pairs.topic[decided & (pairs.topic >= 0)], minlength=len(pairs.topics))
    for place in np.argsort(-size, kind="stable")[:MOST_ROWS].tolist():
        yield part("topic", pairs.topics[place], pairs.topic == place)


def _trial(data: Data, version: ModelVersion, labels: Labels, out: Mask) -> Trial:
    """The version on the pairs, without a margin where its prompt group is `out` (a mask over prompts)."""
    pairs, pair = data.pairs, labels.pair
    random = [data.margins[v.pk] for v in data.versions if _is_rule(v) and v.name == "random"]
    return Trial(
        prompt=pairs.prompt[pair],
        target=labels.target,
        margin=np.where(out[pairs.prompt[pair]], np.nan, data.margins[version.pk][pair]),
        longest=(pairs.length[pairs.a] - pairs.length[pairs.b])[pair],
        random=random[0][pair] if random else np.full(len(pair), np.nan),
    )


def _against(
    data: Data, version: ModelVersion, labels: Labels, slices: Sequence[Slice], seen: Seen
) -> ModelRow:
    pairs, pair = data.pairs, labels.pair
    out = np.array([group in seen for group in pairs.groups], dtype=bool)
    trial = _trial(data, version, labels, out)
    cut = data.cut[version.pk][pair]
    none = unknown(0, why="not defined: a ceiling is of people, not of what a model could read")
    truncated = [
        Slice("truncated", "in full", ~cut, none),
        Slice("truncated", "cut off", cut, none),
    ]
    groups = [pairs.groups[place] for place in pairs.prompt[pair].tolist()]
    measured = accuracy.measure(
        data.margins[version.pk][pair],
        labels.target,
        groups,
        np.stack([pairs.length[pairs.a], pairs.length[pairs.b]], axis=1)[pair],
        seen,
    )
    by_chance = np.where(np.isfinite(trial.margin), trial.random, np.nan)
    chance = accuracy.share_of(by_chance, labels.target, groups, seen)
    # A temperature is fitted on some of the groups, so calibration is measured on the others.
    not_fitted = np.array([seen.measures_calibration(group) for group in pairs.groups], dtype=bool)
    held_out = _trial(data, version, labels, ~not_fitted)
    rows = accuracies(trial, [*slices, *(truncated if cut.any() else [])])
    return {
        "version": version.name,
        "pk": version.pk,
        "kind": version.kind,
        "calibrated": version.calibrated,
        "temperature": version.temperature,
        "n": int(np.isfinite(trial.margin).sum()),
        "learnt": measured.learnt,
        "known": seen.known,
        "rule": measured.rule,
        "slices": [_as_everywhere(rows[0], measured, chance), *rows[1:]],
        "confidence_auc": confidence_auc(trial).as_json(),
        **calibration(held_out, version.temperature),
        "histogram": histogram(trial),
    }


def _as_everywhere(row: SliceRow, measured: Measured, chance: accuracy.Estimate) -> SliceRow:
    """The row of all pairs, with intervals over prompt groups as on every page: the accuracy, and the
    accuracy of the length rule and of `random`."""
    if row["accuracy"]["value"] is None:
        return row

    def stored(share: accuracy.Estimate) -> StoredFigure:
        if share.value is None or share.low is None or share.high is None:
            return unknown(measured.decided, measured.groups).as_json()
        return Figure(share.value, share.low, share.high, measured.decided, measured.groups).as_json()

    return {
        **row,
        "accuracy": stored(measured.share),
        "random": stored(chance),
        "by_rule": stored(measured.rule_share),
        "over_rule": stored(measured.over_rule),
    }


def _audit(data: Data, version: ModelVersion, chosen: Mask, seen: Seen) -> AuditRow:
    pairs, answers = data.pairs, data.answers
    out = np.array([group in seen for group in pairs.groups], dtype=bool)
    margin = np.where(out[pairs.prompt], np.nan, data.margins[version.pk])
    sided = chosen & (answers.outcome >= 0) & (answers.outcome < 2)
    preferred = np.flatnonzero(sided)
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


# --- sources of answers -----------------------------------------------------------------------------------


def _boards(data: Data) -> dict[str, Board]:
    pairs, answers = data.pairs, data.answers
    opinions = answers.outcome >= 0
    chosen = {
        "people": data.blind,
        "random": data.samples["people"].chosen,
        "imported": data.samples["imported"].chosen,
    }
    if data.samples["people"].chosen.sum() == data.blind.sum():
        del chosen["random"]
    of = np.stack([answers.pair, answers.annotator], axis=1)
    votes = of[answers.current & ~answers.imported & opinions]
    led = {"people": len(np.unique(np.concatenate([votes, of[data.blind]]), axis=0)) - int(data.blind.sum())}
    boards = {
        name: sources.board(pairs, answers, use, led.get(name, 0))
        for name, use in chosen.items()
        if use.any()
    }
    return {name: board for name, board in boards.items() if board["sources"]}


# --- how many more votes -----------------------------------------------------------------------------


def _plan(
    agreements: Mapping[str, Agreements], against: Mapping[str, list[ModelRow]], seconds: float | None
) -> list[Goal]:
    """Plan from people's answers; from imported labels where there are no answers of people."""
    label_source = next(iter(agreements), None)
    if label_source is None:
        return []
    plan = [
        planning.for_accuracy(row["version"], Figure(**row["slices"][0]["accuracy"]), seconds)
        for row in against[label_source]
    ]
    every = agreements[label_source]["all"]
    return [*plan, planning.for_alpha(Figure(**every["alpha"]), every["opinions"], seconds)]
