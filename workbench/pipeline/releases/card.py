"""The dataset card: README.md, with the header that the hub and `datasets` read."""

import json
from collections.abc import Mapping

from scoring import shares
from workbench.pipeline.releases import proof
from workbench.pipeline.releases.filters import Filters
from workbench.pipeline.releases.manifest import Manifest, ProfileFacts, ShareFacts, people_and_label_sources

NAME = "README.md"
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_HUB_LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nd-4.0",
        "gpl-3.0",
        "lgpl-3.0",
        "agpl-3.0",
        "mpl-2.0",
        "odbl",
        "pddl",
        "odc-by",
        "cdla-permissive-2.0",
        "unlicense",
        "openrail",
    ]
)


def card_of(manifest: Manifest, guidelines: str) -> str:
    """The card as text, with the newest guidelines."""
    quoted = "\n".join(f"> {line}" for line in guidelines.split("\n"))
    parts = [
        _header(manifest),
        f"# {manifest['dataset']['name']}",
        manifest["dataset"]["description"],
        _contents(manifest),
        _loading(manifest),
        _collection(manifest),
        _figures(manifest),
        _limits(manifest),
        _licences(manifest),
        f"## Guidelines\n\n{quoted}" if guidelines else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(manifest: Manifest) -> str:
    """The header in YAML. Each value is JSON, which is YAML too, so no name can break out of its line."""
    rows = sum(sum(profile["rows"].values()) for profile in manifest["profiles"].values())
    size = next((words for limit, words in _SIZES if rows < limit), "100M<n<1B")
    licences = sorted({source["licence"].strip() or "not stated" for source in manifest["sources"]})
    hub_licences = [licence.lower() for licence in licences]
    if not _HUB_LICENCES.issuperset(hub_licences):
        hub_licences = ["other"]
    values: dict[str, object] = {
        "pretty_name": manifest["dataset"]["name"],
        "license": hub_licences[0] if len(hub_licences) == 1 else hub_licences,
        "size_categories": [size],
        "tags": ["preference", "reward-model", "human-feedback"],
        "configs": _configs(manifest),
    }
    profiles = manifest["profiles"].items()
    if infos := [_dataset_info(name, profile) for name, profile in profiles if _needs_types(profile)]:
        values["dataset_info"] = infos
    if hub_licences == ["other"]:
        values["license_name"] = ", ".join(licences)
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "\n".join(["---", *lines, "---"])


def _configs(manifest: Manifest) -> list[dict[str, object]]:
    """A configuration for each profile. `datasets` reads one format from a card."""
    kind = proof.format_of_card(manifest["files"])
    return [
        {
            "config_name": name,
            "data_files": [
                {"split": file["split"], "path": path}
                for path, file in manifest["files"].items()
                if (file["profile"], file["format"]) == (name, kind)
            ],
            **(_csv_options(profile) if kind == "csv" else {}),
        }
        for name, profile in manifest["profiles"].items()
        if kind in profile["load"]
    ]


def _csv_options(profile: ProfileFacts) -> dict[str, object]:
    """A CSV has no types: pandas would read the text "42" as a number, and the text "None" as no value."""
    features = [{"name": name, "dtype": kind} for name, kind in profile["columns"].items()]
    return {"keep_default_na": False, "features": features}


def _loading(manifest: Manifest) -> str:
    """The calls that have loaded the files."""
    calls = [call for profile in manifest["profiles"].values() for call in profile["load"].values()]
    names = ", ".join(name for name in proof.NAMES if any(f"{name}(" in call for call in calls))
    lines = ["## Load", "", f"{proof.FOLDER} stands for the folder of this file.", ""]
    lines += ["```python", f"from datasets import {names}", "", *calls, "```"]
    for name, profile in manifest["profiles"].items():
        if torn := profile["torn"]:
            warning = (
                f"TRL would misread {torn:,} {'row' if torn == 1 else 'rows'} of {name}: both answers "
                "begin with the same words, and TRL takes these for the prompt. Use another profile with TRL."
            )
            lines += ["", warning]
    for fault in manifest["not_written"]:
        lines += ["", fault["why"]]
    return "\n".join(lines)


_JSON = {"object": {"dtype": "json"}, "objects": {"list": "json"}}


def _needs_types(profile: ProfileFacts) -> bool:
    """Whether the profile has JSON. `datasets` would infer other types for each file, as keys differ."""
    return bool(profile["rows"]) and not _JSON.keys().isdisjoint(profile["columns"].values())


def _dataset_info(name: str, profile: ProfileFacts) -> dict[str, object]:
    columns = profile["columns"]
    features = [{"name": column, **_JSON.get(kind, {"dtype": kind})} for column, kind in columns.items()]
    return {"config_name": name, "features": features}


def _contents(manifest: Manifest) -> str:
    lines = ["## Contents", "", "| profile | rows | columns | read by |", "|---|---|---|---|"]
    for name, profile in manifest["profiles"].items():
        rows = ", ".join(f"{count} {split}" for split, count in profile["rows"].items()) or "none"
        lines.append(f"| {name} | {rows} | {', '.join(profile['columns'])} | {profile['reads']} |")
    for name, profile in manifest["profiles"].items():
        left_out = [f"{count} {reason.replace('_', ' ')}" for reason, count in profile["left_out"].items()]
        lines += ["", f"Left out of {name}: {', '.join(left_out) or 'nothing'}."]
    split = manifest["split"]
    sizes = ", ".join(f"{name} {shares.in_words(share)}" for name, share in split["shares"].items())
    lines += ["", f"Splits ({sizes}) are by {split['by']}. A prompt never changes its split."]
    lines += ["", "manifest.json has all counts, the sha256 of each file, and the rule of each profile."]
    return "\n".join(lines)


def _collection(manifest: Manifest) -> str:
    version = manifest["model_version"]
    people, label_sources = people_and_label_sources(manifest)
    votes = (
        f"People per pair: {manifest['dataset']['overlap']}. "
        f"People who voted: {people}. "
        f"Sources of imported labels: {label_sources}. "
        f"Votes and imported labels by stage: {_listed(manifest['judgments']['by_stage'])} "
        "(first: before the model's pick was shown; revealed: after; imported: came with the data)."
    )
    labels = (
        f"Final labels by method: {_listed(manifest['comparisons']['released_by_method'])} "
        "(agreement: all votes and imported labels are the same; majority: more than half are; aggregation: "
        "the likeliest label, by the skill of each annotator; reviewer: settled by a reviewer)."
    )
    model = "No model was active."
    if version:
        weights = version["weights_sha256"][:12]
        model = f"Active model: {version['name']}{weights and f' (weights {weights})'}."
    in_words = Filters.parse(manifest["filters"]).in_words()
    listed = "; ".join(f"{label} {value}" for label, value in in_words.items())
    filters = f"Filters: {listed}." if listed else ""
    return "\n\n".join(filter(None, ["## Collection", votes, labels, model, filters]))


def _figures(manifest: Manifest) -> str:
    figures = manifest["figures"]
    return "\n".join(
        [
            "## Agreement and bias",
            "",
            (
                "- All votes and imported labels are the same, on pairs with two or more: "
                f"{_share(figures['unanimous'])}"
            ),
            f"- The longer answer is preferred: {_share(figures['longer_preferred'])}",
            f"- The answer on the left is preferred: {_share(figures['left_preferred'])}",
        ]
    )


def _share(share: ShareFacts) -> str:
    if share["low"] is None or share["high"] is None:
        return "not enough data."
    interval = f"95 % interval {shares.between((share['low'], share['high']))}"
    return f"{shares.in_words(share['k'] / share['n'])} of {share['n']} ({interval})."


def _limits(manifest: Manifest) -> str:
    comparisons = manifest["comparisons"]
    pairs = f"{comparisons['released']} of {comparisons['total']} pairs are in this release"
    ties = (
        "Most profiles leave out ties, pairs with two bad answers, and pairs that nobody could judge. "
        "So preferences look clearer than they are."
    )
    limits = [f"{pairs}. All pairs by final label: {_listed(comparisons['by_outcome'])}.", ties]
    if manifest["figures"]["unanimous"]["n"] == 0:
        limits.append("No pair has two votes or imported labels, so agreement is not known.")
    if "imported" in manifest["judgments"]["by_stage"]:
        limits.append("Imported labels are only as good as their source. Their guidelines are not known.")
    return "\n".join(["## Known limits", "", *(f"- {limit}" for limit in limits)])


def _licences(manifest: Manifest) -> str:
    lines = ["## Licences and sources", "", "| written by | answers | licence |", "|---|---|---|"]
    for source in manifest["sources"]:
        licence = source["licence"] or "not stated"
        cells = (source["source"] or "not known", str(source["completions"]), licence)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items()) or "none"
