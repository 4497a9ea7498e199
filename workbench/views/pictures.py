"""Small pictures of pages as parts of SVG: places and sizes, with the figures in words beside them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from django.utils import timezone

from scoring import shares
from scoring.evaluate import PairedComparison
from workbench.models import Run
from workbench.pipeline.quality.reports import AgreementRow, StoredFigure, has_value
from workbench.pipeline.review.queue import Facts, Settled, Why
from workbench.templatetags.figures import duration, percent

Place = Mapping[str, float]


@dataclass(frozen=True)
class Bars:
    """Bars side by side on a picture of 100 by `height`."""

    places: list[Place]
    height: float = 20.0

    @classmethod
    def of(cls, numbers: Sequence[int], most: int, height: float = 20.0) -> Bars:
        """most: the number that is as high as the picture."""
        step = 100 / max(1, len(numbers))
        sizes = [height * number / max(1, most) for number in numbers]
        return cls(
            [
                {"x": place * step, "y": height - size, "width": 0.8 * step, "height": size}
                for place, size in enumerate(sizes)
            ],
            height,
        )


@dataclass(frozen=True)
class Span:
    """A figure with its interval on an axis from 0 to 100."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, figure: StoredFigure | None, end: float = 1.0) -> Span | None:
        """None where there is no figure; end: the figure at 100."""
        if not has_value(figure):
            return None
        ends = (figure["value"], figure["low"], figure["high"])
        value, low, high = (min(100.0, 100 * share / end) for share in ends)
        return cls(value, low, high)


# --- agreement by the week ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weeks:
    """Agreement of people week by week on a picture of 100 by 24: `points` with x, y, low and high, from the
    first week to the last, and the `line` through them. described: the same in words."""

    points: Sequence[Place]
    line: str
    described: str

    @classmethod
    def of(cls, rows: Sequence[AgreementRow]) -> Weeks | None:
        """None for fewer than two weeks with a figure."""
        found = [(row["label"], span) for row in rows if (span := Span.of(row["raw"]))]
        if len(found) < 2:
            return None
        step = 92 / (len(found) - 1)
        points = [
            {"x": 4 + n * step, "y": _up(span.value), "low": _up(span.low), "high": _up(span.high)}
            for n, (_, span) in enumerate(found)
        ]
        return cls(
            points=points,
            line=" ".join(f"{point['x']:.2f},{point['y']:.2f}" for point in points),
            described=", ".join(f"{week}: {percent(span.value / 100)}" for week, span in found),
        )


def _up(value: float) -> float:
    """The place of a figure from 0 to 100 above the floor of the picture."""
    return 24 - 0.22 * value


# --- accuracy of the versions -------------------------------------------------------------------------------

_WIDE, _HIGH = 96.0, 130.0
VERSIONS_DRAWN = 8


@dataclass(frozen=True)
class Measured:
    """The accuracy of one version, for `Versions`."""

    name: str
    accuracy: float
    interval: tuple[float, float] | None
    by_rule: float | None
    rule: str
    ceiling: tuple[float, float] | None


