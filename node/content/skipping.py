"""Past what is not wanted: a value of undefined length has no other end than its delimiter (PS3.5 7.5).

pydicom reads such a sequence whole before it drops it: 20 times slower for the contours of a structure set,
and recursively, so that one nested 20,000 deep, which nobody wants, would hide what is behind it.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Final

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from node.errors import ContentUnreadable

UNDEFINED: Final = 0xFFFFFFFF
MAX_DEPTH: Final = 100_000

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_LONG: Final = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)


def header_size(implicit: bool, vr: str | None) -> int:
    """Bytes of tag, VR and length; pydicom gives no VR for what it took for implicit."""
    return 12 if not implicit and vr is not None and vr.encode() in _LONG else 8


def skip_undefined(file: BinaryIO, implicit: bool, little: bool) -> None:
    """From the first byte of a value of undefined length to behind its delimiter.

    ``implicit`` is the encoding inside. Raises ``ContentUnreadable`` when there is no such delimiter.
    """
    order = "<" if little else ">"
    element, short, long = (struct.Struct(order + form) for form in ("HHI", "H", "I"))
    closers = [(_SEQUENCE_END, implicit)]
    while closers:
        closer, implicit = closers[-1]
        head = file.read(8)
        if len(head) < 8 or len(closers) > MAX_DEPTH:
            raise ContentUnreadable("a sequence without an end")
        group, number, length = element.unpack(head)
        tag, vr = group << 16 | number, head[4:6]
        if tag == closer:
            closers.pop()
            continue
        if group == 0xFFFE and tag != _ITEM:
            raise ContentUnreadable("a delimiter that closes nothing")
        # An item has no VR; what has none although the encoding wants one is taken for implicit, as pydicom does.
        if tag != _ITEM and not implicit and vr.isalpha() and vr.isupper():
            length = long.unpack(file.read(4).ljust(4))[0] if vr in _LONG else short.unpack_from(head, 6)[0]
        if length != UNDEFINED:
            file.seek(length, os.SEEK_CUR)
        else:
            closers.append((_ITEM_END if tag == _ITEM else _SEQUENCE_END, implicit or vr == b"UN"))
