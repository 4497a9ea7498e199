"""Known pairs + margins -> the figures of a ModelVersion, beside the rules and models that it must beat.

No figure counts a prompt group that its model has learnt."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from django.db import transaction

import scoring.evaluate
from scoring import shares
from workbench.models import Dataset, Evaluation, ModelVersion, Run, User
from workbench.models.evaluations import PairedFigures
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.model.compare import paired_comparison
from workbench.pipeline.model.margins import ScorerOf, complete_margins
from workbench.pipeline.model.pairs import (
    LEARNT,
    KnownPairs,
    Mask,
    NothingToEvaluate,
    counted_in_words,
    of_dataset,
    of_file,
)
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.accuracy import Vector
from workbench.pipeline.runs.lifecycle import heartbeats
from workbench.pipeline.runs.progress import Progress, Refused, is_for_people, never_stop
from workbench.pipeline.text import learnt
from workbench.pipeline.text.learnt import Seen

RULES = ("longest", "random")
"""The baselines that every Evaluation has beside the version."""


def evaluate(
    version: ModelVersion,
    pairs: KnownPairs,
    scorer_of: ScorerOf,
    *,
    run: Run | None = None,
    progress: Progress = never_stop,
) -> Evaluation:
    """Evaluate the version on the pairs that it has not learnt, and store its figures, the figures of
    `longest`, `random` and the active version, the paired differences to the active version and to `longest`,
    and the human ceiling. Pairs that the active version has learnt are left out of its own figures and the
    difference.

    Pairs with a text that a version cannot score are left out. Raises NothingToEvaluate, Cancelled."""
    if not pairs:
        raise NothingToEvaluate(pairs.none_in_words())
    active = ModelVersion.objects.active()
    rules = ModelVersion.objects.baselines().filter(name__in=RULES).order_by("name")
    rivals = [rival for rival in dict.fromkeys([*rules, active]) if rival and rival != version]
    seen = {measured.pk: pairs.seen_by(measured) for measured in (version, *rivals)}
    unseen = pairs.unseen_by(seen[version.pk])
    if not unseen:
        raise NothingToEvaluate(
            f"{version} has learnt the prompts of all {len(pairs):,} pairs of {pairs.source}."
        )
    margins = {}
    margins[version.pk], rate = complete_margins(version, unseen, scorer_of, progress)
    for rival in rivals:
        margins[rival.pk], _ = complete_margins(rival, unseen, scorer_of, progress)
    are_scored: Mask = np.logical_and.reduce([np.isfinite(column) for column in margins.values()])
    scored = unseen.only(are_scored, "a text that cannot be scored")
    if not scored:
        raise NothingToEvaluate(f"No pair of {pairs.source} can be scored.")
    margins = {pk: column[are_scored] for pk, column in margins.items()}
    beside, differences = {}, {}
    for rival in rivals:
        new_to_both = scored.are_unseen(seen[rival.pk])
        own_margins, rival_margins = margins[version.pk][new_to_both], margins[rival.pk][new_to_both]
        shared = scored.only(new_to_both, LEARNT)
        beside[rival.name] = _figures(rival, rival_margins, shared, seen[rival.pk])
        if rival.name != "random":
            paired = paired_comparison(version, rival, own_margins, rival_margins, shared)
            differences[rival.name] = asdict(paired)
    people = asdict(pairs.ceiling)
    figures = {
        "model": _figures(version, margins[version.pk], scored, seen[version.pk]),
        "beside": beside,
        "differences": differences,
        "rule": asdict(
            accuracy.measure(
                margins[version.pk],
                np.array(scored.outcomes),
                scored.groups,
                scored.lengths(),
                Seen(ModelVersion.Known.YES),
                pairs.length_rule(),
            )
        ),
        "active": active.name if active else "",
        "people": people | {"ceiling": people.pop("value")},
        "counted": scored.counted,
        "left_out": dict(scored.left_out),
        "set_aside": dict(pairs.set_aside),
        "learnt": {"pairs": pairs.decided - unseen.decided, "known": version.learnt},
        "texts_per_second": rate,
    }
    return Evaluation.objects.create(
        version=version,
        dataset=pairs.dataset,
        source=pairs.source,
        split=Evaluation.Split.UNSEEN,
        protocol=pairs.protocol,
        data_sha256=scored.sha256,
        pairs=len(scored),
        figures=figures,
        run=run,
    )


def _figures(version: ModelVersion, margins: Vector, pairs: KnownPairs, seen: Seen) -> dict[str, object]:
    """ModelFigures of pairs that the version has not learnt. Figures at its temperature are of groups that no
    temperature is fitted on."""
    whole = scoring.evaluate.evaluate(margins, pairs.outcomes, pairs.groups, slices=pairs.slices())
    held_out = np.array([seen.measures_calibration(pair.group) for pair in pairs], dtype=bool)
    unfitted = pairs.only(held_out, LEARNT)
    calibrated = scoring.evaluate.evaluate(
        margins[held_out], unfitted.outcomes, unfitted.groups, temperature=version.temperature
    )
    return {
        **asdict(whole),
        "temperature": version.temperature,
        "calibrated_log_loss": calibrated.calibrated_log_loss,
        "calibrated_brier": calibrated.calibrated_brier,
        "calibrated_ece": calibrated.calibrated_ece,
        "calibrated_n": calibrated.n,
    }


def begin(version: ModelVersion, on: Dataset | Path, protocol: str = "", by: User | None = None) -> Run:
    """A new Run, to be enqueued, that evaluates the version on a Dataset, or on a file of this machine."""
    run = Run(kind=Run.Kind.EVALUATE, version=version, created_by=by, params={"protocol": protocol})
    if isinstance(on, Dataset):
        run.dataset = on
    else:
        run.params["file"] = str(on.resolve())
    with transaction.atomic():
        run.save()
        return record_run(run)


def carry_out(run: Run, scorer_of: ScorerOf, progress: Progress = never_stop) -> Evaluation:
    """Evaluate the version of a started Run on its Dataset or file, and finish the Run. Raises Refused, and
    Cancelled when `progress` answers False or the Run is no longer this worker's."""
    protocol = run.params.get("protocol", "")
    with heartbeats(run) as alive:

        def report(done: int, total: int) -> bool:
            alive()
            return run.update_progress(done, total) and progress(done, total)

        try:
            stored = evaluate(_version(run), _pairs(run, protocol), scorer_of, run=run, progress=report)
        except ValueError as error:
            if not is_for_people(error):
                raise
            raise Refused(str(error)) from error
    run.finish(pairs=stored.pairs, evaluation=stored.pk, said=summary(stored))
    return stored


