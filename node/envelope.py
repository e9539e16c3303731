"""A resource as a CloudEvent 1.0: its id, its attributes, and what becomes of it when it is too large.

Pure: the same study version and resource give the same bytes, so an event that is sent again is the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from node.model import Event, Reason
from node.timing import rfc3339

SPECVERSION: Final = "1.0"

_UNPRINTABLE = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class Output:
    """One row of ``[[outputs]]`` with what its profile fixes.

    ``name`` is part of event ids, ``kind`` the type's word (``imagingstudy``), ``fhir_version`` like ``5.0``.
    """

    name: str
    profile: str
    topic: str
    kind: str
    fhir_version: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A study version that was declared complete at ``at`` (seconds since the epoch) because of ``reason``.

    ``instances`` and ``series`` are its counts, ``added`` the instances since the version before, ``senders``
    the calling AE titles in the order in which they first sent.
    """

    study: str
    version: int
    reason: Reason
    at: float
    instances: int
    series: int
    added: int
    senders: Sequence[str]


class Item(NamedTuple):
    """What of a study a resource is about: the SOP Instance UID of a document, and a place in it that has no
    slash. Both are empty for the study as a whole."""

    source: str = ""
    place: str = ""


WHOLE_STUDY: Final = Item()


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The event, and the full resource where the event carries it without its instance lists."""

    event: Event
    full: bytes | None = None


def wrap(
    output: Output,
    completion: Completion,
    resource: Mapping[str, Any],
    item: Item = WHOLE_STUDY,
    *,
    ae_title: str,
    max_event_bytes: int,
    dataref: str,
) -> Wrapped:
    """The event of one study version for one output; ``item`` is what of the study ``resource`` is about.

    ``dataref`` is the URL of the full resource, in which ``{id}`` stands for this event's, percent-encoded. A
    resource of more than ``max_event_bytes`` bytes goes without its instances (those of the series of an
    ImagingStudy, or those of an ImagingSelection); it is not made smaller than that, so a sink may still
    refuse it.
    """
    data = orjson.dumps(resource)
    attributes = _attributes(output, completion, item, ae_title)
    full = None
    if len(data) > max_event_bytes and has_instances(resource):
        full = data
        data = orjson.dumps(without_instances(resource))
        attributes["dataref"] = dataref.format(id=quote(str(attributes["id"])))
        attributes["datasha256"] = sha256(full).hexdigest()
    event = Event(
        id=str(attributes["id"]),
        output=output.name,
        topic=output.topic,
        study=completion.study,
        attributes=attributes,
        data=data,
    )
    return Wrapped(event, full)


def event_id(output: str, study: str, version: int, item: Item = WHOLE_STUDY) -> str:
    """The id of a study's event, or of a selection's: the same on every redelivery."""
    return "/".join((output, *item, str(version)) if item.source else (output, study, str(version)))


def event_type(kind: str, version: int) -> str:
    """CloudEvents type of version 1, and of those after it, for a word such as ``imagingstudy``."""
    return f"org.dicom-fhir-node.{kind}.{'completed' if version == 1 else 'amended'}.v1"


def _attributes(output: Output, completion: Completion, item: Item, ae_title: str) -> dict[str, str | int]:
    return {
        "specversion": SPECVERSION,
        "id": event_id(output.name, completion.study, completion.version, item),
        "source": f"urn:dicom-fhir-node:{ae_title}",
        "type": event_type(output.kind, completion.version),
        "subject": completion.study,
        "time": rfc3339(completion.at, "microseconds"),
        "datacontenttype": f"application/fhir+json; fhirVersion={output.fhir_version}",
        "partitionkey": completion.study,
        "studyversion": completion.version,
        "completion": completion.reason,
        "instances": completion.instances,
        "seriescount": completion.series,
        "added": completion.added,
        "callingae": ",".join(_UNPRINTABLE.sub("", sender).strip() for sender in completion.senders),
    }


def has_instances(resource: Mapping[str, Any]) -> bool:
    """Whether the resource, or any series of it, lists its instances."""
    return "instance" in resource or any("instance" in series for series in resource.get("series", ()))


def without_instances(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The resource without its instances and those of its series, nothing else changed."""
    found = {name: member for name, member in resource.items() if name != "instance"}
    if "series" in found:
        found["series"] = [
            {name: member for name, member in one.items() if name != "instance"} for one in found["series"]
        ]
    return found
