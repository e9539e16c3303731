"""What the headers of a series share, as one object for all of them.

So it is told to the index once for many objects, and recognised there without a look at its values. What is remembered
is bounded by number and by size; whatever is not remembered is only slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_RECENT: Final = 16  # as many series as come at once, in one process
_MOST_BYTES: Final = 16_384

Values = Mapping[int, bytes]  # by tag


class Shared(NamedTuple):
    """Values by tag, the same mapping whenever they are the same, and the bytes of all of them."""

    values: Values
    size: int


class _Known(NamedTuple):
    shared: Shared
    tags: Sequence[int]
    in_order: Sequence[bytes]  # the values of ``tags``


class _Join(NamedTuple):
    parts: Sequence[Values]
    shared: Shared


class Sharing:
    """What was shared lately. Of threads that remember at once one may be forgotten: then it is remembered again."""

    def __init__(self) -> None:
        self._known: tuple[_Known, ...] = ()
        self._joins: tuple[_Join, ...] = ()

    def of(self, tags: Sequence[int], in_order: Sequence[bytes]) -> Shared:
        """The values of ``tags``, each of which is there once."""
        for known in self._known:
            if known.in_order == in_order and (known.tags is tags or known.tags == tags):
                return known.shared
        values = dict(zip(tags, in_order, strict=True))
        for known in self._known:
            if known.shared.values == values:
                return known.shared
        shared = Shared(values, sum(map(len, in_order)))
        if shared.size <= _MOST_BYTES:
            self._known = (_Known(shared, tags, in_order), *self._known[: _RECENT - 1])
        return shared

    def joined(self, parts: Sequence[Values]) -> Shared:
        """The values of several stretches of one header; what stands in an earlier one counts."""
        for join in self._joins:
            if len(join.parts) == len(parts) and all(map(_is, join.parts, parts)):
                return join.shared
        values: dict[int, bytes] = {}
        for part in reversed(parts):
            values.update(part)
        shared = self.of(tuple(values), list(values.values()))
        if shared.size <= _MOST_BYTES:
            self._joins = (_Join(tuple(parts), shared), *self._joins[: _RECENT - 1])
        return shared


def _is(one: object, other: object) -> bool:
    return one is other
