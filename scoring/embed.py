"""Texts to vectors by an encoder of sentence-transformers, with `transformers` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from scoring.checkpoint import CheckpointError, in_one_line
from scoring.model import LOCAL, device_of, quietly
from scoring.sentence import SentenceFolder

BATCH = 32
LONGEST = 512
"""Tokens, where neither the folder nor its tokenizer gives a limit."""


class Embedder:
    """Call with N texts for their vectors (N, width) in float32, each of length 1."""

    def __init__(self, folder: SentenceFolder, device: str = "auto") -> None:
        """Raises CheckpointError for a folder that can't be loaded."""
        self.folder = folder
        self.device = device_of(device)
        try:
            with quietly():
                self.tokenizer: Any = AutoTokenizer.from_pretrained(
                    folder.network, local_files_only=True, trust_remote_code=False
                )
                self.network: Any = AutoModel.from_pretrained(folder.network, dtype=torch.float32, **LOCAL)
        except Exception as error:
            # A config decides which code of the library runs, and this code raises errors of any type.
            raise CheckpointError(f"{folder.path} can't be loaded: {in_one_line(error)}") from error
        self.network.to(self.device).eval()
        self.max_length = folder.max_length or min(self.tokenizer.model_max_length, LONGEST)

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        # Texts of like length together, so that little is padded.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors = np.zeros((len(texts), self.network.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            vectors[places] = self._encode([texts[place] for place in places]).cpu().numpy()
        return vectors

    @torch.inference_mode()
    def _encode(self, texts: Sequence[str]) -> Tensor:
        read = [self.folder.prefix + (text.lower() if self.folder.lower_case else text) for text in texts]
        tokens = self.tokenizer(
            read, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.device)
        states: Tensor = self.network(**tokens).last_hidden_state
        return normalize(_pooled(states, tokens["attention_mask"], self.folder.pooling))


def _pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """(N, tokens, width) -> (N, width)."""
    if pooling == "cls":
        return states[:, 0]
    is_token = mask[..., None].to(states.dtype)
    if pooling == "max":
        return states.masked_fill(is_token == 0, -torch.inf).amax(1)
    return (states * is_token).sum(1) / is_token.sum(1).clamp(min=1e-9)
