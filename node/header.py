"""Bounded scan of a raw data set: the wanted elements' bytes, nothing else (PS3.5 7).

Values are skipped by their length, never read; nothing recurses; depth, items and bytes looked at are
bounded. What lies behind a bound is absent, not an error: the object itself is stored as it came.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from node.elements import (
    IDENTIFYING,
    LAST_WANTED,
    SERIES_INSTANCE_UID,
    SHARED_TAGS,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    WANTED,
)
from node.errors import DataSetError, DataSetMismatch
from node.layout import LEAST_ELEMENTS, Layouts, Match, Place
from node.model import ObjectKey, RawHeader
from node.sharing import Shared, Sharing

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
# Syntaxes whose whole data set is deflated (PS3.5 A.5, A.7, A.12). Deflated Image Frame Compression
# (1.2.840.10008.1.2.8.1) is none of them: it deflates frames, inside a plain data set.
DEFLATED: Final = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"

WINDOW: Final = 16_384  # first read; most headers end within it
MAX_SCANNED: Final = 4_194_304  # how far into the data set an element may begin or a sequence may reach
MAX_INFLATED: Final = 1_048_576  # how much of a deflated data set is inflated
MAX_ELEMENTS: Final = 200_000  # elements and items looked at, 0.1 s; 5,000 referenced instances need 20,000
MAX_DEPTH: Final = 64  # undefined-length sequences inside each other
MAX_VALUE: Final = 65_536  # longest value kept
_MOST_LEARNED: Final = 16  # stretches of one header: to remember one costs several times a walk

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_LEGAL_UID: Final = re.compile(rb"[0-9]+(?:\.[0-9]+)*")
_UID_BYTES: Final = 64

# VRs with a 32-bit length in explicit encodings, after two reserved bytes (PS3.5 Table 7.1-1)
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)

Read = Callable[[int, int], bytes]


class _Stop(Exception):  # not an error: a bound, or the end of the bytes
    """The scan ends here; what it has found stands."""


def scan(read: Read, transfer_syntax: str) -> RawHeader:
    """Find ``elements.WANTED`` in a data set.

    ``read(offset, size)`` gives its bytes, fewer at its end. Never raises for what the bytes hold: a data set
    that can't be followed gives the elements before the break.
    """
    if transfer_syntax in DEFLATED:
        read = _inflated(read)
    first = read(0, WINDOW)
    little = transfer_syntax != EXPLICIT_BIG
    implicit = _is_implicit(first, transfer_syntax)
    known = _layouts.match(first, 0, implicit, little)
    if known is not None and _ends(first, known.end, little):
        return _together([known], implicit, little)
    scanner = _Scanner(read, first, implicit, little)
    try:
        scanner.run(known)
    except _Stop:
        pass
    return _together(scanner.parts, implicit, little)


def _ends(window: bytes, position: int, little: bool) -> bool:
    """Nothing wanted follows: an element behind the last wanted, or zeros, which are padding behind a data set."""
    if len(window) - position < 12:
        return False
    group, element, _length = _TAG_AND_LENGTH[little].unpack_from(window, position)
    return not 0 < group << 16 | element <= LAST_WANTED


def _together(parts: Sequence[Match | dict[int, bytes]], implicit: bool, little: bool) -> RawHeader:
    """The header of what was matched and what was walked; of two elements with one tag the first counts."""
    known = parts[0] if len(parts) == 1 else None
    if isinstance(known, Match):  # as nearly always
        shared = _sharing.of(known.shared_tags, known.shared)
        return RawHeader(known.own, shared.values, implicit, little, known.own_size + shared.size)
    own: dict[int, bytes] = {}
    common = []
    for part in reversed(parts):
        mine, shared = _sorted(part)
        own |= mine
        if shared.values:
            common.append(shared.values)
    shared = _sharing.joined(common[::-1])
    return RawHeader(own, shared.values, implicit, little, sum(map(len, own.values())) + shared.size)


def _sorted(part: Match | dict[int, bytes]) -> tuple[dict[int, bytes], Shared]:
    """An instance's own values, and those that it shares with its series."""
    if isinstance(part, Match):
        return part.own, _sharing.of(part.shared_tags, part.shared)
    tags = tuple(tag for tag in part if tag in _SHARED)
    own = {tag: value for tag, value in part.items() if tag not in _SHARED}
    return own, _sharing.of(tags, [part[tag] for tag in tags])


_SHARED: Final = frozenset(SHARED_TAGS)
_sharing = Sharing()  # of this process


def _is_implicit(first: bytes, transfer_syntax: str) -> bool:
    """The transfer syntax decides; but senders that write the other encoding than they negotiated are common
    enough (also in private syntaxes) that the first element is asked: two capitals where a VR would be."""
    vr = first[4:6]
    looks_explicit = len(vr) == 2 and vr.isalpha() and vr.isupper()
    if transfer_syntax == IMPLICIT_LITTLE:
        return not (looks_explicit and (vr in _LONG_VRS or vr in _SHORT_VRS))
    if transfer_syntax.startswith("1.2.840.10008."):
        return not looks_explicit and len(first) >= 8 and transfer_syntax != EXPLICIT_BIG
    return not looks_explicit


