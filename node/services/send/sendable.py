"""Which files under a path can be sent, and as what: the few elements a C-STORE request needs, nothing else.

Only the head of a file is read. The UIDs are the data set's own, since a receiver compares
them with the command's (PS3.4 B.2.3: 0xA900); the file meta information stands in where it has none.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.elements import SOP_CLASS_UID, SOP_INSTANCE_UID
from node.header import scan as scan_header

Skipped = Literal["not DICOM", "DICOMDIR", "empty"]

_DICOMDIR: Final = "1.2.840.10008.1.3.10"
_MEDIA_CLASS, _MEDIA_INSTANCE, _TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010

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
        transfer_syntax = _meta_uid(meta, _TRANSFER_SYNTAX) or _guess(file.read(6))
    except _UNREADABLE as error:
        if not preamble:
            return NotSent(path, "no DICOM", skipped="not DICOM")
        return NotSent(path, f"not readable as DICOM: {error}")
    found = scan_header(lambda at, count: os.pread(file.fileno(), count, offset + at), transfer_syntax).own
    sop_class = _text(found.get(SOP_CLASS_UID, b"")) or _meta_uid(meta, _MEDIA_CLASS)
    sop_instance = _text(found.get(SOP_INSTANCE_UID, b"")) or _meta_uid(meta, _MEDIA_INSTANCE)
    if _DICOMDIR in (sop_class, _meta_uid(meta, _MEDIA_CLASS)):
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
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRBigEndian) if head[0] == 0 and head[1] != 0 else str(ExplicitVRLittleEndian)


def _meta_uid(meta: Dataset, tag: int) -> str:
    """A UID as the file has it: pydicom would warn of an illegal one, and it goes out unchanged anyway."""
    if tag not in meta:
        return ""
    value = meta.get_item(BaseTag(tag)).value
    return _text(value) if isinstance(value, bytes) else str(value or "")


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")
