"""What DICOM's date, time, number and UID strings mean (PS3.5 6.2), without any target's spelling.

Each parser gives None for what is not legal or not meant: the caller leaves the element out and counts it.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from node.terms import Moment

INT32_MAX: Final = 2_147_483_647


class Date(NamedTuple):
    """Year, and month and day as far as they are known (0: not)."""

    year: int
    month: int
    day: int

    @property
    def full(self) -> bool:
        return self.day > 0


class Time(NamedTuple):
    """Time of day; ``fraction`` has the digits given, 0 to 6 of them. Second 60 is a leap second."""

    hour: int
    minute: int
    second: int
    fraction: str


class DateTime(NamedTuple):
    """A DT value: its parts, and its suffix in minutes east of UTC (None: it has none)."""

    date: Date
    time: Time | None
    offset: int | None


# `[0-9]`, not `\d`: DICOM's digits are ASCII, Python's `\d` takes every script's.
_DATE = re.compile(r"([0-9]{4})(?:([0-9]{2})([0-9]{2})?)?\Z")
_DOTTED = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})\Z")
_TIME = re.compile(r"([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?\Z")
_COLONS = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?\Z")
_OFFSET = re.compile(r"([+-])([0-9]{2})([0-9]{2})\Z")
_DATETIME = re.compile(r"([0-9]{4,8})([0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?)?([+-][0-9]{4})?\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,32}(?:\.0*)?\Z")


@lru_cache(maxsize=1024)  # a study has few dates and many instances
def parse_date(raw: str) -> Date | None:
    """DA, the retired ``YYYY.MM.DD``, and the partial dates of a DT. A day that no calendar has is None."""
    raw = raw.strip()
    found = _DATE.match(raw) or _DOTTED.match(raw)
    if not found:
        return None
    year, month, day = (int(part or 0) for part in found.groups())
    if year < 1 or (found[2] and not 1 <= month <= 12):
        return None
    if found[3] and not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return Date(year, month, day)


def parse_time(raw: str) -> Time | None:
    """TM and the retired colons; missing minutes and seconds are zero. 24:00:00 is None (PS3.5 has 00-23)."""
    raw = raw.strip()
    found = _TIME.match(raw) or _COLONS.match(raw)
    if not found:
        return None
    hour, minute, second = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    if hour > 23 or minute > 59 or second > 60:
        return None
    return Time(hour, minute, second, found[4] or "")


def parse_offset(raw: str) -> int | None:
    """(0008,0201) or the suffix of a DT, in minutes: -1200 to +1400, never ``-0000`` (PS3.5 6.2)."""
    found = _OFFSET.match(raw.strip())
    if not found or raw.strip() == "-0000" or int(found[3]) > 59:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    minutes = -minutes if found[1] == "-" else minutes
    return minutes if -720 <= minutes <= 840 else None


def parse_datetime(raw: str) -> DateTime | None:
    """DT with any precision. A wrong suffix is dropped, a wrong time leaves the date."""
    found = _DATETIME.match(raw.strip())
    if not found or len(found[1]) not in (4, 6, 8):
        return None
    date = parse_date(found[1])
    if date is None:
        return None
    time = parse_time(found[2]) if found[2] and date.full else None
    return DateTime(date, time, parse_offset(found[3]) if found[3] else None)


def parse_integer(raw: str) -> int | None:
    """IS, with ``1.0`` taken as 1; any size and sign."""
    raw = raw.strip()
    return int(raw.partition(".")[0]) if _INTEGER.match(raw) else None


def parse_unsigned(raw: str) -> int | None:
    """IS that fits FHIR's unsignedInt (0 to 2147483647)."""
    number = parse_integer(raw)
    return number if number is not None and 0 <= number <= INT32_MAX else None


def uid_key(uid: str) -> tuple[tuple[int, ...], str]:
    """Sorts UIDs by their components as integers; the text decides between ``1.02`` and ``1.2``."""
    try:
        return tuple(map(int, uid.split("."))), uid
    except ValueError:
        return (), uid


def resolve(moment: Moment) -> DateTime | None:
    """The parts of a moment, from its DT or from its DA and TM; a DT's own suffix beats (0008,0201)."""
    outside = parse_offset(moment.offset) if moment.offset else None
    if moment.datetime:
        whole = parse_datetime(moment.datetime)
        if whole is not None:
            return whole if whole.offset is not None else whole._replace(offset=outside)
    date = parse_date(moment.date)
    if date is None:
        return None
    time = parse_time(moment.time) if moment.time and date.full else None
    return DateTime(date, time, outside)


def moment_key(moment: Moment) -> tuple[int, int, str] | None:
    """Sorts moments by time; on one day those that say a time come first. None for what is no date."""
    parts = resolve(moment)
    if parts is None:
        return None
    (year, month, day), time, offset = parts
    days = (year * 13 + month) * 32 + day if day else (year * 13 + (month or 12)) * 32 + 31
    if time is None:
        return days * 1440 + 1440, 0, ""
    minutes = days * 1440 + time.hour * 60 + time.minute - (offset or 0)
    return minutes, time.second, time.fraction.rstrip("0")


def earliest(moments: Iterable[Moment]) -> Moment | None:
    """The first of ``moments`` in time, the same whatever their order; None when none is a date."""
    keyed = [
        (key, _spelling(moment), moment) for moment in moments if (key := moment_key(moment)) is not None
    ]
    return min(keyed, key=lambda one: one[:2])[2] if keyed else None


def _spelling(moment: Moment) -> tuple[str, ...]:
    """Decides between two spellings of one moment."""
    return moment.datetime, moment.date, moment.time, moment.offset, moment.timezone
