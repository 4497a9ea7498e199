"""Score answers with a reward model of your own, which stays on your machine.

    export WORKBENCH_URL=https://workbench.example.org WORKBENCH_TOKEN=pw_...
    python score.py "Chat v2" path/to/model --name "our reward model"

Needs preference-workbench-client, torch and transformers, and a token of staff. Stop and start it as you
like: it goes on with the answers that lack a score.
"""

import argparse
import hashlib
import os
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from preference_workbench import Model, Workbench
from transformers import AutoModelForSequenceClassification, AutoTokenizer

AT_ONCE = 1_000
"""Answers that are read, scored and sent before the next are read."""


class Scorer:
    """A sequence classifier with one output, such as those that trainers of reward models save."""

    def __init__(self, folder: Path, batch: int, max_length: int) -> None:
        self.batch, self.max_length = batch, max_length
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        self.model.to(self.device).eval()

    def __call__(self, conversations: list[list[dict[str, Any]]]) -> list[float]:
        """What the model gives the last message of each conversation."""
        scores: list[float] = []
        for first in range(0, len(conversations), self.batch):
            with torch.inference_mode():
                output = self.model(**self._encoded(conversations[first : first + self.batch]))
            scores += output.logits[:, 0].float().tolist()
        return scores

    def _encoded(self, conversations: list[list[dict[str, Any]]]) -> Any:
        options = {"padding": True, "truncation": True, "max_length": self.max_length, "return_tensors": "pt"}
        if self.tokenizer.chat_template:
            texts = self.tokenizer.apply_chat_template(conversations, tokenize=False)
            encoded = self.tokenizer(texts, add_special_tokens=False, **options)
        else:
            prompts = ["\n\n".join(turn["content"] for turn in turns[:-1]) for turns in conversations]
            encoded = self.tokenizer(prompts, [turns[-1]["content"] for turns in conversations], **options)
        return encoded.to(self.device)


def registered(wb: Workbench, name: str, folder: Path) -> Model:
    """The model of this name. A new one is pinned by the sha256 of its weights."""
    try:
        return wb.models[name]
    except KeyError:
        weights = hashlib.sha256()
        for path in sorted(folder.glob("*.safetensors")):
            weights.update(path.read_bytes())
        return wb.models.external(name, weights.hexdigest())


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the answers of a dataset with a model of your own.")
    parser.add_argument("dataset")
    parser.add_argument("model", type=Path, help="folder of a sequence classifier with one output")
    parser.add_argument("--name", help="of the model in the workbench; by default that of the folder")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=1024, help="tokens that a conversation is cut to")
    given = parser.parse_args()

    wb = Workbench(os.environ["WORKBENCH_URL"], os.environ["WORKBENCH_TOKEN"])
    ds = wb.datasets[given.dataset]
    model = registered(wb, given.name or given.model.name, given.model)
    score = Scorer(given.model, given.batch, given.max_length)
    prompts = {prompt.id: prompt.messages for prompt in ds.prompts()}
    done = 0
    while answers := list(islice(model.unscored(ds), AT_ONCE)):
        conversations = [
            prompts[answer.prompt_id] + (answer.messages or [{"role": "assistant", "content": answer.text}])
            for answer in answers
        ]
        ids = [answer.id for answer in answers]
        done += model.push_scores(zip(ids, score(conversations), strict=True)).stored
        print(f"{done:,} scores sent", flush=True)


if __name__ == "__main__":
    main()
