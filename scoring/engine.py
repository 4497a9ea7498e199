"""Score many pairs at once: deduplicated, batched by length, in the order of fp32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from scoring.build import build_network, leave_file
from scoring.checkpoint import Checkpoint, open_checkpoint
from scoring.config import BERT_PAIR, TEMPLATES, BadSetting
from scoring.encode import ID_BYTES, Encoded, Encoder, digest_of
from scoring.formats import BadText, Pair, Scored
from scoring.gain import why_not_bf16
from scoring.guard import WIDER, Values, guard_of, largest_difference, near_siblings, whole_prompts
from scoring.model import Network, device_of, inputs_of, is_stored_in_bf16, load_classifier

NETWORKS = {"exact-order": ("bf16", "fp32"), "bf16": ("bf16",), "fp32": ("fp32",)}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
TOKEN_BUDGETS = {"cpu": 4096, "cuda": 65_536}  # on a CPU, a batch should fit into the cache
WINDOW = 1024  # pairs tokenised at a time; the next window is tokenised while the model runs


def load(
    path: str | Path,
    *,
    max_length: int = 512,
    template: str = BERT_PAIR,
    precision: str = "exact-order",
    guard: float | None = None,
    device: str = "auto",
    token_budget: int | None = None,
    threads: int | None = None,
) -> Engine:
    """Open a checkpoint folder as a Scorer.

    `max_length` is in tokens with special tokens (512 on the seed's card, 400 in its training). `template` is
    one of TEMPLATES: what the model was registered with, or what scoring.proof found. `guard` is
    the distance in logits within which `exact-order` rescores siblings in fp32; None: measured on the first
    call. `token_budget` bounds the tokens of a batch, and so memory; None: by device. `threads` sets torch's
    threads for the whole process. Raises CheckpointError for a bad folder, BadSetting for a bad setting.
    """
    if template not in TEMPLATES:
        raise BadSetting(f"template {template!r} is not one of {', '.join(TEMPLATES)}")
    if precision not in NETWORKS:
        raise BadSetting(f"precision {precision!r} is not one of {', '.join(NETWORKS)}")
    checkpoint = open_checkpoint(path)
    checkpoint.refuse_length(max_length)
    if threads is not None:
        torch.set_num_threads(threads)
    target = device_of(device)
    encoder = Encoder.open(checkpoint.path, max_length, template)
    in_half = precision == "bf16" and is_stored_in_bf16(checkpoint)
    classifier = load_classifier(checkpoint, target, torch.bfloat16 if in_half else torch.float32)
    note = "" if precision == "fp32" else why_not_bf16(classifier)
    names = ("fp32",) if note else NETWORKS[precision]
    if note and in_half:
        classifier = load_classifier(checkpoint, target)
    networks = {name: build_network(classifier, DTYPES[name], uses_up=name == names[-1]) for name in names}
    for network in networks.values():
        leave_file(network)
    return Engine(
        checkpoint,
        encoder,
        networks,
        precision=precision,
        note=note,
        guard=guard,
        token_budget=token_budget or TOKEN_BUDGETS.get(target.type, 4096),
    )


class Engine:
    """A Scorer for one model. Not thread-safe; use one process per device.

    `networks` holds the model in one precision or two. The first network scores; the second rescores siblings
    within `guard`, in logits, of each other. A call that sees a larger error widens the guard. `precision` is
    the requested one; `note` is a sentence on why another one is used, or empty.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        encoder: Encoder,
        networks: Mapping[str, Network],
        *,
        precision: str,
        note: str = "",
        guard: float | None = None,
        token_budget: int = 4096,
    ) -> None:
        self.checkpoint = checkpoint
        self.encoder = encoder
        self.networks = dict(networks)
        self.precision = precision
        self.note = note
        self.guard = guard
        self.token_budget = token_budget
        self._fast, *slower = self.networks
        self._best = list(self.networks)[-1]
        self.exact_order = bool(slower)

    @property
    def device(self) -> str:
        """Device and precisions for people, as in "cuda in bf16 and fp32"."""
        device_type = next(self.networks[self._fast].parameters()).device.type
        return f"{device_type} in {' and '.join(self.networks)}"

    def __call__(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Score pairs, in input order; equal pairs are computed once.

        With `exact-order`, completions of one prompt in one call are ranked as in fp32, so pass all
        completions of a prompt together. Raises BadText with the index of the first pair that is empty or
        scores NaN or infinity.
        """
        encoded, values = self._first_values(pairs, self._fast)
        precisions = [self._fast] * len(pairs)
        if self.exact_order:
            for index, value in self._rescore(pairs, encoded, values).items():
                values[index], precisions[index] = value, "fp32"
        return _scored(encoded, values, precisions)

    def alone(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Score completions without their siblings, in the best precision: bf16 may change their order."""
        encoded, values = self._first_values(pairs, self._best)
        return _scored(encoded, values, [self._best] * len(pairs))

    def _first_values(self, pairs: Sequence[Pair], precision: str) -> tuple[list[Encoded], Values]:
        encoded: list[Encoded] = []
        values = np.empty(len(pairs))
        for offset, window in self._encode_ahead(pairs):
            encoded += window
            places = range(offset, offset + len(window))
            values[places] = self._values(window, precision, places)
        return encoded, values

    def values(self, pairs: Sequence[Pair], precision: str) -> Values:
        """(N,) logits of pairs in one precision of the engine ("fp32" or "bf16")."""
        return self._values(self.encoder(pairs), precision, range(len(pairs)))

    def _encode_ahead(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, list[Encoded]]]:
        """Windows of encoded pairs with their offset; the next window is encoded meanwhile."""
        windows = [pairs[offset : offset + WINDOW] for offset in range(0, len(pairs), WINDOW)]
        with ThreadPoolExecutor(max_workers=1) as background:
            ahead: Future[list[Encoded]] | None = None
            for number in range(len(windows)):
                current = ahead or background.submit(self.encoder, windows[number])
                more = number + 1 < len(windows)
                ahead = background.submit(self.encoder, windows[number + 1]) if more else None
                try:
                    yield number * WINDOW, current.result()
                except BadText as error:
                    raise error.moved_by(number * WINDOW) from None

    def _values(self, texts: Sequence[Encoded], precision: str, places: Sequence[int]) -> Values:
        """(N,) logits of N encoded texts; `places` are their indices in the call, for BadText."""
        network = self.networks[precision]
        # Dropout would move a logit by several units and look like an ordinary score.
        if any(module.training for module in network.modules()):
            raise RuntimeError("the network is in training mode")
        alike: dict[bytes, list[int]] = {}
        for number, text in enumerate(texts):
            alike.setdefault(text.key, []).append(number)
        unique = [numbers[0] for numbers in alike.values()]
        values = np.empty(len(texts))
        lengths = [len(texts[n].ids) for n in unique]
        shared = [texts[n].beginning for n in unique] if network.shares else None
        for batch in batches(lengths, self.token_budget, padded=network.padded, shared=shared):
            chosen = [unique[n] for n in batch]
            values[chosen] = run(network, [texts[n] for n in chosen])
        for first, *repeats in alike.values():
            values[repeats] = values[first]
        if len(broken := np.flatnonzero(~np.isfinite(values))):
            first = int(broken[0])
            raise BadText(places[first], f"the model answered {values[first]}, which is not a score")
        return values

    def _rescore(self, pairs: Sequence[Pair], encoded: Sequence[Encoded], values: Values) -> dict[int, float]:
        """fp32 values, by index, of texts within the guard of a sibling.

        Siblings i and j keep their order if |error_i - error_j| <= guard. So the guard becomes at least
        WIDER max |error_i - error_j| over the rescored siblings, and the search is repeated.
        """
        if self.guard is None:
            sample = whole_prompts([prompt for prompt, _ in pairs], 64)
            sampled = self._values([encoded[index] for index in sample], "fp32", sample)
            self.guard = guard_of([pairs[index][0] for index in sample], values[sample] - sampled)
        alike: dict[tuple[str, bytes], list[int]] = {}
        for index, text in enumerate(encoded):
            alike.setdefault((pairs[index][0], text.key), []).append(index)
        firsts = [indices[0] for indices in alike.values()]
        prompts = [pairs[index][0] for index in firsts]
        exact: dict[int, float] = {}
        while todo := [
            firsts[place]
            for place in near_siblings(prompts, values[firsts], self.guard)
            if firsts[place] not in exact
        ]:
            rescored = self._values([encoded[index] for index in todo], "fp32", todo)
            exact |= zip(todo, rescored.tolist(), strict=True)
            errors = values[todo] - rescored
            self.guard = max(self.guard, WIDER * largest_difference([pairs[n][0] for n in todo], errors))
        return {
            index: exact[indices[0]] for indices in alike.values() if indices[0] in exact for index in indices
        }


