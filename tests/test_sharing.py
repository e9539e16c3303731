"""What headers share is one object, however its values came together, and no more is remembered than may be."""

from __future__ import annotations

from node.sharing import Sharing

TAGS = (0x00080020, 0x00100010)


def test_the_same_values_are_the_same_object() -> None:
    sharing = Sharing()
    first = sharing.of(TAGS, [b"20260101", b"DOE"])
    assert (first.values, first.size) == ({0x00080020: b"20260101", 0x00100010: b"DOE"}, 11)
    other = sharing.of(TAGS, [b"20260101", b"ROE"])
    assert other.values == {0x00080020: b"20260101", 0x00100010: b"ROE"}
    assert sharing.of((TAGS[0], TAGS[1]), [b"20260101", b"DOE"]).values is first.values
    assert sharing.of(TAGS[::-1], [b"DOE", b"20260101"]).values is first.values, "in another order"


def test_the_same_bytes_of_other_elements_are_another_object() -> None:
    sharing = Sharing()
    one, two = (sharing.of((tag,), [b"1"]) for tag in TAGS)
    assert (one.values, two.values) == ({TAGS[0]: b"1"}, {TAGS[1]: b"1"})


def test_of_several_stretches_the_first_counts() -> None:
    sharing = Sharing()
    parts = [{1: b"a", 2: b"bc"}, {2: b"other", 3: b"d"}]
    joined = sharing.joined(parts)
    assert (joined.values, joined.size) == ({1: b"a", 2: b"bc", 3: b"d"}, 4)
    assert sharing.joined(list(parts)).values is joined.values
    assert sharing.joined([{1: b"a"}, {2: b"bc", 3: b"d"}]).values is joined.values, "cut at another place"
    assert sharing.joined([parts[1], parts[0]]).values == {1: b"a", 2: b"other", 3: b"d"}
    assert sharing.joined([]).values == {}


def test_what_is_remembered_is_bounded() -> None:
    sharing = Sharing()
    long = [b"x" * 20_000]
    assert sharing.of((1,), long).values is not sharing.of((1,), long).values, "too long to be remembered"
    first = sharing.of((1,), [b"first"]).values
    for number in range(15):
        sharing.of((1,), [b"%d" % number])
    assert sharing.of((1,), [b"first"]).values is first
    sharing.of((1,), [b"one more"])
    assert sharing.of((1,), [b"first"]).values is not first
