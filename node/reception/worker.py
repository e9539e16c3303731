"""A receiver process: accepts on the shared socket, stores, and tells the owner."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from node import wiring
from node.association.places import full, full_of
from node.association.tls import TlsFiles
from node.config import Config
from node.errors import IndexUnavailable
from node.index.writer import weight
from node.metrics import summed
from node.model import Received, Rejection
from node.peers import Peer
from node.reception.board import Board, Room
from node.reception.channel import Channel, ChannelClosed
from node.reception.listening import PATIENCE_SECONDS, make_listener
from node.telemetry import log_failed_association
from node.timing import SystemTime

# Records of stored objects travel together, which costs both processes a third of what each by itself would: so
# long after the first, longer when they come without a pause, or when there are so many, or of so many bytes.
# Whoever asks for what was answered (C-FIND, an operator) has them sent first; of a receiver that dies the owner
# finds the objects themselves.
_RECORD_SECONDS: Final = 0.03
_BUSY_RECORD_SECONDS: Final = 0.1
_MOST_RECORDS: Final = 128
_MOST_RECORD_BYTES: Final = 1_048_576
# What is only counted or logged travels together: this long after the first. A scrape has it sent first.
_REPORT_SECONDS: Final = 0.25
# Reports that may wait: an owner that does not read slows its receivers down, as it would its own threads.
_MOST_REPORTS: Final = 10_000
_CATCH_UP_SECONDS: Final = 40.0  # the owner itself gives up after 30
_LOOK_SECONDS: Final = 0.01  # between two looks at the board


_One = TypeVar("_One")


class Start(NamedTuple):
    """What a receiver is started with: its slot on the board, the ``label`` of what it writes in incoming/, which
    no other receiver has, and the offset of the owner's steady clock."""

    slot: int
    label: str
    clock_offset: float


def main(config: Config, descriptors: Sequence[int], start: Start) -> None:
    """Run a receiver until the owner says stop or is gone. ``descriptors``: channel, listening socket, board,
    the lock of the data folder, which is held as long as any process of the node lives, and what the owner has
    read for TLS (``read_tls``)."""
    channel_fd, listening_fd, board_fd, _lock, tls_fd = descriptors
    limited = wiring.peers(config).limited
    places = _Places(Board(len(limited), board_fd), start.slot, config.dicom.max_associations, limited)
    worker = _Worker(config, socket.socket(fileno=channel_fd), places, start, read_tls(tls_fd))
    worker.serve(socket.socket(fileno=listening_fd))


def write_tls(files: TlsFiles | None) -> int:
    """A descriptor of memory that receivers read ``files`` from: a chain may be longer than a message that
    carries descriptors, and is not on disk any more when a receiver is started later."""
    descriptor = os.memfd_create("dicom-node-tls")
    with open(descriptor, "wb", closefd=False) as file:
        pickle.dump(files, file)
    return descriptor


def read_tls(descriptor: int) -> TlsFiles | None:
    """What ``write_tls`` wrote, wherever another process that shares the descriptor stands in it."""
    found: TlsFiles | None = pickle.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    os.close(descriptor)
    return found


class _Worker:
    def __init__(
        self, config: Config, sock: socket.socket, places: _Places, start: Start, tls: TlsFiles | None
    ) -> None:
        self._ended = threading.Event()
        self._channel = Channel(
            sock,
            {
                "movement": self._movement,
                "callers": self._callers,
                "flush": self._flush,
                "stop": self._stop,
                "reload": self._reload,
            },
        )
        self._reports = _Reports(self._channel)
        self._records = _Records(self._channel)
        objects = wiring.objects(config, label=start.label)
        self._listener = make_listener(
            config,
            objects,
            wiring.engine(config),
            _Desk(self._channel, places.board, self._records, self._reports),
            self._reports,
            SystemTime(start.clock_offset),
            places,
            tls,
        )

    def serve(self, listening: socket.socket) -> None:
        self._records.start()
        self._reports.start()
        self._listener.start(listening)
        self._channel.tell("ready")
        self._channel.run()
        if not self._ended.is_set():
            # The owner is gone: nobody can take an object's record any more. What was acknowledged lies in
            # incoming/, and a new node is waiting for this process to let go of the data folder.
            os._exit(1)

    def _movement(self, study: str) -> float | None:
        return self._listener.last_movement(study)

    def _callers(self) -> dict[str, int]:
        return self._listener.callers()

    def _flush(self) -> None:
        """Everything told before this call's answer has been sent."""
        self._records.flush()
        self._reports.flush()

    def _reload(self, tls: TlsFiles) -> None:
        self._listener.use_tls(tls.context())

    def _stop(self, seconds: float) -> int:
        cut = self._listener.stop(seconds)
        self._flush()
        self._ended.set()
        return cut


