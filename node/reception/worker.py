"""A receiver process: accepts on the shared socket, stores, and tells the owner."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from node import wiring
from node.config import Config
from node.errors import IndexUnavailable
from node.model import Received, Rejection
from node.reception.board import Board
from node.reception.channel import Channel, ChannelClosed
from node.reception.listening import make_listener
from node.telemetry import log_failed_association
from node.timing import SystemTime

# Reports that are only counted or logged travel together: this long after the first of them.
_REPORT_SECONDS: Final = 0.05
_CATCH_UP_SECONDS: Final = 40.0  # the owner itself gives up after 30


class Start(NamedTuple):
    """What a receiver is started with: its slot on the board, and the offset of the owner's steady clock."""

    slot: int
    clock_offset: float


def main(config: Config, descriptors: Sequence[int], start: Start) -> None:
    """Run a receiver until the owner says stop or is gone. ``descriptors``: channel, listening socket, board,
    and the lock of the data folder, which is held as long as any process of the node lives."""
    channel_fd, listening_fd, board_fd, _lock = descriptors
    worker = _Worker(config, socket.socket(fileno=channel_fd), Board(board_fd), start)
    worker.serve(socket.socket(fileno=listening_fd))


class _Worker:
    def __init__(self, config: Config, sock: socket.socket, board: Board, start: Start) -> None:
        self._config = config
        self._board = board
        self._ended = threading.Event()
        self._channel = Channel(
            sock,
            {
                "movement": self._movement,
                "flush": self._flush,
                "stop": self._stop,
                "reload": self._reload,
            },
        )
        self._reports = _Reports(self._channel)
        objects = wiring.objects(config, label=f"{os.getpid():x}")
        self._listener = make_listener(
            config,
            objects,
            wiring.engine(config),
            _Desk(self._channel, board, self._reports),
            self._reports,
            SystemTime(start.clock_offset),
            _Places(board, start.slot, config.dicom.max_associations),
        )

    def serve(self, listening: socket.socket) -> None:
        self._reports.start()
        self._listener.start(listening)
        self._channel.tell("ready", os.getpid())
        self._channel.run()
        if not self._ended.is_set():
            # The owner is gone: nobody can take an object's record any more. What was acknowledged lies in
            # incoming/, and a new node is waiting for this process to let go of the data folder.
            os._exit(1)

    def _movement(self, study: str) -> float | None:
        return self._listener.last_movement(study)

    def _flush(self) -> None:
        """Everything told before this call's answer has been sent."""
        self._reports.flush()

    def _reload(self) -> None:
        self._listener.use_tls(wiring.tls(self._config))

    def _stop(self, seconds: float) -> int:
        cut = self._listener.stop(seconds)
        self._reports.flush()
        self._ended.set()
        return cut


class _Reports:
    """The observer of a receiver's associations: what is only counted or logged goes to the owner together."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[tuple[str, tuple[Any, ...]]] = deque()
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
            batch = []
            while self._waiting:
                batch.append(self._waiting.popleft())
            if batch:
                self._channel.tell("reports", batch)

    def _report(self, name: str, *arguments: Any) -> None:
        self._waiting.append((name, arguments))
        if not self._some.is_set():
            self._some.set()

    def stored(self, calling_ae: str, status: int, size: int, seconds: float, why: str) -> None:
        self._report("stored", calling_ae, status, size, seconds, why)

    def association_ended(self, calling_ae: str, address: str, result: str, why: str, objects: int) -> None:
        self._report("association_ended", calling_ae, address, result, why, objects)

    def failed(self, address: str, error: BaseException) -> None:
        log_failed_association(address, error)  # here: what says where it happened does not travel

    def found(self, level: str, status: int) -> None:
        self._report("found", level, status)


class _Desk:
    """The owner, as associations see it from a receiver."""

    def __init__(self, channel: Channel, board: Board, reports: _Reports) -> None:
        self._channel = channel
        self._board = board
        self.found = reports.found

    def put(self, item: Received | Rejection) -> None:
        self._channel.tell("put", item)

    def catch_up(self) -> None:
        try:
            self._channel.call("catch_up", seconds=_CATCH_UP_SECONDS)
        except (ChannelClosed, TimeoutError) as error:
            raise IndexUnavailable(f"index is behind: {error or 'no answer'}") from error

    def behind(self) -> str | None:
        return "objects wait for the index" if self._board.behind else None


class _Places:
    """The limit of associations, which all receivers share."""

    def __init__(self, board: Board, slot: int, limit: int) -> None:
        self._board = board
        self._slot = slot
        self._limit = limit

    def take(self) -> bool:
        return self._board.take(self._slot, self._limit)

    def give_back(self) -> None:
        self._board.give_back(self._slot)
