"""Messages and calls between two processes over a connected pair of stream sockets.

Both ends are this program, forked from one image: messages are pickled. That is no wall between them: a process
that was taken over can do to the other what its user may do. One thread reads; any thread sends.
"""

from __future__ import annotations

import enum
import io
import itertools
import pickle
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from node.errors import NodeError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# A record holds 4 MB of values at most (header.MAX_SCANNED), a message one such and 1 MB of others; nothing else
# comes near.
MAX_MESSAGE: Final = 16_777_216
_LENGTH: Final = struct.Struct("<I")
_BUFFER: Final = 65_536

Handler = Callable[..., Any]


class Kind(enum.IntEnum):
    """What a message is."""

    TELL = 0
    CALL = 1
    RESULT = 2
    ERROR = 3


class ChannelClosed(NodeError):
    """The process at the other end has gone, or does not read."""

    status = 0xA700
    hint = "A receiver process ended; the log says why, and another is started."


class ChannelGarbled(NodeError):
    """What came can't be a message of this program."""

    hint = "The receiver process that sent it is ended, and another is started. Please report it."


class Channel:
    """One end. ``handlers`` maps the names that the other end may tell or call to what is done.

    Told messages are handled by the reading thread in the order in which they were sent, and before the answer
    to any call that is answered after them: their handlers must be quick. Calls run in up to ``threads`` of
    their own, because they may wait. ``send_seconds`` bounds how long the other end may leave a message unread
    before it counts as gone; without, a sender waits for as long as it takes, which is how an owner that is
    behind slows its receivers down. ``together``: while messages keep coming, they are let gather for so many
    seconds, because to wake up for each of them costs both ends more than to handle it.
    """

    def __init__(
        self,
        sock: socket.socket,
        handlers: Mapping[str, Handler],
        threads: int = 8,
        send_seconds: int | None = None,
        together: float = 0.0,
    ) -> None:
        self._socket = sock
        self._together = together
        self._handlers = handlers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._closed = False
        if send_seconds is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", send_seconds, 0))

    def tell(self, name: str, *arguments: Any) -> None:
        """Send and go on. Raises ``ChannelClosed``, ``ValueError`` for a message that is too long."""
        self._send((Kind.TELL, 0, name, arguments))

    def ask(self, name: str, *arguments: Any) -> Future[Any]:
        """A call whose answer is waited for later; it raises what ``call`` does. Raises ``ChannelClosed``."""
        number = next(self._numbers)
        future: Future[Any] = Future()
        self._waiting[number] = future
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        try:
            if self._closed:
                raise ChannelClosed("the other process has gone")
            self._send((Kind.CALL, number, name, arguments))
        except BaseException:
            self._waiting.pop(number, None)
            raise
        return future

    def call(self, name: str, *arguments: Any, seconds: float) -> Any:
        """The answer of the other end; raises what its handler raised, ``ChannelClosed``, ``TimeoutError``."""
        future = self.ask(name, *arguments)
        try:
            return future.result(seconds)
        finally:
            future.cancel()  # an answer that comes too late finds nobody

    def _send(self, message: tuple[int, int, str, Any]) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"message {message[2]} has {len(data)} bytes, {MAX_MESSAGE} at most")
        try:
            with self._sending:
                self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except BlockingIOError as error:
            self._interrupt()  # part of the message may have gone: nothing that follows could be understood
            raise ChannelClosed("the other process does not read") from error
        except OSError as error:
            raise ChannelClosed(f"the other process has gone: {error.strerror}") from error

    def run(self) -> None:
        """Read until the other end is gone, then fail every call that waits.

        Raises ``ChannelGarbled``, and what the handler of a told message raises; the channel is at its end
        then, too.
        """
        try:
            with (
                self._socket.makefile("rb", buffering=0) as raw,
                _Input(raw, self._together) as source,
                io.BufferedReader(source, _BUFFER) as stream,
            ):
                while (data := _next(source, stream)) is not None:
                    self._handle(*_understood(data))
        except ConnectionError:
            return
        finally:
            self._closed = True
            self._interrupt()
            for future in list(self._waiting.values()):
                if future.set_running_or_notify_cancel():
                    future.set_exception(ChannelClosed("the other process has gone"))
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _handle(self, kind: int, number: int, name: str, content: Any) -> None:
        match kind:
            case Kind.TELL:
                self._handlers[name](*content)
            case Kind.CALL:
                self._pool.submit(self._answer, number, name, content)
            case _:
                future = self._waiting.get(number)
                if future is None or not future.set_running_or_notify_cancel():
                    return  # nobody waits for it any more
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

    def _interrupt(self) -> None:
        """Wake whoever reads or writes, at both ends."""
        with suppress(OSError):  # the other end closed first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End both directions; ``run`` returns at both ends."""
        self._interrupt()
        self._socket.close()


class _Input(io.RawIOBase):
    """What comes in, waited for by poll. A thread that waits in recv is woken by the kernel, too, whenever the
    other end has read something: once for each object that a receiver tells, for nothing."""

    def __init__(self, raw: socket.SocketIO, together: float) -> None:
        self._raw = raw
        self._together = together
        self._read_at = float("-inf")
        self.between = True  # two messages: inside one there is nothing to let gather
        self._poll = select.poll()
        self._poll.register(raw.fileno(), select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        self._poll.poll()
        if self._together and self.between:
            if time.monotonic() - self._read_at < 2 * self._together:
                time.sleep(self._together)
            self._read_at = time.monotonic()
        return self._raw.readinto(buffer)


def _next(source: _Input, stream: BinaryIO) -> bytes | None:
    """The next message; None at the end, also inside a message: its sender died while it sent."""
    source.between = True
    head = stream.read(_LENGTH.size)
    source.between = False
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > MAX_MESSAGE:
        raise ChannelGarbled(f"message of {size} bytes, {MAX_MESSAGE} at most")
    data = stream.read(size)
    return data if len(data) == size else None


def _understood(data: bytes) -> tuple[int, int, str, Any]:
    try:
        kind, number, name, content = pickle.loads(data)
    except Exception as error:  # unpickling meets bytes it was not made for in many ways
        raise ChannelGarbled(f"message of {len(data)} bytes: {type(error).__name__}") from error
    return kind, number, name, content


def _portable(error: Exception) -> Exception:
    """An error that survives the way; one that can't be pickled is told by its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  whatever keeps it from being pickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
