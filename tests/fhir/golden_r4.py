"""The R4 resources of the synthetic CT and structure set of ``tests.studies``, written by hand."""

from __future__ import annotations

from typing import Any

from tests.fhir.golden import CT_CLASS, DCM, PERFORMERS, SCT, V2, concept
from tests.studies import STUDY

OSIRIS_URL = "https://ig-osiris.cancer.fr/ig/osiris/StructureDefinition/"
IMR_URL = "https://profiles.ihe.net/RAD/IMR/StructureDefinition/"
CONNECTION = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
MEDICAL_DICOM = "https://dicom.nema.org/medical/dicom"
ARKHN = "https://terminology.arkhn.com/SeriesModalityCS"


def coding(system: str, code: str, display: str) -> dict[str, Any]:
    return {"system": system, "code": code, "display": display}


def absent(member: str, why: str = "unknown") -> dict[str, Any]:
    """A primitive without a value, and why."""
    url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
    return {f"_{member}": {"extension": [{"url": url, "valueCode": why}]}}


def endpoint(profile: str) -> dict[str, Any]:
    return {
        "resourceType": "Endpoint",
        "id": "endpoint1",
        "meta": {"profile": [profile]},
        "status": "active",
        "connectionType": coding(CONNECTION, "dicom-wado-rs", "DICOM WADO-RS"),
        "name": "Archive",
        "payloadType": [concept(DCM, "113014", "Study")],
        "address": "https://pacs.example.org/dicomweb",
    }


_ACCESSION = {
    "type": concept(V2, "ACSN", "Accession ID"),
    "system": "urn:oid:1.2.250.1.999.2",
    "value": "A20260042",
}
_REQUEST: dict[str, Any] = {
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
    "basedOn": [{"type": "ServiceRequest", "identifier": _ACCESSION}],
    "referrer": {
        "type": "Practitioner",
        "identifier": {"system": "https://dicom.example.org/doctors", "value": "4711"},
        "display": "Hippocrates, Kos",
    },
    "interpreter": [{"type": "Practitioner", "display": "Roentgen, Bertha"}],
    "endpoint": [{"reference": "#endpoint1"}],
    "numberOfSeries": 2,
    "numberOfInstances": 2,
    "procedureCode": [concept("http://loinc.org", "24627-2", "CT Chest", "CT Chest")],
    "reasonCode": [
        concept("http://snomed.info/srt", "R-42039", "Nodule", "Nodule"),
        {"text": "Suspected pulmonary nodule"},
    ],
    "description": "CT THORAX",
}
_STUDY_UID = {"use": "official", "system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
_SPECIMEN = [{"type": "Specimen", "identifier": {"value": "SP-1"}}]
_LEFT = coding(SCT, "7771000", "Left")
_CT_INSTANCES = [
    {"uid": f"{STUDY}.1.1", "sopClass": CT_CLASS, "number": 1, "title": "ORIGINAL\\PRIMARY\\AXIAL"}
]
_RTSTRUCT_INSTANCES = [
    {
        "uid": f"{STUDY}.900.1",
        "sopClass": coding(
            "urn:ietf:rfc:3986",
            "urn:oid:1.2.840.10008.5.1.4.1.1.481.3",
            "RT Structure Set Storage",
        ),
        "number": 1,
        "title": "Lung contours",
    }
]

IMR: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "id": "17542794-499c-5460-924a-b70867ddf518",
    "meta": {"source": "urn:example:node", "profile": [f"{IMR_URL}imr-imagingstudy"]},
    "identifier": [
        _STUDY_UID,
        _ACCESSION,
        {"use": "secondary", "system": "https://dicom.example.org/study-id", "value": "S42"},
    ],
    "status": "available",
    "modality": [coding(DCM, "CT", "Computed Tomography")],
    "started": "2026-03-10T08:15:30.25+01:00",
    **_REQUEST,
    "location": {"type": "Location", "display": "Hospital A / Radiology"},
    "series": [
        {
            "uid": f"{STUDY}.1",
            "number": 1,
            "modality": coding(DCM, "CT", "Computed Tomography"),
            "description": "Thorax 1.5mm",
            "numberOfInstances": 1,
            "bodySite": coding(SCT, "816094009", "Chest"),
            "laterality": _LEFT,
            "specimen": _SPECIMEN,
            "started": "2026-03-10T08:17:02+01:00",
            "performer": PERFORMERS,
            "instance": _CT_INSTANCES,
        },
        {
            "uid": f"{STUDY}.900",
            "number": 900,
            "modality": coding(DCM, "RTSTRUCT", "RT Structure Set"),
            "description": "Contours",
            "numberOfInstances": 1,
            "specimen": _SPECIMEN,
            "started": "2026-03-10",
            "performer": PERFORMERS,
            "instance": _RTSTRUCT_INSTANCES,
        },
    ],
    "contained": [
        {
            "resourceType": "Device",
            "id": "dev1",
            "manufacturer": "ACME Imaging",
            "serialNumber": "SN-7",
            "deviceName": [{"name": "CTStation1", "type": "user-friendly-name"}],
            "modelNumber": "Spiral 64",
            "version": [{"value": "VB20A"}, {"value": "1.2"}],
        },
        endpoint(f"{IMR_URL}imaging-study-endpoint"),
    ],
}

