"""Constraint tables of FHIR 4.0.1 that IMR and Osiris start from: ImagingStudy
(https://hl7.org/fhir/R4/imagingstudy-definitions.html), Endpoint, Device, Location, Observation."""

from __future__ import annotations

from typing import Final

from node.fhir.check.datatypes import (
    CODEABLE_CONCEPT,
    CODING,
    CONTAINED_META,
    IDENTIFIER,
    META,
    NARRATIVE,
    PERIOD,
    REFERENCE,
    UID_IDENTIFIER,
    annotation,
)
from node.fhir.check.primitives import CODE, DATE_TIME, ID, STRING, UNSIGNED_INT, URL
from node.fhir.check.r5 import (
    CONTAINED_ROW,
    ENDPOINT_STATUS,
    PEOPLE,
    REQUESTS,
    STUDY_STATUS,
    identified_by_uid,
)
from node.fhir.check.shapes import element, resource, shape

PERFORMERS: Final = (*PEOPLE, "Organization", "CareTeam", "Patient", "Device", "RelatedPerson")
AUTHORS: Final = ("Practitioner", "Patient", "RelatedPerson", "Organization")
REASONS: Final = ("Condition", "Observation", "Media", "DiagnosticReport", "DocumentReference")

DEVICE_NAME_TYPES: Final = frozenset(
    {
        "udi-label-name",
        "user-friendly-name",
        "patient-reported-name",
        "manufacturer-name",
        "model-name",
        "other",
    }
)
OBSERVATION_STATUS: Final = frozenset(
    {
        "registered",
        "preliminary",
        "final",
        "amended",
        "corrected",
        "cancelled",
        "entered-in-error",
        "unknown",
    }
)

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
    element("modality", "1..1", CODING),
    element("description", "0..1", STRING),
    element("numberOfInstances", "0..1", UNSIGNED_INT),
    element("endpoint", "0..*", REFERENCE, "Endpoint"),
    element("bodySite", "0..1", CODING),
    element("laterality", "0..1", CODING),
    element("specimen", "0..*", REFERENCE, "Specimen"),
    element("started", "0..1", DATE_TIME),
    element("performer", "0..*", PERFORMER),
    element("instance", "0..*", INSTANCE),
)
STUDY: Final = resource(
    "ImagingStudy",
    element("id", "0..1", ID),
    element("meta", "0..1", META),
    element("text", "0..1", NARRATIVE),
    CONTAINED_ROW,
    element("identifier", "0..*", UID_IDENTIFIER),
    element("status", "1..1", CODE, only=STUDY_STATUS),
    element("modality", "0..*", CODING),
    element("subject", "1..1", REFERENCE, "Patient", "Device", "Group"),
    element("encounter", "0..1", REFERENCE, "Encounter"),
    element("started", "0..1", DATE_TIME),
    element("basedOn", "0..*", REFERENCE, *REQUESTS),
    element("referrer", "0..1", REFERENCE, *PEOPLE),
    element("interpreter", "0..*", REFERENCE, *PEOPLE),
    element("endpoint", "0..*", REFERENCE, "Endpoint"),
    element("numberOfSeries", "0..1", UNSIGNED_INT),
    element("numberOfInstances", "0..1", UNSIGNED_INT),
    element("procedureReference", "0..1", REFERENCE, "Procedure"),
    element("procedureCode", "0..*", CODEABLE_CONCEPT),
    element("location", "0..1", REFERENCE, "Location"),
    element("reasonCode", "0..*", CODEABLE_CONCEPT),
    element("reasonReference", "0..*", REFERENCE, *REASONS),
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
    element("status", "1..1", CODE, only=ENDPOINT_STATUS | {"test"}),
    element("connectionType", "1..1", CODING),
    element("name", "0..1", STRING),
    element("managingOrganization", "0..1", REFERENCE, "Organization"),
    element("period", "0..1", PERIOD),
    element("payloadType", "1..*", CODEABLE_CONCEPT),
    element("address", "1..1", URL),
)
DEVICE_NAME: Final = shape(
    "Device.deviceName",
    element("name", "1..1", STRING),
    element("type", "1..1", CODE, only=DEVICE_NAME_TYPES),
)
VERSION: Final = shape(
    "Device.version",
    element("type", "0..1", CODEABLE_CONCEPT),
    element("component", "0..1", IDENTIFIER),
    element("value", "1..1", STRING),
)
DEVICE: Final = resource(
    "Device",
    element("id", "1..1", ID),
    element("meta", "0..1", CONTAINED_META),
    element("identifier", "0..*", UID_IDENTIFIER),
    element("manufacturer", "0..1", STRING),
    element("serialNumber", "0..1", STRING),
    element("deviceName", "0..*", DEVICE_NAME),
    element("modelNumber", "0..1", STRING),
    element("partNumber", "0..1", STRING),
    element("type", "0..1", CODEABLE_CONCEPT),
    element("version", "0..*", VERSION),
    element("owner", "0..1", REFERENCE, "Organization"),
)
LOCATION: Final = resource(
    "Location",
    element("id", "1..1", ID),
    element("meta", "0..1", CONTAINED_META),
    element("identifier", "0..*", IDENTIFIER),
    element("name", "0..1", STRING),
    element("description", "0..1", STRING),
    element("type", "0..*", CODEABLE_CONCEPT),
    element("managingOrganization", "0..1", REFERENCE, "Organization"),
)
OBSERVATION: Final = resource(
    "Observation",
    element("id", "1..1", ID),
    element("meta", "0..1", CONTAINED_META),
    element("identifier", "0..*", IDENTIFIER),
    element("status", "1..1", CODE, only=OBSERVATION_STATUS),
    element("category", "0..*", CODEABLE_CONCEPT),
    element("code", "1..1", CODEABLE_CONCEPT),
    element("subject", "0..1", REFERENCE, "Patient", "Group", "Device", "Location"),
    element("effectiveDateTime", "0..1", DATE_TIME),
)
