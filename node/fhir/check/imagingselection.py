"""Constraint tables of ImagingSelection, FHIR 5.0.0 (https://hl7.org/fhir/R5/imagingselection-definitions.html), and
of the profiles on it of HL7's DICOM SR guide (http://hl7.org/fhir/uv/dicom-sr, build of 2025-05-01; the two last
ones only in later builds). A profile's slices are open: instances that are in none are as the base has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from node.fhir.check.datatypes import (
    CODEABLE_CONCEPT,
    CODING,
    IDENTIFIER,
    NARRATIVE,
    PLAIN_META,
    REFERENCE,
    UID_IDENTIFIER,
    claiming,
    codeable_reference,
)
from node.fhir.check.primitives import CODE, DECIMAL, ID, INSTANT, STRING, UNSIGNED_INT, URI
from node.fhir.check.r5 import CONTAINED_ROW, PERFORMERS, REQUESTS
from node.fhir.check.shapes import (
    Element,
    Having,
    HavingMember,
    Json,
    PointingTo,
    Shape,
    Slice,
    constrain,
    element,
    resource,
    shape,
)

STATUS: Final = frozenset({"available", "entered-in-error", "unknown"})
TYPES_2D: Final = frozenset({"point", "polyline", "interpolated", "circle", "ellipse"})
TYPES_3D: Final = frozenset({"point", "multipoint", "polyline", "polygon", "ellipse", "ellipsoid"})
SUBJECTS: Final = (
    "Patient",
    "Group",
    "Device",
    "Location",
    "Organization",
    "Procedure",
    "Practitioner",
    "Medication",
    "Substance",
    "Specimen",
)


def _multiple_of(dimensions: int) -> Callable[[Json], Iterator[tuple[str, str]]]:
    def whole_points(region: Json) -> Iterator[tuple[str, str]]:
        numbers = region.get("coordinate")
        if type(numbers) is list and len(numbers) % dimensions:
            yield "coordinate", f"not {dimensions} numbers for each point"

    whole_points.__name__ = f"whole_points_{dimensions}d"
    return whole_points


REGION_2D: Final = shape(
    "ImagingSelection.instance.imageRegion2D",
    element("regionType", "1..1", CODE, only=TYPES_2D),
    element("coordinate", "1..*", DECIMAL),
    rules=(_multiple_of(2),),
)
REGION_3D: Final = shape(
    "ImagingSelection.instance.imageRegion3D",
    element("regionType", "1..1", CODE, only=TYPES_3D),
    element("coordinate", "1..*", DECIMAL),
    rules=(_multiple_of(3),),
)
INSTANCE: Final = shape(
    "ImagingSelection.instance",
    element("uid", "1..1", ID),
    element("number", "0..1", UNSIGNED_INT),
    element("sopClass", "0..1", CODING),
    element("subset", "0..*", STRING),
    element("imageRegion2D", "0..*", REGION_2D),
    element("imageRegion3D", "0..*", REGION_3D),
)
SELECTION: Final = resource(
    "ImagingSelection",
    element("id", "0..1", ID),
    element("meta", "0..1", PLAIN_META),
    element("text", "0..1", NARRATIVE),
    CONTAINED_ROW,
    element("identifier", "0..*", UID_IDENTIFIER),
    element("status", "1..1", CODE, only=STATUS),
    element("subject", "0..1", REFERENCE, *SUBJECTS),
    element("issued", "0..1", INSTANT),
    element(
        "performer",
        "0..*",
        shape(
            "ImagingSelection.performer",
            element("function", "0..1", CODEABLE_CONCEPT),
            element("actor", "0..1", REFERENCE, *PERFORMERS),
        ),
    ),
    element("basedOn", "0..*", REFERENCE, *REQUESTS),
    element("category", "0..*", CODEABLE_CONCEPT),
    element("code", "1..1", CODEABLE_CONCEPT),
    element("studyUid", "0..1", ID),
    element("derivedFrom", "0..*", REFERENCE, "ImagingStudy", "DocumentReference"),
    element("endpoint", "0..*", REFERENCE, "Endpoint"),
    element("seriesUid", "0..1", ID),
    element("seriesNumber", "0..1", UNSIGNED_INT),
    element("frameOfReferenceUid", "0..1", ID),
    element("bodySite", "0..1", codeable_reference("BodyStructure", "BodyStructure")),
    element("focus", "0..*", REFERENCE, "ImagingSelection"),
    element("instance", "0..*", INSTANCE),
)

# --- The profiles.

_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_SOP_CLASSES: Final = "https://dicom.nema.org/medical/dicom/current/output/chtml/part04/sect_B.5"
_BASE: Final = "http://hl7.org/fhir/uv/dicom-sr/StructureDefinition"


def _type(system: str, code: str, display: str) -> Element:
    wanted = {"system": system, "code": code, "display": display}
    return element("type", "1..1", CODEABLE_CONCEPT, pattern={"coding": (wanted,)})


_ACCESSION: Final = constrain(
    IDENTIFIER,
    "Identifier (serviceRequestRef)",
    _type("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN", "Accession ID"),
    element("value", "1..1", STRING),
)
_STUDY_UID: Final = constrain(
    IDENTIFIER,
    "Identifier (imagingStudyRef)",
    _type(_DCM, "110180", "Study Instance UID"),
    element("system", "0..1", URI, pattern="urn:dicom:uid"),
    element("value", "1..1", STRING),
)
_REQUEST: Final = constrain(
    REFERENCE, "Reference (serviceRequestRef)", element("identifier", "0..1", _ACCESSION)
)
_STUDY: Final = constrain(REFERENCE, "Reference (imagingStudyRef)", element("identifier", "0..1", _STUDY_UID))

# The abstract profile; derivedFrom is optional in later builds, one is valid in both.
OBSERVATION: Final = constrain(
    SELECTION,
    "observation-imaging-selection",
    element("subject", "1..1", REFERENCE, "Patient"),
    element(
        "basedOn",
        "0..*",
        REFERENCE,
        *REQUESTS,
        slices=(Slice("serviceRequestRef", PointingTo("ServiceRequest"), 0, 1, _REQUEST),),
    ),
    element(
        "derivedFrom",
        "1..*",
        REFERENCE,
        "ImagingStudy",
        "DocumentReference",
        slices=(Slice("imagingStudyRef", PointingTo("ImagingStudy"), 1, 1, _STUDY),),
    ),
)


def _of_class(
    name: str, code: str, display: str, low: int, subset: str = "", high: int | None = None
) -> Slice:
    """The slice of instances of one SOP class; the text of ``display`` is part of what tells them apart."""
    when = Having({"sopClass": {"system": _SOP_CLASSES, "code": code, "display": display}})
    rows = [element("subset", subset, STRING)] if subset else []
    return Slice(name, when, low, high, constrain(INSTANCE, f"ImagingSelection.instance ({name})", *rows))


_WITH_REGION: Final = Slice(
    "imageInstance",
    HavingMember("imageRegion2D"),
    1,
    None,
    constrain(
        INSTANCE, "ImagingSelection.instance (imageInstance)", element("imageRegion2D", "1..1", REGION_2D)
    ),
)
# The extra 1 at the beginning of the code is the profile's.
_STRUCTURE_SET: Final = _of_class(
    "rtStructureInstance", "11.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set Storage", 1, "1..*"
)
_REPORTS: Final = (
    ("srBasicInstance", "11", "Basic Text SR Storage"),
    ("srEnhancedInstance", "22", "Enhanced SR Storage"),
    ("srComprehensiveInstance", "33", "Comprehensive SR Storage"),
    ("sr3DComprehensiveInstance", "34", "Comprehensive 3D SR Storage"),
)


def _instances(*slices: Slice, card: str = "1..*") -> Element:
    return element("instance", card, INSTANCE, slices=slices)


def _segmentation(name: str) -> Slice:
    return _of_class(name, "1.2.840.10008.5.1.4.1.1.66.4", "Segmentation Storage", 1, "1..1")


_FRAME_OF_REFERENCE: Final = element("frameOfReferenceUid", "1..1", ID)

# Profile -> DCM code and display that it fixes, and its other rows.
ROWS: Final[dict[str, tuple[str, str, tuple[Element, ...]]]] = {
    "region-in-space": ("130488", "Region In Space", (_instances(_STRUCTURE_SET),)),
    "image-region-2d": ("111030", "Image Region", (_instances(_WITH_REGION),)),
    "image-region-3d": ("111030", "Image Region", (_FRAME_OF_REFERENCE,)),
    "volume-surface": ("121231", "Volume Surface", (_FRAME_OF_REFERENCE,)),
    "referenced-segment": (
        "121191",
        "Referenced Segment",
        (_instances(_segmentation("segmentationInstance")),),
    ),
    "referenced-segmentation-frame": (
        "121214",
        "Referenced Segmentation Frame",
        (_instances(_segmentation("referencedSegmentationFrame")),),
    ),
    "real-world-value-map": (
        "126100",
        "Real World Value Map used for measurement",
        (
            _instances(
                _of_class(
                    "valueMapInstance", "1.2.840.10008.5.1.4.1.1.67", "Real World Value Mapping Storage", 1
                )
            ),
        ),
    ),
    "illustration-of-roi": ("121200", "Illustration of ROI", (_instances(),)),
    "visual-explanation": ("130401", "Visual Explanation", (_instances(),)),
    "source-image-for-segmentation": ("121233", "Source image for segmentation", (_instances(),)),
    "source-sr-content-item": (
        "111040",
        "Original Source",
        (
            _instances(
                *(
                    _of_class(name, f"1.2.840.10008.5.1.4.1.1.88.{tail}", display, 0, "1..1", 1)
                    for name, tail, display in _REPORTS
                ),
                card="1..1",
            ),
        ),
    ),
}


def _profile(name: str, code: str, display: str, rows: tuple[Element, ...]) -> Shape:
    wanted: dict[str, Any] = {"system": _DCM, "code": code, "display": display}
    concept = constrain(
        CODEABLE_CONCEPT, f"CodeableConcept ({name})", element("coding", "1..1", CODING, pattern=wanted)
    )
    return constrain(
        OBSERVATION,
        name,
        element("meta", "1..1", claiming(f"{_BASE}/{name}")),
        element("code", "1..1", concept),
        *rows,
    )


PROFILES: Final[dict[str, Shape]] = {
    f"{_BASE}/{name}": _profile(name, code, display, rows) for name, (code, display, rows) in ROWS.items()
}
