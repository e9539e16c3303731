"""A node's relay as a process of its own, to be killed: ``python -m tests.scenarios.relay_process INDEX OPTIONS``.

Delivers what the index owes, and ends when it owes nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from node.index.engine import Engine
from node.index.outbox import Outbox
from node.model import Event
from node.outbox import Backoff, Relay
from node.publish.kafka import KafkaPublisher
from node.publish.kafka_options import KafkaOptions


class _Until:
    """The relay's metrics; says when nothing is owed any more."""

    def __init__(self, outbox: Outbox, stop: asyncio.Event) -> None:
        self._outbox = outbox
        self._stop = stop

    def delivered(self, event: Event, lag_seconds: float) -> None:
        if self._outbox.backlog().pending == 0:
            self._stop.set()

    def parked(self, event: Event) -> None:
        raise AssertionError(f"parked: {event.id}")


async def main(index: str, options: KafkaOptions) -> None:
    engine = Engine(f"sqlite:///{index}")
    outbox, stop = Outbox(engine), asyncio.Event()
    if outbox.backlog().pending:
        publisher, observer = KafkaPublisher(options), _Until(outbox, stop)
        relay = Relay(outbox, publisher, time.time, observer, backoff=Backoff(0.05, 0.2))
        running = asyncio.create_task(relay.run(stop))
        # All may have been out already, which the relay finds out without delivering anything.
        while not running.done() and outbox.backlog().pending:
            await asyncio.wait({running}, timeout=0.2)
        stop.set()
        await running
    engine.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], KafkaOptions(**json.loads(sys.argv[2]))))
