"""Shares, intervals and differences are rounded by one rule, wherever they are printed."""

import re
from pathlib import Path

import pytest

from scoring import shares

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.643, "64 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.001, "<1 %"),
        (0.9999, ">99 %"),
        (None, "not enough data"),
    ],
)
def test_a_share_is_a_whole_percent_and_never_all_or_nothing_for_what_is_neither(share, words):
    assert shares.in_words(share) == words


def test_an_interval_is_rounded_as_its_share_is():
    assert shares.with_interval(0.643, (0.6149, 0.999)) == "64 % (61 to >99)"
    assert shares.with_interval(0.643, None) == "64 %"
    assert shares.between((0.6149, 0.672)) == "61 to 67 %"
    assert shares.between(None) == "not enough data"


def test_a_difference_is_told_to_the_tenth_of_a_point_with_its_sign():
    assert shares.points(0.061) == "+6.1 points"
    assert shares.points(-0.0104) == "\u22121.0 points"
    assert shares.points(-0.00001) == "+0.0 points"
    assert shares.size(-0.061) == "6.1 points"
    assert shares.points_between((-0.01, 0.061)) == "\u22121.0 to +6.1 points"
    assert shares.points_with_interval(0.061, (0.033, 0.094)) == "+6.1 points (+3.3 to +9.4)"
    assert shares.points_with_interval(None, None) == "not enough data"


ALLOWED = {
    "scoring/shares.py",
    "scoring/command_evaluate.py",  # two decimals, as the card that it is compared with prints them
    "workbench/templatetags/figures.py",  # places in drawings
}


def test_nothing_else_prints_a_share():
    printed_share = re.compile(
        r"\{[^{}]*:\+?\.\d%\}|\* 100:[+.]|100 \* [\w.\[\]]+:[+.]|floatformat[^}]*\}\} ?%"
    )
    files = [
        *ROOT.glob("scoring/**/*.py"),
        *ROOT.glob("workbench/**/*.py"),
        *ROOT.glob("templates/**/*.html"),
    ]
    printing = {file.relative_to(ROOT).as_posix() for file in files if printed_share.search(file.read_text())}

    assert printing - ALLOWED == set()
