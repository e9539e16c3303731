"""RT Structure Set (PS3.3 A.19, C.8.8.5 to C.8.8.8): its regions of interest, not their contours."""

from __future__ import annotations

from typing import Final

from node.assemble import parts
from node.content.items import Item
from node.documents import Roi, StructureSet, When
from node.terms import Code

ROOT: Final = (
    "SpecificCharacterSet",
    "CodingSchemeIdentificationSequence",
    "FrameOfReferenceUID",
    "StructureSetLabel",
    "StructureSetDate",
    "StructureSetTime",
    "ReferencedFrameOfReferenceSequence",
    "StructureSetROISequence",
    "RTROIObservationsSequence",
)


def read(root: Item) -> StructureSet:
    """Label and regions in file order; one without a number is left out."""
    frames = (item.uid("FrameOfReferenceUID") for item in root.items_of("ReferencedFrameOfReferenceSequence"))
    codes = _codes(root)
    rois = (
        Roi(number, item.text("ROIName"), codes.get(number))
        for item in root.items_of("StructureSetROISequence")
        for number in item.integers("ROINumber")[:1]
    )
    return StructureSet(
        label=root.text("StructureSetLabel"),
        created=When(root.text("StructureSetDate"), root.text("StructureSetTime")),
        frame_of_reference=next(filter(None, frames), "") or root.uid("FrameOfReferenceUID"),
        rois=tuple(rois),
    )


def _codes(root: Item) -> dict[int, Code]:
    """ROI Number -> the first identification code that an observation of it has."""
    schemes = parts.schemes(root)
    found: dict[int, Code] = {}
    for item in root.items_of("RTROIObservationsSequence"):
        for number in item.integers("ReferencedROINumber")[:1]:
            for code in parts.codes(item, "RTROIIdentificationCodeSequence", schemes)[:1]:
                found.setdefault(number, code)
    return found
