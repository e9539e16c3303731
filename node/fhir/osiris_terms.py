"""The two value sets that Osiris OncoImagingStudy requires, and the type of its analyses."""

from __future__ import annotations

import re
from typing import Final

from node.fhir.bodyparts import SNOMED_CT
from node.fhir.datatypes import Json
from node.fhir.terminology import SCT

_DICOM: Final = "https://dicom.nema.org/medical/dicom"

# Modality (0008,0060) -> VSModality. Source: Osiris 1.1.0 of 2025-04-23, which has its own systems for them.
MODALITIES: Final[dict[str, Json]] = {
    "MR": {"system": _DICOM, "code": "MR", "display": "Magnetic Resonance Imaging"},
    "CT": {"system": _DICOM, "code": "CT", "display": "Computed Tomography Scanner"},
    "PT": {"system": _DICOM, "code": "PT", "display": "Positron emission Tomography"},
    "DX": {"system": _DICOM, "code": "DX", "display": "Digital X Ray"},
    "NM": {"system": _DICOM, "code": "NM", "display": "Nuclear Medicine image"},
    "RTSTRUCT": {
        "system": "https://terminology.arkhn.com/SeriesModalityCS",
        "code": "RTSTRUCT",
        "display": "Radiotherapy Structure Set",
    },
}
OTHER_MODALITY: Final[Json] = {
    "system": "http://terminology.hl7.org/CodeSystem/umls",
    "code": "C0439673",
    "display": "Unknown",
}

# Body Part Examined (0018,0015) -> VSBodySite. Source: Osiris 1.1.0 of 2025-04-23: an older edition of PS3.16
# Annex L than ``bodyparts`` has, so only what differs is listed: terms without a code there, and terms with
# another code or another display.
_WITHOUT: Final = frozenset({"CARDIOVASCSYS", "TRUNK", "UPPERTRUNK", "LOWERTRUNK"})
_OTHERWISE: Final[dict[str, tuple[str, str]]] = {
    "CHEST": ("43799004", "Thorax"),
    "THORAX": ("43799004", "Thorax"),
    "DESCAORTA": ("32672002", "Descending aorta"),
    "BUTTOCK": ("46862004", "Gluteal region"),
    "ENDOARTERIAL": ("51114001", "Artery"),
    "ENDOCARDIAC": ("80891009", "Heart"),
    "ENDOESOPHAGEAL": ("32849002", "Esophagus"),
    "ENDORECTAL": ("34402009", "Rectum"),
    "ENDORENAL": ("64033007", "Kidney"),
    "ENDOURETERIC": ("87953007", "Ureter"),
    "ENDOURETHRAL": ("13648007", "Urethra"),
    "ENDOVAGINAL": ("76784001", "Vagina"),
    "ENDOVENOUS": ("29092000", "Vein"),
    "HYPOGASTRIC": ("11708003", "Pubic region"),
    "SUPRAPUBIC": ("11708003", "Pubic region"),
}
BODY_PARTS: Final[dict[str, tuple[str, str]]] = {
    term: _OTHERWISE.get(term, coded) for term, coded in SNOMED_CT.items() if term not in _WITHOUT
}

# VSBodySite itself: SNOMED CT code -> display.
BODY_SITES: Final[dict[str, str]] = dict(BODY_PARTS.values())

# Source: Osiris 1.1.0 of 2025-04-23, value set AnalysisType (the system differs from its own code system's).
IMAGING: Final[Json] = {
    "system": "https://github.com/siric-osiris/OSIRIS",
    "code": "C37-2",
    "display": "Imaging",
}


def region(code: str) -> Json | None:
    """The member of VSBodySite with this SNOMED CT code; None when it is none."""
    return {"system": SCT, "code": code, "display": BODY_SITES[code]} if code in BODY_SITES else None


def examined(term: str) -> Json | None:
    """The member of VSBodySite for Body Part Examined; blanks and signs are ignored, nothing is guessed."""
    found = BODY_PARTS.get(re.sub(r"[^A-Z0-9]", "", term.upper()))
    return region(found[0]) if found else None
