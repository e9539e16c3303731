"""A TCP proxy before a Kafka broker that loses answers: the broker has done it, the client never hears of it.

Kafka protocol guide: a frame is its length (int32) and its bytes; a request begins with API key (int16), API
version (int16) and correlation id (int32), an answer with the correlation id.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO

PRODUCE = 0
END_TXN = 26


class LossyProxy:
    """Listens on ``port`` and passes everything on to the broker at ``target`` on loopback, once that is set.

    ``lose(api, count)``: the next ``count`` answers to that request are dropped, and their connection is cut.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.target = 0
        self.lost: Counter[int] = Counter()
        self._to_lose: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def lose(self, api: int, count: int) -> None:
        with self._lock:
            self._to_lose[api] += count

    def __enter__(self) -> LossyProxy:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut(*self._sockets)
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.target), 10)
            except OSError:  # the broker is down: so is what stands before it
                client.close()
                continue
            broker.settimeout(None)
            self._sockets |= {client, broker}
            asked: dict[int, int] = {}  # correlation id -> API key
            self._start(self._requests, client, broker, asked)
            self._start(self._answers, client, broker, asked)

    def _requests(self, client: socket.socket, broker: socket.socket, asked: dict[int, int]) -> None:
        with client.makefile("rb") as stream, suppress(OSError):
            for frame in _frames(stream):
                api, _, correlation = struct.unpack_from(">hhi", frame, 4)
                asked[correlation] = api
                broker.sendall(frame)
        self._cut(client, broker)

    def _answers(self, client: socket.socket, broker: socket.socket, asked: dict[int, int]) -> None:
        with broker.makefile("rb") as stream, suppress(OSError):
            for frame in _frames(stream):
                if self._loses(asked.pop(struct.unpack_from(">i", frame, 4)[0])):
                    break
                client.sendall(frame)
        self._cut(client, broker)

    def _loses(self, api: int) -> bool:
        with self._lock:
            if not self._to_lose[api]:
                return False
            self._to_lose[api] -= 1
            self.lost[api] += 1
            return True

    def _cut(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _frames(stream: BinaryIO) -> Iterator[bytes]:
    while len(head := stream.read(4)) == 4:
        yield head + stream.read(struct.unpack(">i", head)[0])
