"""Server-sent events (HTML Standard, section 9.2) for all who watch, from one producer.

While somebody watches, each page that is watched is rendered once a round, in a worker thread, and every watcher
takes from the newest round what differs from what it was sent. So a slow watcher misses rounds, not its own state,
and holds up nobody; nothing runs while nobody watches. sse-starlette would poll for the server's end, through a
class of uvicorn that it patches for the whole process; what is needed of the format is one line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

import anyio
import orjson
from anyio.to_thread import run_sync
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from node.errors import NodeError
from node.logs import get_logger

ROUND_SECONDS: Final = 1.0
SHARE: Final = 0.2  # of the time that rendering may take: rounds get rarer when it is slow
MAX_WATCHERS: Final = 32
CLOSE_SECONDS: Final = 5.0  # for the page that is being rendered

_log = get_logger(__name__)
V = TypeVar("V", bound=Hashable)


class TooManyWatchers(NodeError):
    """As many watch as are let."""

    hint = "Close other pages of the node; this one tries again."


class Round(NamedTuple):
    """One view as it stands: fragments by name, or what kept it from being rendered."""

    at: float
    fragments: Mapping[str, str]
    trouble: Mapping[str, str] | None = None


@dataclass(eq=False)
class Watcher(Generic[V]):
    """One open stream: what it watches, the newest round that it has not sent yet."""

    view: V
    latest: Round | None = None
    ended: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, latest: Round | None) -> None:
        """The newest round, in the place of one that was not taken; None ends the stream."""
        self.latest, self.ended = latest, latest is None
        self._changed.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Until the end: a message a round with the fragments that changed, none of them in a quiet one."""
        sent: dict[str, str] = {}
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self.ended or self.latest is None:
                return
            changed = {name: html for name, html in self.latest.fragments.items() if sent.get(name) != html}
            sent |= changed
            yield _message(self.latest, changed)


class Live(Generic[V]):
    """Watchers and their producer. Everything but ``render`` runs in the event loop.

    ``render(view)`` -> fragments by name; it may block, and is called from one worker thread at a time.
    """

    def __init__(
        self,
        render: Callable[[V], Mapping[str, str]],
        wall: Callable[[], float],
        limit: int = MAX_WATCHERS,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._render = render
        self._wall = wall
        self._limit = limit
        self._round_seconds = round_seconds
        self._watchers: list[Watcher[V]] = []
        self._producer: asyncio.Task[None] | None = None
        self._rendering: asyncio.Task[dict[V, Round]] | None = None
        self._joined = asyncio.Event()
        self._closed = False

    @property
    def watchers(self) -> int:
        """How many streams are open."""
        return len(self._watchers)

    def join(self, view: V) -> Watcher[V]:
        """A watcher of ``view``; ``leave`` it. Raises ``TooManyWatchers``."""
        if self._closed:
            raise TooManyWatchers("the node is stopping")
        if len(self._watchers) >= self._limit:
            raise TooManyWatchers(f"{self._limit} pages are watched already")
        watcher = Watcher(view)
        self._watchers.append(watcher)
        self._joined.set()
        if self._producer is None:
            self._producer = asyncio.create_task(self._produce(), name="live")
        return watcher

    def leave(self, watcher: Watcher[V]) -> None:
        """The stream has ended; with the last one the producer ends too."""
        self._watchers.remove(watcher)
        if not self._watchers and self._producer is not None:
            self._producer.cancel()
            self._producer = None

    async def close(self) -> None:
        """End every stream, take no more, and leave nothing behind that still reads."""
        self._closed = True
        for watcher in self._watchers:
            watcher.give(None)
        if self._rendering is not None:
            await asyncio.wait({self._rendering}, timeout=CLOSE_SECONDS)

    async def _produce(self) -> None:
        while True:
            # Of a producer before: a disk that hangs gets one thread, not one for each who came and went
            if self._rendering is not None:
                await asyncio.wait({self._rendering})
            begin = time.monotonic()
            self._joined.clear()
            views = {watcher.view for watcher in self._watchers}
            own = anyio.CapacityLimiter(1)  # the common one may be full of long questions
            self._rendering = asyncio.create_task(
                run_sync(self._round, views, abandon_on_cancel=True, limiter=own)
            )
            rounds = await asyncio.shield(self._rendering)
            self._rendering = None
            for watcher in self._watchers:
                if watcher.view in rounds and not watcher.ended:
                    watcher.give(rounds[watcher.view])
            took = time.monotonic() - begin
            await asyncio.sleep(took / SHARE - took)
            with anyio.move_on_after(self._round_seconds - (time.monotonic() - begin)):
                await self._joined.wait()  # who comes is not kept waiting for the next round

    def _round(self, views: Collection[V]) -> dict[V, Round]:
        return {view: self._one(view) for view in views}

    def _one(self, view: V) -> Round:
        at = self._wall()
        try:
            return Round(at, self._render(view))
        except NodeError as error:
            return Round(at, {}, {"error": str(error), "hint": error.hint})
        except Exception as error:  # noqa: BLE001  one page's fault must not end the others' updates
            _log.error("page_failed", error_type=type(error).__name__, exc_info=error)
            told = {"error": f"internal error ({type(error).__name__})", "hint": "Look at the node's log."}
            return Round(at, {}, told)


class LiveResponse(StreamingResponse):
    """A watcher's stream. It leaves however the stream ends, also before its first message."""

    def __init__(self, live: Live[Any], watcher: Watcher[Any]) -> None:
        # A proxy that buffers would hold every message back
        headers = {"x-accel-buffering": "no"}
        super().__init__(watcher.messages(), headers=headers, media_type="text/event-stream")
        self._live = live
        self._watcher = watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.leave(self._watcher)


def _message(latest: Round, changed: Mapping[str, str]) -> bytes:
    """JSON has no line ends of its own, so one ``data`` field carries it."""
    told: dict[str, Any] = {"now": round(latest.at * 1000)}
    if changed:
        told["fragments"] = changed
    if latest.trouble is not None:
        told["trouble"] = latest.trouble
    return b"data: " + orjson.dumps(told) + b"\n\n"
