"""References by series, as images' derivatives and presentation states make them (PS3.3 10.3, 10.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node.content.items import Item
from node.content.tree import sop_reference
from node.documents import SeriesReference, SopReference

_INSTANCES: Final = ("ReferencedInstanceSequence", "ReferencedImageSequence")


def by_series(items: Iterable[Item]) -> tuple[SeriesReference, ...]:
    """One for each series in ``items``, whose instances are listed in one of ``_INSTANCES``; no doubles."""
    found: dict[str, dict[SopReference, None]] = {}
    for item in items:
        series = item.uid("SeriesInstanceUID")
        listed = (sop_reference(one) for keyword in _INSTANCES for one in item.items_of(keyword))
        for reference in listed:
            if series and reference is not None:
                found.setdefault(series, {})[reference] = None
    return tuple(SeriesReference(series, tuple(instances)) for series, instances in found.items())
