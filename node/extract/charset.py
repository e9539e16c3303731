"""Specific Character Set (0008,0005): which codecs a value needs, and a decoder that never fails.

pydicom's tables say which Python codec a defined term and an escape sequence stand for (PS3.3 C.12.1.1.2,
PS3.5 6.1.2.5). Its decoder is not used, because it answers bad input through the process-wide ``warnings``
filters, which threads can't silence for themselves, and leaves escape sequences it does not know in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from pydicom import charset as _tables

ESC: Final = b"\x1b"
DEFAULT: Final[tuple[str, ...]] = (_tables.default_encoding,)

# PS3.5 6.1.2.5.3: what ends a switched single-byte set. Backslash only where it separates values.
TEXT_DELIMITERS: Final = frozenset(b"\r\n\t\f")
VALUE_DELIMITERS: Final = TEXT_DELIMITERS | frozenset(b"\\")
NAME_DELIMITERS: Final = VALUE_DELIMITERS | frozenset(b"^=")

_FRAGMENTS = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
_ESCAPE = re.compile(rb"\x1b[\x20-\x2f]*[\x30-\x7e]?")  # ISO/IEC 2022: intermediate bytes, one final byte
_ESCAPE_TEXT = re.compile("\x1b[ -/]*[0-~]?")
_KEEPS_ESCAPE: Final = ("iso2022_jp", "iso2022_jp_2")  # Python's codec reads the escape sequence itself


def _normal(term: str) -> str:
    return re.sub(r"[^A-Z0-9]+", " ", term.upper()).strip()


# Latin alphabet No. 9, newer than pydicom's tables (PS3.3 Tables C.12-2 and C.12-3)
_LATIN_9: Final = "iso8859_15"
_ESCAPES: Final = {**_tables.CODES_TO_ENCODINGS, ESC + b"-b": _LATIN_9}

# Seen in the field: ISO-IR 100, ISO_IR_100, iso ir 100, ISO 2022-IR 87, UTF-8.
_TERMS: Final = {_normal(term): codec for term, codec in _tables.python_encoding.items() if term} | {
    "UTF 8": "UTF8",
    "UTF8": "UTF8",
    "GB2312": "GB18030",
    "ISO IR 203": _LATIN_9,
    "ISO 2022 IR 203": _LATIN_9,
}
_STAND_ALONE: Final = ("UTF8", "GBK", "GB18030")


@lru_cache(maxsize=256)
def codecs_of(terms: tuple[str, ...], fallback: str | None = None) -> tuple[str, ...]:
    """The codecs for the values of (0008,0005), first the initial one.

    An empty or absent set takes ``fallback`` (a defined term, several separated by backslashes); a term that
    nobody knows reads as Latin-1, which covers the default repertoire and never fails.
    """
    if not any(terms) and fallback:
        terms = tuple(fallback.split("\\"))
    found = [_TERMS.get(_normal(term), DEFAULT[0]) if term else DEFAULT[0] for term in terms]
    if not found:
        return DEFAULT
    if found[0] in _STAND_ALONE:
        return (found[0],)
    return (found[0], *(codec for codec in found[1:] if codec not in _STAND_ALONE))


def decode(raw: bytes, codecs: Sequence[str], delimiters: frozenset[int] = VALUE_DELIMITERS) -> str:
    """``raw`` as text without escape sequences; what can't be decoded becomes U+FFFD."""
    if raw.isascii() and ESC not in raw:
        return raw.decode("ascii")
    if ESC not in raw:
        return raw.decode(codecs[0], "replace")
    return "".join(_fragment(fragment, codecs, delimiters) for fragment in _FRAGMENTS.findall(raw))


def _fragment(raw: bytes, codecs: Sequence[str], delimiters: frozenset[int]) -> str:
    """One run of bytes with at most one escape sequence, at its start."""
    if not raw.startswith(ESC):
        return raw.decode(codecs[0], "replace")
    length = 4 if raw.startswith((b"\x1b$(", b"\x1b$)")) else 3
    codec = _ESCAPES.get(raw[:length])
    if codec is None:
        # Not a sequence that DICOM defines: its bytes mean nothing, so they go, the text stays.
        return _ESCAPE.sub(b"", raw, count=1).decode(codecs[0], "replace")
    if codec in _KEEPS_ESCAPE:
        # A sequence cut off inside a character leaves the switch itself behind.
        return _ESCAPE_TEXT.sub("", raw.decode(codec, "replace"))
    text = raw[length:]
    end = next((at for at, byte in enumerate(text) if byte in delimiters), len(text))
    return text[:end].decode(codec, "replace") + text[end:].decode(codecs[0], "replace")
