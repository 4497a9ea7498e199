"""Search by words: what is found, what is no query, and that the index follows the texts."""

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from tests.factories import CompletionFactory, DatasetFactory, PromptFactory
from workbench.models import Completion, Dataset, Prompt, SearchDocument, SearchWord
from workbench.pipeline import imports
from workbench.pipeline.data.search import BadQuery, excerpt, find, highlighted, matching
from workbench.pipeline.data.search_index import border, joined_words, reindex
from workbench.pipeline.datasets import deleting

TEXTS = {
    "pump": ["What is a Heat pump?", "It moves heat out of the house.", "In the end, a fridge in reverse."],
    "cafe": ["Où est le CAFÉ, s'il te plaît?", "Die Straße hinunter.", "Naïve ﬁlters don't help."],
    "cafe decomposed": [unicodedata.normalize("NFD", "Un café crème")],
    "chinese": ["什么是热泵？", "热泵把热量从室外搬到室内。"],
    "japanese": ["日本語でガスを説明して", "はい、できます。"],
    "thai": ["ปั๊มความร้อนคืออะไร"],
    "hebrew": ["מהי מַשְׁאֵבַת חום?"],
    "arabic": ["ما هي مَضَخَّة الحرارة؟"],
    "hindi": ["हीट पंप क्या है?"],
    "emoji": ["Is this 👩‍🔬 or 😀?", "Both ✓"],
    "operators": ['NEAR(a b) AND "x" OR NOT y* : ^z & | ! <-> {c} +d', "100 % of snake_case's C++"],
    "turns": ["The first turn", "Another answer"],
}
CASES = [
    ("heat", {"pump"}),
    ("HEAT Pump", {"pump"}),
    ("pump fridge", {"pump"}),  # in the prompt, and in an answer
    ('"heat pump"', {"pump"}),
    ('"pump heat"', set()),
    ('"pump it moves"', set()),  # from one text into the next
    ('"out of the"', {"pump"}),
    ('"of the"', {"pump"}),
    ('"the of"', set()),
    ('"In the end, a fridge"', {"pump"}),
    ('"in the house"', set()),
    ("hea*", {"pump"}),
    ('"heat pu*"', set()),  # in quotes a star is text
    ('"heat pu"*', {"pump"}),
    ('"of th"*', {"pump"}),
    ("heat -fridge", set()),
    ("heat -fri*", set()),
    ('heat -"pump heat"', {"pump"}),
    ("answer -first", set()),
    ("café", {"cafe", "cafe decomposed"}),
    ("cafe -strasse", {"cafe decomposed"}),
    ("STRASSE", {"cafe"}),
    ("filters", {"cafe"}),
    ("don't", {"cafe"}),
    ("don’t", {"cafe"}),
    ("don t", {"cafe"}),
    ("s'il", {"cafe"}),
    ("热泵", {"chinese"}),
    ("泵热", set()),
    ("热泵 -热量", set()),
    ("ガス", {"japanese"}),
    ("カス", set()),
    ("ｶﾞｽ", {"japanese"}),
    ("日本", {"japanese"}),
    ("ความร้อน", {"thai"}),
    ("משאבת", {"hebrew"}),
    ("مضخة", {"arabic"}),
    ("पंप", {"hindi"}),
    ("पप", set()),
    ("😀", {"emoji"}),
    ("🔬 both", {"emoji"}),
    ("✓", {"emoji"}),
    ("NEAR(a b)", {"operators"}),
    ("x OR y", {"operators"}),
    ("not AND or", {"operators"}),
    ("y* : ^z", {"operators"}),
    ("a & b | !c <-> d", {"operators"}),
    ("{c} : +d", {"operators"}),
    ("100 %", {"operators"}),
    ("snake_case", {"operators"}),
    ('"snake', {"operators"}),  # never closed
    ('"', BadQuery),
    ("c++", {"operators"}),
    ("first turn", {"turns"}),
    ("user", set()),
    ("content", set()),
]


def with_texts(dataset: Dataset) -> dict[int, str]:
    """Prompts with answers that the index does not have: their names, by key."""
    names = {}
    for name, (question, *answers) in TEXTS.items():
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": question}])
        for answer in answers:
            CompletionFactory.create(prompt=prompt, text=answer)
        names[prompt.pk] = name
    return names


@pytest.fixture
def texts(dataset: Dataset) -> dict[int, str]:
    """Prompts with answers, by key, and their names."""
    names = with_texts(dataset)
    reindex(dataset, list(names))
    return names


def added(dataset: Dataset, text: str, *answers: str) -> int:
    """The key of a new Prompt."""
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": text}])
    for answer in answers:
        CompletionFactory.create(prompt=prompt, text=answer)
    reindex(dataset, [prompt.pk])
    return int(prompt.pk)


