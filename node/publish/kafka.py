"""The Kafka sink: CloudEvents in binary mode, idempotent with acks=all; the one user of aiokafka.

Each study's events are sent one after the other, all studies of a batch at once. That keeps the order within
a study whatever the broker refuses, because no later event of the study is in flight with an earlier one.

Exactly once: a batch is one transaction, which also writes the ids of its events to the node's own cursor
topic. The relay marks a batch before it hands over the next one, so after a crash only the last batch is in
doubt, and the last committed cursor record settles that doubt.

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
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import aiokafka.errors as kafka_errors  # type: ignore[import-untyped]
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.helpers import create_ssl_context  # type: ignore[import-untyped]

from node.errors import PublishUnavailable
from node.logs import get_logger
from node.model import Event
from node.publish.base import Batch, Outcome, PartlyPublished
from node.publish.bindings import headers
from node.publish.kafka_options import KafkaOptions, legal_topic

_log = get_logger(__name__)

# IllegalOperation is what sends get after another one of their transaction has failed.
_FAILURES: Final = (kafka_errors.KafkaError, kafka_errors.IllegalOperation)

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

# How long a topic may take to appear in the metadata. A missing topic must not hold up the others; one that
# the broker creates on demand appears within a second.
_TOPIC_SECONDS: Final = 5.0


class KafkaPublisher:
    """Writes to the topics that the events name; key and partition follow the Study Instance UID.

    Consumers have to read with isolation.level=read_committed when ``exactly_once`` is on.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._cursor = _Cursor(options) if options.transactions else None
        self._producer: Any = None
        self._broken = ""  # why the producer can't be used any more
        self._under_way = False  # sends or a commit that have not ended
        self._doubt: tuple[str, set[int]] | None = None  # transaction and seqs of an unconfirmed commit
        self._known_out: set[int] = set()  # seqs of such a commit that turned out to have happened

    async def start(self) -> None:
        await self._connect()

    async def already_out(self, events: Sequence[Event]) -> set[str]:
        """The ids in the last committed transaction; none without transactions, nothing tells then."""
        if self._cursor is None:
            return set()
        return (await self._cursor.read())[1] & {event.id for event in events}

    async def publish(self, events: Sequence[Event]) -> list[Outcome]:
        batch = Batch(events)
        await self._connect()
        self._settle_known(batch)
        await self._look_up_topics(batch)
        await self._attempt(batch.ready(), batch, alone=False)
        if self._broken:
            await self._one_by_one(batch)
        outcomes = [batch.outcomes[id(event)] for event in events if id(event) in batch.outcomes]
        if len(outcomes) < len(events):
            why = "; ".join(f"topic {topic}: {why}" for topic, why in sorted(batch.waiting.items()))
            raise PartlyPublished(f"Kafka {self._options.bootstrap_servers}: {why}", outcomes, batch.waiting)
        return outcomes

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            if self._under_way or self._broken:
                await _abandon(producer)
            else:
                await producer.stop()
        self._under_way = False
        self._broken = ""

    async def _connect(self) -> None:
        """Have a producer that works; raises ``PublishUnavailable`` at once when no broker answers."""
        if self._broken or self._under_way:
            _log.warning("kafka_producer_replaced", why=self._broken or "it was interrupted")
            await self.stop()
        if self._producer is None:
            if self._cursor is not None:
                await self._cursor.create()
            # With transactions this also ends, one way or the other, what a former producer left open.
            self._producer = await _started(self._options)
        if self._cursor is not None and self._doubt is not None:
            committed, _ = await self._cursor.read()
            if committed == self._doubt[0]:
                self._known_out |= self._doubt[1]
            self._doubt = None

    def _settle_known(self, batch: Batch) -> None:
        for event in batch.left():
            if event.seq in self._known_out:
                batch.settle(event)
                self._known_out.discard(event.seq)

    async def _look_up_topics(self, batch: Batch) -> None:
        topics = sorted({event.topic for event in batch.events})
        reasons = await asyncio.gather(*(self._topic_problem(topic) for topic in topics))
        for topic, (refused, waiting) in zip(topics, reasons, strict=True):
            if waiting is not None:
                batch.waiting[topic] = waiting
            for event in batch.events:
                if refused is not None and event.topic == topic:
                    batch.settle(event, refused)

    async def _topic_problem(self, topic: str) -> tuple[str | None, str | None]:
        """Why nothing can be written to the topic: for good, or for now."""
        if not legal_topic(topic):
            return _REFUSALS[kafka_errors.InvalidTopicError], None
        try:
            async with asyncio.timeout(_TOPIC_SECONDS):
                await self._producer.partitions_for(topic)
        except TimeoutError:
            return None, "not known to the broker: create it, or let the broker create topics"
        except kafka_errors.KafkaError as error:
            reason = _refusal(error)
            return (reason, None) if reason else (None, _text(error))
        return None, None

    async def _one_by_one(self, batch: Batch) -> None:
        """What a broken producer left: each event alone, so that a refusal names the one that it is about."""
        for event in batch.left():
            try:
                await self._connect()
            except PublishUnavailable as error:
                batch.waiting.update((left.topic, str(error)) for left in batch.left())
                return
            self._settle_known(batch)
            if event in batch.ready():
                await self._attempt([event], batch, alone=True)

    async def _attempt(self, events: Sequence[Event], batch: Batch, alone: bool) -> None:
        """Send once; an event may be left without outcome. ``alone``: no other event shares its fate."""
        if not events:
            return
        self._under_way = True
        if self._cursor is None:
            sent = await self._send_all(events, batch, alone)
        else:
            sent = await self._transaction(self._cursor, events, batch, alone)
        self._under_way = False
        for event in sent:
            batch.settle(event)

    async def _transaction(
        self, cursor: _Cursor, events: Sequence[Event], batch: Batch, alone: bool
    ) -> list[Event]:
        """The events that one transaction delivered: all that were not refused, or none."""
        transaction = uuid.uuid4().hex
        try:
            await self._producer.begin_transaction()
            sent = await self._send_all(events, batch, alone)
            if self._broken:
                return []  # the start of the next producer aborts it
            if sent:
                ids = [*batch.delivered(), *(event.id for event in sent)]
                await (await self._producer.send(cursor.topic, **cursor.record(transaction, ids)))
                self._doubt = (transaction, {event.seq for event in sent})
            await self._producer.commit_transaction()
        except _FAILURES as error:
            self._broken = _text(error)
            if alone:
                batch.waiting.update((event.topic, _text(error)) for event in events)
            return []
        self._doubt = None
        return sent

    async def _send_all(self, events: Sequence[Event], batch: Batch, alone: bool) -> list[Event]:
        """The events that were acknowledged."""
        studies: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            studies[event.study].append(event)
        sent = await asyncio.gather(*(self._send_in_order(study, batch, alone) for study in studies.values()))
        return [event for study in sent for event in study]

    async def _send_in_order(self, events: Sequence[Event], batch: Batch, alone: bool) -> list[Event]:
        sent = []
        for event in events:
            if self._broken:
                break
            error, entered = await self._send(event)
            if error is None:
                sent.append(event)
                continue
            refusal = _refusal(error)
            # An event that never entered a record batch is refused for its own sake, and nothing else is
            # harmed. In a batch it may suffer for a neighbour, and the producer's sequence has a gap.
            if refusal is not None and (alone or not entered):
                batch.settle(event, refusal)
            elif alone:
                batch.waiting[event.topic] = _text(error)
            if entered or refusal is None:
                self._broken = self._broken or _text(error)
        return sent

    async def _send(self, event: Event) -> tuple[Exception | None, bool]:
        """The error if there is one, and whether the event had entered a record batch."""
        entered = False
        try:
            acknowledged = await self._producer.send(
                event.topic, value=event.data, key=event.study.encode(), headers=headers(event)
            )
            entered = True
            await acknowledged
        except _FAILURES as error:
            return error, entered
        return None, entered


