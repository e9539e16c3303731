"""Whatever stands in a data set, the study's resource is valid: bad values are left out, not parked."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node import assemble
from node.elements import ELEMENTS, OWN, SHARED
from node.errors import ResourceInvalid
from node.fhir import r5
from node.fhir.options import FhirOptions
from node.fhir.targets import PROFILES
from node.model import HeaderSet, InstanceRow
from tests.studies import CT, STUDY, assembled, ct, rtstruct

R5 = PROFILES["r5"]
FULL = FhirOptions(
    default_timezone="America/St_Johns",
    include_names=True,
    title_from_image_type=True,
    generate_narrative=True,
    admitting_dx_as_reason=True,
    protocol_as_description=True,
    wado_rs_base="https://pacs.example.org/dicomweb",
)
NUMERIC = ("US", "UL", "FD")

# Values that parsers meet: anything, and things that almost are what they should be.
VALUES = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[0-9]{0,8}(\.[0-9]{0,6})?", fullmatch=True),
    st.sampled_from(
        [
            "20260310",
            "081530.25",
            "+0100",
            "1.2.3",
            "SCT",
            "SRT",
            "LN",
            "DCMUID",
            "URN",
            "99X",
            "ISO",
            "URI",
            "UUID",
            "A\x1b$B",
        ]
    ),
)
LISTS = st.lists(VALUES, max_size=3)
ITEM_KEYWORDS = (
    "CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
    "CodingSchemeUID", "PatientID", "IssuerOfPatientID", "LocalNamespaceEntityID", "UniversalEntityID",
    "UniversalEntityIDType", "AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription",
    "ReasonForTheRequestedProcedure", "SpecimenIdentifier",
)  # fmt: skip
NESTED_KEYWORDS = (
    "PersonIdentificationCodeSequence", "AnatomicRegionModifierSequence", "IssuerOfAccessionNumberSequence",
    "RequestedProcedureCodeSequence", "ReasonForRequestedProcedureCodeSequence",
    "IssuerOfPatientIDQualifiersSequence", "IssuerOfTheSpecimenIdentifierSequence",
)  # fmt: skip
PLAIN_ITEMS = st.dictionaries(st.sampled_from(ITEM_KEYWORDS), LISTS, max_size=6)
ITEMS = st.builds(
    lambda plain, nested: {**plain, **nested},
    PLAIN_ITEMS,
    st.dictionaries(st.sampled_from(NESTED_KEYWORDS), st.lists(PLAIN_ITEMS, max_size=2), max_size=2),
)


def attributes(kept: str) -> st.SearchStrategy[dict[str, Any]]:
    rows = [row for row in ELEMENTS.values() if row.kept == kept]
    sequences = [row.keyword for row in rows if row.vr == "SQ"]
    texts = [row.keyword for row in rows if row.vr != "SQ" and row.vr not in NUMERIC]
    return st.builds(
        lambda plain, nested: {**plain, **nested},
        st.dictionaries(st.sampled_from(texts), LISTS, max_size=12),
        st.dictionaries(st.sampled_from(sequences), st.lists(ITEMS, max_size=2), max_size=4),
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(attributes(SHARED), min_size=1, max_size=3), st.lists(attributes(OWN), min_size=3, max_size=3)
)
def test_any_attributes_give_a_valid_resource(
    shared: list[dict[str, Any]], own: list[dict[str, Any]]
) -> None:
    headers = [HeaderSet(at, "1.2.3", found) for at, found in enumerate(shared)]
    instances = [
        InstanceRow("1.2.3", f"1.2.{at}", CT, "", at % len(headers), found, "X")
        for at, found in enumerate(own)
    ]
    resource = r5.build(assemble.study(STUDY, headers, instances), FULL)
    R5.check(resource)
    backwards = r5.build(assemble.study(STUDY, headers[::-1], instances[::-1]), FULL)
    assert orjson.dumps(backwards) == orjson.dumps(resource)


WHOLE = orjson.dumps(r5.build(assembled([ct(1), ct(2), rtstruct()]), FULL))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(st.data(), JSON)
def test_the_check_refuses_with_its_own_error_only(data: st.DataObject, instead: Any) -> None:
    """Any member replaced by any JSON value: valid, or refused with a reason."""
    resource = orjson.loads(WHOLE)
    place: Any = resource
    while True:
        steps = list(place) if isinstance(place, dict) else list(range(len(place)))
        step = data.draw(st.sampled_from(steps))
        if not isinstance(place[step], dict | list) or not place[step] or data.draw(st.booleans()):
            break
        place = place[step]
    place[step] = instead
    try:
        R5.check(resource)
    except ResourceInvalid as error:
        assert str(error).startswith("r5 ")


def test_required_patient_id_is_the_only_refusal() -> None:
    with pytest.raises(ResourceInvalid):
        r5.build(assembled([ct(PatientID="")]), FhirOptions(require_patient_id=True))
