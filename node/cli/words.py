"""Numbers and times as people read them (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

_BARS: Final = "▁▂▃▄▅▆▇█"
_BYTES: Final = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def plural(count: int, noun: str) -> str:
    """``1 object``, ``2,400 objects``, ``3 studies``."""
    if count == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("y") else noun if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {many}"


def duration(seconds: float) -> str:
    """Two units at most: ``4 s``, ``12 min``, ``2 h 05 min``, ``3 d 4 h``; less than a second as ``0.3 s``."""
    if seconds < 0.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def instant(text: str | None) -> float | None:
    """Seconds since the epoch of a time as the API gives it (RFC 3339)."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def ago(text: str | None, now: float) -> str:
    """How long a time of the API is past; nothing for none."""
    at = instant(text)
    return "" if at is None else f"{duration(now - at)} ago"


def until(text: str | None, now: float) -> str:
    """When a time of the API comes: ``in 38 s``, or ``due``."""
    at = instant(text)
    if at is None:
        return ""
    return f"in {duration(at - now)}" if at > now else "due"


def clock(text: str | None, now: float) -> str:
    """A time of the API on this machine's clock, with its day where that is not today."""
    at = instant(text)
    if at is None:
        return ""
    there, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    return there.strftime("%H:%M:%S" if there.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def size(count: float) -> str:
    """Bytes in powers of ten, as disks are sold: ``12.3 GB``."""
    for unit, factor in _BYTES:
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def sparkline(values: Sequence[float]) -> str:
    """One character a value, as high as it is of the largest; what is nothing at all stays on the ground."""
    most = max(values, default=0)
    if most <= 0:
        return _BARS[0] * len(values)
    top = len(_BARS) - 1
    return "".join(_BARS[0 if value <= 0 else max(1, round(value / most * top))] for value in values)
