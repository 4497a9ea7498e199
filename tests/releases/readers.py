"""A program that reads files of a Release with the real data readers of three trainers.

    python readers.py openrlhf|axolotl|llama-factory FILE

FILE has the lines that the page of the Release gives. One JSON object comes out on the last line: `rows`, as
the trainer's own code sees them, and `unknown`, the options of the lines that the trainer does not know.

The trainers are installed without what they depend on (requirements/readers.lock), as GPU kernels and web
servers are of no use here. A package that is missing is replaced by an empty one; code that reads data uses
none of them. The readers, by the commits that the packages were made of, are

- OpenRLHF 0.11.2: openrlhf/datasets/utils.py (blending_datasets), openrlhf/datasets/reward_dataset.py
  (preprocess_data), as in OpenRLHF/OpenRLHF at 365daa76d2b5520991cb31ef751b9149acf499f8;
- Axolotl 0.19.0: src/axolotl/utils/data/shared.py (load_dataset_with_config) and
  src/axolotl/prompt_strategies/dpo/chat_template.py, as in axolotl-ai-cloud/axolotl at
  1377ccc3e46bdc1c8b01a9c23da57446b85aa1d5;
- LLaMA-Factory 0.9.5: src/llamafactory/data/parser.py, loader.py and converter.py, as in
  hiyouga/LLaMA-Factory at 908cd68e457daf38e7aae14cbc99e5ac01524496."""

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import shlex
import sys
import types
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from transformers import PreTrainedModel, Trainer  # noqa: F401 - before an empty peft looks installed

MISSING = (
    "aiohttp", "av", "axolotl_contribs", "bitsandbytes", "colorama", "deepspeed", "einops", "fire",
    "flash_attn", "librosa", "loralib", "modelscope", "numba", "omegaconf", "optimum", "optree", "peft",
    "PIL", "posthog", "pylatexenc", "pynvml", "ray", "requests", "schedulefree", "torchao", "torchaudio",
    "torchdata", "torchvision", "trackio", "vllm", "wandb",
)  # fmt: skip


class Empty(type):
    """A class whose attributes are all empty texts."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return ""


class EmptyPackage(types.ModuleType):
    """A package with whatever names are asked for."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (), {"__init__": lambda self, *args, **options: None})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in MISSING:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return EmptyPackage(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


sys.meta_path.append(Finder())  # last: what is installed is taken


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


def openrlhf(lines: str) -> tuple[list[Any], list[str]]:
    from openrlhf.datasets.reward_dataset import preprocess_data
    from openrlhf.datasets.utils import blending_datasets

    words = [word for word in shlex.split(lines.replace("$'", "'")) if word.strip()]
    assert words[:3] == ["deepspeed", "--module", "openrlhf.cli.train_rm"]
    known = {
        node.args[0].value
        for node in ast.walk(ast.parse(source_of("openrlhf.cli.train_rm")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_argument"
        and isinstance(node.args[0], ast.Constant)
    }
    options: dict[str, str] = {}
    rest = words[3:]
    for place, word in enumerate(rest):
        if word.startswith("--"):
            following = rest[place + 1] if place + 1 < len(rest) else "--"
            options[word] = "" if following.startswith("--") else following
    strategy = SimpleNamespace(print=lambda *_: None, is_rank_0=lambda: False)
    rows = []
    for option in ("--data.dataset", "--eval.dataset"):
        rows += [
            preprocess_data(
                row,
                input_template=options["--data.input_template"].replace("\\n", "\n"),
                prompt_key=options["--data.prompt_key"],
                chosen_key=options["--data.chosen_key"],
                rejected_key=options["--data.rejected_key"],
            )
            for row in blending_datasets(options[option], strategy=strategy)
        ]
    return rows, sorted(options.keys() - known)


def axolotl(lines: str) -> tuple[list[Any], list[str]]:
    from axolotl.prompt_strategies.dpo import chat_template
    from axolotl.utils.data import shared
    from axolotl.utils.dict import DictDefault

    plain = shared.load_dataset

    def without_remote_code(*arguments: Any, trust_remote_code: object = None, **options: Any) -> Any:
        return plain(*arguments, **options)  # `datasets` 5 knows this argument no more

    shared.load_dataset = without_remote_code
    cfg = DictDefault(yaml.safe_load(lines))
    rows = []
    for part in ("datasets", "test_datasets"):
        transform, _ = getattr(chat_template, cfg[part][0]["type"].partition(".")[2])(
            DictDefault({**cfg, "datasets": cfg[part]})
        )
        rows += [
            transform(row, tokenizer=tokenizer())
            for row in shared.load_dataset_with_config(cfg[part][0], use_auth_token=False)
        ]
    schemas = Path(str(importlib.util.find_spec("axolotl.utils.schemas").origin)).parent  # type: ignore[union-attr]
    known = {
        node.target.id
        for path in schemas.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    used = cfg.keys() | {key for part in ("datasets", "test_datasets") for key in cfg[part][0]}
    return rows, sorted(used - known)


def tokenizer() -> Any:
    """What stands for a tokenizer: a template that shows roles and texts."""

    def apply_chat_template(messages: list[dict[str, str]], **options: Any) -> str:
        said = "".join(f"<{message['role']}>{message['content']}\n" for message in messages)
        return f"{said}<assistant>" if options.get("add_generation_prompt") else said

    return SimpleNamespace(apply_chat_template=apply_chat_template, chat_template="as above")


def llama_factory(lines: str) -> tuple[list[Any], list[str]]:
    from llamafactory import hparams
    from llamafactory.data.loader import _get_merged_dataset
    from transformers import Seq2SeqTrainingArguments

    options = yaml.safe_load(lines)
    data = hparams.DataArguments(
        **{
            name: options[name]
            for name in ("template", "dataset", "dataset_dir", "eval_dataset", "cutoff_len")
        }
    )
    model = SimpleNamespace(cache_dir=None, hf_hub_token=None)
    training = SimpleNamespace(local_process_index=0, seed=1, dataloader_num_workers=0)
    rows = []
    for names in (data.dataset, data.eval_dataset):
        read = _get_merged_dataset(names, model, data, training, stage=options["stage"])
        rows += [
            {"prompt": row["_prompt"], "answers": row["_response"], "system": row["_system"]} for row in read
        ]
    kinds = (
        hparams.DataArguments, hparams.ModelArguments, hparams.FinetuningArguments, Seq2SeqTrainingArguments,
    )  # fmt: skip
    known = {field.name for kind in kinds for field in fields(kind)}
    return rows, sorted(options.keys() - known)


if __name__ == "__main__":
    read = {"openrlhf": openrlhf, "axolotl": axolotl, "llama-factory": llama_factory}[sys.argv[1]]
    rows, unknown = read(Path(sys.argv[2]).read_text())
    print(json.dumps({"rows": rows, "unknown": unknown}))
