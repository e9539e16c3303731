import errno
import struct
import warnings
import zlib
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.content import Kind, parse, reading
from node.documents import KeyObjects, Report
from node.errors import ContentUnreadable
from tests.content.made import (
    DEFLATED,
    STORAGE,
    code,
    coded,
    content,
    evidence,
    file_of,
    group,
    image,
    measured,
    read,
    stored,
    text,
    uid,
)
from tests.studies import BIG, EXPLICIT, IMPLICIT, encoded, item

KOS = STORAGE + "88.59"
KINDS: tuple[Kind, ...] = (
    "settings",
    "key-objects",
    "report",
    "titled-report",
    "structure-set",
    "segmentation",
    "presentation-state",
)


def report() -> Dataset:
    region = content(
        "SCOORD",
        "111030",
        [image(relationship="SELECTED FROM")],
        GraphicData=[1.0, 2.0, 3.0, 4.5],
        GraphicType="CIRCLE",
    )
    site = coded(code("363698007", "SCT"), code("39607008", "SCT", "Lung"))
    children = [text("112039", "Nodule"), uid("112040", "1.2.50"), site, region]
    return measured(
        [group(children)],
        SpecificCharacterSet="ISO_IR 192",
        CurrentRequestedProcedureEvidenceSequence=[evidence("1.2.3")],
    )


def unreadable(data: bytes, kind: Kind = "key-objects") -> str:
    with warnings.catch_warnings(), pytest.raises(ContentUnreadable) as raised:
        warnings.simplefilter("ignore")  # as in the process that reads
        parse(BytesIO(data), kind)
    return str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 4096,
        b"Dear Sir or Madam, " * 100,
        bytes(range(256)) * 16,
        b"\xff" * 1000,
        bytes(128) + b"DICM",
    ],
)
def test_what_is_no_dicom_file(data: bytes, kind: Kind) -> None:
    assert unreadable(data, kind)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_every_encoding_reads_the_same(syntax: str) -> None:
    assert read(report(), "report", syntax=syntax) == read(report(), "report")


def test_without_preamble_and_meta_information() -> None:
    assert parse(BytesIO(encoded(report())), "report") == read(report(), "report")
    assert parse(BytesIO(encoded(report(), IMPLICIT)), "report") == read(report(), "report")


def test_the_bytes_decide_between_implicit_and_explicit() -> None:
    mislabelled = file_of(encoded(report(), IMPLICIT), EXPLICIT)
    assert parse(BytesIO(mislabelled), "report") == read(report(), "report")


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_cut_off_anywhere_is_never_half_a_report(syntax: str, undefined: bool) -> None:
    whole = stored(report(), syntax, undefined)
    expected = parse(BytesIO(whole), "report")
    for end in range(len(whole) - 1, 400, -7):
        try:
            found = parse(BytesIO(whole[:end]), "report")
        except ContentUnreadable:
            continue
        # Cut between two elements of the root, which nothing tells: what is there is whole.
        assert isinstance(found, Report)
        assert isinstance(expected, Report)
        assert found.groups in ((), expected.groups)
        assert found.evidence in ((), expected.evidence)


def test_zeros_behind_the_data_set_are_padding() -> None:
    assert isinstance(parse(BytesIO(stored(report()) + bytes(64)), "report"), Report)
    assert parse(BytesIO(stored(item(Rows=1)) + bytes(1_000_000)), "settings") == {"Rows": ("1",)}


def sequence_as_unknown(tag: int, value: bytes) -> bytes:
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"UN", 0, len(value)) + value


@pytest.mark.parametrize("tag", [0x52009229, 0x52009230])
@pytest.mark.parametrize("inside", [IMPLICIT, EXPLICIT])
def test_functional_groups_sent_as_unknown(tag: int, inside: str) -> None:
    groups = encoded(item(PixelMeasuresSequence=[item(SliceThickness="2.5")]), inside)
    value = struct.pack("<HHL", 0xFFFE, 0xE000, len(groups)) + groups
    data = encoded(item(SOPClassUID=KOS)) + sequence_as_unknown(tag, value)
    assert parse(BytesIO(file_of(data)), "settings") == {"SliceThickness": ("2.5",)}


def test_zeros_are_no_items() -> None:
    data = encoded(item(SOPClassUID=KOS)) + sequence_as_unknown(0x0040A730, bytes(800))
    assert unreadable(file_of(data)) == "a sequence with something else than items"


def nested(depth: int) -> bytes:
    """A content tree in explicit VR whose sequences have no lengths."""
    data = encoded(item(SOPClassUID=KOS, ValueType="CONTAINER"))
    data += (
        struct.pack("<HH2sHLHHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) * depth
    )
    return file_of(data + struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * depth, sop_class=KOS)


def test_nesting_is_bounded() -> None:
    assert isinstance(parse(BytesIO(nested(20)), "key-objects"), KeyObjects)
    assert unreadable(nested(20_000)) == "sequences nested too deep"


def test_a_deflated_bomb_is_inflated_no_further_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_INFLATED", 100_000)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = encoded(item(SOPClassUID=KOS)) + struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 5_000_000)
    bomb = packer.compress(body + bytes(5_000_000)) + packer.flush()
    assert unreadable(file_of(bomb, DEFLATED, KOS)) == "the file ends inside an element"


def test_damaged_deflated_bytes() -> None:
    whole = stored(report(), DEFLATED)
    assert "zlib" not in unreadable(whole[:-200] + b"\xff" * 200, "report")


def test_too_many_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ELEMENTS", 3)
    assert unreadable(stored(report()), "report") == "more than 3 elements"


class Failing(BytesIO):
    """A disk that fails behind ``good`` bytes."""

    good = 600

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > self.good:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("undefined", [False, True])
def test_a_failing_disk_is_no_unreadable_document(undefined: bool) -> None:
    whole = stored(report(), undefined=undefined)
    for Failing.good in range(0, len(whole) - 200, 50):
        with pytest.raises(OSError, match="Input/output") as raised:
            parse(Failing(whole), "report")
        assert raised.value.errno == errno.EIO


def test_no_reason_holds_a_value() -> None:
    whole = stored(report())
    for at in range(400, len(whole), 3):
        try:
            parse(BytesIO(whole[:at] + b"\xff\xff\xff" + whole[at + 3 :]), "report")
        except ContentUnreadable as error:
            assert "Nodule" not in str(error)
            assert "1.2" not in str(error)


WHOLE = stored(report())
WITHOUT_LENGTHS = stored(report(), undefined=True)
MUTATION = st.tuples(st.integers(0, len(WITHOUT_LENGTHS) - 1), st.binary(max_size=8), st.integers(0, 12))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([WHOLE, WITHOUT_LENGTHS]),
    st.lists(MUTATION, min_size=1, max_size=8),
    st.sampled_from(KINDS),
)
def test_mutations_raise_nothing_else(
    whole: bytes, mutations: list[tuple[int, bytes, int]], kind: Kind
) -> None:
    data = bytearray(whole)
    for at, put, removed in mutations:
        data[at : at + removed] = put
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parse(BytesIO(data), kind)
        except ContentUnreadable as error:
            assert str(error)
