"""`python -m scoring evaluate`: how often a model agrees with labelled pairs, beside the baselines."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from scoring import learnt, shares
from scoring.baselines import BASELINES
from scoring.config import TEMPLATE_HELP, TEMPLATES, TOKEN_TYPES, TOKEN_TYPES_HELP, template_named
from scoring.evaluate import (
    Evaluation,
    PairedComparison,
    above_ceiling,
    compare,
    evaluate,
    human_ceiling,
    right_shares,
)
from scoring.formats import BadText, Scorer
from scoring.pairs import DataError, LabelledPair, read_pairs
from scoring.record import print_bad_rows, slices_of
from scoring.scorers import open_scorer

Values = npt.NDArray[np.float64]

WINDOW = 1024
BESIDE = ("longest", "random")
SECTIONS: Mapping[str, Mapping[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95,
        "mt-bench-easy": 28, "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 250,
        "xstest-should-respond": 154, "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984, "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164,
        "hep-python": 164, "hep-rust": 164,
    },
}  # fmt: skip
"""RewardBench's weights (2403.13787) of subsets in the average of a section."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="labelled pairs, in any format that an import reads",
    )
    parser.add_argument("--model", required=True, help=f"a checkpoint folder, or {', '.join(BASELINES)}")
    parser.add_argument("--against", metavar="PATH", help="compare with this model on the same pairs")
    parser.add_argument(
        "--protocol",
        choices=("pairs", "webgpt", "rewardbench"),
        default="pairs",
        help="webgpt: only pairs with a preferred answer, reported as in the seed's card; "
        "rewardbench: sections by the subset column",
    )
    parser.add_argument(
        "--citations",
        choices=("kept", "stripped"),
        default="kept",
        help="keep or strip [1][2] marks in answers (default: kept)",
    )
    parser.add_argument("--lenient", action="store_true", help="skip rows that can't be read")
    parser.add_argument(
        "--agreement", type=float, help="how often two people agree, 0 to 1; adds the human ceiling"
    )
    parser.add_argument(
        "--temperature", type=float, help="temperature of the model, in logits; adds calibrated figures"
    )
    parser.add_argument(
        "--max-length",
        type=int,
        help="tokens a text is cut to (default: 512, for chat 4,096, or all that the model has)",
    )
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="default: fp32")
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's choice)")
    parser.add_argument("--template", choices=TEMPLATES, help=TEMPLATE_HELP)
    parser.add_argument("--token-types", choices=TOKEN_TYPES, help=TOKEN_TYPES_HELP)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate, print the tables, and return all figures."""
    pairs, left_out, unusable = _pairs(options)
    pairs, learnt_pairs = _without_learnt(options, pairs)
    names = dict.fromkeys(name for name in (options.model, options.against, *BESIDE) if name)
    margins = {name: margins_of(_scorer(options, name), pairs, _short(name)) for name in names}
    outcomes, groups = [pair.target for pair in pairs], [pair.group for pair in pairs]
    slices = slices_of(pairs)
    evaluations = {name: evaluate(margins[name], outcomes, groups) for name in names}
    model = evaluations[options.model] = evaluate(
        margins[options.model], outcomes, groups, temperature=options.temperature, slices=slices
    )
    against = (
        compare(margins[options.model], margins[options.against], outcomes, groups, slices=slices)
        if options.against
        else None
    )
    sections = sections_of(pairs, margins[options.model]) if options.protocol == "rewardbench" else None
    ceiling = None if options.agreement is None else human_ceiling(options.agreement)
    _print_pairs(options, model, left_out)
    for reason, count in unusable.items():
        print(f"left out: {count:,} {reason}")
    _print_learnt(learnt_pairs)
    _print_models(evaluations, ceiling)
    _print_slices(model)
    if against:
        _print_comparison(against, options)
    if sections:
        _print_table(
            ["section", "accuracy"], [[name, shares.in_words(share)] for name, share in sections.items()]
        )
    if options.protocol == "webgpt":
        print(f"\n| Acc | WebGPT |\n|---|---|\n| {_short(options.model)} | {_card(model.accuracy)} |")
    return {
        "pairs": model.n,
        "left_out": left_out,
        "unusable": dict(unusable),
        "learnt": learnt_pairs,
        "models": {name: asdict(evaluation) for name, evaluation in evaluations.items()},
        "against": asdict(against) if against else None,
        "sections": sections,
        "ceiling": ceiling,
    }


def _pairs(options: argparse.Namespace) -> tuple[list[LabelledPair], int, Counter[str]]:
    """The pairs that the protocol uses, the number of the others, and the counts of unusable rows."""
    bad: list[str] | None = [] if options.lenient else None
    unusable: Counter[str] = Counter()
    strip = options.citations == "stripped"
    pairs = []
    for file in options.files:
        pairs += read_pairs(file, strip_citations=strip, bad=bad, left_out=unusable)
    print_bad_rows(bad)
    used = [pair for pair in pairs if not pair.is_tie] if options.protocol == "webgpt" else pairs
    if not used:
        raise DataError(f"none of the {len(pairs):,} pairs has a preferred answer")
    if options.protocol == "rewardbench" and not any(pair.part for pair in used):
        raise DataError('there is no column "subset", which the protocol rewardbench needs')
    return used, len(pairs) - len(used), unusable


class LearntPairs(TypedDict):
    """Pairs of prompts that a model has learnt, and whether its record is known to be complete."""

    pairs: int
    known: bool


def _without_learnt(
    options: argparse.Namespace, pairs: list[LabelledPair]
) -> tuple[list[LabelledPair], dict[str, LearntPairs]]:
    """The pairs of prompt groups that neither model has learnt, and the counts of learnt pairs by model."""
    counts: dict[str, LearntPairs] = {}
    learnt_groups: set[str] = set()
    for name in dict.fromkeys(name for name in (options.model, options.against) if name):
        if name not in BASELINES:
            record = learnt.read(Path(name)) or learnt.Record(whole=False)
            known = learnt.Known(record)
            groups = {pair.group for pair in pairs if pair.prompt in known}
            count = sum(pair.group in groups for pair in pairs)
            counts[name] = {"pairs": count, "known": record.whole}
            learnt_groups |= groups
    unseen = [pair for pair in pairs if pair.group not in learnt_groups]
    if not unseen:
        raise DataError(f"nothing to measure: a model was trained on the prompts of all {len(pairs):,} pairs")
    return unseen, counts


def _print_learnt(counts: Mapping[str, LearntPairs]) -> None:
    for name, learnt_pairs in counts.items():
        if learnt_pairs["pairs"]:
            print(f"left out: {learnt_pairs['pairs']:,} pairs of prompts that {_short(name)} has learnt")
        if not learnt_pairs["known"]:
            print(
                f"not known: all that {_short(name)} was trained on; pairs that it has learnt may be counted"
            )


def _scorer(options: argparse.Namespace, name: str) -> Scorer:
    return open_scorer(
        name,
        max_length=options.max_length,
        precision=options.precision,
        threads=options.threads,
        template=template_named(options.template, options.token_types),
    )


def margins_of(scorer: Scorer, pairs: Sequence[LabelledPair], name: str) -> Values:
    """(N,) score of a - score of b. Raises DataError with the first pair that can't be scored."""
    margins = np.empty(len(pairs))
    starts = track(
        range(0, len(pairs), WINDOW),
        description=name,
        console=Console(stderr=True),
        disable=len(pairs) <= WINDOW or not sys.stderr.isatty(),
    )
    for start in starts:
        window = pairs[start : start + WINDOW]
        try:
            scores = scorer([text for pair in window for text in pair.texts])
        except BadText as error:
            raise DataError(f"pair {start + error.index // 2 + 1}: {error.reason}") from None
        values = np.array([scored.value for scored in scores])
        margins[start : start + WINDOW] = values[0::2] - values[1::2]
    return margins


