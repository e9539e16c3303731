"""A stored file -> the values of one kind (PS3.10 7): only the wanted elements, never the pixel data.

For a process of its own: pydicom answers some bad input through ``warnings``, and neither the time nor the
memory that a hostile file takes is bounded here. ``node.contents`` gives it both.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag

from node.content import keyobjects, presentations, reports, segmentations, settings, structures
from node.content.items import Item, read_items, tag_of
from node.content.kinds import Kind
from node.content.settings import Settings
from node.content.skipping import UNDEFINED, header_size, skip_undefined
from node.documents import Content
from node.errors import ContentUnreadable
from node.header import DEFLATED, EXPLICIT_BIG

MAX_INFLATED: Final = 67_108_864  # of a deflated data set; no document inflates to as much
MAX_ELEMENTS: Final = 100_000  # of the root
PER_FRAME: Final = 0x52009230
_TRANSFER_SYNTAX: Final = 0x00020010
_SOP_CLASS: Final = 0x00080016
_CHUNK: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class _Rule:
    """What to read for one kind: keywords of the root (the file is read up to the last of them) and tags
    without a keyword, then how they become values; ``frames`` gives the items of (5200,9230) one by one."""

    read: Callable[[Item, Iterator[Item]], Content | Settings]
    keywords: tuple[str, ...]
    tags: tuple[int, ...] = ()

    def wanted(self) -> frozenset[int]:
        return frozenset((_SOP_CLASS, *map(tag_of, self.keywords), *self.tags))


_RULES: Final[dict[Kind, _Rule]] = {
    "settings": _Rule(settings.read, settings.ROOT, settings.PRIVATE_TAGS),
    "key-objects": _Rule(lambda root, _: keyobjects.read(root), keyobjects.ROOT),
    "report": _Rule(lambda root, _: reports.read(root), reports.ROOT),
    "titled-report": _Rule(lambda root, _: reports.read_title(root), reports.TITLE_ROOT),
    "structure-set": _Rule(lambda root, _: structures.read(root), structures.ROOT),
    "segmentation": _Rule(segmentations.read, segmentations.ROOT),
    "presentation-state": _Rule(lambda root, _: presentations.read(root), presentations.ROOT),
}
_WANTED: Final[dict[Kind, frozenset[int]]] = {kind: rule.wanted() for kind, rule in _RULES.items()}


def parse(file: BinaryIO, kind: Kind) -> Content | Settings:
    """What the DICOM file holds as a document of ``kind``, or its imaging settings.

    Raises ``ContentUnreadable`` for whatever the bytes hold, and OSError when they can't be had.
    """
    try:
        return _parse(file, kind)
    except ContentUnreadable:
        raise
    except RecursionError:
        raise ContentUnreadable("sequences nested too deep") from None
    except MemoryError:
        raise ContentUnreadable("needs too much memory") from None
    except Exception as error:
        failed = _input_output(error)
        if failed is not None:
            raise failed from error
        # pydicom and the struct module raise what they like; their words may hold values.
        raise ContentUnreadable(f"the bytes can't be followed ({type(error).__name__})") from error


def _input_output(error: BaseException | None) -> OSError | None:
    """The fault of the disk behind an error, if any: pydicom raises OSError without errno for bad bytes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error = error.__cause__ or error.__context__
    return None


def _parse(file: BinaryIO, kind: Kind) -> Content | Settings:
    body, syntax = _data_set(file)
    little = syntax != EXPLICIT_BIG
    implicit = _is_implicit(body)
    stop = _Stop(_WANTED[kind])
    root = Item(_root(body, stop, implicit, little))
    if not root.uid("SOPClassUID"):
        raise ContentUnreadable("no DICOM file: no SOP Class UID (0008,0016)")
    return _RULES[kind].read(root, _frames(body, stop, root, implicit, little))


def _root(body: BinaryIO, stop: _Stop, implicit: bool, little: bool) -> Dataset:
    """The wanted elements of the root; the file then stands at what comes after the last of them."""
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    wanted: list[BaseTag | int] = [*map(BaseTag, stop.wanted)]
    while True:
        stop.tag = 0
        part = read_dataset(body, implicit, little, stop_when=stop, specific_tags=wanted)
        _refuse_cut_off(body)
        found.update((element.tag, element) for element in part.elements())
        if not stop.at_unwanted:
            return Dataset(found)
        body.seek(header_size(implicit, stop.vr), os.SEEK_CUR)
        skip_undefined(body, implicit or stop.vr in (None, "UN"), little)


def _data_set(file: BinaryIO) -> tuple[BinaryIO, str]:
    """The file at the start of its data set, inflated if need be, and the transfer syntax, if it names one."""
    file.seek(0)
    read_preamble(file, force=True)
    meta = read_dataset(
        file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag >> 16 != 0x0002,
        specific_tags=[BaseTag(_TRANSFER_SYNTAX)],
    )
    named = Item(meta).values_of(_TRANSFER_SYNTAX, "UI") if _TRANSFER_SYNTAX in meta else []
    syntax = str(named[0]) if named else ""
    return (BytesIO(_inflated(file)) if syntax in DEFLATED else file), syntax


def _inflated(file: BinaryIO) -> bytes:
    """At most ``MAX_INFLATED`` bytes of a deflated data set (PS3.5 A.5): what is wanted comes early."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    while len(inflated) < MAX_INFLATED and not inflater.eof:
        packed = inflater.unconsumed_tail or file.read(_CHUNK)
        if not packed:
            break
        inflated += inflater.decompress(packed, MAX_INFLATED - len(inflated))
    return bytes(inflated)


def _is_implicit(body: BinaryIO) -> bool:
    """Two capitals where a VR would be tell; senders mislabel often enough that the syntax does not."""
    start = body.tell()
    vr = body.read(6)[4:]
    body.seek(start)
    return not (vr.isalpha() and vr.isupper())


def _refuse_cut_off(body: BinaryIO) -> None:
    """Skipping an element seeks to where it should end, which can be behind the end of the file."""
    position = body.tell()
    if position > body.seek(0, os.SEEK_END):
        raise ContentUnreadable("the file ends inside an element")
    body.seek(position)


class _Stop:
    """Ends the reading of the root behind the last wanted element, and before unwanted ones without a length.

    ``tag``, ``vr`` and ``length`` are of the element it ended at (0 when the data set ended first).
    """

    def __init__(self, wanted: frozenset[int]) -> None:
        self.wanted = wanted
        self._last = min(max(wanted), PER_FRAME - 1)
        self._seen = 0
        self.tag, self.length = 0, 0
        self.vr: str | None = None

    @property
    def at_unwanted(self) -> bool:
        return 0 < self.tag <= self._last

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise ContentUnreadable(f"more than {MAX_ELEMENTS} elements")
        # Zeros behind a data set are padding.
        behind = tag > self._last or not tag >> 16
        stops = behind or (length == UNDEFINED and tag not in self.wanted)
        if stops:
            self.tag, self.vr, self.length = int(tag), vr, length
        return stops


def _frames(body: BinaryIO, stop: _Stop, root: Item, implicit: bool, little: bool) -> Iterator[Item]:
    """The items of Per-frame Functional Groups Sequence, read one at a time: there may be thousands."""
    if stop.tag != PER_FRAME:
        return
    body.seek(header_size(implicit, stop.vr), os.SEEK_CUR)
    length = None if stop.length == UNDEFINED else stop.length
    for found in read_items(body, length, implicit, little):
        _refuse_cut_off(body)
        yield root.inside(found)
