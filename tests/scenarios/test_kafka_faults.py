"""Kills, cuts and moves: each event once and in order for whoever reads what is committed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from node.index.engine import Engine
from node.index.outbox import Outbox, add
from tests.harness import eventually
from tests.kafka_broker import KafkaBroker
from tests.kafka_proxy import END_TXN, PRODUCE, LossyProxy
from tests.ports import free_port
from tests.publish.events import event
from tests.scenarios.delivery import (
    assert_once_and_in_order,
    commit,
    ids_of,
    kafka_options,
    nothing_left_behind,
    relaying,
    topic,
    until_health,
)

__all__ = ["nothing_left_behind", "topic"]

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = int(os.environ.get("NODE_TEST_SEED", "0")) or random.randrange(1, 2**31)


@pytest.fixture(scope="module")
def movable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker whose port may change: nobody else looks for it."""
    with KafkaBroker(tmp_path_factory.mktemp("movable")) as broker:
        yield broker


@pytest.fixture(scope="module")
def proxy() -> Iterator[LossyProxy]:
    with LossyProxy() as made:
        yield made


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, proxy: LossyProxy) -> Iterator[KafkaBroker]:
    """A broker that sends its clients to the proxy."""
    broker = KafkaBroker(tmp_path_factory.mktemp("proxied"), advertised=proxy.port)
    proxy.target = broker.port
    with broker:
        yield broker


def test_killed_at_random_moments(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    """kill -9 of the relay's process, and once of the broker, wherever they are."""
    print(f"seed {SEED} (NODE_TEST_SEED={SEED} repeats the moments)")
    chance = random.Random(SEED)
    options = kafka_options(kafka_broker, exactly_once=True)
    events = [event(f"1.30.{n % 40}", 1 + n // 40, topic, size=chance.randrange(10_000)) for n in range(2000)]
    with engine.write() as connection:
        add(connection, events, 1.0)
    arguments = [str(tmp_path / "index.db"), json.dumps(asdict(options))]
    command = [sys.executable, "-m", "tests.scenarios.relay_process", *arguments]
    outbox = Outbox(engine)
    cut = 0
    while cut < 5 and (pending := outbox.backlog().pending):
        enough = chance.randrange(pending * 2 // 3, pending)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        eventually(lambda: outbox.backlog().pending <= enough, 60)  # noqa: B023
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.03 * chance.random())  # wherever it is by then
        process.kill()
        process.wait()
        cut += 1
        if cut == 2:
            kafka_broker.stop(kill=True)
            kafka_broker.start()
    assert cut >= 2, "it was over before it could be killed"
    subprocess.run(command, check=True, timeout=60)
    assert outbox.backlog().pending == 0
    assert_once_and_in_order(kafka_broker.read_all(topic), events)


@pytest.mark.parametrize("api", [PRODUCE, END_TXN], ids=["produce", "end-transaction"])
def test_lost_acknowledgements(engine: Engine, proxied: KafkaBroker, proxy: LossyProxy, api: int) -> None:
    name = f"lossy-{api}"
    proxied.create_topic(name)
    events = [event(f"1.31.{n % 5}", 1 + n // 5, name) for n in range(20)]
    options = kafka_options(proxied, exactly_once=True, request_timeout_seconds=5.0)

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, *events[:5])
            await metrics.until(lambda: len(metrics.out) == 5)
            lost = proxy.lost[api]
            for start in range(5, 20, 5):
                proxy.lose(api, 1)
                await commit(engine, relay, *events[start : start + 5])
                await metrics.until(lambda end=start + 5: len(metrics.out) == end)  # type: ignore[misc]
            assert proxy.lost[api] - lost == 3

    asyncio.run(run())
    assert_once_and_in_order(proxied.read_all(name), events)


def test_two_hundred_studies_complete_while_the_broker_is_down(
    engine: Engine, kafka_broker: KafkaBroker, topic: str
) -> None:
    events = [event(f"1.32.{n}", version, topic) for version in (1, 2) for n in range(200)]

    async def run() -> None:
        options = kafka_options(kafka_broker, exactly_once=True)
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, event("1.32", 1, topic))
            await metrics.until(lambda: len(metrics.out) == 1)
            await asyncio.to_thread(kafka_broker.stop)
            try:
                for sent in events:  # a transaction each, as the clock makes them
                    await commit(engine, relay, sent)
                health = await asyncio.to_thread(relay.health)
                assert (health.pending, health.parked) == (400, 0)
            finally:
                await asyncio.to_thread(kafka_broker.ensure_running)
            await metrics.until(lambda: len(metrics.out) == 401)

    asyncio.run(run())
    assert_once_and_in_order(kafka_broker.read_all(topic), [event("1.32", 1, topic), *events])


@pytest.mark.parametrize("once", [True, False], ids=["exactly-once", "idempotent"])
def test_the_broker_comes_back_at_another_address(engine: Engine, movable: KafkaBroker, once: bool) -> None:
    """With a batch in flight: the producer itself would look for it at the old address for ever."""
    movable.ensure_running()
    name = f"moved-{once}"
    movable.create_topic(name)
    events = [event(f"1.33.{n}", 1, name) for n in range(4)]

    async def run() -> None:
        moved = free_port()
        options = kafka_options(movable, exactly_once=once, request_timeout_seconds=2.0)
        options = replace(options, bootstrap_servers=f"{movable.bootstrap},127.0.0.1:{moved}")
        async with relaying(engine, options, stuck_seconds=0.5) as (relay, metrics):
            await commit(engine, relay, events[0])
            await metrics.until(lambda: len(metrics.out) == 1)
            await asyncio.to_thread(movable.stop)
            await commit(engine, relay, *events[1:])
            health = await until_health(
                relay, lambda state: "nothing listens there" in (state.last_error or "")
            )
            assert health.pending == 3
            movable.move(moved)
            await asyncio.to_thread(movable.start)
            await metrics.until(lambda: len(metrics.out) == 4)

    asyncio.run(run())
    assert sorted(set(ids_of(movable.read_all(name)))) == sorted(sent.id for sent in events)
    if once:
        assert_once_and_in_order(movable.read_all(name), events)


def test_a_topic_that_is_deleted_does_not_hold_up_the_others(
    engine: Engine, kafka_broker: KafkaBroker
) -> None:
    kafka_broker.ensure_running()
    gone, stays = f"gone-{uuid.uuid4()}", f"stays-{uuid.uuid4()}"
    for name in (gone, stays):
        kafka_broker.create_topic(name)

    async def run() -> None:
        options = kafka_options(kafka_broker, exactly_once=True, create_topics=False)
        kafka_broker.create_topic(options.cursor_topic, 1, **{"cleanup.policy": "compact"})
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, event("1.34.1", 1, gone), event("1.34.2", 1, stays))
            await metrics.until(lambda: len(metrics.out) == 2)
            admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
            await asyncio.to_thread(admin.delete_topics([gone])[gone].result, 30)
            await commit(engine, relay, event("1.34.1", 2, gone), event("1.34.2", 2, stays))
            await metrics.until(lambda: len(metrics.out) == 3)
            health = await until_health(relay, lambda state: f"topic {gone}" in (state.last_error or ""))
            assert (health.pending, health.parked) == (1, 0)
            await asyncio.to_thread(kafka_broker.create_topic, gone)
            await metrics.until(lambda: len(metrics.out) == 4)

    asyncio.run(run())
    assert ids_of(kafka_broker.read_all(stays)) == ["r5/1.34.2/1", "r5/1.34.2/2"]
    assert ids_of(kafka_broker.read_all(gone)) == ["r5/1.34.1/2"]
