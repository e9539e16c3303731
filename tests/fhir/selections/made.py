"""Documents made by code, each in a series of its own beside CT images that it may refer to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydicom.dataset import Dataset

from node.documents import (
    Content,
    Document,
    Evidence,
    GroupItem,
    KeyObjects,
    KeyReference,
    MeasurementGroup,
    Observer,
    PresentationState,
    Region,
    Report,
    Roi,
    Segment,
    Segmentation,
    SeriesReference,
    SopReference,
    StructureSet,
    When,
)
from node.fhir.options import FhirOptions, SelectionOptions
from node.fhir.table import Built
from node.fhir.targets import PROFILES
from node.model import Study
from node.terms import Code, Person
from tests.fhir.golden import DCM, PRF, V2, concept
from tests.studies import CT, STUDY, assembled, ct

TARGET = PROFILES["imagingselection"]
OPTIONS = FhirOptions()
STORAGE = "1.2.840.10008.5.1.4.1.1."
KOS, SEG, LABEL_MAP, STATE = STORAGE + "88.59", STORAGE + "66.4", STORAGE + "66.7", STORAGE + "11.1"
REPORT, REPORT_3D, RTSTRUCT, VALUE_MAP = (
    STORAGE + "88.33",
    STORAGE + "88.34",
    STORAGE + "481.3",
    STORAGE + "67",
)
SCT = "http://snomed.info/sct"
SOP_CLASSES = "https://dicom.nema.org/medical/dicom/current/output/chtml/part04/sect_B.5"
PROFILE = "http://hl7.org/fhir/uv/dicom-sr/StructureDefinition/"
OTHER = "1.2.826.0.1.3680043.8.498.88"  # another study, which the node does not have
AT = When("20260310", "094000")
ISSUED = "2026-03-10T09:40:00+01:00"

# Where the documents stand: the n-th is instance 1 of series 900 + n.
IMAGES = f"{STUDY}.1"


def image(number: int, series: int = 1, frames: tuple[int, ...] = ()) -> SopReference:
    return SopReference(CT, f"{STUDY}.{series}.{number}", frames)


def dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning=meaning)


def made(
    *documents: tuple[str, Content | None],
    images: tuple[Dataset, ...] = (),
    **changes: Any,
) -> Study:
    """A study of CT images (two, unless ``images`` says which) and of documents: SOP class and content."""
    datasets = list(images or (ct(1), ct(2)))
    found = []
    for at, (sop_class, content) in enumerate(documents):
        dataset = ct(1, 900 + at, SOPClassUID=sop_class, Modality="OT", **changes)
        datasets.append(dataset)
        found.append(
            Document(str(dataset.SOPInstanceUID), sop_class, str(dataset.SeriesInstanceUID), content)
        )
    return replace(assembled(datasets), documents=tuple(found))


def built(study: Study, options: FhirOptions = OPTIONS) -> list[Built]:
    """The selections of a study; each passes its check, and its place can be part of an event's id."""
    found = list(TARGET.build(study, options))
    for one in found:
        TARGET.check(one.resource)
        assert one.item.isascii()
        assert one.item.isprintable()
        assert 0 < len(one.item) <= 128
        assert "/" not in one.item
    assert len({(one.source, one.item) for one in found}) == len(found)
    assert len({one.resource["id"] for one in found}) == len(found)
    return found


def resources(study: Study, options: FhirOptions = OPTIONS) -> dict[str, dict[str, Any]]:
    """The resources of a study of one document by their items."""
    return {one.item: one.resource for one in built(study, options)}


def rules(study: Study, options: FhirOptions = OPTIONS) -> dict[str, int]:
    """What could not be selected: rule -> how many."""
    return {one.rule: one.instances for one in TARGET.findings(study, options)}


# --- What every golden resource has in common.

