"""A receiver process against its owner: what was answered is told, and nothing outlives the owner."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from node.association.listener import bind
from node.model import ObjectKey, RawHeader, Received, Rejection
from node.objects import filemeta
from node.reception import worker
from node.reception.board import Board, Room
from node.reception.channel import MAX_MESSAGE, Channel, ChannelClosed
from node.reception.nursery import Nursery
from node.reception.worker import Start
from tests.harness import eventually, settings
from tests.reception.alone import Alone, background, nothing
from tests.scenarios.wire import EXPLICIT, RELEASE, STORE, Wire, associate, message, store_rq
from tests.studies import ct, encoded

STUDY = "1.2.826.0.1.3680043.8.498.77"


class House:
    """One receiver, and the owner's ends of all that it was given."""

    def __init__(self, **given: str) -> None:
        self.data_dir = Path(tempfile.mkdtemp(dir=os.environ["TMPDIR"]))
        named = {f"NODE_{name.upper()}": value for name, value in given.items()}
        config = settings(self.data_dir, {"NODE_OBJECTS__DURABILITY": "none", **named})
        self.nursery = Nursery.start(partial(worker.main, config), nothing)
        self.board = Board()
        listening = bind("127.0.0.1", 0)
        self.port: int = listening.getsockname()[1]
        self.sock, theirs = socket.socketpair()
        tls = worker.write_tls(None)
        lock = os.open(self.data_dir / "lock", os.O_CREAT | os.O_RDWR)
        with theirs, listening:
            given_over = [theirs.fileno(), listening.fileno(), self.board.fd, lock, tls]
            self.process = self.nursery.spawn(given_over, Start(2, "a1b2", 0.0))
        self.items: list[Received | Rejection] = []
        self.reports: list[tuple[str, tuple[Any, ...]]] = []
        self.ready = threading.Event()
        handlers: dict[str, Callable[..., Any]] = {
            "ready": self.ready.set,
            "put": self.items.extend,
            "reports": self.reports.extend,
            "catch_up": lambda: None,
        }
        self.channel = Channel(self.sock, handlers)

    def read(self) -> threading.Thread:
        """Take what the receiver tells, from now on."""
        thread = background(self.channel.run)
        assert self.ready.wait(20)
        return thread

    def incoming(self) -> list[str]:
        """Objects, whole or not; not the empty files of those that are expected."""
        return sorted(path.name for path in (self.data_dir / "incoming").iterdir() if path.stat().st_size)

    def close(self) -> None:
        self.channel.close()
        assert self.process.ended(20)
        self.nursery.close()


def request(number: int) -> bytes:
    uid = f"{STUDY}.1.{number}"
    return message(STORE, store_rq(uid), encoded(ct(SOPInstanceUID=uid), EXPLICIT))


def store(wire: Wire, number: int) -> str:
    return wire.send(request(number)).status()


def what_was_answered_is_told_soon() -> None:
    with closing(House()) as house:
        house.read()
        with Wire.established(house.port) as wire:
            assert store(wire, 1) == "0x0000"
        eventually(lambda: len(house.items) == 1)
        (name,) = house.incoming()
        assert "-a1b2-" in name
        assert name.endswith(".dcm")


def what_was_answered_is_told_before_a_question_is_answered() -> None:
    worker._RECORD_SECONDS = 600.0  # type: ignore[misc]
    with closing(House()) as house:
        house.read()
        with Wire.established(house.port) as wire:
            for number in range(3):
                assert store(wire, number) == "0x0000"
            assert not house.items
            house.channel.call("flush", seconds=20)
            assert {item.name + ".dcm" for item in house.items} == set(house.incoming())


def many_are_told_without_a_question() -> None:
    worker._RECORD_SECONDS = 600.0  # type: ignore[misc]
    with closing(House()) as house:
        house.read()
        with Wire.established(house.port) as wire:
            for number in range(worker._MOST_RECORDS + 1):
                assert store(wire, number) == "0x0000"
        eventually(lambda: len(house.items) == worker._MOST_RECORDS)


def an_owner_that_does_not_read_slows_it_down() -> None:
    """Nothing piles up in the receiver: it waits with the answer. Nothing is lost when the owner reads again."""
    count = 1200
    answered = 0
    with closing(House()) as house:
        done = threading.Event()

        def send() -> None:
            nonlocal answered
            with Wire.established(house.port) as wire:
                for number in range(count):
                    assert store(wire, number) == "0x0000"
                    answered += 1
            done.set()

        background(send)
        previous = -1
        while previous != answered:  # until it stands still
            previous = answered
            done.wait(0.3)
        assert 10 < answered < count
        house.read()
        assert done.wait(20)
        eventually(lambda: len(house.items) == count)
        assert {item.name + ".dcm" for item in house.items} == set(house.incoming())


