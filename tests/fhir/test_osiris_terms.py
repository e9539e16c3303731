from __future__ import annotations

import json

import pytest

from node.fhir import osiris_terms as terms
from tests.tools import SHARED

DATA = SHARED / "fhir/data/osiris"


def members(name: str) -> dict[tuple[str, str], str]:
    """(system, code) -> display of a published value set."""
    include = json.loads((DATA / f"ValueSet-{name}.json").read_bytes())["compose"]["include"]
    return {(one["system"], code["code"]): code["display"] for one in include for code in one["concept"]}


def test_sizes_and_known_members() -> None:
    assert len(terms.MODALITIES) == 6
    assert len(terms.BODY_SITES) == 301
    assert len(terms.BODY_PARTS) == 315
    assert terms.BODY_SITES["38266002"] == "Entire body"
    assert terms.MODALITIES["CT"]["system"] == "https://dicom.nema.org/medical/dicom"
    assert terms.MODALITIES["RTSTRUCT"]["system"] == "https://terminology.arkhn.com/SeriesModalityCS"
    assert terms.OTHER_MODALITY["code"] == "C0439673"


def test_one_display_for_each_code() -> None:
    assert len(set(terms.BODY_PARTS.values())) == len(terms.BODY_SITES)


@pytest.mark.parametrize(
    ("term", "code"),
    [
        ("CHEST", "43799004"),
        ("Thorax", "43799004"),
        ("DESCAORTA", "32672002"),
        ("ABDOMEN PELVIS", "818982008"),
        ("abdomen_pelvis", "818982008"),
        ("TRUNK", None),
        ("UPPERTRUNK", None),
        ("CARDIOVASCSYS", None),
        ("FETALARM", None),
        ("XYZ", None),
        ("", None),
    ],
)
def test_body_part_examined(term: str, code: str | None) -> None:
    found = terms.examined(term)
    assert (found and found["code"]) == code


def test_regions() -> None:
    assert terms.region("816094009") is None
    assert terms.region("43799004") == {
        "system": "http://snomed.info/sct",
        "code": "43799004",
        "display": "Thorax",
    }


@pytest.mark.shared
def test_they_are_what_is_published() -> None:
    sct = "http://snomed.info/sct"
    assert {(sct, code): display for code, display in terms.BODY_SITES.items()} == members("VSBodySite")
    listed = (*terms.MODALITIES.values(), terms.OTHER_MODALITY)
    assert {(one["system"], one["code"]): one["display"] for one in listed} == members("VSModality")
    assert members("AnalysisType")[terms.IMAGING["system"], terms.IMAGING["code"]] == terms.IMAGING["display"]


@pytest.mark.shared
def test_every_term_has_its_code() -> None:
    lines = (SHARED / "fhir/data/dicom-terminology/bodypart_sct.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    expected = {row[0]: (row[5], row[6]) for row in rows if row[5]}
    assert expected == terms.BODY_PARTS
