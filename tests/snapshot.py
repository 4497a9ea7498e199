"""All figures of a Release and of the Quality page, for the demo and two real sets, in a folder. Two folders,
built before and after a change, show whether the change has moved a figure.

    make snapshot OUT=/tmp/before         on the old commit
    make snapshot OUT=/tmp/after          on the new one
    diff -r /tmp/before /tmp/after        empty, or every line is intended

The real sets lie beside the project; without them only the demo is built. Each import draws new pseudonyms,
so they are numbered; times and facts of the machine are left out."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SETS = {
    "PandaLM": DATA / "pandalm" / "testset-v1.json",
    "WebGPT": DATA / "webgpt_subset" / "webgpt.jsonl",
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OF_THE_MOMENT = {"software", "taken_at", "seconds", "bytes", "sha256"}


def manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def settled(text: str) -> str:
    """With each UUID replaced by its place in the order of their appearance."""
    seen: dict[str, str] = {}
    return UUID.sub(lambda match: seen.setdefault(match[0], f"uuid-{len(seen)}"), text)


def without(facts: Any, names: set[str]) -> Any:
    if isinstance(facts, dict):
        return {name: without(value, names) for name, value in facts.items() if name not in names}
    return [without(value, names) for value in facts] if isinstance(facts, list) else facts


def lasting(file: Path) -> str:
    """What the same commit writes again: JSON indented, as a diff reads lines."""
    text = settled(file.read_text())
    if file.suffix == ".json":
        return json.dumps(without(json.loads(text), OF_THE_MOMENT), indent=1, sort_keys=True) + "\n"
    if file.suffix != ".jsonl":
        return text
    rows = (without(json.loads(line), {"judged_at"}) for line in text.split("\n") if line)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def snapshot(out: Path) -> None:
    """Fill the folder `out`, which must be new or empty."""
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out} is not empty: name a new folder, or remove this one")
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {
            "WORKBENCH_DATA": data,
            "DEBUG": "1",
            "WORKBENCH_ENV_FILE": os.devnull,
        }
        manage(environment, "demo", "--no-serve")
        present = {name: file for name, file in SETS.items() if file.exists()}
        for name, file in present.items():
            manage(environment, "import_dataset", name, str(file))
            manage(environment, "score", name, "--model", "longest")
        for name in ("Demo", *present):
            folder = out / name
            folder.parent.mkdir(parents=True, exist_ok=True)
            profiles = [
                word
                for profile in ("preference", "all-votes", "soft-label")
                for word in ("--profile", profile)
            ]
            manage(environment, "release", name, "--out", str(folder), *profiles)
            report = manage(environment, "statistics", name, "--json").splitlines()[-1]
            (folder / "statistics.json").write_text(report)
            for file in folder.iterdir():
                file.write_text(lasting(file))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name a folder: make snapshot OUT=/tmp/before")
    snapshot(Path(sys.argv[1]))
