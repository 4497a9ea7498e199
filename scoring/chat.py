"""Conversations to token ids by a model's own chat template.

The turns of a conversation (scoring.messages.turns) go through the template of the tokenizer, without a
system prompt of ours and without a generation prompt. The ids equal those of
`tokenizer.apply_chat_template(turns)`, except that

- they begin with exactly one BOS token where the template writes one or the tokenizer's own call adds one;
- the literal of a special token in a text ("<|im_end|>") is tokenised as plain characters;
- a template that asks for the date gets DATE, so that a score is the same tomorrow;
- a conversation that is too long is cut from the left: first the prompt, then the answer. BOS stays.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

from scoring.checkpoint import CheckpointError, in_one_line
from scoring.config import BadSetting
from scoring.encode import Encoded, Encoder, Ids, Part, Token, plain_copy, token_texts
from scoring.formats import BadText, Conversation, Pair, refuse_bad_pairs
from scoring.messages import Message, turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = Mapping[str, str]

DATE = datetime.date(2024, 7, 26)
"""The date that the templates of Llama 3 fall back on."""
_PARTS = [f"%{sign}{letter}" for sign in ("-", "") for letter in string.ascii_letters]
_PARTS_OF_A_DATE = {part: text for part in _PARTS if (text := DATE.strftime(part)) != part}
_REPLACED = "".join(f"|replace({part!r}, {text!r})" for part, text in _PARTS_OF_A_DATE.items())
FIXED_DATE = "{% macro strftime_now(format) %}{{ format" + _REPLACED + " }}{% endmacro %}"


_CALL = {"type": "function", "function": {"name": "a", "arguments": {"b": "c"}}}
PROBES: Sequence[Sequence[Mapping[str, Any]]] = (
    ({"role": "user", "content": "a"},),
    ({"role": "system", "content": "a"}, {"role": "user", "content": "a"}),
    ({"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}),
    ({"role": "user", "content": "a"}, {"role": "assistant", "content": "a", "reasoning_content": "b"}),
    ({"role": "user", "content": "a"}, {"role": "assistant", "content": "a", "thinking": "b"}),
    (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "name": "a", "content": "b"},
    ),
)
"""Conversations that show which tokens a template writes: every kind of turn, reasoning, calls of tools."""


def template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template of a tokenizer, with DATE as today. Raises CheckpointError without one."""
    try:
        template = str(tokenizer.get_chat_template())
    except ValueError as error:
        raise CheckpointError(f"the model has no chat template to use: {in_one_line(error)}") from None
    return FIXED_DATE + template if "strftime_now" in template else template


def messages_of(pair: Pair) -> tuple[Sequence[Message], Sequence[Message]]:
    """(messages before the answer, messages of the answer)."""
    if isinstance(pair, Conversation):
        return pair.messages, pair.answer
    prompt, completion = pair
    return [{"role": "user", "content": prompt}], [{"role": "assistant", "content": completion}]


class Written(NamedTuple):
    """A conversation as the template writes it. `border`: the character where the answer begins. `control`:
    how many control tokens the template has written."""

    text: str
    border: int
    control: int


