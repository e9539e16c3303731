"""Segmentation and label map segmentation (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final

from node.assemble import parts
from node.content import references, tree
from node.content.items import Item
from node.documents import Segment, Segmentation, SeriesReference, SopReference

MAX_FRAMES: Final = 100_000

_SHARED: Final = "SharedFunctionalGroupsSequence"
ROOT: Final = (
    "SpecificCharacterSet",
    "CodingSchemeIdentificationSequence",
    "ContentDate",
    "ContentTime",
    "ReferencedSeriesSequence",
    "SourceImageSequence",
    "FrameOfReferenceUID",
    "SegmentSequence",
    "ContentLabel",
    _SHARED,
    "PerFrameFunctionalGroupsSequence",
)


def read(root: Item, frames: Iterator[Item]) -> Segmentation:
    """Segments in file order, those without a number left out, and what was segmented."""
    schemes = parts.schemes(root)
    segments = (_segment(item, schemes) for item in root.items_of("SegmentSequence"))
    return Segmentation(
        label=root.text("ContentLabel"),
        frame_of_reference=root.uid("FrameOfReferenceUID"),
        segments=tuple(one for one in segments if one is not None),
        sources=references.by_series(root.items_of("ReferencedSeriesSequence")) or _sources(root, frames),
        content=tree.content_moment(root),
    )


def _segment(item: Item, schemes: parts.Schemes) -> Segment | None:
    numbers = item.integers("SegmentNumber")
    if not numbers:
        return None
    region = item.first("AnatomicRegionSequence")
    category = parts.codes(item, "SegmentedPropertyCategoryCodeSequence", schemes)
    property_type = parts.codes(item, "SegmentedPropertyTypeCodeSequence", schemes)
    return Segment(
        number=numbers[0],
        label=item.text("SegmentLabel"),
        region=parts.code(region, schemes),
        region_modifiers=parts.codes(region, "AnatomicRegionModifierSequence", schemes),
        property_category=category[0] if category else None,
        property_type=property_type[0] if property_type else None,
        tracking_uid=item.uid("TrackingUID"),
    )


def _sources(root: Item, frames: Iterator[Item]) -> tuple[SeriesReference, ...]:
    """The source images of the root and of the frames; no series is named there, so theirs is empty."""
    groups: Iterable[Item] = chain(root.items_of(_SHARED), islice(frames, MAX_FRAMES))
    derived = (item for group in groups for item in group.items_of("DerivationImageSequence"))
    holders = chain((root,), derived)
    images = (one for holder in holders for one in holder.items_of("SourceImageSequence"))
    found: dict[SopReference, None] = {}
    for image in images:
        reference = tree.sop_reference(image)
        if reference is not None:
            found[reference] = None
    return (SeriesReference("", tuple(found)),) if found else ()
