"""Constraint tables of FHIR 5.0.0: ImagingStudy (https://hl7.org/fhir/R5/imagingstudy-definitions.html), and the
Endpoint and Device that it contains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.fhir.check.datatypes import (
    CODEABLE_CONCEPT,
    CODING,
    CONTAINED_META,
    IDENTIFIER,
    NARRATIVE,
    PERIOD,
    PLAIN_META,
    REFERENCE,
    UID_IDENTIFIER,
    annotation,
    codeable_reference,
)
from node.fhir.check.primitives import (
    BOOLEAN,
    CODE,
    DATE_TIME,
    ID,
    STRING,
    UNSIGNED_INT,
    URL,
)
from node.fhir.check.shapes import Json, Shape, element, resource, shape

PEOPLE: Final = ("Practitioner", "PractitionerRole")
PERFORMERS: Final = (
    *PEOPLE,
    "Organization",
    "CareTeam",
    "Patient",
    "Device",
    "RelatedPerson",
    "HealthcareService",
)
REQUESTS: Final = ("CarePlan", "ServiceRequest", "Appointment", "AppointmentResponse", "Task")
AUTHORS: Final = (*PEOPLE, "Patient", "RelatedPerson", "Organization")

STUDY_STATUS: Final = frozenset({"registered", "available", "cancelled", "entered-in-error", "unknown"})
ENDPOINT_STATUS: Final = frozenset({"active", "suspended", "error", "off", "entered-in-error"})
DEVICE_NAME_TYPES: Final = frozenset({"registered-name", "user-friendly-name", "patient-reported-name"})


def identified_by_uid(study: Json) -> Iterator[tuple[str, str]]:
    """A study that has series has its Study Instance UID as identifier, once (R5, 8.13.5)."""
    identifiers = study.get("identifier", [])
    if type(identifiers) is not list:
        return
    of_uid = [one for one in identifiers if type(one) is dict and one.get("system") == "urn:dicom:uid"]
    if len(of_uid) > 1:
        yield "identifier", "several of system urn:dicom:uid"
    if study.get("series") and not of_uid:
        yield "identifier", "none of system urn:dicom:uid"


PERFORMER: Final = shape(
    "ImagingStudy.series.performer",
    element("function", "0..1", CODEABLE_CONCEPT),
    element("actor", "1..1", REFERENCE, *PERFORMERS),
)
INSTANCE: Final = shape(
    "ImagingStudy.series.instance",
    element("uid", "1..1", ID),
    element("sopClass", "1..1", CODING),
    element("number", "0..1", UNSIGNED_INT),
    element("title", "0..1", STRING),
)
SERIES: Final = shape(
    "ImagingStudy.series",
    element("uid", "1..1", ID),
    element("number", "0..1", UNSIGNED_INT),
    element("modality", "1..1", CODEABLE_CONCEPT),
    element("description", "0..1", STRING),
    element("numberOfInstances", "0..1", UNSIGNED_INT),
    element("endpoint", "0..*", REFERENCE, "Endpoint"),
    element("bodySite", "0..1", codeable_reference("BodyStructure", "BodyStructure")),
    element("laterality", "0..1", CODEABLE_CONCEPT),
    element("specimen", "0..*", REFERENCE, "Specimen"),
    element("started", "0..1", DATE_TIME),
    element("performer", "0..*", PERFORMER),
    element("instance", "0..*", INSTANCE),
)

# The shape of what stands in ``contained`` depends on its type, not on this row.
_ANY: Final = shape("contained")
CONTAINED_ROW: Final = element("contained", "0..*", _ANY)

STUDY: Final = resource(
    "ImagingStudy",
    element("id", "0..1", ID),
    element("meta", "0..1", PLAIN_META),
    element("text", "0..1", NARRATIVE),
    CONTAINED_ROW,
    element("identifier", "0..*", UID_IDENTIFIER),
    element("status", "1..1", CODE, only=STUDY_STATUS),
    element("modality", "0..*", CODEABLE_CONCEPT),
    element("subject", "1..1", REFERENCE, "Patient", "Device", "Group"),
    element("encounter", "0..1", REFERENCE, "Encounter"),
    element("started", "0..1", DATE_TIME),
    element("basedOn", "0..*", REFERENCE, *REQUESTS),
    element("partOf", "0..*", REFERENCE, "Procedure"),
    element("referrer", "0..1", REFERENCE, *PEOPLE),
    element("endpoint", "0..*", REFERENCE, "Endpoint"),
    element("numberOfSeries", "0..1", UNSIGNED_INT),
    element("numberOfInstances", "0..1", UNSIGNED_INT),
    element("procedure", "0..*", codeable_reference("procedure", "PlanDefinition", "ActivityDefinition")),
    element("location", "0..1", REFERENCE, "Location"),
    element(
        "reason",
        "0..*",
        codeable_reference("reason", "Condition", "Observation", "DiagnosticReport", "DocumentReference"),
    ),
    element("note", "0..*", annotation(*AUTHORS)),
    element("description", "0..1", STRING),
    element("series", "0..*", SERIES),
    rules=(identified_by_uid,),
)

ENDPOINT: Final = resource(
    "Endpoint",
    element("id", "1..1", ID),
    element("meta", "0..1", CONTAINED_META),
    element("identifier", "0..*", IDENTIFIER),
    element("status", "1..1", CODE, only=ENDPOINT_STATUS),
    element("connectionType", "1..*", CODEABLE_CONCEPT),
    element("name", "0..1", STRING),
    element("description", "0..1", STRING),
    element("managingOrganization", "0..1", REFERENCE, "Organization"),
    element("period", "0..1", PERIOD),
    element("payload", "0..*", shape("Endpoint.payload", element("type", "0..*", CODEABLE_CONCEPT))),
    element("address", "1..1", URL),
)
DEVICE: Final = resource(
    "Device",
    element("id", "1..1", ID),
    element("meta", "0..1", CONTAINED_META),
    element("identifier", "0..*", UID_IDENTIFIER),
    element("displayName", "0..1", STRING),
    element("manufacturer", "0..1", STRING),
    element("serialNumber", "0..1", STRING),
    element(
        "name",
        "0..*",
        shape(
            "Device.name",
            element("value", "1..1", STRING),
            element("type", "1..1", CODE, only=DEVICE_NAME_TYPES),
            element("display", "0..1", BOOLEAN),
        ),
    ),
    element("modelNumber", "0..1", STRING),
    element("partNumber", "0..1", STRING),
    element("type", "0..*", CODEABLE_CONCEPT),
    element(
        "version",
        "0..*",
        shape(
            "Device.version",
            element("type", "0..1", CODEABLE_CONCEPT),
            element("component", "0..1", IDENTIFIER),
            element("value", "1..1", STRING),
        ),
    ),
    element("owner", "0..1", REFERENCE, "Organization"),
)
CONTAINED: Final[dict[str, Shape]] = {"Endpoint": ENDPOINT, "Device": DEVICE}
