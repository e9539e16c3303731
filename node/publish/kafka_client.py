"""Connections to Kafka: their arguments, a producer that is started or given up, questions to the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import aiokafka.errors as kafka_errors  # type: ignore[import-untyped]
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.helpers import create_ssl_context  # type: ignore[import-untyped]
from aiokafka.protocol.metadata import MetadataRequest  # type: ignore[import-untyped]

from node.errors import PublishUnavailable
from node.publish.base import SinkRefuses
from node.publish.kafka_faults import explained, somebody_has_to_act, telling
from node.publish.kafka_log import Heard
from node.publish.kafka_options import KafkaOptions

# Between the attempts that aiokafka makes by itself while a broker is away. Each one logs a few lines.
_RETRY_MS: Final = 1000


class TopicState(NamedTuple):
    """What the cluster says of a topic: None when it can be used."""

    error: Exception | None


class Cluster(NamedTuple):
    """What the brokers of the bootstrap list say now: where all brokers are, and how the topics asked for
    stand."""

    brokers: frozenset[tuple[str, int]]
    topics: dict[str, TopicState]


def connection(options: KafkaOptions) -> dict[str, Any]:
    """What producer, consumer and admin client share; raises ``PublishUnavailable`` for unusable files.

    Files are read each time: a certificate that was renewed serves the next connection.
    """
    context = None
    if options.security_protocol in ("SSL", "SASL_SSL"):
        try:
            context = create_ssl_context(
                cafile=options.ssl_cafile or None,
                certfile=options.ssl_certfile or None,
                keyfile=options.ssl_keyfile or None,
                # A password, if only an empty one: without any, OpenSSL would ask for it on the terminal
                password=options.ssl_password or "",
            )
        except OSError as error:  # ssl.SSLError is one
            files = "ssl_cafile, ssl_certfile, ssl_keyfile, ssl_password"
            raise SinkRefuses(f"[events.kafka] {files}: no PEM files that fit: {error}") from error
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


def unavailable(
    options: KafkaOptions, error: BaseException, heard: Heard, about: str = ""
) -> PublishUnavailable:
    """The error with the reason that aiokafka told only its log, if it did."""
    reason = heard.error if heard.error is not None and not telling(error) else error
    text = f"Kafka {options.bootstrap_servers}{about and f', {about}'}: {explained(reason)}"
    return SinkRefuses(text) if somebody_has_to_act(reason) else PublishUnavailable(text)


async def started_producer(options: KafkaOptions, heard: Heard) -> Any:
    """A producer with its id, which ends what a former one of its transactional id left open.

    Raises ``PublishUnavailable``, also when the brokers have no transaction coordinator in time: aiokafka
    would look for one for ever.
    """
    producer = AIOKafkaProducer(
        **connection(options),
        acks="all",
        enable_idempotence=True,
        transactional_id=options.transactions,
        compression_type=None if options.compression == "none" else options.compression,
        max_request_size=options.max_request_size,
    )
    hosts = options.bootstrap_servers.count(",") + 1  # each of them may take its time
    try:
        async with asyncio.timeout(options.request_timeout_seconds * (hosts + 1)):
            await producer.start()
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        await abandon(producer)
        raise unavailable(options, error, heard) from error
    except BaseException:
        await abandon(producer)
        raise
    return producer


async def abandon(producer: Any) -> None:
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


def brokers_of(producer: Any) -> frozenset[tuple[str, int]]:
    """Where the producer thinks that the brokers are."""
    return frozenset((broker.host, broker.port) for broker in producer.client.cluster.brokers())


async def look_at(options: KafkaOptions, topics: list[str], heard: Heard) -> Cluster:
    """Ask the bootstrap list anew, without making the broker create a topic. Raises ``PublishUnavailable``."""
    client = AIOKafkaClient(**connection(options))
    try:
        async with asyncio.timeout(options.request_timeout_seconds):
            await client.bootstrap()
            request = MetadataRequest(topics, allow_auto_topic_creation=False)
            answer = await client.send(client.get_random_node(), request)
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise unavailable(options, error, heard) from error
    finally:
        await client.close()
    states = {}
    for code, name, _, partitions in answer.topics:
        codes = [code, *(partition[0] for partition in partitions)]
        kinds = [kafka_errors.for_code(one) for one in codes if one]
        states[name] = TopicState(kinds[0]() if kinds else None)
    places = frozenset((host, port) for _, host, port, *_ in answer.brokers)
    return Cluster(places, states)


@asynccontextmanager
async def administration(options: KafkaOptions, heard: Heard, about: str) -> AsyncIterator[Any]:
    """An admin client; failures inside become ``PublishUnavailable`` about ``about``."""
    admin = AIOKafkaAdminClient(**connection(options))
    try:
        async with asyncio.timeout(options.request_timeout_seconds):
            await admin.start()
            yield admin
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise unavailable(options, error, heard, about) from error
    finally:
        await admin.close()


@asynccontextmanager
async def reading(options: KafkaOptions, heard: Heard, about: str) -> AsyncIterator[Any]:
    """A consumer of what is committed, without a group; failures inside become ``PublishUnavailable``."""
    consumer = AIOKafkaConsumer(
        **connection(options),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        yield consumer
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise unavailable(options, error, heard, about) from error
    finally:
        await consumer.stop()
