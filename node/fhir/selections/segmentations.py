"""Segmentations and label maps (PS3.3 A.51, C.8.20): profile referenced-segment of the dicom-sr guide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.documents import Segment, Segmentation
from node.fhir import terminology
from node.fhir.contained import Context
from node.fhir.datatypes import Json, string, uid
from node.fhir.options import FhirOptions
from node.fhir.selections import concepts
from node.fhir.selections.base import Dropped, Place, Selection, Source, instant, own_entry, site
from node.fhir.selections.concepts import SEGMENT
from node.fhir.table import Row
from node.terms import Code

# PS3.16 CID 7150: the categories whose types are parts of the body; the others are lesions, devices, functions.
_BODY_STRUCTURES: Final = frozenset({(terminology.SCT, "123037004"), (terminology.SCT, "85756007")})


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSelection(Selection):
    """One segment, or all of a segmentation (``segment`` is None)."""

    content: Segmentation
    segment: Segment | None = None


def selections(source: Source, content: Segmentation) -> Iterator[Selection | Dropped]:
    """One selection a segment, or one with the numbers of all; none without segments."""
    sources = tuple(Place(source.place.study, one.series) for one in content.sources)
    segments: dict[int, Segment] = {}
    for segment in content.segments:
        segments.setdefault(segment.number, segment)
    if source.options.seg_mode == "segment":
        for segment in segments.values():
            yield _selection(source, content, str(segment.number), (str(segment.number),), sources, segment)
    elif segments:
        yield _selection(source, content, "segments", tuple(map(str, segments)), sources, None)
    if len(segments) < len(content.segments):
        repeated = len(content.segments) - len(segments)
        yield Dropped("selection-number-repeated", "SegmentNumber", repeated)


def _selection(
    source: Source,
    content: Segmentation,
    item: str,
    numbers: tuple[str, ...],
    sources: tuple[Place, ...],
    segment: Segment | None,
) -> Selection:
    entry = own_entry(source, numbers)
    fits = concepts.satisfied(SEGMENT, (entry,), content.frame_of_reference, source.options)
    return SegmentSelection(
        source=source,
        item=item,
        place=source.place,
        entries=(entry,),
        uid=source.document.instance,
        concept=SEGMENT,
        claimed=fits and segment is not None,
        sources=sources,
        content=content,
        segment=segment,
    )


def _code(selection: SegmentSelection, _: Context) -> Json:
    text = selection.segment.label if selection.segment else selection.content.label
    return concepts.code(SEGMENT, selection.claimed, string(text))


def _body_site(selection: SegmentSelection, context: Context) -> Json | None:
    segment = selection.segment
    if segment is None:
        return None
    region, options = segment.region, context.options
    if region is None and _is_body_structure(segment.property_category, options):
        region = segment.property_type
    return site(region, segment.region_modifiers, options)


def _is_body_structure(category: Code | None, options: FhirOptions) -> bool:
    found = terminology.coding(category, options) if category else None
    return found is not None and (found["system"], found["code"]) in _BODY_STRUCTURES


ROWS: Final[tuple[Row[SegmentSelection, Context], ...]] = (
    Row(
        "issued",
        "0..1",
        "(0008,0023) (0008,0033)",
        "only with a known offset",
        lambda one, _: instant(one.content.content, one.source),
    ),
    Row(
        "code",
        "1..1",
        "(0062,0005), (0070,0080)",
        "121191 DCM; the text is the segment's label, of a whole segmentation (`seg_mode`) its content label",
        _code,
    ),
    Row(
        "frameOfReferenceUid",
        "0..1",
        "(0020,0052)",
        "of the object",
        lambda one, _: uid(one.content.frame_of_reference),
    ),
    Row(
        "bodySite",
        "0..1",
        "(0008,2218), (0062,0003), (0062,000F)",
        "the segment's anatomic region, else its property type where the category is a body structure or tissue; "
        "modifiers of the region are in the text",
        _body_site,
    ),
)
