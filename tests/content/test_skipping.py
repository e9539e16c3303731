import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.content import parse
from node.content.skipping import skip_undefined
from node.errors import ContentUnreadable
from tests.content.made import file_of, read, without_lengths
from tests.studies import BIG, ENCODINGS, EXPLICIT, IMPLICIT, encoded, item

HEADER = {IMPLICIT: 8, EXPLICIT: 12, BIG: 12}
TREES = st.recursive(
    st.just(Dataset())
    | st.builds(lambda: item(SeriesDescription="a", PixelSpacing=["1", "2"], TextValue="long")),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: item(ContentSequence=items, Rows=1)),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.lists(TREES, max_size=3), st.sampled_from(ENCODINGS), st.booleans())
def test_ends_behind_the_delimiter(items: list[Dataset], syntax: str, all_without: bool) -> None:
    dataset = item(ContentSequence=items)
    if all_without:
        without_lengths(dataset)
    dataset["ContentSequence"].is_undefined_length = True
    data = encoded(dataset, syntax)
    file = BytesIO(data + b"behind")
    file.seek(HEADER[syntax])
    skip_undefined(file, syntax == IMPLICIT, syntax != BIG)
    assert file.read() == b"behind"


DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ITEM,
        ITEM + DELIMITER,
        DELIMITER[:7],
        struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + DELIMITER,
        bytes(80),
    ],
)
def test_without_an_end(data: bytes) -> None:
    with pytest.raises(ContentUnreadable):
        skip_undefined(BytesIO(data), True, True)


def test_an_unknown_sequence_is_implicit_inside() -> None:
    inside = ITEM + encoded(item(Rows=1, ContentLabel="X"), IMPLICIT) + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + inside + DELIMITER
    data = encoded(item(SOPClassUID="1.2.3")) + unknown + encoded(item(KVP="120", Rows=3))
    assert parse(BytesIO(file_of(data)), "settings") == {"KVP": ("120",), "Rows": ("3",)}


@pytest.mark.parametrize("nested", [False, True])
def test_lengths_that_look_like_a_vr_inside_of_an_unknown_sequence(nested: bool) -> None:
    element = struct.pack("<HHL", 0x0009, 0x1002, 0x5444) + bytes(0x5444)  # the length reads DT
    inside = ITEM + element + struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + DELIMITER
    unknown = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + inside
    if nested:
        around = struct.pack("<HH2sHL", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF) + ITEM
        unknown = around + unknown + struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + DELIMITER
    data = encoded(item(SOPClassUID="1.2.3")) + unknown + encoded(item(Rows=3))
    assert parse(BytesIO(file_of(data)), "settings") == {"Rows": ("3",)}


@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
def test_unwanted_nesting_hides_nothing(vr: bytes) -> None:
    opening = struct.pack("<HH2sHL", 0x0009, 0x1001, vr, 0, 0xFFFFFFFF) + ITEM
    inner = opening if vr == b"SQ" else struct.pack("<HHL", 0x0009, 0x1001, 0xFFFFFFFF) + ITEM
    closing = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + DELIMITER
    nested = opening + inner * 19_999 + closing * 20_000
    data = encoded(item(SOPClassUID="1.2.3")) + nested + encoded(item(KVP="120", Rows=3))
    assert parse(BytesIO(file_of(data)), "settings") == {"KVP": ("120",), "Rows": ("3",)}


def test_at_the_end_of_the_data_set() -> None:
    dataset = item(SliceThickness="1", ReferencedImageSequence=[item(Rows=1), item()])
    assert read(dataset, "settings", undefined=True) == {"SliceThickness": ("1",)}


def test_several_between_wanted_ones() -> None:
    dataset = item(
        ReferencedStudySequence=[item(Rows=1)],
        SliceThickness="1",
        ReferencedImageSequence=[item(Rows=1), item()],
        Rows=4,
    )
    found = read(dataset, "settings", undefined=True)
    assert found == {"SliceThickness": ("1",), "Rows": ("4",)}
