"""One blocking socket with deadlines: the only place where a receive loop waits."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import time
from typing import Final

from node.errors import DeadlineExceeded, PeerGone

_GONE: Final = (
    errno.ECONNRESET,
    errno.EPIPE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EBADF,
    errno.ECONNABORTED,
)


class Deadline:
    """A moment on the monotonic clock, and the [dicom.timeouts] key that it stands for."""

    __slots__ = ("at", "seconds", "timeout")

    def __init__(self, timeout: str, seconds: float, start: float) -> None:
        self.timeout = timeout
        self.seconds = seconds
        self.at = start + seconds

    def exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(self.timeout, self.seconds)


class _Transport:
    """How a connection ends, with TLS or without."""

    _socket: socket.socket

    def end_of_output(self) -> None:
        """Tell the peer that nothing more will be sent. Raises ``PeerGone``."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_WR)  # the TCP connection's, also under TLS
        except OSError as error:
            raise _gone(error) from error

    def close(self) -> None:
        self._socket.close()


class PlainTransport(_Transport):
    """A TCP socket whose waits the kernel bounds.

    Python's own socket timeouts cost a poll before each call and an ioctl at each change. SO_RCVTIMEO costs
    nothing while bytes flow: it stays at ``tick`` seconds and is changed only for a deadline that is nearer.
    """

    def __init__(self, sock: socket.socket, tick: float) -> None:
        self._socket = sock
        self._tick = tick
        self._waits: dict[int, float] = {}  # socket option -> seconds it is set to
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _wait_at_most(self, option: int, deadline: Deadline) -> None:
        """Bound the next call by ``deadline``, to a tenth of a tick. Raises ``DeadlineExceeded``."""
        left = deadline.at - time.monotonic()
        if left <= 0:
            raise deadline.exceeded()
        seconds = max(min(left, self._tick), 0.001)  # zero would wait for ever
        if abs(seconds - self._waits.get(option, 0)) > self._tick / 10:
            whole = int(seconds)
            value = struct.pack("ll", whole, int((seconds - whole) * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, option, value)
            self._waits[option] = seconds

    def receive_into(self, buffer: memoryview, deadline: Deadline) -> int:
        """Bytes received, at least one. Raises ``DeadlineExceeded``, ``PeerGone``."""
        while True:
            try:
                self._wait_at_most(socket.SO_RCVTIMEO, deadline)
                size = self._socket.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _gone(error) from error
            if not size:
                raise PeerGone("connection closed by the peer")
            return size

    def send(self, data: bytes | memoryview, deadline: Deadline) -> None:
        """Send all of ``data``. Raises ``DeadlineExceeded`` when the peer does not read, ``PeerGone``."""
        while data:
            try:
                self._wait_at_most(socket.SO_SNDTIMEO, deadline)
                sent = self._socket.send(data)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _gone(error) from error
            data = memoryview(data)[sent:]

    def has_input(self) -> bool:
        """Bytes, or the end of the stream, wait to be received."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            raise _gone(error) from error
        return True


class TlsTransport(_Transport):
    """A TLS socket; the handshake happens here, inside the association's own thread and deadline."""

    _socket: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket, deadline: Deadline) -> None:
        self._socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(max(deadline.at - time.monotonic(), 0.001))
        try:  # the timeout bounds the handshake as a whole, however slowly its bytes come
            sock.do_handshake()
        except TimeoutError:
            raise deadline.exceeded() from None
        except OSError as error:
            raise PeerGone(f"TLS handshake failed: {error}") from error

    def receive_into(self, buffer: memoryview, deadline: Deadline) -> int:
        """Bytes received, at least one. Raises ``DeadlineExceeded``, ``PeerGone``."""
        self._socket.settimeout(max(deadline.at - time.monotonic(), 0.001))
        try:
            size = self._socket.recv_into(buffer)
        except TimeoutError:
            raise deadline.exceeded() from None
        except OSError as error:
            raise _gone(error) from error
        if not size:
            raise PeerGone("connection closed by the peer")
        return size

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of ``data``. Raises ``DeadlineExceeded`` when the peer does not read, ``PeerGone``."""
        view = memoryview(data)
        while view:  # sendall would give each part the whole time again
            self._socket.settimeout(max(deadline.at - time.monotonic(), 0.001))
            try:
                sent = self._socket.send(view)
            except TimeoutError:
                raise deadline.exceeded() from None
            except OSError as error:
                raise _gone(error) from error
            view = view[sent:]

    def has_input(self) -> bool:
        """Bytes, or the end of the stream, wait to be received."""
        if self._socket.pending():
            return True
        with socket.socket(fileno=self._socket.fileno()) as raw:
            try:
                raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError as error:
                raise _gone(error) from error
            finally:
                raw.detach()
        return True


Transport = PlainTransport | TlsTransport


def _gone(error: OSError) -> PeerGone:
    if error.errno in _GONE:
        return PeerGone(f"connection lost: {error.strerror}")
    return PeerGone(f"connection failed: {error}")
