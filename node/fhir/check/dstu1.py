"""Constraint table of ImagingStudy, FHIR DSTU1 (http://hl7.org/fhir/DSTU1/imagingstudy-definitions.html, 0.0.82),
with the datatypes and the contained resources of that time. No library knows it, so this table is all there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.fhir.check.datatypes import code_or_display
from node.fhir.check.primitives import (
    BOOLEAN,
    CODE,
    DSTU1_DATE_TIME,
    DSTU1_ID,
    DSTU1_OID,
    INTEGER,
    STRING,
    URI,
)
from node.fhir.check.shapes import Json, Shape, element, resource, shape
from node.fhir.dstu1_terms import AVAILABILITIES, GENDER_SYSTEM, GENDERS, SERIES_MODALITIES, STUDY_MODALITIES

IDENTIFIER_USES: Final = frozenset({"usual", "official", "temp", "secondary"})
NAME_USES: Final = frozenset({"usual", "official", "temp", "nickname", "anonymous", "old", "maiden"})
GENDER_CODES: Final = frozenset((GENDER_SYSTEM, code) for code, _ in GENDERS.values())


def reference_or_display(reference: Json) -> Iterator[tuple[str, str]]:
    """References of DSTU1 have no identifier: one of the two must be there."""
    if not {"reference", "display"} & set(reference):
        yield "", "a reference to nothing"


def not_negative(counted: Json) -> Iterator[tuple[str, str]]:
    """Counts are integers in DSTU1, which has no unsignedInt."""
    for name in ("numberOfSeries", "numberOfInstances"):
        value = counted.get(name)
        if type(value) is int and value < 0:
            yield name, "negative"


CODING: Final = shape(
    "Coding",
    element("system", "0..1", URI),
    element("version", "0..1", STRING),
    element("code", "0..1", CODE),
    element("display", "0..1", STRING),
    element("primary", "0..1", BOOLEAN),
    rules=(code_or_display,),
)
CODEABLE_CONCEPT: Final = shape(
    "CodeableConcept", element("coding", "0..*", CODING), element("text", "0..1", STRING)
)
REFERENCE: Final = shape(
    "ResourceReference",
    element("reference", "0..1", STRING),
    element("display", "0..1", STRING),
    rules=(reference_or_display,),
)
PERIOD: Final = shape(
    "Period", element("start", "0..1", DSTU1_DATE_TIME), element("end", "0..1", DSTU1_DATE_TIME)
)
IDENTIFIER: Final = shape(
    "Identifier",
    element("use", "0..1", CODE, only=IDENTIFIER_USES),
    element("label", "0..1", STRING),
    element("system", "0..1", URI),
    element("value", "0..1", STRING),
    element("period", "0..1", PERIOD),
    element("assigner", "0..1", REFERENCE, "Organization"),
)
HUMAN_NAME: Final = shape(
    "HumanName",
    element("use", "0..1", CODE, only=NAME_USES),
    element("text", "0..1", STRING),
    element("family", "0..*", STRING),
    element("given", "0..*", STRING),
    element("prefix", "0..*", STRING),
    element("suffix", "0..*", STRING),
    element("period", "0..1", PERIOD),
)
INSTANCE: Final = shape(
    "ImagingStudy.series.instance",
    element("number", "0..1", INTEGER),
    element("uid", "1..1", DSTU1_OID),
    element("sopclass", "1..1", DSTU1_OID),
    element("type", "0..1", STRING),
    element("title", "0..1", STRING),
    element("url", "0..1", URI),
)
SERIES: Final = shape(
    "ImagingStudy.series",
    element("number", "0..1", INTEGER),
    element("modality", "1..1", CODE, only=SERIES_MODALITIES),
    element("uid", "1..1", DSTU1_OID),
    element("description", "0..1", STRING),
    element("numberOfInstances", "1..1", INTEGER),
    element("availability", "0..1", CODE, only=AVAILABILITIES),
    element("url", "0..1", URI),
    element("bodySite", "0..1", CODING),
    element("dateTime", "0..1", DSTU1_DATE_TIME),
    element("instance", "1..*", INSTANCE),
    rules=(not_negative,),
)

# No id, no meta: DSTU1 has neither at the root. No text either, as none is written.
STUDY: Final = resource(
    "ImagingStudy",
    element("contained", "0..*", shape("contained")),
    element("dateTime", "0..1", DSTU1_DATE_TIME),
    element("subject", "1..1", REFERENCE, "Patient"),
    element("uid", "1..1", DSTU1_OID),
    element("accessionNo", "0..1", IDENTIFIER),
    element("identifier", "0..*", IDENTIFIER),
    element("order", "0..*", REFERENCE, "DiagnosticOrder"),
    element("modality", "0..*", CODE, only=STUDY_MODALITIES),
    element("referrer", "0..1", REFERENCE, "Practitioner"),
    element("availability", "0..1", CODE, only=AVAILABILITIES),
    element("url", "0..1", URI),
    element("numberOfSeries", "1..1", INTEGER),
    element("numberOfInstances", "1..1", INTEGER),
    element("clinicalInformation", "0..1", STRING),
    element("procedure", "0..*", CODING),
    element("interpreter", "0..1", REFERENCE, "Practitioner"),
    element("description", "0..1", STRING),
    element("series", "0..*", SERIES),
    rules=(not_negative,),
)
PATIENT: Final = resource(
    "Patient",
    element("id", "1..1", DSTU1_ID),
    element("identifier", "0..*", IDENTIFIER),
    element("name", "0..*", HUMAN_NAME),
    element("gender", "0..1", CODEABLE_CONCEPT, only=GENDER_CODES),
    element("birthDate", "0..1", DSTU1_DATE_TIME),
)
PRACTITIONER: Final = resource(
    "Practitioner",
    element("id", "1..1", DSTU1_ID),
    element("identifier", "0..*", IDENTIFIER),
    element("name", "0..1", HUMAN_NAME),
)
CONTAINED: Final[dict[str, Shape]] = {"Patient": PATIENT, "Practitioner": PRACTITIONER}
