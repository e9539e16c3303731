"""The constraint table of DSTU1 says what its XML Schema says."""

from __future__ import annotations

from functools import cache
from typing import Final
from xml.etree import ElementTree

import pytest

from node.fhir.check import dstu1
from node.fhir.check.primitives import Primitive
from node.fhir.check.shapes import Shape
from tests import tools

pytestmark = pytest.mark.shared

DATA: Final = tools.SHARED / "fhir" / "data"

XML: Final = "{http://www.w3.org/2001/XMLSchema}"
DSTU1_TABLES: Final[list[tuple[Shape, str, bool]]] = [
    (dstu1.STUDY, "ImagingStudy", True),
    (dstu1.SERIES, "ImagingStudy.Series", True),
    (dstu1.INSTANCE, "ImagingStudy.Instance", True),
    (dstu1.REFERENCE, "ResourceReference", True),
    (dstu1.IDENTIFIER, "Identifier", True),
    (dstu1.CODING, "Coding", True),
    (dstu1.CODEABLE_CONCEPT, "CodeableConcept", True),
    (dstu1.HUMAN_NAME, "HumanName", True),
    (dstu1.PERIOD, "Period", True),
    (dstu1.PATIENT, "Patient", False),
    (dstu1.PRACTITIONER, "Practitioner", False),
]
# Elements that are never written: the instance as a resource, and the value set that a code was chosen from.
NOT_WRITTEN: Final = {"attachment", "valueSet"}


@cache
def _xml_schema() -> ElementTree.Element:
    return ElementTree.parse(DATA / "dstu1" / "fhir-single.xsd").getroot()


@pytest.mark.parametrize(
    ("shape", "name", "whole"), DSTU1_TABLES, ids=lambda one: str(getattr(one, "name", one))
)
def test_a_table_of_dstu1_is_its_schema(shape: Shape, name: str, whole: bool) -> None:
    (kind,) = (one for one in _xml_schema().findall(f"{XML}complexType") if one.get("name") == name)
    elements = {one.get("name"): one for one in kind.iter(f"{XML}element")}
    ours = {key: one for key, one in shape.elements.items() if key not in ("resourceType", "contained", "id")}
    for key, element in ours.items():
        low, high = elements[key].get("minOccurs"), elements[key].get("maxOccurs")
        assert (element.low, element.high) == (int(low or 1), None if high == "unbounded" else 1), key
        assert element.many == (high == "unbounded"), key
        kind_of = elements[key].get("type") or ""
        if element.only is not None and isinstance(element.of, Primitive):
            assert element.only == _enumerated(f"{kind_of}-list"), key
        else:
            assert kind_of in element.of.name or "." in kind_of, key
    if whole:
        assert set(elements) - set(ours) <= NOT_WRITTEN


def _enumerated(name: str) -> frozenset[str | None]:
    (kind,) = (one for one in _xml_schema().findall(f"{XML}simpleType") if one.get("name") == name)
    return frozenset(one.get("value") for one in kind.iter(f"{XML}enumeration"))
