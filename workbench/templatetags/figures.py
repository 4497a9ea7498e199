"""Numbers and times as the pages write them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Protocol

from django import template
from django.utils import timezone

from scoring import shares

if TYPE_CHECKING:
    from workbench.models import Run
    from workbench.worker.workforce import Workforce


class Interval(Protocol):
    """A figure of the code; figures of a stored report are mappings with the same keys."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


Stored = Mapping[str, float | None]

register = template.Library()


@register.filter
def unbroken(words: str) -> str:
    """The words with no line break before a per cent sign."""
    return words.replace(" %", "\N{NO-BREAK SPACE}%")


@register.filter
def clock(moment: datetime | None) -> str:
    """ "14:32" today, "12 Mar 14:32" this year, "2024-03-12 14:32" before; "" for None."""
    if moment is None:
        return ""
    local, now = timezone.localtime(moment), timezone.localtime()
    if local.date() == now.date():
        return f"{local:%H:%M}"
    return f"{local.day} {local:%b %H:%M}" if local.year == now.year else f"{local:%Y-%m-%d %H:%M}"


@register.filter
def queued(workforce: "Workforce | None", run: "Run | None") -> str:
    """What a waiting Run waits for, by the workforce of the page; "" for any other Run."""
    return workforce.queued.get(run.pk, "") if workforce and run else ""


@register.filter
def duration(length: timedelta | float | None) -> str:
    """ "40 s", "12 min", "3 h 05 min", "2 d 4 h"; "" for None."""
    if length is None:
        return ""
    seconds = round(length.total_seconds() if isinstance(length, timedelta) else length)
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


@register.filter
def seconds(length: float | None) -> str:
    """ "0.5 s", "21 s"; "" for None."""
    if length is None:
        return ""
    return f"{length:.0f} s" if length >= 10 else f"{length:.1f} s"


@register.filter
def hms(length: Decimal) -> str:
    """ "1:05:09" for 3909.4 seconds, "−0:10:00" for -600: rounded to seconds, half away from 0."""
    whole = int(abs(length).quantize(Decimal(1), ROUND_HALF_UP))
    minutes, seconds = divmod(whole, 60)
    sign = "−" if length < 0 and whole else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}"


@register.filter
def money(amount: Decimal) -> str:
    """ "1,234.50", "−0.25"."""
    return f"{amount:,}".replace("-", "−")


@register.filter
def percent(share: float | None) -> str:
    """ "64 %" for 0.64, with a no-break space; "0 %" and "100 %" for exactly none and all. "" for None."""
    return "" if share is None else unbroken(shares.in_words(share))


@register.filter
def between(figure: Interval | Stored | Sequence[float] | None) -> str:
    """ "61 to 67 %" for (0.61, 0.67), or for a figure with `low` and `high`; "" without them."""
    bounds = _bounds(figure)
    return "" if bounds is None else unbroken(shares.between(bounds))


@register.filter
def with_interval(figure: Interval | Stored) -> str:
    """ "64 % (61 to 67)" for a figure with `value`, `low` and `high`; "" without a value."""
    value = figure["value"] if isinstance(figure, Mapping) else figure.value
    return "" if value is None else unbroken(shares.with_interval(value, _bounds(figure)))


def _bounds(figure: Interval | Stored | Sequence[float] | None) -> tuple[float, float] | None:
    if figure is None:
        return None
    if isinstance(figure, Mapping):
        low, high = figure["low"], figure["high"]
    else:
        low, high = figure if isinstance(figure, Sequence) else (figure.low, figure.high)
    return None if low is None or high is None else (low, high)


@register.filter
def points(share: float | None) -> str:
    """A difference of shares: "+6.1 points" for 0.061, "−1.0 points" for -0.01. "" for None."""
    return "" if share is None else shares.points(share)


@register.filter
def points_between(bounds: Sequence[float] | None) -> str:
    """ "−1.0 to +6.1 points" for (-0.01, 0.061); "" for None."""
    return "" if bounds is None else shares.points_between(bounds)


@register.filter
def p_value(p: float | None) -> str:
    """ "0.031", "<0.001"; "" for None."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


@register.filter
def add_number(number: float, more: float) -> str:
    """The sum, for SVG attributes."""
    return f"{float(number) + float(more):.2f}"


@register.filter
def per_second(rate: float | None) -> str:
    """ "31 /s", "0.4 /s"; "" for None."""
    if rate is None:
        return ""
    return f"{rate:,.0f} /s" if rate >= 10 else f"{rate:.2g} /s"


@register.filter
def along(share: float) -> str:
    """The place of a share on an axis from 0 to 100, for SVG attributes: "64.20" for 0.642."""
    return f"{share * 100:.2f}"


@register.filter
def half_along(share: float) -> str:
    """The place of a share from 0.5 to 1 on an axis from 0 to 100: "28.40" for 0.642."""
    return f"{share * 200 - 100:.2f}"


@register.filter
def down(share: float) -> str:
    """The place of a share on an axis that grows upwards, in SVG's coordinates: "35.80" for 0.642."""
    return f"{100 - share * 100:.2f}"


def _bar(share: float) -> float:
    return max(0.4, share / 10)


@register.filter
def bar_height(share: float) -> str:
    """The height of a bar in a strip of height 10, for a share from 0 to 100; a bar of nothing is a line."""
    return f"{_bar(share):.2f}"


@register.filter
def bar_top(share: float) -> str:
    """The top of that bar."""
    return f"{10 - _bar(share):.2f}"


@register.filter
def width_along(figure: Stored) -> str:
    """The width of an interval on an axis from 0 to 100."""
    bounds = _bounds(figure) or (0.0, 0.0)
    return f"{(bounds[1] - bounds[0]) * 100:.2f}"


@register.filter
def part_height(share: float | str) -> str:
    """The height of a part of a bar of height 22, for a share from 0 to 100."""
    return f"{float(share) * 0.22:.2f}"


@register.filter
def part_top(share: float | str) -> str:
    """The top of a bar that stands on a floor at 24, for a share from 0 to 100."""
    return f"{24 - float(share) * 0.22:.2f}"