SUBJECT = {
    "type": "Patient",
    "identifier": {
        "type": concept(V2, "MR", "Medical record number"),
        "system": "urn:oid:1.2.250.1.999.1",
        "value": "PAT-0042",
    },
}
BASED_ON = [
    {
        "type": "ServiceRequest",
        "identifier": {
            "type": concept(V2, "ACSN", "Accession ID"),
            "system": "urn:oid:1.2.250.1.999.2",
            "value": "A20260042",
        },
    }
]
EQUIPMENT = [{"function": PRF, "actor": {"reference": "#dev1"}}]
DEVICE = {
    "resourceType": "Device",
    "id": "dev1",
    "manufacturer": "ACME Imaging",
    "serialNumber": "SN-7",
    "name": [{"value": "CTStation1", "type": "user-friendly-name"}],
    "modelNumber": "Spiral 64",
    "version": [{"value": "VB20A"}, {"value": "1.2"}],
}


def uid_identifier(uid: str) -> dict[str, Any]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def derived_from(study: str, r5_id: str) -> list[dict[str, Any]]:
    known = {"type": concept(DCM, "110180", "Study Instance UID"), **uid_identifier(study)}
    return [{"reference": f"ImagingStudy/{r5_id}", "type": "ImagingStudy", "identifier": known}]


