from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from scoring.checkpoint import CheckpointError
from scoring.encode import Encoder, PairEncoder, digest_of, longest_first
from scoring.formats import BadText
from tests.scoring.models import SPECIAL, sentence

ordinary = st.text(min_size=1, max_size=60).filter(
    lambda text: text.strip() and not any(token in text for token in SPECIAL)
)


@pytest.fixture(scope="module")
def reference(tiny: Path):
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="module")
def encode(tiny: Path) -> Encoder:
    return Encoder.open(tiny, 512)


@given(prompt=ordinary, completion=ordinary)
def test_ordinary_text_gets_the_ids_of_the_tokenizer(encode, reference, prompt, completion):
    try:
        (encoded,) = encode([(prompt, completion)])
    except BadText:
        assert not (reference.tokenize(prompt) and reference.tokenize(completion))
        return

    assert encoded.ids.tolist() == reference(prompt, completion, truncation=True, max_length=512)["input_ids"]


@settings(max_examples=60)
@given(
    prompt=st.integers(1, 700), completion=st.integers(1, 700), max_length=st.sampled_from([16, 17, 400, 512])
)
def test_long_texts_are_cut_as_the_tokenizer_cuts_and_the_cut_is_counted(
    tiny, reference, encoders, prompt, completion, max_length
):
    pair = (sentence(prompt, 1), sentence(completion, 2))

    (encoded,) = encoders[max_length]([pair])

    assert encoded.ids.tolist() == reference(*pair, truncation=True, max_length=max_length)["input_ids"]
    assert encoded.prompt_tokens + encoded.prompt_cut == prompt
    assert encoded.completion_tokens + encoded.completion_cut == completion
    assert len(encoded.ids) == encoded.prompt_tokens + encoded.completion_tokens + 3


@pytest.fixture(scope="module")
def encoders(tiny: Path) -> dict[int, Encoder]:
    return {max_length: Encoder.open(tiny, max_length) for max_length in (16, 17, 400, 512)}


def test_a_prompt_longer_than_the_window_does_not_erase_the_completion(encode):
    (encoded,) = encode([(sentence(900), sentence(40))])

    assert (encoded.prompt_tokens, encoded.completion_tokens) == (469, 40)
    assert (encoded.prompt_cut, encoded.completion_cut) == (431, 0)


@pytest.mark.parametrize("ends", [(" one", " two"), ("", "\n"), (" one", " one two")])
def test_the_digest_is_the_same_where_the_model_sees_no_difference(encode, ends):
    start = "word " * 600

    first, second, longer = encode([("Q", start + ends[0]), ("Q", start + ends[1]), ("Q", f"And {start}")])

    assert digest_of(first) == digest_of(second) != digest_of(longer)
    assert -(2**63) <= digest_of(longer) < 2**63


@given(before=st.text(max_size=8), literal=st.sampled_from(SPECIAL), after=st.text(max_size=8))
def test_a_special_token_spelled_out_in_text_stays_text(encode, before, literal, after):
    text = before + literal + after

    (encoded,) = encode([(text, text)])

    ids = encoded.ids.tolist()
    assert [ids.index(2), ids.count(2)] == [0, 1]  # [CLS]
    assert ids.count(3) == 2  # [SEP]
    assert not {0, 4} & set(ids)  # [PAD], [MASK]


def test_a_spelled_out_unknown_token_is_its_letters(encode, reference):
    (encoded,) = encode([("a", "[UNK]")])

    assert reference.convert_ids_to_tokens(encoded.ids.tolist())[3:-1] == ["[", "U", "##N", "##K", "]"]


def test_the_index_of_a_text_without_tokens_is_told(encode):
    with pytest.raises(BadText, match="the answer has no character that the tokenizer knows") as caught:
        encode([("why", "because"), ("why", "\u200b\x00")])

    assert caught.value.index == 1


def test_threads_may_share_an_encoder(encode):
    pairs = [(sentence(5, n), sentence(300, n + 1)) for n in range(60)]
    expected = [encoded.ids.tolist() for encoded in encode(pairs)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(encode, [pairs] * 12))

    assert all([encoded.ids.tolist() for encoded in result] == expected for result in results)


def test_the_tokenizers_own_truncation_and_padding_are_ignored(tiny, encode):
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=32)

    (encoded,) = PairEncoder(tokenizer, 512)([(sentence(3), sentence(20))])

    assert len(encoded.ids) == 26


def test_another_familys_frame_is_taken_from_its_tokenizer():
    encode = PairEncoder(roberta_like(), 16)

    (encoded,) = encode([("aa b", "b a")])

    assert encoded.ids.tolist() == [0, *[5, 5, 6], 2, 2, *[6, 5], 2]


def test_a_control_token_that_a_vocabulary_can_spell_is_refused():
    encode = PairEncoder(unigram(), 16)

    with pytest.raises(BadText, match="the answer holds <s>, which is a control token"):
        encode([("a", "a<s>b")])


@pytest.mark.parametrize(
    ("prompt", "completion", "room", "kept"),
    [
        (5, 5, 10, (5, 5)),
        (9, 3, 10, (7, 3)),
        (3, 9, 10, (3, 7)),
        (9, 9, 10, (5, 5)),
        (9, 9, 11, (5, 6)),
        (9, 8, 11, (6, 5)),
        (8, 9, 11, (5, 6)),
    ],
)
def test_the_longer_side_is_cut_first(prompt, completion, room, kept):
    assert longest_first(prompt, completion, room) == kept


def test_a_window_without_room_for_both_texts_is_refused(tiny):
    with pytest.raises(ValueError, match="leaves no room"):
        Encoder.open(tiny, 4)


def test_a_damaged_tokenizer_is_a_checkpoint_error(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model":')

    with pytest.raises(CheckpointError, match="can't be read"):
        Encoder.open(tmp_path, 512)


def roberta_like() -> Tokenizer:
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(name) for name in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("a", -1.0), ("b", -1.0), ("<", -9.0), (">", -9.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.add_special_tokens([AddedToken(name) for name in ("<s>", "</s>", "<unk>")])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer
