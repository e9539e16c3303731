"""Attribute matching of C-FIND (PS3.4 C.2.2.2): which stored values a key of the identifier accepts.

A query is ``model.Attributes`` like what it is compared with: keyword -> values (an empty list asks for the
attribute and restricts nothing), a sequence holds the keys of its item. One rule a VR, in ``RULES``. Where
the standard lets a node choose, the choice is the one that finds more: names ignore case, a date range and
a time range over the same moment are one interval (C.2.2.2.5.4), a backslash means «or» for every VR.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword

from node.elements import BY_KEYWORD
from node.model import Attributes

Test = Callable[[Any], bool]  # one stored value -> accepted?

EMPTY: Final = '""'  # C.2.2.2.7: two quotation marks ask for an attribute without a value
WILDCARDS: Final = frozenset("*?")

# Say how the identifier is to be read, or are filled in by the node: never compared (C.4.1.1.3).
CONTEXT: Final = frozenset(
    {
        "InstanceAvailability",
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "SpecificCharacterSet",
        "StorageMediaFileSetID",
        "StorageMediaFileSetUID",
        "TimezoneOffsetFromUTC",
    }
)

# Date and time attributes that give one moment together.
MOMENTS: Final[Mapping[str, str]] = {
    "StudyDate": "StudyTime",
    "SeriesDate": "SeriesTime",
    "AcquisitionDate": "AcquisitionTime",
    "ContentDate": "ContentTime",
    "InstanceCreationDate": "InstanceCreationTime",
    "PatientBirthDate": "PatientBirthTime",
    "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime",
}

# A backslash is text in these, not a separator (PS3.5 6.4).
SINGLE_VALUED: Final = frozenset({"ST", "LT", "UT", "UR"})


@lru_cache(maxsize=4096)
def vr_of(keyword: str) -> str:
    """The VR of a keyword, from our table or PS3.6; ``UN`` when neither has it. «US or SS» gives US."""
    if keyword in BY_KEYWORD:
        return BY_KEYWORD[keyword].vr
    tag = tag_for_keyword(keyword)
    return dictionary_VR(tag)[:2] if tag is not None else "UN"


# ---------------------------------------------------------------------------------------------------- text


def glob(pattern: str) -> Test:
    """``*`` any run, ``?`` any character (C.2.2.2.4). Atomic groups: time stays linear for ``*a*a*a*…``."""
    if not WILDCARDS.intersection(pattern):
        return pattern.__eq__
    first, *rest = (
        "".join("." if char == "?" else re.escape(char) for char in part)
        for part in re.sub(r"\*+", "*", pattern).split("*")
    )
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    # the part before the first star is anchored at the start, the one after the last star at the end
    tail = f"(?=.*{rest[-1]}\\Z)" if rest else "\\Z"
    accept = re.compile(f"{first}{middle}{tail}", re.DOTALL).match
    return lambda value: accept(value) is not None


def is_wild(value: str) -> bool:
    return not WILDCARDS.isdisjoint(value)


def _text(values: Sequence[Any]) -> Test:
    tests = [glob(str(value).strip()) for value in values]
    return lambda value: any(test(str(value).strip()) for test in tests)


def _uid(values: Sequence[Any]) -> Test:
    exact = frozenset(str(value).strip(" \0") for value in values)
    return lambda value: str(value).strip(" \0") in exact


def _number(values: Sequence[Any]) -> Test:
    exact = frozenset(map(_number_key, values))
    return lambda value: _number_key(value) in exact


def _number_key(value: Any) -> float | str:
    try:
        return float(value)
    except ValueError:
        return str(value).strip()


# -------------------------------------------------------------------------------------------- person names


def name_key(value: str) -> str:
    """A PN for comparison: composed (NFC), case folded, without empty components and groups at its end."""
    groups = unicodedata.normalize("NFC", value).casefold().split("=")
    return "=".join(group.rstrip(" ^").lstrip() for group in groups).rstrip("=")


def _name(values: Sequence[Any]) -> Test:
    tests = [_one_name(name_key(str(value))) for value in values]
    return lambda value: any(test(name_key(str(value))) for test in tests)


def _one_name(query: str) -> Test:
    """A query of one component group may match any group; of several, each against its own (PS3.5 6.2.1)."""
    if "=" not in query:
        accept = _name_group(query)
        return lambda value: accept(value) or any(map(accept, value.split("=")))
    wanted = [(at, _name_group(group)) for at, group in enumerate(query.split("=")) if group]

    def matches(value: str) -> bool:
        groups = value.split("=")
        return all(at < len(groups) and accept(groups[at]) for at, accept in wanted)

    return matches


def _name_group(query: str) -> Test:
    accept = glob(query)
    if "^" in query:  # ``DOE^*`` also accepts DOE, whose later components are empty
        return lambda value: accept(value) or (is_wild(query) and accept(value + "^"))
    plain = glob(_undelimited(query))
    return lambda value: accept(value) or plain(_undelimited(value))


def _undelimited(name: str) -> str:
    return " ".join(name.replace("^", " ").split())


# ----------------------------------------------------------------------------------------- dates and times

_FIRST_TIME: Final = "000000000000"
_LAST_TIME: Final = "235959999999"
_DATE = re.compile(r"\d{8}\Z")
_TIME = re.compile(r"(\d{2}(?:\d{2}(?:\d{2})?)?)(?:\.(\d{1,6}))?\Z")
_DATETIME_TEXT = r"\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?"
_DATETIME = re.compile(r"(\d{4,14})(?:\.(\d{1,6}))?([+-]\d{4})?\Z")
_DATETIME_RANGE = re.compile(f"({_DATETIME_TEXT})?\\s*-\\s*({_DATETIME_TEXT})?\\Z")
_LAST_MOMENT: Final = "99991231" + _LAST_TIME


class Interval(NamedTuple):
    """Both ends included, as digit strings of one length; empty or all nines where the range is open."""

    low: str
    high: str


def date_key(value: str) -> str:
    """A DA as YYYYMMDD where it can be read (ACR-NEMA's YYYY.MM.DD too), else what is there, trimmed."""
    text = value.strip(" \0")
    plain = text.replace(".", "").replace("-", "").replace("/", "")
    return plain if _DATE.match(plain) else text


def _time_digits(value: str, pad: str) -> str | None:
    """A TM as HHMMSSffffff, what it leaves open filled from ``pad``; None when it is not a time."""
    found = _TIME.match(value.strip(" \0").replace(":", ""))
    if found is None:
        return None
    digits = found[1] + (found[2] or "") if len(found[1]) == 6 else found[1]
    return digits + pad[len(digits) :]


def _ends(value: str) -> tuple[str, str] | None:
    """The two ends of ``a-b``, ``a-`` or ``-b``; None when it is no range."""
    low, hyphen, high = value.partition("-")
    return (low.strip(), high.strip()) if hyphen and "-" not in high else None


def date_interval(value: str) -> Interval | None:
    """The days that a DA key accepts, as YYYYMMDD; None when it is neither a date nor a range of dates."""
    whole = date_key(value)
    if _DATE.match(whole) and not (value.strip().endswith("-") or value.strip().startswith("-")):
        return Interval(whole, whole)
    ends = _ends(value.strip())
    if ends is None or not any(ends):
        return None
    low, high = (date_key(end) for end in ends)
    if (low and not _DATE.match(low)) or (high and not _DATE.match(high)):
        return None
    return Interval(low or "00000000", high or "99999999")


def time_interval(value: str) -> Interval | None:
    """The times of day that a TM key accepts; ``10`` is the whole hour, a range includes its last one."""
    ends = _ends(value.strip())
    if ends is not None and not any(ends):
        return None
    first, last = ends if ends is not None else (value, value)
    low = _time_digits(first, _FIRST_TIME) if first else _FIRST_TIME
    high = _time_digits(last, _LAST_TIME) if last else _LAST_TIME
    return Interval(low, high) if low is not None and high is not None else None


def is_range(values: Sequence[Any]) -> bool:
    return len(values) == 1 and _ends(str(values[0]).strip()) is not None


def _date(values: Sequence[Any]) -> Test:
    return _within(values, date_interval, date_key)


def _time(values: Sequence[Any]) -> Test:
    return _within(values, time_interval, lambda value: _time_digits(value, _FIRST_TIME))


def _within(
    values: Sequence[Any], interval: Callable[[str], Interval | None], point: Callable[[str], str | None]
) -> Test:
    """Any interval holds the value; a key that is none (``2024*``) is compared as text, as Orthanc does."""
    intervals = [found for value in values if (found := interval(str(value))) is not None]
    literal = _text([value for value in values if interval(str(value)) is None])

    def accepts(value: Any) -> bool:
        at = point(str(value))
        return literal(value) or (at is not None and any(low <= at <= high for low, high in intervals))

    return accepts


def _datetime(values: Sequence[Any]) -> Test:
    ranges = [_datetime_range(str(value).strip()) for value in values]
    literal = _text([value for value, parsed in zip(values, ranges, strict=True) if parsed is None])

    def accepts(value: Any) -> bool:
        text = str(value).strip(" \0")
        return literal(text) or any(
            _not_after(low, text, 0) and _not_after(text, high, 1) for low, high in filter(None, ranges)
        )

    return accepts


def _datetime_range(value: str) -> tuple[str, str] | None:
    if _DATETIME.match(value):
        return value, value
    found = _DATETIME_RANGE.match(value)
    return (found[1] or "", found[2] or "") if found and (found[1] or found[2]) else None


def _not_after(first: str, second: str, end: int) -> bool:
    """Whether DT ``first`` <= ``second``; ``end`` 1: the second reaches to the end of what it leaves open."""
    if not first or not second:
        return True
    left, right = _DATETIME.match(first), _DATETIME.match(second)
    if left is None or right is None:
        return False
    zones = left[3] is not None and right[3] is not None
    return _utc(left, 0, zones) <= _utc(right, end, zones)


def _utc(found: re.Match[str], end: int, zones: bool) -> str:
    """YYYYMMDDHHMMSSffffff, moved to UTC when both sides know their offset (else both are local times)."""
    digits = found[1] + (found[2] or "") if len(found[1]) == 14 else found[1]
    padded = digits + (_LAST_MOMENT if end else "00000101" + _FIRST_TIME)[len(digits) :]
    if not zones:
        return padded
    sign = -1 if found[3][0] == "-" else 1
    offset = sign * timedelta(hours=int(found[3][1:3]), minutes=int(found[3][3:]))
    try:
        return (datetime.strptime(padded, "%Y%m%d%H%M%S%f") - offset).strftime("%Y%m%d%H%M%S%f")
    except (ValueError, OverflowError):  # 31 February: compared as it stands
        return padded


def _moment(dates: Interval, times: Interval) -> Callable[[Attributes, str, str], bool]:
    """From the first date and time to the last (C.2.2.2.5.4); a day without a time counts whole."""
    low = dates.low + times.low
    high = dates.high + times.high

    def accepts(attributes: Attributes, date: str, time: str) -> bool:
        days = [day for value in attributes.get(date, ()) if _DATE.match(day := date_key(str(value)))]
        if not days:
            return False
        hours = [str(value) for value in attributes.get(time, ())][:1]
        first = (_time_digits(hours[0], _FIRST_TIME) if hours else None) or _FIRST_TIME
        last = (_time_digits(hours[0], _FIRST_TIME) if hours else None) or _LAST_TIME
        return low <= days[0] + last and days[0] + first <= high

    return accepts


# ----------------------------------------------------------------------------------------------- the table


def _sequence(values: Sequence[Any]) -> Test:
    accept = [Criteria(item) for item in values if isinstance(item, Mapping)]
    return lambda item: isinstance(item, Mapping) and all(criteria.matches(item) for criteria in accept)


RULES: Final[Mapping[str, Callable[[Sequence[Any]], Test]]] = {
    **dict.fromkeys(("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), _text),
    **dict.fromkeys(("DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"), _number),
    "DA": _date,
    "DT": _datetime,
    "PN": _name,
    "SQ": _sequence,
    "TM": _time,
    "UI": _uid,
}


def is_universal(vr: str, values: Sequence[Any]) -> bool:
    """No value, only stars (C.2.2.2.4), or a sequence whose keys are all universal: nothing is restricted."""
    if vr == "SQ":
        return all(not Criteria(item).keys for item in values if isinstance(item, Mapping))
    return not values or any(not (text := str(value).strip(" \0")) or set(text) == {"*"} for value in values)


class Criteria:
    """The matching keys of a query, ready to be tried on many records; ``keys`` are those that restrict."""

    def __init__(self, query: Attributes, only: Iterable[str] | None = None) -> None:
        chosen = query.keys() if only is None else query.keys() & set(only)
        restricting = {key for key in chosen if _restricts(key, query[key])}
        self.keys: frozenset[str] = frozenset(restricting)
        self._moments = [
            (_moment(dates, times), date, time)
            for date, time in MOMENTS.items()
            if {date, time} <= restricting
            and is_range(query[date])
            and is_range(query[time])
            and (dates := date_interval(str(query[date][0]))) is not None
            and (times := time_interval(str(query[time][0]))) is not None
        ]
        combined = {key for _, date, time in self._moments for key in (date, time)}
        self._tests = [
            (key, _test(vr_of(key), query[key]), EMPTY in query[key])
            for key in sorted(restricting - combined)
        ]

    def matches(self, attributes: Attributes) -> bool:
        """Whether every key accepts; of several stored values one is enough (C.2.2.2: multiple values)."""
        return all(
            _accepts(attributes.get(key, ()), test, empty) for key, test, empty in self._tests
        ) and all(accept(attributes, date, time) for accept, date, time in self._moments)


def _restricts(key: str, values: Sequence[Any]) -> bool:
    vr = vr_of(key)
    return key not in CONTEXT and vr in RULES and not is_universal(vr, values)


def _test(vr: str, values: Sequence[Any]) -> Test:
    return RULES[vr]([value for value in values if value != EMPTY])


def _accepts(stored: Sequence[Any], test: Test, empty: bool) -> bool:
    filled = [value for value in stored if value not in ("", None)]
    return any(map(test, filled)) if filled else empty
