"""The node's own compacted topic of one partition: what it has published, written with it in one transaction.

=====================  ===============================================  ===========================================
key                    value (JSON)                                     for
=====================  ===============================================  ===========================================
the transactional id   ``transaction``, ``ids`` of its events           a crash between commit and mark: what is out
                       ``node``, ``host``, ``since``                    two nodes that share a transactional id
                       ``complete``                                     whether no version lacks its own record
``study:UID:VERSION``  ``instances``                                    an index made anew: what was published
=====================  ===============================================  ===========================================

A version has a key of its own, so that the replay of an old one does not take the place of a newer one. The
topic grows by one small record a version. A cursor of a node before this format has ``transaction`` and
``ids`` alone: it serves as it did, and is complete when the node has written down what its index knows.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import orjson
from aiokafka import TopicPartition  # type: ignore[import-untyped]

from node.errors import PublishUnavailable
from node.model import Event
from node.publish.base import Published, SinkRefuses
from node.publish.kafka_client import reading
from node.publish.kafka_log import Heard
from node.publish.kafka_options import KafkaOptions
from node.publish.kafka_topics import Topics
from node.timing import rfc3339

_STUDY: Final = "study:"

# How far back the last transaction is looked for at first: more records than the relay's largest one writes.
_BACK: Final = 1024
_POLL_MS: Final = 100

Record = dict[str, bytes]


class Cursor:
    """Reads may raise ``PublishUnavailable``. They are right after a producer of the transactional id was
    started: until then the last transaction of a former one may be neither committed nor aborted."""

    def __init__(self, options: KafkaOptions, topics: Topics, heard: Heard) -> None:
        self._options = options
        self._topics = topics
        self._heard = heard
        self._id = (options.transactions or "").encode()
        self._node = uuid.uuid4().hex  # this process
        self._since = ""
        self.topic = options.cursor_topic
        self.partition = TopicPartition(self.topic, 0)
        self.complete = False

    def transaction(self, name: str, ids: Sequence[str]) -> Record:
        """The record of one transaction; ``ids`` of all events of a batch that are out by its commit."""
        value = {
            "transaction": name,
            "ids": ids,
            "node": self._node,
            "host": socket.gethostname(),
            "since": self._since,
            "complete": self.complete,
        }
        return {"key": self._id, "value": orjson.dumps(value)}

    async def claim(self, wall: float, complete: bool = False) -> Record:
        """This process takes the transactional id, ``wall`` seconds since the epoch. The record repeats what
        the last one said, whose place it takes; ``complete``: the versions have all been written."""
        last = await self._last() or {}
        self._since = rfc3339(wall)
        self.complete = complete or bool(last.get("complete", False))
        return self.transaction(last.get("transaction", ""), last.get("ids", []))

    async def ensure(self) -> None:
        """Raises ``SinkRefuses`` when the topic is missing and may not be made."""
        problem = (await self._topics.problems([self.topic])).get(self.topic)
        if problem is not None:
            raise SinkRefuses(f"Kafka {self._options.bootstrap_servers}, topic {self.topic}: {problem}")

    async def usurper(self) -> str | None:
        """Who has taken the transactional id since this process did, in words; None when nobody has."""
        last = await self._last()
        if last is None or last.get("node") == self._node:
            return None
        return f"on {last.get('host', 'an unknown host')}, since {last.get('since', 'an unknown time')}"

    async def last_ids(self) -> set[str]:
        """The ids in the last committed transactions, the very last one at least."""
        return {name for value in await self._transactions() for name in value["ids"]}

    async def committed(self, transaction: str, offset: int) -> bool:
        """Whether the transaction is in force whose own record was acknowledged at ``offset``."""
        async with self._reading() as consumer:
            found = [record async for record in self._records(consumer, offset) if record.key == self._id]
        return any(orjson.loads(record.value)["transaction"] == transaction for record in found)

    async def versions(self) -> dict[str, Published]:
        """The newest version of every study; reads the whole topic."""
        found: dict[str, Published] = {}
        async with self._reading() as consumer:
            async for record in self._records(consumer, 0):
                key = record.key.decode()
                if key.startswith(_STUDY):
                    study, version = key.removeprefix(_STUDY).rsplit(":", 1)
                    known = Published(int(version), orjson.loads(record.value)["instances"])
                    found[study] = max(found.get(study, known), known)
        return found

    def _reading(self) -> AbstractAsyncContextManager[Any]:
        return reading(self._options, self._heard, f"topic {self.topic}")

    async def _last(self) -> dict[str, Any] | None:
        found = await self._transactions()
        return found[-1] if found else None

    async def _transactions(self) -> list[dict[str, Any]]:
        """The newest records under the transactional id, oldest first; none before the first one."""
        back = _BACK
        found: list[dict[str, Any]] = []
        async with self._reading() as consumer:
            # So the question for offsets waits for the leader to be known; else it waits for a whole backoff.
            consumer.assign([self.partition])
            begin = (await consumer.beginning_offsets([self.partition]))[self.partition]
            end = (await consumer.end_offsets([self.partition]))[self.partition]
            start = end
            while not found and start > begin:
                # Looked for from the end, because compaction is lazy: the topic may still hold every record.
                start = max(begin, end - back)
                found = [
                    orjson.loads(record.value)
                    async for record in self._records(consumer, start)
                    if record.key == self._id
                ]
                back *= 16
        return found

    async def _records(self, consumer: Any, start: int) -> AsyncIterator[Any]:
        """Committed records from ``start`` to the present end; raises when none come for too long."""
        consumer.assign([self.partition])
        end = (await consumer.end_offsets([self.partition]))[self.partition]
        begin = (await consumer.beginning_offsets([self.partition]))[self.partition]
        consumer.seek(self.partition, max(start, begin))
        idle_ms = 0
        while (position := await consumer.position(self.partition)) < end:
            for records in (await consumer.getmany(self.partition, timeout_ms=_POLL_MS)).values():
                for record in records:
                    yield record
            idle_ms = 0 if await consumer.position(self.partition) > position else idle_ms + _POLL_MS
            if idle_ms > self._options.request_timeout_seconds * 1000:
                where = f"Kafka {self._options.bootstrap_servers}, topic {self.topic}"
                said = self._heard.trouble or "the broker sends no more records"
                raise PublishUnavailable(f"{where}: it can't be read to its end: {said}")


def version_records(versions: Mapping[str, Published]) -> Iterator[Record]:
    """One record for each study's version."""
    for study, known in versions.items():
        key = f"{_STUDY}{study}:{known.version}".encode()
        yield {"key": key, "value": orjson.dumps({"instances": known.instances})}


def told_by(events: Sequence[Event]) -> dict[str, Published]:
    """The versions of studies that the events are of, the newest of each study."""
    found: dict[str, Published] = {}
    for event in events:
        version, instances = event.attributes.get("studyversion"), event.attributes.get("instances")
        if isinstance(version, int) and isinstance(instances, int):
            found[event.study] = max(found.get(event.study, Published(0, 0)), Published(version, instances))
    return found
