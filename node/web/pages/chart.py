"""The chart of the last hour: counts a minute -> bars of an SVG, and the same in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from node.timing import rfc3339
from node.web.pages import words

BAR: Final = 10  # width of a minute in the SVG's units, its gap included
HEIGHT: Final = 96
_STEPS: Final = (1, 2, 5)


class Bar(NamedTuple):
    """One minute: where it stands, how high it is, what it says when pointed at."""

    x: int
    y: float
    height: float
    tells: str


class Chart(NamedTuple):
    """``top`` is the count at the upper edge; ``tells`` the whole chart in words, ``top_at`` when most came."""

    width: int
    height: int
    bars: Sequence[Bar]
    top: int
    tells: str
    top_at: str


def chart(receiving: dict[str, Any], now: float) -> Chart:
    """Bars of ``receiving`` as ``WebServices.status`` tells it; ``now`` is in its last minute."""
    step, objects, sizes = receiving["step_seconds"], receiving["objects"], receiving["bytes"]
    top = scale(max(objects, default=0))
    begin = now - now % step - step * (len(objects) - 1)
    bars = [
        Bar(
            place * BAR,
            round(HEIGHT * (1 - number / top), 1),
            round(HEIGHT * number / top, 1),
            f"{words.minute(begin + place * step)}: {words.count(number, 'object')}, {words.amount(size)}",
        )
        for place, (number, size) in enumerate(zip(objects, sizes, strict=True))
        if number
    ]
    most = max(objects, default=0)
    top_at = rfc3339(begin + objects.index(most) * step) if most else ""
    return Chart(len(objects) * BAR, HEIGHT, bars, top, _words(objects, sizes), top_at)


def scale(most: int) -> int:
    """The round number (1, 2, 5, 10, 20 ...) at or above ``most``."""
    power = 1
    while True:
        for digit in _STEPS:
            if digit * power >= most:
                return digit * power
        power *= 10


def _words(objects: Sequence[int], sizes: Sequence[int]) -> str:
    total = sum(objects)
    if not total:
        return "Nothing was received in the last hour."
    received = f"{words.count(total, 'object')} ({words.amount(sum(sizes))}) in the last hour"
    return f"{received}, at most {max(objects):,} a minute."
