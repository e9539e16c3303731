from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts as pydicom_concepts

from node.fhir import terminology
from node.fhir.bodyparts import SNOMED_CT
from node.fhir.modalities import DISPLAYS
from node.fhir.options import FhirOptions
from node.fhir.schemes import SYSTEMS
from node.fhir.sopclasses import MODALITIES, kind
from node.model import BodyPart, Series
from node.terms import Code
from tests.studies import CT, RTSTRUCT, assembled, ct

OPTIONS = FhirOptions()
STORAGE = "1.2.840.10008.5.1.4.1.1."


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            Code("T-D3000", "SRT", "1", "Chest"),
            {
                "coding": [{"system": terminology.SCT, "code": "51185008", "display": "Chest"}],
                "text": "Chest",
            },
        ),
        (
            Code("X-0000", "SRT", "", "?"),
            {"coding": [{"system": "http://snomed.info/srt", "code": "X-0000", "display": "?"}], "text": "?"},
        ),
        (
            Code("1", "LN", "2.7", "One"),
            {
                "coding": [{"system": "http://loinc.org", "version": "2.7", "code": "1", "display": "One"}],
                "text": "One",
            },
        ),
        (Code("1", "LN"), {"coding": [{"system": "http://loinc.org", "code": "1"}]}),
        (Code("1", "99X", "", "One"), {"text": "One"}),
        (Code("1", "99X"), {"text": "1"}),
        (
            Code("1", "99X", "", "One", "1.2.3"),
            {"coding": [{"system": "urn:oid:1.2.3", "code": "1", "display": "One"}], "text": "One"},
        ),
        (Code("", "LN", "", "One"), {"text": "One"}),
        (Code("urn:oid:1.2", "URN"), {"coding": [{"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2"}]}),
        (Code("no uri", "URN", "", "x"), {"text": "x"}),
        (Code("1.2.840", "DCMUID"), {"coding": [{"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840"}]}),
        (Code("A  B", "LN"), {"coding": [{"system": "http://loinc.org", "code": "A B"}]}),
        (Code("\x01", "LN", "", "\x1b"), None),
    ],
)
def test_concepts(entry: Code, expected: dict[str, Any] | None) -> None:
    assert terminology.concept(entry, OPTIONS) == expected


def test_configured_schemes_come_first() -> None:
    options = FhirOptions(coding_schemes={"99X": "https://x.example/codes", "LN": "https://other.example"})
    assert terminology.coding(Code("1", "99X"), options) == {"system": "https://x.example/codes", "code": "1"}
    assert terminology.coding(Code("1", "LN"), options) == {"system": "https://other.example", "code": "1"}


def test_concepts_are_listed_once() -> None:
    entries = [
        Code("1", "LN", "", "a"),
        Code("1", "LN", "", "b"),
        Code("", "", "", "T"),
        Code("", "", "", "t"),
    ]
    found = terminology.concepts(entries, OPTIONS)
    assert [one["text"] for one in found] == ["a", "T"]


def test_modalities_are_those_of_cid_33() -> None:
    known: dict[str, Any] = pydicom_concepts["DCM"]
    group: Any = cid_concepts[33]
    for name in group["DCM"]:
        for code in known[name]:
            if 33 in known[name][code][1]:
                assert code in DISPLAYS, code
    assert set(MODALITIES.values()) <= set(DISPLAYS)


def series(**changes: Any) -> Series:
    return replace(assembled([ct(1), ct(2)]).series[0], **changes)


@pytest.mark.parametrize(
    ("modality", "sop_class", "expected"),
    [
        ("CT", CT, "CT"),
        ("ct ", CT, "CT"),
        ("", CT, "CT"),
        ("", RTSTRUCT, "RTSTRUCT"),
        ("", STORAGE + "88.59", "KO"),
        ("", STORAGE + "7", "OT"),
        ("", "1.2.3", "OT"),
        ("XX", CT, "XX"),
    ],
)
def test_modality_codes(modality: str, sop_class: str, expected: str) -> None:
    instances = tuple(replace(one, sop_class=sop_class) for one in series().instances)
    assert terminology.modality_code(series(modality=modality, instances=instances)) == expected


def test_an_unknown_modality_is_text() -> None:
    assert terminology.modality("XX") == {"text": "XX"}
    assert terminology.modality("MR")["coding"][0]["display"] == "Magnetic Resonance"


