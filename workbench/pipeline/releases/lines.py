"""The lines that load the files of a Release and start a training, for people to copy.

Tests run the lines of TRL and of this workbench. For the other trainers they run the trainer's own reader of
data, and compare each option with the trainer's own list: tests/releases/test_lines.py."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import dedent

from workbench.pipeline.releases import proof
from workbench.pipeline.releases.manifest import Manifest
from workbench.pipeline.releases.proof import in_folder
from workbench.pipeline.text.splits import Split

MODEL = "Qwen/Qwen3-0.6B"
"""The model that the lines begin with; people put their own in its place."""

TRAINED = "trained on"
READ = "read"
"""How far tests went with the lines: a whole training, or the trainer's own reader of data."""

VERSIONS = {"TRL": "1.16", "OpenRLHF": "0.11.2", "Axolotl": "0.19.0", "LLaMA-Factory": "0.9.5"}
"""The version of each trainer that the tests ran."""

_FORMATS = ("jsonl", "parquet")
"""The formats that every trainer reads, the better one first."""


@dataclass(frozen=True)
class Lines:
    """Lines to copy. language: python, yaml or shell. file: a name to save the lines as; "" = to be pasted
    into a shell. tested: what the tests ran, as a sentence."""

    title: str
    language: str
    text: str
    tested: str
    file: str = ""
    command: str = ""


@dataclass(frozen=True)
class _Files:
    """What the lines of one profile name: the folder of the files, the file of each split, the call that
    loads them, and the Dataset's name in dataset_info.json."""

    folder: str
    by_split: dict[Split, str]
    call: str
    dataset: str


def lines_of(manifest: Manifest, profile: str, folder: str) -> list[Lines]:
    """The lines for a profile of a ready Release whose files are in `folder`. Empty where the Release has no
    training rows, and where no trainer is known to read the profile."""
    loads = manifest["profiles"][profile]["load"]
    kind = next((kind for kind in _FORMATS if kind in loads), "")
    by_split: dict[Split, str] = {
        file["split"]: name
        for name, file in manifest["files"].items()
        if file["split"] and (file["profile"], file["format"]) == (profile, kind)
    }
    if "train" not in by_split:
        return []
    name = named_in_info(manifest["dataset"]["name"])
    files = _Files(folder, by_split, in_folder(loads[kind], folder), name)
    return [lines for write in _WRITERS.get(profile, ()) for lines in write(files, profile)]


def named_in_info(dataset: str) -> str:
    """The name of a Dataset in dataset_info.json. LLaMA-Factory separates names by commas."""
    return dataset.replace(",", " ")


def _tested(trainer: str, how: str) -> str:
    name = f"{trainer} {VERSIONS[trainer]}"
    if how == TRAINED:
        return f"Tested: {name} ran these lines with a small model."
    return f"Tested: {name} read such files, and knows these options. Not tested: the training."


def _python(files: _Files, trainer: str, model: str, suffix: str) -> str:
    names = [name for name in proof.NAMES if f"{name}(" in files.call]
    validation = '\n    eval_dataset=data["validation"],' if "validation" in files.by_split else ""
    output = json.dumps(f"{files.folder}-{suffix}")
    return f"""\
import torch
from datasets import {", ".join(names)}
from trl import {trainer}Config, {trainer}Trainer

data = {files.call}
trainer = {trainer}Trainer(
    model={json.dumps(model)},
    args={trainer}Config(output_dir={output}, use_cpu=not torch.cuda.is_available()),
    train_dataset=data["train"],{validation}
)
trainer.train()
trainer.save_model()
"""


def _trl(trainer: str, title: str, suffix: str) -> Callable[[_Files, str], Iterator[Lines]]:
    def write(files: _Files, profile: str) -> Iterator[Lines]:
        text = _python(files, trainer, MODEL, suffix)
        yield Lines(
            title=title,
            language="python",
            text=text,
            tested=_tested("TRL", TRAINED),
            file=f"train_{suffix}.py",
            command=f"python train_{suffix}.py",
        )

    return write


_reward = _trl("Reward", "Train a reward model with TRL", "reward")
_dpo = _trl("DPO", "Train a model by DPO with TRL", "dpo")
_kto = _trl("KTO", "Train a model by KTO with TRL", "kto")


