"""The Kafka sink: CloudEvents in binary mode, idempotent with acks=all.

Each study's events are sent one after the other, all studies of a batch at once. That keeps the order within
a study whatever the broker refuses, because no later event of the study is in flight with an earlier one.

Exactly once: a batch is one transaction, which also writes the ids of its events and the versions of their
studies to the node's own cursor topic. The relay marks a batch before it hands over the next one, so after a
crash only the last batch is in doubt, and the last committed cursor record settles that doubt.

What aiokafka 0.14 makes necessary:

* its defaults are acks=1 without idempotence;
* an idempotent send never gives up, and there is no taking it back: no timeout ends one. It is given up when
  the cluster, asked anew, has moved to other addresses (the producer asks only those it knows) or has lost the
  topic; what became of it is then the cursor's to tell;
* after a produce error that it does not retry, the producer's sequence numbers have a gap that no broker
  accepts: the producer is replaced;
* a refusal strikes the whole record batch, innocent events in it too: each is then tried alone;
* ``max_request_size`` is checked before compression.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple

import aiokafka.errors as kafka_errors  # type: ignore[import-untyped]

from node.errors import PublishUnavailable
from node.logs import get_logger
from node.model import Event
from node.publish.base import Batch, Outcome, PartlyPublished, Published, SinkRefuses
from node.publish.bindings import headers
from node.publish.kafka_client import abandon, brokers_of, look_at, started_producer
from node.publish.kafka_cursor import Cursor, Record, told_by, version_records
from node.publish.kafka_faults import FAILURES, explained, refusal
from node.publish.kafka_log import Heard
from node.publish.kafka_options import KafkaOptions
from node.publish.kafka_topics import Topics

_log = get_logger(__name__)

# How long a batch is in flight before the cluster is asked whether the producer still knows it right.
_LOOK_AGAIN_SECONDS: Final = 5.0
_VERSIONS_A_TRANSACTION: Final = 500


class _Doubt(NamedTuple):
    """A commit whose answer did not come: the transaction, where its cursor record is, and its events."""

    transaction: str
    offset: int
    seqs: frozenset[int]


class KafkaPublisher:
    """Writes to the topics that the events name; key and partition follow the Study Instance UID.

    Consumers have to read with isolation.level=read_committed when ``exactly_once`` is on.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._heard = Heard(options.bootstrap_servers)
        self._topics = Topics(options, self._heard)
        self._cursor = Cursor(options, self._topics, self._heard) if options.transactions else None
        self._claimed = False  # this process has taken the transactional id
        self._fenced = ""  # who has it now
        self._producer: Any = None
        self._broken = ""  # why the producer can't be used any more
        self._under_way = False  # sends or a commit that have not ended
        self._doubt: _Doubt | None = None
        self._known_out: set[int] = set()  # seqs of a commit that turned out to have happened

    async def start(self) -> None:
        with self._heard.listening():
            await self._connect()

    async def already_out(self, events: Sequence[Event]) -> set[str]:
        """The ids in the last committed transactions; none without transactions, nothing tells then."""
        if self._cursor is None:
            return set()
        with self._heard.listening():
            return await self._cursor.last_ids() & {event.id for event in events}

    async def published(self) -> Mapping[str, Published]:
        """What the cursor remembers; nothing without transactions."""
        if self._cursor is None:
            return {}
        with self._heard.listening():
            await self._connect()
            versions = await self._cursor.versions()
        if not self._cursor.complete:
            hint = "What was published before the cursor kept versions may be published again as version 1."
            _log.warning(
                "kafka_cursor_incomplete", topic=self._cursor.topic, studies=len(versions), hint=hint
            )
        return versions

    async def remembers(self) -> bool:
        if self._cursor is None:
            return True
        with self._heard.listening():
            await self._connect()
        return self._cursor.complete

    async def remember(self, versions: Mapping[str, Published]) -> None:
        if self._cursor is None:
            return
        with self._heard.listening():
            await self._connect()
            items = list(versions.items())
            for start in range(0, len(items), _VERSIONS_A_TRANSACTION):
                await self._write(list(version_records(dict(items[start : start + _VERSIONS_A_TRANSACTION]))))
            await self._write([await self._cursor.claim(time.time(), complete=True)])
        _log.info("kafka_cursor_complete", topic=self._cursor.topic, studies=len(versions))

    def trouble(self) -> str | None:
        return self._heard.trouble

    async def publish(self, events: Sequence[Event]) -> list[Outcome]:
        batch = Batch(events)
        with self._heard.listening():
            try:
                await self._publish(batch)
            except PublishUnavailable as error:
                self._settle_known(batch)
                if batch.outcomes:
                    batch.waiting.update((event.topic, str(error)) for event in batch.left())
                    raise self._partly(batch) from error
                raise
        if batch.left():
            raise self._partly(batch)
        return self._outcomes(batch)

    async def _publish(self, batch: Batch) -> None:
        await self._connect()
        self._settle_known(batch)
        await self._topics.look_up(batch, self._producer)
        await self._attempt(batch.ready(), batch, alone=False)
        if self._broken or self._under_way:
            await self._one_by_one(batch)

    def _outcomes(self, batch: Batch) -> list[Outcome]:
        return [batch.outcomes[id(event)] for event in batch.events if id(event) in batch.outcomes]

    def _partly(self, batch: Batch) -> PartlyPublished:
        why = "; ".join(f"topic {topic}: {why}" for topic, why in sorted(batch.waiting.items()))
        what = f"Kafka {self._options.bootstrap_servers}: {why}"
        return PartlyPublished(what, self._outcomes(batch), batch.waiting)

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with self._heard.listening():
                if self._under_way or self._broken:
                    await abandon(producer)
                else:
                    await producer.stop()
        self._under_way = False
        self._broken = ""

    # the producer

    async def _connect(self) -> None:
        """Have a producer that works; raises ``PublishUnavailable`` at once when no broker answers."""
        if self._broken or self._under_way:
            _log.warning("kafka_producer_replaced", why=self._broken or "it was interrupted")
            await self.stop()
        if self._fenced:
            await self._settle_doubt()
            raise SinkRefuses(self._fenced)
        if self._producer is not None and self._doubt is None:
            return
        if self._cursor is not None:
            await self._cursor.ensure()
            await self._stand_back(self._cursor)
        if self._producer is None:
            # With transactions this also ends, one way or the other, what a former producer left open.
            self._producer = await started_producer(self._options, self._heard)
        await self._settle_doubt()
        self._heard.clear()
        if self._cursor is not None and not self._claimed:
            await self._write([await self._cursor.claim(time.time())])
            self._claimed = True

    async def _stand_back(self, cursor: Cursor) -> None:
        """Two nodes that share a transactional id would take it from each other for ever: the one that has it
        longer gives up, until it is started again."""
        usurper = await cursor.usurper() if self._claimed else None
        if usurper is None:
            return
        await self._settle_doubt()
        self._fenced = (
            f"Kafka {self._options.bootstrap_servers}: another node ({usurper}) uses the transactional id "
            f"{self._options.transactions}: give one of them its own transactional_id in [events.kafka], then "
            "restart this one"
        )
        raise SinkRefuses(self._fenced)

    async def _settle_doubt(self) -> None:
        if self._cursor is not None and self._doubt is not None:
            if await self._cursor.committed(self._doubt.transaction, self._doubt.offset):
                self._known_out |= self._doubt.seqs
            self._doubt = None

    def _settle_known(self, batch: Batch) -> None:
        for event in batch.left():
            if event.seq in self._known_out:
                batch.settle(event)
                self._known_out.discard(event.seq)

    async def _write(self, records: Sequence[Record]) -> None:
        """Records of the cursor alone, in a transaction of their own."""
        assert self._cursor is not None
        self._under_way = True
        error = await self._supervised(self._write_cursor(self._cursor, records), {self._cursor.topic})
        if error is not None:
            self._broken = explained(error)
            raise SinkRefuses(
                f"Kafka {self._options.bootstrap_servers}, topic {self._cursor.topic}: {explained(error)}"
            ) from error
        self._under_way = False

    async def _write_cursor(self, cursor: Cursor, records: Sequence[Record]) -> None:
        await self._producer.begin_transaction()
        await self._send_cursor(cursor, records)
        await self._producer.commit_transaction()

    async def _send_cursor(self, cursor: Cursor, records: Sequence[Record]) -> int:
        """The offset of the first record, once all are acknowledged."""
        sent = [await self._producer.send(cursor.topic, partition=0, **record) for record in records]
        return int((await asyncio.gather(*sent))[0].offset)

    async def _supervised(self, work: Coroutine[Any, Any, None], topics: set[str]) -> Exception | None:
        """Do what waits inside of aiokafka; the error that ended it, or that makes waiting for it pointless."""
        task = asyncio.create_task(work)
        self._heard.in_flight = True
        try:
            while True:
                await asyncio.wait({task}, timeout=_LOOK_AGAIN_SECONDS)
                if task.done():
                    break
                overtaken = await self._overtaken(topics)
                if overtaken is not None and not task.done():
                    return overtaken
            error = task.exception()
        finally:
            self._heard.in_flight = False
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if error is None:
            self._heard.clear()
            return None
        if isinstance(error, FAILURES) and isinstance(error, Exception):
            return error
        raise error

    async def _overtaken(self, topics: set[str]) -> Exception | None:
        """Why the producer waits in vain: the brokers are somewhere else now, or the topic is gone."""
        try:
            now = await look_at(self._options, sorted(topics), self._heard)
        except PublishUnavailable:
            return None  # they are away: the producer waits for them as it should
        known = brokers_of(self._producer)
        if now.brokers and known.isdisjoint(now.brokers):
            where = ", ".join(f"{host}:{port}" for host, port in sorted(now.brokers))
            moved: Exception = kafka_errors.NoBrokersAvailable(f"the brokers are at {where} now")
            return moved
        errors = (state.error for state in now.topics.values())
        gone = [one for one in errors if isinstance(one, kafka_errors.UnknownTopicOrPartitionError)]
        return gone[0] if gone else None

    # events

    async def _one_by_one(self, batch: Batch) -> None:
        """What a broken producer left: each event alone, so that a refusal names the one that it is about."""
        try:
            await self._connect()
            await self._topics.look_up(batch, self._producer)
            for event in batch.left():
                await self._connect()
                self._settle_known(batch)
                if event in batch.ready():
                    await self._attempt([event], batch, alone=True)
        except PublishUnavailable as error:
            self._settle_known(batch)
            batch.waiting.update((left.topic, str(error)) for left in batch.left())

    async def _attempt(self, events: Sequence[Event], batch: Batch, alone: bool) -> None:
        """Send once; an event may be left without outcome. ``alone``: no other event shares its fate."""
        if not events:
            return
        sent: list[Event] = []
        self._under_way = True
        work = (
            self._transaction(events, batch, alone, sent)
            if self._cursor
            else self._send_all(events, batch, alone, sent)
        )
        error = await self._supervised(work, {event.topic for event in events})
        if error is not None:
            self._broken = self._broken or explained(error)
            if alone:
                batch.waiting.update((event.topic, explained(error)) for event in events)
            if self._cursor is not None:
                return
        self._under_way = False
        for event in sent:
            batch.settle(event)

    async def _transaction(
        self, events: Sequence[Event], batch: Batch, alone: bool, delivered: list[Event]
    ) -> None:
        """``delivered`` gets all events that were not refused when the transaction is committed."""
        assert self._cursor is not None
        await self._producer.begin_transaction()
        sent: list[Event] = []
        await self._send_all(events, batch, alone, sent)
        if self._broken:
            return  # the start of the next producer aborts it
        if sent:
            name, ids = uuid.uuid4().hex, [*batch.delivered(), *(event.id for event in sent)]
            records = [self._cursor.transaction(name, ids), *version_records(told_by(sent))]
            offset = await self._send_cursor(self._cursor, records)
            self._doubt = _Doubt(name, offset, frozenset(event.seq for event in sent))
        await self._producer.commit_transaction()
        self._doubt = None
        delivered += sent

    async def _send_all(self, events: Sequence[Event], batch: Batch, alone: bool, sent: list[Event]) -> None:
        """``sent`` gets the events that were acknowledged."""
        studies: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            studies[event.study].append(event)
        await asyncio.gather(*(self._send_in_order(study, batch, alone, sent) for study in studies.values()))

    async def _send_in_order(
        self, events: Sequence[Event], batch: Batch, alone: bool, sent: list[Event]
    ) -> None:
        for event in events:
            if self._broken:
                break
            error, entered = await self._send(event)
            if error is None:
                sent.append(event)
                continue
            refused = refusal(error)
            # An event that never entered a record batch is refused for its own sake, and nothing else is
            # harmed. In a batch it may suffer for a neighbour, and the producer's sequence has a gap.
            if refused is not None and (alone or not entered):
                batch.settle(event, refused)
            elif alone:
                batch.waiting[event.topic] = explained(error)
            if entered or refused is None:
                self._broken = self._broken or explained(error)

    async def _send(self, event: Event) -> tuple[Exception | None, bool]:
        """The error if there is one, and whether the event had entered a record batch."""
        entered = False
        try:
            acknowledged = await self._producer.send(
                event.topic, value=event.data, key=event.study.encode(), headers=headers(event)
            )
            entered = True
            await acknowledged
        except FAILURES as error:
            return error, entered
        return None, entered
