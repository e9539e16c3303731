"""Items of a sequence from its raw value, bounded and without ever failing (PS3.5 7.5).

pydicom reads whole sequences or raises; what a peer sends may be cut off, nested without end or malformed in
its last item, and the items before that still say who the patient's issuer is. So the walk is here, and the
meaning of a tag (keyword, VR) is pydicom's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from pydicom.datadict import dictionary_keyword, dictionary_VR

# Enough for every sequence of the mapping: the deepest is a modifier's coding inside an anatomic region.
MAX_DEPTH: Final = 4
MAX_ITEMS: Final = 256
MAX_ELEMENTS: Final = 4096
MAX_VALUE: Final = 65_536

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_DELIMITERS: Final = (_ITEM, _ITEM_END, _SEQUENCE_END)

# PS3.5 Table 7.1-1: these have a 32-bit length in explicit VR, the rest a 16-bit one.
_LONG: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


_PIXELS: Final = frozenset({"OB", "OW"})


class _MalformedError(Exception):
    """The bytes from here on mean nothing; what was read before stands."""


@dataclass(frozen=True, slots=True)
class Part:
    """One element of an item: keyword, VR, and its value: bytes, or the items of a nested sequence."""

    keyword: str
    vr: str
    raw: bytes
    items: list[list[Part]] | None = None


def walk(raw: bytes, implicit: bool, little: bool) -> list[list[Part]]:
    """The items in a sequence's value (without its own tag and length), each as its public elements."""
    return _Walk(raw, little).sequence(implicit)


class _Walk:
    """One pass over one value: a position, an end, and what may still be looked at."""

    def __init__(self, raw: bytes, little: bool) -> None:
        self._raw = raw
        self._little = little
        self._at = 0
        self._left = MAX_ELEMENTS

    def sequence(self, implicit: bool) -> list[list[Part]]:
        items: list[list[Part]] = []
        try:
            self._items(items, len(self._raw), implicit, depth=1)
        except _MalformedError:
            return items
        return items

    def _items(self, into: list[list[Part]], end: int, implicit: bool, depth: int) -> None:
        while self._at + 8 <= end:
            tag, length = self._tag(), self._long(4)
            self._at += 8
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM or len(into) >= MAX_ITEMS:
                raise _MalformedError
            parts: list[Part] = []
            into.append(parts)
            if length == _UNDEFINED:
                self._elements(parts, end, implicit, depth)
            else:
                stop = min(end, self._at + length)
                self._elements(parts, stop, implicit, depth)
                self._at = stop

    def _elements(self, into: list[Part], end: int, implicit: bool, depth: int) -> None:
        while self._at + 8 <= end:
            tag = self._tag()
            if tag in _DELIMITERS:
                self._at += 8
                if tag == _ITEM_END:
                    return
                raise _MalformedError
            self._left -= 1
            if self._left < 0:
                raise _MalformedError
            self._element(into, tag, end, implicit, depth)

    def _element(self, into: list[Part], tag: int, end: int, implicit: bool, depth: int) -> None:
        """One element at the present position; a nested sequence goes into ``into`` before it is read."""
        sent, length = self._header(implicit)
        keyword, known = _named(tag)
        is_sequence = sent == "SQ" or (sent in ("", "UN") and known == "SQ") or length == _UNDEFINED
        if not is_sequence:
            stop = self._at + length
            if stop > end:
                raise _MalformedError  # half a value is no value
            if keyword and length <= MAX_VALUE:
                into.append(Part(keyword, known, self._raw[self._at : stop]))
            self._at = stop
            return
        if _PIXELS & {sent, known}:  # encapsulated pixels of an icon: their items are fragments
            self._skip(length, end, implicit)
            return
        # A sequence sent as UN is in implicit VR whatever surrounds it (PS3.5 6.2.2 note 2).
        nested = implicit or sent == "UN"
        if depth >= MAX_DEPTH:
            self._skip(length, end, nested)
            return
        items: list[list[Part]] = []
        if keyword:
            into.append(Part(keyword, "SQ", b"", items))
        if length == _UNDEFINED:
            self._items(items, end, nested, depth + 1)
            return
        stop = min(end, self._at + length)
        self._items(items, stop, nested, depth + 1)
        self._at = stop

    def _skip(self, length: int, end: int, implicit: bool) -> None:
        """Pass over a sequence without descending into it: nesting is counted, never recursed."""
        if length != _UNDEFINED:
            self._at = min(end, self._at + length)
            return
        open_ends = 1
        while open_ends and self._at + 8 <= end:
            tag = self._tag()
            if tag in _DELIMITERS:
                length = self._long(4)
                self._at += 8
                if tag != _ITEM:
                    open_ends -= 1
                elif length == _UNDEFINED:
                    open_ends += 1
                else:
                    self._at += length
            else:
                length = self._header(implicit)[1]
                open_ends += length == _UNDEFINED
                self._at += 0 if length == _UNDEFINED else length

    def _header(self, implicit: bool) -> tuple[str, int]:
        """VR as sent (empty in implicit VR) and length; the position moves to the value."""
        at = self._at
        vr = self._raw[at + 4 : at + 6]
        if implicit or (vr not in _LONG and vr not in _SHORT):
            self._at += 8
            return "", self._long(4, at)
        if vr in _SHORT:
            self._at += 8
            return vr.decode("ascii"), int.from_bytes(self._raw[at + 6 : at + 8], self._order)
        if at + 12 > len(self._raw):
            raise _MalformedError
        self._at += 12
        return vr.decode("ascii"), self._long(8, at)

    @property
    def _order(self) -> Literal["little", "big"]:
        return "little" if self._little else "big"

    def _tag(self) -> int:
        group, element = struct.unpack_from("<HH" if self._little else ">HH", self._raw, self._at)
        return int(group) << 16 | int(element)

    def _long(self, offset: int, at: int | None = None) -> int:
        start = (self._at if at is None else at) + offset
        return int(struct.unpack_from("<I" if self._little else ">I", self._raw, start)[0])


@lru_cache(maxsize=4096)
def _named(tag: int) -> tuple[str, str]:
    """Keyword and VR of a public element (PS3.6), or empty strings."""
    try:
        return dictionary_keyword(tag), dictionary_VR(tag)[:2]
    except KeyError:
        return "", ""


def parts(item: list[Part]) -> Iterator[Part]:
    """The elements of an item, each keyword once (the first, PS3.5 7.1 allows no second)."""
    seen: set[str] = set()
    for part in item:
        if part.keyword not in seen:
            seen.add(part.keyword)
            yield part
