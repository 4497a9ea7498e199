"""Texts to token ids, by the template of a model.

`bert-pair` is the format of the seed model: [CLS] prompt [SEP] completion [SEP] with every token type zero.
The longer side is cut first, from the right, to `max_length` tokens in all. `pair` is the tokenizer's own
form of a pair, with its own token types and its own side to cut from. The ids of both equal those of

    tokenizer(prompt, completion, truncation=True, max_length=max_length)

except that a literal "[SEP]" (or "[CLS]", "[PAD]", ...) in the text is tokenised as plain characters:
text must not be able to move the border between prompt and completion. `chat` is in scoring.chat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from scoring.checkpoint import CheckpointError, in_one_line
from scoring.config import BERT_PAIR, CHAT, BadSetting
from scoring.formats import BadText, Pair, refuse_bad_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.int32]
ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class Encoded:
    """One pair as the model reads it; token counts of each side, kept and cut.

    `types` are the token types, (length,); None: all are zero. `border`: how many tokens are before the
    answer.
    """

    ids: Ids  # (length,)
    prompt_tokens: int
    completion_tokens: int
    prompt_cut: int
    completion_cut: int
    types: Ids | None = None
    border: int = 0

    @property
    def key(self) -> bytes:
        """Equal for texts that are the same to the model."""
        return self.ids.tobytes() + (b"" if self.types is None else self.types.tobytes())

    @property
    def beginning(self) -> bytes:
        """The ids before the answer; equal for completions of one prompt that are cut alike."""
        return self.ids[: self.border].tobytes()


Part = Literal["template", "prompt", "answer"]


class Token(NamedTuple):
    """One token as a person can read it: its text, id, where it comes from, and its token type."""

    text: str
    id: int
    part: Part
    type: int = 0


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
    """Encodes pairs by a template. It is immutable, so threads may share it."""

    max_length: int

    @classmethod
    def open(cls, path: Path, max_length: int, template: str = BERT_PAIR) -> Encoder:
        """The encoder of a model folder. Raises CheckpointError for a tokenizer that can't be read, and
        BadSetting for a `max_length` that leaves no room."""
        loaded = tokenizer_of(path)
        if template == CHAT:
            from scoring.chat import ChatEncoder

            return ChatEncoder(loaded, max_length)
        types_too = template != BERT_PAIR and "token_type_ids" in loaded.model_input_names
        side = "right" if template == BERT_PAIR else str(loaded.truncation_side)
        return PairEncoder(loaded.backend_tokenizer, max_length, side=side, types_too=types_too)

    def __call__(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Encode pairs, in order. Raises BadText for a side that is empty or has no tokens."""
        raise NotImplementedError

    def layout(self, pair: Pair) -> list[Token]:
        """A pair token by token, as the model reads it. Raises BadText."""
        raise NotImplementedError


