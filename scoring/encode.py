"""Texts to token ids, in the format of the seed model.

A pair becomes [CLS] prompt [SEP] completion [SEP] with every token type zero. The longer side is cut first,
to `max_length` tokens in all. The ids equal those of

    tokenizer(prompt, completion, truncation=True, max_length=max_length)

except that a literal "[SEP]" (or "[CLS]", "[PAD]", ...) in the text is tokenised as plain characters:
text must not be able to move the border between prompt and completion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from scoring.checkpoint import CheckpointError, in_one_line
from scoring.formats import BadText, Pair, refuse_bad_pairs

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One pair as the model reads it; token counts of each side, kept and cut."""

    ids: Ids  # (length,)
    prompt_tokens: int
    completion_tokens: int
    prompt_cut: int
    completion_cut: int


def longest_first(prompt: int, completion: int, room: int) -> tuple[int, int]:
    """(prompt tokens, completion tokens) kept when both must fit into `room`.

    A side of at most half of `room` stays whole. If both sides are longer, each gets half, and the longer
    side the odd token (the completion, if they are equal). This is the rule of the tokenizers library.
    """
    if prompt + completion <= room:
        return prompt, completion
    half = room // 2
    if prompt <= half:
        return prompt, room - prompt
    if completion <= half:
        return room - completion, completion
    return (half, room - half) if prompt <= completion else (room - half, half)


class Encoder:
    """Encodes pairs. It is immutable, so threads may share it."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        copy = Tokenizer.from_str(tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
        copy.encode_special_tokens = True
        self._tokenizer = copy
        self.max_length = max_length
        self._frame = _frame_of(copy)
        self._room = max_length - sum(len(part) for part in self._frame)
        if self._room < 2:
            raise ValueError(f"max_length {max_length} leaves no room for a prompt and an answer")
        self._control = _control_tokens(copy)

    @classmethod
    def open(cls, path: Path, max_length: int) -> Encoder:
        """The encoder of a model folder. Raises CheckpointError for a tokenizer that can't be read."""
        from transformers import AutoTokenizer  # takes a second to import

        try:
            loaded = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            return cls(loaded.backend_tokenizer, max_length)
        except CheckpointError:
            raise
        except Exception as error:
            # The tokenizers library raises bare Exception for a broken file.
            raise CheckpointError(
                f"the tokenizer in {path.name} can't be read: {in_one_line(error)}"
            ) from error

    def __call__(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Encode pairs, in order. Raises BadText for a side that is empty or has no tokens."""
        refuse_bad_pairs(pairs)
        texts = self._tokens(dict.fromkeys(text for pair in pairs for text in pair))
        return [self._join(index, pair, texts[pair[0]], texts[pair[1]]) for index, pair in enumerate(pairs)]

    def _tokens(self, texts: Iterable[str]) -> dict[str, Ids]:
        """The ids of each text, without special tokens. Completions share the ids of their prompt."""
        unique = list(texts)
        encodings = self._tokenizer.encode_batch_fast(unique, add_special_tokens=False)
        return {
            text: np.asarray(encoding.ids, dtype=np.int32)
            for text, encoding in zip(unique, encodings, strict=True)
        }

    def _join(self, index: int, pair: Pair, prompt: Ids, completion: Ids) -> Encoded:
        for name, text, ids in (("prompt", pair[0], prompt), ("answer", pair[1], completion)):
            if not len(ids):
                raise BadText(index, f"the {name} has no character that the tokenizer knows")
            for literal, control in self._control.items():
                if literal in text and control in ids:
                    raise BadText(index, f"the {name} holds {literal}, which is a control token")
        kept_prompt, kept_completion = longest_first(len(prompt), len(completion), self._room)
        before, between, after = self._frame
        return Encoded(
            ids=np.concatenate([before, prompt[:kept_prompt], between, completion[:kept_completion], after]),
            prompt_tokens=kept_prompt,
            completion_tokens=kept_completion,
            prompt_cut=len(prompt) - kept_prompt,
            completion_cut=len(completion) - kept_completion,
        )


def digest_of(ids: Ids) -> int:
    """A digest of a text's ids, as a signed 64-bit integer that every database can store."""
    digest = hashlib.blake2b(ids.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _frame_of(tokenizer: Tokenizer) -> tuple[Ids, Ids, Ids]:
    """The special ids a tokenizer puts before, between and after the two texts of a pair."""
    encoding = tokenizer.encode("a", "b")
    ids, owners = np.asarray(encoding.ids, dtype=np.int32), encoding.sequence_ids
    if 0 not in owners or 1 not in owners:
        raise CheckpointError("the tokenizer can't encode a pair of texts")
    first, second = owners.index(0), owners.index(1)
    end_first = len(owners) - owners[::-1].index(0)
    end_second = len(owners) - owners[::-1].index(1)
    return ids[:first], ids[end_first:second], ids[end_second:]


def _control_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids of special tokens by their literal, without the unknown token, which any text may contain.

    WordPiece and BPE split a literal into plain tokens; a Unigram vocabulary may still contain it whole.
    """
    unknown = getattr(tokenizer.model, "unk_token", None)
    return {
        token.content: number
        for number, token in tokenizer.get_added_tokens_decoder().items()
        if token.special and token.content != unknown
    }
