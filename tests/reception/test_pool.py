"""The owner's side: receivers that die, hang, lie or do not start, and an index that can't take what they left."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from node import logs
from node.errors import IndexUnavailable
from node.model import Received, Rejection
from node.reception import pool, worker
from node.reception.board import Room
from node.reception.channel import Channel
from node.reception.nursery import Nursery
from node.reception.pool import Pool
from node.reception.worker import Start
from tests.harness import eventually, settings
from tests.reception.alone import Alone, background, nothing
from tests.scenarios.wire import EXPLICIT, STORE, Wire, associate, message, store_rq
from tests.studies import ct, encoded


class Owner:
    """Stands for index and metrics, and fails when it is told to."""

    def __init__(self) -> None:
        self.items: list[Received | Rejection] = []
        self.space = Room.THERE
        self.failures = 0  # how often catch_up fails from now on
        self.buried: list[str] = []
        self.counted: list[tuple[object, ...]] = []

    def put_all(self, items: Sequence[Received | Rejection]) -> None:
        self.items += items

    def room(self) -> Room:
        return self.space

    def catch_up(self) -> None:
        if self.failures:
            self.failures -= 1
            raise IndexUnavailable("index is behind: disk full")

    def left_behind(self, label: str) -> int:
        self.buried.append(label)
        return 0

    def stored(self, *values: object) -> None:
        self.counted.append(("stored", *values))

    def stored_together(self, *values: object) -> None:
        self.counted.append(("together", *values))

    def association_ended(self, *values: object) -> None:
        self.counted.append(("ended", *values))
        if values[2] == "rejected":
            raise ZeroDivisionError("a fault of the node in what counts")

    def failed(self, *values: object) -> None:
        self.counted.append(("failed", *values))

    def found(self, *values: object) -> None:
        self.counted.append(("found", *values))


class Running:
    """A pool that has been started. ``main`` takes the place of the receivers' own."""

    def __init__(
        self, count: int = 2, main: Callable[[Sequence[int], Any], None] | None = None, **given: str
    ) -> None:
        named = {f"NODE_{name.upper()}": value for name, value in given.items()}
        named["NODE_OBJECTS__DURABILITY"] = "none"
        self.data_dir = Path(tempfile.mkdtemp(dir=os.environ["TMPDIR"]))
        config = settings(self.data_dir, named)
        logs.configure("info", "json", sys.stderr)
        self.nursery = Nursery.start(main or partial(worker.main, config), nothing)
        self.owner = Owner()
        lock = os.open(self.data_dir / "lock", os.O_CREAT | os.O_RDWR)
        self.pool = Pool(self.nursery, count, config, self.owner, self.owner, 0.0, lock, None)
        _, self.port = self.pool.start()

    def pids(self) -> list[int]:
        return [one.process.pid for one in self.pool._receivers.values() if one.ready]

    def store(self, uid: str) -> str:
        with Wire.established(self.port) as wire:
            data = encoded(ct(SOPInstanceUID=uid), EXPLICIT)
            return wire.send(message(STORE, store_rq(uid), data)).status()

    def close(self) -> None:
        self.pool.stop(0.5)
        self.pool.close()
        self.nursery.close()


def quickly() -> None:
    """No scenario waits for what is only meant to spare a machine in trouble."""
    pool._RESTART_SECONDS = (0.01, 0.02)  # type: ignore[misc]
    pool._BURY_SECONDS = 0.01  # type: ignore[misc]
    pool._END_SECONDS = 0.2  # type: ignore[misc]
    pool._ASK_SECONDS = 0.5  # type: ignore[misc]


def one_that_dies_is_replaced_and_buried() -> None:
    quickly()
    with closing(Running()) as running:
        pids, labels = running.pids(), [one.label for one in running.pool._receivers.values()]
        assert running.pool.lacking is None
        with Wire.established(running.port), Wire.established(running.port):
            assert running.pool.associations == 2
            running.owner.failures = 3  # the index can't take what was left, for a while
            os.kill(pids[0], signal.SIGKILL)
            eventually(lambda: running.owner.buried)
        assert running.owner.failures == 0
        assert running.owner.buried == labels[:1]
        eventually(lambda: len(running.pids()) == 2 and pids[0] not in running.pids())
        eventually(lambda: running.pool.associations == 0)
        assert len({one.label for one in running.pool._receivers.values()} | set(labels)) == 3
        assert running.store("1.2.3") == "0x0000"
        eventually(lambda: len(running.owner.items) == 1)


def a_report_that_trips_the_owner_costs_nobody_anything() -> None:
    with closing(Running(1)) as running:
        pids = running.pids()
        with Wire(running.port) as wire:
            wire.send(associate(called="ELSEWHERE")).answer()
        assert running.store("1.2.3") == "0x0000"
        eventually(lambda: any(counted[0] == "together" for counted in running.owner.counted))
        assert running.pids() == pids