def _scored(encoded: Sequence[Encoded], values: Values, precisions: Sequence[str]) -> list[Scored]:
    return [
        Scored(
            value=float(value),
            prompt_tokens=text.prompt_tokens,
            completion_tokens=text.completion_tokens,
            prompt_cut=text.prompt_cut,
            completion_cut=text.completion_cut,
            precision=precision,
            input_digest=digest_of(text),
        )
        for value, text, precision in zip(values, encoded, precisions, strict=True)
    ]


def run(network: Network, texts: Sequence[Encoded]) -> Values:
    """(N,) logits of one batch. A batch too large for the device's memory is halved until it fits."""
    # The halves are computed here and not in an except block: there, the error holds all that did not fit.
    if (values := _where_it_fits(network, texts)) is not None:
        return values
    half = len(texts) // 2
    return np.concatenate([run(network, texts[:half]), run(network, texts[half:])])


def _where_it_fits(network: Network, texts: Sequence[Encoded]) -> Values | None:
    """(N,) logits of one batch; None if it does not fit. Raises torch.OutOfMemoryError for a single text."""
    try:
        with torch.no_grad():
            return network(*inputs_of(texts)).double().cpu().numpy()  # type: ignore[no-any-return]
    except torch.OutOfMemoryError:
        if len(texts) == 1:
            raise
        return None


