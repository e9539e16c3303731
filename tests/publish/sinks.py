"""What tests of the relay hold in their hands: a clock, its metrics, and a sink that fails on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from node.errors import PublishUnavailable
from node.model import Event
from node.publish.base import Outcome, Published


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


class Counted:
    """The relay's metrics; ``until`` waits on them."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.lags: list[float] = []
        self.set_aside: list[str] = []
        self._changed = asyncio.Event()

    def delivered(self, event: Event, lag_seconds: float) -> None:
        self.out.append(event.id)
        self.lags.append(lag_seconds)
        self._changed.set()

    def parked(self, event: Event) -> None:
        self.set_aside.append(event.id)
        self._changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


Answer = Callable[[Sequence[Event]], Awaitable[list[Outcome]]]


class Scripted:
    """A sink that answers the batches it gets with the given answers, then takes everything."""

    def __init__(self, *answers: Answer, fail_starts: int = 0, has: set[str] | None = None) -> None:
        self.batches: list[list[str]] = []
        self.stopped = 0
        self.fail_starts = fail_starts
        self.has = has or set()
        self.asked: list[str] = []
        self._answers = list(answers)

    async def start(self) -> None:
        if self.fail_starts:
            self.fail_starts -= 1
            raise PublishUnavailable("no sink")

    async def already_out(self, events: Sequence[Event]) -> set[str]:
        self.asked += [found.id for found in events]
        return self.has & {found.id for found in events}

    async def publish(self, events: Sequence[Event]) -> list[Outcome]:
        self.batches.append([found.id for found in events])
        if self._answers:
            return await self._answers.pop(0)(events)
        return [Outcome(found) for found in events]

    async def published(self) -> Mapping[str, Published]:
        return {}

    async def remembers(self) -> bool:
        return True

    async def remember(self, versions: Mapping[str, Published]) -> None:
        pass

    def trouble(self) -> str | None:
        return None

    async def stop(self) -> None:
        self.stopped += 1