@dataclass(frozen=True)
class Versions:
    """The accuracy of the versions from left to right, each over the length rule, under the ceiling."""

    width: float
    points: list[dict[str, object]]
    ceiling: Place | None
    lines: list[dict[str, object]]
    described: str

    @classmethod
    def of(cls, measured: Sequence[Measured]) -> Versions | None:
        """The last versions, the oldest first; None without one."""
        shown = measured[-VERSIONS_DRAWN:]
        if not shown:
            return None
        ends = [end for m in shown for end in (m.accuracy, *(m.interval or ()), m.by_rule or 1.0)]
        bottom = min(0.5, int(10 * min(ends)) / 10)

        def down(share: float) -> float:
            return _HIGH * (1 - (share - bottom) / (1 - bottom))

        band = next((m.ceiling for m in reversed(shown) if m.ceiling), None)
        return cls(
            width=_WIDE * len(shown),
            points=[cls._point(place, m, down) for place, m in enumerate(shown)],
            ceiling={"y": down(band[1]), "height": down(band[0]) - down(band[1])} if band else None,
            lines=[
                {"y": down(tenth / 10), "label": shares.in_words(tenth / 10)}
                for tenth in range(round(10 * bottom), 11)
                if (tenth - round(10 * bottom)) % 2 == 0 or tenth == 10
            ],
            described="; ".join(
                f"{m.name} {shares.with_interval(m.accuracy, m.interval)}"
                + (f", {m.rule} {shares.in_words(m.by_rule)}" if m.by_rule is not None else "")
                for m in shown
            )
            + (f"; the ceiling is {shares.between(band)}" if band else ""),
        )

    @staticmethod
    def _point(place: int, m: Measured, down: Callable[[float], float]) -> dict[str, object]:
        x = _WIDE * (place + 0.5)
        return {
            "x": x,
            "left": x - 26,
            "right": x + 26,
            "y": down(m.accuracy),
            "low": down(m.interval[0]) if m.interval else None,
            "high": down(m.interval[1]) if m.interval else None,
            "rule": None if m.by_rule is None else down(m.by_rule),
            "name": m.name if len(m.name) <= 15 else f"{m.name[:14]}…",
        }


# --- two versions on the same pairs -------------------------------------------------------------------------

FLIPS_HIGH = 150.0
_OLD_X, _NEW_X = 14.0, 186.0
_FLIPS = {
    "kept": "right in both",
    "towards": "now right",
    "away": "now wrong",
    "neither": "right in neither",
}
_OLD_ORDER = ("kept", "away", "towards", "neither")
_NEW_ORDER = ("kept", "towards", "away", "neither")


@dataclass(frozen=True)
class Flips:
    """Pairs from the old model on the left to the new one on the right, what is right on top: what goes up is
    now right, what goes down is now wrong. On a picture of 200 by FLIPS_HIGH."""

    bands: list[dict[str, object]]
    columns: list[dict[str, object]]
    parts: list[tuple[str, str, int]]
    """(kind, words, pairs), first the pairs on which both are right."""

    @classmethod
    def of(cls, paired: PairedComparison) -> Flips | None:
        """None without a pair that has a preferred answer."""
        if not paired.n or paired.old_accuracy is None or paired.new_accuracy is None:
            return None
        pairs = {
            "kept": paired.both_right,
            "towards": paired.n01,
            "away": paired.n10,
            "neither": paired.n - paired.both_right - paired.n01 - paired.n10,
        }
        scale = FLIPS_HIGH / paired.n

        def top(kind: str, column: Sequence[str]) -> float:
            return scale * sum(pairs[above] for above in column[: column.index(kind)])

        bands: list[dict[str, object]] = []
        for kind, words in _FLIPS.items():
            y, to_y, height = top(kind, _OLD_ORDER), top(kind, _NEW_ORDER), scale * pairs[kind]
            corners = [(_OLD_X, y), (_NEW_X, to_y), (_NEW_X, to_y + height), (_OLD_X, y + height)]
            if height:
                points = " ".join(f"{x:.1f},{at:.1f}" for x, at in corners)
                bands.append({"kind": kind, "words": words, "pairs": pairs[kind], "points": points})
        columns: list[dict[str, object]] = [
            {"x": 0.0, "right": FLIPS_HIGH * paired.old_accuracy},
            {"x": _NEW_X, "right": FLIPS_HIGH * paired.new_accuracy},
        ]
        return cls(bands, columns, [(kind, words, pairs[kind]) for kind, words in _FLIPS.items()])

    @property
    def described(self) -> str:
        return ", ".join(f"{pairs:,} {words}" for _, words, pairs in self.parts)


# --- open cases of the review queue -------------------------------------------------------------------------

BURN_DAYS = 14
BURN_HIGH = 20.0