def index_that_is_behind() -> None:
    with closing(Running()) as running:
        running.owner.space = Room.LATER
        assert running.store("1.2.3") == "0x0000"  # the one that fills it
        eventually(lambda: running.pool._board.room is Room.LATER)
        answers: list[str] = []
        senders = [
            background(partial(lambda uid: answers.append(running.store(uid)), f"1.2.{number}"))
            for number in range(4)
        ]
        senders[0].join(0.3)
        assert not answers, "all receivers wait"
        running.owner.space = Room.THERE
        running.pool.room_changed()
        for sender in senders:
            sender.join(20)
        assert answers == ["0x0000"] * 4
        running.owner.space = Room.FAILING
        running.pool.room_changed()
        assert running.store("1.2.5") == "0xA700"


def old_news_of_the_index() -> None:
    """A thread that found the index full, and is slow to say so, must not say it when it is not any more."""
    with closing(Running(1)) as running:
        asked, release = threading.Event(), threading.Event()

        def slow() -> Room:
            asked.set()
            release.wait(10)
            return Room.LATER

        running.owner.room = slow  # type: ignore[method-assign]
        first = background(running.pool.room_changed)
        assert asked.wait(10)
        running.owner.room = lambda: Room.THERE  # type: ignore[method-assign]
        second = background(running.pool.room_changed)
        second.join(0.2)
        release.set()
        first.join(10)
        second.join(10)
        assert running.pool._board.room is Room.THERE


def _garbled(descriptors: Sequence[int], start: Start) -> None:
    """Says that it is ready, then sends nonsense and never ends by itself."""
    channel = Channel(socket.socket(fileno=descriptors[0]), {})
    channel.tell("ready")
    channel._socket.sendall(b"\xff" * 100)
    while True:
        signal.pause()


def one_that_sends_nonsense_is_ended() -> None:
    quickly()
    with closing(Running(1, _garbled)) as running:
        eventually(lambda: len(running.owner.buried) > 2)


def one_that_hangs_holds_up_nobody() -> None:
    """It costs a question one deadline, however many hang; the next ones nothing; then it is ended."""
    quickly()
    with closing(Running(3)) as running:
        stopped = running.pids()[:2]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        running.pool.flush()
        assert 0.4 < time.monotonic() - begun < 0.9
        begun = time.monotonic()
        for _ in range(400):  # more than a socket's buffer takes
            running.pool.flush()
            assert running.pool.last_movement("1.2.3") is None
        assert time.monotonic() - begun < 50, "a deadline each would be 500 seconds"
        with pytest.raises(IndexUnavailable, match="does not answer"):
            running.pool._catch_up()
        os.kill(stopped[0], signal.SIGCONT)  # one comes back: it is asked again
        eventually(lambda: stopped[0] not in running.pool._ask("flush")[1])
        pool._SILENT_SECONDS = 0.0  # type: ignore[misc]
        running.pool.flush()
        eventually(lambda: len(running.pids()) == 3 and stopped[1] not in running.pids())
        assert stopped[0] in running.pids()


def one_that_hangs_does_not_hold_up_the_end() -> None:
    quickly()
    running = Running(2)
    wires = [Wire.established(running.port) for _ in range(4)]
    eventually(lambda: running.pool.associations == 4)
    for pid in running.pids():
        os.kill(pid, signal.SIGSTOP)
    running.pool.flush()
    begun = time.monotonic()
    assert running.pool.stop(0.3) == 4
    assert time.monotonic() - begun < 5
    running.pool.close()
    running.nursery.close()
    for wire in wires:
        wire.socket.close()


def nothing_can_be_started() -> None:
    quickly()
    with closing(Running(2)) as running:
        interpreter, sys.executable = sys.executable, "/nowhere/python"
        os.kill(running.nursery.pid, signal.SIGKILL)
        os.kill(running.pids()[0], signal.SIGKILL)
        eventually(lambda: running.pool.lacking == "1 of 2 receiver processes run: see the log")
        assert running.pool.listening
        assert running.store("1.2.3") == "0x0000"
        os.kill(running.pids()[0], signal.SIGKILL)
        eventually(lambda: not running.pool.listening)
        sys.executable = interpreter
        eventually(lambda: running.pool.lacking is None)
        assert running.store("1.2.4") == "0x0000"


@pytest.mark.parametrize(
    ("scenario", "told"),
    [
        (one_that_dies_is_replaced_and_buried, ["receiver_died", "receiver_left_objects", "recovered"]),
        (a_report_that_trips_the_owner_costs_nobody_anything, ["report_failed"]),
        (index_that_is_behind, []),
        (old_news_of_the_index, []),
        (one_that_sends_nonsense_is_ended, ["receiver_garbled", "receiver_died"]),
        (one_that_hangs_holds_up_nobody, ["receiver_silent", "receiver_killed", "receiver_died"]),
        (one_that_hangs_does_not_hold_up_the_end, ["receiver_silent", "receiver_killed"]),
        (nothing_can_be_started, ["receiver_died", "receiver_not_started", "nursery_replaced"]),
    ],
)
def test_pool(alone: Alone, scenario: Callable[[], None], told: list[str]) -> None:
    log = alone.run(scenario)
    assert [event for event in told if f'"event":"{event}"' not in log] == []
    for trouble in ("Traceback", "process_failed", "thread_failed"):
        assert trouble not in log
