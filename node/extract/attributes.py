"""Raw elements of a header -> attributes: text in Unicode, several values as lists, sequences as items.

``encoded_own`` runs for every received instance and touches nothing but bytes; ``shared`` runs once per distinct
set, which ``digest`` recognises without decoding. Nothing here raises for what a value holds (PS3.5 6.2): what can
be decoded is, the rest is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import orjson

from node.elements import CHARACTER_SET, ELEMENTS, OWN, SHARED, SHARED_FUNCTIONAL_GROUPS
from node.extract import charset, items
from node.model import RawHeader

# Characters a value may be padded with at its end, or at both where spaces mean nothing (PS3.5 6.2).
_PADDING: Final = "\0 "
_CODED: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_TEXT: Final = frozenset({"LO", "SH", "UC"})
_SINGLE: Final = frozenset({"LT", "ST", "UT", "UR"})
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
MAX_VALUES: Final = 1024

# What is kept of the Shared Functional Groups Sequence: macro sequence, then the attribute in its first item.
FROM_GROUPS: Final = (("FrameAnatomySequence", "FrameLaterality"),)

_OWN_ELEMENTS: Final = {tag: (row.keyword, row.vr) for tag, row in ELEMENTS.items() if row.kept == OWN}
_OWN_NAMES: Final = {tag: b'"%b":' % keyword.encode() for tag, (keyword, _) in _OWN_ELEMENTS.items()}
_SHARED_ELEMENTS: Final = {
    tag: (row.keyword, row.vr) for tag, row in sorted(ELEMENTS.items()) if row.kept == SHARED
}


def digest(header: RawHeader, fallback_charset: str | None = None, timezone: str | None = None) -> bytes:
    """16 bytes that are equal for equal shared elements, encoding, fallback character set and time zone."""
    elements = header.shared
    present = sorted(elements)
    values = [elements[tag] for tag in present]
    lengths = [len(value) for value in values]
    # Lengths before bytes, so that no two sets run together into the same input.
    head = struct.pack(f"<{2 * len(present)}Q", *present, *lengths)
    context = repr((header.implicit, header.little, fallback_charset or "", timezone or "")).encode()
    return blake2b(b"".join((context, head, *values)), digest_size=16).digest()


def own(header: RawHeader, fallback_charset: str | None = None) -> dict[str, list[Any]]:
    """The instance's own attributes by DICOM keyword, JSON-able (``model.Attributes``)."""
    found: dict[str, list[Any]] = {}
    codecs: tuple[str, ...] | None = None
    for tag, raw in header.own.items():
        named = _OWN_ELEMENTS.get(tag)
        if named is None:
            continue
        keyword, vr = named
        if _is_plain(raw, vr):
            found[keyword] = _plain(raw, vr, header.little)
        else:
            codecs = codecs or _codecs(header.shared, fallback_charset)
            found[keyword] = _value(raw, vr, header, codecs)
    groups = header.own.get(SHARED_FUNCTIONAL_GROUPS)
    if groups:
        found.update(_from_groups(groups, header))
    return found


def encoded_own(header: RawHeader, fallback_charset: str | None = None) -> bytes:
    """``own`` as the bytes of a JSON object."""
    elements = header.own
    if SHARED_FUNCTIONAL_GROUPS in elements or not header.little:  # what is remembered is little endian
        return orjson.dumps(own(header, fallback_charset))
    # Asked by map, because a loop over a dozen elements takes three times as long
    parts = [*map(_remembered.get, elements.items())]
    if None in parts:
        for place, (tag, raw) in enumerate(elements.items()):
            if parts[place] is None and tag in _OWN_ELEMENTS:
                parts[place] = _part(tag, raw, header, fallback_charset)
    return b"{%b}" % b",".join(filter(None, parts))


# Most of an instance's own values were those of an instance before it, too: (tag, value) -> ``"keyword":[values]``.
# Some megabytes at most, whatever senders send: JSON takes up to six times the bytes of a value.
_remembered: Final[dict[tuple[int, bytes], bytes]] = {}
_MOST_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 128


def _part(tag: int, raw: bytes, header: RawHeader, fallback_charset: str | None) -> bytes:
    """One member of the JSON object."""
    _, vr = _OWN_ELEMENTS[tag]
    if not _is_plain(raw, vr):
        codecs = _codecs(header.shared, fallback_charset)
        return _OWN_NAMES[tag] + orjson.dumps(_value(raw, vr, header, codecs))
    part = _OWN_NAMES[tag] + orjson.dumps(_plain(raw, vr, little=True))
    if len(raw) <= _LONGEST_REMEMBERED:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[tag, raw] = part
    return part


