"""Train a reward model on a release with TRL, and register the result with where it comes from.

    export WORKBENCH_URL=https://workbench.example.org WORKBENCH_TOKEN=pw_...
    python train.py "Chat v2" path/to/model trained --name chat-3

Needs preference-workbench-client[datasets], torch, transformers and trl, and a token of an admin of the
dataset. Without --release, it builds a release of today's final labels.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict
from preference_workbench import Dataset, Release, Workbench
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

PROFILE = "preference"


def train(rows: DatasetDict, start: Path, out: Path, max_length: int, **settings: Any) -> None:
    """Train on the split "train" and save the model. It is measured on "validation" after each epoch."""
    tokenizer = AutoTokenizer.from_pretrained(start)
    # Without a chat template, the workbench reads prompt and answer as a pair. Train on just these tokens.
    tokenizer.chat_template = None

    def encode(row: dict[str, str]) -> dict[str, list[int]]:
        pairs = {"chosen_ids": row["chosen"], "rejected_ids": row["rejected"]}
        options = {"truncation": True, "max_length": max_length, "split_special_tokens": True}
        return {name: tokenizer(row["prompt"], text, **options)["input_ids"] for name, text in pairs.items()}

    encoded = rows.map(encode, remove_columns=rows["train"].column_names)
    has_gpu = torch.cuda.is_available()
    arguments = RewardConfig(
        output_dir=str(out / "checkpoints"),
        max_length=max_length,
        eval_strategy="epoch" if "validation" in encoded else "no",
        save_strategy="no",
        report_to="none",
        use_cpu=not has_gpu,
        bf16=has_gpu and torch.cuda.is_bf16_supported(),
        **settings,
    )
    trainer = RewardTrainer(
        AutoModelForSequenceClassification.from_pretrained(start, num_labels=1),
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("validation"),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(out))


def released(ds: Dataset, number: int | None) -> Release:
    """The release of this number, or a new one."""
    return ds.releases.build(PROFILE).wait(progress=True) if number is None else ds.releases[number]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a reward model on a release, and register it.")
    parser.add_argument("dataset")
    parser.add_argument("start", type=Path, help="folder of the model to start from")
    parser.add_argument("out", type=Path, help="folder for the trained model")
    parser.add_argument("--name", required=True, help="of the trained model in the workbench")
    parser.add_argument("--base", help="name in the workbench of the model to start from")
    parser.add_argument("--release", type=int, help="number of a release with the profile preference")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--batch", type=int, default=8, help="pairs in a step")
    parser.add_argument("--max-length", type=int, default=512, help="tokens that a pair of texts is cut to")
    given = parser.parse_args()

    wb = Workbench(os.environ["WORKBENCH_URL"], os.environ["WORKBENCH_TOKEN"])
    ds = wb.datasets[given.dataset]
    # Without a registered base, the workbench does not know what the model had learnt before.
    base = ds.models[given.base] if given.base else None
    release = released(ds, given.release)
    settings = {
        "num_train_epochs": given.epochs,
        "learning_rate": given.learning_rate,
        "per_device_train_batch_size": given.batch,
    }
    train(release.load(PROFILE), given.start, given.out, given.max_length, **settings)
    job = wb.models.register(
        given.name,
        given.out,
        release=release,
        base=base,
        settings={"trainer": "TRL RewardTrainer", **settings},
        max_length=given.max_length,
    )
    model = job.wait(progress=True)
    print(f"{model.name} is model {model.id}, trained on release {release.number}.")
    print(job.run.result.get("finding", {}).get("said", ""))


if __name__ == "__main__":
    main()
