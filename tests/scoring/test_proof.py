"""The reasons for which a checkpoint is refused before it scores a text."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, BertTokenizer, TokenizersBackend

from scoring import seed
from scoring.__main__ import main
from scoring.checkpoint import TOKENIZER_FILES, CheckpointError, files_of, open_checkpoint
from scoring.encode import tokenizer_of
from scoring.engine import load
from scoring.model import load_classifier, quietly
from scoring.proof import Card, TemplateUnclear, prove
from tests.scoring.models import STORY, save_bert, vocabulary
from tests.scoring.test_families import (
    GROUPED,
    RIGHT,
    SMALL,
    card_values,
    mixed_pairs,
    pair_tokenizer,
    save_family,
)


@pytest.fixture(scope="module")
def unstated(tmp_path_factory) -> Path:
    """A BERT whose tokenizer makes token types, without a statement that it was trained without these."""
    return save_bert(tmp_path_factory.mktemp("models") / "unstated", stated=False)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return save_family(tmp_path_factory.mktemp("models") / "llama", "llama", **GROUPED)


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy"))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_a_model_whose_scores_depend_on_token_types_is_asked_about_them(unstated):
    with pytest.raises(
        TemplateUnclear, match=r"depend on token types.*standard deviations.*template pair.* bert-pair"
    ) as unclear:
        prove(unstated, 64)

    assert unclear.value.choices == ("pair", "bert-pair")


def test_an_electra_is_asked_about_token_types_too(tmp_path):
    folder = save_family(tmp_path / "electra", "electra", embedding_size=32)
    BertTokenizer(vocab=vocabulary(256), do_lower_case=False).save_pretrained(folder)

    with pytest.raises(TemplateUnclear, match="depend on token types") as unclear:
        prove(folder, 64)

    assert unclear.value.choices == ("pair", "bert-pair")
    first, second = (
        [scored.value for scored in load(folder, max_length=64, template=template)(mixed_pairs(64))]
        for template in unclear.value.choices
    )
    assert first != pytest.approx(second, abs=1e-2)
    for template in unclear.value.choices:
        assert prove(folder, 64, template=template).template == template


@pytest.mark.parametrize("template", ["pair", "bert-pair"])
def test_a_model_with_token_types_is_scored_as_stated(unstated, template):
    proven = prove(unstated, 64, template=template)

    pairs = mixed_pairs(64)
    card = Card(load_classifier(proven.checkpoint), tokenizer_of(unstated), 64, template)
    ours = [scored.value for scored in load(unstated, max_length=64, template=template)(pairs)]
    assert ours == pytest.approx(card.values(pairs).tolist(), abs=1e-4)
    assert any(token.type for token in proven.shown) == (template == "pair")


def test_a_false_statement_of_the_layout_is_refused(unstated, tmp_path):
    folder = copy_of(unstated, tmp_path)
    edit(folder / "tokenizer_config.json", truncation_side="left")

    with pytest.raises(CheckpointError, match=r"cuts long texts differently.*left.*template pair"):
        prove(folder, 64, template="bert-pair")
    prove(folder, 64, template="pair")


def test_the_published_seed_needs_no_statement(unstated, monkeypatch):
    card = Card(load_classifier(open_checkpoint(unstated)), tokenizer_of(unstated), 512, "bert-pair")
    good, bad = card.values([(seed.PROMPT, seed.GOOD), (seed.PROMPT, seed.BAD)])
    monkeypatch.setattr(seed, "GOOD_SCORE", good)
    monkeypatch.setattr(seed, "BAD_SCORES", (bad,))

    assert prove(unstated, 512).template == "bert-pair"


def test_a_tokenizer_that_cuts_from_the_left_cuts_here_too(tmp_path):
    folder = save_family(tmp_path / "left", "roberta", {"truncation_side": "left"})

    assert prove(folder, 64).template == "pair"

    pairs = mixed_pairs(64)
    ours = [scored.value for scored in load(folder, max_length=64, template="pair", precision="fp32")(pairs)]
    assert ours == pytest.approx(card_values(folder, pairs, 64), abs=1e-4)


def test_a_decoder_without_a_padding_token_is_scored_one_text_at_a_time(tmp_path):
    folder = save_family(tmp_path / "unpadded", "llama", **GROUPED, pad_token_id=None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))

    prove(folder, 64)

    pairs = mixed_pairs(64)
    ours = [scored.value for scored in load(folder, max_length=64, precision="fp32")(pairs)]
    assert ours == pytest.approx(card_values(folder, pairs, 64), abs=1e-4)


def test_positions_that_have_no_weights_may_be_any_number(llama, tmp_path):
    folder = copy_of(llama, tmp_path)
    edit(folder / "config.json", max_position_embeddings=131_072)

    assert prove(folder, 64).checkpoint.max_positions == 131_072


def test_a_network_for_texts_and_images_is_scored_as_far_as_its_texts_go(tmp_path):
    text = {
        key: value for key, value in SMALL.items() if key not in ("max_position_embeddings", "num_labels")
    }
    seen = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = save_family(
        tmp_path / "gemma3",
        "gemma3",
        text_config={**text, **GROUPED, "sliding_window": 16},
        vision_config={**seen, "image_size": 8, "patch_size": 4},
        mm_tokens_per_image=4,
        **dict.fromkeys(set(SMALL) - {"num_labels"}),
    )
    # The file leaves out what is the default of the family.
    described = json.loads((folder / "config.json").read_text())
    described["text_config"].pop("max_position_embeddings", None)
    (folder / "config.json").write_text(json.dumps(described))

    proven = prove(folder, 64)

    assert proven.checkpoint.max_positions == 131_072
    pairs = mixed_pairs(64)
    ours = [scored.value for scored in load(folder, max_length=64, precision="fp32")(pairs)]
    expected = card_values(folder, pairs, 64)
    assert np.abs(ours - expected).max() <= 1e-4 * expected.std()


def test_a_config_for_texts_and_images_that_transformers_cannot_read_is_refused(llama, tmp_path):
    folder = copy_of(llama, tmp_path)
    edit(folder / "config.json", text_config={"hidden_size": "many"}, model_type="gemma3")

    with pytest.raises(CheckpointError, match="can't be loaded"):
        prove(folder, 64)


def test_positions_that_a_file_leaves_out_are_those_of_its_family(tmp_path):
    folder = save_family(tmp_path / "falcon", "falcon")
    described = json.loads((folder / "config.json").read_text())
    del described["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(described))

    assert open_checkpoint(folder).max_positions == 2048


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"seq_length": 2048}, "max_length is 3000, but the model has 2048 positions"),
        ({}, "config.json names no number of positions, so 512 is the most"),
    ],
)
def test_positions_under_another_name_are_found_and_none_are_made_up(settings, refusal, tmp_path):
    folder = save_family(
        tmp_path / "bloom", "bloom", **{**SMALL, "max_position_embeddings": None, **settings}
    )

    with pytest.raises(ValueError, match=refusal):
        prove(folder, 3000)


LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 64,
    "factor": 2048.0,
}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("mistral", {**GROUPED, "sliding_window": None}),
        ("phi3", {"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 64}),
        ("falcon", {}),
    ],
)
def test_long_rotary_positions_are_no_reason_to_refuse_a_model(family, settings, tmp_path):
    folder = save_family(tmp_path / family, family, **settings, max_position_embeddings=131_072)

    proven = prove(folder, 200)  # Phi's positions are stretched from 64 tokens on

    assert proven.checkpoint.max_positions == 131_072
    pairs = mixed_pairs(200)
    scorer = load(folder, max_length=200, template="pair", precision="fp32")
    expected = card_values(folder, pairs, 200)
    ours = np.array([scored.value for scored in scorer(pairs)])
    assert np.abs(ours - expected).max() <= 1e-4 * expected.std()


def with_two_separators(folder: Path) -> Path:
    """The folder with a pair as RoBERTa has it: <s> a </s></s> b </s>."""
    tokenizer = pair_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save_pretrained(folder)
    return folder


def with_unigram(folder: Path, frame: processors.PostProcessor) -> Path:
    """The folder with a vocabulary of pieces, as XLM-R and DeBERTa have it."""
    pieces = [(token, 0.0) for token in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]]
    pieces += [(f"\u2581{word}", -3.0) for word in sorted(set(STORY.split()))]
    pieces += [(letter, -8.0) for letter in ["\u2581", *map(chr, range(33, 127))]]
    backend = Tokenizer(models.Unigram(pieces, unk_id=1, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = frame
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    TokenizersBackend(tokenizer_object=backend, **names).save_pretrained(folder)
    return folder


ONE_SEPARATOR = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
TWO_SEPARATORS = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2), trim_offsets=False)


@pytest.mark.parametrize(
    ("family", "tokenized", "separators"),
    [
        ("roberta", with_two_separators, 2),
        ("xlm-roberta", lambda folder: with_unigram(folder, TWO_SEPARATORS), 2),
        ("deberta-v2", lambda folder: with_unigram(folder, ONE_SEPARATOR), 1),
    ],
)
def test_a_pair_has_the_frame_and_the_pieces_of_its_tokenizer(family, tokenized, separators, tmp_path):
    folder = tokenized(save_family(tmp_path / family, family, **RIGHT[family]))

    proven = prove(folder, 64)

    assert proven.template == "pair"
    between = [token for token in proven.shown if token.part == "template"][1:-1]
    assert [token.text for token in between] == ["[SEP]"] * separators
    pairs = mixed_pairs(64)
    scorer = load(folder, max_length=64, template="pair", precision="fp32")
    expected = card_values(folder, pairs, 64)
    ours = np.array([scored.value for scored in scorer(pairs)])
    assert np.abs(ours - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("family", ["mpnet", "camembert", "xlm-roberta"])
def test_a_length_above_what_the_positions_allow_is_refused_before_anything_is_scored(family, tmp_path):
    folder = save_family(tmp_path / family, family, max_position_embeddings=66, pad_token_id=1)

    with pytest.raises(ValueError, match="max_length is 66, but the model has 64 positions"):
        prove(folder, 66)
    prove(folder, 64)


@pytest.mark.parametrize("name", ["chat_template.jinja", "spiece.model", "tokenizer.model"])
def test_every_file_that_changes_tokens_is_fetched_hashed_and_copied(unstated, tmp_path, name):
    folder = copy_of(unstated, tmp_path)
    (folder / name).write_bytes(b"\x0a")

    assert name in TOKENIZER_FILES
    assert open_checkpoint(folder).tokenizer_sha256 != open_checkpoint(unstated).tokenizer_sha256
    assert name in files_of(open_checkpoint(folder))


def with_lora(tensors):
    tensors["bert.encoder.layer.0.attention.self.query.lora_A.weight"] = torch.randn(4, 32)
    tensors["bert.encoder.layer.0.attention.self.query.lora_B.weight"] = torch.randn(32, 4)


def with_relative_positions(tensors):
    tensors["bert.encoder.layer.0.attention.self.distance_embedding.weight"] = torch.randn(9, 8)


def without_a_head(tensors):
    del tensors["classifier.weight"], tensors["classifier.bias"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_lora, r"hold .*lora_A.weight, .*lora_B.weight \(2 tensors in all\).*no place for"),
        (with_relative_positions, r"hold .*distance_embedding.weight \(1 tensor in all\)"),
        (without_a_head, r"the weights lack classifier.bias, classifier.weight \(2 tensors in all\)"),
    ],
)
def test_weights_that_the_network_does_not_take_or_lacks_are_named(tiny, tmp_path, change, reason):
    folder = copy_of(tiny, tmp_path)
    change_weights(folder, change)

    with pytest.raises(CheckpointError, match=reason):
        prove(folder, 64)


def test_a_stray_bias_of_a_head_is_named(llama, tmp_path):
    folder = copy_of(llama, tmp_path)
    change_weights(folder, lambda tensors: tensors.update({"score.bias": torch.ones(1)}))

    with pytest.raises(CheckpointError, match=r"hold score\.bias"):
        prove(folder, 64)


def test_layers_that_the_config_leaves_out_are_named(tiny, tmp_path):
    folder = copy_of(tiny, tmp_path)
    edit(folder / "config.json", num_hidden_layers=1)

    with pytest.raises(CheckpointError, match=r"hold bert.encoder.layer.1\..*no place for"):
        prove(folder, 64)


def test_tables_of_positions_that_older_versions_saved_are_no_misfit(tiny, tmp_path):
    folder = copy_of(tiny, tmp_path)
    change_weights(
        folder, lambda tensors: tensors.update({"bert.embeddings.position_ids": torch.arange(512)[None]})
    )

    prove(folder, 64)


def test_whole_numbers_in_the_place_of_weights_are_refused(tiny, tmp_path):
    folder = copy_of(tiny, tmp_path)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    change_weights(folder, lambda tensors: tensors.update({name: tensors[name].to(torch.int8)}))

    with pytest.raises(CheckpointError, match=f"holds {name} as I8; quantised weights are not supported"):
        prove(folder, 64)


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_eight_bits_are_refused_where_the_config_says_nothing_of_them(tiny, tmp_path, stored):
    folder = copy_of(tiny, tmp_path)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    change_weights(folder, lambda tensors: tensors.update({name: tensors[name].to(stored)}))

    with pytest.raises(CheckpointError, match=rf"holds {name} as F8_\w+; quantised weights"):
        prove(folder, 64)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_checkpoint_in_bf16_and_several_files_has_the_scores_of_one_file(family, tmp_path):
    whole = save_bert(tmp_path / "m") if family == "bert" else save_family(tmp_path / "m", family, **GROUPED)
    parts = copy_of(whole, tmp_path)
    with quietly():
        network = AutoModelForSequenceClassification.from_pretrained(whole, dtype=torch.bfloat16)
        network.save_pretrained(whole)
        (parts / "model.safetensors").unlink()
        network.save_pretrained(parts, max_shard_size="40KB")
    assert len(list(parts.glob("*.safetensors"))) > 1
    pairs = mixed_pairs(64)
    settings = {"max_length": 64, "template": prove(parts, 64).template, "precision": "fp32"}

    ours = [scored.value for scored in load(parts, **settings)(pairs)]

    assert ours == [scored.value for scored in load(whole, **settings)(pairs)]
    assert open_checkpoint(parts).parameters == open_checkpoint(whole).parameters
    card = Card(network.float(), tokenizer_of(whole), 64, settings["template"])
    assert ours == pytest.approx(card.values(pairs).tolist(), abs=1e-4)


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(tmp_path):
    folder = save_family(tmp_path / "short", "roberta", vocab_size=200)

    with pytest.raises(CheckpointError, match=r"tokens up to number 255; the model's embedding has 200 rows"):
        prove(folder, 64)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pad_token_id": 10**9}, "says pad_token_id 1000000000, which is not a token"),
        ({"pad_token_id": -1}, "says pad_token_id -1"),
        ({"pad_token_id": "0"}, "says pad_token_id"),
        ({"is_decoder": True}, "says is_decoder, which makes an encoder .* while decoders such as Llama are"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "has a quantization_config"),
        ({"quantization_config": {"quant_method": "fp8"}}, "has a quantization_config; quantised weights"),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            "has a quantization_config; quantised weights are not supported",
        ),
        ({"attn_implementation": "kernels-community/flash-attn"}, "asks for attn_implementation"),
        ({"max_position_embeddings": 10**12}, "describes a network of 32,0"),
        ({"max_position_embeddings": 0}, "says max_position_embeddings 0"),
        ({"num_attention_heads": 0}, "can't be loaded"),
        ({"num_attention_heads": 5}, "can't be loaded"),
        ({"num_attention_heads": "four"}, "can't be loaded"),
        ({"hidden_act": "nothing"}, "can't be loaded"),
        ({"model_type": "llama"}, "can't be loaded|the weights"),
        ({"model_type": "nothing"}, "can't be loaded"),
        ({"model_type": 7}, "can't be loaded"),
        ({"layer_norm_eps": "small"}, "can't"),
        ({"type_vocab_size": 7}, "can't be loaded|another shape"),
        ({"hidden_size": 64}, "can't be loaded|another shape"),
        ({"id2label": {"0": "a", "1": "b"}}, "has 2 outputs"),
        ({"dtype": "nothing"}, "can't be"),
    ],
)
def test_check_ends_in_one_sentence_whatever_the_config_says(tiny, tmp_path, capsys, changes, reason):
    folder = copy_of(tiny, tmp_path)
    edit(folder / "config.json", **changes)

    code = main(["check", str(folder)])

    message = capsys.readouterr().err.strip()
    assert (code, message.count("\n")) == (1, 0)
    assert re.search(reason, message), message


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[]", "{}", "", '{"model": 3}'])
def test_check_ends_in_one_sentence_whatever_the_tokenizer_is(tiny, tmp_path, capsys, name, content):
    folder = copy_of(tiny, tmp_path)
    (folder / name).write_text(content)

    code = main(["check", str(folder)])

    assert code == 0 or capsys.readouterr().err.strip().count("\n") == 0


def test_the_commands_of_scoring_take_the_statement(unstated, tmp_path, capsys):
    rows = tmp_path / "in.jsonl"
    rows.write_text('{"prompt": "why", "completion": "because"}\n')
    words = ["score", "--model", str(unstated), str(rows), "-o", str(tmp_path / "out.jsonl")]

    assert main(words) == 1
    assert "template bert-pair" in capsys.readouterr().err
    assert main([*words, "--token-types", "zero"]) == 0
    assert main([*words, "--template", "pair"]) == 0
    assert main(["check", str(unstated), "--token-types", "zero"]) == 0
    assert "[CLS]|H|##o|##w" in capsys.readouterr().out
    assert main([*words, "--template", "pair", "--token-types", "zero"]) == 1
