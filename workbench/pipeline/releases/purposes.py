"""What a Release is for: each purpose picks a profile and a format."""

from dataclasses import dataclass

OTHER = "other"
"""The choice of profiles and formats by hand."""


@dataclass(frozen=True)
class Purpose:
    name: str
    title: str
    hint: str
    profile: str
    format: str = "jsonl"


_ALL = [
    Purpose(
        name="pairs",
        title="Any program",
        hint="JSONL with prompt, preferred and rejected.",
        profile="pairs",
    ),
    Purpose(
        name="trl",
        title="TRL",
        hint="Reward training and DPO, on messages.",
        profile="trl-chat",
    ),
    Purpose(
        name="openrlhf",
        title="OpenRLHF",
        hint="Reward training, with how clear each preference is.",
        profile="openrlhf",
    ),
    Purpose(
        name="axolotl",
        title="Axolotl",
        hint="DPO, on messages.",
        profile="axolotl",
    ),
    Purpose(
        name="llama-factory",
        title="LLaMA-Factory",
        hint="Reward training, with its dataset_info.json.",
        profile="llama-factory",
    ),
    Purpose(
        name="reward-model",
        title="Reward model like nicholasKluge/RewardModel",
        hint="The columns and the settings of its card.",
        profile="aira",
    ),
    Purpose(
        name="spreadsheet",
        title="Spreadsheet",
        hint="CSV, safe to open: no cell runs as a formula.",
        profile="pairs",
        format="csv",
    ),
]
PURPOSES: dict[str, Purpose] = {purpose.name: purpose for purpose in _ALL}
