"""Sample answers from a language model, and ask people which one is better.

    export WORKBENCH_URL=https://workbench.example.org WORKBENCH_TOKEN=pw_...
    python sample.py "Chat v2" path/to/model prompts.txt --samples 4

Needs preference-workbench-client, torch and transformers, and a token of an admin of the dataset.
prompts.txt has one prompt a line.
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from preference_workbench import Workbench
from transformers import AutoModelForCausalLM, AutoTokenizer


class Policy:
    """A causal language model that answers prompts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.options = options
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModelForCausalLM.from_pretrained(folder).to(self.device).eval()

    def __call__(self, prompt: str) -> list[str]:
        """Answers to a prompt, each text once and none empty."""
        text, has_template = prompt, bool(self.tokenizer.chat_template)
        if has_template:
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        encoded = self.tokenizer(text, add_special_tokens=not has_template, return_tensors="pt").to(
            self.device
        )
        with torch.inference_mode():
            made = self.model.generate(**encoded, do_sample=True, **self.options)
        answers = made[:, encoded["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return list(dict.fromkeys(text for text in map(str.strip, texts) if text))


def rows(prompts: Iterable[str], policy: Policy, source: str) -> Iterator[dict[str, Any]]:
    """A row for each prompt with at least two different answers."""
    for prompt in prompts:
        answers = policy(prompt)
        if len(answers) > 1:
            yield {"prompt": prompt, "completions": [{"text": text, "source": source} for text in answers]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Sample answers and ask people which one is better.")
    parser.add_argument("dataset")
    parser.add_argument("model", type=Path, help="folder of a causal language model")
    parser.add_argument("prompts", type=Path, help="file with one prompt a line")
    parser.add_argument("--source", help="who wrote the answers; by default the name of the folder")
    parser.add_argument("--samples", type=int, default=2, help="answers that are sampled for each prompt")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--new-tokens", type=int, default=256, help="of an answer, at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    policy = Policy(
        given.model,
        num_return_sequences=given.samples,
        temperature=given.temperature,
        max_new_tokens=given.new_tokens,
    )
    prompts = [line for line in given.prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
    wb = Workbench(os.environ["WORKBENCH_URL"], os.environ["WORKBENCH_TOKEN"])
    ds = wb.datasets[given.dataset]
    # Small chunks: people vote on the first pairs while later answers are being sampled.
    print(ds.push(rows(prompts, policy, given.source or given.model.name), chunk=100))
    print(f"Vote at {os.environ['WORKBENCH_URL'].rstrip('/')}/datasets/{ds.id}/annotate/")


if __name__ == "__main__":
    main()