class _Cursor:
    """The node's compacted topic of one partition: what its last committed transaction held."""

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._id = options.transactions or ""
        self.topic = options.cursor_topic

    def record(self, transaction: str, ids: Sequence[str]) -> dict[str, bytes]:
        """Key and value of a cursor record."""
        return {"key": self._id.encode(), "value": orjson.dumps({"transaction": transaction, "ids": ids})}

    async def create(self) -> None:
        """Make the topic when it is missing, with up to three replicas."""
        admin = AIOKafkaAdminClient(**_connection(self._options))
        try:
            await admin.start()
            if self.topic in await admin.list_topics():
                return
            replicas = min(3, len((await admin.describe_cluster())["brokers"]))
            settings = {"cleanup.policy": "compact", "segment.bytes": str(16 * 1024 * 1024)}
            answer = await admin.create_topics([NewTopic(self.topic, 1, replicas, topic_configs=settings)])
            for _, code, *text in answer.topic_errors:
                if code not in (0, kafka_errors.TopicAlreadyExistsError.errno):
                    raise kafka_errors.for_code(code)(*text)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise self._unavailable(error) from error
        finally:
            await admin.close()

    async def read(self) -> tuple[str | None, set[str]]:
        """The last committed transaction and the ids of its events; (None, empty) before the first one."""
        consumer = AIOKafkaConsumer(
            **_connection(self._options),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            partition = TopicPartition(self.topic, 0)
            consumer.assign([partition])
            async with asyncio.timeout(self._options.request_timeout_seconds):
                return await self._last(consumer, partition)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise self._unavailable(error) from error
        finally:
            await consumer.stop()

    async def _last(self, consumer: Any, partition: Any) -> tuple[str | None, set[str]]:
        begin = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        back, found = 64, None
        while found is None and end > begin:
            # Looked for from the end, because compaction is lazy: the topic may still hold every record.
            start = max(begin, end - back)
            consumer.seek(partition, start)
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(partition, timeout_ms=200)).values():
                    for record in records:
                        found = record.value if record.key == self._id.encode() else found
            if start == begin:
                break
            back *= 16
        if found is None:
            return None, set()
        value = orjson.loads(found)
        return value["transaction"], set(value["ids"])

    def _unavailable(self, error: Exception) -> PublishUnavailable:
        return PublishUnavailable(f"Kafka {self._options.bootstrap_servers}, {self.topic}: {_text(error)}")


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _refusal(error: Exception) -> str | None:
    for kind, reason in _REFUSALS.items():
        if isinstance(error, kind):
            return f"{type(error).__name__}: {reason}"
    return None


