"""The DICOM port with services put in by the test: limits, faults, drain, TLS; real sockets throughout."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest

from node.association.listener import BufferPool
from node.association.places import OwnPlaces
from node.association.receiver import Timeouts
from node.errors import StorageError
from node.services import dimse
from node.services.base import Answer
from tests.association.port import STORED, Port, Sink, Start
from tests.harness import eventually
from tests.scenarios.wire import (
    ABORT,
    ECHO,
    RELEASE,
    STORE,
    Wire,
    associate,
    cancel_rq,
    echo_rq,
    message,
    pdu,
    store_rq,
)


def test_serves_and_reports(start: Start) -> None:
    port = start()
    with Wire.established(port.number) as peer:
        assert peer.send(STORED).status() == "0x0000"
        assert peer.send(message(ECHO, echo_rq())).status() == "0x0000"
        assert port.listener.associations == 1
        assert peer.send(RELEASE).answer() == "released"
    eventually(lambda: port.seen.ended == [("TESTER", "released")])
    assert port.seen.stores == [(0, 100, "")]
    assert port.seen.callers == ["TESTER"], "who it was; what metrics call it is theirs to find"
    eventually(lambda: port.listener.associations == 0)


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (ABORT, "aborted"),
        (pdu(0x42, b""), "protocol-error"),
        (b"", "lost"),
    ],
)
def test_every_ending_has_its_name(start: Start, sent: bytes, result: str) -> None:
    port = start()
    with Wire.established(port.number) as peer:
        peer.send(sent)
    eventually(lambda: port.seen.ended == [("TESTER", result)])


def test_too_many_associations(start: Start) -> None:
    port = start(max_associations=1)
    with Wire.established(port.number), Wire(port.number) as second:
        assert second.send(associate()).answer() == "rejected 2/3/2"
    eventually(lambda: port.listener.associations == 0)
    with Wire(port.number) as third:
        assert third.send(associate()).answer() == "accepted 1:0 3:0"


def _ended_as(port: Port, result: str) -> bool:
    return port.seen.ended == [("TESTER", result)]


def test_congestion_is_a_transient_reject(start: Start) -> None:
    def unknown_space() -> str | None:
        raise StorageError("free space of /x: Input/output error")

    for congested in (lambda: "disk low", unknown_space):
        port = start(congested=congested)
        with Wire(port.number) as peer:
            assert peer.send(associate()).answer() == "rejected 2/3/2"
        eventually(partial(_ended_as, port, "rejected"))
        assert not port.seen.faults


def test_a_fault_ends_one_association_and_is_reported(start: Start) -> None:
    def broken() -> Iterable[Answer]:
        raise KeyError("a fault of ours")

    port = start(Sink(at_end=broken))
    with Wire.established(port.number) as other, Wire.established(port.number) as peer:
        assert peer.send(STORED).answer() == "aborted 2/0"
        assert other.send(message(ECHO, echo_rq())).status() == "0x0000"
    assert isinstance(port.seen.faults[0], KeyError)
    eventually(lambda: port.sink.abandoned == 1)
    eventually(lambda: ("TESTER", "failed") in port.seen.ended)


def test_a_service_hears_of_the_pauses(start: Start) -> None:
    """When an answer is out, when the association is over; but not that something else than the service refused."""
    port = start()
    with Wire.established(port.number) as peer:
        for _ in range(2):
            assert peer.send(STORED).status() == "0x0000"
        assert peer.send(message(ECHO, store_rq("1.2.3"), bytes(100))).status() == "0x0122"
        assert peer.send(STORED).status() == "0x0000"
        assert peer.send(STORED[:-10])
    eventually(lambda: port.sink.told == ["answered 1"] * 3 + ["ended 1"])


def test_object_is_abandoned_when_its_peer_is_lost(start: Start) -> None:
    port = start()
    with Wire.established(port.number) as peer:
        peer.send(STORED[:-10])
        eventually(lambda: port.sink.sizes)
        peer.reset()
    eventually(lambda: port.sink.abandoned == 1)


def test_the_nodes_own_time_is_not_held_against_the_peer(start: Start) -> None:
    """A disk that stalls for longer than idle and transfer ends no association."""
    stall, timeouts = threading.Event(), Timeouts(handshake=5, idle=0.3, transfer=0.3)

    def slow() -> Iterable[Answer]:
        stall.wait(0.5)
        return (Answer(dimse.SUCCESS),)

    port = start(Sink(at_end=slow, on_write=lambda: stall.wait(0.5)), timeouts)
    with Wire.established(port.number) as peer:
        for _ in range(2):
            assert peer.send(STORED).status() == "0x0000"
        assert peer.send(RELEASE).answer() == "released"


def test_an_object_counts_when_its_peer_did_not_wait(start: Start) -> None:
    reset = threading.Event()

    def late() -> Iterable[Answer]:
        reset.wait(10)
        return (Answer(dimse.SUCCESS),)

    port = start(Sink(at_end=late))
    with Wire.established(port.number) as peer:
        peer.send(STORED)
        eventually(lambda: port.sink.sizes)
        peer.reset()
    reset.set()
    eventually(lambda: port.seen.ended == [("TESTER", "lost")])
    assert port.seen.stores == [(0, 100, "")]


def test_data_sets_come_whole_whatever_their_size(start: Start) -> None:
    port = start()
    with Wire.established(port.number) as peer:
        assert peer.send(message(STORE, store_rq("1.2"), bytes(3_000_000), 100_000)).status() == "0x0000"
    assert sum(port.sink.sizes) == 3_000_000


def test_answers_are_lazy_and_cancelled(start: Start) -> None:
    """Answers with identifiers go out one by one; C-CANCEL ends them, and what came with it is served."""
    made = []

    def endless() -> Iterable[Answer]:
        while True:
            made.append(1)
            yield Answer(dimse.PENDING, identifier=b"\x08\0\x52\0\x06\0\0\0STUDY ")

    port = start(Sink(at_end=endless))
    with Wire.established(port.number) as peer:
        peer.send(STORED)
        assert peer.status() == "0xFF00"
        peer.send(message(STORE, cancel_rq(1)))
        statuses = {peer.status()}
        while "0xFE00" not in statuses:
            statuses.add(peer.status())
        assert statuses <= {"0xFF00", "0xFE00"}
        assert peer.send(message(ECHO, echo_rq())).status() == "0x0000"


def test_last_movement_of_a_study(start: Start) -> None:
    port = start()
    assert port.listener.last_movement("1.2") is None
    before = time.monotonic()
    with Wire.established(port.number) as peer:
        peer.send(message(ECHO, echo_rq())).status()
        port.listener.brought(1, "1.2")
        moved = port.listener.last_movement("1.2")
        assert moved is not None
        assert before <= moved <= time.monotonic()
        assert port.listener.last_movement("1.3") is None
        peer.send(message(ECHO, echo_rq())).status()
        assert port.listener.last_movement("1.2") > moved  # type: ignore[operator]
    eventually(lambda: port.listener.last_movement("1.2") is None)


def test_remembers_a_bounded_number_of_studies(start: Start) -> None:
    port = start()
    with Wire.established(port.number):
        for number in range(300):
            port.listener.brought(1, f"1.{number}")
        assert port.listener.last_movement("1.0") is None
        assert port.listener.last_movement("1.299") is not None


def test_stop_waits_for_open_associations(start: Start) -> None:
    port = start()
    with Wire.established(port.number) as peer:
        stopping = threading.Thread(target=lambda: cut.append(port.listener.stop(20)))
        cut: list[int] = []
        stopping.start()
        eventually(lambda: not port.listener.listening)
        assert peer.send(STORED).status() == "0x0000"
        assert peer.send(RELEASE).answer() == "released"
    stopping.join(20)
    assert cut == [0]
    with pytest.raises(ConnectionRefusedError):
        Wire(port.number)


def test_stop_cuts_what_does_not_end(start: Start) -> None:
    port = start()
    with Wire.established(port.number) as peer:
        assert port.listener.stop(0.05) == 1
        assert peer.answer() == "closed"
    assert port.seen.ended == [("TESTER", "lost")]


def test_stop_does_not_wait_for_strangers(start: Start) -> None:
    port = start()
    with Wire(port.number) as silent:
        eventually(lambda: port.listener._connections)
        began = time.monotonic()
        assert port.listener.stop(20) == 0
        assert time.monotonic() - began < 5
        assert silent.answer() == "closed"


class Crowded(OwnPlaces):
    """As if another process on the socket had fewer connections, the first ``times`` that it is asked; tells what the
    listener says it has."""

    def __init__(self, times: int) -> None:
        super().__init__(10)
        self.told: list[int] = []
        self.asked = 0
        self._times = times

    def connected(self, count: int) -> None:
        self.told.append(count)

    def others_have_fewer(self) -> bool:
        self.asked += 1
        return self.asked <= self._times


def test_a_connection_that_nobody_else_takes_is_taken(start: Start) -> None:
    places = Crowded(1000)
    port = start(places=places)
    for _ in range(2):
        with Wire.established(port.number):
            assert port.listener.associations == 1
        eventually(lambda: port.listener.associations == 0)
    eventually(lambda: places.told == [0, 1, 0, 1, 0])
    assert 2 < places.asked < 1000, "each time it gave way more than once, but not for ever"


def test_who_gives_way_takes_a_connection_once_the_others_have_as_many(start: Start) -> None:
    places = Crowded(2)
    with Wire.established(start(places=places).number):
        assert places.asked == 3


class FailingOnce:
    """A listening socket whose next accept() loses its connection to an error."""

    def __init__(self, real: socket.socket, error: int) -> None:
        self._real, self._errors = real, [error]

    def accept(self) -> Any:
        sock, address = self._real.accept()
        if self._errors:
            sock.close()
            raise OSError(self._errors.pop(), "injected")
        return sock, address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED, errno.ENETDOWN, errno.ENOMEM])
def test_a_failing_accept_does_not_end_the_listener(start: Start, number: int) -> None:
    port = start()
    assert port.listener._socket is not None
    with Wire.established(port.number):
        port.listener._socket = FailingOnce(port.listener._socket, number)  # type: ignore[assignment]
        with Wire(port.number) as unlucky, Wire(port.number) as next_one:
            assert unlucky.answer() in ("closed", "reset")
            assert next_one.send(associate()).answer() == "accepted 1:0 3:0"
    assert [error.errno for error in port.seen.faults if isinstance(error, OSError)] == [number]
    assert port.listener.listening


def test_out_of_descriptors_the_oldest_stranger_makes_room(start: Start) -> None:
    port = start()
    assert port.listener._socket is not None
    with Wire(port.number) as stranger:
        eventually(lambda: port.listener._connections)
        port.listener._socket = FailingOnce(port.listener._socket, errno.EMFILE)  # type: ignore[assignment]
        with Wire(port.number) as first, Wire(port.number) as second, Wire(port.number) as third:
            assert stranger.answer() == "closed"
            first.socket.close()
            second.send(associate())
            assert third.send(associate()).answer() == "accepted 1:0 3:0"


def test_buffers_are_used_again_and_not_hoarded() -> None:
    pool = BufferPool(16)
    with pool.lend() as first:
        first[0] = 7
    with pool.lend() as again:
        assert again[0] == 7
        with pool.lend() as other:
            assert other[0] == 0
    lent = [pool.lend() for _ in range(100)]
    for loan in lent:
        loan.__enter__()
    for loan in lent:
        loan.__exit__(None, None, None)
    assert len(pool._free) == 8


def test_ipv6_takes_ipv4_callers_too(start: Start) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this system has no dual-stack sockets")
    port = start(host="::")
    with Wire(port.number) as peer:
        assert peer.send(associate()).answer() == "accepted 1:0 3:0"
