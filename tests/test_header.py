"""The bounded scan: agrees with pydicom on real files, and gives way to nothing that bytes can hold."""

from __future__ import annotations

import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import header
from node.elements import ELEMENTS, IDENTIFYING, SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, WANTED
from node.errors import DataSetError, DataSetMismatch
from node.model import ObjectKey, RawHeader
from tests.studies import BIG, ENCODINGS, EXPLICIT, IMPLICIT, ct, encoded, item, raw_header, scanned

DEFLATED = "1.2.840.10008.1.2.1.99"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
JPEG = "1.2.840.10008.1.2.4.50"
PATIENT_NAME, STUDY_UID, ROWS = 0x00100010, 0x0020000D, 0x00280010


class Reader:
    """Bytes as the scan reads them, and how much of them it asked for; ``size`` may exceed what is there."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read_bytes = 0
        self.farthest = 0

    def __call__(self, offset: int, size: int) -> bytes:
        found = self.data[offset : offset + size]
        self.read_bytes += len(found)
        self.farthest = max(self.farthest, offset + len(found))
        return found


def scan(data: bytes, syntax: str = EXPLICIT) -> RawHeader:
    return header.scan(Reader(data), syntax)


def long_element(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length)


def short_element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


def delimiter(tag: int, length: int = 0) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


UNDEFINED = 0xFFFFFFFF
BEGIN = short_element(SOP_CLASS_UID, b"UI", b"1.2\0") + short_element(SOP_INSTANCE_UID, b"UI", b"1.3\0")
END = short_element(STUDY_UID, b"UI", b"1.4\0") + short_element(SERIES_INSTANCE_UID, b"UI", b"1.5\0")
WHOLE = ObjectKey("1.4", "1.5", "1.3"), "1.2"


# --- what is found


def without_padding(value: bytes) -> bytes:
    return value.rstrip(b"\0 ")


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_finds_what_was_written(syntax: str) -> None:
    found = scan(encoded(ct(), syntax), syntax)
    assert found.implicit == (syntax == IMPLICIT)
    assert found.little == (syntax != BIG)
    assert set(found.elements) == {int(element.tag) for element in ct() if int(element.tag) in WANTED}
    assert header.identify(found)[0].instance == ct().SOPInstanceUID
    assert struct.unpack(">H" if syntax == BIG else "<H", found.elements[ROWS]) == (512,)


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_stops_before_the_pixels(syntax: str) -> None:
    dataset = ct(PixelData=bytes(10_000_000), BitsAllocated=16)
    dataset["PixelData"].VR = "OW"
    reader = Reader(encoded(dataset, syntax))
    header.scan(reader, syntax)
    assert reader.read_bytes == header.WINDOW


def test_long_values_are_skipped_unread() -> None:
    blob = long_element(0x00091001, b"OB", 3_000_000) + bytes(3_000_000)
    reader = Reader(BEGIN + blob + END)
    assert header.identify(header.scan(reader, EXPLICIT)) == WHOLE
    assert reader.read_bytes < 3 * header.WINDOW


def test_a_value_across_the_windows_edge() -> None:
    for padding in range(header.WINDOW - 60, header.WINDOW + 4, 2):
        filler = long_element(0x00091001, b"OB", padding) + bytes(padding)
        assert header.identify(scan(BEGIN + filler + END)) == WHOLE


def test_a_value_longer_than_the_window() -> None:
    comment = long_element(0x00204000, b"UN", 60_000) + b"x" * 60_000
    assert scan(BEGIN + END + comment).elements[0x00204000] == b"x" * 60_000


def test_the_first_of_two_equal_tags_stands() -> None:
    twice = short_element(PATIENT_NAME, b"PN", b"ONE ") + short_element(PATIENT_NAME, b"PN", b"TWO ")
    assert scan(BEGIN + twice).elements[PATIENT_NAME] == b"ONE "


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_are_passed_in_every_encoding(syntax: str, undefined: bool) -> None:
    inner = item(ReferencedSOPInstanceUID="1.9", PatientName="INNER", Rows=3)
    nested = item(ReferencedSeriesSequence=Sequence([inner, inner]))
    dataset = ct(ReferencedStudySequence=Sequence([nested, Dataset(), nested]))
    for element in (dataset["ReferencedStudySequence"], nested["ReferencedSeriesSequence"]):
        element.is_undefined_length = undefined
    for each in (inner, nested):
        each.is_undefined_length_sequence_item = undefined
    found = scan(encoded(dataset, syntax), syntax)
    plain = scan(encoded(ct(), syntax), syntax)
    assert found.elements == plain.elements


@pytest.mark.parametrize("undefined", [True, False])
def test_a_wanted_sequence_keeps_its_bytes(undefined: bool) -> None:
    dataset = ct()
    dataset["RequestAttributesSequence"].is_undefined_length = undefined
    value = scanned(dataset).elements[0x00400275]
    assert value.startswith(b"\xfe\xff\x00\xe0")
    assert value.endswith(delimiter(SEQUENCE_END)) == undefined


def test_un_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5 6.2.2 note 2: also when an implicit length looks like a VR."""
    inside = struct.pack("<HHI", 0x0008, 0x1150, 4) + b"1.2\0" + struct.pack("<HHI", 0x0008, 0x1155, 0x4955)
    value = (
        delimiter(ITEM, UNDEFINED) + inside + bytes(0x4955) + delimiter(ITEM_END) + delimiter(SEQUENCE_END)
    )
    assert header.identify(scan(BEGIN + long_element(0x00091010, b"UN", UNDEFINED) + value + END)) == WHOLE


