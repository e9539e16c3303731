"""The DSTU1 resource of the synthetic CT and structure set of ``tests.studies``, written by hand."""

from __future__ import annotations

from typing import Any

from tests.studies import STUDY

BASE = f"https://pacs.example.org/dicomweb/studies/{STUDY}"

GOLDEN: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "dateTime": "2026-03-10T08:15:30.25+01:00",
    "subject": {"reference": "#pat1"},
    "uid": f"urn:oid:{STUDY}",
    "accessionNo": {"system": "urn:oid:1.2.250.1.999.2", "value": "A20260042"},
    "identifier": [
        {
            "use": "secondary",
            "label": "Study ID",
            "system": "https://dicom.example.org/study-id",
            "value": "S42",
        }
    ],
    "modality": ["CT"],
    "referrer": {"reference": "#prac1"},
    "availability": "ONLINE",
    "url": BASE,
    "numberOfSeries": 2,
    "numberOfInstances": 2,
    "clinicalInformation": "Suspected pulmonary nodule",
    "procedure": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}],
    "description": "CT THORAX",
    "series": [
        {
            "number": 1,
            "modality": "CT",
            "uid": f"urn:oid:{STUDY}.1",
            "description": "Thorax 1.5mm",
            "numberOfInstances": 1,
            "availability": "ONLINE",
            "url": f"{BASE}/series/{STUDY}.1",
            "bodySite": {"system": "http://snomed.info/sct", "code": "816094009", "display": "Chest"},
            "dateTime": "2026-03-10T08:17:02+01:00",
            "instance": [
                {
                    "number": 1,
                    "uid": f"urn:oid:{STUDY}.1.1",
                    "sopclass": "urn:oid:1.2.840.10008.5.1.4.1.1.2",
                    "type": "IMAGE",
                    "title": "ORIGINAL\\PRIMARY\\AXIAL",
                    "url": f"{BASE}/series/{STUDY}.1/instances/{STUDY}.1.1",
                }
            ],
        },
        {
            "number": 900,
            "modality": "RTSTRUCT",
            "uid": f"urn:oid:{STUDY}.900",
            "description": "Contours",
            "numberOfInstances": 1,
            "availability": "ONLINE",
            "url": f"{BASE}/series/{STUDY}.900",
            "dateTime": "2026-03-10",
            "instance": [
                {
                    "number": 1,
                    "uid": f"urn:oid:{STUDY}.900.1",
                    "sopclass": "urn:oid:1.2.840.10008.5.1.4.1.1.481.3",
                    "type": "RT STRUCTURE SET",
                    "title": "Lung contours",
                    "url": f"{BASE}/series/{STUDY}.900/instances/{STUDY}.900.1",
                }
            ],
        },
    ],
    "contained": [
        {
            "resourceType": "Patient",
            "id": "pat1",
            "identifier": [
                {"use": "usual", "label": "MR", "system": "urn:oid:1.2.250.1.999.1", "value": "PAT-0042"}
            ],
            "name": [
                {
                    "use": "official",
                    "text": "Müller, Jörg Karl",
                    "family": ["Müller"],
                    "given": ["Jörg", "Karl"],
                }
            ],
            "gender": {
                "coding": [
                    {"system": "http://hl7.org/fhir/v3/AdministrativeGender", "code": "M", "display": "Male"}
                ]
            },
            "birthDate": "1970-01-01",
        },
        {
            "resourceType": "Practitioner",
            "id": "prac1",
            "identifier": [{"system": "https://dicom.example.org/doctors", "value": "4711"}],
            "name": {
                "use": "official",
                "text": "Hippocrates, Kos",
                "family": ["Hippocrates"],
                "given": ["Kos"],
            },
        },
    ],
}
