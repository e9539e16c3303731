"""RT Structure Sets (PS3.3 A.19, C.8.8.5): profile region-in-space of the dicom-sr guide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.documents import Roi, StructureSet
from node.fhir.contained import Context
from node.fhir.datatypes import Json, string, uid
from node.fhir.selections import concepts
from node.fhir.selections.base import Dropped, Selection, Source, instant, own_entry, site
from node.fhir.selections.concepts import REGION_IN_SPACE
from node.fhir.table import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureSelection(Selection):
    """All regions of a structure set, or one (``roi``)."""

    content: StructureSet
    roi: Roi | None = None


def selections(source: Source, content: StructureSet) -> Iterator[Selection | Dropped]:
    """One selection with the numbers of all regions, or one a region; none without regions."""
    rois: dict[int, Roi] = {}
    for roi in content.rois:
        rois.setdefault(roi.number, roi)
    if source.options.rtstruct_mode == "roi":
        for roi in rois.values():
            yield _selection(source, content, str(roi.number), (str(roi.number),), roi)
    elif rois:
        yield _selection(source, content, "rois", tuple(map(str, rois)), None)
    if len(rois) < len(content.rois):
        yield Dropped("selection-number-repeated", "ROINumber", len(content.rois) - len(rois))


def _selection(
    source: Source, content: StructureSet, item: str, numbers: tuple[str, ...], roi: Roi | None
) -> Selection:
    entry = own_entry(source, numbers)
    return StructureSelection(
        source=source,
        item=item,
        place=source.place,
        entries=(entry,),
        uid=source.document.instance,
        concept=REGION_IN_SPACE,
        claimed=concepts.satisfied(REGION_IN_SPACE, (entry,), content.frame_of_reference, source.options),
        content=content,
        roi=roi,
    )


def _code(selection: StructureSelection, _: Context) -> Json:
    text = selection.roi.name if selection.roi else selection.content.label
    return concepts.code(REGION_IN_SPACE, selection.claimed, string(text))


def _body_site(selection: StructureSelection, context: Context) -> Json | None:
    return site(selection.roi.code, (), context.options) if selection.roi else None


ROWS: Final[tuple[Row[StructureSelection, Context], ...]] = (
    Row(
        "issued",
        "0..1",
        "(3006,0008) (3006,0009)",
        "only with a known offset",
        lambda one, _: instant(one.content.created, one.source),
    ),
    Row(
        "code",
        "1..1",
        "(3006,0002), (3006,0026)",
        "130488 DCM, spelt as the profile has it; the text is the structure set's label, of one region "
        "(`rtstruct_mode`) its name",
        _code,
    ),
    Row(
        "frameOfReferenceUid",
        "0..1",
        "(3006,0010) > (0020,0052), (0020,0052)",
        "of the referenced frame of reference, else of the object",
        lambda one, _: uid(one.content.frame_of_reference),
    ),
    Row("bodySite", "0..1", "(3006,0080) > (3006,0086)", "of one region, when it is coded", _body_site),
)