def sections_of(pairs: Sequence[LabelledPair], margins: Values) -> dict[str, float | None]:
    """RewardBench's section scores, weighted means of its subsets' accuracies, and the mean of the four.

    None for a section without one of its subsets. Other subsets are in the table of slices only. Equal scores
    count one half, unlike in RewardBench.
    """
    right: dict[str, list[float]] = {}
    right_of_pairs = right_shares(margins, np.array([pair.target for pair in pairs]))
    for pair, share in zip(pairs, right_of_pairs.tolist(), strict=True):
        if pair.part and not pair.is_tie:
            right.setdefault(pair.part, []).append(share)
    sections: dict[str, float | None] = {}
    for section, weights in SECTIONS.items():
        if weights.keys() <= right.keys():
            accuracies = [float(np.mean(right[subset])) for subset in weights]
            sections[section] = float(np.average(accuracies, weights=list(weights.values())))
        else:
            sections[section] = None
    complete = [share for share in sections.values() if share is not None]
    return {**sections, "mean": float(np.mean(complete)) if len(complete) == len(SECTIONS) else None}


def _print_pairs(options: argparse.Namespace, model: Evaluation, left_out: int) -> None:
    files = ", ".join(file.name for file in options.files)
    print(f"{files}: {model.n:,} pairs of {model.groups:,} prompt groups, {model.ties:,} of them ties")
    if options.protocol == "webgpt":
        print(
            f"only pairs with a preferred answer: {model.n:,} of {model.n + left_out:,}; "
            f"citations {options.citations}"
        )
    if model.equal:
        print(f"{model.equal:,} pairs have equal scores and count as half right")


