"""Where a model and those who vote part, by how sure the model is: from the stored histogram of margins."""

from dataclasses import dataclass

from workbench.pipeline.quality.reports import Histogram, ModelRow, Report

GROUPS = 5


@dataclass(frozen=True)
class Group:
    """Votes and labels for a side on pairs of similar |margin|: how many the model agrees with."""

    same: int
    apart: int

    @property
    def n(self) -> int:
        return self.same + self.apart


@dataclass(frozen=True)
class Parting:
    """The groups, the least sure first."""

    groups: list[Group]

    @property
    def apart(self) -> int:
        return sum(group.apart for group in self.groups)

    @property
    def n(self) -> int:
        return sum(group.n for group in self.groups)

    @property
    def surest(self) -> Group:
        """The last group with an answer."""
        return next((group for group in reversed(self.groups) if group.n), self.groups[-1])

    @property
    def bars(self) -> list[tuple[Group, float, float]]:
        """Each group with the heights of its two parts, of 100 for the largest group."""
        most = max(group.n for group in self.groups) or 1
        return [(group, 100 * group.same / most, 100 * group.apart / most) for group in self.groups]


def parting(report: Report, label_source: str, version: int) -> Parting | None:
    """The version against a label source; None where the report lacks the version, or has no answers."""
    rows = report["against"].get(label_source, [])
    row: ModelRow | None = next((row for row in rows if row["pk"] == version), None)
    found = Parting(_folded(row["histogram"])) if row and "histogram" in row else None
    return found if found and found.n else None


def _folded(histogram: Histogram) -> list[Group]:
    """The bins of the histogram, which lie evenly around 0, by |margin|."""
    half = len(histogram["a"]) // 2
    same = [histogram["a"][half + k] + histogram["b"][half - 1 - k] for k in range(half)]
    apart = [histogram["b"][half + k] + histogram["a"][half - 1 - k] for k in range(half)]
    size = max(1, half // GROUPS)
    return [
        Group(sum(same[start : start + size]), sum(apart[start : start + size]))
        for start in range(0, half, size)
    ]
