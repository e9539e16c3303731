"""Worker threads that are waited for only so long: what a dead disk holds must not hold those who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

T = TypeVar("T")
MOST: Final = 4


class Patience:
    """At most ``most`` calls at a time, those included that nobody waits for any more.

    anyio gives a limiter's place back when a call is abandoned, while its thread goes on: on a disk that hangs every
    question would leave a thread behind. Its common limiter is not asked at all: who fills that with long questions
    must not keep these waiting.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._running: set[asyncio.Task[Any]] = set()

    async def call(self, function: Callable[[], T], seconds: float) -> T:
        """What ``function`` returns or raises; ``TimeoutError`` when it does not within ``seconds``, or can't begin."""
        async with asyncio.timeout(seconds):
            while len(self._running) >= self._most:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            own = CapacityLimiter(1)
            task = asyncio.create_task(run_sync(function, abandon_on_cancel=True, limiter=own))
            self._running.add(task)
            task.add_done_callback(self._ended)
            return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever still waits; nobody is left to be told of the others