def batches(
    lengths: Sequence[int], budget: int, *, padded: bool, shared: Sequence[bytes] | None = None
) -> Iterator[list[int]]:
    """Indices of texts, longest first, in batches of at most `budget` tokens.

    With `padded`, every text of a batch counts as long as the longest. `shared`: the ids that each text
    begins with; texts with the same ones follow each other, and the second of them in a batch costs only the
    rest. A text longer than the budget is a batch of its own.
    """
    batch: list[int] = []
    used = 0
    for index in _longest_first(lengths, shared):
        tokens = lengths[batch[0]] if padded and batch else lengths[index]
        if shared and batch and shared[batch[-1]] == shared[index]:
            tokens -= len(shared[index]) // ID_BYTES
        if batch and used + tokens > budget:
            yield batch
            batch, used, tokens = [], 0, lengths[index]
        batch.append(index)
        used += tokens
    if batch:
        yield batch


def _longest_first(lengths: Sequence[int], shared: Sequence[bytes] | None) -> list[int]:
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    if shared is None:
        return order
    siblings: dict[bytes, list[int]] = {}
    for index in order:
        siblings.setdefault(shared[index], []).append(index)
    return [index for members in siblings.values() for index in members]


def measure_guard(engine: Engine, sample: Sequence[Pair]) -> float:
    """The guard in logits, from bf16 - fp32 on a sample (see `guard_of`); 0.0 without bf16."""
    if not engine.exact_order or not sample:
        return 0.0
    errors = engine.values(sample, "bf16") - engine.values(sample, "fp32")
    return guard_of([prompt for prompt, _ in sample], errors)
