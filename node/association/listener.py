"""Accepts connections, bounds them, and gives each a thread (TLS handshake included: it happens in there)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from node.association.crew import Crew
from node.association.negotiation import Negotiator
from node.association.places import OwnPlaces, Places
from node.association.receiver import Observer, Receiver, Timeouts
from node.association.transport import Deadline, PlainTransport, TlsTransport, Transport
from node.errors import DeadlineExceeded, NodeError
from node.peers import Peer
from node.services.base import Service

BACKLOG: Final = 128
# What is read at once is written at once. Half of it costs a CT image a twentieth more; twice of it saves nothing, and
# has the page cache look for memory in pieces so large that a machine may have to make room for each.
BUFFER_BYTES: Final = 262_144 + 16_384
# Connections that have not negotiated yet, beside the associations: a flood of them evicts its own oldest.
MAX_PENDING: Final = 256
# Studies that an open association is remembered to have brought some of.
_REMEMBERED_STUDIES: Final = 256
_KEPT_BUFFERS: Final = 8
# How long a connection is left to a process that has fewer: four scanners that connect at once must not meet in one.
# On busy processors that process may have to wait for its time slice, which takes some milliseconds.
_TURN_SECONDS: Final = 0.001
_TURNS: Final = 5
# accept() fails like this only when the listening socket itself is gone; all else is one peer's bad luck,
# or a lack that passes.
_SOCKET_LOST: Final = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
_SCARCE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """[dicom] as values; ``host``/``port`` to bind, port 0 takes a free one."""

    host: str
    port: int
    max_associations: int
    max_pdu: int
    timeouts: Timeouts
    tls: ssl.SSLContext | None = None


def bind(host: str, port: int) -> socket.socket:
    """The listening socket of the DICOM port; port 0 takes a free one. Raises ``OSError``."""
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        backlog=BACKLOG,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )


class BufferPool:
    """Receive buffers, used again: an association's memory is bounded, whatever it sends.

    They are mapped: a bytearray is filled with zeros, and a hundred associations that send nothing would have 50 MB.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[mmap.mmap] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[memoryview]:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        buffer = self._free.pop() if self._free else mmap.mmap(-1, self._size, flags=flags)
        try:
            yield memoryview(buffer)
        finally:
            if len(self._free) < _KEPT_BUFFERS:  # a flood of connections leaves no memory behind
                self._free.append(buffer)


