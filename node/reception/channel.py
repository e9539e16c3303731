"""Messages and calls between two processes over a connected pair of stream sockets.

Both ends are this program, forked from one image: messages are pickled. One thread reads; any thread sends.
"""

from __future__ import annotations

import enum
import itertools
import pickle
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from node.errors import NodeError

_LENGTH: Final = struct.Struct("<I")

Handler = Callable[..., Any]


class Kind(enum.IntEnum):
    """What a message is."""

    TELL = 0
    CALL = 1
    RESULT = 2
    ERROR = 3


class ChannelClosed(NodeError):
    """The process at the other end has gone."""

    status = 0xA700
    hint = "A receiver process ended; the log says why, and another is started."


class Channel:
    """One end. ``handlers`` maps the names that the other end may tell or call to what is done.

    Told messages are handled by the reading thread in the order in which they were sent, and before the answer
    to any call that is answered after them. Calls run in ``threads`` of their own, because they may wait.
    """

    def __init__(
        self,
        sock: socket.socket,
        handlers: Mapping[str, Handler],
        threads: int = 8,
    ) -> None:
        self._socket = sock
        self._handlers = handlers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._closed = False

    def tell(self, name: str, *arguments: Any) -> None:
        """Send and go on. Raises ``ChannelClosed``."""
        self._send((Kind.TELL, 0, name, arguments))

    def call(self, name: str, *arguments: Any, seconds: float) -> Any:
        """The answer of the other end; raises what its handler raised, ``ChannelClosed``, ``TimeoutError``."""
        number = next(self._numbers)
        future: Future[Any] = Future()
        self._waiting[number] = future
        try:
            if self._closed:
                raise ChannelClosed("the other process has gone")
            self._send((Kind.CALL, number, name, arguments))
            return future.result(seconds)
        finally:
            self._waiting.pop(number, None)

    def _send(self, message: tuple[int, int, str, Any]) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        try:
            with self._sending:
                self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError as error:
            raise ChannelClosed(f"the other process has gone: {error.strerror}") from error

    def run(self) -> None:
        """Read until the other end is gone, then fail every call that waits."""
        try:
            with self._socket.makefile("rb") as stream:
                while True:
                    head = stream.read(_LENGTH.size)
                    if len(head) < _LENGTH.size:
                        return
                    (size,) = _LENGTH.unpack(head)
                    data = stream.read(size)
                    if len(data) < size:
                        return
                    self._handle(*pickle.loads(data))
        except ConnectionError:
            return
        finally:
            self._closed = True
            for future in list(self._waiting.values()):
                with suppress(Exception):  # answered in this very moment
                    future.set_exception(ChannelClosed("the other process has gone"))
            self._pool.shutdown(wait=False)

    def _handle(self, kind: int, number: int, name: str, content: Any) -> None:
        match kind:
            case Kind.TELL:
                self._handlers[name](*content)
            case Kind.CALL:
                self._pool.submit(self._answer, number, name, content)
            case _:
                future = self._waiting.get(number)
                if future is not None:
                    if kind == Kind.RESULT:
                        future.set_result(content)
                    else:
                        future.set_exception(content)

    def _answer(self, number: int, name: str, arguments: Any) -> None:
        try:
            result: Any = self._handlers[name](*arguments)
            answer = (Kind.RESULT, number, name, result)
        except Exception as error:  # noqa: BLE001  it is the caller's
            answer = (Kind.ERROR, number, name, _portable(error))
        with suppress(ChannelClosed):  # nobody waits for it any more
            self._send(answer)

    def close(self) -> None:
        """End both directions; ``run`` returns at both ends."""
        with suppress(OSError):  # the other end closed first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _portable(error: Exception) -> Exception:
    """An error that survives the way; one that can't be pickled is told by its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  whatever keeps it from being pickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