def test_words_phrases_beginnings_and_minus_find_the_same_on_each_database(texts, dataset):
    for query, names in CASES:
        try:
            found = {texts[key] for key in _exactly(dataset, query)}
        except BadQuery:
            found = BadQuery
        assert found == names, query


def _exactly(dataset: Dataset, query: str) -> list[int]:
    """What is found without words instead of others."""
    found = find(dataset, query)
    return [] if found.instead else found.keys.tolist()


def test_keys_are_sorted_numbers(texts, dataset):
    found = matching(dataset, "is")

    assert found.dtype == np.int64
    assert found.tolist() == sorted(key for key, name in texts.items() if name in ("pump", "emoji"))


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "Type a word to look for."),
        ("?!", "“?!” has no letter or digit to look for."),
        ("-heat", "“-heat” only leaves prompts out. Add a word to look for."),
        ('-"heat pump" -cold', '“-"heat pump"” only leaves prompts out. Add a word to look for.'),
        ("a " * 41, "Look for at most 40 words: “a” is one too many."),
        ('"' + "a " * 51 + '"', "is too long: look for at most 50 words in a row."),
    ],
)
def test_what_is_no_query_is_refused_with_a_sentence(query, sentence, dataset):
    with pytest.raises(BadQuery) as error:
        matching(dataset, query)

    assert sentence in str(error.value)


class AnyQuery(TestCase):
    @given(st.text() | st.text(st.sampled_from("ab\"*-'\\:&|!<>()^{}+ é日\x00\ud800")))
    @example('"a" OR "b')
    @example("'; DROP TABLE x; --")
    @settings(max_examples=200, deadline=None)
    def test_no_query_raises_anything_but_a_sentence(self, query):
        dataset = Dataset.objects.first() or DatasetFactory.create()
        assert "".join(piece.text for piece in highlighted("a b é 日", query)) == "a b é 日"

        try:
            found = find(dataset, query)
        except BadQuery:
            return

        assert not len(found.keys)


def test_a_typing_error_finds_the_word_that_was_meant(texts, dataset):
    found = find(dataset, "fridhe heat")

    assert [texts[key] for key in found.keys.tolist()] == ["pump"]
    assert found.instead == {"fridhe": ("fridge",)}


def test_a_part_of_a_word_finds_the_whole_word(texts, dataset):
    found = find(dataset, "ridg")

    assert [texts[key] for key in found.keys.tolist()] == ["pump"]
    assert found.instead == {"ridg": ("fridge",)}


def test_words_that_are_somewhere_are_not_replaced(texts, dataset):
    found = find(dataset, "heat answer")

    assert not len(found.keys)
    assert found.instead == {}


def test_two_datasets_are_apart(texts, dataset):
    other = DatasetFactory.create()
    key = added(other, "A heat pump, too")

    assert matching(other, "heat").tolist() == [key]
    assert key not in matching(dataset, "heat")
    assert not find(other, "fridhe").instead


def test_a_megabyte_of_text_is_found_to_its_last_word(dataset):
    words = " ".join(f"word{n} the" for n in range(100_000))
    key = added(dataset, "How long?", f"beginning {words} finally over")

    assert SearchDocument.objects.filter(prompt=key).count() > 10
    for query in (
        "beginning",
        "over",
        "long over word5",
        '"finally over"',
        '"word70000 the word70001"',
        "word9999* over",
    ):
        assert matching(dataset, query).tolist() == [key], query
    for query in ("beginning -over", "over -beginning", '"the the"', "beginning -word50000"):
        assert not len(matching(dataset, query)), query


def test_each_pair_of_words_of_a_long_text_is_found_as_a_phrase(dataset):
    """Where one part ends and the next begins as well."""
    rng = np.random.default_rng(7)
    words = rng.choice(["a", "the", "zebra", "of", "rarely"], 3000, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    marked = [word if n % 7 else f"mark{n}" for n, word in enumerate(words)]
    key = added(dataset, "Zebras?", " ".join(marked))

    for at in range(0, 2995, 83):
        assert key in matching(dataset, f'"{" ".join(marked[at : at + 5])}"'), at


@pytest.mark.skipif(connection.vendor != "postgresql", reason="for the suite on PostgreSQL")
def test_a_document_has_the_places_of_its_words_and_short_ones_together(dataset):
    prompt = PromptFactory.create(
        dataset=dataset, messages=[{"role": "user", "content": "Of the é 日 of all"}]
    )

    reindex(dataset, [prompt.pk])

    read = [border(dataset.pk), "of", "the", "e", "日", "of", "all"]
    together = [joined_words(*two) for two in pairwise(read) if len("".join(two)) <= 9]
    document = f"{read[0]}:1 of:2,6 the:3 e:4 日:5 all:7 {' '.join(together)}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT document::text, %s::tsvector::text FROM workbench_searchdocument", [document])
        stored, expected = cursor.fetchone()
    assert stored == expected


