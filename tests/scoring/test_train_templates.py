"""A model is trained as it is scored: by the template of its base, which its folder states."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scoring.checkpoint import template_to_train
from scoring.config import PRESETS
from scoring.encode import Encoder
from scoring.engine import load
from scoring.model import Padded, inputs_of
from scoring.pairs import LabelledPair, TrainingData
from scoring.preflight import look_over
from scoring.train import classifier_of, train
from scoring.trainable import trainable
from tests.scoring.models import save_bert
from tests.scoring.test_chat import CHATML, save_chat
from tests.scoring.test_families import RIGHT, save_family
from tests.scoring.test_train import planted_data

SHORT = replace(
    PRESETS["recommended"], steps=10, batch=8, evaluations=1, max_length=128, precision="fp32", dropout=0.0
)
CPU = torch.device("cpu")


def source_of(path, family, template):
    if template == "chat":
        return save_chat(path, family, CHATML, adds_bos=False)
    return save_bert(path, stated=False) if family == "bert" else save_family(path, family, **RIGHT[family])


@pytest.mark.parametrize(
    ("family", "template"),
    [("bert", "bert-pair"), ("bert", "pair"), ("roberta", "pair"), ("llama", "pair"), ("llama", "chat")],
)
def test_the_scores_that_training_measures_are_those_of_the_registered_model(family, template, tmp_path):
    source = source_of(tmp_path / "model", family, template)
    data = planted_data(60, 40, 0)

    done = train(source, data, tmp_path / "out", replace(SHORT, template=template))

    assert done.checkpoint.stated_template == template
    assert done.record.manifest["config"]["template"] == template
    scorer = load(tmp_path / "out", template=template, max_length=128, precision="fp32")
    margins = np.array(
        [np.subtract(*(score.value for score in scorer(pair.texts))) for pair in data.validation]
    )
    right = float(
        np.mean(
            [margin * (pair.target - 0.5) > 0 for margin, pair in zip(margins, data.validation, strict=True)]
        )
    )
    assert done.record.metrics["validation"]["after"]["accuracy"] == pytest.approx(float(right))


def test_token_types_are_trained_where_the_template_has_them(tmp_path):
    source = source_of(tmp_path / "model", "bert", "pair")
    classifier = classifier_of(source, SHORT, CPU).eval()
    texts = Encoder.open(source, 64, "pair")(
        [("why does rain fall", "warm air"), ("what is a lease", "a claim")]
    )

    with torch.no_grad():
        trained = trainable(classifier)(*inputs_of(texts))
        plain = Padded(classifier)(*inputs_of(texts))
        without = trainable(classifier)([text.ids for text in texts])

    assert torch.allclose(trained, plain, atol=1e-5)
    assert not torch.allclose(trained, without, atol=1e-3)


def test_answers_that_share_their_prompt_in_a_step_have_the_gradients_of_padded_batches(
    tmp_path,
):
    source = source_of(tmp_path / "model", "llama", "pair")
    texts = Encoder.open(source, 64, "pair")(
        [("why does rain fall", "warm air"), ("why does rain fall", "a claim")]
    )
    gradients = []
    for network_of in (trainable, Padded):
        classifier = classifier_of(source, SHORT, CPU)
        network = network_of(classifier).train()
        a, b = network(*inputs_of(texts))
        (a - b).backward()
        gradients.append({name: p.grad for name, p in classifier.named_parameters()})

    shared, padded = gradients
    assert shared.keys() == padded.keys()
    for name, gradient in padded.items():
        assert torch.allclose(shared[name], gradient, atol=1e-4 * float(gradient.abs().max()) + 1e-7), name


def test_a_conversation_is_trained_turn_by_turn(tmp_path):
    """As one text, it would be another text to the model than the one that is scored."""
    source = source_of(tmp_path / "model", "llama", "chat")
    said = [
        {"role": "user", "content": "why"},
        {"role": "assistant", "content": "rain"},
        {"role": "user", "content": "and"},
    ]
    pairs = [
        LabelledPair("why rain and", f"water {n}", "a lease", 1.0, str(n), messages=said) for n in range(24)
    ]
    data = TrainingData(pairs[:20], pairs[20:])
    (text,) = Encoder.open(source, 128, "chat")([pairs[0].texts[0]])

    lengths = look_over(source, data, SHORT).prompt

    assert lengths.longest == text.prompt_tokens
    done = train(source, data, tmp_path / "out", SHORT)
    assert done.checkpoint.stated_template == "chat"


@pytest.mark.parametrize(
    ("config", "files", "template"),
    [
        ({"model_type": "bert"}, [], "bert-pair"),
        ({"model_type": "roberta"}, [], "pair"),
        ({"model_type": "llama"}, ["chat_template.jinja"], "chat"),
        ({"model_type": "bert", "scoring_template": "pair"}, [], "pair"),
    ],
)
def test_without_a_word_a_folder_is_trained_as_it_says(tmp_path, config, files, template):
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in files:
        (tmp_path / name).write_text("{{ messages }}")

    assert template_to_train(tmp_path) == template
