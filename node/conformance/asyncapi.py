"""The topics as an AsyncAPI 3.0 document: the node sends; who reads them has the same channels with ``receive``.

Made of the tables that build events: the configured outputs, ``fhir.targets``, and ``events.attributes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, Final

import orjson

from node import wiring
from node.config import Config
from node.conformance import events
from node.conformance.document import DISTRIBUTION
from node.conformance.events import CHANGES, RESOURCES, header
from node.conformance.examples import Example
from node.envelope import Output
from node.fhir.pages import PUBLISHED
from node.fhir.targets import PROFILES
from node.publish.bindings import headers
from node.settings import Kafka
from node.settings import Output as OutputTable

ASYNCAPI: Final = "3.0.0"
_BINDING: Final = "0.5.0"
_VERSIONS: Final = {"5.0": "5.0.0 (R5)", "4.0": "4.0.1 (R4)", "0.0": "0.0.82 (DSTU1)"}

Json = dict[str, Any]


def every_profile(config: Config) -> Config:
    """``config`` with an output of each profile: those that it lacks under names of their own,
    which are a proposal."""
    there = {output.profile for output in config.outputs}
    more = [
        OutputTable(name=name, profile=name, topic=f"imaging-study-{name}")
        for name in PROFILES
        if name not in there
    ]
    return config.model_copy(update={"outputs": (*config.outputs, *more)})


def document(config: Config, examples: Sequence[Example]) -> Json:
    """What a node that runs with ``config`` sends; ``examples`` are events of the outputs that they
    name."""
    outputs = wiring.outputs(config)
    kinds = [kind for kind in events.KINDS if any(output.kind == kind for output in outputs)]
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Events of dicom-fhir-node",
            "version": version(DISTRIBUTION),
            "license": {"name": "Apache-2.0"},
            "description": _ABOUT,
        },
        "defaultContentType": "application/fhir+json",
        "servers": {"kafka": _server(config.events.kafka)},
        "channels": {output.name: _channel(output, config.events.kafka) for output in outputs},
        "operations": {f"send-{output.name}": _operation("send", output) for output in outputs},
        "components": {
            "messages": {
                _message_name(output, change): _message(output, change, examples)
                for output in outputs
                for change in CHANGES
            },
            "schemas": {
                **{f"{kind}-headers": _headers(kind) for kind in kinds},
                **{f"{kind}-resource": _resource(kind) for kind in kinds},
            },
            "securitySchemes": _SECURITY,
        },
    }


def consumer(config: Config) -> Json:
    """The other side: channels by reference to ``asyncapi.yaml`` beside it, operations that receive."""
    outputs = wiring.outputs(config)
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "A consumer of dicom-fhir-node",
            "version": version(DISTRIBUTION),
            "license": {"name": "Apache-2.0"},
            "description": "The channels of asyncapi.yaml as who reads them has them. Take the "
            "operations that you need.",
        },
        "servers": {"kafka": {"$ref": "./asyncapi.yaml#/servers/kafka"}},
        "channels": {output.name: {"$ref": f"./asyncapi.yaml#/channels/{output.name}"} for output in outputs},
        "operations": {f"receive-{output.name}": _operation("receive", output) for output in outputs},
    }


_ABOUT: Final = """\
One event for each version of a study, and one for each selection (key objects, regions, segments, measurements) that
its documents make. An event is a CloudEvent 1.0 in Kafka's binary mode: attributes are headers that begin with ce_,
the value is a FHIR resource. The topics are those of [[outputs]] in the node's configuration; those here are the
defaults, and a proposal for the profiles that are not on by default. docs/consuming.md has guarantees, examples and a
consumer.
"""

_SECURITY: Final = {
    "sasl-plain": {"type": "plain", "description": "security_protocol SASL_SSL, sasl_mechanism PLAIN"},
    "sasl-scram-256": {"type": "scramSha256", "description": "sasl_mechanism SCRAM-SHA-256"},
    "sasl-scram-512": {"type": "scramSha512", "description": "sasl_mechanism SCRAM-SHA-512"},
    "certificate": {"type": "X509", "description": "security_protocol SSL with ssl_certfile and ssl_keyfile"},
}


def _server(kafka: Kafka) -> Json:
    promise = (
        "Events and the node's cursor go out in transactions: a consumer with isolation.level=read_committed sees "
        "each event once. With read_uncommitted it also sees those of aborted transactions."
        if kafka.exactly_once
        else "Events go out idempotently, at least once: after a crash of the node one may come again with its id."
    )
    return {
        "host": kafka.bootstrap_servers.partition(",")[0].strip(),
        "protocol": "kafka-secure" if kafka.security_protocol.endswith("SSL") else "kafka",
        "description": promise,
        "bindings": {"kafka": {"bindingVersion": _BINDING}},
    }


def _channel(output: Output, kafka: Kafka) -> Json:
    return {
        "address": output.topic,
        "title": f"{RESOURCES[output.kind]}, profile {output.profile}",
        "description": (
            f'Output {output.name!r}: profile = "{output.profile}", FHIR {_VERSIONS[output.fhir_version]}. '
            "Events of one study are in one partition, in the order of their versions."
        ),
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {
            change: {"$ref": f"#/components/messages/{_message_name(output, change)}"} for change in CHANGES
        },
        "bindings": {
            "kafka": {"topic": output.topic, "partitions": kafka.partitions, "bindingVersion": _BINDING}
        },
    }


def _operation(action: str, output: Output) -> Json:
    said = {
        "send": "The node publishes a version of a study",
        "receive": "Reads the versions of studies; with read_committed, and each id once",
    }
    return {
        "action": action,
        "summary": f"{said[action]}, as profile {output.profile}.",
        "channel": {"$ref": f"#/channels/{output.name}"},
    }


def _message_name(output: Output, change: str) -> str:
    return f"{output.name}-{change}"


def _message(output: Output, change: str, examples: Sequence[Example]) -> Json:
    first = change == "completed"
    found: Json = {
        "name": f"org.dicom-fhir-node.{output.kind}.{change}.v1",
        "title": f"{RESOURCES[output.kind]} {change}",
        "summary": "A study's first version." if first else "A later version: it replaces all before it.",
        "contentType": f"application/fhir+json; fhirVersion={output.fhir_version}",
        "headers": {"$ref": f"#/components/schemas/{output.kind}-headers"},
        "payload": {"$ref": f"#/components/schemas/{output.kind}-resource"},
        "correlationId": {
            "description": "The event's id: the same on every redelivery. Take each once.",
            "location": f"$message.header#/{header('id')}",
        },
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "Study Instance UID, as in ce_partitionkey."},
                "bindingVersion": _BINDING,
            }
        },
        "externalDocs": {
            "url": PUBLISHED[output.profile],
            "description": f"The resource as published; docs/fhir/{output.profile}.md says what the "
            "node fills.",
        },
    }
    given = list(_examples(output, change, examples))
    return found | ({"examples": given} if given else {})


def _examples(output: Output, change: str, examples: Sequence[Example]) -> Iterator[Json]:
    for name, wrapped in examples:
        event = wrapped.event
        if event.output == output.name and str(event.attributes["type"]).endswith(f".{change}.v1"):
            yield {
                "name": name,
                "headers": {key: value.decode() for key, value in headers(event)},
                "payload": orjson.loads(event.data),
            }


def _headers(kind: str) -> Json:
    """The schema of conf/schemas, without what AsyncAPI's own schema format (a superset of
    draft-07) has not."""
    schema = events.headers(kind)
    return {name: schema[name] for name in ("type", "required", "properties", "additionalProperties")}


def _resource(kind: str) -> Json:
    said = ", ".join(
        f"{profile.name}: {_VERSIONS[profile.fhir_version]}"
        for profile in PROFILES.values()
        if profile.kind == kind
    )
    return {
        "type": "object",
        "description": f"A FHIR {RESOURCES[kind]} ({said}). Its schema is FHIR's own; docs/fhir says "
        "what the node fills.",
        "required": ["resourceType"],
        "properties": {"resourceType": {"type": "string", "const": RESOURCES[kind]}},
    }
