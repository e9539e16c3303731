"""Sockets with deadlines: real socket pairs, short waits, nothing that sleeps."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from node.association.transport import Deadline, PlainTransport
from node.errors import DeadlineExceeded, PeerGone

TICK = 0.1


@pytest.fixture
def pair() -> Iterator[tuple[PlainTransport, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    transport = PlainTransport(accepted, TICK)
    yield transport, peer
    transport.close()
    peer.close()


def deadline(seconds: float) -> Deadline:
    return Deadline("transfer", seconds, time.monotonic())


def receive(transport: PlainTransport, seconds: float = 5) -> bytes:
    buffer = memoryview(bytearray(1000))
    return bytes(buffer[: transport.receive_into(buffer, deadline(seconds))])


def test_receives_what_was_sent(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(b"hello")
    assert receive(transport) == b"hello"


def test_waits_longer_than_a_tick(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    timer = threading.Timer(3 * TICK, peer.sendall, (b"late",))
    timer.start()
    assert receive(transport) == b"late"
    timer.join()


@pytest.mark.parametrize("seconds", [0.02, 0.5 * TICK, 2.5 * TICK])
def test_deadline_is_kept_whatever_the_tick(
    pair: tuple[PlainTransport, socket.socket], seconds: float
) -> None:
    transport, _ = pair
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="transfer timeout of"):
        receive(transport, seconds)
    assert seconds <= time.monotonic() - began < seconds + TICK + 0.2


def test_deadline_nearer_than_the_tick_is_not_waited_out() -> None:
    """A tick of 30 s must not hold a connection for 30 s when 0.05 s are left of its deadline."""
    ours, peer = _pair()
    transport = PlainTransport(ours, 30)
    peer.sendall(b"x")
    began = time.monotonic()
    assert receive(transport, 30) == b"x"
    with pytest.raises(DeadlineExceeded):
        receive(transport, 0.05)
    assert time.monotonic() - began < 2
    transport.close()
    peer.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        return server.accept()[0], peer


def test_passed_deadline_wins_over_waiting_bytes(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.sendall(b"too late")
    with pytest.raises(DeadlineExceeded):
        transport.receive_into(memoryview(bytearray(10)), Deadline("handshake", 1, time.monotonic() - 2))


def test_peer_closes(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.close()
    with pytest.raises(PeerGone, match="closed by the peer"):
        receive(transport)


def test_peer_resets(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(PeerGone, match="connection lost"):
        receive(transport)


def test_sends_all(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    data = bytes(range(256)) * 40_000
    got = bytearray()

    def read() -> None:
        while len(got) < len(data):
            got.extend(peer.recv(1_000_000))

    reader = threading.Thread(target=read)
    reader.start()
    transport.send(data, deadline(20))
    reader.join(20)
    assert bytes(got) == data


def test_send_to_a_peer_that_does_not_read(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, _ = pair
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        transport.send(bytes(50_000_000), deadline(2 * TICK))
    assert time.monotonic() - began < 1


def test_send_to_a_peer_that_reads_a_little_at_a_time(pair: tuple[PlainTransport, socket.socket]) -> None:
    """Progress does not move the deadline."""
    transport, peer = pair
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.01):
            peer.recv(1000)

    reader = threading.Thread(target=read)
    reader.start()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        transport.send(bytes(50_000_000), deadline(3 * TICK))
    assert time.monotonic() - began < 2
    stop.set()
    reader.join()


def test_send_to_a_peer_that_is_gone(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(PeerGone):
        transport.send(bytes(1_000_000), deadline(5))


def test_has_input(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    assert not transport.has_input()
    peer.sendall(b"x")
    peer.shutdown(socket.SHUT_WR)
    assert receive(transport) == b"x"
    with pytest.raises(PeerGone):
        receive(transport)
    assert transport.has_input()  # the end of the stream is to be read, too


def test_end_of_output(pair: tuple[PlainTransport, socket.socket]) -> None:
    transport, peer = pair
    transport.end_of_output()
    assert peer.recv(10) == b""
    peer.sendall(b"still heard")
    assert receive(transport) == b"still heard"
