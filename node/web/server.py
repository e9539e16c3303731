"""uvicorn in the node's own event loop, on a socket of ours: its port is known before it serves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from node.errors import CannotListen

BACKLOG: Final = 128
MAX_CONNECTIONS: Final = 256
HEAD_SECONDS: Final = (
    10.0  # from the first byte, the connection or an early answer to the end of a request's head
)
STALL_SECONDS: Final = 20.0  # an answer of which nothing is read for so long is given up

Closing = Callable[[], Awaitable[None]]


class _Protocol(H11Protocol):
    """h11 with deadlines that uvicorn lacks: for the head of a request, for a body that goes on after its answer, and
    for an answer that is not read. Each would be waited for for ever, and ``MAX_CONNECTIONS`` of them would keep
    everybody out."""

    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()
        self._flows()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flows()

    def _watch_reader(self, waiting: int) -> None:
        self._stalled = self.loop.call_later(STALL_SECONDS, self._look_at_reader, waiting)

    def _look_at_reader(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting >= before:
            self.transport.abort()  # close() would wait for the very reader
        else:
            self._watch_reader(waiting)

    def _flows(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._watch_head()

    def _watch_head(self) -> None:
        """The head of the next request, and what is left of a body that was answered before it was all here: the
        latter ends uvicorn's own watch over idle connections."""
        idle = self.conn.their_state is h11.IDLE
        if not idle and not (self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE):
            self._unwatch()
        elif self._late is None:  # counted from its start, however slowly bytes come
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """Without signal handlers (the service has them) and without uvicorn's ten wake-ups a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    async def main_loop(self) -> None:
        await self.stopping.wait()


class HttpServer:
    """A running server; ``address`` is what it listens on. Made by ``serve_http``."""

    def __init__(
        self,
        server: _Server,
        task: asyncio.Task[None],
        address: tuple[str, int],
        closing: Closing | None,
    ) -> None:
        self._server = server
        self._task = task
        self._closing = closing
        self.address = address

    async def stop(self) -> None:
        """Take no more connections, end open requests within the deadline given to ``serve_http``, close."""
        if self._closing is not None:
            await self._closing()
        self._server.stopping.set()
        await self._task

    async def failed(self) -> None:
        """Returns when the server has stopped, raises what ended it."""
        await asyncio.shield(self._task)


async def serve_http(
    app: ASGIApp,
    host: str,
    port: int,
    drain_seconds: float = 5,
    closing: Closing | None = None,
) -> HttpServer:
    """Serve ``app`` in the running loop until ``stop``; returns when connections are accepted.

    ``closing`` ends, at the stop, the answers that have no end of their own. Port 0 takes
    a free one. Raises ``CannotListen`` when the address can't be listened on.
    """
    listener = _listen(host, port)
    address = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # the application's own: uvicorn's is renewed by its ticking
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    serving = asyncio.create_task(server.serving.wait())
    await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        serving.cancel()
        listener.close()
        await task  # raises what went wrong
    return HttpServer(server, task, address, closing)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen("http", f"{host}:{port}", error) from error
