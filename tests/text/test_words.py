"""The words of a text, as search knows them."""

import pytest

from workbench.pipeline.text import words as module
from workbench.pipeline.text.words import word_lists, words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Rain fell on the quay. " * 40,
        "a" * 300,
        "ß and ﬁ, 天気 and ё " * 40,
        "no-blank-at-all," * 40,
        "one " + "x" * 200,
    ],
)
def test_a_long_text_has_the_same_words_in_several_lists(text, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 50)

    assert [word for found in word_lists(text) for word in found] == words(text)


def test_no_list_is_longer_than_a_block(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 50)

    assert [len(found) for found in word_lists("one two " * 25)] == [13, 13, 13, 11]
