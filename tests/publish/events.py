"""Events as the envelope makes them, for tests of what comes after it."""

from __future__ import annotations

from dataclasses import replace

import orjson

from node.model import Event


def event(study: str = "1.2.3", version: int = 1, topic: str = "imaging-study", size: int = 0) -> Event:
    """An event of ``study``; ``size`` pads its resource."""
    identity = f"r5/{study}/{version}"
    word = "completed" if version == 1 else "amended"
    attributes: dict[str, str | int] = {
        "specversion": "1.0",
        "id": identity,
        "source": "urn:dicom-fhir-node:DICOMFHIR",
        "type": f"org.dicom-fhir-node.imagingstudy.{word}.v1",
        "subject": study,
        "partitionkey": study,
        "time": "2026-11-22T08:15:30Z",
        "datacontenttype": "application/fhir+json; fhirVersion=5.0",
        "studyversion": version,
        "completion": "quiet",
        "instances": 7,
        "seriescount": 2,
        "added": 7,
        "callingae": "CT1",
    }
    resource = {"resourceType": "ImagingStudy", "id": "a", "description": "Schädel " + "x" * size, "n": 1.50}
    return Event(identity, "r5", topic, study, attributes, orjson.dumps(resource))


def numbered(events: list[Event]) -> list[Event]:
    """The events with the ``seq`` that an outbox would have given them."""
    return [replace(found, seq=number) for number, found in enumerate(events, 1)]
