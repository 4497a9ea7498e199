"""What a training is to be: its data, its settings, its base and the name of the new version."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from django.utils.text import slugify

from scoring import shares
from scoring.config import PRESETS, TrainConfig
from scoring.pairs import PROFILES as READABLE
from workbench.models import ModelVersion, Release, Run
from workbench.models.runs import PreflightFacts
from workbench.pipeline.releases import Manifest
from workbench.pipeline.runs.progress import Refused

PRESETS_IN_WORDS = {
    "quick": "at most 90 seconds; for fewer than 500 pairs, or a first look",
    "recommended": "three passes over the pairs; stops early when validation gets no better",
    "seed": "as the seed model was trained: 1,200 steps of 42 pairs, 400 tokens",
}
FEW_PAIRS = 500


@dataclass(frozen=True)
class Outlook:
    """What the Release's manifest says of a training. `empty`: the sentence on pairs with an empty answer."""

    profile: str
    rows: Mapping[str, int]
    warnings: Sequence[str] = ()
    empty: str = ""


def outlook(release: Release) -> Outlook:
    """Raises Refused for a Release without anything to train on."""
    if not release.is_ready:
        raise Refused(f"{release} is not finished yet.")
    if release.dataset.frozen:
        raise Refused(f"{release.dataset} is a benchmark, so no model is trained on it.")
    manifest: Manifest = release.manifest
    rows: dict[str, dict[str, int]] = {}
    for file in manifest["files"].values():
        if file["profile"] and file["split"] and str(file["format"]).startswith("jsonl"):
            rows.setdefault(file["profile"], {})[file["split"]] = file["rows"] or 0
    profile = next((name for name in READABLE if rows.get(name, {}).get("train")), None)
    if profile is None:
        raise Refused(
            f"{release} has no pairs to train on. Build a release for “Any program”, or as JSONL with the "
            f"profile {' or '.join(READABLE[:2])}."
        )
    count = manifest["profiles"][profile]["left_out"].get("empty", 0)
    empty = f"Left out: {count:,} pair{'s' * (count != 1)} with an empty answer." if count else ""
    warnings = [*([empty] if empty else []), *_warnings(rows[profile], manifest)]
    return Outlook(profile, rows[profile], warnings, empty)


def _warnings(rows: Mapping[str, int], manifest: Manifest) -> Iterator[str]:
    if rows["train"] < FEW_PAIRS:
        yield f"Only {rows['train']:,} pairs: below {FEW_PAIRS}, don’t expect much."
    if not rows.get("validation"):
        yield "The validation split is empty, so a tenth of the training prompts is used instead."
    if not rows.get("test"):
        yield "The test split is empty, so we cannot tell whether the new model is better."
    longer = manifest.get("figures", {}).get("longer_preferred") or {}
    if longer.get("n") and longer["k"] / longer["n"] > 0.6:
        share = shares.in_words(longer["k"] / longer["n"])
        yield f"The longer answer is preferred in {share} of pairs. The model may learn length alone."
    groups = manifest["split"]["groups"]["train"]
    if groups < 20:
        yield f"All training pairs come from {groups} prompt groups. The model may learn only these."


def usual_preset(release: Release) -> str:
    """The preset for a training on the release, unless somebody chooses another. Raises Refused."""
    return "quick" if outlook(release).rows["train"] < FEW_PAIRS else "recommended"


def config_of(preset: str, settings: Mapping[str, object] | None = None) -> TrainConfig:
    """The preset with these settings in place of its own. Raises Refused for an unknown preset, an unknown
    setting or an impossible value."""
    if preset not in PRESETS:
        raise Refused(f'There is no preset "{preset}". Choose {", ".join(PRESETS)}.')
    types = {field.name: str(field.type) for field in fields(TrainConfig) if field.name != "preset"}
    values: dict[str, Any] = {}
    for name, value in (settings or {}).items():
        if name not in types:
            raise Refused(f'There is no setting "{name}". Settings are {", ".join(types)}.')
        values[name] = _typed(name, types[name], value)
    try:
        return replace(PRESETS[preset], **values)
    except ValueError as error:
        raise Refused(f"{error}.") from None


def _typed(name: str, kind: str, value: object) -> object:
    if not isinstance(value, str) or kind.startswith("str"):
        return value
    if kind == "bool":
        if value.lower() not in ("true", "false"):
            raise Refused(f'{name} takes true or false, not "{value}".')
        return value.lower() == "true"
    try:
        return int(value) if kind.startswith("int") else float(value)
    except ValueError:
        raise Refused(f'{name} takes a number, not "{value}".') from None


def config_of_run(run: Run) -> TrainConfig:
    config = config_of(run.params["preset"], run.params.get("settings"))
    base = ModelVersion.objects.filter(pk=run.params["base"]).first()
    return config if base is None else read_as(base, config)


def read_as(base: ModelVersion, config: TrainConfig) -> TrainConfig:
    """The config with the template that the base was registered with, unless it names another."""
    return replace(config, template=config.template or base.template or None)


def usual_base() -> ModelVersion | None:
    """The base of a training, unless somebody chooses another: the base of the active version, so that each
    training sees old and new pairs alike; None when no version has weights."""
    models = ModelVersion.objects.transformers().exclude(state=ModelVersion.State.RETIRED)
    active = models.filter(state=ModelVersion.State.ACTIVE).select_related("base").first()
    return (active.base or active) if active else models.order_by("pk").first()


def preflight_in_words(preflight: PreflightFacts) -> list[str]:
    """Lines for lengths, steps and findings."""
    return [
        (
            f"{preflight['steps']:,} steps, {preflight['epochs']:.1f} passes over the pairs; "
            f"{preflight['ties']:,} ties."
        ),
        *(
            f"{name}: median {side['median']:,.0f} tokens, longest {side['longest']:,}; "
            f"{shares.in_words(side['cut_share'])} are cut."
            for name, side in (("Prompts", preflight["prompt"]), ("Answers", preflight["completion"]))
        ),
        *(f"{finding['level']}: {finding['text']}" for finding in preflight["findings"]),
    ]


def _taken() -> set[str]:
    """The names that models have, or will have when their Run ends."""
    open_runs = Run.objects.open().filter(kind__in=[Run.Kind.TRAIN, Run.Kind.REGISTER])
    names = {str(run.params["name"]) for run in open_runs}
    return names | set(ModelVersion.objects.values_list("name", flat=True))


def refuse_taken(name: str) -> None:
    """Raise Refused for a name that another model has, or will have when its Run ends: a refusal after hours
    would be too late."""
    if name in _taken():
        raise Refused(
            f"Another model is named {name}, or will be when its training ends. Choose another name."
        )


def free_name(release: Release, name: str = "") -> str:
    """The name, or a name made of Dataset and Release. Raises Refused as `refuse_taken`."""
    if name:
        refuse_taken(name)
        return name
    taken = _taken()
    stem = f"{slugify(release.dataset.name)[:80] or 'model'}-{release.number}"
    names = (stem if n == 1 else f"{stem}.{n}" for n in range(1, len(taken) + 2))
    return next(free for free in names if free not in taken)
