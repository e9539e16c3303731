"""Data sets that hypothesis makes and pydicom writes: the scan finds what was put in, in every encoding."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import header
from node.elements import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID
from tests.studies import ENCODINGS, encoded
from tests.test_header import DEFLATED, Reader, without_padding

UIDS = st.from_regex(r"(0|[1-9][0-9]{0,7})(\.(0|[1-9][0-9]{0,7})){1,5}", fullmatch=True)
TEXTS = st.text("abc XYZ0129^", max_size=40)
IDENTIFIERS = (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)
FILLERS = st.lists(
    st.tuples(
        st.sampled_from([0x00081030, 0x0008103E, 0x00100020, 0x00180015, 0x00200010]), st.just("LO"), TEXTS
    )
    | st.tuples(st.sampled_from([0x00091011, 0x00111011]), st.just("OB"), st.binary(max_size=40_000)),
    max_size=6,
)


@st.composite
def items(draw: st.DrawFn, depth: int = 3) -> Dataset:
    """An item of a sequence, with others inside it, of defined or undefined length."""
    made = Dataset()
    made.add(DataElement(0x00081150, "UI", draw(UIDS)))
    if depth and draw(st.booleans()):
        inside = Sequence([draw(items(depth - 1)) for _ in range(draw(st.integers(0, 3)))])
        made.add(_sequence(0x0040A730, inside, draw(st.booleans())))
    made.is_undefined_length_sequence_item = draw(st.booleans())
    return made


def _sequence(tag: int, inside: Sequence, undefined: bool) -> DataElement:
    element = DataElement(tag, "SQ", inside)
    element.is_undefined_length = undefined
    return element


@st.composite
def objects(draw: st.DrawFn) -> tuple[Dataset, dict[int, str]]:
    """A data set, and its identifying UIDs by tag."""
    made = Dataset()
    uids = {tag: draw(UIDS) for tag in IDENTIFIERS}
    for tag, uid in uids.items():
        made.add(DataElement(tag, "UI", uid))
    for tag, vr, value in draw(FILLERS):
        made.add(
            DataElement(tag, vr, value + b"\0" * (len(value) % 2) if isinstance(value, bytes) else value)
        )
    for tag in draw(st.sets(st.sampled_from([0x00081111, 0x00081140, 0x00101002, 0x00189999]))):
        inside = Sequence([draw(items()) for _ in range(draw(st.integers(0, 4)))])
        made.add(_sequence(tag, inside, draw(st.booleans())))
    return made, uids


@settings(max_examples=50, deadline=None)
@given(made=objects(), syntax=st.sampled_from([*ENCODINGS, DEFLATED]))
def test_what_was_put_in_is_found(made: tuple[Dataset, dict[int, str]], syntax: str) -> None:
    dataset, uids = made
    data = encoded(dataset, syntax)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = packer.compress(data) + packer.flush()
    found = header.scan(Reader(data), syntax)
    key, sop_class = header.identify(found)
    assert [sop_class, key.instance, key.study, key.series] == [uids[tag] for tag in IDENTIFIERS]
    for tag in (0x00081030, 0x0008103E, 0x00100020, 0x00200010):
        if tag in dataset and tag in found.elements:
            assert without_padding(found.elements[tag]) == str(dataset[tag].value).encode().rstrip(b" ")
