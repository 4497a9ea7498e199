"""Shares, their intervals and their differences in words: on pages, in commands and in every file for people.

A share is rounded to the whole percent. A difference is rounded to the tenth of a point: differences are
small, and a gate decides by them."""

from collections.abc import Sequence

UNKNOWN = "not enough data"


def in_words(share: float | None) -> str:
    """ "64 %" for 0.64; never "0 %" or "100 %" for a share between them."""
    return UNKNOWN if share is None else f"{_rounded(share)} %"


def limit(share: float) -> str:
    """ "66.7 %" for 0.667: a limit that somebody has set is not rounded to the percent."""
    return f"{share * 100:.4g} %"


def between(bounds: Sequence[float] | None) -> str:
    """ "61 to 67 %" for (0.61, 0.67)."""
    return UNKNOWN if bounds is None else f"{_rounded(bounds[0])} to {_rounded(bounds[1])} %"


def with_interval(share: float | None, bounds: Sequence[float] | None) -> str:
    """ "64 % (61 to 67)"; without bounds the share alone."""
    if share is None or bounds is None:
        return in_words(share)
    return f"{in_words(share)} ({_rounded(bounds[0])} to {_rounded(bounds[1])})"


def points(difference: float | None) -> str:
    """ "+6.1 points" for 0.061, "−1.0 points" for -0.01."""
    return UNKNOWN if difference is None else f"{_signed(difference)} points"


def size(difference: float) -> str:
    """ "6.1 points" for 0.061 and for -0.061: where the sentence says which way."""
    return points(abs(difference)).removeprefix("+")


def points_between(bounds: Sequence[float]) -> str:
    """ "−1.0 to +6.1 points" for (-0.01, 0.061)."""
    return f"{_signed(bounds[0])} to {_signed(bounds[1])} points"


def points_with_interval(difference: float | None, bounds: Sequence[float] | None) -> str:
    """ "+6.1 points (+3.3 to +9.4)"; without bounds the difference alone."""
    if difference is None or bounds is None:
        return points(difference)
    return f"{points(difference)} ({_signed(bounds[0])} to {_signed(bounds[1])})"


def decimals(value: float | None) -> str:
    """ "0.693"; "–" for None."""
    return "–" if value is None else f"{value:.3f}"


def _rounded(share: float) -> str:
    if 0 < share < 0.005:
        return "<1"
    if 0.995 <= share < 1:
        return ">99"
    return f"{share * 100:.0f}"


def _signed(difference: float) -> str:
    return f"{difference * 100:+.1f}".replace("-", "−").replace("−0.0", "+0.0")
