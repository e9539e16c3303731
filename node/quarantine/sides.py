"""The two sides of a collision: what the quarantined file's header says, and that of the stored object.

Reads what the bounded scan finds (header.py), of broken data sets what comes before the break. Values that tell of a
person are in ``attributes``, for whoever may show them.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

from node import extract, header
from node.elements import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID
from node.errors import DataSetError
from node.model import Attributes, RawHeader
from node.objects import filemeta
from node.objects.filemeta import FileMeta

MAX_DIGESTED: Final = 268_435_456  # bytes: a second of reading; what is longer is told apart by its size
_CHUNK: Final = 1_048_576
_REMEMBERED: Final = 256  # digests
_UID_CHARACTERS: Final = 64
_DIGITS: Final = frozenset("0123456789.")


@dataclass(frozen=True, slots=True)
class Side:
    """One object's file. ``size`` in bytes of its data set, ``at`` when it was received (epoch seconds), ``digest``
    SHA-256 of the data set, None when it is longer than ``MAX_DIGESTED``; ``unreadable`` says what is wrong with it,
    and is empty. UIDs are "" where there is none that is legal."""

    size: int
    at: float
    study: str
    series: str
    instance: str
    sop_class: str
    transfer_syntax: str
    calling_ae: str
    digest: str | None
    unreadable: str
    attributes: Attributes


class Sides:
    """Looks at files. Any thread may call it; digests are made one at a time, and the last ones are remembered: who
    asks again and again does not keep the disk from those that store.

    ``charset_of`` a calling AE title: of objects that declare none ([[peers]] charset).
    """

    def __init__(self, charset_of: Callable[[str], str | None]) -> None:
        self._charset_of = charset_of
        self._lock = threading.Lock()
        self._digests: OrderedDict[tuple[int, ...], str] = OrderedDict()

    def look(self, file: BinaryIO) -> Side:
        """Describe an open object's file; never raises for what it holds. Raises ``OSError``."""
        status = os.fstat(file.fileno())
        meta, raw, unreadable = _header(file, status.st_size)
        size = status.st_size - meta.length
        attributes: Attributes = {}
        try:
            charset = self._charset_of(meta.sending_ae)
            attributes = {**extract.shared(raw, charset), **extract.own(raw, charset)}
        except Exception as error:  # noqa: BLE001  said; it may be why the object is in quarantine (index-error)
            unreadable = unreadable or f"{type(error).__name__} while reading its attributes"
        return Side(
            size=size,
            at=status.st_mtime,
            study=_uid(raw, STUDY_INSTANCE_UID),
            series=_uid(raw, SERIES_INSTANCE_UID),
            instance=_uid(raw, SOP_INSTANCE_UID),
            sop_class=_uid(raw, SOP_CLASS_UID),
            transfer_syntax=meta.transfer_syntax,
            calling_ae=meta.sending_ae,
            digest=self._digest(file, meta.length, status) if 0 < size <= MAX_DIGESTED else None,
            unreadable=unreadable,
            attributes=attributes,
        )

    def _digest(self, file: BinaryIO, offset: int, status: os.stat_result) -> str:
        # Objects are moved, never written again: the same file is the same bytes
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        with self._lock:
            if key not in self._digests:
                self._digests[key] = _digest(file, offset)
                if len(self._digests) > _REMEMBERED:
                    self._digests.popitem(last=False)
            return self._digests[key]


def _header(file: BinaryIO, size: int) -> tuple[FileMeta, RawHeader, str]:
    """What stands before the pixels of a file of ``size`` bytes, and why that could not be taken, if so."""
    try:
        meta = filemeta.read(file)
    except DataSetError as error:
        return FileMeta("", "", "", "", "", size), header.scan(lambda _at, _wanted: b"", ""), str(error)
    raw = header.scan(
        lambda at, wanted: os.pread(file.fileno(), wanted, meta.length + at), meta.transfer_syntax
    )
    return meta, raw, _fault(raw, meta)


def differences(held: Side, stored: Side) -> list[str]:
    """Keywords of the elements that differ in what was read of both, sorted; none: what the node does not read."""
    keywords = held.attributes.keys() | stored.attributes.keys()
    return sorted(one for one in keywords if held.attributes.get(one) != stored.attributes.get(one))


def _fault(raw: RawHeader, meta: FileMeta) -> str:
    """Why the object could not be taken as it is, "" when it could."""
    try:
        key, sop_class = header.identify(raw)
        header.compare(key, sop_class, meta.sop_class, meta.sop_instance)
    except DataSetError as error:
        return str(error)
    return ""


def _uid(raw: RawHeader, tag: int) -> str:
    """As it stands in the data set, if it has only what UIDs have (PS3.5 9.1)."""
    text = raw.elements.get(tag, b"").decode("latin-1").strip(" \0")
    return text if len(text) <= _UID_CHARACTERS and _DIGITS.issuperset(text) else ""


def _digest(file: BinaryIO, offset: int) -> str:
    file.seek(offset)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
