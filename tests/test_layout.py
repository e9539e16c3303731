"""Layouts are guesses: whatever headers came before, a scan with them finds what a walk finds."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node import header, layout
from node.elements import ELEMENTS
from node.layout import Layouts, Place
from node.model import RawHeader
from tests.studies import BIG, ENCODINGS, EXPLICIT, IMPLICIT, ct, encoded

_ODD = 0x00091001  # not wanted
_TAGS = (*sorted(ELEMENTS), _ODD)
_LONG = ("SQ", "UN", "UT")


@pytest.fixture(autouse=True)
def nothing_learned(monkeypatch: pytest.MonkeyPatch) -> Layouts:
    fresh = Layouts()
    monkeypatch.setattr(header, "_layouts", fresh)
    return fresh


class Forgetful(Layouts):
    """Never learns: every element is walked."""

    def learn(self, *_: object) -> None:
        pass


def scan(data: bytes, syntax: str = EXPLICIT) -> RawHeader:
    return header.scan(lambda offset, size: data[offset : offset + size], syntax)


def walked(data: bytes, syntax: str) -> RawHeader:
    learned, header._layouts = header._layouts, Forgetful()
    try:
        return scan(data, syntax)
    finally:
        header._layouts = learned


def element(tag: int, vr: str, value: bytes, syntax: str) -> bytes:
    order = ">" if syntax == BIG else "<"
    group, number = tag >> 16, tag & 0xFFFF
    if syntax == IMPLICIT:
        return struct.pack("<HHI", group, number, len(value)) + value
    if vr in _LONG:
        return struct.pack(f"{order}HH2sHI", group, number, vr.encode(), 0, len(value)) + value
    return struct.pack(f"{order}HH2sH", group, number, vr.encode(), len(value)) + value


_elements = st.lists(
    st.tuples(
        st.sampled_from(_TAGS), st.sampled_from(["LO", "DS", "UN", "SQ", "\1\0"]), st.binary(max_size=12)
    ),
    min_size=8,
    max_size=40,
)


@st.composite
def series(draw: st.DrawFn) -> tuple[list[bytes], str]:
    """Headers of one kind whose values change, elements that come and go, and cuts anywhere."""
    syntax = draw(st.sampled_from([EXPLICIT, IMPLICIT, BIG]))
    kind = draw(_elements)
    headers = []
    for _ in range(draw(st.integers(2, 8))):
        parts = list(kind)
        for _ in range(draw(st.integers(0, 3))):
            number = draw(st.integers(0, len(parts) - 1))
            tag, vr, _value = parts[number]
            parts[number] = tag, vr, draw(st.binary(max_size=12))
        if draw(st.booleans()) and len(parts) > 8:
            parts.pop(draw(st.integers(0, len(parts) - 1)))
        data = b"".join(element(*part, syntax) for part in parts)
        headers.append(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    return headers, syntax


@given(series())
@settings(max_examples=150, deadline=None)
def test_whatever_came_before_a_scan_finds_what_a_walk_finds(given: tuple[list[bytes], str]) -> None:
    headers, syntax = given
    for data in headers * 2:
        found, expected = scan(data, syntax), walked(data, syntax)
        assert found.elements == expected.elements
        assert found.size == expected.size


def instance(number: int, **changes: object) -> Dataset:
    return ct(InstanceNumber=number, SliceLocation=str(-2.5 * number), **changes)


def hits(learned: Layouts, data: list[bytes], syntax: str) -> int:
    """How many of the headers begin with a stretch that a layout matches whole."""
    implicit, little = syntax == IMPLICIT, syntax != BIG
    return sum(learned.match(one, 0, implicit, little) is not None for one in data)


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_a_series_is_known_after_a_few_of_its_objects(syntax: str, nothing_learned: Layouts) -> None:
    data = [encoded(instance(number), syntax) for number in range(1, 300)]
    for one in data[:16] + data[98:106]:
        scan(one, syntax)
    assert hits(nothing_learned, data, syntax) == len(data)


def test_kinds_that_come_by_turns_are_all_known(nothing_learned: Layouts) -> None:
    kinds = [
        encoded(instance(1)),
        encoded(instance(1, StudyDescription="A description")),
        encoded(instance(1, PatientComments="Comments", ProtocolName="Protocol")),
    ]
    for _ in range(4):
        for one in kinds:
            scan(one)
    assert hits(nothing_learned, kinds, EXPLICIT) == len(kinds)


def places(tags: list[int]) -> tuple[bytes, list[Place]]:
    data, found = b"", []
    for tag in tags:
        begin = len(data)
        data += element(tag, "LO", b"ab", EXPLICIT)
        found.append(Place(tag, True, begin, begin + 8, begin + 10))
    return data, found


def test_what_never_matches_is_learned_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, nothing_learned: Layouts
) -> None:
    made = []
    real = layout._Layout.__init__

    def counted(self: object, *arguments: object) -> None:
        made.append(1)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(layout._Layout, "__init__", counted)
    for number in range(1000):
        tags = [_TAGS[0], *(0x00110000 + 20 * number + at for at in range(10))]
        nothing_learned.learn(*places(tags), False, True)
    assert len(made) == 10  # 1, 2, 4 ... 512


def test_the_first_of_two_elements_counts(nothing_learned: Layouts) -> None:
    twice = [*_TAGS[:10], _TAGS[3]]
    data, found = places(twice)
    nothing_learned.learn(data, found, False, True)
    assert nothing_learned.match(data, 0, False, True) is None


@pytest.mark.parametrize(
    ("implicit", "kind", "lengths"),
    [(False, b"\2\0", (2, 4, 0)), (True, b"", (0x4141, 0x4143, 0x4143))],
    ids=["no letters where a VR should be", "an implicit length like a VR"],
)
def test_where_a_length_lies_is_not_guessed_from_what_looks_like_a_vr(
    implicit: bool, kind: bytes, lengths: tuple[int, ...], nothing_learned: Layouts
) -> None:
    for length in lengths:
        data, found = places(list(_TAGS[:8]))
        begin = len(data)
        data += (
            struct.pack("<HH", _ODD >> 16, _ODD & 0xFFFF)
            + kind
            + struct.pack("<I" if implicit else "<H", length)
        )
        data += bytes(length)
        found.append(Place(_ODD, False, begin, begin + 8, len(data)))
        match = nothing_learned.match(data + bytes(8), 0, implicit, True)
        assert match is None or match.end == len(data)
        nothing_learned.learn(data, found, implicit, True)
    assert match is not None


def test_one_header_teaches_a_few_stretches(
    monkeypatch: pytest.MonkeyPatch, nothing_learned: Layouts
) -> None:
    """Thousands of them would cost more than the walk that they stand for."""
    learned = []
    monkeypatch.setattr(nothing_learned, "learn", lambda *_: learned.append(1))
    sequence = struct.pack("<HH2sHIHHI", 0x0009, 0x2000, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE0DD, 0)
    scan((places(list(_TAGS[:9]))[0] + sequence) * 100)
    assert len(learned) == header._MOST_LEARNED


def test_what_is_remembered_is_bounded(nothing_learned: Layouts) -> None:
    for number in range(200):
        data, found = places([0x00110000 + number, *_TAGS[:10]])
        nothing_learned.learn(data, found, False, True)
        other, found = places([0x00110000 + number, *_TAGS[: 11 + number % 7]])
        nothing_learned.learn(other, found, False, True)
    assert len(nothing_learned._known) == layout._MOST_BEGINNINGS
    assert max(len(known.layouts) for known in nothing_learned._known.values()) <= layout._CANDIDATES
    many, found = places(list(range(0x00110000, 0x00110000 + 2000)))
    nothing_learned.learn(many, found, False, True)
    match = nothing_learned.match(many, 0, False, True)
    assert match is not None
    assert match.elements == layout._MOST_ELEMENTS


def test_headers_with_the_same_shared_values_hold_the_same_mapping() -> None:
    first, second = scan(encoded(instance(1))), scan(encoded(instance(2)))
    assert first.shared is second.shared
    other = scan(encoded(instance(3, PatientName="Other^Name")))
    assert other.shared is not first.shared
    assert scan(encoded(instance(4))).shared is first.shared
