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

from node.elements import SHARED_TAGS

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
    """What the wanted elements of a stretch hold: ``own`` is the instance's, by tag (``own_size`` bytes in all);
    ``shared`` is what it has in common with its series (elements.SHARED), the values of ``shared_tags``. The element
    behind them begins at ``end``; ``elements`` were taken in."""

    own: dict[int, bytes]
    own_size: int
    shared_tags: tuple[int, ...]
    shared: list[bytes]
    end: int
    elements: int


# What becomes of an element's value
_NOTHING: Final = 0
_OWN: Final = 1
_SHARED: Final = 2
_LAST: Final = 3  # there is none whose value could be used
_shared: Final = frozenset(SHARED_TAGS)


def _use(place: Place) -> int:
    if not place.wanted:
        return _NOTHING
    return _SHARED if place.tag in _shared else _OWN


class _Run(NamedTuple):
    """Elements of fixed lengths and behind them, but for the last run, the header of one whose length varies."""

    size: int  # to where that one's value begins
    heads: struct.Struct
    expected: tuple[bytes, ...]  # what ``heads`` has to find
    own: struct.Struct  # of the fixed ones; then the length that varies
    shared: struct.Struct | None  # of the fixed ones, if any
    use: int  # of the one whose length varies


class _Layout:
    """The elements of one stretch of a header; those whose numbers are ``varying`` may have any length."""

    def __init__(
        self, window: bytes, places: Sequence[Place], varying: Collection[int], implicit: bool, little: bool
    ) -> None:
        self.varying = frozenset(varying)
        self.shape = tuple((place.tag, place.value_at - place.head_at) for place in places)
        self.lengths = tuple(place.after - place.value_at for place in places)
        self._own_tags = tuple(place.tag for place in places if _use(place) == _OWN)
        own = (n for n, place in enumerate(places) if _use(place) == _OWN and n not in self.varying)
        self._own_size = sum(self.lengths[n] for n in own)  # without those that vary
        self._shared_tags = tuple(place.tag for place in places if _use(place) == _SHARED)
        order = "<" if little else ">"
        runs, begin = [], 0
        for number in sorted(self.varying):
            runs.append(_run(window, places[begin:number], places[number], implicit, order))
            begin = number + 1
        self._runs = (*runs, _run(window, places[begin:], None, implicit, order))

    def match(self, window: bytes, at: int) -> Match | None:
        """What ``Layouts.match`` gives, if the elements at ``at`` lie so, all of them in ``window``."""
        own: list[bytes] = []
        shared: list[bytes] = []
        end, own_size = len(window), self._own_size
        for size, heads, expected, own_values, shared_values, use in self._runs:
            if at + size > end or heads.unpack_from(window, at) != expected:
                return None
            if shared_values is not None:
                shared += shared_values.unpack_from(window, at)
            mine = own_values.unpack_from(window, at)
            at += size
            if use == _LAST:
                own += mine
                continue
            length = mine[-1]
            if len(mine) > 1:
                own += mine[:-1]
            if use == _OWN:
                own.append(window[at : at + length])
                own_size += length
            elif use == _SHARED:
                shared.append(window[at : at + length])
            at += length  # where this leads beyond the window the next run sees it
        values = dict(zip(self._own_tags, own, strict=True))
        return Match(values, own_size, self._shared_tags, shared, at, len(self.lengths))


def _run(window: bytes, fixed: Sequence[Place], varying: Place | None, implicit: bool, order: str) -> _Run:
    heads = [window[place.head_at : place.value_at] for place in fixed]
    cuts = [f"{place.value_at - place.head_at}s{place.after - place.value_at}x" for place in fixed]
    size = sum(place.after - place.head_at for place in fixed)
    use, length = _LAST, ""
    if varying is not None:
        use = _use(varying)
        # 16 bits only behind an explicit VR with a short length. The bytes can't tell: an implicit length may look
        # like a VR, and what stands for a VR need not be letters.
        bits = 16 if not implicit and varying.value_at - varying.head_at == 8 else 32
        heads.append(window[varying.head_at : varying.value_at - bits // 8])
        cuts.append(f"{len(heads[-1])}s")
        length = f"{len(heads[-1])}x{'H' if bits == 16 else 'I'}"
        size += varying.value_at - varying.head_at
    return _Run(
        size,
        struct.Struct(order + "".join(cuts)),
        tuple(heads),
        _values(fixed, _OWN, order, length),
        _values(fixed, _SHARED, order) if any(_use(place) == _SHARED for place in fixed) else None,
        use,
    )


def _values(fixed: Sequence[Place], use: int, order: str, behind: str = "") -> struct.Struct:
    """Cuts out the values with that use, and what is ``behind`` all of them."""
    cuts, skipped = [order], 0
    for place in fixed:
        if _use(place) == use:
            cuts.append(f"{skipped + place.value_at - place.head_at}x{place.after - place.value_at}s")
            skipped = 0
        else:
            skipped += place.after - place.head_at
    return struct.Struct("".join((*cuts, f"{skipped}x", behind)) if behind else "".join(cuts))


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