@pytest.mark.parametrize(
    ("examined", "code"),
    [
        ("CHEST", "816094009"),
        ("Chest ", "816094009"),
        ("ABDOMEN PELVIS", "818982008"),
        ("ABDOMEN_PELVIS", "818982008"),
        ("XSPINE", None),
        ("FETALARM", None),
        ("", None),
    ],
)
def test_body_parts(examined: str, code: str | None) -> None:
    found = terminology.body_part_coding(examined)
    assert (found["code"] if found else None) == code


def part(examined: str, instances: int, region: Code | None = None) -> BodyPart:
    return BodyPart(region, (), examined, instances)


@pytest.mark.parametrize(
    ("parts", "code", "text"),
    [
        ((part("CHEST", 3),), "816094009", "CHEST"),
        ((part("CHEST", 3), part("THORAX", 2)), "816094009", "CHEST"),
        ((part("CHEST", 3), part("ABDOMEN", 2)), "816094009", "CHEST"),
        ((part("CHEST", 2), part("ABDOMEN", 2)), "816094009", "CHEST"),
        ((part("CHEST", 2), part("ABDOMEN", 2), part("HEAD", 1)), None, None),
        ((part("ODDPART", 1),), None, "ODDPART"),
        ((part("CHEST", 1, Code("818981001", "SCT", "", "Abdomen")),), "818981001", "CHEST"),
        ((part("", 1, Code("818981001", "SCT", "", "Abdomen")),), "818981001", "Abdomen"),
        ((part("CHEST", 1, Code("1", "99X", "", "Somewhere")),), "816094009", "CHEST"),
        ((part("", 1, Code("1", "99X")),), None, "1"),
        ((), None, None),
    ],
)
def test_body_site(parts: tuple[BodyPart, ...], code: str | None, text: str | None) -> None:
    found = terminology.body_site(series(body_parts=parts), OPTIONS) or {}
    assert [one["code"] for one in found.get("coding", [])] == ([code] if code else [])
    assert found.get("text") == text


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (("R",), "24028007"),
        (("L",), "7771000"),
        (("B",), "51440002"),
        (("L", "R"), "51440002"),
        (("L", "U"), "7771000"),
        (("U",), None),
        (("left",), None),
        ((), None),
    ],
)
def test_laterality(values: tuple[str, ...], code: str | None) -> None:
    found = terminology.laterality(values)
    assert (found["coding"][0]["code"] if found else None) == code


def test_sop_classes() -> None:
    assert terminology.sop_class(CT) == {
        "system": "urn:ietf:rfc:3986",
        "code": f"urn:oid:{CT}",
        "display": "CT Image Storage",
    }
    assert "display" not in terminology.sop_class("1.2.3.4.5")


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("2", "image"),
        ("88.11", "report"),
        ("88.59", "report"),
        ("104.1", "document"),
        ("11.1", "content"),
        ("66.4", "content"),
        ("66", "image"),
        ("67", "content"),
        ("481.3", "structure-set"),
        ("481.5", "plan"),
        ("481.2", "dose"),
        ("481.23", "image"),
    ],
)
def test_kinds(tail: str, expected: str) -> None:
    assert kind(STORAGE + tail) == expected
    assert kind("1.2.3") == "image"


def test_tables_have_their_size_and_known_members() -> None:
    assert len(DISPLAYS) == 93
    assert DISPLAYS["CT"] == "Computed Tomography"
    assert DISPLAYS["ST"].startswith("Single-photon"), "a retired one"
    assert len(SYSTEMS) == 47
    assert SYSTEMS["I10P"] == "http://www.cms.gov/Medicare/Coding/ICD10"
    assert SYSTEMS["FMA"] == "urn:oid:2.16.840.1.113883.6.119"
    assert len(SNOMED_CT) == 319
    assert SNOMED_CT["CHEST"][0] == SNOMED_CT["THORAX"][0] == "816094009"
    assert not {"FETALARM", "FETALDIGIT", "FETALHEART", "FETALLEG", "FETALPOLE"} & set(SNOMED_CT)


def test_tables_are_well_formed() -> None:
    for term, (code, display) in SNOMED_CT.items():
        assert (term.isalnum() and term.isupper()) or term[0].isdigit()
        assert code.isdigit()
        assert display.strip() == display
    assert all(":" in system for system in SYSTEMS.values())
