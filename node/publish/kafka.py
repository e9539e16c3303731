"""The Kafka sink: CloudEvents in binary mode, an idempotent producer with acks=all; the one user of aiokafka.

Each study's events are sent one after the other, all studies of a batch at once. That keeps the order within
a study whatever the broker refuses, because no later event of the study is in flight with an earlier one.

What aiokafka 0.14 makes necessary:

* its defaults are acks=1 without idempotence;
* an idempotent send never gives up, and there is no taking it back: nothing here puts a timeout around one;
* after a produce error that it does not retry, the producer's sequence numbers have a gap that no broker
  accepts: the producer is replaced;
* a refusal strikes the whole record batch, innocent events in it too: each is then tried alone;
* ``max_request_size`` is checked before compression.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiokafka.errors as kafka_errors  # type: ignore[import-untyped]
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.helpers import create_ssl_context  # type: ignore[import-untyped]

from node.errors import ConfigError, PublishUnavailable
from node.model import Event
from node.publish.base import Outcome, PartlyPublished

_log = structlog.get_logger(__name__)

_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_COMPRESSIONS: Final = ("none", "gzip", "lz4", "zstd")

# Errors about the event or its topic that no repetition mends (Kafka protocol, error codes). Every other
# error is the broker's or the network's state, and the event waits.
_REFUSALS: Final[dict[type[Exception], str]] = {
    kafka_errors.MessageSizeTooLargeError: "larger than the broker or max_request_size allows",
    kafka_errors.RecordListTooLargeError: "larger than the broker's segment.bytes",
    kafka_errors.InvalidTopicError: "the topic's name is not a legal one",
    kafka_errors.TopicAuthorizationFailedError: "no right to write to the topic",
    kafka_errors.PolicyViolationError: "against a policy of the broker",
    kafka_errors.InvalidTimestampError: "its timestamp is out of the topic's range",
    kafka_errors.UnsupportedForMessageFormatError: "the topic's message format has no headers",
}

# Between the attempts that aiokafka makes by itself while a broker is away. Each one logs a few lines.
_RETRY_MS: Final = 1000

# org.apache.kafka.common.internals.Topic; the broker's answer to another name does not reach the caller.
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")

# How long a topic may take to appear in the metadata. A missing topic must not hold up the others; one that
# the broker creates on demand appears within a second.
_TOPIC_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """[events.kafka], under the names that Kafka clients use; sizes in bytes. Raises ``ConfigError``."""

    bootstrap_servers: str = "localhost:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = field(default=None, repr=False)
    compression: str = "lz4"
    client_id: str = "dicom-fhir-node"
    transactional_id: str | None = None
    exactly_once: bool = True
    # The broker's own message.max.bytes decides: it applies after compression, this one before.
    max_request_size: int = 16 * 1024 * 1024
    request_timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        allowed = {
            "security_protocol": _PROTOCOLS,
            "sasl_mechanism": _MECHANISMS,
            "compression": _COMPRESSIONS,
        }
        problems = [
            f"events.kafka.{key}: {getattr(self, key)!r} is none of {', '.join(values)}"
            for key, values in allowed.items()
            if getattr(self, key) not in values
        ]
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            problems.append(
                "events.kafka.sasl_username, sasl_password: needed with " + self.security_protocol
            )
        if problems:
            raise ConfigError(problems)


@dataclass(slots=True)
class _Batch:
    """What became of the events handed to one ``publish``; ``left`` are those without an outcome yet."""

    events: Sequence[Event]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)  # topic -> why it can't be written now

    def settle(self, event: Event, refused: str | None = None) -> None:
        self.outcomes[id(event)] = Outcome(event, refused)

    def left(self) -> list[Event]:
        return [event for event in self.events if id(event) not in self.outcomes]


class KafkaPublisher:
    """Writes to the topics that the events name; key and partition follow the Study Instance UID."""

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._producer: Any = None
        self._in_flight = 0
        self._broken = False

    async def start(self) -> None:
        if self._options.exactly_once:
            _log.warning(
                "kafka_exactly_once_not_available",
                error="this version publishes idempotently, at least once, with the same id",
                hint="set events.kafka.exactly_once = false to say so, or let consumers drop repeated ids",
            )
        await self._connected()

    async def already_out(self, events: Sequence[Event]) -> set[str]:
        """Nothing is known: without transactions the log can't tell which of its records are this node's."""
        return set()

    async def publish(self, events: Sequence[Event]) -> list[Outcome]:
        batch = _Batch(events)
        await self._connected()
        await self._look_up_topics(batch)
        await asyncio.gather(*(self._send_in_order(study, batch) for study in self._studies(batch)))
        if self._broken:
            await self._send_one_by_one(batch)
        outcomes = [batch.outcomes[id(event)] for event in events if id(event) in batch.outcomes]
        if len(outcomes) < len(events):
            why = "; ".join(f"topic {topic}: {why}" for topic, why in sorted(batch.waiting.items()))
            raise PartlyPublished(f"Kafka {self._options.bootstrap_servers}: {why}", outcomes, batch.waiting)
        return outcomes

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if self._in_flight:
            await _abandon(producer)
        else:
            await producer.stop()
        self._in_flight = 0
        self._broken = False

    async def _connected(self) -> Any:
        """A producer that works; raises ``PublishUnavailable`` at once when no broker answers."""
        if self._broken:
            await self.stop()
        if self._producer is None:
            self._producer = await _started(self._options)
        return self._producer

    async def _look_up_topics(self, batch: _Batch) -> None:
        topics = sorted({event.topic for event in batch.events})
        reasons = await asyncio.gather(*(self._topic_problem(topic) for topic in topics))
        for topic, (refused, waiting) in zip(topics, reasons, strict=True):
            if waiting is not None:
                batch.waiting[topic] = waiting
            if refused is not None:
                for event in batch.events:
                    if event.topic == topic:
                        batch.settle(event, refused)

    async def _topic_problem(self, topic: str) -> tuple[str | None, str | None]:
        """Why nothing can be written to the topic: for good, or for now."""
        if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
            return _REFUSALS[kafka_errors.InvalidTopicError], None
        try:
            async with asyncio.timeout(_TOPIC_SECONDS):
                await self._producer.partitions_for(topic)
        except TimeoutError:
            return None, "not known to the broker: create it, or let the broker create topics"
        except kafka_errors.KafkaError as error:
            reason = _refusal(error)
            return (reason, None) if reason else (None, str(error))
        return None, None

    def _studies(self, batch: _Batch) -> list[list[Event]]:
        studies: dict[str, list[Event]] = defaultdict(list)
        for event in batch.left():
            if event.topic not in batch.waiting:
                studies[event.study].append(event)
        return list(studies.values())

    async def _send_in_order(self, events: Sequence[Event], batch: _Batch) -> None:
        for event in events:
            if self._broken or not await self._sent(event, batch, alone=False):
                return

    async def _send_one_by_one(self, batch: _Batch) -> None:
        """What a broken producer left: each event alone, so that a refusal names the one that it is about."""
        for event in batch.left():
            if event.topic in batch.waiting:
                continue
            try:
                await self._connected()
            except PublishUnavailable as error:
                batch.waiting.update((left.topic, str(error)) for left in batch.left())
                return
            await self._sent(event, batch, alone=True)

    async def _sent(self, event: Event, batch: _Batch, alone: bool) -> bool:
        """Whether the event has its outcome. ``alone``: no other event is in its record batch."""
        self._in_flight += 1
        try:
            acknowledged = await self._producer.send(
                event.topic, value=event.data, key=event.study.encode(), headers=headers(event)
            )
        except kafka_errors.KafkaError as error:
            # Raised before the event entered a record batch: a refusal is about this event for certain, any
            # other error says that the producer itself has failed.
            self._in_flight -= 1
            refusal = _refusal(error) is not None
            self._broken = self._broken or not refusal
            return self._settled(event, batch, error, certain=alone or refusal)
        try:
            await acknowledged
        except kafka_errors.KafkaError as error:
            self._in_flight -= 1
            self._broken = True
            return self._settled(event, batch, error, certain=alone)
        self._in_flight -= 1
        batch.settle(event)
        return True

    def _settled(self, event: Event, batch: _Batch, error: Exception, certain: bool) -> bool:
        reason = _refusal(error)
        if reason is not None and certain:
            batch.settle(event, reason)
            return True
        if certain:
            batch.waiting[event.topic] = str(error)
        return False


def headers(event: Event) -> list[tuple[str, bytes]]:
    """CloudEvents Kafka binding 1.0.2, 3.2: every attribute with ``ce_``, but for the content type."""
    return [
        ("content-type" if name == "datacontenttype" else f"ce_{name}", str(value).encode())
        for name, value in event.attributes.items()
    ]


def _refusal(error: Exception) -> str | None:
    for kind, reason in _REFUSALS.items():
        if isinstance(error, kind):
            return f"{type(error).__name__}: {reason}"
    return None


async def _started(options: KafkaOptions) -> Any:
    where = f"Kafka {options.bootstrap_servers}"
    try:
        producer = AIOKafkaProducer(**_arguments(options))
    except (OSError, ssl.SSLError) as error:
        raise PublishUnavailable(f"{where}: TLS certificates: {error}") from error
    try:
        await producer.start()
    except kafka_errors.KafkaError as error:
        await producer.stop()
        raise PublishUnavailable(f"{where}: {error}") from error
    except BaseException:
        await _abandon(producer)
        raise
    return producer


def _arguments(options: KafkaOptions) -> dict[str, Any]:
    encrypted = options.security_protocol in ("SSL", "SASL_SSL")
    return {
        "bootstrap_servers": options.bootstrap_servers,
        "client_id": options.client_id,
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": None if options.compression == "none" else options.compression,
        "max_request_size": options.max_request_size,
        "request_timeout_ms": round(options.request_timeout_seconds * 1000),
        "retry_backoff_ms": _RETRY_MS,
        "security_protocol": options.security_protocol,
        "sasl_mechanism": options.sasl_mechanism,
        "sasl_plain_username": options.sasl_username,
        "sasl_plain_password": options.sasl_password,
        "ssl_context": create_ssl_context(
            cafile=options.ssl_cafile,
            certfile=options.ssl_certfile,
            keyfile=options.ssl_keyfile,
            password=options.ssl_password,
        )
        if encrypted
        else None,
    }


async def _abandon(producer: Any) -> None:
    """Close a producer whose sends may never end. ``AIOKafkaProducer.stop`` waits for them without limit, so
    its sender is cancelled first; the second cancel ends the request that the first one waits for."""
    sender = producer._sender.sender_task
    while sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait({sender}, timeout=1.0)
    producer._message_accumulator.fail_all(kafka_errors.ProducerClosed())
    await producer.stop()
