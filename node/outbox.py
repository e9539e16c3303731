"""The relay: takes pending events from the outbox to the sink, and writes down what became of each.

One batch is in flight at a time, in the order of ``seq``: that keeps the order of a study's events, and
leaves at most one batch in doubt after a crash. Within a batch the publisher works on all studies at once.
Nothing polls: the relay sleeps until ``wake`` is called, on the clock only while the sink is unavailable.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from node.errors import IndexUnavailable, PublishUnavailable
from node.index.outbox import Backlog, Record
from node.logs import get_logger
from node.model import Event
from node.publish.base import Outcome, PartlyPublished, Publisher

T = TypeVar("T")

_log = get_logger(__name__)

_BATCH: Final = 256  # events
_BATCH_BYTES: Final = 8 * 1024 * 1024  # of resources; bounds memory, and what a crash leaves in doubt
_UNCONFIRMED: Final = 5000  # events without data


class OutboxStore(Protocol):
    """What the relay uses of ``index.outbox.Outbox``; every method may raise ``IndexUnavailable``."""

    def pending(self, limit: int, max_bytes: int, without_topics: Collection[str] = ()) -> list[Record]: ...

    def unconfirmed(self, limit: int, after_seq: int = 0) -> list[Event]: ...

    def mark_sent(self, seqs: Sequence[int], now: float) -> None: ...

    def park(self, seq: int, reason: str) -> None: ...

    def backlog(self) -> Backlog: ...


class RelayMetrics(Protocol):
    """What the relay counts; called on the event loop, must not block."""

    def delivered(self, event: Event, lag_seconds: float) -> None:
        """The sink had the event ``lag_seconds`` after it was written to the outbox (or replayed)."""

    def parked(self, event: Event) -> None:
        """The sink refuses the event for good."""


@dataclass(frozen=True, slots=True)
class RelayHealth:
    """How delivery stands; times are seconds since the epoch.

    ``stuck_since`` is when the sink stopped taking events (None: it takes them), ``last_error`` why.
    """

    stuck_since: float | None
    last_error: str | None
    pending: int
    parked: int
    oldest_at: float | None


class Backoff:
    """Delays that double from ``first`` to ``cap`` seconds, each shortened at random by up to a half, so that
    the nodes of a site do not all come back to a broker in the same second."""

    def __init__(
        self, first: float = 0.5, cap: float = 30.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._cap = cap
        self._chance = chance
        self._failures = 0

    def next(self) -> float:
        """The delay in seconds before the next attempt."""
        # The exponent is bounded because the sink may be away for weeks.
        delay = min(self._cap, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return delay * (1.0 - 0.5 * self._chance())

    def reset(self) -> None:
        """The last attempt succeeded."""
        self._failures = 0


class Relay:
    """Runs in one task of an event loop; ``now`` gives seconds since the epoch.

    ``stuck_seconds``: a batch in flight for longer counts as stuck, because an idempotent Kafka producer
    waits for its broker without ever reporting an error. ``drain_seconds``: how long a stop waits for the
    batch in flight; what is not confirmed by then stays pending. ``first`` is what has to be settled with the
    sink before anything is published; like ``publish`` it is tried until it succeeds.
    """

    def __init__(
        self,
        store: OutboxStore,
        publisher: Publisher,
        now: Callable[[], float],
        metrics: RelayMetrics,
        *,
        backoff: Backoff | None = None,
        stuck_seconds: float = 30.0,
        drain_seconds: float = 10.0,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._now = now
        self._metrics = metrics
        self._backoff = backoff or Backoff()
        self._stuck_seconds = stuck_seconds
        self._drain_seconds = drain_seconds
        self._first = first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_lock = threading.Lock()
        self._woken = asyncio.Event()
        self._started = False
        self._confirmed: list[tuple[Event, float]] = []  # out after so many seconds, but not marked yet
        self._refused: list[tuple[Event, str]] = []
        self._passed_over: set[str] = set()  # topics that can't be written now ...
        self._retry_at: float | None = None  # ... until this time of the loop's clock
        self._in_flight_since: float | None = None
        self._failing_since: float | None = None
        self._last_error: str | None = None

    def wake(self) -> None:
        """There are new events. Callable from any thread, before, during and after ``run``."""
        with self._loop_lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._woken.set)

    def health(self) -> RelayHealth:
        """The present state; reads the index, so not for the event loop. Raises ``IndexUnavailable``."""
        stuck_since, error = self._failing_since, self._last_error
        in_flight = self._in_flight_since
        if stuck_since is None and in_flight is not None and self._now() - in_flight > self._stuck_seconds:
            error = self._publisher.trouble() or "the sink has not confirmed a batch since then"
            stuck_since = in_flight
        backlog = self._store.backlog()
        return RelayHealth(
            stuck_since,
            error if stuck_since is not None else None,
            backlog.pending,
            backlog.parked,
            backlog.oldest_at,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set and the batch in flight has ended; closes the publisher."""
        with self._loop_lock:
            self._loop = asyncio.get_running_loop()
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._turn(stopping)
        finally:
            with self._loop_lock:
                self._loop = None
            stopping.cancel()
            await self._publisher.stop()

    async def _turn(self, stopping: asyncio.Task[bool]) -> None:
        """One batch, or the wait for one."""
        # Cleared before the select: a commit that comes after the select sets the event again.
        self._woken.clear()
        try:
            delivered = await self._batch(stopping)
        except PartlyPublished as error:
            self._failed(error)
            self._passed_over |= error.topics
            if self._retry_at is None:
                self._retry_at = asyncio.get_running_loop().time() + self._backoff.next()
        except (PublishUnavailable, IndexUnavailable) as error:
            self._failed(error)
            await asyncio.wait({stopping}, timeout=self._backoff.next())
        else:
            if not self._passed_over:
                self._recovered()
            if not delivered:
                await self._idle(stopping)

    async def _idle(self, stopping: asyncio.Task[bool]) -> None:
        """Until there are new events, or it is time to try the topics that were passed over."""
        timeout = None
        if self._retry_at is not None:
            timeout = max(0.0, self._retry_at - asyncio.get_running_loop().time())
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait({stopping, woken}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _batch(self, stopping: asyncio.Task[bool]) -> bool:
        """Select, publish and settle one batch; whether there was one."""
        await self._settle()
        if not self._started:
            await self._unless_stopped(self._start(), stopping)
            self._started = True
        if self._retry_at is not None and asyncio.get_running_loop().time() >= self._retry_at:
            self._passed_over.clear()
            self._retry_at = None
        skipped = frozenset(self._passed_over)
        records = await asyncio.to_thread(self._store.pending, _BATCH, _BATCH_BYTES, skipped)
        if not records:
            return False
        due_at = {record.event.seq: record.due_at for record in records}
        try:
            outcomes = await self._unless_stopped(
                self._publisher.publish([record.event for record in records]), stopping
            )
        except PartlyPublished as error:
            self._note(error.outcomes, due_at)
            await self._settle()
            raise
        self._note(outcomes, due_at)
        await self._settle()
        return True

    async def _start(self) -> None:
        """Connect, and mark what a former run delivered without coming to mark it."""
        await self._publisher.start()
        if self._first is not None:
            await self._first()
        after_seq = 0
        while events := await asyncio.to_thread(self._store.unconfirmed, _UNCONFIRMED, after_seq):
            out = await self._publisher.already_out(events)
            seqs = [event.seq for event in events if event.id in out]
            if seqs:
                await asyncio.to_thread(self._store.mark_sent, seqs, self._now())
                _log.info("events_already_out", events=len(seqs))
            after_seq = events[-1].seq

    def _note(self, outcomes: Sequence[Outcome], due_at: dict[int, float]) -> None:
        now = self._now()
        for event, refused in ((outcome.event, outcome.refused) for outcome in outcomes):
            if refused is None:
                self._confirmed.append((event, max(0.0, now - due_at[event.seq])))
            else:
                self._refused.append((event, refused))

    async def _settle(self) -> None:
        """Write down outcomes. What fails here is tried again before anything else is published: an event
        that is out but not marked would go out twice."""
        if self._confirmed:
            seqs = [event.seq for event, _ in self._confirmed]
            await asyncio.to_thread(self._store.mark_sent, seqs, self._now())
            for event, lag_seconds in self._confirmed:
                self._metrics.delivered(event, lag_seconds)
            self._confirmed = []
        while self._refused:
            event, reason = self._refused[0]
            await asyncio.to_thread(self._store.park, event.seq, reason)
            del self._refused[0]
            self._metrics.parked(event)
            _log.error("event_parked", event_id=event.id, topic=event.topic, reason=reason)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T], stopping: asyncio.Task[bool]) -> T:
        """The result of ``work``; after a stop it has ``drain_seconds`` left, then it is given up."""
        task = asyncio.create_task(work)
        self._in_flight_since = self._now()
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=self._drain_seconds)
            if not task.done():
                raise PublishUnavailable(
                    f"the sink did not confirm within {self._drain_seconds:g} s of the stop"
                )
            return task.result()
        finally:
            self._in_flight_since = None
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _failed(self, error: PublishUnavailable | IndexUnavailable) -> None:
        if self._failing_since is None:
            self._failing_since = self._now()
        if str(error) != self._last_error:  # an outage is logged once, not at every attempt
            _log.warning("delivery_interrupted", error=str(error), hint=error.hint)
        self._last_error = str(error)

    def _recovered(self) -> None:
        self._backoff.reset()
        if self._failing_since is not None:
            _log.info("delivery_resumed", seconds=round(self._now() - self._failing_since, 3))
        self._failing_since = None
        self._last_error = None
