from dataclasses import replace

import pytest

from scoring.config import PRESETS
from scoring.encode import Encoder
from scoring.pairs import LabelledPair, TrainingData
from scoring.preflight import preflight
from tests.scoring.models import sentence

CONFIG = replace(PRESETS["recommended"], max_length=32, steps=40, batch=10)


def pair(number, *, prompt=None, a="rain falls", b="a lease expires", target=1.0):
    return LabelledPair(prompt or f"why {number}", a, b, target, f"g{number}")


def check(tiny, train, *, validation=None, test=()):
    data = TrainingData(train, [pair(900)] if validation is None else validation, test)
    sides = Encoder.open(tiny, CONFIG.max_length)([text for pair in train for text in pair.texts])
    return preflight(data, list(zip(sides[0::2], sides[1::2], strict=True)), CONFIG)


def texts(checked, level):
    return [finding.text for finding in checked.findings if finding.level == level]


def test_ordinary_pairs_are_counted_and_nothing_is_wrong_but_their_number(tiny):
    checked = check(tiny, [pair(number) for number in range(30)], test=[pair(901), pair(902)])

    assert checked.pairs == {"train": 30, "validation": 1, "test": 2}
    assert checked.groups == {"train": 30, "validation": 1, "test": 2}
    assert (checked.steps, checked.epochs) == (40, pytest.approx(40 * 10 / 30))
    assert checked.longer_preferred == 0
    assert (checked.completion.median, checked.completion.longest, checked.completion.cut_share) == (3, 3, 0)
    assert checked.errors == []
    assert texts(checked, "warning") == [
        "only 30 pairs to train on: below 500, don't expect much",
        "40 steps go over so few pairs 13 times",
    ]


def test_pairs_that_teach_nothing_are_counted(tiny):
    same = pair(1, b="rain falls")
    alike = pair(2, a=sentence(40) + " rain", b=sentence(40) + " lease")

    checked = check(tiny, [same, alike, *(pair(number) for number in range(3, 30))])

    assert (checked.identical, checked.alike) == (1, 2)
    assert "pairs with two equal answers, which teach nothing: 1" in texts(checked, "warning")
    assert "pairs that differ only in text that is cut off, which teach nothing: 1" in texts(
        checked, "warning"
    )


def test_long_prompts_and_what_is_cut_are_told(tiny):
    crowded = pair(1, prompt=sentence(25), a=sentence(25, 1), b=sentence(5, 2))

    checked = check(tiny, [crowded, *(pair(number) for number in range(2, 21))])

    assert checked.crowded == 1
    assert (checked.prompt.longest, checked.completion.longest) == (25, 25)
    assert checked.prompt.cut_share == pytest.approx(2 / 40)
    assert checked.completion.cut_share == pytest.approx(1 / 40)
    assert "prompts that take over half of the tokens, so an answer is cut: 1" in texts(checked, "warning")


def test_a_pair_that_comes_again_the_other_way_round_is_told(tiny):
    train = [
        pair(1),
        pair(1, a="a lease expires", b="rain falls"),
        *(pair(number) for number in range(2, 25)),
    ]

    checked = check(tiny, train)

    assert checked.contradicted == 2


@pytest.mark.parametrize(
    ("train", "held_out", "error"),
    [
        ([pair(n) for n in range(19)], {}, "only 19 pairs to train on; at least 20 are needed"),
        ([], {}, "only 0 pairs"),
        ([pair(n) for n in range(30)], {"validation": []}, "no validation pairs"),
        ([pair(n, target=0.5) for n in range(30)], {}, "every pair is a tie"),
        ([pair(n, b="rain falls") for n in range(30)], {}, "both answers of every pair are the same"),
        (
            [pair(n) for n in range(30)],
            {"validation": [pair(3)]},
            "prompt groups in both train and validation: 1",
        ),
        (
            [pair(n) for n in range(30)],
            {"test": [pair(900)]},
            "prompt groups in both validation and test: 1",
        ),
    ],
)
def test_a_run_that_could_not_be_believed_is_refused(tiny, train, held_out, error):
    errors = check(tiny, train, **held_out).errors

    assert any(error in text for text in errors), errors
