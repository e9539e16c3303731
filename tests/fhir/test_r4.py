from __future__ import annotations

from node.fhir import r4

KNOWN = {code: {"system": "urn:x", "code": code} for code in ("CT", "OT")}
TEXT = "http://hl7.org/fhir/StructureDefinition/originalText"


def other(text: str) -> dict[str, object]:
    return {**KNOWN["OT"], "extension": [{"url": TEXT, "valueString": text}]}


def test_a_modality_that_is_not_known_keeps_its_text() -> None:
    assert r4.modality("CT", KNOWN, KNOWN["OT"]) == KNOWN["CT"]
    assert r4.modality("XX", KNOWN, KNOWN["OT"]) == other("XX")
    assert r4.modality("OT", KNOWN, KNOWN["OT"]) == KNOWN["OT"]


def test_each_modality_once_and_in_the_order_of_the_series() -> None:
    listed = r4.modalities(["XX", "CT", "YY"], KNOWN, KNOWN["OT"])
    assert listed == [other("XX\\YY"), KNOWN["CT"]]
    assert r4.modalities(["CT", "OT"], KNOWN, KNOWN["OT"]) == [KNOWN["CT"], KNOWN["OT"]]
    assert r4.modalities(["OT", "XX"], KNOWN, KNOWN["OT"]) == [other("OT\\XX")]
    assert "extension" not in KNOWN["OT"]


def test_the_coding_of_a_concept() -> None:
    assert r4.coding({"coding": [{"code": "a"}, {"code": "b"}]}) == {"code": "a"}
    assert r4.coding({"text": "a"}) is None
    assert r4.coding(None) is None


def test_nothing_claims_no_profile() -> None:
    assert r4.profiled("urn:p", {}) == {}
    assert r4.profiled("urn:p", {"name": "A"}) == {"meta": {"profile": ["urn:p"]}, "name": "A"}