class _Records:
    """Objects on disk, and answered or about to be, on their way to the owner."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: list[Received | Rejection] = []
        self._bytes = 0
        self._told_at = float("-inf")  # monotonic seconds
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._sending = threading.Lock()  # what was put first is told first

    def start(self) -> None:
        threading.Thread(target=self._run, name="records", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._some.wait()
            busy = time.monotonic() - self._told_at < _BUSY_RECORD_SECONDS
            pause.wait(_BUSY_RECORD_SECONDS if busy else _RECORD_SECONDS)
            try:
                self.flush()
            except ChannelClosed:
                return  # the process ends: its main thread sees the same

    def put(self, item: Received | Rejection) -> None:
        """Waits when the owner does not read; one that has gone is no reason to answer with a failure. The object
        is safe, whoever comes next finds it, and another thread may have told the owner of it."""
        with self._lock:
            self._waiting.append(item)
            self._bytes += weight(item)
            full = len(self._waiting) >= _MOST_RECORDS or self._bytes >= _MOST_RECORD_BYTES
        if full:
            with suppress(ChannelClosed):
                self.flush()
        elif not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Send what waits. Raises ``ChannelClosed``."""
        with self._sending:
            with self._lock:
                self._some.clear()
                batch, self._waiting, self._bytes = self._waiting, [], 0
            for part in _parts(batch):
                self._channel.tell("put", part)
                self._told_at = time.monotonic()


def _parts(batch: Sequence[Received | Rejection]) -> Iterator[list[Received | Rejection]]:
    """What goes in one message. While the owner does not read, each association may add a header of megabytes to
    what waits, and together those may be longer than a message can be."""
    part: list[Received | Rejection] = []
    size = 0
    for item in batch:
        if part and size + weight(item) > _MOST_RECORD_BYTES:
            yield part
            part, size = [], 0
        part.append(item)
        size += weight(item)
    if part:
        yield part


class _Reports:
    """The observer of a receiver's associations: what is only counted or logged goes to the owner together.

    C-STOREs answered with success are the many: they go as sums.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stores: deque[tuple[str, int, float]] = deque()
        self._others: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._some = threading.Event()
        self._sending = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._run, name="reports", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._some.wait()
            pause.wait(_REPORT_SECONDS)
            try:
                self.flush()
            except ChannelClosed:
                return  # the process ends: its main thread sees the same

    def flush(self) -> None:
        """Send what waits. Raises ``ChannelClosed``."""
        with self._sending:
            self._some.clear()
            stores = summed(_taken(self._stores))
            batch = [("stored_together", (one,)) for one in stores] + _taken(self._others)
            if batch:
                self._channel.tell("reports", batch)

    def _added(self) -> None:
        if not self._some.is_set():
            self._some.set()
        if len(self._stores) + len(self._others) > _MOST_REPORTS:
            with suppress(ChannelClosed):  # the process ends: its main thread sees the same
                self.flush()

    def _report(self, name: str, *arguments: Any) -> None:
        self._others.append((name, arguments))
        self._added()

    def stored(self, calling_ae: str, status: int, size: int, seconds: float, why: str) -> None:
        if status:
            self._report("stored", calling_ae, status, size, seconds, why)
        else:
            self._stores.append((calling_ae, size, seconds))
            self._added()

    def association_ended(self, calling_ae: str, address: str, result: str, why: str, objects: int) -> None:
        self._report("association_ended", calling_ae, address, result, why, objects)

    def failed(self, address: str, error: BaseException) -> None:
        log_failed_association(address, error)  # here: what says where it happened does not travel

    def found(self, level: str, status: int) -> None:
        self._report("found", level, status)


def _taken(waiting: deque[_One]) -> list[_One]:
    """What waits now; others may add to it meanwhile."""
    return [waiting.popleft() for _ in range(len(waiting))]


class _Desk:
    """The owner, as associations see it from a receiver."""

    def __init__(self, channel: Channel, board: Board, records: _Records, reports: _Reports) -> None:
        self._channel = channel
        self._board = board
        self.put = records.put
        self.found = reports.found

    def catch_up(self) -> None:
        try:
            self._channel.call("catch_up", seconds=_CATCH_UP_SECONDS)
        except (ChannelClosed, TimeoutError) as error:
            raise IndexUnavailable(f"index is behind: {error or 'no answer'}") from error

    def wait_for_room(self) -> str | None:
        until = time.monotonic() + PATIENCE_SECONDS
        while (room := self._board.room) is not Room.THERE:
            if room is Room.FAILING:
                return "objects wait for the index, which fails: see the node's log"
            if time.monotonic() >= until:
                return f"objects wait for the index, longer than {PATIENCE_SECONDS:g} s"
            time.sleep(_LOOK_SECONDS)
        return None


class _Places:
    """The limits of associations, which all receivers share: the node's own, and those of [[peers]] entries."""

    def __init__(self, board: Board, slot: int, limit: int, limited: Sequence[Peer]) -> None:
        self.board = board
        self._slot = slot
        self._limit = limit
        self._columns = {peer: column for column, peer in enumerate(limited, 1)}

    def _limits(self, peer: Peer) -> dict[int, int]:
        limits = {0: self._limit}
        if peer.max_associations:
            limits[self._columns[peer]] = peer.max_associations
        return limits

    def take(self, peer: Peer) -> str | None:
        reached = self.board.take(self._slot, self._limits(peer))
        if reached is None:
            return None
        return full_of(peer) if reached else full(self._limit)

    def give_back(self, peer: Peer) -> None:
        self.board.give_back(self._slot, self._limits(peer))

    def connected(self, count: int) -> None:
        self.board.connected(self._slot, count)

    def others_have_fewer(self) -> bool:
        return self.board.has_fewer(self._slot)
