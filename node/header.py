"""Bounded scan of a raw data set: the wanted elements' bytes, nothing else (PS3.5 7).

Values are skipped by their length, never read; nothing recurses; depth, items and bytes looked at are
bounded. What lies behind a bound is absent, not an error: the object itself is stored as it came.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping
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
from node.layout import LEAST_ELEMENTS, Layouts, Place
from node.model import ObjectKey, RawHeader

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
    scanner = _Scanner(read, first, implicit, little)
    try:
        scanner.run()
    except _Stop:
        pass
    return raw(scanner.found, implicit, little)


def raw(found: Mapping[int, bytes], implicit: bool, little: bool) -> RawHeader:
    """The header of what was found, by tag. What it shares with one of the headers before it is the same object:
    so it is told to the index once for many of them, and recognised without a look at its values."""
    global _recent
    own: dict[int, bytes] = {}
    shared: dict[int, bytes] = {}
    for tag, value in found.items():
        (shared if tag in _SHARED else own)[tag] = value
    size = sum(map(len, own.values()))
    recent = _recent
    for known, known_size in recent:
        if known == shared:
            return RawHeader(own, known, implicit, little, size + known_size)
    shared_size = sum(map(len, shared.values()))
    if shared_size <= _MOST_REMEMBERED:
        _recent = ((shared, shared_size), *recent[: _RECENT - 1])
    return RawHeader(own, shared, implicit, little, size + shared_size)


# As many series as come at once, in one process.
_RECENT: Final = 16
_MOST_REMEMBERED: Final = 16_384
_SHARED: Final = frozenset(SHARED_TAGS)
_recent: tuple[tuple[dict[int, bytes], int], ...] = ()


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


_SHORT_VRS: Final = frozenset(
    (
        b"AE",
        b"AS",
        b"AT",
        b"CS",
        b"DA",
        b"DS",
        b"DT",
        b"FD",
        b"FL",
        b"IS",
        b"LO",
        b"LT",
        b"PN",
        b"SH",
        b"SL",
        b"SS",
        b"ST",
        b"TM",
        b"UI",
        b"UL",
        b"US",
    )
)


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
    """One pass over the elements; ``found`` is tag -> value bytes."""

    def __init__(self, read: Read, first: bytes, implicit: bool, little: bool) -> None:
        self.found: dict[int, bytes] = {}
        self._read = read
        self._window, self._base = first, 0
        self._implicit, self._little = implicit, little
        self._tag_and_length = _TAG_AND_LENGTH[little]
        self._explicit = _EXPLICIT[little]
        self._long = _LONG[little]
        self._looked_at = 0
        self._learned = 0

    def run(self) -> None:
        """Walk the top level until past the last wanted tag; ends with ``_Stop``."""
        position = 0
        while True:
            position = self._next(self._through_window(position))

    def _through_window(self, position: int) -> int:
        """Take the elements that lie whole in the window and have a length, as nearly all of a header do.

        Returns where the first other one begins.
        """
        start = position - self._base
        if not 0 <= start < len(self._window):
            return position
        known = _layouts.match(self._window, start, self._implicit, self._little)
        if known is None:
            return self._walk_window(start) + self._base
        values, end, elements = known
        self._looked_at += elements
        if self.found:
            values |= self.found  # the first of two elements with one tag counts
        self.found = values
        return end + self._base

    def _walk_window(self, start: int) -> int:
        """``_through_window`` from element to element. Everything is a local here: it halves the time."""
        window, found, wanted = self._window, self.found, WANTED
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
        if tag in WANTED and tag not in self.found and length <= MAX_VALUE:
            self.found[tag] = self._bytes(value_at, length)
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