def test_one_word_repeated_for_pages_is_found_as_a_phrase(dataset):
    key = added(dataset, "Laugh", "ha " * 2000 + "hum", "hahaha " * 600 + "hum")

    for query in ('"ha ha ha ha hum"', '"hahaha hum"', "laugh hum", '"ha ha"'):
        assert matching(dataset, query).tolist() == [key], query
    assert not len(matching(dataset, '"hum ha"'))


def test_a_word_of_a_thousand_letters_is_found(dataset):
    key = added(dataset, "x" * 1000)

    assert matching(dataset, "x" * 1000).tolist() == [key]


def imported(dataset: Dataset, tmp_path, rows: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(rows)
    assert imports.import_file(file, dataset).accepted


def test_an_import_makes_its_texts_findable(dataset, tmp_path):
    imported(
        dataset, tmp_path, '{"prompt": "What is heat?", "chosen": "A form of energy", "rejected": "Cold"}\n'
    )

    assert matching(dataset, "heat energy cold").tolist() == [Prompt.objects.get().pk]


def test_an_answer_that_a_later_import_adds_to_a_prompt_is_found(dataset, tmp_path):
    imported(
        dataset, tmp_path, '{"prompt": "What is heat?", "chosen": "A form of energy", "rejected": "Cold"}\n'
    )

    imported(dataset, tmp_path, '{"prompt": "What is heat?", "chosen": "Motion", "rejected": "Cold"}\n')

    assert matching(dataset, "heat energy motion").tolist() == [Prompt.objects.get().pk]


def test_a_conversation_with_a_tool_call_is_found_by_what_is_read(dataset, tmp_path):
    imported(
        dataset,
        tmp_path,
        '{"prompt": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": null, '
        '"tool_calls": [{"id": "1", "type": "function", '
        '"function": {"name": "forecast", "arguments": "{}"}}]}, '
        '{"role": "tool", "tool_call_id": "1", "content": "drizzle"}], "chosen": "Wet", "rejected": "Dry"}\n',
    )

    assert len(matching(dataset, "weather forecast drizzle wet")) == 1


def test_a_deleted_dataset_leaves_nothing_in_the_index(texts, dataset, alice):
    run = deleting.begin(dataset, alice)
    run.start()
    deleting.carry_out(run)

    assert not SearchDocument.objects.exists()
    assert not SearchWord.objects.exists()
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM workbench_searchindex('heat OR answer')")
            assert cursor.fetchone() == (0,)
            cursor.execute(
                "INSERT INTO workbench_searchindex(workbench_searchindex) VALUES ('integrity-check')"
            )


def test_a_deleted_prompt_is_not_found(texts, dataset):
    Completion.objects.filter(prompt__in=matching(dataset, "heat").tolist()).delete()
    Prompt.objects.filter(pk__in=matching(dataset, "heat").tolist()).delete()

    assert not len(matching(dataset, "heat"))


def shown(fragments) -> str:
    return "".join(f"[{piece.text}]" if piece.is_match else piece.text for piece in fragments)


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("What is a Heat pump?", "heat", "What is a [Heat] pump?"),
        ("Heat heats heat", "heat", "[Heat] heats [heat]"),
        ("Heat heats heat", "heat*", "[Heat] [heats] [heat]"),
        ("heat pump, heat", '"heat pump"', "[heat pump], heat"),
        ("heat pump, heat", '"heat pump" heat', "[heat pump], [heat]"),
        ("Le Café, l'été", "cafe ete", "Le [Café], l'[été]"),
        ("heat pump", "heat -pump", "[heat] pump"),
        ("什么是热泵？", "热泵", "什么是[热泵]？"),
        ("<b>heat</b>", "heat", "<b>[heat]</b>"),
        ("don't", "don't", "[don't]"),
        ("½ cup", "1", "[½] cup"),
        ("nothing here", "heat", "nothing here"),
        ("nothing here", "-", "nothing here"),
        ("", "heat", ""),
    ],
)
def test_what_matches_is_marked(text, query, expected):
    assert shown(highlighted(text, query)) == expected


def test_an_excerpt_shows_the_first_match_with_what_stands_round_it():
    text = "before " * 200 + "heat " + "after " * 200

    piece = shown(excerpt(text, "heat", 100))

    assert "[heat]" in piece
    assert piece.startswith("… ")
    assert piece.endswith(" …")
    assert len(piece) < 110
    assert shown(excerpt("short heat", "heat", 100)) == "short [heat]"


@given(st.text())
def test_the_pieces_of_a_text_are_the_text(text):
    assert "".join(piece.text for piece in highlighted(text, "a* 日 é")) == text
