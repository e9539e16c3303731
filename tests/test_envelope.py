from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson

from node import envelope
from node.envelope import Completion, Item, Output, Wrapped
from node.fhir.options import FhirOptions
from node.fhir.targets import PROFILES
from tests.studies import STUDY, assembled, ct

OUTPUT = Output("r5", "r5", "imaging-study", "imagingstudy", "5.0")
COMPLETION = Completion(STUDY, 1, "quiet", 1_773_126_930.25, 3, 2, 3, ("CT1", "WS 2"))
DATAREF = "http://node.example/api/events/{id}/data"


def resource(instances: int = 3) -> dict[str, Any]:
    return (
        PROFILES["r5"].build(assembled([ct(n) for n in range(1, instances + 1)]), FhirOptions())[0].resource
    )


def wrap(of: dict[str, Any], completion: Completion = COMPLETION, max_event_bytes: int = 900_000) -> Wrapped:
    return envelope.wrap(
        OUTPUT, completion, of, ae_title="DICOMFHIR", max_event_bytes=max_event_bytes, dataref=DATAREF
    )


def test_the_attributes_of_a_first_version() -> None:
    event = wrap(resource()).event
    assert event.id == f"r5/{STUDY}/1"
    assert (event.output, event.topic, event.study, event.seq) == ("r5", "imaging-study", STUDY, 0)
    assert event.attributes == {
        "specversion": "1.0",
        "id": f"r5/{STUDY}/1",
        "source": "urn:dicom-fhir-node:DICOMFHIR",
        "type": "org.dicom-fhir-node.imagingstudy.completed.v1",
        "subject": STUDY,
        "time": "2026-03-10T07:15:30.250000Z",
        "datacontenttype": "application/fhir+json; fhirVersion=5.0",
        "partitionkey": STUDY,
        "studyversion": 1,
        "completion": "quiet",
        "instances": 3,
        "seriescount": 2,
        "added": 3,
        "callingae": "CT1,WS 2",
    }


def test_attribute_names_are_those_that_cloudevents_allows() -> None:
    names = wrap(resource(), max_event_bytes=10).event.attributes
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in names)


def test_later_versions_are_amendments() -> None:
    event = wrap(resource(), replace(COMPLETION, version=2, reason="forced", added=1)).event
    assert event.id == f"r5/{STUDY}/2"
    assert event.attributes["type"] == "org.dicom-fhir-node.imagingstudy.amended.v1"
    assert (event.attributes["completion"], event.attributes["added"]) == ("forced", 1)


def test_the_data_is_the_resource_and_the_same_every_time() -> None:
    first, second = wrap(resource()), wrap(resource())
    assert first == second
    assert orjson.loads(first.event.data) == resource()
    assert first.full is None


def test_a_huge_study_goes_without_its_instances() -> None:
    whole = resource(50)
    size = len(orjson.dumps(whole))
    assert wrap(whole, max_event_bytes=size).full is None
    wrapped = wrap(whole, max_event_bytes=size - 1)
    assert wrapped.full == orjson.dumps(whole)
    attributes = wrapped.event.attributes
    assert attributes["datasha256"] == sha256(wrapped.full).hexdigest()
    assert attributes["dataref"] == f"http://node.example/api/events/r5/{STUDY}/1/data"
    sent = orjson.loads(wrapped.event.data)
    PROFILES["r5"].check(sent)
    assert sent["series"][0]["numberOfInstances"] == 50
    assert "instance" not in sent["series"][0]
    for series in whole["series"]:
        del series["instance"]
    assert sent == whole, "nothing else about it changes"


def test_a_resource_without_instances_is_never_cut() -> None:
    small = envelope.without_instances(resource())
    wrapped = wrap(small, max_event_bytes=10)
    assert wrapped.full is None
    assert "dataref" not in wrapped.event.attributes


def test_the_resource_itself_is_not_changed() -> None:
    whole = resource()
    wrap(whole, max_event_bytes=10)
    assert whole == resource()


def test_control_characters_of_an_ae_title_are_dropped() -> None:
    event = wrap(resource(), replace(COMPLETION, senders=("A\x00B\n", "É1"))).event
    assert event.attributes["callingae"] == "AB,1"


def test_a_selection_is_named_after_its_document_and_place() -> None:
    output = Output("sel", "imagingselection", "imaging-selection", "imagingselection", "5.0")
    of = {"resourceType": "ImagingSelection", "code": {"text": "x"}, "instance": [{"uid": "1.2"}]}
    item = Item("1.2.3.4", "1.4.2")

    def wrapped_below(max_event_bytes: int) -> Wrapped:
        return envelope.wrap(
            output,
            COMPLETION,
            of,
            item,
            ae_title="NODE",
            dataref=DATAREF,
            max_event_bytes=max_event_bytes,
        )

    event = wrapped_below(1000).event
    assert event.id == "sel/1.2.3.4/1.4.2/1"
    assert event.attributes["type"] == "org.dicom-fhir-node.imagingselection.completed.v1"
    assert (event.study, event.attributes["subject"], event.attributes["partitionkey"]) == (STUDY,) * 3

    wrapped = wrapped_below(10)
    assert orjson.loads(wrapped.event.data) == {"resourceType": "ImagingSelection", "code": {"text": "x"}}
    assert wrapped.full == orjson.dumps(of)
    assert wrapped.event.attributes["dataref"] == "http://node.example/api/events/sel/1.2.3.4/1.4.2/1/data"