class _Connection:
    """One connection while it lives: its socket's transport, its receiver, and what it brought."""

    def __init__(self, number: int, sock: socket.socket, address: str) -> None:
        self.number = number
        self.address = address
        self.accepted_at = time.monotonic()
        self.peer: Peer | None = None  # whose association it is, once it is one
        self.receiver: Receiver | None = None
        self.studies: dict[str, None] = {}
        self._socket = sock

    def interrupt(self) -> None:
        """Wake the thread that waits on the socket; it ends with ``PeerGone``."""
        with contextlib.suppress(OSError):  # closed by itself meanwhile
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Listener:
    """The DICOM port. ``start`` binds and accepts; ``stop`` drains."""

    def __init__(
        self,
        options: ListenerOptions,
        negotiator: Negotiator,
        services: Mapping[int, Service],
        observer: Observer,
        congested: Callable[[], str | None],
        places: Places | None = None,
    ) -> None:
        self._options = options
        self._tls = options.tls
        self._places = places or OwnPlaces(options.max_associations)
        self._negotiator = negotiator
        self._services = services
        self._observer = observer
        self._congested = congested
        self._numbers = itertools.count(1)
        self._pool = BufferPool(BUFFER_BYTES)
        self._crew = Crew()
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._connections: dict[int, _Connection] = {}
        self._associations = 0
        self._stopping = False
        self._shared = False  # others accept on the socket too: whoever owns it may shut it down
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self, bound: socket.socket | None = None) -> tuple[str, int]:
        """Bind and listen, or accept on ``bound``, which other processes may share; returns the address.

        Raises ``OSError`` when the port is taken.
        """
        self._shared = bound is not None
        self._socket = bound or bind(self._options.host, self._options.port)
        self._socket.setblocking(False)
        self._places.connected(0)
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)
        self._thread.start()
        host, port = self._socket.getsockname()[:2]
        return host, port

    def use_tls(self, context: ssl.SSLContext | None) -> None:
        """New certificates, for connections that are accepted from now on."""
        self._tls = context

    @property
    def listening(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._stopping

    @property
    def associations(self) -> int:
        """Negotiated associations open now."""
        return self._associations

    def brought(self, association: int, study: str) -> None:
        """An association stored an instance of ``study``."""
        connection = self._connections.get(association)
        if connection is not None:
            studies = connection.studies
            studies.pop(study, None)
            studies[study] = None
            if len(studies) > _REMEMBERED_STUDIES:
                del studies[next(iter(studies))]

    def last_movement(self, study: str) -> float | None:
        """Monotonic time of the newest bytes from an open association that brought some of ``study``."""
        with self._lock:
            connections = list(self._connections.values())
        return max(
            (c.receiver.last_activity for c in connections if c.receiver and study in list(c.studies)),
            default=None,
        )

    def callers(self) -> dict[str, int]:
        """How many associations each calling AE title has open now."""
        with self._lock:
            open_now = [c.receiver for c in self._connections.values() if c.peer and c.receiver]
        return dict(Counter(receiver.calling_ae for receiver in open_now if receiver.calling_ae))

    def stop(self, seconds: float) -> int:
        """Accept no more, let open associations end for ``seconds``, then cut; returns how many were cut."""
        self._stopping = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # wakes accept(); not every system allows it on a listener
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        deadline = time.monotonic() + seconds
        with self._ended:
            for connection in self._connections.values():
                if connection.peer is None:
                    connection.interrupt()
            self._ended.wait_for(lambda: not self._connections, max(deadline - time.monotonic(), 0))
            left = list(self._connections.values())
        for connection in left:
            connection.interrupt()
        with self._ended:
            self._ended.wait_for(lambda: not self._connections, 5)
        self._crew.dismiss()
        return len(left)

    def _accept(self) -> None:
        assert self._socket is not None
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        while not self._stopping:
            waiting.poll()
            self._give_way(waiting)
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                continue  # another process took it, or whoever connected has gone
            except OSError as error:
                if self._stopping or (self._shared and error.errno == errno.EINVAL):
                    return
                self._observer.failed("listener", error)
                if error.errno in _SOCKET_LOST:
                    return  # told by readyz: ``listening`` is false now
                if error.errno in _SCARCE:
                    self._make_room()
                continue
            try:
                self._admit_connection(self._wrapped(sock), str(address[0]))
            except OSError as error:  # gone already
                sock.close()
                self._observer.association_ended("", str(address[0]), "lost", str(error), 0)

    def _give_way(self, waiting: select.poll) -> None:
        """Until a connection is here that is not better taken by another process, or that nobody else takes."""
        for _ in range(_TURNS):
            if not self._places.others_have_fewer():
                return
            time.sleep(_TURN_SECONDS)
            if not waiting.poll(0):
                return

    def _wrapped(self, sock: socket.socket) -> socket.socket:
        """The socket that the connection keeps; a TLS handshake waits until its own thread has it."""
        if self._tls is None:
            return sock
        return self._tls.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )

    def _admit_connection(self, sock: socket.socket, address: str) -> None:
        connection = _Connection(next(self._numbers), sock, address)
        with self._lock:
            self._connections[connection.number] = connection
            self._places.connected(len(self._connections))
            crowded = len(self._connections) - self._associations > MAX_PENDING
        if crowded:
            self._evict_oldest()
        try:
            self._crew.run(partial(self._serve, connection, sock))
        except RuntimeError as error:  # the system gives no more threads
            self._observer.failed(address, error)
            sock.close()
            self._forget(connection)

    def _evict_oldest(self) -> bool:
        """End the connection that has waited longest to negotiate; False when there is none."""
        with self._ended:
            oldest = next((c for c in self._connections.values() if c.peer is None), None)
            if oldest is None:
                return False
            oldest.interrupt()
            self._ended.wait_for(lambda: oldest.number not in self._connections, 1)
            return True

    def _make_room(self) -> None:
        """Out of descriptors or memory: wait for a connection to end instead of spinning on accept()."""
        if not self._evict_oldest():
            with self._ended:
                self._ended.wait(1)

    def _serve(self, connection: _Connection, sock: socket.socket) -> None:
        options = self._options
        try:
            transport = self._transport(connection, sock)
            connection.receiver = Receiver(
                transport=transport,
                address=connection.address,
                number=connection.number,
                accepted_at=connection.accepted_at,
                negotiator=self._negotiator,
                services=self._services,
                timeouts=options.timeouts,
                max_pdu=options.max_pdu,
                observer=self._observer,
            )
            with self._pool.lend() as buffer:
                connection.receiver.run(buffer, _Admission(self, connection))
        except NodeError as error:
            sock.close()
            result = "timeout" if isinstance(error, DeadlineExceeded) else "lost"
            self._observer.association_ended("", connection.address, result, str(error), 0)
        except Exception as error:  # noqa: BLE001  reported; the thread ends here and nothing else may
            sock.close()
            self._observer.failed(connection.address, error)
        finally:
            self._forget(connection)

    def _transport(self, connection: _Connection, sock: socket.socket) -> Transport:
        timeouts = self._options.timeouts
        if isinstance(sock, ssl.SSLSocket):
            return TlsTransport(sock, Deadline("handshake", timeouts.handshake, connection.accepted_at))
        return PlainTransport(sock, min(timeouts.handshake, timeouts.idle, timeouts.transfer))

    def _forget(self, connection: _Connection) -> None:
        with self._ended:
            self._connections.pop(connection.number, None)
            self._places.connected(len(self._connections))
            if connection.peer is not None:
                self._associations -= 1
                self._places.give_back(connection.peer)
            self._ended.notify_all()

    def admit(self, connection: _Connection, peer: Peer) -> str | None:
        """Count a connection as an association, or say why there is no room (PS3.8 9.3.4: 2/3/2)."""
        try:
            congestion = self._congested()
        except NodeError as error:
            return str(error)
        if congestion:
            return congestion
        with self._lock:
            if self._stopping:
                return "shutting down"
            taken = self._places.take(peer)
            if taken is None:
                self._associations += 1
                connection.peer = peer
            return taken


class _Admission:
    """The receiver's view of the listener's limits."""

    def __init__(self, listener: Listener, connection: _Connection) -> None:
        self._listener = listener
        self._connection = connection

    def admit(self, peer: Peer) -> str | None:
        return self._listener.admit(self._connection, peer)
