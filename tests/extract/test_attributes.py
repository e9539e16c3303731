from __future__ import annotations

import struct
import warnings
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import extract
from node.elements import ELEMENTS, OWN, SHARED
from node.extract import charset, items
from node.model import RawHeader
from tests.studies import ENCODINGS, EXPLICIT, IMPLICIT, coded, ct, item, raw_header, scanned

STUDY_DESCRIPTION = 0x00081030
REQUESTS = 0x00400275


def raw(**elements: bytes) -> RawHeader:
    """A header in implicit little endian from keyword -> value bytes."""
    tags = {row.keyword: tag for tag, row in ELEMENTS.items()}
    return raw_header({tags[keyword]: value for keyword, value in elements.items()}, True, True)


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_each_encoding_gives_the_same_attributes(syntax: str) -> None:
    header = scanned(ct(), syntax)
    assert extract.shared(header) == extract.shared(scanned(ct(), EXPLICIT))
    assert extract.own(header) == extract.own(scanned(ct(), EXPLICIT))


def test_values_come_as_they_are_sent() -> None:
    shared = extract.shared(scanned(ct()))
    assert shared["PatientName"] == ["Müller^Jörg^Karl"]
    assert shared["SoftwareVersions"] == ["VB20A", "1.2"]
    assert shared["SpecimenDescriptionSequence"] == [{"SpecimenIdentifier": ["SP-1"]}]
    own = extract.own(scanned(ct()))
    assert own["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert own["Rows"] == [512]
    assert own["InstanceNumber"] == ["1"]


def test_shared_and_own_share_no_element_and_miss_none() -> None:
    header = raw_header(dict.fromkeys(ELEMENTS, b""), True, True)
    shared, own = extract.shared(header), extract.own(header)
    assert set(shared) == {row.keyword for row in ELEMENTS.values() if row.kept == SHARED}
    assert set(own) == {row.keyword for row in ELEMENTS.values() if row.kept == OWN}
    assert not any([*shared.values(), *own.values()])


@pytest.mark.parametrize(
    ("vr_of", "value", "expected"),
    [
        ("StudyDescription", b"  a b \0", ["a b"]),
        ("StudyDescription", b"a\\b ", ["a", "b"]),
        ("StudyDescription", b"\\ \\", []),
        ("StudyDescription", b"\\x", ["", "x"]),
        ("StudyDescription", b" \0", []),
        ("PatientComments", b" a\\b \0", [" a\\b"]),
        ("DeviceUID", b"1.2.3\0", ["1.2.3"]),
        ("StudyDate", b"20260310", ["20260310"]),
        ("StudyDate", b"\xff\xff", ["ÿÿ"]),
        ("NumberOfSlices", b"\x05\x00\x06\x00\x07", [5, 6]),
        ("NumberOfSlices", b"\x05", []),
    ],
)
def test_values(vr_of: str, value: bytes, expected: list[Any]) -> None:
    assert extract.shared(raw(**{vr_of: value}))[vr_of] == expected


def test_own_text_is_decoded_with_the_instances_character_set() -> None:
    header = raw(SpecificCharacterSet=b"ISO_IR 144", ContentDescription="Снимок".encode("iso8859_5"))
    assert extract.own(header) == {"ContentDescription": ["Снимок"]}


def test_the_peers_character_set_is_for_objects_that_declare_none() -> None:
    value = "Müller".encode("latin-1")
    assert extract.shared(raw(PatientName=value), "ISO_IR 100")["PatientName"] == ["Müller"]
    assert extract.shared(raw(PatientName="Ж".encode("iso8859_5")), "ISO_IR 144")["PatientName"] == ["Ж"]
    declared = raw(SpecificCharacterSet=b"ISO_IR 192", PatientName="Ж".encode())
    assert extract.shared(declared, "ISO_IR 144")["PatientName"] == ["Ж"]


def test_an_item_may_carry_its_own_character_set() -> None:
    inner = item(SpecificCharacterSet="ISO_IR 144", ReasonForTheRequestedProcedure="Кашель")
    plain = item(ReasonForTheRequestedProcedure="Husten ü")
    dataset = item(SpecificCharacterSet="ISO_IR 192", RequestAttributesSequence=Sequence([inner, plain]))
    found = extract.shared(scanned(dataset))["RequestAttributesSequence"]
    assert [one["ReasonForTheRequestedProcedure"] for one in found] == [["Кашель"], ["Husten ü"]]


def test_no_warning_for_a_wrong_character_set() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extract.shared(raw(SpecificCharacterSet=b"KLINGON", PatientName=b"\xe9\x1b$(Z"))
    assert found["PatientName"] == ["é"]


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
def test_nested_sequences(syntax: str, undefined: bool) -> None:
    code = coded("T-D3000", "SRT", "Chest")
    inner = item(
        RequestedProcedureCodeSequence=Sequence([code, coded("1", "99X", "y")]), RequestedProcedureID="7"
    )
    dataset = item(RequestAttributesSequence=Sequence([inner, item(RequestedProcedureID="8")]))
    if undefined:
        for sequence in (dataset["RequestAttributesSequence"], inner["RequestedProcedureCodeSequence"]):
            sequence.is_undefined_length = True
            for one in sequence.value:
                one.is_undefined_length_sequence_item = True
    found = extract.shared(scanned(dataset, syntax))["RequestAttributesSequence"]
    assert [one["RequestedProcedureID"] for one in found] == [["7"], ["8"]]
    meanings = [one["CodeMeaning"] for one in found[0]["RequestedProcedureCodeSequence"]]
    assert meanings == [["Chest"], ["y"]]


def test_private_and_binary_elements_of_items_are_left_out() -> None:
    inner = item(CodeValue="1", CodeMeaning="m")
    inner.add_new(0x00091001, "LO", "secret")
    inner.add_new(0x7FE00010, "OB", b"\0" * 8)
    dataset = item(ProcedureCodeSequence=Sequence([inner]))
    assert extract.shared(scanned(dataset))["ProcedureCodeSequence"] == [
        {"CodeValue": ["1"], "CodeMeaning": ["m"]}
    ]


def test_what_stands_before_a_break_is_kept() -> None:
    header = scanned(ct(), EXPLICIT)
    whole = header.elements[REQUESTS]
    for length in range(len(whole)):
        cut = raw_header({REQUESTS: whole[:length]}, header.implicit, header.little)
        found = extract.shared(cut)["RequestAttributesSequence"]
        assert len(found) <= 1
    assert extract.shared(raw_header({REQUESTS: whole[:-6]}, False, True))["RequestAttributesSequence"][0]


def test_depth_is_bounded_without_recursion() -> None:
    deep = b""
    for _ in range(20_000):
        deep = struct.pack("<HHIHHI", 0x0040, 0x0275, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) + deep
    value = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + deep
    found = extract.shared(raw_header({REQUESTS: value}, True, True))["RequestAttributesSequence"]
    depth = 0
    while found:
        depth, found = depth + 1, found[0].get("RequestAttributesSequence")
    assert depth == items.MAX_DEPTH


@pytest.mark.parametrize("undefined", [False, True])
def test_what_follows_a_sequence_that_is_too_deep_is_still_read(undefined: bool) -> None:
    inner = item(CodeValue="deep")
    for _ in range(items.MAX_DEPTH + 2):
        inner = item(RequestAttributesSequence=Sequence([inner]), RequestedProcedureID="after")
        inner["RequestAttributesSequence"].is_undefined_length = undefined
    found = extract.shared(scanned(inner, IMPLICIT))["RequestAttributesSequence"]
    for _ in range(items.MAX_DEPTH):
        assert found[0]["RequestedProcedureID"] == ["after"]
        found = found[0].get("RequestAttributesSequence")


def test_items_are_bounded() -> None:
    dataset = item(
        ProcedureCodeSequence=Sequence([item(CodeValue=str(n)) for n in range(items.MAX_ITEMS + 50)])
    )
    assert len(extract.shared(scanned(dataset))["ProcedureCodeSequence"]) == items.MAX_ITEMS


def test_elements_are_bounded() -> None:
    one = struct.pack("<HHI", 0x0040, 0x1001, 2) + b"7 "
    value = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + one * (items.MAX_ELEMENTS + 10)
    found = items.walk(value, implicit=True, little=True)
    assert len(found[0]) == items.MAX_ELEMENTS


def test_half_a_value_is_no_value() -> None:
    inner = struct.pack("<HHI", 0x0008, 0x0100, 2) + b"A " + struct.pack("<HHI", 0x0008, 0x0104, 10) + b"Che"
    value = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
    found = extract.shared(raw_header({0x00081032: value}, True, True))
    assert found == {"ProcedureCodeSequence": [{"CodeValue": ["A"]}]}


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_bytes_give_json(value: bytes, implicit: bool, little: bool) -> None:
    header = raw_header(dict.fromkeys(ELEMENTS, value), implicit, little)
    found = [extract.shared(header), extract.own(header)]
    assert orjson.loads(orjson.dumps(found)) == found
    assert len(extract.digest(header)) == 16


@given(st.binary(max_size=120), st.booleans(), st.booleans())
def test_any_item_gives_json(value: bytes, implicit: bool, little: bool) -> None:
    start = struct.pack("<HHI" if little else ">HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    found = extract.shared(raw_header({REQUESTS: start + value}, implicit, little))
    assert orjson.loads(orjson.dumps(found)) == found


def test_the_digest_tells_sets_apart() -> None:
    first = raw(StudyDescription=b"ab", SeriesDescription=b"c")
    others = [
        raw(StudyDescription=b"a", SeriesDescription=b"bc"),
        raw(StudyDescription=b"abc"),
        raw(StudyDescription=b"ab", SeriesDescription=b"c", PatientID=b""),
        raw_header(first.elements, False, True),
        raw_header(first.elements, True, False),
    ]
    digests = {extract.digest(one) for one in (first, *others)}
    digests |= {extract.digest(first, "ISO_IR 100"), extract.digest(first, None, "Europe/Paris")}
    assert len(digests) == len(others) + 3


def test_the_digest_ignores_what_belongs_to_one_instance_and_the_order() -> None:
    one, other = scanned(ct(1)), scanned(ct(2))
    assert extract.digest(one) == extract.digest(other)
    assert extract.digest(
        raw_header(dict(reversed(list(one.elements.items()))), one.implicit, one.little)
    ) == (extract.digest(one))


def test_the_path_of_every_instance_touches_nothing_but_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders and sequence walks are for the few; a typical image must not need them."""
    header = scanned(ct())
    expected = extract.own(header)

    def forbidden(*_args: Any) -> Any:
        raise AssertionError("called for a plain image")

    monkeypatch.setattr(charset, "decode", forbidden)
    monkeypatch.setattr(items, "walk", forbidden)
    assert extract.own(header) == expected
    assert len(extract.digest(header)) == 16


def test_a_sequence_sent_as_unknown_is_in_implicit_vr() -> None:
    code = item(CodeValue="1", CodeMeaning="m")
    nested = scanned(item(ProcedureCodeSequence=Sequence([code])), IMPLICIT).elements[0x00081032]
    length = len(nested)
    inner = struct.pack("<HH2sHI", 0x0008, 0x1032, b"UN", 0, length) + nested
    value = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    found = extract.shared(raw_header({REQUESTS: value}, False, True))["RequestAttributesSequence"]
    assert found == [{"ProcedureCodeSequence": [{"CodeValue": ["1"], "CodeMeaning": ["m"]}]}]


def test_an_icons_fragments_are_passed_over() -> None:
    fragments = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, 4) + b"\xfe\xff\x0d\xe0"
    fragments += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + fragments
    inner = pixels + struct.pack("<HH2sH", 0x7FE1, 0x0010, b"LO", 2) + b"X "
    after = struct.pack("<HH2sH", 0x0040, 0x1001, b"SH", 2) + b"7 "
    value = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + after
    found = extract.shared(raw_header({REQUESTS: value}, False, True))["RequestAttributesSequence"]
    assert found == [{"RequestedProcedureID": ["7"]}]


def test_synthetic_data_sets_are_what_pydicom_reads() -> None:
    dataset = ct()
    assert isinstance(dataset, Dataset)
    shared = extract.shared(scanned(dataset))
    for keyword in ("PatientID", "StudyDescription", "Modality", "AccessionNumber"):
        assert shared[keyword] == [str(dataset[keyword].value)]