def it_waits_for_an_index_that_is_behind() -> None:
    with closing(House()) as house:
        house.read()
        answers: list[str] = []
        with Wire.established(house.port) as wire:
            assert store(wire, 1) == "0x0000"
            house.board.room = Room.LATER
            sender = background(lambda: answers.append(store(wire, 2)))
            sender.join(0.3)
            assert not answers
            house.board.room = Room.THERE
            sender.join(20)
            assert answers == ["0x0000"]
        eventually(lambda: len(house.items) == 2)


def it_refuses_while_the_index_stays_behind() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "PATIENCE_SECONDS", 0.05)  # for the receiver, which is forked from this process
        with closing(House()) as house:
            house.read()
            with Wire.established(house.port) as wire:
                assert store(wire, 1) == "0x0000"
                house.board.room = Room.LATER
                assert store(wire, 2) == "0xA700"
                house.board.room = Room.THERE
                assert store(wire, 3) == "0x0000"
            eventually(lambda: len(house.items) == 2)


def it_refuses_at_once_while_the_index_fails() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "PATIENCE_SECONDS", 3600.0)
        with closing(House()) as house:
            house.read()
            with Wire.established(house.port) as wire:
                assert store(wire, 1) == "0x0000"
                house.board.room = Room.LATER
                answers: list[str] = []
                sender = background(lambda: answers.append(store(wire, 2)))
                sender.join(0.2)
                assert not answers
                house.board.room = Room.FAILING
                sender.join(20)
                assert answers == ["0xA700"]
                assert store(wire, 2) == "0xA700"
                house.board.room = Room.THERE
                assert store(wire, 2) == "0x0000"
            eventually(lambda: len(house.items) == 2)


def associations_stand_on_the_board() -> None:
    with closing(House(dicom__max_associations="2")) as house:
        house.read()
        assert house.board.take(0, {0: 2}) is None  # another receiver has one
        with Wire.established(house.port):
            assert (house.board.associations, house.board.associations_of(2)) == (2, 1)
            with Wire(house.port) as wire:
                assert wire.send(associate()).read_pdu() == (3, bytes((0, 2, 3, 2)))
        eventually(lambda: house.board.associations == 1)


def it_stops_when_told() -> None:
    """Associations get their time, then are cut; everything about them is told before the answer."""
    with closing(House()) as house:
        reading = house.read()
        with Wire.established(house.port) as first, Wire.established(house.port) as second:
            assert store(first, 1) == "0x0000"
            assert store(second, 2) == "0x0000"
            stopped = house.channel.ask("stop", 1.0)
            first.send(RELEASE).answer()
            assert stopped.result(20) == 1
        ended = [arguments[2] for name, arguments in house.reports if name == "association_ended"]
        assert sorted(ended) == ["lost", "released"]
        assert (
            sum(arguments[0].objects for name, arguments in house.reports if name == "stored_together") == 2
        )
        assert len(house.items) == 2
        house.channel.close()
        assert house.process.ended(20)
        reading.join(10)


def it_ends_with_its_owner() -> None:
    """Whatever it is doing: an open object is never answered by somebody who can't hand it on."""
    with closing(House()) as house:
        house.read()
        with Wire.established(house.port) as wire, Wire.established(house.port) as inside:
            assert store(wire, 1) == "0x0000"
            inside.send(request(2)[:-20])
            eventually(lambda: len(house.incoming()) == 2)
            house.channel.close()
            assert house.process.ended(20)
            assert inside.answer() in ("closed", "reset")
        told = []
        for name in house.incoming():
            with (house.data_dir / "incoming" / name).open("rb") as file:
                told.append(filemeta.told_size(file))
        assert sorted(map(bool, told)) == [False, True], "one never was whole"


def a_stop_signal_is_the_owners_to_decide_on() -> None:
    with closing(House()) as house:
        house.read()
        os.kill(house.process.pid, 15)
        with Wire.established(house.port) as wire:
            assert store(wire, 1) == "0x0000"