async def _started(options: KafkaOptions) -> Any:
    producer = AIOKafkaProducer(**_arguments(options))
    try:
        await producer.start()
    except kafka_errors.KafkaError as error:
        await producer.stop()
        raise PublishUnavailable(f"Kafka {options.bootstrap_servers}: {_text(error)}") from error
    except BaseException:
        await _abandon(producer)
        raise
    return producer


def _arguments(options: KafkaOptions) -> dict[str, Any]:
    return {
        **_connection(options),
        "acks": "all",
        "enable_idempotence": True,
        "transactional_id": options.transactions,
        "compression_type": None if options.compression == "none" else options.compression,
        "max_request_size": options.max_request_size,
    }


def _connection(options: KafkaOptions) -> dict[str, Any]:
    """What producer, consumer and admin client share; raises ``PublishUnavailable`` for unusable files."""
    context = None
    if options.security_protocol in ("SSL", "SASL_SSL"):
        try:
            context = create_ssl_context(
                cafile=options.ssl_cafile or None,
                certfile=options.ssl_certfile or None,
                keyfile=options.ssl_keyfile or None,
                password=options.ssl_password or None,
            )
        except OSError as error:
            raise PublishUnavailable(f"events.kafka.ssl_*: {error}") from error
    return {
        "bootstrap_servers": options.bootstrap_servers,
        "client_id": options.client_id,
        "request_timeout_ms": round(options.request_timeout_seconds * 1000),
        "retry_backoff_ms": _RETRY_MS,
        "security_protocol": options.security_protocol,
        "sasl_mechanism": options.sasl_mechanism,
        "sasl_plain_username": options.sasl_username,
        "sasl_plain_password": options.sasl_password,
        "ssl_context": context,
    }


async def _abandon(producer: Any) -> None:
    """Close a producer whose sends may never end. ``AIOKafkaProducer.stop`` waits for them without limit, so
    its sender is cancelled first; the second cancel ends the request that the first one waits for."""
    sender, accumulator = producer._sender.sender_task, producer._message_accumulator
    while sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait({sender}, timeout=1.0)
    batches = [*accumulator._pending_batches, *(b for queue in accumulator._batches.values() for b in queue)]
    accumulator._pending_batches.update(batches)  # their done callbacks take each of them out again
    waiters = [waiter for batch in batches for waiter in (batch.future, batch._drain_waiter)]
    for waiter in (*waiters, producer._txn_manager._transaction_waiter):
        # Nobody else will look at it; asyncio complains of errors that were never retrieved.
        if waiter is not None and not waiter.cancel() and not waiter.cancelled():
            waiter.exception()
    await producer.stop()
