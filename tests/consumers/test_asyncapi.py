"""conf/asyncapi.yaml: legal by AsyncAPI's own schema, complete, and saying what the node does."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from node import settings, wiring
from node.config import Config
from node.conformance import asyncapi, events
from node.fhir.targets import PROFILES
from tests.tools import ROOT

SCHEMA = Path(__file__).with_name("asyncapi-3.0.0.json")
NAMES = ("asyncapi.yaml", "asyncapi-consumer.yaml")


@cache
def official() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))


@cache
def loaded(name: str = "asyncapi.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "conf" / name).read_text())
    return found


def test_the_schema_is_the_published_one() -> None:
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() in SCHEMA.with_name("README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_legal(name: str) -> None:
    assert [error.message for error in official().iter_errors(loaded(name))] == []


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "action": lambda document: document["operations"]["send-r5"].update(action="publish"),
    "unknown member": lambda document: document["channels"]["r5"].update(topic="imaging-study"),
    "binding": lambda document: document["channels"]["r5"]["bindings"]["kafka"].update(partitions="three"),
    "no host": lambda document: document["servers"]["kafka"].pop("host"),
    "location": lambda document: document["components"]["messages"]["r5-amended"]["correlationId"].update(
        location="ce_id"
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_schema_tells(fault: str) -> None:
    document = copy.deepcopy(loaded())
    FAULTS[fault](document)
    assert list(official().iter_errors(document))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_is_there(name: str) -> None:
    for reference in references(loaded(name)):
        file, _, pointer = reference.partition("#")
        at: Any = loaded(file.removeprefix("./") or name)
        for step in pointer.strip("/").split("/"):
            at = at[step]
        assert at


def test_one_channel_for_each_output_and_each_profile() -> None:
    document, config = loaded(), Config()
    default = {output.name: output.topic for output in config.outputs}
    channels = document["channels"]
    assert {name: channels[name]["address"] for name in default} == default
    profiles = {channel["title"].rpartition(" ")[2] for channel in channels.values()}
    assert profiles == set(PROFILES)
    for name, channel in channels.items():
        assert channel["bindings"]["kafka"]["topic"] == channel["address"]
        assert channel["bindings"]["kafka"]["partitions"] == config.events.kafka.partitions
        assert set(channel["messages"]) == {"completed", "amended"}
        assert document["operations"][f"send-{name}"]["channel"] == {"$ref": f"#/channels/{name}"}
    assert {operation["action"] for operation in document["operations"].values()} == {"send"}


def test_the_consumer_has_the_same_channels_and_receives() -> None:
    node, consumer = loaded(), loaded("asyncapi-consumer.yaml")
    assert set(consumer["channels"]) == set(node["channels"])
    assert {operation["action"] for operation in consumer["operations"].values()} == {"receive"}
    assert len(consumer["operations"]) == len(node["operations"])


def test_messages_are_of_the_types_and_formats_that_the_envelope_makes() -> None:
    messages = loaded()["components"]["messages"]
    for output in wiring.outputs(asyncapi.every_profile(Config())):
        for change in ("completed", "amended"):
            message = messages[f"{output.name}-{change}"]
            assert message["name"] == f"org.dicom-fhir-node.{output.kind}.{change}.v1"
            assert message["contentType"] == f"application/fhir+json; fhirVersion={output.fhir_version}"


def test_every_example_is_what_its_message_says() -> None:
    document = loaded()
    schemas = document["components"]["schemas"]
    seen = set()
    for name, message in document["components"]["messages"].items():
        for example in message.get("examples", ()):
            seen.add(example["name"])
            for part in ("headers", "payload"):
                schema = schemas[message[part]["$ref"].rpartition("/")[2]]
                jsonschema.validate(example[part], schema, jsonschema.Draft7Validator)
            assert example["headers"]["ce_type"] == message["name"], name
            assert example["headers"]["content-type"] == message["contentType"]
    assert seen == {"completed", "amended", "shortened", "selection"}


def test_it_follows_the_configuration() -> None:
    kafka = settings.Kafka(
        bootstrap_servers="k1:9093, k2:9093",
        security_protocol="SSL",
        exactly_once=False,
        partitions=12,
    )
    outputs = (settings.Output(name="onco", profile="osiris", topic="onco-studies"),)
    config = Config().model_copy(update={"outputs": outputs, "events": settings.Events(kafka=kafka)})
    document = asyncapi.document(config, ())
    assert list(official().iter_errors(document)) == []
    assert list(document["channels"]) == ["onco"]
    assert document["channels"]["onco"]["address"] == "onco-studies"
    assert document["channels"]["onco"]["bindings"]["kafka"]["partitions"] == 12
    server = document["servers"]["kafka"]
    assert (server["host"], server["protocol"]) == ("k1:9093", "kafka-secure")
    assert "at least once" in server["description"]
    assert set(document["components"]["schemas"]) == {"imagingstudy-headers", "imagingstudy-resource"}
    assert set(events.RESOURCES) == set(events.KINDS)