CT_SETTINGS: dict[str, tuple[str, ...]] = {
    "SliceThickness": ("1.50",),
    "PixelSpacing": ("0.63671875", "0.63671875"),
    "ReconstructionDiameter": ("326",),
    "Rows": ("512",),
    "Columns": ("512",),
    "KVP": ("120.0",),
    "XRayTubeCurrent": ("70",),
    "ExposureTime": ("870",),
    "SpiralPitchFactor": ("0.984",),
    "FilterType": ("BODY FILTER",),
    "ConvolutionKernel": ("B30f", "2"),
}

OSIRIS: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "id": "c7896829-214d-50c8-aad4-3bf2aad43bb2",
    "meta": {"source": "urn:example:node", "profile": [f"{OSIRIS_URL}onco-imagingstudy"]},
    "identifier": [_STUDY_UID],
    "status": "available",
    "modality": [
        coding(MEDICAL_DICOM, "CT", "Computed Tomography Scanner"),
        coding(ARKHN, "RTSTRUCT", "Radiotherapy Structure Set"),
    ],
    "started": "2026-03-10T08:18:01+01:00",
    **_REQUEST,
    "location": {"reference": "#location1"},
    "reasonReference": [
        {
            "type": "Observation",
            "identifier": {"system": "https://osiris.example.org/analysis", "value": "A20260042"},
        }
    ],
    "series": [
        {
            "extension": [
                {
                    "url": f"{OSIRIS_URL}series-weightheigt",
                    "extension": [
                        {"url": "patient_weight", "valueDecimal": 80},
                        {"url": "patient_height", "valueDecimal": 1.8},
                    ],
                },
                {
                    "url": f"{OSIRIS_URL}imaging-settings",
                    "extension": [
                        {"url": "slice_thickness", "valueString": "1.50"},
                        {"url": "pixel_spacing", "valueString": "[0.63671875, 0.63671875]"},
                        {"url": "field_of_view", "valueInteger": 326},
                        {"url": "rows", "valueInteger": 512},
                        {"url": "columns", "valueInteger": 512},
                        {
                            "url": "ct_image",
                            "extension": [
                                {"url": "kvp", "valueInteger": 120},
                                {"url": "xray_tube_current", "valueInteger": 70},
                                {"url": "exposure_time", "valueInteger": 870},
                                {"url": "spiral_pitch_factor", "valueDecimal": 0.984},
                                {"url": "filter_type", "valueString": "BODY FILTER"},
                                {"url": "convolution_kernel", "valueString": "B30f\\2"},
                            ],
                        },
                    ],
                },
            ],
            "uid": f"{STUDY}.1",
            "number": 1,
            "modality": coding(MEDICAL_DICOM, "CT", "Computed Tomography Scanner"),
            "description": "Thorax 1.5mm",
            "numberOfInstances": 1,
            "bodySite": coding(SCT, "43799004", "Thorax"),
            "laterality": _LEFT,
            "specimen": _SPECIMEN,
            "started": "2026-03-10T08:18:01+01:00",
            "performer": [{"actor": {"reference": "#dev1"}}],
            "instance": _CT_INSTANCES,
        },
        {
            "extension": [
                {
                    "url": f"{OSIRIS_URL}imaging-settings",
                    "extension": [
                        {"url": "slice_thickness", **absent("valueString", "not-applicable")},
                        {"url": "pixel_spacing", **absent("valueString", "not-applicable")},
                        {"url": "rows", **absent("valueInteger", "not-applicable")},
                        {"url": "columns", **absent("valueInteger", "not-applicable")},
                    ],
                }
            ],
            "uid": f"{STUDY}.900",
            "number": 900,
            "modality": coding(ARKHN, "RTSTRUCT", "Radiotherapy Structure Set"),
            "description": "Contours",
            "numberOfInstances": 1,
            "specimen": _SPECIMEN,
            "started": "2026-03-10",
            "performer": [{"actor": {"reference": "#dev1"}}],
            "instance": _RTSTRUCT_INSTANCES,
        },
    ],
    "contained": [
        {
            "resourceType": "Device",
            "id": "dev1",
            "meta": {"profile": [f"{OSIRIS_URL}imaging-device"]},
            "manufacturer": "ACME Imaging",
            "serialNumber": "SN-7",
            "deviceName": [{"name": "Spiral 64", "type": "manufacturer-name"}],
            "version": [{"value": "VB20A\\1.2"}],
        },
        endpoint(f"{OSIRIS_URL}imaging-pacs"),
        {
            "resourceType": "Location",
            "id": "location1",
            "meta": {"profile": [f"{OSIRIS_URL}imaging-service"]},
            "name": "Hospital A",
        },
    ],
}