def _is_plain(raw: bytes, vr: str) -> bool:
    """The bytes alone say what the value is: neither character set nor encoding of items matters."""
    return (vr in _CODED and raw.isascii()) or vr in _NUMBERS or not raw


def _plain(raw: bytes, vr: str, little: bool) -> list[Any]:
    if vr in _CODED:
        return _split(raw.decode("ascii"))
    return _numbers(raw, vr, little) if raw else []


def _from_groups(raw: bytes, header: RawHeader) -> dict[str, list[Any]]:
    """Attributes that all frames of an enhanced object share (PS3.3 C.7.6.16)."""
    found: dict[str, list[Any]] = {}
    for group in _value(raw, "SQ", header, charset.DEFAULT):
        for macro, keyword in FROM_GROUPS:
            for item in group.get(macro, ())[:1]:
                if item.get(keyword):
                    found.setdefault(keyword, item[keyword])
    return found


def shared(header: RawHeader, fallback_charset: str | None = None) -> dict[str, list[Any]]:
    """Patient, study and series level attributes by DICOM keyword, JSON-able (``model.Attributes``)."""
    elements = header.shared
    codecs = _codecs(elements, fallback_charset)
    return {
        keyword: _value(elements[tag], vr, header, codecs)
        for tag, (keyword, vr) in _SHARED_ELEMENTS.items()
        if tag in elements
    }


def _codecs(elements: Mapping[int, bytes], fallback: str | None) -> tuple[str, ...]:
    return charset.codecs_of(tuple(_split(elements.get(CHARACTER_SET, b"").decode("latin-1"))), fallback)


def _split(text: str) -> list[str]:
    """Values between backslashes, trimmed; an empty one among others keeps its place."""
    if "\\" not in text:
        text = text.strip(_PADDING)
        return [text] if text else []
    values = [value.strip(_PADDING) for value in text.split("\\", MAX_VALUES)]
    return values if any(values) else []


def _value(raw: bytes, vr: str, header: RawHeader, codecs: tuple[str, ...]) -> list[Any]:
    """The values of one element by the VR of ``elements.ELEMENTS`` or, inside items, of PS3.6."""
    if vr == "SQ":
        return [_item(item, header, codecs) for item in _walk(raw, header)]
    decode = _DECODERS.get(vr)
    return decode(raw, codecs) if decode else _numbers(raw, vr, header.little)


def _walk(raw: bytes, header: RawHeader) -> list[list[items.Part]]:
    return items.walk(raw, header.implicit, header.little)


def _item(item: list[items.Part], header: RawHeader, codecs: tuple[str, ...]) -> dict[str, list[Any]]:
    """One item; its own (0008,0005) holds for it and what it contains (PS3.3 C.12.1.1.2)."""
    for part in item:
        if part.keyword == "SpecificCharacterSet":
            codecs = charset.codecs_of(tuple(_split(part.raw.decode("latin-1")))) if part.raw else codecs
    found: dict[str, list[Any]] = {}
    for part in items.parts(item):
        if part.items is not None:
            found[part.keyword] = [_item(nested, header, codecs) for nested in part.items]
        elif part.vr in _DECODERS or part.vr in _NUMBERS:
            found[part.keyword] = _value(part.raw, part.vr, header, codecs)
    return found


def _text(raw: bytes, codecs: tuple[str, ...]) -> list[str]:
    # The coded VRs have the default repertoire only, yet a CS with an umlaut is worth reading.
    return _split(charset.decode(raw, codecs))


def _name(raw: bytes, codecs: tuple[str, ...]) -> list[str]:
    return _split(charset.decode(raw, codecs, charset.NAME_DELIMITERS))


def _single(raw: bytes, codecs: tuple[str, ...]) -> list[str]:
    text = charset.decode(raw, codecs, charset.TEXT_DELIMITERS).rstrip(_PADDING)
    return [text] if text else []


def _numbers(raw: bytes, vr: str, little: bool) -> list[int | float]:
    code = _NUMBERS.get(vr)
    if code is None:
        return []
    count = min(len(raw) // struct.calcsize(f"<{code}"), MAX_VALUES)
    values = struct.unpack_from(f"{'<' if little else '>'}{count}{code}", raw)
    return [value for value in values if isfinite(value)]


_DECODERS: Final[Mapping[str, Callable[[bytes, tuple[str, ...]], list[Any]]]] = (
    dict.fromkeys(_CODED | _TEXT, _text) | dict.fromkeys(_SINGLE, _single) | {"PN": _name}
)
