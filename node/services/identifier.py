"""Identifiers of C-FIND: bytes in a transfer syntax <-> keys and values (PS3.4 C.4.1.1.3, PS3.5 6 and 7).

Values go in and out as bytes that we decode and encode here: pydicom's own conversion would refuse or
rewrite what a query may hold (``1.2.*`` in a UI, ``20240101-`` in a DA) and what a stored header did hold.
"""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.charset import custom_encoders, encode_string, python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pydicom.values import convert_SQ

from node.errors import IdentifierError
from node.extract import charset
from node.matching import SINGLE_VALUED, vr_of
from node.model import Attributes

MAX_BYTES: Final = (
    1 << 20
)  # of an identifier, inflated; the largest sensible one, a list of UIDs, is far less
MAX_DEPTH: Final = 8
CHARACTER_SET: Final = 0x00080005
UTF_8: Final = "ISO_IR 192"

# VRs whose characters Specific Character Set decides (PS3.5 6.1.2.3); the others are ASCII.
LOCALISED: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
TEXT: Final = LOCALISED | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
BINARY: Final[Mapping[str, str]] = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
# A two byte length field in explicit VR (PS3.5 7.1.2): all others may be longer than 65,534 bytes.
SHORT_LENGTH: Final = (TEXT | frozenset(BINARY) | {"AT"}) - {"SV", "UC", "UR", "UT", "UV"}
DEFAULT_REPERTOIRE: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})

Values = Sequence[Any]

# pydicom says what is wrong with a value, a patient's perhaps, by warnings. Silencing them changes the whole
# process for that moment, and must not overlap with itself.
_quiet = threading.Lock()


@dataclass(frozen=True, slots=True)
class Key:
    """One element of an identifier: strings, numbers, or mappings keyword -> values for a sequence.

    ``keyword`` is empty for private and unknown elements; ``vr`` is that of PS3.6, else as sent.
    """

    tag: int
    vr: str
    keyword: str
    values: Values


def decode(data: bytes, transfer_syntax: str) -> list[Key]:
    """The keys of an identifier in tag order; raises ``IdentifierError`` when it can't be read."""
    syntax = UID(transfer_syntax)
    try:
        if syntax.is_deflated:
            data = _inflated(data)
        if len(data) > MAX_BYTES:
            raise IdentifierError(f"identifier is larger than {MAX_BYTES} bytes")
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
            keys = list(_keys(dataset, syntax, (), 0))
    except _UNREADABLE as error:
        raise IdentifierError("identifier can't be decoded in its transfer syntax") from error
    if data and not keys:
        raise IdentifierError("identifier can't be decoded in its transfer syntax")
    return keys


# What pydicom's reader was seen to raise for broken data (tests/services/test_identifier.py feeds it noise).
_UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, MAX_BYTES + 1)
    if not inflater.eof and len(inflated) <= MAX_BYTES:
        raise IdentifierError("identifier ends inside its deflated stream")
    return inflated


def _keys(dataset: Dataset, syntax: UID, terms: Sequence[str], depth: int) -> Iterator[Key]:
    if depth > MAX_DEPTH:
        raise IdentifierError(f"identifier has sequences nested deeper than {MAX_DEPTH}")
    if CHARACTER_SET in dataset:
        raw = dataset.get_item(CHARACTER_SET).value or b""
        terms = [term.strip() for term in bytes(raw).decode("ascii", "replace").split("\\")]
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        keyword = "" if tag.is_private else keyword_for_tag(tag)
        vr = dictionary_VR(tag)[:2] if keyword else element.VR or ("LO" if tag.is_private_creator else "UN")
        if tag.element == 0 and tag.group > 6:
            continue  # a group length (retired, PS3.5 7.2) is no key
        yield Key(int(tag), vr, keyword, _values(element, vr, syntax, terms, depth))