def _print_models(evaluations: Mapping[str, Evaluation], ceiling: float | None) -> None:
    rows = [
        [
            _short(name),
            shares.in_words(evaluation.accuracy),
            shares.between(evaluation.clustered),
            shares.between(evaluation.wilson),
            *(_figures(evaluation) if name not in BASELINES else ["–"] * 4),
        ]
        for name, evaluation in evaluations.items()
    ]
    if ceiling is not None:
        rows.append(["human ceiling", shares.in_words(ceiling), *["–"] * 6])
    columns = [
        "",
        "accuracy",
        "95 % by prompt group",
        "95 % Wilson",
        "log-loss",
        "Brier",
        "ECE",
        "AUC |margin|",
    ]
    _print_table(columns, rows)
    for name, model in evaluations.items():
        if warning := above_ceiling(model.accuracy, ceiling):
            print(f"{_short(name)}: {warning}")
        if model.temperature is not None:
            calibrated = model.calibrated_log_loss, model.calibrated_brier, model.calibrated_ece
            log_loss, brier, ece = map(shares.decimals, calibrated)
            print(
                f"{_short(name)} at temperature {model.temperature:g}: log-loss {log_loss}, Brier {brier}, "
                f"ECE {ece}"
            )


def _figures(model: Evaluation) -> list[str]:
    return [shares.decimals(value) for value in (model.log_loss, model.brier, model.ece, model.auc_right)]


def _print_slices(model: Evaluation) -> None:
    rows = [
        [
            f"{part.name}: {part.label}",
            f"{part.n:,}",
            shares.in_words(part.accuracy),
            shares.between(part.clustered),
        ]
        for part in model.slices
    ]
    if rows:
        _print_table(["slice", "decided", "accuracy", "95 % by prompt group"], rows)


def _print_comparison(comparison: PairedComparison, options: argparse.Namespace) -> None:
    new, old = _short(options.model), _short(options.against)
    print(f"\n{new} against {old}, on the same {comparison.n:,} decided pairs")
    print(
        f"  better on {comparison.n01:,}, worse on {comparison.n10:,}; exact McNemar p = {_p(comparison.p)}"
    )
    interval = comparison.accuracy_interval
    print(f"  accuracy {shares.points_with_interval(comparison.accuracy_difference, interval)}")
    if not {options.model, options.against} & set(BASELINES):
        bounds = comparison.log_loss_interval
        between = "not enough data" if bounds is None else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}"
        print(f"  log-loss {comparison.log_loss_difference or 0:+.3f} ({between})")
    rows = [
        [f"{part.name}: {part.label}", f"{part.n:,}", shares.points(part.difference), _p(part.holm_p)]
        for part in comparison.slices
    ]
    if rows:
        _print_table(["slice", "decided", "difference", "p (Holm)"], rows)


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    print()
    # A file or pipe has no width, and a table cut to 80 columns loses figures.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)


def _short(name: str) -> str:
    return name if name in BASELINES else Path(name).name


def _card(share: float | None) -> str:
    """As model cards print it."""
    return "not enough data" if share is None else f"{100 * share:.2f}%"


def _p(value: float | None) -> str:
    return "not enough data" if value is None else f"{value:.3g}"
