"""A share k of n with its 95 % interval."""

from dataclasses import dataclass

from scoring.calibrate import wilson as interval_of_share


def wilson(k: float, n: int) -> tuple[float, float] | None:
    """95 % score interval of a share k of n (Wilson 1927), or None when n is 0: there is not enough data.

    k may be a half, where a tie counts one half. Never leaves [0, 1], also at k = 0 and k = n."""
    return interval_of_share(k / n, n) if n else None


@dataclass(frozen=True)
class Share:
    """k of n; `low` and `high` bound it at 95 % (Wilson). All three shares are None when n is 0."""

    k: float
    n: int

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def low(self) -> float | None:
        interval = wilson(self.k, self.n)
        return interval and interval[0]

    @property
    def high(self) -> float | None:
        interval = wilson(self.k, self.n)
        return interval and interval[1]
