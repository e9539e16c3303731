"""The file meta information that the node's own files begin with (PS3.10 7.1): written, read, skipped."""

from __future__ import annotations

import struct
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

from node.errors import DataSetError

_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2sHI")
_GROUP_LENGTH: Final = struct.Struct("<HH2sHI")
_PREAMBLE: Final = bytes(128) + b"DICM"
_CHUNK: Final = 1_048_576
_MAX_META: Final = 65_536

SOP_CLASS: Final = 0x0002
SOP_INSTANCE: Final = 0x0003
TRANSFER_SYNTAX: Final = 0x0010
IMPLEMENTATION_CLASS: Final = 0x0012
IMPLEMENTATION_VERSION: Final = 0x0013
SOURCE_AE: Final = 0x0016
SENDING_AE: Final = 0x0017
RECEIVING_AE: Final = 0x0018
_PRIVATE_CREATOR: Final = 0x0100
_PRIVATE: Final = 0x0102

_MARK: Final = "%016x"
_UNFINISHED: Final = _MARK % 0
LOST: Final = -1


class FileMeta(NamedTuple):
    """Who sent which object to whom and how it is encoded; ``length`` bytes stand before the data set."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    sending_ae: str
    receiving_ae: str
    length: int = 0


def encode(meta: FileMeta, implementation_class: str, implementation_version: str) -> bytes:
    """What a file begins with: zero preamble, DICM, group 0002.

    Who sent the object to whom stands in (0002,0016) to (0002,0018), so that a file found after a crash
    still tells it. At the end stands private information, (0002,0102) of ``implementation_class``: where ``mark`` goes
    once the file is whole.
    """
    sop_class, sop_instance, *others, _length = meta
    instance = _value(sop_instance, b"\0")
    before, behind = _around(sop_class, len(instance), *others, implementation_class, implementation_version)
    return before + instance + behind


def mark(size: int) -> bytes:
    """What the private information at the end of ``encode`` says when the file has ``size`` bytes, all there are."""
    return (_MARK % size).encode()


def _value(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad * (len(value) % 2)


def _element(number: int, vr: bytes, text: str, pad: bytes = b"\0") -> bytes:
    value = _value(text, pad)
    return _SHORT.pack(0x0002, number, vr, len(value)) + value


@lru_cache(maxsize=256)
def _around(
    sop_class: str,
    instance_size: int,
    transfer_syntax: str,
    sending_ae: str,
    receiving_ae: str,
    implementation_class: str,
    implementation_version: str,
) -> tuple[bytes, bytes]:
    """All before and behind the value of the instance, which is the same for a whole association: made anew for each
    object it took 10 us."""
    before = b"".join(
        (
            _LONG.pack(0x0002, 0x0001, b"OB", 0, 2) + b"\0\1",
            _element(SOP_CLASS, b"UI", sop_class),
            _SHORT.pack(0x0002, SOP_INSTANCE, b"UI", instance_size),
        )
    )
    behind = b"".join(
        (
            _element(TRANSFER_SYNTAX, b"UI", transfer_syntax),
            _element(IMPLEMENTATION_CLASS, b"UI", implementation_class),
            _element(IMPLEMENTATION_VERSION, b"SH", implementation_version, b" "),
            _element(SOURCE_AE, b"AE", sending_ae, b" "),
            _element(SENDING_AE, b"AE", sending_ae, b" "),
            _element(RECEIVING_AE, b"AE", receiving_ae, b" "),
            _element(_PRIVATE_CREATOR, b"UI", implementation_class),
            _LONG.pack(0x0002, _PRIVATE, b"OB", 0, len(_UNFINISHED)) + _UNFINISHED.encode(),
        )
    )
    length = len(before) + instance_size + len(behind)
    return _PREAMBLE + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, length) + before, behind


def told_size(file: BinaryIO) -> int | None:
    """The bytes that ``file`` had when it was whole; 0 when it never was, ``LOST`` when the place where it was told is
    gone (a power loss), None when it does not tell."""
    start = file.read(len(_PREAMBLE) + _GROUP_LENGTH.size + _MAX_META)
    if not start:
        return 0
    if not start.strip(b"\0") or _PREAMBLE.startswith(start):
        return LOST
    try:
        end = read(BytesIO(start)).length
    except DataSetError:
        return None
    if end > len(start):
        return LOST
    private = _LONG.pack(0x0002, _PRIVATE, b"OB", 0, len(_UNFINISHED))
    at = end - len(_UNFINISHED)
    if start[at - len(private) : at] != private:
        return None  # of a former version of the node, or of another program
    try:
        return int(start[at:end], 16)
    except ValueError:
        return None


def read(file: BinaryIO) -> FileMeta:
    """The meta information at the start of ``file``, which then stands at its data set.

    Raises ``DataSetError`` when the file does not begin as the node's own files do.
    """
    start = file.read(len(_PREAMBLE) + _GROUP_LENGTH.size)
    if len(start) < len(_PREAMBLE) + _GROUP_LENGTH.size or start[128:132] != b"DICM":
        raise DataSetError("file has no DICOM preamble")
    group, element, vr, _four, length = _GROUP_LENGTH.unpack_from(start, len(_PREAMBLE))
    if (group, element, vr) != (0x0002, 0x0000, b"UL") or length > _MAX_META:
        raise DataSetError("file meta information has no usable group length")
    body = file.read(length)
    values: dict[int, str] = {}
    position = _LONG.size + 2  # past (0002,0001), which comes first and has a long length
    while position + _SHORT.size <= len(body):
        _group, number, vr, size = _SHORT.unpack_from(body, position)
        if vr == b"OB":
            break  # private information, the last there is
        position += _SHORT.size
        values[number] = body[position : position + size].rstrip(b"\0 ").decode("ascii", "replace")
        position += size
    return FileMeta(
        sop_class=values.get(SOP_CLASS, ""),
        sop_instance=values.get(SOP_INSTANCE, ""),
        transfer_syntax=values.get(TRANSFER_SYNTAX, ""),
        sending_ae=values.get(SENDING_AE, values.get(SOURCE_AE, "")),
        receiving_ae=values.get(RECEIVING_AE, ""),
        length=len(start) + length,
    )


def same_data_set(first: BinaryIO, second: BinaryIO) -> bool:
    """Two files hold the same data set in the same transfer syntax, whoever sent them."""
    if read(first).transfer_syntax != read(second).transfer_syntax:
        return False
    while True:
        one, other = first.read(_CHUNK), second.read(_CHUNK)
        if one != other:
            return False
        if not one:
            return True
