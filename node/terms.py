"""Values that DICOM uses wherever it names things: coded entries, identifiers, moments, persons.

Strings are decoded and trimmed, otherwise as sent: each target spells dates, numbers and codes in its own way.
An empty string or tuple means absent. Sources: PS3.3, PS3.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple


class Zone(NamedTuple):
    """What places the times of an instance: (0008,0201) and its sender's configured time zone (IANA name)."""

    offset: str = ""
    timezone: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """A coded entry (PS3.3 8.8): Code Value, or Long Code Value, or URN Code Value (``scheme`` is then URN).

    ``scheme_uid`` is what the object's Coding Scheme Identification Sequence gives for the designator.
    """

    value: str = ""
    scheme: str = ""
    version: str = ""
    meaning: str = ""
    scheme_uid: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who gave out an identifier: a local name, a universal entity id with its type (PS3.3 10.14), or both."""

    local: str = ""
    universal: str = ""
    universal_type: str = ""


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier as sent, with its issuer."""

    value: str
    issuer: Issuer = Issuer()


@dataclass(frozen=True, slots=True)
class Moment:
    """Date and time of one instance, never mixed from two: DA and TM, or one DT in ``datetime``.

    ``offset`` is (0008,0201) of the same instance, ``timezone`` the IANA name configured for its sender.
    """

    date: str = ""
    time: str = ""
    datetime: str = ""
    offset: str = ""
    timezone: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A person by PN as sent and by Person Identification Code Sequence (0040,1101), either may be empty."""

    name: str = ""
    codes: tuple[Code, ...] = ()


# Frozen values that stand for nothing known; fields have them as defaults.
NOBODY: Final = Person()
NO_ISSUER: Final = Issuer()
NO_ZONE: Final = Zone()
