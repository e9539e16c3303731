import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from node.content.items import EMPTY, MAX_TEXT, Item, shortest
from node.errors import ContentUnreadable
from tests.studies import BIG, ENCODINGS, EXPLICIT, IMPLICIT, encoded, item


def as_read(dataset: Dataset, syntax: str = EXPLICIT) -> Item:
    return Item(read_dataset(BytesIO(encoded(dataset, syntax)), syntax == IMPLICIT, syntax != BIG))


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_values_in_every_encoding(syntax: str) -> None:
    found = as_read(
        item(
            ImageType=["ORIGINAL", "", "AXIAL "],
            StudyDescription=" Thorax\\Abdomen ",
            Rows=512,
            GraphicData=[0.1, 2.5, -3.0],
            SpiralPitchFactor=0.984375,
            ReferencedFrameNumber=[1, 20],
            TextValue="one\\text ",
            AnatomicRegionSequence=[item(CodeValue="1"), item(CodeValue="2")],
        ),
        syntax,
    )
    assert found["ImageType"] == ["ORIGINAL", "", "AXIAL"]
    assert found.text("StudyDescription") == "Thorax\\Abdomen"
    assert found["Rows"] == [512]
    assert found["GraphicData"] == [0.1, 2.5, -3.0]
    assert found.strings("SpiralPitchFactor") == ("0.984375",)
    assert found.integers("ReferencedFrameNumber") == (1, 20)
    assert found["TextValue"] == ["one\\text"]
    assert [one.text("CodeValue") for one in found.items_of("AnatomicRegionSequence")] == ["1", "2"]
    assert found.first("AnatomicRegionSequence").text("CodeValue") == "1"


def test_absent_and_empty() -> None:
    found = as_read(item(StudyDescription="", AnatomicRegionSequence=[]))
    assert "StudyDescription" in found
    assert found["StudyDescription"] == []
    assert found.get("Rows") is None
    assert found.text("Rows") == ""
    assert found.integers("Rows") == ()
    assert found.first("AnatomicRegionSequence") is EMPTY
    assert set(found) == {"StudyDescription", "AnatomicRegionSequence"}
    assert len(found) == 2
    with pytest.raises(KeyError):
        found["Rows"]
    with pytest.raises(ValueError, match="no keyword"):
        found.text("StudyDescripton")


def test_items_inherit_or_bring_their_character_set() -> None:
    inherits, brings = Dataset(), Dataset()
    inherits.add_new(0x00080104, "LO", "\u0416".encode("iso8859-5"))
    brings.add_new(0x00080005, "CS", "ISO_IR 192")
    brings.add_new(0x00080104, "LO", "\u0416".encode())
    for element in (inherits[0x00080104], brings[0x00080104]):
        element.VR = "UN"  # written as it is
    found = as_read(item(SpecificCharacterSet="ISO_IR 144", ConceptNameCodeSequence=[inherits, brings]))
    assert [one.text("CodeMeaning") for one in found.items_of("ConceptNameCodeSequence")] == ["\u0416"] * 2


@pytest.mark.parametrize(
    ("value", "legal"),
    [
        ("1.2.840", True),
        ("1.02.840", True),
        ("1." + "2" * 62, True),
        ("1." + "2" * 63, False),
        ("1..2", False),
        ("1.2.a", False),
        ("../1.2", False),
        ("1.2\\1.3", False),
    ],
)
def test_illegal_uids_are_dropped(value: str, legal: bool) -> None:
    with config.disable_value_validation():
        found = as_read(item(ReferencedSOPInstanceUID=value), IMPLICIT)
    assert found.uid("ReferencedSOPInstanceUID") == (value if legal else "")


def test_whole_numbers_of_a_decimal_looking_is() -> None:
    value = b"1.0\\2.5\\x\\3 "
    data = struct.pack("<HHL", 0x3006, 0x0022, len(value)) + value
    assert Item(read_dataset(BytesIO(data), True, True)).integers("ROINumber") == (1, 3)


def test_the_vr_as_sent_wins_where_it_is_usable() -> None:
    dataset = Dataset()
    dataset.add_new(0x00280010, "UL", 512)
    dataset.add_new(0x00100010, "OB", b"Doe^Jane")
    found = as_read(dataset)
    assert found["Rows"] == [512]
    assert found["PatientName"] == ["Doe^Jane"]


def test_a_value_that_ends_early_is_told() -> None:
    data = encoded(item(StudyDescription="Thorax"))
    found = Item(read_dataset(BytesIO(data[:-2]), False, True))
    with pytest.raises(ContentUnreadable, match="ends inside"):
        found.text("StudyDescription")


def test_private_block_found_by_its_creator() -> None:
    dataset = Dataset()
    dataset.add_new(0x00E10010, "LO", "OTHER")
    dataset.add_new(0x00E10011, "LO", "ELSCINT1")
    dataset.add_new(0x00E11040, "SH", "not this")
    dataset.add_new(0x00E11140, "SH", "Lung ")
    found = as_read(dataset)
    assert found.private_text(0x00E1, "ELSCINT1", 0x40) == "Lung"
    assert found.private_text(0x00E1, "NOBODY", 0x40) == ""


def by_trying(value: float) -> float:
    forms = (float(f"{value:.{digits}g}") for digits in range(1, 10))
    return next(one for one in forms if struct.pack("<f", one) == struct.pack("<f", value))


# The largest values round up past what binary32 holds in fewer digits.
@given(st.floats(width=32, min_value=-(2.0**127), max_value=2.0**127))
def test_shortest_is_what_trying_every_length_gives(value: float) -> None:
    assert shortest(value) == by_trying(value)


def test_shortest_of_known_values() -> None:
    for text in ("0.1", "6.037975", "234.1", "-23.7", "1e-07", "1e+20", "16777216.0", "3.4028235e+38", "nan"):
        (value,) = struct.unpack("<f", struct.pack("<f", float(text)))
        assert repr(shortest(value)) == text


@pytest.mark.parametrize("keyword", ["TextValue", "LongCodeValue"])
def test_a_text_that_nobody_wrote_is_cut(keyword: str) -> None:
    found = as_read(item(**{keyword: "x" * (MAX_TEXT + 1)}))
    assert found.text(keyword) == "x" * (MAX_TEXT - 1) + "…"
    assert as_read(item(**{keyword: "x" * MAX_TEXT})).text(keyword) == "x" * MAX_TEXT


def test_lists_of_numbers_are_not_cut() -> None:
    frames = list(range(1, 3001))
    assert as_read(item(ReferencedFrameNumber=frames)).integers("ReferencedFrameNumber") == tuple(frames)
