"""Data sets that no scanner writes, and the status that each gets: a table for test_hostile_objects.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.scenarios.wire import EXPLICIT, IMPLICIT
from tests.studies import encoded, item
from tests.test_header import (
    DEFLATED,
    ITEM,
    UNDEFINED,
    bomb,
    delimiter,
    items,
    long_element,
    nested,
    short_element,
)

SUCCESS, UNREADABLE = "0x0000", "0xC000"
ROOT = "1.2.826.0.1.3680043.8.498.66"
_GIGABYTES = 3_000_000_000


class Monster(NamedTuple):
    """``make`` takes the SOP Instance UID that the command names."""

    make: Callable[[str], bytes]
    status: str
    syntax: str = EXPLICIT


def _front(uid: str, syntax: str = EXPLICIT) -> bytes:
    """Group 0008 of an object."""
    return encoded(item(SOPClassUID="1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID=uid, Modality="CT"), syntax)


def _back(uid: str, syntax: str = EXPLICIT) -> bytes:
    """Groups 0010 and 0020, each object in a study of its own."""
    study = f"{uid}.1"
    return encoded(item(PatientID="MONSTER", StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1"), syntax)


def between(middle: bytes) -> Callable[[str], bytes]:
    """``middle`` between SOP and Study Instance UID."""
    return lambda uid: _front(uid) + middle + _back(uid)


def behind(end: bytes) -> Callable[[str], bytes]:
    return lambda uid: _front(uid) + _back(uid) + end


def before(begin: bytes) -> Callable[[str], bytes]:
    return lambda uid: begin + _front(uid) + _back(uid)


def named(keyword: str, value: bytes) -> Callable[[str], bytes]:
    """``value`` as one of the UIDs."""
    tag = {"SOPInstanceUID": 0x00080018, "StudyInstanceUID": 0x0020000D, "SeriesInstanceUID": 0x0020000E}[
        keyword
    ]

    def make(uid: str) -> bytes:
        elements = {
            0x00080016: b"1.2.840.10008.5.1.4.1.1.2\0",
            0x00080018: uid.encode(),
            0x0020000D: f"{uid}.1".encode(),
            0x0020000E: f"{uid}.1.1".encode(),
        }
        return b"".join(short_element(*pair) for pair in _written(elements | {tag: value}))

    return make


def _written(elements: dict[int, bytes]) -> list[tuple[int, bytes, bytes]]:
    return [(tag, b"UI", value) for tag, value in sorted(elements.items())]


def _implicit(opening: bytes, count: int) -> Callable[[str], bytes]:
    return lambda uid: _front(uid, IMPLICIT) + _back(uid, IMPLICIT) + opening * count


def _defined(depth: int) -> bytes:
    """Sequences with lengths inside each other, as deep as 32 bits and a few MB allow."""
    inside = b""
    for _ in range(depth):
        inside = long_element(0x0040A730, b"SQ", len(inside) + 8) + delimiter(ITEM, len(inside)) + inside
    return inside


_ODD = short_element(0x00080060, b"CS", b"CTX") + short_element(0x00080070, b"LO", b"odd")
_META = short_element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0") + short_element(
    0x00020003, b"UI", b"1.2\0"
)
_COMMAND = short_element(0x00000002, b"UI", b"1.2\0") + short_element(0x00000900, b"US", b"\0\0")
_OPEN = long_element(0x0040A730, b"SQ", UNDEFINED) + delimiter(ITEM, UNDEFINED)
_UN = long_element(0x00091001, b"UN", UNDEFINED) + delimiter(ITEM, UNDEFINED)
_PIXELS = 0x7FE00010
_KEYWORDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_UIDS = {
    "text": b"patient name",
    "path traversal": b"../../../../tmp/evil",
    "absolute path": b"/tmp/evil",
    "65 characters": b"1." + b"2" * 63,
    "zero bytes inside": b"1.2\x003.4",
    "dots only": b"..",
    "ends with a dot": b"1.2.3.",
    "two values": b"1.2.3\\1.2.4",
    "line feed": b"1.2.3\n",
    "letters of other scripts": "1.2.\u0663".encode(),
    "nothing": b"",
}

MONSTERS: dict[str, Monster] = {
    "20,000 nested before the UIDs": Monster(between(nested(20_000)), UNREADABLE),
    "20,000 nested behind the UIDs": Monster(behind(_OPEN * 20_000), SUCCESS),
    "20,000 nested with ends": Monster(behind(nested(20_000).replace(b"\x08\0\x40\x11", b"\x40\0\x30\xa7")), SUCCESS),
    "20,000 nested, implicit": Monster(
        _implicit(b"\x40\0\x30\xa7\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff", 20_000), SUCCESS, IMPLICIT
    ),
    "5,000 nested with lengths": Monster(behind(_defined(5_000)), SUCCESS),
    "20,000 nested in UN": Monster(behind(_UN.replace(b"\x09\0", b"\x41\0") * 20_000), SUCCESS),
    "40,000 items": Monster(between(items(40_000)), SUCCESS),
    # four elements and delimiters each: header.MAX_ELEMENTS is reached before the Study Instance UID
    "50,000 items": Monster(between(items(50_000)), UNREADABLE),
    "50,000 items behind the UIDs": Monster(behind(items(50_000).replace(b"\x08\0", b"\x40\0", 1)), SUCCESS),
    "3 GB before the UIDs": Monster(between(long_element(0x00091001, b"OB", _GIGABYTES)), UNREADABLE),
    "3 GB behind the UIDs": Monster(behind(long_element(0x00400555, b"OB", _GIGABYTES)), SUCCESS),
    "3 GB of pixels": Monster(behind(long_element(_PIXELS, b"OW", _GIGABYTES) + bytes(1000)), SUCCESS),
    "item of 3 GB": Monster(behind(_OPEN[:12] + delimiter(ITEM, _GIGABYTES)), SUCCESS),
    "undelimited sequence before the UIDs": Monster(between(_OPEN.replace(b"\x40\0", b"\x09\0", 1)), UNREADABLE),
    "undelimited sequence": Monster(behind(_OPEN), SUCCESS),
    "undelimited pixels": Monster(behind(long_element(_PIXELS, b"OB", UNDEFINED) + delimiter(ITEM)), SUCCESS),
    "delimiters that close nothing": Monster(behind(delimiter(0xFFFEE00D) + delimiter(0xFFFEE0DD)), SUCCESS),
    "256 MB deflated, of pixels": Monster(
        lambda uid: bomb(256, _front(uid) + _back(uid) + long_element(_PIXELS, b"OW", 268_435_456)),
        SUCCESS, DEFLATED,
    ),
    "256 MB deflated, before the UIDs": Monster(
        lambda uid: bomb(256, _front(uid) + long_element(0x00091001, b"OB", 268_435_456)), UNREADABLE, DEFLATED,
    ),
    "noise instead of deflated": Monster(lambda uid: b"\xff" * 5000, UNREADABLE, DEFLATED),
    "odd lengths": Monster(lambda uid: _front(uid) + _ODD + _back(uid), SUCCESS),
    "odd length at the end": Monster(behind(short_element(0x00400555, b"LO", b"odd")), SUCCESS),
    "group 0002 in the data set": Monster(before(_META), SUCCESS),
    "group 0000 in the data set": Monster(before(_COMMAND), SUCCESS),
    "group 0002 behind": Monster(behind(_META), SUCCESS),
    "zeros in front": Monster(before(bytes(64)), UNREADABLE),
    "a million empty elements": Monster(between(short_element(0x00091001, b"LO", b"") * 300_000), UNREADABLE),
    "SOP Instance UID twice": Monster(between(short_element(0x00080018, b"UI", b"1.2.3\0")), SUCCESS),
    "controls and escapes in text": Monster(
        behind(short_element(0x0020000D + 3, b"SH", b"\x1b[31m\r\n\0\x9b")), SUCCESS
    ),
} | {
    f"{keyword}: {name}": Monster(named(keyword, value), UNREADABLE)
    for keyword in _KEYWORDS
    for name, value in _UIDS.items()
}  # fmt: skip
