"""Codes that DSTU1 asks for: two lists of modalities, both required, genders, and types of directory records."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

# Source: value set http://hl7.org/fhir/vs/imaging-modality, 2014-01-22: 36 codes, of ImagingStudy.modality.
_ACQUIRED: Final = (
    "AR BDUS BMD CR CT DX ECG EPS ES GM HD IO IVOCT IVUS KER LEN MG MR NM OAM OCT OP OPM OPR OPT OPV PT PX RF RG "
    "SM SRF US VA XA XC"
)
STUDY_MODALITIES: Final = frozenset(_ACQUIRED.split())

# Source: value set http://hl7.org/fhir/vs/modality, 2014-01-22: 53 codes, of ImagingStudy.series.modality.
_ALL: Final = (
    "AR AU BDUS BI BMD CR CT DG DX ECG EPS ES GM HC HD IO IVOCT IVUS KER KO LEN LS MG MR NM OAM OCT OP OPM OPT "
    "OPV OT PR PT PX REG RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT SEG SM SMR SR SRF TG US VA XA XC"
)
SERIES_MODALITIES: Final = frozenset(_ALL.split())

# Source: value set http://hl7.org/fhir/vs/instance-availability (PS3.3 C.4.23.1.1), 2014-01-22: 4 codes.
AVAILABILITIES: Final = frozenset({"ONLINE", "OFFLINE", "NEARLINE", "UNAVAILABLE"})

# Source: DICOM PS3.3 C.7.1.1, Patient's Sex (0010,0040), edition 2025b -> HL7 v3 AdministrativeGender, 2014-01-22.
GENDER_SYSTEM: Final = "http://hl7.org/fhir/v3/AdministrativeGender"
GENDERS: Final = {"M": ("M", "Male"), "F": ("F", "Female"), "O": ("UN", "Undifferentiated")}

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."

# Directory record type (0004,1430) -> SOP classes below 1.2.840.10008.5.1.4.1.1; a dot at the end: all below it.
# Source: DICOM PS3.3 Table F.4-1 and F.5, edition 2025b. What is not here is an IMAGE.
_RECORDS: Final = {
    "ANNOTATION": "91.1",
    "ASSESSMENT": "90.1",
    "ENCAP DOC": "104.",
    "FIDUCIAL": "66.2",
    "KEY OBJECT DOC": "88.59",
    "MEASUREMENT": "78.1 78.2 78.3 78.4 78.5 78.7 78.8 80.1",
    "PRESENTATION": "11. 131",
    "RADIOTHERAPY": "481.10 481.11 481.12 481.13 481.14 481.15 481.16 481.17 481.18 481.19 481.20 481.21 481.22 "
    "481.25",
    "RAW DATA": "66",
    "REGISTRATION": "66.1 66.3",
    "RT DOSE": "481.2",
    "RT PLAN": "481.5 481.8",
    "RT STRUCTURE SET": "481.3",
    "RT TREAT RECORD": "481.4 481.6 481.7 481.9",
    "SPECTROSCOPY": "4.2",
    "SR DOCUMENT": "78.6 79.1 88.",
    "STEREOMETRIC": "77.1.5.3",
    "SURFACE": "66.5",
    "SURFACE SCAN": "68.1 68.2",
    "TRACT": "66.6",
    "VALUE MAP": "67",
    "WAVEFORM": "9.1. 9.2. 9.3. 9.4. 9.5. 9.6. 9.7. 9.8.",
}
_PLANS: Final = ("1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10")
_EXACT: Final = {
    tail: record for record, tails in _RECORDS.items() for tail in tails.split() if not tail.endswith(".")
}
_BELOW: Final = tuple(
    (tail, record) for record, tails in _RECORDS.items() for tail in tails.split() if tail.endswith(".")
)


@lru_cache(maxsize=1024)
def record_type(sop_class: str) -> str:
    """The type of the directory record that a file of ``sop_class`` has on media."""
    if not sop_class.startswith(_STORAGE):
        return "PLAN" if sop_class in _PLANS else "IMAGE"
    tail = sop_class.removeprefix(_STORAGE)
    found = (record for prefix, record in _BELOW if tail.startswith(prefix))
    return _EXACT.get(tail) or next(found, "IMAGE")