def _values(
    element: DataElement | RawDataElement, vr: str, syntax: UID, terms: Sequence[str], depth: int
) -> Values:
    value = element.value
    if isinstance(element, RawDataElement) and element.length not in (len(value or b""), 0xFFFFFFFF):
        raise IdentifierError("identifier ends inside a value")
    if vr == "SQ":
        if isinstance(value, bytes) or value is None:
            value = convert_SQ(value or b"", syntax.is_implicit_VR, syntax.is_little_endian)
        return [
            {key.keyword: key.values for key in _keys(item, syntax, terms, depth + 1) if key.keyword}
            for item in value
        ]
    if not value or not isinstance(value, bytes):
        return []
    if vr in BINARY:
        code = ("<" if syntax.is_little_endian else ">") + BINARY[vr]
        size = struct.calcsize(code)
        return [item[0] for item in struct.iter_unpack(code, value[: len(value) // size * size])]
    if vr not in TEXT:
        return []
    text = _decoded(value, vr, terms).rstrip(" \0")
    return [text] if vr in SINGLE_VALUED else [part.strip(" \0") for part in text.split("\\")] if text else []


# ---------------------------------------------------------------------------------------------- characters


def _decoded(value: bytes, vr: str, terms: Sequence[str]) -> str:
    """Text of a value. Callers often declare no set, or another one: then UTF-8 if it is, else Latin 1."""
    if vr in LOCALISED and not DEFAULT_REPERTOIRE.issuperset(terms):
        codecs = charset.codecs_of(tuple(terms))
        if charset.ESC in value or _decodes(value, codecs[0]):
            return charset.decode(value, codecs, _delimiters(vr))
    return value.decode("utf-8" if _decodes(value, "utf-8") else "latin-1")


def _delimiters(vr: str) -> frozenset[int]:
    if vr in SINGLE_VALUED:
        return charset.TEXT_DELIMITERS
    return charset.NAME_DELIMITERS if vr == "PN" else charset.VALUE_DELIMITERS


def _decodes(value: bytes, codec: str) -> bool:
    try:
        value.decode(codec)
    except UnicodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """The set an answer is written in; without ``terms`` the answer needs no (0008,0005)."""

    terms: Sequence[str]
    codecs: Sequence[str]

    def encode(self, value: str, vr: str) -> bytes:
        if value.isascii():
            return value.encode("ascii")
        if len(self.codecs) == 1 and self.codecs[0] not in custom_encoders:
            return value.encode(self.codecs[0])
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if vr != "PN":
                return encode_string(value, self.codecs)
            # every component starts in the first set again (PS3.5 6.2.1.2)
            return b"=".join(
                b"^".join(encode_string(component, self.codecs) for component in group.split("^"))
                for group in value.split("=")
            )


_UTF8: Final = CharacterSet((UTF_8,), ("utf-8",))


def character_set(texts: Iterable[tuple[str, str]], own: Sequence[str]) -> CharacterSet:
    """The study's ``own`` set when every (text, VR) can be written in it and read back, else UTF-8."""
    known = [python_encoding.get(term) for term in own]
    codecs = [codec for codec in known if codec]
    named = any(own) and len(codecs) == len(known)
    foreign = {(text, vr) for text, vr in texts if not text.isascii()}
    if not foreign:
        return CharacterSet(tuple(own) if named else (), ("ascii",))
    if not named or DEFAULT_REPERTOIRE.issuperset(own):
        return _UTF8
    if own[0] in DEFAULT_REPERTOIRE:
        # pydicom takes ISO_IR 6 for Latin 1 and would write «é» without declaring it; only the Japanese sets,
        # which return to the first one after each value, need its codec by that name
        if not any(codec.startswith("iso2022_jp") for codec in codecs):
            codecs = ["ascii", *codecs[1:]]
        elif any("\x7f" < char < "\u0100" for text, _ in foreign for char in text):
            return _UTF8
    chosen = CharacterSet(tuple(own), tuple(codecs))
    return chosen if all(_survives(text, vr, chosen) for text, vr in foreign) else _UTF8


def _survives(text: str, vr: str, chosen: CharacterSet) -> bool:
    """Character by character first: pydicom's encoder writes «?» where it can't."""
    if not all(any(_encodes(char, codec) for codec in chosen.codecs) for char in set(text)):
        return False
    encoded = chosen.encode(text, vr)
    return charset.decode(encoded, charset.codecs_of(tuple(chosen.terms)), _delimiters(vr)) == text


def _encodes(char: str, codec: str) -> bool:
    try:
        char.encode(codec)
    except UnicodeError:
        return False
    return True


# ------------------------------------------------------------------------------------------------ answers


def encode(keys: Sequence[Key], own_charset: Sequence[str], transfer_syntax: str) -> bytes:
    """The identifier of an answer. (0008,0005) is chosen here (``character_set``), whatever its key says."""
    syntax = UID(transfer_syntax)
    chosen = character_set(_texts(keys), [term.strip() for term in own_charset])
    if not chosen.terms and any(key.tag == CHARACTER_SET for key in keys):
        chosen = _UTF8  # asked for, and may not be empty (PS3.3 C.12.1.1.2): ASCII is UTF-8 too
    declared = [Key(CHARACTER_SET, "CS", "", chosen.terms)] if chosen.terms else []
    encoded = _written([*declared, *(key for key in keys if key.tag != CHARACTER_SET)], chosen, syntax)
    return _deflated(encoded) if syntax.is_deflated else encoded


def _deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def keys_of(attributes: Attributes, wanted: Attributes | None = None) -> list[Key]:
    """Attributes of a stored item as keys; with ``wanted``, those that it names, empty where absent."""
    keys = []
    for keyword in wanted or attributes:
        tag = tag_for_keyword(keyword)
        if tag is None or tag == CHARACTER_SET:  # an item inherits the answer's set (PS3.5 7.5.3)
            continue
        values = attributes.get(keyword, ())
        vr = vr_of(keyword)
        if vr == "SQ":
            inner = (wanted or {}).get(keyword, ())
            values = [keys_of(item, inner[0] if inner else None) for item in values]
        keys.append(Key(tag, vr, keyword, values))
    return keys


def _texts(keys: Iterable[Key]) -> Iterator[tuple[str, str]]:
    for key in keys:
        if key.vr == "SQ":
            for item in key.values:
                yield from _texts(item)
        elif key.vr in LOCALISED:
            yield from ((str(value), key.vr) for value in key.values)


def _written(keys: Iterable[Key], chosen: CharacterSet, syntax: UID) -> bytes:
    """Elements in tag order (PS3.5 7.1). Not by pydicom's writer: it converts each value first, warns about
    those that a header should not have held, and takes 400 us for an answer instead of 30."""
    order = "<" if syntax.is_little_endian else ">"
    written = bytearray()
    for key in sorted(keys, key=lambda each: each.tag):
        value = _value_bytes(key, chosen, syntax, order)
        value += (b"\0" if key.vr == "UI" else b" ") * (len(value) % 2)
        group, number = key.tag >> 16, key.tag & 0xFFFF
        if syntax.is_implicit_VR:
            written += struct.pack(order + "HHI", group, number, len(value))
        elif key.vr in SHORT_LENGTH:
            written += struct.pack(order + "HH2sH", group, number, key.vr.encode("ascii"), len(value))
        else:
            written += struct.pack(order + "HH2s2xI", group, number, key.vr.encode("ascii"), len(value))
        written += value
    return bytes(written)


def _value_bytes(key: Key, chosen: CharacterSet, syntax: UID, order: str) -> bytes:
    """Empty for what has no byte form here, and for what is too long for its VR's length field."""
    if key.vr == "SQ":
        items = [_written(item, chosen, syntax) for item in key.values]
        return b"".join(struct.pack(order + "HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    if key.vr in BINARY:
        return _packed(key, order + BINARY[key.vr])
    if key.vr not in TEXT:
        return b""
    values = (str(value) for value in key.values)
    if key.vr in LOCALISED:
        encoded = b"\\".join(chosen.encode(value, key.vr) for value in values)
    else:
        encoded = "\\".join(values).encode("ascii", "replace")
    return b"" if key.vr in SHORT_LENGTH and len(encoded) > 0xFFFE else encoded


def _packed(key: Key, code: str) -> bytes:
    try:
        return b"".join(struct.pack(code, value) for value in key.values)
    except struct.error:  # a text where the VR has a number: the header held something else
        return b""
