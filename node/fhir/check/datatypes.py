"""Constraint tables of the datatypes that R4 and R5 spell alike (https://hl7.org/fhir/R5/datatypes.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from node.fhir.check.primitives import (
    BOOLEAN,
    CANONICAL,
    CODE,
    DATE_TIME,
    ID,
    INSTANT,
    MARKDOWN,
    STRING,
    URI,
    XHTML,
)
from node.fhir.check.shapes import Extension, Json, Shape, constrain, element, shape

IDENTIFIER_USES: Final = frozenset({"usual", "official", "temp", "secondary", "old"})
NARRATIVE_STATUS: Final = frozenset({"generated", "extensions", "additional", "empty"})

_UID_VALUE: Final = re.compile(r"urn:oid:[A-Za-z0-9\-.]{1,64}")
_LITERAL: Final = re.compile(
    r"#[A-Za-z0-9\-.]{1,64}"
    r"|(https?://\S+/)?[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}(/_history/[A-Za-z0-9\-.]{1,64})?"
    r"|urn:(uuid|oid):\S+"
)


def system_and_code(coding: Json) -> Iterator[tuple[str, str]]:
    """A Coding without system or code names nothing outside its sender."""
    if not (coding.get("system") and coding.get("code")):
        yield "", "a coding without system or code"


def code_or_display(coding: Json) -> Iterator[tuple[str, str]]:
    """Where there is nothing but words they may stand alone."""
    if not coding.get("display") and not (coding.get("system") and coding.get("code")):
        yield "", "a coding without system or code, and without display"


def uri_code(coding: Json) -> Iterator[tuple[str, str]]:
    """Of the system urn:ietf:rfc:3986 each code is a URI, a SOP class therefore ``urn:oid:``."""
    if coding.get("system") == "urn:ietf:rfc:3986" and ":" not in str(coding.get("code", "")):
        yield "code", "no URI, which its system wants"


def uid_value(identifier: Json) -> Iterator[tuple[str, str]]:
    """Of the system urn:dicom:uid each value is ``urn:oid:`` and the UID."""
    if identifier.get("system") == "urn:dicom:uid" and not _UID_VALUE.fullmatch(str(identifier.get("value"))):
        yield "value", "no urn:oid: with a UID, which its system wants"


def says_something(reference: Json) -> Iterator[tuple[str, str]]:
    """ref-2 (R5): a reference, an identifier, a display, or an extension in their place."""
    if not {"reference", "identifier", "display", "extension"} & set(reference):
        yield "", "a reference to nothing"


def literal_form(reference: Json) -> Iterator[tuple[str, str]]:
    """A literal reference is relative, a URL of a FHIR server, a urn, or a fragment; never a search."""
    literal = reference.get("reference")
    if isinstance(literal, str) and not _LITERAL.fullmatch(literal):
        yield "reference", "no Type/id, URL, urn or #id"


def concept_says_something(concept: Json) -> Iterator[tuple[str, str]]:
    if not {"coding", "text", "extension"} & set(concept):
        yield "", "neither coding nor text"


_CODING_ROWS: Final = (
    element("system", "0..1", URI),
    element("version", "0..1", STRING),
    element("code", "0..1", CODE),
    element("display", "0..1", STRING),
    element("userSelected", "0..1", BOOLEAN),
)
CODING: Final = shape("Coding", *_CODING_ROWS, rules=(system_and_code, uri_code))
WORDED_CODING: Final = shape("Coding (or display)", *_CODING_ROWS, rules=(code_or_display, uri_code))
CODEABLE_CONCEPT: Final = shape(
    "CodeableConcept",
    element("coding", "0..*", CODING),
    element("text", "0..1", STRING),
    rules=(concept_says_something,),
)
PERIOD: Final = shape("Period", element("start", "0..1", DATE_TIME), element("end", "0..1", DATE_TIME))

# An assigner of an identifier is a Reference itself; this one has no identifier of its own, as none is written.
_ASSIGNER: Final = shape(
    "Reference (assigner)",
    element("reference", "0..1", STRING),
    element("type", "0..1", URI),
    element("display", "0..1", STRING),
    rules=(says_something, literal_form),
)
IDENTIFIER: Final = shape(
    "Identifier",
    element("use", "0..1", CODE, only=IDENTIFIER_USES),
    element("type", "0..1", CODEABLE_CONCEPT),
    element("system", "0..1", URI),
    element("value", "0..1", STRING),
    element("period", "0..1", PERIOD),
    element("assigner", "0..1", _ASSIGNER, "Organization"),
)
UID_IDENTIFIER: Final = constrain(IDENTIFIER, "Identifier (of a resource)", rules=(uid_value,))
REFERENCE: Final = shape(
    "Reference",
    element("reference", "0..1", STRING),
    element("type", "0..1", URI),
    element("identifier", "0..1", IDENTIFIER),
    element("display", "0..1", STRING),
    rules=(says_something, literal_form),
)
META: Final = shape(
    "Meta",
    element("versionId", "0..1", ID),
    element("lastUpdated", "0..1", INSTANT),
    element("source", "0..1", URI),
    element("profile", "0..*", CANONICAL),
    element("security", "0..*", CODING),
    element("tag", "0..*", CODING),
)
# What claims no profile has none to name.
PLAIN_META: Final = constrain(META, "Meta (without profile)", without=("profile",))
# dom-4, dom-5: a contained resource has no version, no date and no security labels.
CONTAINED_META: Final = constrain(META, "Meta (contained)", without=("versionId", "lastUpdated", "security"))
NARRATIVE: Final = shape(
    "Narrative",
    element("status", "1..1", CODE, only=NARRATIVE_STATUS),
    element("div", "1..1", XHTML),
)
ALTERNATE_CODES: Final = Extension(
    "http://hl7.org/fhir/StructureDefinition/alternate-codes",
    0,
    None,
    "valueCodeableConcept",
    CODEABLE_CONCEPT,
)


def annotation(*authors: str) -> Shape:
    """Annotation; who may be its author differs between the versions of FHIR."""
    return shape(
        "Annotation",
        element("authorReference", "0..1", REFERENCE, *authors),
        element("authorString", "0..1", STRING),
        element("time", "0..1", DATE_TIME),
        element("text", "1..1", MARKDOWN),
        rules=(one_author,),
    )


def one_author(note: Json) -> Iterator[tuple[str, str]]:
    if {"authorReference", "authorString"} <= set(note):
        yield "author[x]", "given twice"


def codeable_reference(name: str, *targets: str) -> Shape:
    """CodeableReference (R5) to ``targets``; a concept alone, or a reference."""
    return shape(
        f"CodeableReference ({name})",
        element("concept", "0..1", CODEABLE_CONCEPT),
        element("reference", "0..1", REFERENCE, *targets),
        rules=(concept_or_reference,),
    )


def concept_or_reference(value: Json) -> Iterator[tuple[str, str]]:
    if not {"concept", "reference"} & set(value):
        yield "", "neither concept nor reference"


def claiming(url: str, base: Shape = META) -> Shape:
    """Meta of a resource that claims the profile ``url`` and no other."""
    return constrain(
        base, f"Meta ({url.rpartition('/')[2]})", element("profile", "1..1", CANONICAL, pattern=url)
    )