@dataclass(frozen=True)
class OpenCases:
    """How many cases were open over the last days, the oldest first and now last; the area on a picture of
    100 by BURN_HIGH."""

    words: str
    numbers: list[int]
    area: str

    @property
    def now(self) -> int:
        return self.numbers[-1]


@dataclass(frozen=True)
class BurnDown:
    """Open cases of a queue over BURN_DAYS days: all of them, and by reason. A case may have several reasons.
    `settled`: how many reviewers have settled in these days."""

    whole: OpenCases
    by_reason: list[OpenCases]
    settled: int

    @classmethod
    def of(
        cls, waiting: Sequence[Facts], settled: Sequence[Settled], now: datetime | None = None
    ) -> BurnDown | None:
        """None where no case was open in these days. All parts have one scale."""
        if not waiting and not settled:
            return None
        now = now or timezone.now()
        days = [now - timedelta(days=before) for before in range(BURN_DAYS, -1, -1)]
        changes: defaultdict[Why | None, list[int]] = defaultdict(lambda: [0] * (len(days) + 1))
        cases = [(case.why, case.since, len(days)) for case in waiting]
        cases += [(case.why, case.since, bisect_left(days, case.until)) for case in settled]
        for why, since, end in cases:
            start = bisect_left(days, since) if since else 0
            for reason in (None, *why) if start < end else ():
                changes[reason][start] += 1
                changes[reason][end] -= 1

        def drawn(words: str, reason: Why | None, most: int) -> OpenCases:
            numbers = list(accumulate(changes[reason][:-1]))
            step = 100 / BURN_DAYS
            tops = [BURN_HIGH * (1 - number / max(1, most, *numbers)) for number in numbers]
            line = "".join(f"L{step * place:.1f} {top:.1f}" for place, top in enumerate(tops))
            return OpenCases(words, numbers, f"M0 {BURN_HIGH:.0f}{line}L100 {BURN_HIGH:.0f}Z")

        whole = drawn("all", None, 0)
        reasons = [drawn(str(why.label), why, max(whole.numbers)) for why in Why]
        shown = sorted((reason for reason in reasons if any(reason.numbers)), key=lambda reason: -reason.now)
        return cls(whole, shown, len(settled))


# --- Runs by queue ------------------------------------------------------------------------------------------

LANE = 26.0
LONGEST = timedelta(hours=6)
QUEUES = {"work": "imports, figures", "score": "scoring", "train": "training"}


@dataclass(frozen=True)
class Lanes:
    """When Runs waited and ran, a lane a queue, on an axis from 0 to 100."""

    height: float
    lanes: list[dict[str, object]]
    began: datetime
    ended: datetime
    described: str

    @classmethod
    def of(cls, runs: Iterable[Run], now: datetime | None = None) -> Lanes | None:
        """Of these Runs, the latest first; None where fewer than two have begun or wait."""
        now = now or timezone.now()
        shown = [run for run in runs if run.is_open or run.started_at]
        if len(shown) < 2:
            return None
        ended = max(run.finished_at or now for run in shown)
        began = max(min(run.created_at for run in shown), ended - LONGEST)
        whole = max(1.0, (ended - began).total_seconds())

        def along(moment: datetime) -> float:
            return 100 * min(1.0, max(0.0, (moment - began).total_seconds() / whole))

        lanes: list[dict[str, object]] = []
        for queue, words in QUEUES.items():
            of_queue = [run for run in shown if run.queue == queue and (run.finished_at or now) >= began]
            if of_queue:
                top = LANE * len(lanes)
                bars = [_bar(run, along, now, top) for run in reversed(of_queue)]
                lanes.append({"words": words, "top": top, "middle": top + LANE / 2, "bars": bars})
        said = [
            f"{run}: {run.state}" + (f", took {duration(run.took)}" if run.took else "") for run in shown[:8]
        ]
        return cls(LANE * len(lanes), lanes, began, ended, "; ".join(said))


