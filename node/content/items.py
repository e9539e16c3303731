"""A data set or item as a mapping of DICOM keyword -> values, decoded when asked for.

pydicom finds the elements and knows their VRs; the values are decoded here, because pydicom's own decoding
warns about, changes or refuses what is not legal, while a report with one wrong date is still a report. The
values are those of ``model.Attributes``, so what ``assemble.parts`` knows of codes and persons holds here too.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from math import isfinite
from typing import Any, BinaryIO, Final

from pydicom.datadict import dictionary_keyword, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence_item

from node.errors import ContentUnreadable
from node.extract import charset

_PADDING: Final = "\0 "
_LEGAL_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_SEVERAL: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"})
_ONE: Final = frozenset({"LT", "ST", "UR", "UT"})
# Of these a value is cut to MAX_TEXT: a description is written in every selection of its document.
_WORDS: Final = _ONE | {"CS", "LO", "PN", "SH", "UC"}
MAX_TEXT: Final = 4096  # characters
_DECODABLE: Final = _SEVERAL | _ONE | set(_NUMBERS) | {"SQ"}
_CHARACTER_SET: Final = 0x00080005


class Item(Mapping[str, list[Any]]):
    """Attributes of one ``Dataset``; text is in its character set, or in that of what surrounds it.

    Values are strings (trimmed of padding), numbers, or for a sequence ``Item``s; an element that is absent
    is not in the mapping, one without a value has an empty list. Reading a sequence raises
    ``ContentUnreadable`` when its bytes end early, and whatever pydicom does for other damage.
    """

    __slots__ = ("_codecs", "_elements")

    def __init__(self, elements: Dataset, codecs: tuple[str, ...] = charset.DEFAULT) -> None:
        self._elements = elements
        self._codecs = codecs
        own = self._raw(_CHARACTER_SET)
        if own:
            self._codecs = charset.codecs_of(tuple(_split(own.decode("latin-1"))))

    def __getitem__(self, keyword: str) -> list[Any]:
        if keyword not in self:
            raise KeyError(keyword)
        tag = tag_of(keyword)
        return self.values_of(tag, dictionary_VR(tag)[:2])

    def __iter__(self) -> Iterator[str]:
        return (keyword for element in self._elements.elements() if (keyword := _keyword(int(element.tag))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and tag_of(keyword) in self._elements

    def text(self, keyword: str) -> str:
        """A single-valued string; a backslash in it split it, so it is joined again."""
        return "\\".join(map(str, self.get(keyword) or ()))

    def uid(self, keyword: str) -> str:
        """A legal UID (PS3.5 9.1; leading zeros in a component are let through), or an empty string."""
        found = self.text(keyword)
        return found if len(found) <= 64 and _LEGAL_UID.fullmatch(found) else ""

    def integers(self, keyword: str) -> tuple[int, ...]:
        """Whole numbers, of IS or of a binary VR; others are left out."""
        found = (_integer(value) for value in self.get(keyword) or ())
        return tuple(value for value in found if value is not None)

    def strings(self, keyword: str) -> tuple[str, ...]:
        """Values as sent, numbers of binary VRs as the shortest decimal that round-trips."""
        values = self.get(keyword) or ()
        return tuple(text for value in values if (text := _written(value)) is not None)

    def items_of(self, keyword: str) -> list[Item]:
        """The items of a sequence."""
        return [one for one in self.get(keyword) or () if isinstance(one, Item)]

    def first(self, keyword: str) -> Item:
        """The first item of a sequence, or one without attributes."""
        found = self.items_of(keyword)
        return found[0] if found else EMPTY

    def inside(self, elements: Dataset) -> Item:
        """An item of this one that was read apart from it."""
        return Item(elements, self._codecs)

    def private_text(self, group: int, creator: str, element: int) -> str:
        """A string of the private block that ``creator`` reserved in ``group`` (PS3.5 7.8.1)."""
        for block in range(0x10, 0x100):
            raw = self._raw(group << 16 | block)
            if raw and _joined(charset.decode(raw, self._codecs)) == creator:
                value = self._raw(group << 16 | block << 8 | element)
                return _joined(charset.decode(value or b"", self._codecs))
        return ""

    def values_of(self, tag: int, known: str) -> list[Any]:
        """The values of a present element; ``known`` is its VR by PS3.6, for what was sent without a usable one."""
        element = self._elements.get_item(tag)
        if isinstance(element, DataElement):  # a sequence of undefined length, read with what holds it
            return [self.inside(one) for one in element.value] if element.VR == "SQ" else []
        raw = self._raw(tag)
        vr = element.VR if element.VR in _DECODABLE else known
        if not raw:
            return []
        if vr == "SQ":
            return self._sequence(element, raw)
        if vr in _NUMBERS:
            return _numbers(raw, _NUMBERS[vr], element.is_little_endian)
        if vr in _ONE:
            text = _cut(charset.decode(raw, self._codecs, charset.TEXT_DELIMITERS)).strip(_PADDING)
            return [text] if text else []
        if vr not in _SEVERAL:
            return []
        delimiters = charset.NAME_DELIMITERS if vr == "PN" else charset.VALUE_DELIMITERS
        text = charset.decode(raw, self._codecs, delimiters)
        return _split(_cut(text) if vr in _WORDS else text)

    def _sequence(self, element: RawDataElement, raw: bytes) -> list[Item]:
        # One sent as UN is in implicit VR, whatever surrounds it (PS3.5 6.2.2 note 2); pydicom looks at each item.
        found = read_items(BytesIO(raw), len(raw), element.is_implicit_VR, element.is_little_endian)
        return [self.inside(one) for one in found]

    def _raw(self, tag: int) -> bytes | None:
        """The bytes of an element as sent; None when it is absent or a sequence that was read already."""
        element = self._elements.get_item(tag, keep_deferred=True)
        if not isinstance(element, RawDataElement):
            return None
        value = element.value or b""
        if element.length not in (len(value), 0xFFFFFFFF):
            raise ContentUnreadable("the file ends inside an element")
        return bytes(value)


_ITEM_TAGS: Final = frozenset(  # Item, Sequence Delimitation Item (PS3.5 7.5)
    struct.pack(f"{order}HH", 0xFFFE, element) for order in "<>" for element in (0xE000, 0xE0DD)
)


def read_items(file: BinaryIO, length: int | None, implicit: bool, little: bool) -> Iterator[Dataset]:
    """The items of a sequence whose value begins at the file's position, one by one; no ``length``: up to its
    delimiter.

    pydicom takes whatever stands there for an item, so a gigabyte of zeros would be a hundred million of them.
    """
    start = file.tell()
    while length is None or file.tell() - start < length:
        tag = file.read(4)
        if tag not in _ITEM_TAGS:
            raise ContentUnreadable("a sequence with something else than items")
        file.seek(-len(tag), os.SEEK_CUR)
        found = read_sequence_item(file, implicit, little, [charset.DEFAULT[0]])
        if found is None:
            return
        yield found


@lru_cache(maxsize=4096)
def tag_of(keyword: str) -> int:
    """The tag of a keyword; ValueError when PS3.6 has no such."""
    found = tag_for_keyword(keyword)
    if found is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    return found


@lru_cache(maxsize=4096)
def _keyword(tag: int) -> str:
    try:
        return dictionary_keyword(tag)
    except KeyError:
        return ""


def _cut(text: str) -> str:
    """All but what nobody writes into a label or remark; an ellipsis says that there was more."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _split(text: str) -> list[str]:
    """Values between backslashes, trimmed; an empty one among others keeps its place."""
    values = [value.strip(_PADDING) for value in text.split("\\")]
    return values if any(values) else []