def true_class(tail: str, name: str) -> dict[str, str]:
    return {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{STORAGE}{tail}", "display": name}


def guide_class(tail: str, name: str) -> dict[str, str]:
    return {"system": SOP_CLASSES, "code": STORAGE + tail, "display": name}


# --- Contents.


def key_objects(
    *references: SopReference,
    evidence: tuple[Evidence, ...] = (),
    title: Code | None = dcm("113000", "Of Interest"),  # noqa: B008  frozen
    state: SopReference | None = None,
    **changes: Any,
) -> KeyObjects:
    """Key objects; ``state`` is named by the last reference."""
    items = [KeyReference(f"1.{at}", "IMAGE", one) for at, one in enumerate(references, 1)]
    if state:
        items[-1] = replace(items[-1], presentation_state=state)
    found = KeyObjects(title, "Nodule, follow up", (), tuple(items), (), evidence, AT)
    return replace(found, **changes)


LIVER = Roi(7, "Liver", Code("10200004", "SCT", meaning="Liver"))
LUNG = Roi(3, "Lung", None)


def structures(*rois: Roi) -> StructureSet:
    return StructureSet("Contours", AT, f"{STUDY}.9", rois)


KIDNEY = Segment(
    number=2,
    label="Kidney, sick",
    region=Code("64033007", "SCT", meaning="Kidney"),
    region_modifiers=(Code("7771000", "SCT", meaning="Left"),),
    property_category=Code("49755003", "SCT", meaning="Morphologically Altered Structure"),
    property_type=Code("108369006", "SCT", meaning="Neoplasm"),
    tracking_uid="1.2.3.4",
)


def segmentation(*segments: Segment, sources: tuple[SeriesReference, ...] = ()) -> Segmentation:
    return Segmentation("ORGANS", f"{STUDY}.9", segments, sources, AT)


def state(*references: SeriesReference, label: str = "SOFT") -> PresentationState:
    return PresentationState(label, "soft tissue", references, AT)


def polyline(*coordinates: float) -> Region:
    return Region(2, "POLYLINE", coordinates)


def scoord(path: str, region: Region | None, reference: SopReference | None) -> GroupItem:
    return GroupItem(path, dcm("111030", "Image Region"), "SCOORD", reference, region)


def scoord_3d(path: str, region: Region, name: str = "111030") -> GroupItem:
    return GroupItem(path, dcm(name, "Region"), "SCOORD3D", region=region)


def referring(
    path: str, name: str, reference: SopReference | None, value_type: str = "IMAGE", **more: Any
) -> GroupItem:
    return GroupItem(path, dcm(name, "words of the sender"), value_type, reference, **more)


def group(*items: GroupItem, uid: str = f"{STUDY}.5.1", **changes: Any) -> MeasurementGroup:
    found = MeasurementGroup(
        path="1.4",
        uid=uid,
        tracking_uid="1.2.3.5",
        tracking_id="Nodule 1",
        finding_site=Code("39607008", "SCT", meaning="Lung"),
        laterality=Code("24028007", "SCT", meaning="Right"),
        observed=When(datetime="20260310093000+0000"),
        items=items,
    )
    return replace(found, **changes)


def report(*groups: MeasurementGroup, evidence: tuple[Evidence, ...] = (), **changes: Any) -> Report:
    found = Report(dcm("126000", "Imaging Measurement Report"), "1500", groups, (), evidence, AT)
    return replace(found, **changes)


OBSERVERS = (
    Observer("person", Person("Curie^Marie")),
    Observer("person", Person("", (Code("4711", "99DOC", meaning="Doctor"),))),
    Observer("device", uid="1.2.9", name="CAD", manufacturer="ACME", model="M1", serial="S1"),
)


# --- All of it.

FULL = FhirOptions(
    default_timezone="Europe/Paris",
    wado_rs_base="https://pacs.example.org/dicomweb/",
    include_names=True,
    generate_narrative=True,
    source="urn:example:node",
    sr_document_selection=True,
    sel=SelectionOptions(identifier_system="urn:example:selections"),
)
OTHER_MODES = replace(
    FULL,
    rtstruct_mode="roi",
    seg_mode="instance",
    kos_skip_titles=(),
    sel=SelectionOptions(rtstruct_sopclass="dicom"),
)
SEG_AT, MAP_AT, STRUCTURES_AT = f"{STUDY}.30.1", f"{STUDY}.31.1", f"{STUDY}.32.1"
EVIDENCE = (
    Evidence(STUDY, f"{STUDY}.30", SEG_AT),
    Evidence(STUDY, f"{STUDY}.31", MAP_AT),
    Evidence(STUDY, f"{STUDY}.32", STRUCTURES_AT),
    Evidence(OTHER, f"{OTHER}.5", f"{OTHER}.5.1"),
)


def everything() -> list[tuple[str, Content]]:
    """A document of every kind, and every kind of content item."""
    segment = SopReference(SEG, SEG_AT, (), (4,))
    first = group(
        scoord("1.4.1", polyline(100.5, 120.25, 140, 120.25), image(1, frames=(2,))),
        scoord("1.4.2", Region(2, "MULTIPOINT", (1.0, 2.0, 3.0, 4.0)), image(2)),
        scoord_3d("1.4.3", Region(3, "ELLIPSOID", (0.1,) * 18, f"{STUDY}.9")),
        scoord_3d("1.4.4", Region(3, "POLYGON", (1.0,) * 12, f"{STUDY}.9"), "121231"),
        referring("1.4.5", "121191", segment),
        referring("1.4.6", "121214", replace(segment, frames=(8,), segments=())),
        referring("1.4.7", "130488", SopReference(RTSTRUCT, STRUCTURES_AT), "COMPOSITE", rois=("2",)),
        referring("1.4.8", "126100", SopReference(VALUE_MAP, MAP_AT), "COMPOSITE"),
        referring("1.4.9", "121200", image(1)),
        referring("1.4.10", "130401", image(1)),
        referring("1.4.11", "121233", image(1)),
        GroupItem("1.4.12", dcm("121232", ""), "UIDREF", series=f"{STUDY}.30"),
    )
    second = replace(group(scoord("1.5.1", polyline(1, 2), image(2))), path="1.5", uid="")
    far = SopReference(CT, f"{OTHER}.5.1", (2,))
    shown = SopReference(STATE, f"{STUDY}.902.1")
    return [
        (RTSTRUCT, structures(LIVER, LUNG)),
        (KOS, key_objects(image(1), far, evidence=EVIDENCE, observers=OBSERVERS, state=shown)),
        (STATE, state(SeriesReference(IMAGES, (image(1), image(2))))),
        (REPORT, report(first, second, evidence=EVIDENCE, observers=OBSERVERS)),
        (REPORT_3D, report(template="2000")),
        (
            SEG,
            segmentation(KIDNEY, replace(KIDNEY, number=3), sources=(SeriesReference(IMAGES, (image(1),)),)),
        ),
        (LABEL_MAP, segmentation(KIDNEY)),
        (KOS, key_objects(image(1), title=dcm("113030", "Manifest"))),
    ]
