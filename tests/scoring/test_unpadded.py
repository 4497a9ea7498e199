"""Texts of any family lie end to end and completions share their prompt: with the scores of each alone."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from scoring import unpadded as module
from scoring.build import build_network
from scoring.checkpoint import CheckpointError
from scoring.engine import batches, load
from scoring.model import Padded, quietly, reads_padding
from scoring.unpadded import unpadded
from tests.scoring.test_families import GROUPED, READS_PADDING, RIGHT, SIZE, SMALL, save_family

SHARES = {
    "gpt2",
    "gpt_neox",
    "opt",
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi",
    "phi3",
    "smollm3",
}
"""Decoders whose prompts are computed once."""
ENCODERS = {"roberta", "xlm-roberta", "camembert", "distilbert", "electra", "modernbert"}
RECURRENT = {
    **GROUPED,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
"""Of qwen3_5_text, in which a recurrence goes on from one text into the next."""
WINDOW = {
    "mistral": {"sliding_window": 16},
    "gemma2": {"sliding_window": 16},
    "gemma3_text": {"sliding_window": 16},
    "phi3": {"sliding_window": 16},
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2},
}


def classifier_of(family: str, **settings: object) -> PreTrainedModel:
    torch.manual_seed(0)
    with quietly():
        config = AutoConfig.for_model(family, **{**SMALL, **RIGHT[family], **settings})
        classifier = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in classifier.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return classifier


def texts_with_a_shared_prompt() -> tuple[list[np.ndarray], list[int]]:
    """Three completions of one prompt, two of another, and one alone, not in order; and their borders."""
    draw = np.random.default_rng(1)

    def tokens(count: int) -> np.ndarray:
        return draw.integers(SIZE // 2, SIZE, count, dtype=np.int32)

    long, short = tokens(60), tokens(7)
    prompts = [long, short, long, tokens(20), short, long]
    texts = [
        np.concatenate([prompt, tokens(count)])
        for prompt, count in zip(prompts, (5, 40, 1, 9, 3, 33), strict=True)
    ]
    return texts, [len(prompt) for prompt in prompts]


def alone(classifier: PreTrainedModel, texts: list[np.ndarray]) -> torch.Tensor:
    plain = Padded(classifier).eval()
    with torch.no_grad():
        return torch.cat([plain([text]) for text in texts])


@pytest.mark.parametrize(
    ("family", "settings"),
    [*((family, {}) for family in sorted(SHARES | ENCODERS)), *WINDOW.items()],
    ids=[*sorted(SHARES | ENCODERS), *(f"{family}-with-a-window" for family in WINDOW)],
)
def test_texts_end_to_end_have_the_scores_that_plain_transformers_gives_each_alone(family, settings):
    classifier = classifier_of(family, **settings)
    texts, borders = texts_with_a_shared_prompt()
    expected = alone(classifier, texts)

    network = unpadded(classifier, torch.float32)

    assert network is not None
    assert network.shares == (family in SHARES)
    with torch.no_grad():
        assert torch.allclose(
            network(texts, None, borders), expected, atol=1e-5 * float(expected.abs().max())
        )


@pytest.mark.parametrize("family", sorted(SHARES | ENCODERS))
def test_in_bf16_only_the_products_are_rounded(family):
    classifier = classifier_of(family)
    texts, borders = texts_with_a_shared_prompt()
    expected = alone(classifier, texts)

    network = unpadded(classifier, torch.bfloat16)

    with torch.no_grad():
        values = network(texts, None, borders)
    assert values.dtype == torch.float32
    assert 0 < (values - expected).abs().max() < 0.2 * expected.std()


@pytest.mark.parametrize("family", ["llama", "gpt2", "modernbert"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_that_is_used_up_gives_its_weights_up_and_scores_alike(family, dtype):
    """So a model is never in memory twice. One that is not used up stays as it was."""
    classifier = classifier_of(family)
    texts, borders = texts_with_a_shared_prompt()
    expected = alone(classifier, texts)

    kept = unpadded(classifier, dtype)
    assert torch.equal(alone(classifier, texts), expected)
    network = unpadded(classifier, dtype, uses_up=True)

    with torch.no_grad():
        assert torch.equal(network(texts, None, borders), kept(texts, None, borders))
    layers = [part for part in classifier.base_model.modules() if isinstance(part, nn.Linear | Conv1D)]
    assert layers
    assert all(layer.weight.numel() == 0 for layer in layers)


def test_a_weight_that_stands_in_several_places_stays():
    classifier = classifier_of("llama")
    first, second = (layer.mlp for layer in classifier.base_model.layers[:2])
    second.up_proj = first.up_proj  # one layer in two places
    second.gate_proj.weight = first.gate_proj.weight  # one weight in two layers
    texts, borders = texts_with_a_shared_prompt()
    expected = alone(classifier, texts)

    network = unpadded(classifier, torch.float32, uses_up=True)

    with torch.no_grad():
        assert torch.allclose(network(texts, None, borders), expected, atol=1e-5)
    assert first.gate_proj.weight.numel() > 0


def test_a_prompt_is_computed_once_for_all_its_completions():
    classifier = classifier_of("llama")
    network = unpadded(classifier, torch.float32)
    texts, borders = texts_with_a_shared_prompt()
    seen = []
    network.base.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].numel()), with_kwargs=True
    )

    with torch.no_grad():
        network(texts, None, borders)

    assert seen == [60 + 5 + 1 + 33 + 7 + 40 + 3 + 29]
    assert sum(map(len, texts)) > seen[0] + 120


@pytest.mark.parametrize("family", ["deberta-v2", "falcon", "mpnet"])
def test_a_family_with_an_attention_of_its_own_is_padded(family):
    classifier = classifier_of(family)

    assert unpadded(classifier, torch.float32) is None
    assert build_network(classifier, torch.float32).padded


@pytest.mark.parametrize("family", ["llama", "modernbert"])
def test_a_network_that_answers_otherwise_than_alone_is_not_taken(monkeypatch, family):
    """As after a change of the library: attention that sees all texts of the row."""
    monkeypatch.setattr(module, "_seen", lambda rows, stretch: rows)

    assert unpadded(classifier_of(family), torch.float32) is None


@pytest.mark.parametrize("size", [0.0, 1e-7])
def test_a_head_that_gives_every_text_0_hides_no_reading_of_padding(size):
    config = AutoConfig.for_model("convbert", **SMALL, **READS_PADDING["convbert"])
    with quietly():
        classifier = AutoModelForSequenceClassification.from_config(config).eval()
    output = classifier.classifier.out_proj.weight
    torch.nn.init.constant_(output, size)

    assert reads_padding(classifier)
    assert torch.all(output == size)


@pytest.mark.parametrize("size", [0.0, 1e-7])
def test_a_head_that_gives_every_text_0_hides_no_prompt_that_is_read_by_its_answer(size):
    classifier = classifier_of("roberta")
    torch.nn.init.constant_(classifier.classifier.out_proj.weight, size)

    network = unpadded(classifier)

    assert not network.shares


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_a_longer_text_would_move_are_never_mixed(kind):
    scaled = {
        "rope_type": kind,
        "factor": 4.0,
        "rope_theta": 10_000.0,
        "original_max_position_embeddings": 64,
    }
    if kind == "longrope":
        scaled |= {"long_factor": [4.0] * 4, "short_factor": [1.0] * 4}
    classifier = classifier_of("llama", rope_parameters=scaled)

    network = build_network(classifier, torch.float32)

    texts, _ = texts_with_a_shared_prompt()
    with torch.no_grad():
        assert network.by_length
        assert torch.allclose(network(texts), alone(classifier, texts), rtol=1e-4)


def test_positions_of_the_texts_in_a_network_for_images_too_are_never_mixed():
    """Its config says how positions stretch in the part about texts."""
    long = {
        "rope_type": "longrope",
        "long_factor": [1.5, 2.0, 3.0, 4.0],
        "short_factor": [1.0] * 4,
        "original_max_position_embeddings": 64,
        "rope_theta": 10_000.0,
    }
    texts_alone = {
        **SMALL,
        **GROUPED,
        "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": long,
            "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
        },
    }
    seen = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = AutoConfig.for_model(
        "gemma3", text_config=texts_alone, vision_config=seen, num_labels=1, mm_tokens_per_image=4
    )
    with quietly():
        classifier = AutoModelForSequenceClassification.from_config(config).eval()

    assert build_network(classifier, torch.float32).by_length


def test_an_engine_gives_siblings_their_scores_whatever_shares_the_call(tmp_path):
    engine = load(save_family(tmp_path / "qwen3", "qwen3", **RIGHT["qwen3"]), template="pair", max_length=128)
    prompts = ["why does rain fall on the side of the hill", "what is a lease"]
    pairs = [
        (prompt, answer) for prompt in prompts for answer in ("warm air rises", "a claim that expires", "a")
    ]

    together = [score.value for score in engine(pairs)]

    assert engine.networks["fp32"].shares
    assert together == pytest.approx([engine([pair])[0].value for pair in pairs], abs=1e-4)


def test_siblings_follow_each_other_in_batches_and_pay_for_their_prompt_once():
    prompt, other = np.arange(6, dtype=np.int32).tobytes(), b""
    lengths, shared = [10, 12, 8, 7], [prompt, other, prompt, prompt]

    assert list(batches(lengths, 12, padded=False, shared=shared)) == [[1], [0, 2], [3]]
    assert list(batches(lengths, 30, padded=False, shared=shared)) == [[1, 0, 2, 3]]


@pytest.mark.parametrize("family", ["llama", "gemma", "gpt2", "roberta", "bert"])
def test_weights_that_are_stored_in_bf16_are_computed_with_as_they_are(family, tmp_path, monkeypatch):
    monkeypatch.setattr("scoring.gain.bf16_gain", lambda *_: 2.0)
    folder = save_family(tmp_path / family, family, **RIGHT[family])
    with quietly():
        AutoModelForSequenceClassification.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    pairs = [("why does rain fall", answer) for answer in ("warm air rises", "a claim that expires", "a")]

    settings = {"template": "pair", "max_length": 64}
    engines = {name: load(folder, precision=name, **settings) for name in ("bf16", "fp32")}
    half, whole = ([score.value for score in engine(pairs)] for engine in engines.values())

    assert half == pytest.approx(whole, abs=0.3 * float(np.std(whole)))
    stored = dict(engines["bf16"].networks["bf16"].named_parameters())
    if family != "bert":  # which has a network of its own
        tables = {p.dtype for name, p in stored.items() if "embedding" in name and p.dim() > 1}
        assert tables == {torch.bfloat16}
    assert {p.dtype for p in stored.values() if p.dim() < 2} == {torch.float32}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("distilbert", {}),
        ("electra", {"embedding_size": 32}),
        ("modernbert", {"cls_token_id": 2, "sep_token_id": 3}),
        ("xlm-roberta-xl", {}),
        ("mixtral", {**GROUPED, "num_local_experts": 4}),
        (
            "qwen3_moe",
            {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        ),
        ("qwen3_5_text", RECURRENT),
    ],
)
def test_rounding_to_bf16_hides_no_text_that_changes_another(family, settings, tmp_path, monkeypatch):
    """With small weights all scores are close together, and a loose check would let anything pass."""
    monkeypatch.setattr("scoring.gain.bf16_gain", lambda *_: 2.0)
    folder = save_family(tmp_path / family, family, **settings)
    with quietly():
        network = AutoModelForSequenceClassification.from_pretrained(folder)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.03)
        network.to(torch.bfloat16).save_pretrained(folder)
    prompt = "why does rain fall on the other side of the hill"
    pairs = [(prompt, answer) for answer in ("warm air rises", "a claim that expires", "a", "rain " * 30)]
    exact = load(folder, template="pair", max_length=64, precision="fp32")
    expected = np.array([exact([pair])[0].value for pair in pairs])

    half = load(folder, template="pair", max_length=64, precision="bf16")

    found = np.array([score.value for score in half(pairs)])
    assert np.abs(found - expected).max() < 0.3 * expected.std()


def rounded(family: str, std: float, **settings: object) -> PreTrainedModel:
    """A classifier in bf16 with weights of one size."""
    torch.manual_seed(0)
    with quietly():
        config = AutoConfig.for_model(family, **{**SMALL, **settings})
        classifier = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in classifier.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=std)
    return classifier.to(torch.bfloat16)


@pytest.mark.parametrize("std", [0.03, 0.1])
def test_in_bf16_a_recurrence_is_not_taken_for_rounding(std):
    assert unpadded(rounded("qwen3_5_text", std, **RECURRENT)) is None


@pytest.mark.parametrize("family", ["distilbert", "electra", "modernbert"])
def test_in_bf16_no_encoder_shares_a_prompt(family):
    """Its prompt has seen the answer, however little that changes."""
    settings = {**RIGHT[family], **({"embedding_size": 32} if family == "electra" else {})}
    network = unpadded(rounded(family, 0.003, **settings))

    assert network is not None
    assert not network.shares


@pytest.mark.parametrize(("dtype", "exact"), [(torch.float32, True), (torch.bfloat16, False)])
def test_a_trial_knows_whether_its_scores_are_rounded(dtype, exact):
    """They come in fp32 from any network."""
    trial = module._trial(classifier_of("llama").to(dtype))

    assert trial.exact == exact
    assert trial.expected.dtype == torch.float32


@pytest.mark.parametrize(
    ("differences", "taken"),
    [
        ((0.05, 0.04, 0.01), (False, 0)),  # the others are a seventh of the spread of all scores
        ((0.011, 0.01, 0.02), (True, None)),  # rounding alone is between the first two
        ((0.05, 0.04, 0.04), None),
    ],
)
def test_in_bf16_a_way_is_judged_by_the_spread_of_scores_and_beside_the_others(
    differences, taken, monkeypatch
):
    network = unpadded(classifier_of("llama"))
    trial = module.Trial([], [], torch.tensor([5.0, 5.3]), exact=False)
    found = iter(differences)
    monkeypatch.setattr(module, "_tried", lambda *_: next(found))

    agrees = module._agrees(network, [(True, None), (False, None), (False, 0)], trial)

    assert agrees == (taken is not None)
    assert not agrees or (network.shares, network.padding) == taken


def test_rotary_frequencies_are_not_rounded_where_a_network_is():
    """Rounded, they would turn distant positions by another angle."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    classifier = classifier_of("llama", rope_parameters=rope)
    own = dict(classifier.named_buffers())

    network = build_network(classifier, torch.bfloat16)

    assert isinstance(network, Padded)
    kept = {name: buffer for name, buffer in network.classifier.named_buffers() if "inv_freq" in name}
    assert kept
    assert all(torch.equal(buffer, own[name]) for name, buffer in kept.items())
    assert next(network.parameters()).dtype == torch.bfloat16


def test_a_family_that_can_not_do_without_its_own_layers_is_told_so(monkeypatch):
    class Stubborn(nn.Module):
        def __init__(self, *_):
            super().__init__()

        def forward(self, x):
            raise TypeError("no plain product")

    monkeypatch.setattr(module, "_product", Stubborn)

    assert unpadded(classifier_of("llama"), torch.float32) is None
    with pytest.raises(CheckpointError, match=r"can't be computed here: TypeError: no plain product"):
        unpadded(classifier_of("llama"), torch.float32, uses_up=True)


def test_a_processor_that_gains_nothing_reads_them_in_fp32(tmp_path, monkeypatch):
    monkeypatch.setattr("scoring.gain.bf16_gain", lambda *_: 1.0)
    folder = save_family(tmp_path / "llama", "llama", **RIGHT["llama"])
    with quietly():
        AutoModelForSequenceClassification.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)

    engines = [load(folder, template="pair", max_length=64, precision=name) for name in ("bf16", "fp32")]

    one, other = (engine([("why", "rain")])[0] for engine in engines)
    assert (one.precision, one.value) == ("fp32", pytest.approx(other.value, abs=1e-5))
