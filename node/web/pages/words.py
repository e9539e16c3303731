"""Numbers and times as people read them. Pure; the same words as in ``static/page.js``, which renews them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from pydicom.uid import UID

# Seconds -> a unit: from the bound on, a duration is told in it and in the one below
_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
_BYTES: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_MINUS: Final = "\u2212"


def duration(seconds: float | None) -> str:
    """``95`` -> ``1 min 35 s``; two units at most, milliseconds below one second, empty for None."""
    if seconds is None:
        return ""
    if seconds < 0:
        return _MINUS + duration(-seconds)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    for bound, unit, lower_bound, lower_unit in _UNITS:
        if whole >= bound:
            upper, rest = divmod(whole, bound)
            lower = rest // lower_bound
            return f"{upper} {unit} {lower} {lower_unit}" if lower else f"{upper} {unit}"
    return f"{whole} s"


def amount(size: float | None) -> str:
    """Bytes in decimal units, three digits: ``1_530_000`` -> ``1.53 MB``; empty for None."""
    if size is None:
        return ""
    for unit, name in _BYTES:
        if size >= unit:
            value = size / unit
            digits = 2 if value < 10 else 1 if value < 100 else 0
            return f"{value:.{digits}f} {name}"
    return f"{size:.0f} bytes"


def count(number: int, one: str, many: str = "") -> str:
    """``1 object``, ``1,204 objects``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def seconds_of(instant: str) -> float:
    """An RFC 3339 instant as seconds since the epoch."""
    return datetime.fromisoformat(instant).timestamp()


def utc(instant: str) -> str:
    """``2026-11-22T09:45:34.120Z`` -> ``2026-11-22 09:45:34 UTC``: what stands where no script runs."""
    return datetime.fromisoformat(instant).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def minute(at: float) -> str:
    """Seconds since the epoch -> ``09:45 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M UTC")


def uid_name(uid: str | None) -> str:
    """The name of a registered UID (PS3.6 A), else the UID itself."""
    return UID(uid).name if uid else ""


def dicom_date(date: str | None) -> str:
    """A DA value (PS3.5 6.2) with hyphens; anything else as it is."""
    text = date or ""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text


def study_href(uid: str) -> str:
    """The address of a study's page."""
    return f"/studies/{quote(uid, safe='')}"


def event_href(event_id: str) -> str:
    """The address of an event's resource; the slashes of its id stay."""
    return f"/api/events/{quote(event_id)}/data"