def _openrlhf(files: _Files, profile: str) -> Iterator[Lines]:
    options = [
        f"--model.model_name_or_path {MODEL}",
        f"--data.dataset {files.folder}/{files.by_split['train']}",
        "--data.prompt_key prompt",
        "--data.chosen_key chosen",
        "--data.rejected_key rejected",
        "--data.input_template $'User: {}\\nAssistant: '",
        "--model.margin_loss_enable",
        f"--ckpt.output_dir {files.folder}-reward",
    ]
    if "validation" in files.by_split:
        options.insert(2, f"--eval.dataset {files.folder}/{files.by_split['validation']}")
    yield Lines(
        title="Train a reward model with OpenRLHF",
        language="shell",
        text=" \\\n  ".join(["deepspeed --module openrlhf.cli.train_rm", *options]) + "\n",
        tested=_tested("OpenRLHF", READ),
    )


def _axolotl(files: _Files, profile: str) -> Iterator[Lines]:
    kind = "chat_template.default" if profile == "axolotl" else "chat_template.argilla_chat"

    def named(split: Split) -> str:
        name = json.dumps(f"{files.folder}/{files.by_split[split]}")
        ds_type = proof.BUILDERS["parquet" if name.endswith('.parquet"') else "jsonl"]
        return f"  - path: {name}\n    ds_type: {ds_type}\n    split: train\n    type: {kind}\n"

    text = f"base_model: {MODEL}\nrl: dpo\nchat_template: tokenizer_default\n"
    text += f"datasets:\n{named('train')}"
    if "validation" in files.by_split:
        text += f"test_datasets:\n{named('validation')}"
    text += dedent(f"""\
        sequence_len: 2048
        micro_batch_size: 2
        gradient_accumulation_steps: 8
        num_epochs: 1
        learning_rate: 0.000005
        optimizer: adamw_torch
        lr_scheduler: cosine
        output_dir: {files.folder}-dpo
        """)
    yield Lines(
        title="Train a model by DPO with Axolotl",
        language="yaml",
        text=text,
        tested=_tested("Axolotl", READ),
        file="axolotl.yaml",
        command="axolotl train axolotl.yaml",
    )


def _llama_factory(files: _Files, profile: str) -> Iterator[Lines]:
    text = dedent(f"""\
        stage: rm
        do_train: true
        model_name_or_path: {MODEL}
        template: qwen3
        finetuning_type: lora
        dataset_dir: {files.folder}
        dataset: {json.dumps(f"{files.dataset}_train", ensure_ascii=False)}
        """)
    if "validation" in files.by_split:
        validation = json.dumps(f"{files.dataset}_validation", ensure_ascii=False)
        text += f"eval_dataset: {validation}\neval_strategy: epoch\n"
    text += dedent(f"""\
        cutoff_len: 2048
        per_device_train_batch_size: 2
        gradient_accumulation_steps: 8
        num_train_epochs: 1.0
        learning_rate: 0.00001
        output_dir: {files.folder}-reward
        """)
    yield Lines(
        title="Train a reward model with LLaMA-Factory",
        language="yaml",
        text=text,
        tested=_tested("LLaMA-Factory", READ),
        file="llama_factory.yaml",
        command="llamafactory-cli train llama_factory.yaml",
    )


def _scoring(title: str, preset: str) -> Callable[[_Files, str], Iterator[Lines]]:
    def write(files: _Files, profile: str) -> Iterator[Lines]:
        options = [
            "--model bert-base-cased",
            f"--data {files.folder}",
            f"--profile {profile}",
            f"--preset {preset}",
            f"--output {files.folder}-reward",
        ]
        yield Lines(
            title=title,
            language="shell",
            text=" \\\n  ".join(["python -m scoring train", *options]) + "\n",
            tested="Tested: this workbench ran these lines with a small model. "
            "bert-base-cased stands for the folder of that model. Run them where the workbench is installed.",
        )

    return write


def _plain(files: _Files, profile: str) -> Iterator[Lines]:
    train = files.by_split["train"]
    if train.endswith(".jsonl"):
        yield Lines(
            title="Read the pairs in Python, without any package",
            language="python",
            text=f"""\
import json

with open({json.dumps(f"{files.folder}/{train}")}) as file:
    pairs = [json.loads(line) for line in file]
print(len(pairs), "pairs; the first:", pairs[0])
""",
            tested="Tested: these lines ran as they are.",
        )


_WRITERS: dict[str, tuple[Callable[[_Files, str], Iterator[Lines]], ...]] = {
    "pairs": (_plain, _scoring("Train a reward model with this workbench", "recommended")),
    "preference": (_reward, _dpo),
    "trl-chat": (_reward, _dpo),
    "trl-chat-implicit": (_reward, _dpo, _axolotl),
    "trl-reward": (_reward,),
    "kto": (_kto,),
    "kto-chat": (_kto,),
    "openrlhf": (_openrlhf,),
    "axolotl": (_axolotl,),
    "llama-factory": (_llama_factory,),
    "aira": (_scoring("Train a reward model with the settings of nicholasKluge/RewardModel", "seed"),),
}