class Stuck:
    """A channel that takes one message at a time, when ``go`` is set; one that is too long it refuses."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.told: list[Received | Rejection] = []
        self.most = 0

    def tell(self, _name: str, batch: list[Received | Rejection]) -> None:
        assert self.go.wait(20)
        size = len(pickle.dumps(batch))
        if size > MAX_MESSAGE:
            raise ValueError(size)
        self.most = max(self.most, size)
        self.told += batch


def record(number: int, size: int) -> Received:
    header = RawHeader({0x00081030: bytes(size)}, {}, False, True, size)
    key = ObjectKey("1.2", "1.2.3", f"1.2.3.{number}")
    return Received(str(number), key, "1.2.840", EXPLICIT, size, header, "CT1", "NODE", 0.0, 1)


def test_long_headers_that_wait_together_go_in_several_messages() -> None:
    """Each association that waits for the owner adds one of up to 4 MB; all are told, and none is refused."""
    channel = Stuck()
    records = worker._Records(channel)  # type: ignore[arg-type]
    threads = [background(partial(records.put, record(number, 4_000_000))) for number in range(8)]
    eventually(lambda: len(records._waiting) == 7)
    channel.go.set()
    for thread in threads:
        thread.join(20)
    assert sorted(item.name for item in channel.told) == [str(number) for number in range(8)]
    assert channel.most < 5_000_000


def test_an_owner_that_is_gone_makes_no_failure_of_what_is_stored() -> None:
    """The file stays for whoever comes next; to answer with a failure would be to take back what may be indexed."""

    class Gone:
        def tell(self, *_: object) -> None:
            raise ChannelClosed("the other process has gone")

    records = worker._Records(Gone())  # type: ignore[arg-type]
    for number in range(worker._MOST_RECORDS + 1):
        records.put(record(number, 10))


class Told:
    """A channel that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def tell(self, _name: str, batch: list[Any]) -> None:
        self.messages.append(pickle.loads(pickle.dumps(batch)))


def test_objects_that_are_stored_are_told_of_as_sums() -> None:
    channel = Told()
    reports = worker._Reports(channel)  # type: ignore[arg-type]
    for number in range(1000):
        reports.stored(f"CT{number % 2}", 0x0000, 10, 0.001 * (number % 2), "")
    reports.stored("CT1", 0xA700, 10, 0.1, "disk full")
    reports.flush()
    reports.flush()
    ((first, second, failed),) = channel.messages
    assert [name for name, _ in (first, second)] == ["stored_together"] * 2
    slow = (0, 500, *(0,) * 14)  # in the bucket that ends at 1 ms
    assert second[1][0] == ("CT1", 500, 5000, pytest.approx(0.5), slow)
    assert first[1][0][:4] == ("CT0", 500, 5000, 0.0)
    assert failed == ("stored", ("CT1", 0xA700, 10, 0.1, "disk full"))


def test_reports_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that does not read slows its receivers down."""
    monkeypatch.setattr(worker, "_MOST_REPORTS", 10)
    channel = Told()
    reports = worker._Reports(channel)  # type: ignore[arg-type]
    for _ in range(6):
        reports.stored("CT1", 0x0000, 10, 0.1, "")
        reports.stored("CT1", 0xA700, 10, 0.1, "disk full")
    ((sums, *failures),) = channel.messages
    assert (sums[1][0].objects, len(failures)) == (6, 5)


@pytest.mark.parametrize(("told_ago", "pause"), [(-3600.0, "busy"), (3600.0, "quiet")])
def test_records_gather_longer_when_they_come_without_a_pause(
    monkeypatch: pytest.MonkeyPatch, told_ago: float, pause: str
) -> None:
    """The other of the two waits would not end."""
    waits = {"busy": "_BUSY_RECORD_SECONDS", "quiet": "_RECORD_SECONDS"}
    monkeypatch.setattr(worker, waits.pop(pause), 0.01)
    channel = Told()
    records = worker._Records(channel)  # type: ignore[arg-type]
    records._told_at = time.monotonic() - told_ago
    for name in waits.values():
        monkeypatch.setattr(worker, name, 600.0)
    records.start()
    records.put(record(1, 10))
    eventually(lambda: channel.messages)


@pytest.mark.parametrize(
    "scenario",
    [
        what_was_answered_is_told_soon,
        what_was_answered_is_told_before_a_question_is_answered,
        many_are_told_without_a_question,
        an_owner_that_does_not_read_slows_it_down,
        it_waits_for_an_index_that_is_behind,
        it_refuses_while_the_index_stays_behind,
        it_refuses_at_once_while_the_index_fails,
        associations_stand_on_the_board,
        it_stops_when_told,
        it_ends_with_its_owner,
        a_stop_signal_is_the_owners_to_decide_on,
    ],
)
def test_worker(alone: Alone, scenario: Any) -> None:
    assert alone.run(scenario) == ""
