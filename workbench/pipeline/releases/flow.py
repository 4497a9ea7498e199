"""Where the pairs of a Release went, as a picture: all -> in the files, or left out by reason -> splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from workbench.pipeline.text.splits import SPLITS, Split

_SHORT = {
    "not_judged": "no votes or labels",
    "undecided": "undecided",
    "changed": "newer votes or labels",
    "flagged": "flagged",
    "dropped": "excluded by a reviewer",
    "tie": "tie",
    "both_bad": "both bad",
    "cannot_judge": "can’t judge",
    "filtered": "filtered out",
    "other_split": "other split",
    "turns": "turns do not fit",
    "messages": "calls or parts",
    "empty": "empty answer",
    "excluded": "prompt excluded",
    "outside_view": "not in the view",
}
TALL = 160.0
"""The height of all pairs, in units of the picture."""

LINE = 18.0
"""The height of a label."""

_LEFT, _MIDDLE, _RIGHT, _WIDE = 0.0, 150.0, 330.0, 10.0


@dataclass(frozen=True)
class Bar:
    """One bar of the picture, with its label. path: the band from the bar before."""

    label: str
    count: int
    x: float
    y: float
    height: float
    kept: bool
    path: str = ""

    @property
    def label_x(self) -> float:
        return self.x + _WIDE + 6

    @property
    def label_y(self) -> float:
        return self.y + max(self.height, LINE - 4) / 2 + 4


@dataclass(frozen=True)
class Flow:
    """total: pairs; left_out: pairs by reason; rows: rows by split."""

    total: int
    left_out: Mapping[str, int]
    rows: Mapping[Split, int]

    @property
    def kept(self) -> int:
        return self.total - sum(self.left_out.values())

    @cached_property
    def bars(self) -> list[Bar]:
        """The bars, in the order of reading; none where there are no pairs."""
        if not self.total:
            return []
        scale = TALL / self.total
        all_pairs = Bar("pairs", self.total, _LEFT, 0, TALL, kept=True)
        middle, source, y = [], 0.0, 0.0
        parts = [("in the files", self.kept, True)]
        parts += [(_SHORT.get(name, name), n, False) for name, n in _largest_first(self.left_out)]
        for label, count, kept in parts:
            height = count * scale
            band = _band(_LEFT + _WIDE, source, _MIDDLE, y, height)
            middle.append(Bar(label, count, _MIDDLE, y, height, kept, band))
            source += height
            y += max(height, LINE - 4) + 6
        return [all_pairs, *middle, *self._splits(middle[0])]

    def _splits(self, kept: Bar) -> list[Bar]:
        bars, total = [], sum(self.rows.values())
        source = y = 0.0
        for split in SPLITS:
            if count := self.rows.get(split, 0):
                height = kept.height * count / total
                bars.append(
                    Bar(
                        split,
                        count,
                        _RIGHT,
                        y,
                        height,
                        True,
                        _band(_MIDDLE + _WIDE, source, _RIGHT, y, height),
                    )
                )
                source += height
                y += max(height, LINE - 4) + 6
        return bars

    @property
    def height(self) -> float:
        return max((bar.y + max(bar.height, LINE) for bar in self.bars), default=0) + 4

    @property
    def in_words(self) -> str:
        """The picture as one sentence."""
        left_out = ", ".join(f"{n:,} {_SHORT.get(name, name)}" for name, n in _largest_first(self.left_out))
        rows = ", ".join(f"{self.rows[split]:,} {split}" for split in SPLITS if self.rows.get(split))
        sentence = f"{self.total:,} pairs: {self.kept:,} in the files ({rows or 'no rows'})"
        return f"{sentence}; left out: {left_out}." if left_out else f"{sentence}; nothing left out."


def _largest_first(left_out: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(left_out.items(), key=lambda item: (-item[1], item[0]))


def _band(x: float, y: float, to_x: float, to_y: float, height: float) -> str:
    """A band from (x, y) to (to_x, to_y), as the path of an SVG."""
    half = (x + to_x) / 2
    return (
        f"M{x:.1f} {y:.1f}C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}V{to_y + height:.1f}"
        f"C{half:.1f} {to_y + height:.1f} {half:.1f} {y + height:.1f} {x:.1f} {y + height:.1f}Z"
    )
