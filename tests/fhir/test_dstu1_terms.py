from __future__ import annotations

import pytest
from pydicom import fileset

from node.fhir.dstu1_terms import AVAILABILITIES, SERIES_MODALITIES, STUDY_MODALITIES, record_type
from node.fhir.modalities import DISPLAYS

STORAGE = "1.2.840.10008.5.1.4.1.1."


def test_the_study_s_modalities() -> None:
    assert len(STUDY_MODALITIES) == 36
    assert {"CT", "MR", "OPR", "XC"} <= STUDY_MODALITIES
    assert not {"SR", "RTSTRUCT", "OT", "DMS"} & STUDY_MODALITIES


def test_the_modalities_of_series() -> None:
    assert len(SERIES_MODALITIES) == 53
    assert {"CT", "SR", "RTSTRUCT", "OT", "SMR"} <= SERIES_MODALITIES
    assert not {"OPR", "DMS", "DOC", "M3D"} & SERIES_MODALITIES
    assert {"OPR"} == STUDY_MODALITIES - SERIES_MODALITIES


def test_nearly_all_are_dicom_s() -> None:
    assert (STUDY_MODALITIES | SERIES_MODALITIES) - set(DISPLAYS) <= {"SMR", "OPR"}


def test_availabilities() -> None:
    assert len(AVAILABILITIES) == 4


def test_record_types_are_those_that_pydicom_writes() -> None:
    known = fileset._FOUR_LEVEL_SOP_CLASSES
    assert len(known) > 50
    assert {str(uid): record_type(str(uid)) for uid in known} == {
        str(uid): name for uid, name in known.items()
    }


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [
        (STORAGE + "2", "IMAGE"),
        (STORAGE + "66.4", "IMAGE"),
        (STORAGE + "481.1", "IMAGE"),
        (STORAGE + "481.23", "IMAGE"),
        (STORAGE + "11", "IMAGE"),
        (STORAGE + "9", "IMAGE"),
        ("1.2.3.4", "IMAGE"),
        (STORAGE + "481.5", "RT PLAN"),
        (STORAGE + "481.10", "RADIOTHERAPY"),
        (STORAGE + "104.1", "ENCAP DOC"),
        (STORAGE + "91.1", "ANNOTATION"),
        (STORAGE + "88.77", "SR DOCUMENT"),
        (STORAGE + "88.59", "KEY OBJECT DOC"),
        (STORAGE + "11.12", "PRESENTATION"),
        (STORAGE + "9.1.4", "WAVEFORM"),
        ("1.2.840.10008.5.1.4.34.7", "PLAN"),
    ],
)
def test_record_types(sop_class: str, expected: str) -> None:
    assert record_type(sop_class) == expected
