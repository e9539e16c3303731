"""FHIR's primitive types: what a JSON value of each looks like (https://hl7.org/fhir/R5/datatypes.html#primitive).

Stricter than FHIR in three things: strings have no padding at their ends, dates are in the calendar, numbers are
finite. Each ``wrong`` gives the reason as text without the value, or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from math import isfinite
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree

_INT32: Final = 2_147_483_648
_LONGEST: Final = 1_048_576  # characters of a string

_YEAR: Final = r"(?!0000)[0-9]{4}"
_MONTH: Final = r"(0[1-9]|1[0-2])"
_DAY: Final = r"(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = (
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]{1,9})?(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
)

# C0 without tab, LF and CR, DEL, C1, non-characters, and the surrogates that UTF-8 can't carry.
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


class Primitive(NamedTuple):
    """A primitive type by its FHIR name."""

    name: str
    wrong: Callable[[Any], str | None]


def _text(value: Any) -> str | None:
    if type(value) is not str:
        return "null" if value is None else "not a string"
    if not value or value.isspace():
        return "empty string"
    if len(value) > _LONGEST:
        return f"longer than {_LONGEST} characters"
    return "control characters" if _FORBIDDEN.search(value) else None


def _string(value: Any) -> str | None:
    if type(value) is str and 0 < len(value) <= _LONGEST and not _FORBIDDEN.search(value):
        return "padding" if value[0].isspace() or value[-1].isspace() else None
    return _text(value)


def _formed(name: str, pattern: str) -> Primitive:
    """A type whose values match ``pattern`` as a whole."""
    matches = re.compile(pattern).fullmatch

    def wrong(value: Any) -> str | None:
        if type(value) is str and matches(value) and not _FORBIDDEN.search(value):
            return None
        return _text(value) or f"no FHIR {name}"

    return Primitive(name, wrong)


def _in_calendar(form: Primitive) -> Primitive:
    def wrong(value: Any) -> str | None:
        reason = form.wrong(value)
        if reason is None and len(value) >= 10:
            try:
                date.fromisoformat(value[:10])
            except ValueError:
                return f"no FHIR {form.name}: not in the calendar"
        return reason

    return Primitive(form.name, wrong)


def _integer(name: str, low: int) -> Primitive:
    def wrong(value: Any) -> str | None:
        if type(value) is int and low <= value < _INT32:
            return None
        return "null" if value is None else f"no integer from {low} to {_INT32 - 1}"

    return Primitive(name, wrong)


def _decimal(value: Any) -> str | None:
    if type(value) is int or (type(value) is float and isfinite(value)):
        return None
    return "null" if value is None else "not a number"


def _boolean(value: Any) -> str | None:
    return None if type(value) is bool else "neither true nor false"


def _xhtml(value: Any) -> str | None:
    reason = _text(value)
    if reason:
        return reason
    if not value.startswith('<div xmlns="http://www.w3.org/1999/xhtml"'):
        return "no div of XHTML"
    try:
        # No DOCTYPE can come before the div, so there are no entities to expand.
        ElementTree.fromstring(value)
    except ElementTree.ParseError:
        return "no well-formed XHTML"
    return None


STRING: Final = Primitive("string", _string)
MARKDOWN: Final = Primitive("markdown", _text)
XHTML: Final = Primitive("xhtml", _xhtml)
CODE: Final = _formed("code", r"[^\s]+( [^\s]+)*")
ID: Final = _formed("id", r"[A-Za-z0-9\-.]{1,64}")
URI: Final = _formed("uri", r"\S+")
URL: Final = _formed("url", r"[a-zA-Z][a-zA-Z0-9+.\-]*:\S+")
CANONICAL: Final = _formed("canonical", r"\S+")
DATE_TIME: Final = _in_calendar(_formed("dateTime", f"{_YEAR}(-{_MONTH}(-{_DAY}({_TIME})?)?)?"))
INSTANT: Final = _in_calendar(_formed("instant", f"{_YEAR}-{_MONTH}-{_DAY}{_TIME}"))
INTEGER: Final = _integer("integer", -_INT32)
UNSIGNED_INT: Final = _integer("unsignedInt", 0)
DECIMAL: Final = Primitive("decimal", _decimal)
BOOLEAN: Final = Primitive("boolean", _boolean)

# DSTU1 (0.0.82): ids are lower case and at most 36 long, an oid has no components with leading zeros, and as
# dateTime is XML Schema's there is no second 60.
DSTU1_DATE_TIME: Final = _in_calendar(
    _formed("dateTime of DSTU1", f"(?!.*:60){_YEAR}(-{_MONTH}(-{_DAY}({_TIME})?)?)?")
)
DSTU1_ID: Final = _formed("id of DSTU1", r"[a-z0-9\-.]{1,36}")
DSTU1_OID: Final = _formed("oid of DSTU1", r"urn:oid:(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
