from pydicom.uid import UID_dictionary

from node.content.kinds import document_kind
from tests.content.made import STORAGE

CASES = {
    "88.59": "key-objects",
    "88.11": "report",
    "88.22": "report",
    "88.33": "report",
    "88.34": "report",
    "88.35": "report",
    "88.67": "titled-report",
    "88.1": "titled-report",
    "481.3": "structure-set",
    "481.30": None,
    "481.5": None,
    "66.4": "segmentation",
    "66.7": "segmentation",
    "66.5": None,
    "66.40": None,
    "11.1": "presentation-state",
    "11.12": "presentation-state",
    "110.1": None,
    "1.1": None,
    "2": None,
}


def test_kind_by_sop_class() -> None:
    assert {tail: document_kind(STORAGE + tail) for tail in CASES} == CASES


def test_others_are_no_documents() -> None:
    assert document_kind("") is None
    assert document_kind("1.3.6.1.4.1.88.59") is None
    assert document_kind("88.59") is None


def test_every_presentation_state_and_report_of_the_dictionary_has_a_kind() -> None:
    names = {uid: row[0] for uid, row in UID_dictionary.items() if uid.startswith(STORAGE)}
    for uid, name in names.items():
        if "Presentation State Storage" in name:
            assert document_kind(uid) == "presentation-state", name
        if " SR Storage" in name:
            assert document_kind(uid) in ("report", "titled-report"), name
