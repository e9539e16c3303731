"""Which files under a path can be sent, and as what: the few elements a C-STORE request needs, nothing else.

A file is read only as far as its SOP Instance UID. The UIDs are the data set's own, since a receiver compares
them with the command's (PS3.4 B.2.3: 0xA900); the file meta information stands in where it has none.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, Literal

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag

Skipped = Literal["not DICOM", "DICOMDIR", "empty"]

_DICOMDIR: Final = "1.2.840.10008.1.3.10"
_IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_DEFLATED: Final = {
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.95",
}  # Deflated LE, JPIP Referenced Deflate
_EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"

_MEDIA_CLASS, _MEDIA_INSTANCE, _TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018

_DEFLATED_PREFIX: Final = 1 << 16  # the UIDs come within the first elements: no need to inflate the pixels
_PREFIX: Final = 1 << 16  # a data set is scanned no further than this
_UID_CHARACTERS: Final = frozenset("0123456789.")

# What pydicom's readers raise on bytes that are no data set
_UNREADABLE: Final = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Sendable:
    """One file to send: its data set starts at ``offset`` and goes out as it is; ``length`` in bytes."""

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class NotSent:
    """A file that is passed over; ``skipped`` when it is none of ours, else a failure with a ``reason``."""

    path: Path
    reason: str
    skipped: Skipped | None = None


def scan(paths: Iterable[Path]) -> Iterator[Sendable | NotSent]:
    """Every file under ``paths``, folders recursively and in the order of their names."""
    for path in paths:
        for file in _files(path):
            yield file if isinstance(file, NotSent) else inspect(file)


def _files(path: Path) -> Iterator[Path | NotSent]:
    if not path.is_dir():
        yield path
        return
    unreadable: list[OSError] = []
    for folder, folders, names in os.walk(path, onerror=unreadable.append):
        folders.sort()
        for name in sorted(names):
            yield Path(folder, name)
    for error in unreadable:
        yield NotSent(Path(error.filename), f"folder can't be read: {error.strerror}")


def inspect(path: Path) -> Sendable | NotSent:
    """Reads what ``path`` is. Never raises for a file that is missing, unreadable or not DICOM."""
    try:
        if not path.is_file():
            missing = "no such file" if not path.exists() else "not a regular file"
            return NotSent(path, missing)
        with path.open("rb") as file:
            return _inspect(path, file)
    except OSError as error:
        return NotSent(path, f"file can't be read: {error.strerror}")


def _inspect(path: Path, file: BinaryIO) -> Sendable | NotSent:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return NotSent(path, "empty file", skipped="empty")
    preamble = file.read(132)[128:] == b"DICM"
    file.seek(0)
    try:
        if not preamble and not _looks_like_elements(file.read(8)):
            return NotSent(path, "no DICOM", skipped="not DICOM")
        file.seek(0)
        read_preamble(file, force=True)
        meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        offset = file.tell()
        transfer_syntax = _uid(meta, _TRANSFER_SYNTAX) or _guess(file.read(6))
        file.seek(offset)
        data_set = _head(file, transfer_syntax)
    except _UNREADABLE as error:
        if not preamble:
            return NotSent(path, "no DICOM", skipped="not DICOM")
        return NotSent(path, f"not readable as DICOM: {error}")
    sop_class = _uid(data_set, _SOP_CLASS) or _uid(meta, _MEDIA_CLASS)
    sop_instance = _uid(data_set, _SOP_INSTANCE) or _uid(meta, _MEDIA_INSTANCE)
    if _DICOMDIR in (sop_class, _uid(meta, _MEDIA_CLASS)):
        return NotSent(path, "a DICOMDIR", skipped="DICOMDIR")
    if not preamble and not meta and not (sop_class and sop_instance):
        return NotSent(path, "no DICOM", skipped="not DICOM")
    for name, uid in (("SOP Class UID", sop_class), ("Transfer Syntax UID", transfer_syntax)):
        if not uid or len(uid) > 64 or not _UID_CHARACTERS.issuperset(uid):
            return NotSent(path, f"no legal {name}: it can't be proposed to the peer")
    if not sop_instance or not sop_instance.isascii():
        return NotSent(path, "no SOP Instance UID")
    # a study's objects share few classes and syntaxes: one string each, not one per file
    return Sendable(
        path, sys.intern(sop_class), sop_instance, sys.intern(transfer_syntax), offset, size - offset
    )


def _head(file: BinaryIO, transfer_syntax: str) -> Dataset:
    """The data set's elements up to SOP Instance UID, undecoded."""
    prefix = file.read(_PREFIX)
    if transfer_syntax in _DEFLATED:
        prefix = zlib.decompressobj(-zlib.MAX_WBITS).decompress(prefix, _DEFLATED_PREFIX)
    return read_dataset(
        BytesIO(prefix),
        is_implicit_VR=transfer_syntax == _IMPLICIT_LITTLE,
        is_little_endian=transfer_syntax != _EXPLICIT_BIG,
        stop_when=lambda tag, _vr, _length: tag > _SOP_INSTANCE,
    )


def _looks_like_elements(head: bytes) -> bool:
    """A file without preamble: does it begin with an element of group 0002 or 0008 (either byte order)?"""
    if len(head) < 8:
        return False
    little, big = struct.unpack("<H", head[:2])[0], struct.unpack(">H", head[:2])[0]
    (element,) = struct.unpack("<H" if little in (2, 8) else ">H", head[2:4])
    return (little in (2, 8) or big == 8) and int(element) < 0x2000


def _guess(head: bytes) -> str:
    """The encoding of a data set that nothing declares, from its first element (PS3.5 7.1)."""
    if not head[4:6].isalpha() or not head[4:6].isupper():
        return _IMPLICIT_LITTLE
    return _EXPLICIT_BIG if head[0] == 0 and head[1] != 0 else _EXPLICIT_LITTLE


def _uid(data_set: Dataset, tag: int) -> str:
    """A UID as the file has it: pydicom would warn of an illegal one, and it goes out unchanged anyway."""
    if tag not in data_set:
        return ""
    value = data_set.get_item(BaseTag(tag)).value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")
