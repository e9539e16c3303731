"""Where the elements of a header lie, remembered from the headers before it.

The objects of a series have the same elements with the same lengths, but for a few whose values grow and shrink
(instance number, position). To compare a header with such a layout and cut its values out takes a quarter of the
time of walking from element to element, because ``struct`` does it. A layout is never more than a guess: each
element's header is compared, and where one differs the elements are walked.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

# Kinds of objects that may come by turns although their headers begin alike, beginnings that are remembered, and
# elements of each (what follows is a stretch of its own): what a hostile sender can make of them stays under 8 MB.
_CANDIDATES: Final = 4
_MOST_BEGINNINGS: Final = 32
_BEGINNING: Final = 8
LEAST_ELEMENTS: Final = 8
_MOST_ELEMENTS: Final = 192
_MOST_VARYING: Final = 24  # with more elements of varying length, walking is as fast


class Place(NamedTuple):
    """One element: where its header, its value and the next element begin; ``wanted``: its value is kept."""

    tag: int
    wanted: bool
    head_at: int
    value_at: int
    after: int


class Match(NamedTuple):
    """Values of wanted elements by tag, where the element after them begins, and how many it took in."""

    values: dict[int, bytes]
    end: int
    elements: int


class _Run(NamedTuple):
    """Elements of fixed lengths, then the header of one whose length varies (not in the last run)."""

    size: int
    heads: struct.Struct
    expected: tuple[bytes, ...]  # what ``heads`` has to find
    values: struct.Struct  # of wanted elements
    varying: bytes  # the header of the next element up to its length; empty: none follows
    length_size: int
    wanted: bool


class _Layout:
    """The elements of one stretch of a header; those whose numbers are ``varying`` may have any length."""

    def __init__(
        self, window: bytes, places: Sequence[Place], varying: Collection[int], implicit: bool, little: bool
    ) -> None:
        self.varying = frozenset(varying)
        self.shape = tuple((place.tag, place.value_at - place.head_at) for place in places)
        self.lengths = tuple(place.after - place.value_at for place in places)
        self._tags = tuple(place.tag for place in places if place.wanted)
        self._order: Final = "little" if little else "big"
        runs, begin = [], 0
        for number in sorted(self.varying):
            runs.append(_run(window, places[begin:number], places[number], implicit))
            begin = number + 1
        self._runs = (*runs, _run(window, places[begin:], None, implicit))

    def match(self, window: bytes, at: int) -> Match | None:
        """What ``Layouts.match`` gives, if the elements at ``at`` lie so, all of them in ``window``."""
        found: list[bytes] = []
        end = len(window)
        for size, heads, expected, values, varying, length_size, wanted in self._runs:
            if at + size > end or heads.unpack_from(window, at) != expected:
                return None
            found += values.unpack_from(window, at)
            at += size
            if varying:
                length_at = at + len(varying)
                value_at = length_at + length_size
                if window[at:length_at] != varying or value_at > end:
                    return None
                # Where this leads beyond the window the next run sees it: there always is one
                at = value_at + int.from_bytes(window[length_at:value_at], self._order)
                if wanted:
                    found.append(window[value_at:at])
        return Match(dict(zip(self._tags, found, strict=True)), at, len(self.lengths))


def _run(window: bytes, fixed: Sequence[Place], varying: Place | None, implicit: bool) -> _Run:
    heads, values, expected = ["="], ["="], []
    for place in fixed:
        head, value = place.value_at - place.head_at, place.after - place.value_at
        heads.append(f"{head}s{value}x")
        values.append(f"{head}x{value}s" if place.wanted else f"{head + value}x")
        expected.append(window[place.head_at : place.value_at])
    size = fixed[-1].after - fixed[0].head_at if fixed else 0
    before, length_size, wanted = b"", 0, False
    if varying is not None:
        wanted = varying.wanted
        # 16 bits only behind an explicit VR with a short length. The bytes can't tell: an implicit length may look
        # like a VR, and what stands for a VR need not be letters.
        length_size = 2 if not implicit and varying.value_at - varying.head_at == 8 else 4
        before = window[varying.head_at : varying.value_at - length_size]
    return _Run(
        size,
        struct.Struct("".join(heads)),
        tuple(expected),
        struct.Struct("".join(values)),
        before,
        length_size,
        wanted,
    )


class _Beginning:
    """The layouts of stretches that begin with the same bytes, the one that matched last first."""

    __slots__ = ("layouts", "misses")

    def __init__(self) -> None:
        self.layouts: tuple[_Layout, ...] = ()
        self.misses = 0  # since a layout matched


class Layouts:
    """What was learned so far; of threads that learn at once one may be forgotten, and learned again."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bool, bool], _Beginning] = {}
        self._learning = threading.Lock()

    def match(self, window: bytes, at: int, implicit: bool, little: bool) -> Match | None:
        """The elements that begin at ``at``, or None when they have to be walked."""
        beginning = self._known.get((window[at : at + _BEGINNING], implicit, little))
        if beginning is None:
            return None
        layouts = beginning.layouts
        for layout in layouts:
            found = layout.match(window, at)
            if found is not None:
                beginning.misses = 0
                if layout is not layouts[0]:
                    beginning.layouts = (layout, *(other for other in layouts if other is not layout))
                return found
        return None

    def learn(self, window: bytes, places: Sequence[Place], implicit: bool, little: bool) -> None:
        """Remember a stretch that was walked because nothing matched.

        Layouts that never match must not cost more than they would save: the more misses in a row, the rarer it
        is learned from one (the first, second, fourth, eighth ...).
        """
        if len(places) < LEAST_ELEMENTS:
            return
        begin = places[0].head_at
        key = window[begin : begin + _BEGINNING], implicit, little
        with self._learning:
            beginning = self._known.get(key)
            if beginning is None:
                if len(self._known) >= _MOST_BEGINNINGS:
                    self._known.pop(next(iter(self._known)))
                beginning = self._known[key] = _Beginning()
            beginning.misses += 1
            if beginning.misses & (beginning.misses - 1) == 0:
                self._add(beginning, window, places[:_MOST_ELEMENTS], implicit, little)

    def _add(
        self, beginning: _Beginning, window: bytes, places: Sequence[Place], implicit: bool, little: bool
    ) -> None:
        wanted = [place.tag for place in places if place.wanted]
        if len(set(wanted)) < len(wanted):
            return  # the first of two counts: walking knows
        layout = _Layout(window, places, (), implicit, little)
        others = []
        for known in beginning.layouts:
            if known.shape == layout.shape:
                both = zip(known.lengths, layout.lengths, strict=True)
                varying = known.varying | {n for n, (one, other) in enumerate(both) if one != other}
                if len(varying) <= _MOST_VARYING:
                    layout = _Layout(window, places, varying, implicit, little)
            else:
                others.append(known)
        beginning.layouts = (layout, *others[: _CANDIDATES - 1])
