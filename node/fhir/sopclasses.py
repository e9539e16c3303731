"""What a storage SOP class says about its instances: the modality, and the kind that decides on the title.

Source: DICOM PS3.4 Table B.5-1 and the modality that each IOD of PS3.3 fixes or is made for, edition 2025b.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."

Kind = Literal["image", "report", "document", "content", "structure-set", "plan", "dose"]

# Modality -> SOP classes, below 1.2.840.10008.5.1.4.1.1. Classes of every modality (secondary capture, raw
# data, parametric map, RT Image's successors without one) are not here: their modality is OT when missing.
_BY_MODALITY: Final[dict[str, str]] = {
    "CR": "1",
    "DX": "1.1 1.1.1",
    "MG": "1.2 1.2.1 13.1.3 13.1.4 13.1.5",
    "IO": "1.3 1.3.1",
    "CT": "2 2.1 2.2",
    "US": "3 3.1 6 6.1 6.2",
    "MR": "4 4.1 4.2 4.3 4.4",
    "PA": "6.3",
    "NM": "5 20",
    "ECG": "9.1.1 9.1.2 9.1.3 9.1.4",
    "HD": "9.2.1",
    "EPS": "9.3.1",
    "AU": "9.4.1 9.4.2",
    "RESP": "9.6.1 9.6.2",
    "EEG": "9.7.1 9.7.4",
    "EMG": "9.7.2",
    "EOG": "9.7.3",
    "POS": "9.8.1",
    "PR": "11.1 11.2 11.3 11.4 11.5 11.6 11.7 11.8 11.9 11.10 11.11 11.12",
    "XA": "12.1 12.1.1 12.3 13.1.1",
    "RF": "12.2 12.2.1",
    "IVOCT": "14.1 14.2",
    "REG": "66.1 66.3",
    "FID": "66.2",
    "SEG": "66.4 66.5 66.7",
    "RWV": "67",
    "OSS": "68.1 68.2",
    "ES": "77.1.1 77.1.1.1",
    "GM": "77.1.2 77.1.2.1",
    "SM": "77.1.3 77.1.6",
    "XC": "77.1.4 77.1.4.1",
    "DMS": "77.1.7",
    "CFM": "77.1.8 77.1.9",
    "OP": "77.1.5.1 77.1.5.2 77.1.5.5 77.1.5.6",
    "OPT": "77.1.5.4 77.1.5.7",
    "LEN": "78.1",
    "AR": "78.2",
    "KER": "78.3",
    "SRF": "78.4",
    "VA": "78.5",
    "OAM": "78.7",
    "IOL": "78.8",
    "OPM": "81.1",
    "OPV": "80.1",
    "KO": "88.59",
    "SR": "88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.65 88.67 88.68 88.69 88.71 88.72 88.73 88.74 88.75"
    " 88.76",
    "ANN": "91.1",
    "DOC": "104.1 104.2",
    "M3D": "104.3 104.4 104.5",
    "PT": "128 128.1 130",
    "RTIMAGE": "481.1 481.23 481.24",
    "RTDOSE": "481.2",
    "RTSTRUCT": "481.3",
    "RTPLAN": "481.5 481.8",
    "RTRECORD": "481.4 481.6 481.7 481.9",
}

MODALITIES: Final[dict[str, str]] = {
    _STORAGE + tail: modality for modality, tails in _BY_MODALITY.items() for tail in tails.split()
}

# The first prefix that fits decides; what fits none is an image.
_KINDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("88.", "report"),
    ("104.", "document"),
    ("11.", "content"),
    ("66.", "content"),
    ("67", "content"),
    ("481.3", "structure-set"),
    ("481.5", "plan"),
    ("481.8", "plan"),
    ("481.2", "dose"),
)


@lru_cache(maxsize=1024)
def kind(sop_class: str) -> Kind:
    """The kind of object that a SOP class stores."""
    if not sop_class.startswith(_STORAGE):
        return "image"
    tail = sop_class.removeprefix(_STORAGE)
    for prefix, found in _KINDS:
        if tail == prefix or (prefix.endswith(".") and tail.startswith(prefix)):
            return found
    return "image"