@pytest.mark.parametrize("syntax", header.DEFLATED)
def test_deflated(syntax: str) -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(encoded(ct())) + packer.flush()
    assert scan(packed, syntax).elements == scan(encoded(ct())).elements


def test_deflated_syntaxes_are_those_of_the_standard() -> None:
    named = {
        uid
        for uid, entry in UID_dictionary.items()
        if entry[1] == "Transfer Syntax" and "Deflate" in entry[0]
    }
    assert set(header.DEFLATED) == named - {DEFLATED_FRAMES}


def test_deflated_frames_stand_in_a_plain_data_set() -> None:
    assert header.identify(scan(BEGIN + END, DEFLATED_FRAMES)) == WHOLE


@pytest.mark.parametrize("negotiated", [EXPLICIT, IMPLICIT, JPEG, "1.2.3.4.5"])
@pytest.mark.parametrize("written", [EXPLICIT, IMPLICIT])
def test_encoding_other_than_negotiated(negotiated: str, written: str) -> None:
    """Common enough in the field that the bytes are asked before the transfer syntax is believed."""
    found = scan(encoded(ct(), written), negotiated)
    assert found.implicit == (written == IMPLICIT)
    assert set(IDENTIFYING) <= set(found.elements)


def test_zeros_behind_a_data_set_are_padding() -> None:
    reader = Reader(BEGIN + END + bytes(3_000_000))
    assert header.identify(header.scan(reader, EXPLICIT)) == WHOLE
    assert reader.read_bytes <= 2 * header.WINDOW


# --- what can't be followed


def nested(depth: int) -> bytes:
    opening = (long_element(0x00081140, b"SQ", UNDEFINED) + delimiter(ITEM, UNDEFINED)) * depth
    return opening + (delimiter(ITEM_END) + delimiter(SEQUENCE_END)) * depth


def items(count: int) -> bytes:
    inside = short_element(0x00081150, b"UI", b"1.2\0") + short_element(0x00081155, b"UI", b"1.3\0")
    one = delimiter(ITEM, UNDEFINED) + inside + delimiter(ITEM_END)
    return long_element(0x00081140, b"SQ", UNDEFINED) + one * count + delimiter(SEQUENCE_END)


WITHIN_BOUNDS = {
    "nesting 30 deep": nested(30),
    "20,000 items": items(20_000),
    "empty sequence": long_element(0x00081140, b"SQ", UNDEFINED) + delimiter(SEQUENCE_END),
    "length 0": long_element(0x00081140, b"SQ", 0),
    "private group with unknown VR": short_element(0x00091001, b"ZZ", b"1234"),
}
BEYOND = {
    "nesting 20,000 deep": nested(20_000),
    "50,000 items and more": items(100_000),
    "3 GB": long_element(0x00091001, b"OB", 3_000_000_000),
    "3 GB wanted": long_element(PATIENT_NAME, b"UN", 3_000_000_000),
    "3 GB in a sequence": long_element(0x00081140, b"SQ", UNDEFINED) + delimiter(ITEM, 3_000_000_000),
    "sequence that does not end": long_element(0x00081140, b"SQ", UNDEFINED) + delimiter(ITEM, UNDEFINED),
    "item end without an item": long_element(0x00081140, b"SQ", UNDEFINED) + delimiter(ITEM_END),
    "sequence end at the top": delimiter(SEQUENCE_END),
    "item at the top": delimiter(ITEM, 4) + bytes(4),
    "a million empty elements": short_element(0x00091001, b"LO", b"") * 1_000_000,
    "value past the end": short_element(PATIENT_NAME, b"PN", b"12345678")[:-4],
}


@pytest.mark.parametrize("name", WITHIN_BOUNDS)
def test_within_the_bounds(name: str) -> None:
    assert header.identify(scan(BEGIN + WITHIN_BOUNDS[name] + END)) == WHOLE


@pytest.mark.parametrize("name", BEYOND)
def test_beyond_the_bounds(name: str) -> None:
    """What stood before is found; time and reading are bounded; the object itself is not judged here."""
    end = b"" if name == "value past the end" else END
    reader = Reader(BEGIN + BEYOND[name] + end)
    began = time.process_time()
    found = header.scan(reader, EXPLICIT)
    assert time.process_time() - began < 2
    assert reader.farthest <= header.MAX_SCANNED + header.MAX_VALUE + header.WINDOW
    assert reader.read_bytes <= 2 * header.MAX_SCANNED
    assert set(found.elements) == {SOP_CLASS_UID, SOP_INSTANCE_UID}