def _bar(run: Run, along: Callable[[datetime], float], now: datetime, top: float) -> dict[str, object]:
    began = run.started_at or run.finished_at or now
    start, end = along(began), along(run.finished_at or now)
    return {
        "run": run,
        "y": top + 5,
        "waited": along(run.created_at),
        "waiting": max(0.0, start - along(run.created_at)),
        "x": min(start, 99.4),
        "width": max(0.6, end - start) if run.started_at else 0.0,
        "state": run.state,
    }


# --- a file to import ---------------------------------------------------------------------------------------

BINS = 24


@dataclass(frozen=True)
class Lengths:
    """A histogram of answers by their characters with the prompt, and the place of the model's limit."""

    bars: Bars
    most: int
    limit: float | None
    described: str

    @classmethod
    def of(cls, lengths: Sequence[int], limit: int) -> Lengths | None:
        """limit: in characters. The last bar holds everything beyond; None for a single answer."""
        if len(lengths) < 2:
            return None
        ordered = sorted(lengths)
        top = max(ordered[int(0.98 * (len(ordered) - 1))], 1)
        if limit <= ordered[-1]:
            top = max(top, round(1.1 * limit))
        counts = [0] * BINS
        for length in lengths:
            counts[min(BINS - 1, BINS * length // (top + 1))] += 1
        middle = ordered[len(ordered) // 2]
        described = (
            f"{len(lengths):,} answers with their prompts: half of them have up to {middle:,} characters, "
            f"the longest {ordered[-1]:,}. The model reads about {limit:,}."
        )
        at = 100 * limit / top if limit <= top else None
        return cls(Bars.of(counts, max(counts), 40.0), top, at, described)


BALANCE = {
    "longer": "longer answer",
    "shorter": "shorter answer",
    "alike": "as long",
    "tie": "tie or both bad",
}


@dataclass(frozen=True)
class Balance:
    """Imported labels by what they prefer, as parts of one bar."""

    parts: list[dict[str, object]]
    described: str

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Balance | None:
        whole = sum(counts.values())
        if not whole:
            return None
        parts, x = [], 0.0
        for key, words in BALANCE.items():
            width = 100 * counts.get(key, 0) / whole
            if width:
                parts.append({"key": key, "words": words, "n": counts[key], "x": x, "width": width})
            x += width
        said = ", ".join(
            f"{percent(counts.get(str(part['key']), 0) / whole)} {part['words']}" for part in parts
        )
        return cls(parts, said)


_PAIRS = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 6), (7, 15), (16, 63), (64, None))


@dataclass(frozen=True)
class PairsAPrompt:
    """How many prompts have how many pairs, a bar for each number. Bars, no treemap: most prompts of a file
    have the same few numbers, and a thousand equal tiles show nothing."""

    rows: list[tuple[str, int, float]]
    """(pairs in words, prompts, percent of the widest bar)."""
    described: str

    @classmethod
    def of(cls, pairs: Sequence[int]) -> PairsAPrompt | None:
        """pairs: the number of pairs of each prompt. None for fewer than two prompts."""
        if len(pairs) < 2 or not any(pairs):
            return None
        counts = [
            (_from_to(low, high), sum(low <= n and (high is None or n <= high) for n in pairs))
            for low, high in _PAIRS
        ]
        most = max(count for _, count in counts)
        ordered = sorted(pairs, reverse=True)
        tenth = ordered[: max(1, round(len(ordered) / 10))]
        if ordered[0] == ordered[-1]:
            described = f"{len(pairs):,} prompts with {ordered[0]:,} pair{'s' * (ordered[0] != 1)} each."
        else:
            described = (
                f"{len(pairs):,} prompts with {sum(pairs):,} pairs. The {len(tenth):,} with the most pairs "
                f"{'have' if len(tenth) > 1 else 'has'} {percent(sum(tenth) / sum(pairs))} of them."
            )
        return cls([(words, n, 100 * n / most) for words, n in counts if n], described)


def _from_to(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return f"{low} to {high}" if high > low else f"{low}"
