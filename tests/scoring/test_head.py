import json
import math
import os

import pytest

from scoring import learnt
from scoring.checkpoint import CheckpointError, open_checkpoint
from scoring.engine import load
from scoring.head import fit_head
from scoring.normalise import normalised_digest
from tests.scoring.models import Card, save_bert, save_encoder, sentence


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "model")


def triples(count):
    """Pairs with a preferred completion about rain and a rejected completion about a lease."""
    return [
        (
            sentence(4, n),
            f"{sentence(3, n)} rain falls {sentence(3, -n)}",
            f"{sentence(3, -n)} a lease expires",
        )
        for n in range(count)
    ]


def test_a_fitted_head_is_an_ordinary_checkpoint_that_prefers_what_people_preferred(encoder, tmp_path):
    fit = fit_head(encoder, triples(60), tmp_path / "out")

    engine, card = load(fit.checkpoint.path, precision="fp32"), Card(fit.checkpoint.path)
    unseen = triples(80)[60:]
    preferred = [scored.value for scored in engine([(prompt, good) for prompt, good, _ in unseen])]
    rejected = [scored.value for scored in engine([(prompt, bad) for prompt, _, bad in unseen])]
    assert sum(a > b for a, b in zip(preferred, rejected, strict=True)) >= 18
    assert preferred[0] == pytest.approx(card(unseen[0][0], unseen[0][1]), abs=1e-4)
    assert (fit.pairs, open_checkpoint(tmp_path / "out")) == (60, fit.checkpoint)
    assert fit.accuracy > 0.9
    assert fit.loss < math.log(2)


def test_a_fitted_head_says_which_prompts_it_was_fitted_to(encoder, tmp_path):
    fit_head(encoder, triples(20), tmp_path / "out")

    record = learnt.read(tmp_path / "out")

    assert record is not None
    assert record.whole
    assert {text.digests[0] for text in record.texts["trained"]} == {
        normalised_digest(prompt) for prompt, *_ in triples(20)
    }


def test_the_same_fit_twice_gives_the_same_weights(encoder, tmp_path):
    first, second = (
        fit_head(encoder, triples(20), tmp_path / "one"),
        fit_head(encoder, triples(20), tmp_path / "two"),
    )

    assert first.checkpoint.weights_sha256 == second.checkpoint.weights_sha256


def test_the_encoder_is_left_as_it_was(encoder, tmp_path):
    before = open_files(encoder)

    fit_head(encoder, triples(10), tmp_path / "out")

    assert open_files(encoder) == before


def open_files(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def test_no_pairs_are_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match="no pairs"):
        fit_head(encoder, [], tmp_path / "out")

    assert os.listdir(tmp_path) == []


def test_an_existing_folder_is_not_overwritten(encoder, tmp_path):
    out = save_bert(tmp_path / "out")

    with pytest.raises(CheckpointError, match="exists"):
        fit_head(encoder, triples(10), out)


def test_a_source_that_is_no_encoder_is_refused_and_leaves_nothing(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text(json.dumps({"model_type": "bert"}))

    with pytest.raises(CheckpointError, match="can't be loaded"):
        fit_head(source, triples(3), tmp_path / "out")

    assert os.listdir(tmp_path) == ["source"]
