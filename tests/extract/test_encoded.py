"""``encoded_own``: the JSON of ``own``, whatever was remembered of the headers before."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from node import extract
from node.elements import ELEMENTS
from node.extract import attributes, charset, items
from node.model import RawHeader
from tests.studies import ENCODINGS, IMPLICIT, ct, item, raw_header, scanned

ROWS, CONTENT_TIME, CONTENT_DESCRIPTION = 0x00280010, 0x00080033, 0x00700081
CHARACTER_SET = 0x00080005


def header(found: dict[int, bytes], little: bool = True) -> RawHeader:
    return raw_header(found, implicit=True, little=little)


def same(one: RawHeader, fallback: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(extract.encoded_own(one, fallback))
    assert found == orjson.loads(orjson.dumps(extract.own(one, fallback)))
    return found


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_each_encoding_gives_what_own_gives(syntax: str) -> None:
    """The second image meets what is remembered of the first, and values that are new."""
    first, second = same(scanned(ct(1), syntax)), same(scanned(ct(2), syntax))
    assert first["InstanceNumber"] == ["1"]
    assert second["InstanceNumber"] == ["2"]
    assert first["ImageType"] == second["ImageType"]


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_what_own_gives(value: bytes, little: bool) -> None:
    same(header(dict.fromkeys(ELEMENTS, value), little))


@given(
    st.lists(st.sampled_from((b"", b" ", b"A", b"\0", b'"', b"\\", b"A\\B ", b"\xe9", b"\x1b", b"\x07\0")))
)
def test_what_is_remembered_is_of_that_value(values: list[bytes]) -> None:
    for value in values:
        same(header(dict.fromkeys(ELEMENTS, value)))


def test_the_same_bytes_mean_another_text_in_another_character_set() -> None:
    cyrillic = {CHARACTER_SET: b"ISO_IR 144", CONTENT_DESCRIPTION: b"\xbd\xde"}
    assert same(header(cyrillic)) == {"ContentDescription": ["Но"]}
    assert same(header({**cyrillic, CHARACTER_SET: b"ISO_IR 100"})) == {"ContentDescription": ["½Þ"]}
    assert same(header({CONTENT_DESCRIPTION: b"\xbd\xde"}), "ISO_IR 144") == {"ContentDescription": ["Но"]}


def test_the_same_bytes_mean_another_number_in_the_other_byte_order() -> None:
    for _ in range(2):
        assert same(header({ROWS: b"\x00\x02"})) == {"Rows": [512]}
        assert same(header({ROWS: b"\x00\x02"}, little=False)) == {"Rows": [2]}


def test_what_all_frames_share_is_there() -> None:
    groups = item(FrameAnatomySequence=Sequence([item(FrameLaterality="L")]))
    frames = ct(SharedFunctionalGroupsSequence=Sequence([groups]))
    assert same(scanned(frames, IMPLICIT))["FrameLaterality"] == ["L"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values senders send, and however long they are."""
    monkeypatch.setattr(attributes, "_MOST_REMEMBERED", 10)
    attributes._remembered.clear()
    for number in range(50):
        same(header({CONTENT_TIME: b"%06d" % number, ROWS: number.to_bytes(2, "little")}))
        assert 0 < len(attributes._remembered) <= 10
    attributes._remembered.clear()
    same(header({CONTENT_TIME: b"1\\" * 80, CONTENT_DESCRIPTION: b"x" * 20}))
    assert not attributes._remembered


def test_no_copy_of_an_image_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders and sequence walks are for the few; a typical image must not need them."""

    def forbidden(*_args: Any) -> Any:
        raise AssertionError("called for a plain image")

    image = scanned(ct())
    expected = extract.own(image)
    monkeypatch.setattr(charset, "decode", forbidden)
    monkeypatch.setattr(items, "walk", forbidden)
    assert orjson.loads(extract.encoded_own(image)) == expected


def test_an_object_without_own_values_is_an_empty_object() -> None:
    assert extract.encoded_own(scanned(Dataset())) == b"{}"