def tokenizer_of(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder. Raises CheckpointError for one that can't be read or is not fast."""
    from transformers import AutoTokenizer  # takes a second to import

    try:
        loaded: Any = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # The tokenizers library raises bare Exception for a broken file.
        raise CheckpointError(f"the tokenizer in {path.name} can't be read: {in_one_line(error)}") from error
    if not isinstance(getattr(loaded, "backend_tokenizer", None), Tokenizer):
        raise CheckpointError(
            f"the tokenizer in {path.name} is a {type(loaded).__name__} without a tokenizer.json; "
            "only tokenizers of the tokenizers library are supported"
        )
    return loaded  # type: ignore[no-any-return]


class PairEncoder(Encoder):
    """Encodes pairs by the tokenizer's own form of a pair of texts.

    `side`: where a text that is too long is cut, "right" or "left". `types_too`: keep the token types.
    """

    def __init__(
        self, tokenizer: Tokenizer, max_length: int, *, side: str = "right", types_too: bool = False
    ) -> None:
        self._tokenizer = plain_copy(tokenizer)
        self.max_length = max_length
        self.side = side
        self._frame = _Frame.of(self._tokenizer)
        self._room = max_length - sum(len(part) for part in self._frame.ids)
        if self._room < 2:
            raise BadSetting(f"max_length {max_length} leaves no room for a prompt and an answer")
        self._types = (
            [np.array(part, dtype=np.int32) for part in self._frame.types]
            if types_too and any(map(any, self._frame.types))
            else None
        )
        self._control = control_tokens(self._tokenizer)

    def __call__(self, pairs: Sequence[Pair]) -> list[Encoded]:
        refuse_bad_pairs(pairs)
        texts = self._tokens(dict.fromkeys(text for pair in pairs for text in pair))
        return [self._join(index, pair, texts[pair[0]], texts[pair[1]]) for index, pair in enumerate(pairs)]

    def layout(self, pair: Pair) -> list[Token]:
        (encoded,) = self([pair])
        before, between, after = map(len, self._frame.ids)
        stretches: list[tuple[Part, int]] = [
            ("template", before),
            ("prompt", encoded.prompt_tokens),
            ("template", between),
            ("answer", encoded.completion_tokens),
            ("template", after),
        ]
        parts = [part for part, count in stretches for _ in range(count)]
        types = [0] * len(parts) if encoded.types is None else encoded.types.tolist()
        texts = token_texts(self._tokenizer, encoded.ids)
        return [Token(*row) for row in zip(texts, encoded.ids.tolist(), parts, types, strict=True)]

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
        before, between, after = self._frame.ids
        kept = self._kept(prompt, kept_prompt), self._kept(completion, kept_completion)
        types = None
        if self._types is not None:
            lengths = len(before), kept_prompt, len(between), kept_completion, len(after)
            types = np.concatenate(
                [np.resize(part, length) for part, length in zip(self._types, lengths, strict=True)]
            )
        return Encoded(
            ids=np.concatenate([before, kept[0], between, kept[1], after]),
            prompt_tokens=kept_prompt,
            completion_tokens=kept_completion,
            prompt_cut=len(prompt) - kept_prompt,
            completion_cut=len(completion) - kept_completion,
            types=types,
            border=len(before) + kept_prompt + len(between),
        )

    def _kept(self, ids: Ids, count: int) -> Ids:
        return ids[len(ids) - count :] if self.side == "left" else ids[:count]


def plain_copy(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that neither cuts nor pads, and reads the literals of special tokens as plain text."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def token_texts(tokenizer: Tokenizer, ids: Ids) -> list[str]:
    """Each token as the text that it stands for; its own spelling where it is a part of a character."""
    texts = (tokenizer.decode([number], skip_special_tokens=False) for number in ids.tolist())
    return [
        text if text and "\ufffd" not in text else tokenizer.id_to_token(number) or ""
        for text, number in zip(texts, ids.tolist(), strict=True)
    ]


def digest_of(encoded: Encoded) -> int:
    """A digest of what the model reads, as a signed 64-bit integer that every database can store."""
    digest = hashlib.blake2b(encoded.key, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class _Frame(NamedTuple):
    """The special ids before, between and after the two texts of a pair, and the token types of all five
    stretches: before, prompt, between, completion, after."""

    ids: tuple[Ids, Ids, Ids]
    types: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> _Frame:
        encoding = tokenizer.encode("a", "b")
        ids, owners = np.asarray(encoding.ids, dtype=np.int32), encoding.sequence_ids
        if 0 not in owners or 1 not in owners:
            raise CheckpointError("the tokenizer can't encode a pair of texts")
        first, second = owners.index(0), owners.index(1)
        end_first = len(owners) - owners[::-1].index(0)
        end_second = len(owners) - owners[::-1].index(1)
        types = encoding.type_ids
        return cls(
            (ids[:first], ids[end_first:second], ids[end_second:]),
            (
                tuple(types[:first]),
                tuple(types[first:end_first]),
                tuple(types[end_first:second]),
                tuple(types[second:end_second]),
                tuple(types[end_second:]),
            ),
        )


def control_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids of special tokens by their literal, without the unknown token, which any text may contain.

    WordPiece and BPE split a literal into plain tokens; a Unigram vocabulary may still contain it whole.
    """
    unknown = getattr(tokenizer.model, "unk_token", None)
    return {
        token.content: number
        for number, token in tokenizer.get_added_tokens_decoder().items()
        if token.special and token.content != unknown
    }