def _joined(text: str) -> str:
    return "\\".join(_split(text))


def _integer(value: str | float) -> int | None:
    """``1.0`` in an IS is seen and means 1."""
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if isfinite(number) and number.is_integer() else None


def _written(value: str | float) -> str | None:
    if isinstance(value, str):
        return value
    return repr(value).removesuffix(".0") if isfinite(value) else None


def _numbers(raw: bytes, code: str, little: bool) -> list[int | float]:
    order = "<" if little else ">"
    count = len(raw) // struct.calcsize(order + code)
    values = struct.unpack_from(f"{order}{count}{code}", raw)
    return [shortest(value) for value in values] if code == "f" else list(values)


_FLOAT: Final = struct.Struct("<f")
_WHOLE: Final = 2**24  # below it binary32 holds every whole number
_NORMAL: Final = 2**-126


def shortest(value: float) -> float:
    """The double whose decimal form is the shortest that round-trips as binary32: 0.1, not 0.10000000149.

    Six digits always say less than binary32 holds (but where it has lost some: subnormal), nine always enough.
    """
    if not isfinite(value) or (value.is_integer() and abs(value) < _WHOLE):
        return value
    same = _FLOAT.pack(value)
    for digits in range(6 if abs(value) >= _NORMAL else 1, 9):
        short = float(f"{value:.{digits}g}")
        if _FLOAT.pack(short) == same:
            return short
    return float(f"{value:.9g}")


EMPTY: Final = Item(Dataset())
