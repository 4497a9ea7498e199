"""The language of a text, stored with each prompt at import."""

import random

import pytest

from workbench.pipeline.imports.packed import prompt_facts
from workbench.pipeline.text.language import beginning_of, language_of, languages_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I undo the last commit but keep my changes?", "en"),
        ("Wie mache ich den letzten Commit rückgängig, ohne die Änderungen zu verlieren?", "de"),
        ("¿Cómo puedo deshacer el último cambio sin perder mi trabajo?", "es"),
        ("你好,请问去火车站怎么走?", "zh"),
        ("Hi", ""),
        ("12 + 30 = ?", ""),
        ("", ""),
    ],
)
def test_a_language_is_named_where_it_is_sure(text: str, language: str) -> None:
    assert language_of(text) == language


def test_many_texts_at_once_are_told_as_one_by_one() -> None:
    draw = random.Random(1)
    known = [
        "How do I undo the last commit but keep my changes?",
        "Wie mache ich den letzten Commit rückgängig?",
        "¿Cómo puedo deshacer el último cambio sin perder mi trabajo?",
        "你好,请问去火车站怎么走?",
        "Где находится ближайшая станция метро?",
        "Који је главни град Србије и колико има становника?",
        "ما هي عاصمة مصر؟",
        "def f(x): return x + 1",
        "WHERE IS MY HAT?",
        "🙂🙂🙂 ok ok ok",
        "\ud800 is half a letter of its own",
    ]
    texts = [*known, "", "Hi", "12 + 30 = ?"]
    texts += [" ".join(draw.choices(" ".join(known).split(), k=draw.randint(1, 90))) for _ in range(300)]
    texts += ["".join(chr(draw.randint(32, 0x2FFF)) for _ in range(draw.randint(1, 80))) for _ in range(100)]
    beginnings = [beginning_of(text) for text in texts]

    assert languages_of(beginnings) == [language_of(text) for text in texts]
    assert languages_of([]) == []
    assert languages_of(["", "12"]) == ["", ""]


def test_what_was_asked_last_says_the_language_and_a_system_prompt_is_no_turn() -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant that answers in one sentence."},
        {"role": "user", "content": "Wie weit ist es von Berlin nach Hamburg mit dem Fahrrad?"},
    ]
    facts = prompt_facts(messages)
    assert (facts.language, facts.turns) == ("de", 1)
    assert facts.characters == sum(len(message["content"]) for message in messages)