class ChatEncoder(Encoder):
    """Encodes conversations by the chat template of a tokenizer. A plain Pair is a turn of the user and one
    of the assistant.

    Raises CheckpointError for a template that can't write these two turns, and BadSetting for a `max_length`
    that leaves no room.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.max_length = max_length
        self._tokenizer = tokenizer
        self._template = template_of(tokenizer)
        # No text can hold a name that stands for a token, as nobody can guess it.
        self._nonce = secrets.token_hex(8)
        self._control = self._control_literals()
        by_length = sorted(self._control, key=len, reverse=True)
        self._literals = re.compile("|".join(map(re.escape, by_length)) or r"(?!)")
        self._guarded = re.compile(self._name("u", r"(\d+)"))
        self._renamed, self._real = self._renamed_tokenizer()
        self._has_system = self._takes_a_system_turn()
        self._bos, self._adds_bos = self._bos_of()
        (shortest,) = self._encodings([self._written(0, ("a", "b"), {})])
        ids = self._with_bos(self._real[shortest.ids], 0)[0]
        self._keeps_bos = self._bos is not None and int((ids == self._bos).sum()) == 1
        if len(ids) > max_length:
            raise BadSetting(f"max_length {max_length} leaves no room for a prompt and an answer")

    def __call__(self, pairs: Sequence[Pair]) -> list[Encoded]:
        refuse_bad_pairs(pairs)
        beginnings: dict[object, str] = {}
        written = [self._written(index, pair, beginnings) for index, pair in enumerate(pairs)]
        encodings = self._encodings(written)
        return [
            self._cut(*self._ids(index, one, encoding))
            for index, (one, encoding) in enumerate(zip(written, encodings, strict=True))
        ]

    def layout(self, pair: Pair) -> list[Token]:
        refuse_bad_pairs([pair])
        written = self._written(0, pair, {})
        (encoding,) = self._encodings([written])
        ids, before = self._ids(0, written, encoding)
        added = len(ids) - len(encoding.ids)  # 1 for a BOS that the template has not written
        spoken = self._spoken(pair, written.text)
        tokens: list[Token] = []
        for place, (text, number) in enumerate(zip(self._texts(ids), ids.tolist(), strict=True)):
            start, end = encoding.offsets[place - added] if place >= added else (0, 0)
            in_a_text = any(start < stop and end > begin for begin, stop in spoken)
            part: Part = "template" if not in_a_text else "prompt" if place < before else "answer"
            tokens.append(Token(text, number, part))
        cut = max(0, len(tokens) - self.max_length)
        first = int(self._keeps_bos)
        return tokens[:first] + tokens[first + cut :] if cut else tokens

    # --- turns to text --------------------------------------------------------------------------------------

    def turns_of(self, messages: Sequence[Message], answer: Sequence[Message]) -> list[dict[str, str]]:
        """The turns that the template gets. Where it has no place for a turn of the system, that text begins
        the first turn of the user."""
        in_order = turns([*messages, *answer])
        if self._has_system or in_order[0]["role"] != "system":
            return in_order
        return turns([{**in_order[0], "role": "user"}, *in_order[1:]])

    def _written(self, index: int, pair: Pair, beginnings: dict[object, str]) -> Written:
        """`beginnings`: what the template writes before the answers of one prompt, by its turns."""
        messages, answer = messages_of(pair)
        try:
            text, control = self._write(self.turns_of(messages, answer))
            mark = f"{self._nonce} answer"
            probe = self.turns_of(messages, [{"role": answer[0]["role"], "content": mark}])
            key = tuple((turn["role"], turn["content"]) for turn in probe)
            if key not in beginnings:
                beginnings[key] = self._write(probe)[0].partition(mark)[0]
        except _Refused as refused:
            raise BadText(
                index, f"the model's chat template can't write this conversation: {refused}"
            ) from None
        return Written(text, _shared(text, beginnings[key]), control)

    def _write(self, turns_in_order: Sequence[Turn]) -> tuple[str, int]:
        """(what the template writes, how many control tokens of its own), with these tokens under their new
        names and the texts as they are. Raises _Refused."""
        guarded = [
            {"role": turn["role"], "content": self._literals.sub(self._named("u"), turn["content"])}
            for turn in turns_in_order
        ]
        renamed, control = self._literals.subn(self._named("t"), self._rendered(guarded))
        return self._guarded.sub(lambda match: self._control[int(match[1])], renamed), control

    def _rendered(self, turns_in_order: Sequence[Mapping[str, Any]], *, opened: bool = False) -> str:
        try:
            rendered = self._tokenizer.apply_chat_template(
                [dict(turn) for turn in turns_in_order],
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=opened,
            )
        except Exception as error:  # noqa: BLE001
            # A template is a program from elsewhere: it may raise errors of any type.
            raise _Refused(in_one_line(error)) from None
        return str(rendered)

    def _name(self, kind: str, number: object) -> str:
        return f"@{self._nonce}{kind}{number}@"

    def _named(self, kind: str) -> Callable[[re.Match[str]], str]:
        return lambda match: self._name(kind, self._control.index(match[0]))

    def _takes_a_system_turn(self) -> bool:
        """Whether the template writes a turn of the system. Raises CheckpointError unless it writes the other
        two."""
        said = [f"{self._nonce} {role}" for role in ("system", "user", "assistant")]
        system, user, assistant = ({"role": text.rpartition(" ")[2], "content": text} for text in said)
        try:
            text, _ = self._write([user, assistant])
        except _Refused as refused:
            raise CheckpointError(
                f"its chat template can't write a prompt and an answer: {refused}"
            ) from None
        if not -1 < text.find(said[1]) < text.find(said[2]):
            raise CheckpointError("its chat template leaves out the prompt or the answer")
        try:
            text, _ = self._write([system, user, assistant])
        except _Refused:
            return False
        return all(one in text for one in said)

    # --- text to ids ----------------------------------------------------------------------------------------

    def _encodings(self, written: Iterable[Written]) -> list[Encoding]:
        return self._renamed.encode_batch([one.text for one in written], add_special_tokens=False)

    def _ids(self, index: int, written: Written, encoding: Encoding) -> tuple[Ids, int]:
        """(all ids, how many of them come before the answer). Raises BadText where a text has become a
        control token all the same, as in a vocabulary that has its literal whole."""
        ids: Ids = self._real[encoding.ids]
        if int(np.isin(ids, self._counted).sum()) != written.control - self._uncounted(written.text):
            raise BadText(index, "the conversation holds the name of a control token as a token")
        ends = np.array([end for _, end in encoding.offsets])
        return self._with_bos(ids, int((ends <= written.border).sum()))

    def _with_bos(self, ids: Ids, before: int) -> tuple[Ids, int]:
        """The ids with exactly one BOS where there should be one; `before` counts it."""
        if self._bos is None:
            return ids, before
        leading = 0
        while leading < len(ids) and ids[leading] == self._bos:
            leading += 1
        if leading == 0 and self._adds_bos:
            return np.concatenate([np.array([self._bos], dtype=np.int32), ids]), before + 1
        extra = max(0, leading - 1)
        return ids[extra:], before - extra

    def _cut(self, ids: Ids, before: int) -> Encoded:
        first = int(self._keeps_bos)
        cut = max(0, len(ids) - self.max_length)
        prompt_cut = min(cut, max(0, before - first))
        return Encoded(
            ids=np.concatenate([ids[:first], ids[first + cut :]]) if cut else ids,
            prompt_tokens=before - prompt_cut,
            completion_tokens=len(ids) - before - (cut - prompt_cut),
            prompt_cut=prompt_cut,
            completion_cut=cut - prompt_cut,
            border=before - prompt_cut,
        )

    def _texts(self, ids: Ids) -> list[str]:
        return token_texts(self._tokenizer.backend_tokenizer, ids)

    def _spoken(self, pair: Pair, text: str) -> list[tuple[int, int]]:
        """Where the texts of the turns are in what the template has written."""
        places, at = [], 0
        for turn in self.turns_of(*messages_of(pair)):
            said = turn["content"].strip()
            found = text.find(said, at)
            if said and found >= 0:
                at = found + len(said)
                places.append((found, at))
        return places

    # --- control tokens -------------------------------------------------------------------------------------

    def _control_literals(self) -> list[str]:
        """Tokens that no text may become: special ones, and those that the template writes around a turn
        (Gemma's "<start_of_turn>" and Qwen's "<think>" are not marked as special)."""
        around = ""
        for conversation in PROBES:
            for opened in (False, True):
                try:
                    around += self._rendered(conversation, opened=opened)
                except _Refused:
                    continue  # it has no place for such a turn
        added = self._tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
        return [
            token.content
            for token in added
            if token.special or (token.content in around and not token.content.isspace())
        ]

    def _renamed_tokenizer(self) -> tuple[Tokenizer, Ids]:
        """The tokenizer with another name for each control token, and the real id of each of its ids. So a
        text may hold the usual name, and all else is as it was: what is before and after a token counts for
        the tokens beside it."""
        backend = self._tokenizer.backend_tokenizer
        described = json.loads(plain_copy(backend).to_str())
        for token in described["added_tokens"]:
            if token["content"] in self._control:
                token["content"] = self._name("t", self._control.index(token["content"]))
                token["normalized"] = False
        described["post_processor"] = None
        renamed = Tokenizer.from_str(json.dumps(described))
        renamed.encode_special_tokens = False
        own_names = {self._name("t", number): literal for number, literal in enumerate(self._control)}
        added = renamed.get_added_tokens_decoder()
        real = np.arange(
            max([renamed.get_vocab_size() - 1, *added, *renamed.get_vocab().values()]) + 1, dtype=np.int32
        )
        for number, token in added.items():
            real[number] = backend.token_to_id(own_names.get(token.content, token.content))
        unknown = getattr(backend.model, "unk_token", None)
        self._unknown = (
            None if unknown not in self._control else self._name("t", self._control.index(unknown))
        )
        self._counted = [backend.token_to_id(literal) for literal in self._control if literal != unknown]
        return renamed, real

    def _uncounted(self, text: str) -> int:
        """How many unknown tokens the template has written: a text may have as many as it likes."""
        return text.count(self._unknown) if self._unknown else 0

    def _bos_of(self) -> tuple[int | None, bool]:
        """(the BOS token, whether the tokenizer's own call puts it before a text)."""
        bos = self._tokenizer.bos_token_id
        if not isinstance(bos, int):
            return None, False
        return bos, self._tokenizer("a")["input_ids"][:1] == [bos]


def _shared(text: str, beginning: str) -> int:
    """How many characters of `text` are those of `beginning`."""
    pairs = zip(text, beginning, strict=False)
    differing = (place for place, (one, other) in enumerate(pairs) if one != other)
    return len(beginning) if text.startswith(beginning) else next(differing, len(text))


class _Refused(Exception):
    """The template raised an error for a conversation."""
