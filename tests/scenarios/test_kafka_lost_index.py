"""An index that is lost while Kafka is the sink: the cursor topic tells what was published, nothing is guessed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import urllib.error
import uuid
from contextlib import closing
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from node.publish.base import Published
from node.publish.kafka import KafkaPublisher
from tests.harness import Address, LocalNode, Nodes, eventually
from tests.kafka_broker import KafkaBroker
from tests.publish.events import event, numbered
from tests.scenarios.delivery import ids_of, kafka_options, nothing_left_behind, topic
from tests.scenarios.sender import instance, new_uid, send
from tests.scenarios.test_crash import command

__all__ = ["nothing_left_behind", "topic"]

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def given(kafka_broker: KafkaBroker, topic: str) -> dict[str, str]:
    """Settings of a node that publishes to ``topic`` when an operator says so."""
    return {
        "events__sink": "kafka",
        "events__kafka__bootstrap_servers": kafka_broker.bootstrap,
        "events__kafka__create_topics": "true",
        "events__kafka__request_timeout_seconds": "5",
        "outputs": json.dumps([{"name": "r5", "profile": "r5", "topic": topic}]),
        "completion__quiet_seconds": "3600",
    }


def _lose_index(node: LocalNode) -> None:
    for path in node.data_dir.glob("index.db*"):
        path.unlink()


def _complete(node: Address, *uids: str) -> None:
    for uid in uids:
        node.post(f"/api/studies/{uid}/complete")


def _study(node: Address, uid: str) -> tuple[str, int]:
    found = node.get(f"/api/studies/{uid}")
    return found["state"], found["version"]


def _delivered(node: Address, count: int) -> None:
    eventually(
        lambda: node.metric("outbox_pending") == 0 and node.metric("publish_lag_seconds_count") >= count
    )


def _not_ready(node: Address) -> dict[str, str]:
    try:
        node.get("/readyz")
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.loads(error.read())["reasons"])
    return {}


def _published(node: LocalNode) -> tuple[str, str]:
    """Two studies of two instances, the second in two versions."""
    one, two = new_uid(), new_uid()
    for uid in (one, two):
        send(node, instance(uid, 1), instance(uid, 2))
        _complete(node, uid)
    send(node, instance(two, 3))
    _complete(node, two)
    _delivered(node, 3)
    return one, two


def test_versions_are_not_published_again(
    nodes: Nodes, kafka_broker: KafkaBroker, topic: str, given: dict[str, str]
) -> None:
    node = nodes.start(**given)
    one, two = _published(node)
    node.stop()
    _lose_index(node)
    node = nodes.start(**given)
    eventually(lambda: _not_ready(node) == {})
    assert (_study(node, one), _study(node, two)) == (("complete", 1), ("complete", 2))
    send(node, instance(one, 3))
    _complete(node, one)
    _delivered(node, 1)
    expected = [f"r5/{one}/1", f"r5/{two}/1", f"r5/{two}/2", f"r5/{one}/2"]
    assert sorted(ids_of(kafka_broker.read_all(topic))) == sorted(expected)


def test_while_the_broker_is_away_objects_are_stored_and_nothing_is_guessed(
    nodes: Nodes, kafka_broker: KafkaBroker, topic: str, given: dict[str, str]
) -> None:
    node = nodes.start(**given)
    one, two = _published(node)
    node.stop()
    _lose_index(node)
    kafka_broker.stop()
    fresh = new_uid()
    try:
        # Quiet at once: only that nothing may be published keeps the studies from going out.
        node = nodes.start(**given | {"completion__quiet_seconds": "0.1"})
        send(node, instance(two, 4), instance(fresh, 1))
        reasons = eventually(lambda: found if (found := _not_ready(node)).get("sink") else None)
        assert "nothing listens there" in reasons["sink"]
        assert "versions were out before the index was lost" in reasons["completion"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            _complete(node, fresh)
        with refused.value as answer:
            assert answer.code == 503
            assert "versions were out" in json.loads(answer.read())["error"]
        node.stop()  # and the next start still knows what is missing
        node = nodes.start(**given | {"completion__quiet_seconds": "0.1"})
        assert [_study(node, uid) for uid in (one, two, fresh)] == [("open", 0)] * 3
        assert len(node.get("/api/events")["events"]) == 0
    finally:
        kafka_broker.ensure_running()
    eventually(lambda: _not_ready(node) == {}, 60)
    _delivered(node, 2)
    assert [_study(node, uid)[1] for uid in (one, two, fresh)] == [1, 3, 1]
    expected = [f"r5/{one}/1", f"r5/{two}/1", f"r5/{two}/2", f"r5/{two}/3", f"r5/{fresh}/1"]
    assert sorted(ids_of(kafka_broker.read_all(topic))) == sorted(expected)


def test_reindex_asks_the_cursor(
    nodes: Nodes, kafka_broker: KafkaBroker, topic: str, given: dict[str, str]
) -> None:
    node = nodes.start(**given)
    one, two = _published(node)
    node.stop()
    _lose_index(node)
    done = command(node.data_dir, "reindex", **given)
    assert done.returncode == 0, done.stderr
    assert "versions_recalled" in done.stderr
    with closing(sqlite3.connect(node.data_dir / "index.db")) as index:
        known = set(index.execute("SELECT uid, state, version FROM study"))
    assert known == {(one, "complete", 1), (two, "complete", 2)}


def test_a_replay_of_an_old_version_does_not_hide_the_new_one(kafka_broker: KafkaBroker, topic: str) -> None:
    options = kafka_options(kafka_broker, exactly_once=True)
    first, second = numbered([event("1.20", version, topic) for version in (1, 2)])

    async def run() -> Any:
        publisher = KafkaPublisher(options)
        try:
            for sent in (first, second, first):
                await publisher.publish([sent])
            return await publisher.published()
        finally:
            await publisher.stop()

    assert asyncio.run(run()) == {"1.20": Published(2, 7)}


def test_a_cursor_of_a_former_node_serves_and_is_completed(kafka_broker: KafkaBroker, topic: str) -> None:
    options = kafka_options(kafka_broker, exactly_once=True)
    known = event("1.21", 1, topic)
    kafka_broker.create_topic(options.cursor_topic, 1, **{"cleanup.policy": "compact"})
    writer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
    former = {"transaction": uuid.uuid4().hex, "ids": [known.id]}
    writer.produce(options.cursor_topic, key=options.transactions, value=orjson.dumps(former))
    assert writer.flush(30) == 0

    async def run() -> list[Any]:
        first, second = KafkaPublisher(options), KafkaPublisher(options)
        try:
            seen: list[Any] = [await first.already_out([known]), await first.remembers()]
            await first.remember({"1.21": Published(1, 7)})
            await first.stop()
            return [
                *seen,
                await second.already_out([known]),
                await second.remembers(),
                await second.published(),
            ]
        finally:
            await first.stop()
            await second.stop()

    assert asyncio.run(run()) == [{known.id}, False, {known.id}, True, {"1.21": Published(1, 7)}]


def test_what_the_index_knows_completes_the_cursor(
    nodes: Nodes, kafka_broker: KafkaBroker, topic: str, given: dict[str, str]
) -> None:
    """A node that published elsewhere before: its cursor is new, its index is not."""
    node = nodes.start(**given | {"events__sink": "ndjson"})
    uid = new_uid()
    send(node, instance(uid, 1))
    _complete(node, uid)
    node.wait_for_events(1)
    node.stop()
    node = nodes.start(**given)
    eventually(lambda: _not_ready(node) == {})
    node.stop()
    _lose_index(node)
    (node.data_dir / "events.ndjson").unlink()
    node = nodes.start(**given)
    eventually(lambda: _study(node, uid) == ("complete", 1))
