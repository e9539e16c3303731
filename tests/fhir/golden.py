"""The resource of the synthetic CT and structure set of ``tests.studies``, written by hand."""

from __future__ import annotations

from typing import Any

from tests.studies import STUDY


def concept(system: str, code: str, display: str, text: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"coding": [{"system": system, "code": code, "display": display}]}
    return found | ({"text": text} if text else {})


DCM = "http://dicom.nema.org/resources/ontology/DCM"
SCT = "http://snomed.info/sct"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"
PRF = concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "PRF", "performer")
CT_CLASS = {
    "system": "urn:ietf:rfc:3986",
    "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2",
    "display": "CT Image Storage",
}
PERFORMERS = [
    {"function": PRF, "actor": {"reference": "#dev1"}},
    {"function": PRF, "actor": {"type": "Practitioner", "display": "Curie, Marie"}},
    {"function": PRF, "actor": {"type": "Practitioner", "display": "Röntgen, Wilhelm"}},
]

GOLDEN: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "id": "23b54aab-b540-537f-a5aa-19d64ccf5af7",
    "meta": {"source": "urn:example:node"},
    "text": {
        "status": "generated",
        "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Imaging study 1.2.826.0.1.3680043.8.498.77</p>'
        "<p>CT THORAX</p><p>CT, RTSTRUCT: 2 series, 2 instances</p></div>",
    },
    "identifier": [
        {"use": "official", "system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"},
        {"use": "secondary", "system": "https://dicom.example.org/study-id", "value": "S42"},
    ],
    "status": "available",
    "modality": [concept(DCM, "CT", "Computed Tomography"), concept(DCM, "RTSTRUCT", "RT Structure Set")],
    "subject": {
        "type": "Patient",
        "identifier": {
            "type": concept(V2, "MR", "Medical record number"),
            "system": "urn:oid:1.2.250.1.999.1",
            "value": "PAT-0042",
        },
        "display": "Müller, Jörg Karl",
    },
    "encounter": {
        "type": "Encounter",
        "identifier": {"type": concept(V2, "VN", "Visit number"), "value": "V1"},
    },
    "started": "2026-03-10T08:15:30.25+01:00",
    "basedOn": [
        {
            "type": "ServiceRequest",
            "identifier": {
                "type": concept(V2, "ACSN", "Accession ID"),
                "system": "urn:oid:1.2.250.1.999.2",
                "value": "A20260042",
            },
        }
    ],
    "referrer": {
        "type": "Practitioner",
        "identifier": {"system": "https://dicom.example.org/doctors", "value": "4711"},
        "display": "Hippocrates, Kos",
    },
    "endpoint": [{"reference": "#endpoint1"}],
    "numberOfSeries": 2,
    "numberOfInstances": 2,
    "procedure": [{"concept": concept("http://loinc.org", "24627-2", "CT Chest", "CT Chest")}],
    "location": {"type": "Location", "display": "Hospital A / Radiology"},
    "reason": [
        {"concept": concept("http://snomed.info/srt", "R-42039", "Nodule", "Nodule")},
        {"concept": {"text": "Suspected pulmonary nodule"}},
    ],
    "description": "CT THORAX",
    "series": [
        {
            "uid": f"{STUDY}.1",
            "number": 1,
            "modality": concept(DCM, "CT", "Computed Tomography"),
            "description": "Thorax 1.5mm",
            "numberOfInstances": 1,
            "bodySite": {"concept": concept(SCT, "816094009", "Chest", "CHEST")},
            "laterality": concept(SCT, "7771000", "Left"),
            "specimen": [{"type": "Specimen", "identifier": {"value": "SP-1"}}],
            "started": "2026-03-10T08:17:02+01:00",
            "performer": PERFORMERS,
            "instance": [
                {
                    "uid": f"{STUDY}.1.1",
                    "sopClass": CT_CLASS,
                    "number": 1,
                    "title": "ORIGINAL\\PRIMARY\\AXIAL",
                }
            ],
        },
        {
            "uid": f"{STUDY}.900",
            "number": 900,
            "modality": concept(DCM, "RTSTRUCT", "RT Structure Set"),
            "description": "Contours",
            "numberOfInstances": 1,
            "specimen": [{"type": "Specimen", "identifier": {"value": "SP-1"}}],
            "started": "2026-03-10",
            "performer": PERFORMERS,
            "instance": [
                {
                    "uid": f"{STUDY}.900.1",
                    "sopClass": {
                        "system": "urn:ietf:rfc:3986",
                        "code": "urn:oid:1.2.840.10008.5.1.4.1.1.481.3",
                        "display": "RT Structure Set Storage",
                    },
                    "number": 1,
                    "title": "Lung contours",
                }
            ],
        },
    ],
    "contained": [
        {
            "resourceType": "Device",
            "id": "dev1",
            "manufacturer": "ACME Imaging",
            "serialNumber": "SN-7",
            "name": [{"value": "CTStation1", "type": "user-friendly-name"}],
            "modelNumber": "Spiral 64",
            "version": [{"value": "VB20A"}, {"value": "1.2"}],
        },
        {
            "resourceType": "Endpoint",
            "id": "endpoint1",
            "status": "active",
            "connectionType": [
                concept(
                    "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
                    "dicom-wado-rs",
                    "DICOM WADO-RS",
                )
            ],
            "payload": [{"type": [concept(DCM, "113014", "Study")]}],
            "address": "https://pacs.example.org/dicomweb",
        },
    ],
}
