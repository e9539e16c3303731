"""Constraint table of IHE's Interactive Multimedia Report ImagingStudy, R4
(https://profiles.ihe.net/RAD/IMR/StructureDefinition-imr-imagingstudy.html)."""

from __future__ import annotations

from typing import Final

from node.fhir.check import r4
from node.fhir.check.datatypes import (
    CODEABLE_CONCEPT,
    CODING,
    CONTAINED_META,
    REFERENCE,
    UID_IDENTIFIER,
    WORDED_CODING,
    claiming,
)
from node.fhir.check.primitives import DATE_TIME, STRING, URI
from node.fhir.check.shapes import Having, Shape, Slice, constrain, element

_BASE: Final = "https://profiles.ihe.net/RAD/IMR/StructureDefinition"
CONNECTION_TYPE: Final = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
CONNECTION_TYPES: Final = frozenset({(CONNECTION_TYPE, "ihe-iid"), (CONNECTION_TYPE, "dicom-wado-rs")})

_STUDY_UID: Final = constrain(
    UID_IDENTIFIER,
    "Identifier (studyUID)",
    element("system", "1..1", URI, pattern="urn:dicom:uid"),
    element("value", "1..1", STRING),
)
_SERIES: Final = constrain(
    r4.SERIES,
    "ImagingStudy.series (IMR)",
    # Extensible: a body part without a code may be published by its words.
    element("bodySite", "0..1", WORDED_CODING),
)
STUDY: Final = constrain(
    r4.STUDY,
    "imr-imagingstudy",
    element("meta", "1..1", claiming(f"{_BASE}/imr-imagingstudy")),
    element(
        "identifier",
        "1..*",
        UID_IDENTIFIER,
        slices=(Slice("studyUID", Having({"system": "urn:dicom:uid"}), 1, 1, _STUDY_UID),),
    ),
    element("modality", "1..*", CODING),
    element("subject", "1..1", REFERENCE, "Patient"),
    element("started", "1..1", DATE_TIME),
    element("endpoint", "1..*", REFERENCE, "Endpoint"),
    element("series", "0..*", _SERIES),
)

# All contained Endpoints are the study's: it is the only element that refers to one.
_ENDPOINT: Final = constrain(
    r4.ENDPOINT,
    "imaging-study-endpoint",
    element("meta", "0..1", claiming(f"{_BASE}/imaging-study-endpoint", CONTAINED_META)),
    element("connectionType", "1..1", CODING, only=CONNECTION_TYPES),
    element("payloadType", "1..1", CODEABLE_CONCEPT),
)
CONTAINED: Final[dict[str, Shape]] = {"Endpoint": _ENDPOINT, "Device": r4.DEVICE}
