"""Damaged seeds, by hypothesis: what fuzzing in the suite uses, and ``make fuzz`` where there is no atheris."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.targets import seeds

_LENGTHS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0\0\x01",
    b"\x7f\xff\xff\xff",
    b"\x80\0",
    b"\xff\xfe",
    b"\0",
)
_MOST_EDITS = 6


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed of a target with some of its bytes replaced, removed, said twice, or taken from another seed."""
    known = seeds(name)
    data = bytearray(draw(st.sampled_from(known)))
    for _ in range(draw(st.integers(0, _MOST_EDITS))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, min(len(data) - at, 64)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + size] = draw(st.one_of(st.binary(max_size=16), st.sampled_from(_LENGTHS)))
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size]
            case _:
                other = draw(st.sampled_from(known))
                start = draw(st.integers(0, len(other)))
                data[at:at] = other[start : start + 200]
    return bytes(data)
