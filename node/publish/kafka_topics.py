"""The topics that the node writes to: looked up, and made where [events.kafka] allows it.

A broker with auto.create.topics.enable is not relied on, nor made to create one: a topic that came about by
a misspelt name, with whatever defaults, would be found out late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiokafka.errors as kafka_errors  # type: ignore[import-untyped]
from aiokafka.admin import NewTopic  # type: ignore[import-untyped]

from node.logs import get_logger
from node.publish.base import Batch
from node.publish.kafka_client import administration, look_at
from node.publish.kafka_faults import explained, refusal
from node.publish.kafka_log import Heard
from node.publish.kafka_options import KafkaOptions, legal_topic

_log = get_logger(__name__)

_MOST_REPLICAS: Final = 3
# How long a topic that exists may take to appear in the producer's metadata.
_TOPIC_SECONDS: Final = 5.0

# What the cursor topic has to be: one partition, so that one offset tells all; compacted, so that it stays small.
CURSOR_SETTINGS: Final = {"cleanup.policy": "compact", "segment.bytes": str(16 * 1024 * 1024)}


class Topics:
    """Each method raises ``PublishUnavailable`` when the cluster can't be asked."""

    def __init__(self, options: KafkaOptions, heard: Heard) -> None:
        self._options = options
        self._heard = heard

    async def problems(self, topics: list[str]) -> dict[str, str]:
        """Topic -> why nothing can be written to it now. Missing ones are made if the node may."""
        found: dict[str, str] = {}
        missing = []
        for name, (error,) in (await look_at(self._options, topics, self._heard)).topics.items():
            if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
                missing.append(name)
            elif error is not None:
                found[name] = explained(error)
        for name in missing:
            if self._options.create_topics:
                problem = await self._create(name)
                if problem is not None:
                    found[name] = problem
            else:
                found[name] = _absent(name, name == self._options.cursor_topic)
        return found

    async def look_up(self, batch: Batch, producer: Any) -> None:
        """Refuse events of illegal topics, and have those wait whose topic can't be written to now. Topics
        that ``producer`` knows are not asked for again."""
        names = {event.topic for event in batch.events}
        for event in batch.events:
            if not legal_topic(event.topic):
                batch.settle(event, refusal(kafka_errors.InvalidTopicError()))
        known = producer.client.cluster.partitions_for_topic
        new = sorted(name for name in names if legal_topic(name) and not known(name))
        if not new:
            return
        batch.waiting.update(await self.problems(new))
        new = [name for name in new if name not in batch.waiting]
        reasons = await asyncio.gather(*(_wait_for(producer, name) for name in new))
        batch.waiting.update((name, reason) for name, reason in zip(new, reasons, strict=True) if reason)

    async def _create(self, name: str) -> str | None:
        """Why it could not be made; None when it is there now."""
        cursor = name == self._options.cursor_topic
        partitions = 1 if cursor else self._options.partitions
        settings: Mapping[str, str] = CURSOR_SETTINGS if cursor else {}
        async with administration(self._options, self._heard, f"create topic {name}") as admin:
            replicas = self._options.replication_factor or await _replicas(admin)
            answer = await admin.create_topics(
                [NewTopic(name, partitions, replicas, topic_configs=dict(settings))]
            )
        for _, code, *text in answer.topic_errors:
            if code not in (0, kafka_errors.TopicAlreadyExistsError.errno):
                said = next((one for one in text if one), "")
                return f"it can't be created: {explained(kafka_errors.for_code(code)(said))}"
        _log.info("kafka_topic_created", topic=name, count=partitions)
        return None


async def _wait_for(producer: Any, topic: str) -> str | None:
    """Why the producer does not know a topic that exists; None when it does."""
    try:
        async with asyncio.timeout(_TOPIC_SECONDS):
            await producer.partitions_for(topic)
    except TimeoutError:
        return "the brokers do not serve it yet"
    except kafka_errors.KafkaError as error:
        return explained(error)
    return None


async def _replicas(admin: Any) -> int:
    return min(_MOST_REPLICAS, len((await admin.describe_cluster())["brokers"]))


def _absent(name: str, cursor: bool) -> str:
    how = f"kafka-topics.sh --create --topic {name}"
    if cursor:
        how += " --partitions 1 --config cleanup.policy=compact"
    return f"it does not exist: create it ({how}), or set create_topics = true in [events.kafka]"