def _version(run: Run) -> ModelVersion:
    if run.version is None:
        raise NothingToEvaluate("Its model is gone.")
    return run.version


def _pairs(run: Run, protocol: str) -> KnownPairs:
    if run.dataset is not None:
        return of_dataset(run.dataset, protocol)
    path = Path(run.params["file"])
    if not path.is_file():
        raise NothingToEvaluate(f"{path.name} is not on this machine; run the command again where it is.")
    try:
        return of_file(path, protocol)
    except OSError as error:
        raise NothingToEvaluate(f"{path.name} cannot be read: {error.strerror}.") from error


def latest(datasets: Sequence[Dataset]) -> dict[int, dict[int, Evaluation]]:
    """By version, then by Dataset: the newest Evaluation of each on these Datasets, without a protocol."""
    newest: dict[int, dict[int, Evaluation]] = defaultdict(dict)
    for row in Evaluation.objects.filter(dataset__in=datasets, protocol="").order_by("pk"):
        if row.dataset_id is not None:
            newest[row.version_id][row.dataset_id] = row
    return newest


def summary(evaluation: Evaluation) -> str:
    """ "Kitchen: 64 % of 412 pairs right (95 % interval 59 to 69 %). Left out: ..." """
    figures = evaluation.model_figures
    interval = figures["clustered"] or figures["wilson"]
    if figures["accuracy"] is None or interval is None:
        return f"{evaluation.on}: no pairs to measure on."
    right = (
        f"{evaluation.on}: {shares.in_words(figures['accuracy'])} of {figures['decided']:,} pairs right "
        f"(95 % interval {shares.between(interval)})."
    )
    return " ".join(filter(None, [right, *remarks(evaluation), warning(evaluation)]))


def remarks(evaluation: Evaluation) -> list[str]:
    """Sentences beside the accuracy: which pairs count, what was left out, and what is not known."""
    figures = evaluation.figures
    sentences = [
        counted_in_words(figures["counted"]) if evaluation.dataset_id else "",
        accuracy.left_out_in_words(figures["learnt"]["pairs"], figures["set_aside"]),
        learnt.warning(figures["learnt"]["known"]),
    ]
    return [sentence for sentence in sentences if sentence]


def warning(evaluation: Evaluation) -> str:
    """A sentence where the accuracy is too good to be true, else ""."""
    people = evaluation.figures["people"]
    return scoring.evaluate.above_ceiling(
        evaluation.model_figures["accuracy"], people["ceiling"], people.get("twos", 0)
    )


def difference_in_words(new: str, old: str, paired: PairedFigures) -> str:
    """ "new minus old: +6.1 points (+3.3 to +9.4); 98 picks are now right, 31 now wrong; ..." """
    if paired["accuracy_difference"] is None:
        return f"{new} minus {old}: no pairs to measure on."
    interval = paired["accuracy_interval"]
    difference = shares.points_with_interval(paired["accuracy_difference"], interval)
    return (
        f"{new} minus {old}: {difference}{'' if interval else ' (one prompt group only)'}; "
        f"{paired['n01']:,} picks now right, {paired['n10']:,} now wrong; "
        f"McNemar p = {paired['p']:.3g}."
    )