_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


def _inflated(read: Read) -> Read:
    """The first ``MAX_INFLATED`` bytes of a deflated data set (PS3.5 A.5), whatever it would inflate to."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    offset = 0
    while len(inflated) < MAX_INFLATED and not inflater.eof and offset < MAX_SCANNED:
        packed = inflater.unconsumed_tail or read(offset, WINDOW)
        if not packed:
            break
        if not inflater.unconsumed_tail:
            offset += len(packed)
        try:
            inflated += inflater.decompress(packed, MAX_INFLATED - len(inflated))
        except zlib.error:
            break  # what was inflated before the damage still stands
    return lambda start, size: bytes(inflated[start : start + size])


# By whether the encoding is little endian
_TAG_AND_LENGTH: Final = {True: struct.Struct("<HHI"), False: struct.Struct(">HHI")}
_EXPLICIT: Final = {True: struct.Struct("<HH2sH"), False: struct.Struct(">HH2sH")}
_LONG: Final = {True: struct.Struct("<I"), False: struct.Struct(">I")}


_layouts = Layouts()  # of this process: all associations bring objects of the same few kinds


class _Scanner:
    """One pass over the elements; ``parts`` are what it found, in order."""

    def __init__(self, read: Read, first: bytes, implicit: bool, little: bool) -> None:
        self.parts: list[Match | dict[int, bytes]] = []  # what was matched, and what was walked between
        self._read = read
        self._window, self._base = first, 0
        self._implicit, self._little = implicit, little
        self._tag_and_length = _TAG_AND_LENGTH[little]
        self._explicit = _EXPLICIT[little]
        self._long = _LONG[little]
        self._looked_at = 0
        self._learned = 0

    def run(self, known: Match | None) -> None:
        """Walk the top level until past the last wanted tag; ends with ``_Stop``. ``known``: what was matched."""
        position = 0 if known is None else self._take(known)
        while True:
            position = self._next(self._through_window(position))

    def _walked(self) -> dict[int, bytes]:
        """Where to put what is walked now."""
        if not self.parts or isinstance(self.parts[-1], Match):
            self.parts.append({})
        last = self.parts[-1]
        assert not isinstance(last, Match)
        return last

    def _has(self, tag: int) -> bool:
        return any(
            tag in part.own or tag in part.shared_tags if isinstance(part, Match) else tag in part
            for part in self.parts
        )

    def _through_window(self, position: int) -> int:
        """Take the elements that lie whole in the window and have a length, as nearly all of a header do.

        Returns where the first other one begins.
        """
        start = position - self._base
        if not 0 <= start < len(self._window):
            return position
        known = _layouts.match(self._window, start, self._implicit, self._little)
        return (self._walk_window(start) if known is None else self._take(known)) + self._base

    def _take(self, known: Match) -> int:
        self._looked_at += known.elements
        self.parts.append(known)
        return known.end

    def _walk_window(self, start: int) -> int:
        """``_through_window`` from element to element. Everything is a local here: it halves the time."""
        window, found, wanted = self._window, self._walked(), WANTED
        implicit, unpack, unpack_implicit = (
            self._implicit,
            self._explicit.unpack_from,
            self._tag_and_length.unpack_from,
        )
        unpack_long, long_vrs = self._long.unpack_from, _LONG_VRS
        end = len(window)
        last = end - 12
        places: list[Place] = []
        while start <= last:
            if implicit:
                group, element, length = unpack_implicit(window, start)
                value_at = start + 8
            else:
                group, element, vr, length = unpack(window, start)
                value_at = start + 8
                if vr in long_vrs:
                    length = unpack_long(window, value_at)[0]
                    value_at += 4
            tag = group << 16 | element
            if tag > LAST_WANTED or not tag or length == _UNDEFINED:
                break
            after = value_at + length
            if tag in wanted:
                if after > end or length > MAX_VALUE:
                    break
                if tag not in found:
                    found[tag] = window[value_at:after]
            places.append(Place(tag, tag in wanted, start, value_at, after))
            start = after
        self._looked_at += len(places)
        if places and places[-1].after > end:
            places.pop()
        if len(places) >= LEAST_ELEMENTS and self._learned < _MOST_LEARNED:
            self._learned += 1
            _layouts.learn(window, places, implicit, self._little)
        return start

    def _next(self, position: int) -> int:
        """Take one element, wherever and however long it is; returns where the next one begins."""
        tag, vr, length, value_at = self._element(position)
        if tag > LAST_WANTED or not tag:  # zeros behind a data set are padding
            raise _Stop
        if length == _UNDEFINED:
            end = self._skip_undefined(value_at, vr)
            length = end - value_at
        else:
            end = value_at + length
        if tag in WANTED and length <= MAX_VALUE and not self._has(tag):
            self._walked()[tag] = self._bytes(value_at, length)
        return end

    def _bytes(self, position: int, size: int) -> bytes:
        """``size`` bytes at ``position``; a new window is read when they are not in this one."""
        start = position - self._base
        if start + size <= len(self._window) and start >= 0:
            return self._window[start : start + size]
        if position + size > MAX_SCANNED:
            raise _Stop
        self._window, self._base = self._read(position, max(WINDOW, size)), position
        if len(self._window) < size:
            raise _Stop
        return self._window[:size]

    def _element(self, position: int) -> tuple[int, bytes, int, int]:
        """(tag, VR, length, where the value begins) of the element at ``position``."""
        self._looked_at += 1
        if self._looked_at > MAX_ELEMENTS:
            raise _Stop
        start = position - self._base
        if not 0 <= start <= len(self._window) - 12:
            self._refill(position)
            start = 0
        window = self._window
        if len(window) - start < 8:
            raise _Stop
        if self._implicit:
            group, element, length = self._tag_and_length.unpack_from(window, start)
            return group << 16 | element, b"", length, position + 8
        group, element, vr, length = self._explicit.unpack_from(window, start)
        tag = group << 16 | element
        if group == 0xFFFE:  # items and delimiters have no VR in any encoding
            return tag, b"", self._long.unpack_from(window, start + 4)[0], position + 8
        if vr in _LONG_VRS:
            if len(window) - start < 12:
                raise _Stop
            return tag, vr, self._long.unpack_from(window, start + 8)[0], position + 12
        return tag, vr, length, position + 8

    def _refill(self, position: int) -> None:
        if position > MAX_SCANNED:
            raise _Stop
        self._window, self._base = self._read(position, WINDOW), position

    def _skip_undefined(self, position: int, vr: bytes) -> int:
        """Where an element of undefined length ends: after the delimiter that closes it (PS3.5 7.5).

        A value of VR UN and undefined length is implicit little endian inside (PS3.5 6.2.2, note 2).
        """
        outer = self._implicit, self._tag_and_length
        if vr == b"UN":
            self._implicit, self._tag_and_length = True, _TAG_AND_LENGTH[True]
        closers = [_SEQUENCE_END]
        while closers:
            tag, _vr, length, value_at = self._element(position)
            if tag == closers[-1]:
                closers.pop()
                position = value_at
            elif length == _UNDEFINED:
                if len(closers) >= MAX_DEPTH:
                    raise _Stop
                closers.append(_ITEM_END if tag == _ITEM else _SEQUENCE_END)
                position = value_at
            elif tag in (_SEQUENCE_END, _ITEM_END):
                raise _Stop  # a delimiter that closes nothing
            else:
                position = value_at + length
        self._implicit, self._tag_and_length = outer
        return position


def _uid(header: RawHeader, tag: int) -> str:
    value = header.own.get(tag)
    if value is None:
        raise DataSetError(f"no {_named(tag)}")
    uid = _repeated_uid(value) if tag != SOP_INSTANCE_UID else _legal_uid(value)
    if uid is None:
        raise DataSetError(f"{_named(tag)} is no legal UID")
    return uid


def _legal_uid(raw: bytes) -> str | None:
    value = raw.rstrip(b"\0 ")
    if len(value) > _UID_BYTES or not _LEGAL_UID.fullmatch(value):
        return None
    return value.decode("ascii")


# Of the four UIDs three repeat in every object of a series.
_repeated_uid = lru_cache(maxsize=256)(_legal_uid)


def _named(tag: int) -> str:
    return f"{_NAMES[tag]} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


_NAMES: Final = dict(
    zip(
        IDENTIFYING,
        ("SOP Class UID", "SOP Instance UID", "Study Instance UID", "Series Instance UID"),
        strict=True,
    )
)


def identify(header: RawHeader) -> tuple[ObjectKey, str]:
    """(key, SOP Class UID). Raises ``DataSetError`` when one is missing or illegal (PS3.5 9.1).

    Components with leading zeros are let through: they are illegal, and common in old archives.
    """
    sop_class = _uid(header, SOP_CLASS_UID)
    instance = _uid(header, SOP_INSTANCE_UID)
    return ObjectKey(_uid(header, STUDY_INSTANCE_UID), _uid(header, SERIES_INSTANCE_UID), instance), sop_class


def compare(key: ObjectKey, sop_class: str, command_class: str, command_instance: str) -> None:
    """Raises ``DataSetMismatch`` when the command names another object than the data set (PS3.4 B.2.3)."""
    if command_class.strip() != sop_class:
        raise DataSetMismatch("SOP Class UID of command and data set differ")
    if command_instance.strip() != key.instance:
        raise DataSetMismatch("SOP Instance UID of command and data set differ")
