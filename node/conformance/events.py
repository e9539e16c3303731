"""The attributes of an event as one table, and the JSON Schemas made of it (draft 2020-12).

``node.envelope`` writes the attributes; tests hold its events, of every output, against these schemas, which allow
nothing that is not in the table. Sources: CloudEvents 1.0 (attributes, JSON event format, Kafka binding).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from node.fhir.targets import PROFILES
from node.model import Reason

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
KINDS: Final = tuple(dict.fromkeys(profile.kind for profile in PROFILES.values()))
RESOURCES: Final = {"imagingstudy": "ImagingStudy", "imagingselection": "ImagingSelection"}
CHANGES: Final = ("completed", "amended")

_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_UID: Final = r"[0-9]+(\.[0-9]+)*"
_VERSION: Final = "[1-9][0-9]*"
_NUMBER: Final = "0|[1-9][0-9]*"


class Attribute(NamedTuple):
    """One attribute: ``pattern`` (a regular expression of the whole value) is what its text has to be, also where it
    is a number; ``least`` bounds a number; ``required`` is false for what only shortened events have."""

    name: str
    type: Literal["string", "integer"]
    pattern: str
    about: str
    required: bool = True
    least: int = 0


def attributes(kind: str) -> tuple[Attribute, ...]:
    """The attributes of events of one kind (``imagingstudy``, ``imagingselection``)."""
    return (*_of_the_envelope(kind), *_of_the_version())


def _of_the_envelope(kind: str) -> tuple[Attribute, ...]:
    """Those that CloudEvents names, and its partitioning extension."""
    versions = sorted({p.fhir_version.replace(".", r"\.") for p in PROFILES.values() if p.kind == kind})
    return (
        Attribute("specversion", "string", r"1\.0", "Version of CloudEvents."),
        Attribute("id", "string", _ids(kind), _IDS[kind]),
        Attribute(
            "source",
            "string",
            r"urn:dicom-fhir-node:[ -\[\]-~]{1,16}",
            "The node, by its AE title. `source` and `id` together name an event.",
        ),
        Attribute(
            "type",
            "string",
            rf"org\.dicom-fhir-node\.{kind}\.({'|'.join(CHANGES)})\.v1",
            "completed for a study's version 1, amended for those after it.",
        ),
        Attribute("subject", "string", _UID, "Study Instance UID."),
        Attribute(
            "time",
            "string",
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z",
            "When this version of the study was declared complete (RFC 3339, UTC).",
        ),
        Attribute(
            "datacontenttype",
            "string",
            rf"application/fhir\+json; fhirVersion=({'|'.join(versions)})",
            "The resource's format and FHIR version.",
        ),
        Attribute("partitionkey", "string", _UID, "Study Instance UID; in Kafka the record's key."),
    )


def _of_the_version() -> tuple[Attribute, ...]:
    """The node's own: what this version of the study holds, and why it went out."""
    return (
        Attribute(
            "studyversion",
            "integer",
            _VERSION,
            "1, 2, … without gaps; a later one replaces all before.",
            least=1,
        ),
        Attribute(
            "completion",
            "string",
            "|".join(get_args(Reason)),
            "Why: quiet (nothing new for the quiet period), max-age (open for completion.max_seconds), forced (an "
            "operator).",
        ),
        Attribute("instances", "integer", _NUMBER, "Instances of the study in this version."),
        Attribute("seriescount", "integer", _NUMBER, "Series of the study in this version."),
        Attribute("added", "integer", _NUMBER, "Instances that came since the version before."),
        Attribute(
            "callingae",
            "string",
            "[ -~]*",
            "AE titles that sent some of the study, the first sender first, by commas.",
        ),
        Attribute(
            "dataref",
            "string",
            "https?://[^ ]+/api/events/[^ ]+/data",
            "Where the full resource is, when the event is too large to carry its instances.",
            required=False,
        ),
        Attribute(
            "datasha256", "string", "[0-9a-f]{64}", "SHA-256 of what `dataref` gives, in hex.", required=False
        ),
    )


_IDS: Final = {
    "imagingstudy": "{output}/{Study Instance UID}/{version}: the same on every redelivery.",
    "imagingselection": "{output}/{SOP Instance UID of the document}/{item}/{version}: the same on every redelivery.",
}


def _ids(kind: str) -> str:
    return f"{_NAME}/{_UID}/{_VERSION}" if kind == "imagingstudy" else f"{_NAME}/{_UID}/[^/]+/{_VERSION}"


def structured(kind: str) -> dict[str, Any]:
    """Schema of a whole event in structured mode: a line of the event log, or an event in /api/events."""
    rows = attributes(kind)
    data = {
        "type": "object",
        "description": f"The FHIR {RESOURCES[kind]}: docs/fhir says what is in it, by output.",
        "required": ["resourceType"],
        "properties": {"resourceType": {"const": RESOURCES[kind]}},
    }
    return {
        "$schema": DRAFT,
        "title": f"{RESOURCES[kind]} event, CloudEvents 1.0 structured mode",
        "type": "object",
        "required": [*(row.name for row in rows if row.required), "data"],
        "properties": {**{row.name: _value(row) for row in rows}, "data": data},
        "dependentRequired": _pairs(rows, lambda name: name),
        "additionalProperties": False,
    }


def headers(kind: str) -> dict[str, Any]:
    """Schema of the headers of a Kafka record, as an object of texts (CloudEvents Kafka binding 1.0, binary mode)."""
    rows = attributes(kind)
    return {
        "$schema": DRAFT,
        "title": f"{RESOURCES[kind]} event, headers of the Kafka record",
        "type": "object",
        "required": [header(row.name) for row in rows if row.required],
        "properties": {
            header(row.name): {"type": "string", "pattern": f"^({row.pattern})$", "description": row.about}
            for row in rows
        },
        "dependentRequired": _pairs(rows, header),
        "additionalProperties": False,
    }


def header(attribute: str) -> str:
    """The name of an attribute's Kafka header (CloudEvents Kafka binding 1.0, 3.2.3)."""
    return "content-type" if attribute == "datacontenttype" else f"ce_{attribute}"


def _value(row: Attribute) -> dict[str, Any]:
    if row.type == "integer":
        return {"type": "integer", "minimum": row.least, "description": row.about}
    found = {"type": "string", "pattern": f"^({row.pattern})$", "description": row.about}
    return found | ({"format": "date-time"} if row.name == "time" else {})


def _pairs(rows: tuple[Attribute, ...], named: Any) -> dict[str, list[str]]:
    """What a shortened event has, it has together."""
    together = [named(row.name) for row in rows if not row.required]
    return {name: [other for other in together if other != name] for name in together}


def schemas() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(file name, schema) of each file in conf/schemas."""
    for kind in KINDS:
        yield f"{kind}.event.json", structured(kind)
        yield f"{kind}.headers.json", headers(kind)