def test_wanted_value_that_is_too_long_is_absent() -> None:
    long = long_element(PATIENT_NAME, b"UN", header.MAX_VALUE + 2) + bytes(header.MAX_VALUE + 2)
    found = scan(BEGIN + long + END)
    assert PATIENT_NAME not in found.elements
    assert header.identify(found) == WHOLE


def test_element_that_begins_too_far_away_is_absent() -> None:
    far = long_element(0x00091001, b"OB", header.MAX_SCANNED) + bytes(header.MAX_SCANNED)
    with pytest.raises(DataSetError, match="Study Instance UID"):
        header.identify(scan(BEGIN + far + END))


def bomb(megabytes: int, front: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [packer.compress(front)]
    parts += [packer.compress(bytes(1_048_576)) for _ in range(megabytes)]
    return b"".join([*parts, packer.flush()])


def test_deflate_bomb() -> None:
    blob = long_element(0x00091001, b"OB", 268_435_456)
    data = bomb(256, BEGIN + blob)
    began = time.process_time()
    found = header.scan(Reader(data), DEFLATED)
    assert time.process_time() - began < 0.5
    assert set(found.elements) == {SOP_CLASS_UID, SOP_INSTANCE_UID}


@pytest.mark.parametrize("damage", [b"", b"\xff\xff", b"\x03\x00", bytes(100)])
def test_deflated_and_damaged(damage: bytes) -> None:
    assert scan(damage, DEFLATED).elements == {}


def test_deflated_and_cut_short() -> None:
    packer = zlib.compressobj(level=0, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(encoded(ct()) + bytes(100_000)) + packer.flush()
    assert SOP_CLASS_UID in scan(packed[:2000], DEFLATED).elements


SYNTAXES = st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG, "1.2.3"])
TAGS = st.sampled_from([*ELEMENTS, *IDENTIFYING, ITEM, ITEM_END, SEQUENCE_END, 0x7FE00010, 0x00091001])
FRAGMENTS = st.one_of(
    st.binary(max_size=30),
    st.builds(
        short_element, TAGS, st.sampled_from([b"UI", b"LO", b"SQ", b"UN", b"\0\0"]), st.binary(max_size=20)
    ),
    st.builds(long_element, TAGS, st.sampled_from([b"SQ", b"UN", b"OB"]), st.integers(0, 2**32 - 1)),
    st.builds(delimiter, TAGS, st.one_of(st.just(UNDEFINED), st.integers(0, 50))),
)


@settings(max_examples=500, deadline=None)
@given(fragments=st.lists(FRAGMENTS, max_size=30), syntax=SYNTAXES)
def test_no_bytes_make_it_raise(fragments: list[bytes], syntax: str) -> None:
    reader = Reader(b"".join(fragments))
    found = header.scan(reader, syntax)
    assert set(found.elements) <= WANTED
    assert reader.read_bytes <= (len(reader.data) + header.WINDOW) * (len(fragments) + 3)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), syntax=st.sampled_from(ENCODINGS))
def test_no_damage_makes_it_raise(data: st.DataObject, syntax: str) -> None:
    whole = bytearray(encoded(ct(), syntax))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    found = scan(bytes(whole[:cut]), syntax)
    assert set(found.elements) <= WANTED


# --- who it is


def raw(**changes: bytes | None) -> RawHeader:
    values: dict[str, bytes | None] = {"c": b"1.2\0", "i": b"1.3", "s": b"1.4 ", "e": b"1.5", **changes}
    tags = dict(zip("cise", IDENTIFYING, strict=True))
    return raw_header({tags[name]: value for name, value in values.items() if value is not None}, False, True)


def test_identify_trims_padding() -> None:
    assert header.identify(raw()) == WHOLE


@pytest.mark.parametrize("name", "cise")
@pytest.mark.parametrize(
    "value",
    [None, b"", b"\0", b"1.", b".1", b"1..2", b"1.2\\1.3", b"../../etc", b"1.2\n", b" 1.2", b"1.a", b"1" * 65]
    + ["1.\u0665".encode(), b"1.2\0\x001", b"/1.2"],
)
def test_missing_and_illegal_uids(name: str, value: bytes | None) -> None:
    with pytest.raises(DataSetError) as caught:
        header.identify(raw(**{name: value}))
    assert caught.value.status == 0xC000
    assert "UID (" in str(caught.value)
    assert len(str(caught.value)) <= 64  # fits into an Error Comment


@pytest.mark.parametrize("value", [b"1", b"1.02", b"0.0", b"1" * 64])
def test_uids_that_are_let_through(value: bytes) -> None:
    assert header.identify(raw(i=value))[0].instance == value.decode()


def test_compare() -> None:
    key, sop_class = WHOLE
    header.compare(key, sop_class, "1.2 ", "1.3")
    for command_class, command_instance, what in (
        ("1.9", "1.3", "Class"),
        ("1.2", "1.9", "Instance"),
        ("", "", "Class"),
    ):
        with pytest.raises(DataSetMismatch, match=what) as caught:
            header.compare(key, sop_class, command_class, command_instance)
        assert caught.value.status == 0xA900
