from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import pad
from transformers import BertConfig, BertForSequenceClassification

from scoring.build import build_network
from scoring.checkpoint import open_checkpoint
from scoring.model import (
    Dense,
    PackedBert,
    Padded,
    Spans,
    attend_jagged,
    attend_runs,
    load_classifier,
)
from tests.scoring.models import TINY

LENGTHS = [40, 17, 17, 17, 5, 3, 3]


@pytest.fixture(scope="module")
def classifier(tiny: Path) -> BertForSequenceClassification:
    return load_classifier(open_checkpoint(tiny))


def drawn(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(5, 256, length).astype(np.int32) for length in lengths]


def logits(network: torch.nn.Module, texts: list[np.ndarray]) -> list[float]:
    with torch.no_grad():
        return network(texts).tolist()


@pytest.mark.parametrize("lengths", [[1], [512], LENGTHS, [3, 40, 3, 40]])
def test_a_packed_batch_gives_what_a_padded_one_gives(classifier, lengths):
    texts = drawn(lengths)

    assert logits(PackedBert(classifier, torch.float32), texts) == pytest.approx(
        logits(Padded(classifier), texts), abs=1e-4
    )


def test_bf16_stays_near_fp32_and_differs_from_it(classifier):
    texts = drawn(LENGTHS)
    exact = logits(build_network(classifier, torch.float32), texts)

    rounded = logits(build_network(classifier, torch.bfloat16), texts)

    assert rounded == pytest.approx(exact, abs=0.05)
    assert rounded != exact


def test_a_family_without_a_packed_network_keeps_its_own_weights_beside_the_rounded_ones():
    torch.manual_seed(0)
    config = BertConfig(**{**TINY.to_dict(), "hidden_act": "relu"})
    classifier = BertForSequenceClassification(config).eval()

    rounded, exact = build_network(classifier, torch.bfloat16), build_network(classifier, torch.float32)

    texts = drawn(LENGTHS)
    assert isinstance(exact, Padded)
    assert logits(rounded, texts) == pytest.approx(logits(exact, texts), abs=0.1)
    assert logits(rounded, texts) != logits(exact, texts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_give_the_same_product_in_either_layout(monkeypatch, dtype):
    torch.manual_seed(0)
    part, x = torch.nn.Linear(32, 64), torch.randn(9, 32).to(dtype)
    packed = Dense.joining([part, part], dtype, activate=True)
    monkeypatch.setattr("scoring.model.can_prepack", lambda dtype: False)

    plain = Dense.joining([part, part], dtype, activate=True)

    assert not plain.packed
    assert torch.allclose(packed(x).float(), plain(x).float(), atol=1e-5 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("one_row", [False, True], ids=["all rows", "first rows"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_kernel_for_gpus_computes_what_the_one_for_processors_does(one_row, dtype, tolerance):
    torch.manual_seed(0)
    spans = Spans.of(LENGTHS, torch.device("cpu"))
    key, value, query = (torch.randn(sum(LENGTHS), 4, 8).to(dtype) for _ in range(3))
    offsets = torch.arange(len(LENGTHS) + 1) if one_row else spans.offsets
    query = query[spans.starts] if one_row else query

    with torch.no_grad():
        jagged = attend_jagged(query, key, value, spans, offsets)

    runs = attend_runs(query, key, value, spans)
    assert jagged.shape == runs.shape == (len(query), 32)
    assert torch.allclose(jagged.float(), runs.float(), atol=tolerance)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_a_network_with_the_kernel_for_gpus_gives_what_a_padded_one_gives(
    classifier, monkeypatch, dtype, tolerance
):
    monkeypatch.setattr("scoring.model.attend_runs", lambda *_: pytest.fail("not the kernel for GPUs"))
    monkeypatch.setattr("scoring.model.attend", attend_jagged)
    monkeypatch.setattr("scoring.model.ROWS", 1)  # as on a GPU: no more rows than tokens
    texts = drawn(LENGTHS)

    assert logits(build_network(classifier, dtype), texts) == pytest.approx(
        logits(Padded(classifier), texts), abs=tolerance
    )


def test_a_product_is_made_for_few_numbers_of_rows(monkeypatch):
    part = torch.nn.Linear(8, 8)
    dense = Dense.joining([part], torch.float32)
    padded_rows = []
    monkeypatch.setattr(
        "scoring.model.pad", lambda x, sides: padded_rows.append(len(x) + sides[3]) or pad(x, sides)
    )

    for rows in (1, 63, 64, 65, 130):
        x = torch.randn(rows, 8)
        assert torch.allclose(dense(x), part(x), atol=1e-5)

    assert padded_rows == ([64, 64, 128, 192] if dense.packed else [])


def test_attention_stays_within_each_text():
    torch.manual_seed(0)
    key, value, query = (torch.randn(7, 1, 8) for _ in range(3))
    spans = Spans.of([4, 3], torch.device("cpu"))
    before = attend_runs(query, key, value, spans)

    value[4:] += 100

    after = attend_runs(query, key, value, spans)
    assert torch.equal(before[:4], after[:4])
    assert not torch.allclose(before[4:], after[4:])
