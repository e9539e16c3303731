"""The relay over a real outbox and the real NDJSON sink; a scripted sink only where it has to fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from node.errors import IndexUnavailable, PublishUnavailable
from node.index.engine import Engine
from node.index.outbox import Outbox, add
from node.model import Event
from node.outbox import Backoff, Relay
from node.publish.base import Outcome, PartlyPublished, Publisher
from node.publish.ndjson import NdjsonPublisher
from tests.publish.events import event
from tests.publish.sinks import Clock, Counted, Scripted


def _as_many(out: Sequence[object], number: int) -> bool:
    return len(out) == number


def _add(engine: Engine, *events: Event, now: float = 1000.0) -> None:
    with engine.write() as connection:
        add(connection, events, now)


@asynccontextmanager
async def _running(
    store: Any, sink: Publisher, now: Callable[[], float] | None = None, **more: Any
) -> AsyncIterator[tuple[Relay, Counted]]:
    metrics = Counted()
    more.setdefault("backoff", Backoff(first=0.01, cap=0.02))
    relay = Relay(store, sink, now or Clock(), metrics, **more)
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield relay, metrics
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task


def test_pending_events_go_out_and_are_marked(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    _add(engine, event("1.1"), event("1.2"), now=990.0)
    clock = Clock(1000.0)

    async def run() -> None:
        async with _running(Outbox(engine), NdjsonPublisher(path), clock) as (relay, metrics):
            await metrics.until(lambda: len(metrics.out) == 2)
            assert metrics.lags == [10.0, 10.0]
            committed = threading.Thread(target=lambda: (_add(engine, event("1.3")), relay.wake()))
            committed.start()
            await metrics.until(lambda: len(metrics.out) == 3)
            committed.join()

    asyncio.run(run())
    assert [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()] == [
        "r5/1.1/1",
        "r5/1.2/1",
        "r5/1.3/1",
    ]
    assert [r.sent_at for r in Outbox(engine).recent(5)] == [1000.0] * 3


def test_a_row_with_a_smaller_number_that_commits_late_is_not_missed(engine: Engine) -> None:
    sink = Scripted()
    _add(engine, event("1.1"), event("1.2"))
    Outbox(engine).mark_sent([1, 2], 1.0)

    async def run() -> None:
        async with _running(Outbox(engine), sink) as (relay, metrics):
            _add(engine, event("1.3"))
            relay.wake()
            await metrics.until(lambda: metrics.out == ["r5/1.3/1"])
            Outbox(engine).replay(["r5/1.1/1"], 2.0)
            relay.wake()
            await metrics.until(lambda: metrics.out == ["r5/1.3/1", "r5/1.1/1"])

    asyncio.run(run())


def test_nothing_is_selected_while_idle(engine: Engine) -> None:
    class Counting(Outbox):
        selects = 0

        def pending(self, *arguments: Any, **named: Any) -> Any:
            self.selects += 1
            return super().pending(*arguments, **named)

    store = Counting(engine)

    async def run() -> None:
        async with _running(store, Scripted()) as (relay, metrics):
            for number in (1, 2):
                await asyncio.to_thread(_add, engine, event(f"1.{number}"))
                relay.wake()
                await metrics.until(partial(_as_many, metrics.out, number))
            for _ in range(30):  # as many turns of the worker threads, in which a poller would select
                await asyncio.to_thread(store.backlog)
        # At the start, and for each event one that finds it and one that finds nothing more.
        assert 2 <= store.selects <= 5

    asyncio.run(run())


def test_refused_events_are_parked_with_the_reason_and_others_go_on(engine: Engine) -> None:
    async def refuse_first(events: Sequence[Event]) -> list[Outcome]:
        return [Outcome(events[0], "too large"), *(Outcome(found) for found in events[1:])]

    _add(engine, event("1.1"), event("1.2"))

    async def run() -> None:
        async with _running(Outbox(engine), Scripted(refuse_first)) as (_, metrics):
            await metrics.until(lambda: metrics.out == ["r5/1.2/1"] and metrics.set_aside == ["r5/1.1/1"])

    asyncio.run(run())
    assert [(r.state, r.parked_reason) for r in Outbox(engine).recent(5)] == [
        ("parked", "too large"),
        ("sent", None),
    ]


def test_an_unavailable_sink_is_tried_again_and_reported(engine: Engine) -> None:
    clock = Clock(500.0)
    reports: list[Any] = []

    async def fail(events: Sequence[Event]) -> list[Outcome]:
        raise PublishUnavailable("disk is full")

    async def look(events: Sequence[Event]) -> list[Outcome]:
        reports.append(await asyncio.to_thread(relays[0].health))
        return [Outcome(found) for found in events]

    relays: list[Relay] = []
    sink = Scripted(fail, fail, look)
    _add(engine, event("1.1"), now=400.0)

    async def run() -> None:
        async with _running(Outbox(engine), sink, clock) as (relay, metrics):
            relays.append(relay)
            await metrics.until(lambda: len(metrics.out) == 1)
            reports.append(await asyncio.to_thread(relay.health))

    asyncio.run(run())
    during, after = reports
    assert (during.stuck_since, during.last_error, during.pending) == (500.0, "disk is full", 1)
    assert during.oldest_at == 400.0
    assert (after.stuck_since, after.last_error, after.pending, after.oldest_at) == (None, None, 0, None)
    assert sink.batches == [["r5/1.1/1"]] * 3


def test_a_sink_that_can_not_be_started_is_started_again(engine: Engine) -> None:
    _add(engine, event())
    sink = Scripted(fail_starts=3)

    async def run() -> None:
        async with _running(Outbox(engine), sink) as (_, metrics):
            await metrics.until(lambda: len(metrics.out) == 1)

    asyncio.run(run())
    assert (sink.fail_starts, sink.stopped) == (0, 1)


def test_what_a_partly_published_batch_delivered_is_not_sent_again(engine: Engine) -> None:
    async def half(events: Sequence[Event]) -> list[Outcome]:
        raise PartlyPublished("topic b is away", [Outcome(events[0])], {"b"})

    sink = Scripted(half)
    _add(engine, event("1.1", topic="a"), event("1.2", topic="b"), event("1.3", topic="a"))

    async def run() -> None:
        backoff = Backoff(first=0.3, cap=0.3, chance=lambda: 0.0)
        async with _running(Outbox(engine), sink, backoff=backoff) as (relay, metrics):
            await metrics.until(lambda: len(metrics.out) == 2)
            health = await asyncio.to_thread(relay.health)
            assert (health.pending, health.last_error) == (1, "topic b is away")
            await metrics.until(lambda: len(metrics.out) == 3)

    asyncio.run(run())
    assert sink.batches == [["r5/1.1/1", "r5/1.2/1", "r5/1.3/1"], ["r5/1.3/1"], ["r5/1.2/1"]]


def test_what_was_out_before_a_crash_is_marked_and_not_sent_again(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    _add(engine, event("1.1"), event("1.2"), event("1.3"))

    async def crash_after_the_append() -> None:
        publisher = NdjsonPublisher(path)
        await publisher.start()
        await publisher.publish([event("1.1"), event("1.2")])
        await publisher.stop()

    async def run() -> None:
        async with _running(Outbox(engine), NdjsonPublisher(path)) as (_, metrics):
            await metrics.until(lambda: metrics.out == ["r5/1.3/1"])

    asyncio.run(crash_after_the_append())
    asyncio.run(run())
    assert len(path.read_bytes().splitlines()) == 3
    assert Outbox(engine).backlog().pending == 0


def test_a_replayed_event_is_sent_again_although_the_sink_has_it(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    _add(engine, event("1.1"))

    async def run(count: int) -> None:
        async with _running(Outbox(engine), NdjsonPublisher(path)) as (_, metrics):
            await metrics.until(lambda: len(metrics.out) == count)

    asyncio.run(run(1))
    Outbox(engine).replay(["r5/1.1/1"], 2000.0)
    asyncio.run(run(1))
    first, second = path.read_bytes().splitlines()
    assert first == second


def test_a_failed_mark_is_repeated_before_anything_is_published_again(engine: Engine) -> None:
    class Failing(Outbox):
        failures = 2

        def mark_sent(self, seqs: Sequence[int], now: float) -> None:
            if self.failures:
                self.failures -= 1
                raise IndexUnavailable("database is locked")
            super().mark_sent(seqs, now)

    sink = Scripted()
    _add(engine, event("1.1"))

    async def run() -> None:
        async with _running(Failing(engine), sink) as (_, metrics):
            await metrics.until(lambda: len(metrics.out) == 1)

    asyncio.run(run())
    assert sink.batches == [["r5/1.1/1"]]
    assert Outbox(engine).backlog().pending == 0


def test_stop_finishes_the_batch_in_flight_and_starts_no_other(engine: Engine) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(events: Sequence[Event]) -> list[Outcome]:
        entered.set()
        await release.wait()
        return [Outcome(found) for found in events]

    sink = Scripted(slow)
    _add(engine, event("1.1"))

    async def run() -> None:
        relay = Relay(Outbox(engine), sink, Clock(), Counted())
        stop = asyncio.Event()
        task = asyncio.create_task(relay.run(stop))
        async with asyncio.timeout(20):
            await entered.wait()
            _add(engine, event("1.2"))
            relay.wake()
            stop.set()
            release.set()
            await task
        relay.wake()  # harmless when it is over

    asyncio.run(run())
    assert sink.batches == [["r5/1.1/1"]]
    assert [r.state for r in Outbox(engine).recent(5)] == ["sent", "pending"]
    assert sink.stopped == 1


def test_stop_gives_up_a_batch_that_is_never_confirmed(engine: Engine) -> None:
    entered = asyncio.Event()

    async def never(events: Sequence[Event]) -> list[Outcome]:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    sink = Scripted(never)
    _add(engine, event("1.1"))

    async def run() -> None:
        async with _running(Outbox(engine), sink, drain_seconds=0.05):
            await entered.wait()

    asyncio.run(run())
    assert Outbox(engine).backlog().pending == 1
    assert sink.stopped == 1


def test_a_batch_in_flight_for_long_counts_as_stuck(engine: Engine) -> None:
    clock = Clock(100.0)
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(events: Sequence[Event]) -> list[Outcome]:
        entered.set()
        await release.wait()
        return [Outcome(found) for found in events]

    _add(engine, event("1.1"))

    async def run() -> None:
        async with _running(Outbox(engine), Scripted(slow), clock, stuck_seconds=30) as (relay, metrics):
            await entered.wait()
            clock.at = 129.0
            assert (await asyncio.to_thread(relay.health)).stuck_since is None
            clock.at = 131.0
            health = await asyncio.to_thread(relay.health)
            assert health.stuck_since == 100.0
            assert health.last_error is not None
            release.set()
            await metrics.until(lambda: len(metrics.out) == 1)
            assert (await asyncio.to_thread(relay.health)).stuck_since is None

    asyncio.run(run())


def test_wake_before_run_is_harmless(engine: Engine) -> None:
    Relay(Outbox(engine), Scripted(), Clock(), Counted()).wake()
