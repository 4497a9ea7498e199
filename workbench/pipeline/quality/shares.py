"""A share k of n with its 95 % interval."""

from dataclasses import dataclass

from scoring.calibrate import wilson


@dataclass(frozen=True)
class Share:
    """k of n, with its 95 % interval from `low` to `high` (Wilson); all three are None where n is 0. k may
    end in a half, as a tie counts one half."""

    k: float
    n: int

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def low(self) -> float | None:
        return wilson(self.k / self.n, self.n)[0] if self.n else None

    @property
    def high(self) -> float | None:
        return wilson(self.k / self.n, self.n)[1] if self.n else None
