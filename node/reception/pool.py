"""The owner's side of the receivers: starts them, takes what they hand over, starts another when one dies."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from node.association.listener import bind
from node.association.receiver import Observer
from node.config import Config
from node.errors import IndexUnavailable, NodeError
from node.logs import get_logger
from node.model import Received, Rejection
from node.reception.board import Board
from node.reception.channel import Channel
from node.reception.nursery import Nursery
from node.reception.worker import Start

_log = get_logger(__name__)

_START_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 2.0  # a receiver answers in less than a millisecond, unless the machine is beyond help
_STOP_GRACE: Final = 10.0
_RESTART_SECONDS: Final = 1.0  # one that dies at once is not started again and again without a pause


class Owner(Protocol):
    """What receivers hand over, and ask; ``node.reception.desk`` has it."""

    def put(self, item: Received | Rejection) -> None:
        """A durable object, or one for quarantine."""

    def behind(self) -> str | None:
        """Why the index can take no more, or None."""

    def catch_up(self) -> None:
        """Return when everything that was put is indexed. Raises ``IndexUnavailable``."""

    def left_behind(self, label: str) -> int:
        """Take in what a receiver that died had acknowledged but not told; returns how many objects."""


class Reporter(Observer, Protocol):
    """The observer of associations, which also hears of queries."""

    def found(self, level: str, status: int) -> None:
        """A query ended."""


@dataclass(slots=True)
class _Receiver:
    """One receiver process as the owner knows it."""

    slot: int
    channel: Channel
    pid: int = 0
    ready: threading.Event | None = None


class Pool:
    """``count`` receivers on one listening socket. The same methods as ``association.listener.Listener``."""

    def __init__(
        self,
        nursery: Nursery,
        count: int,
        config: Config,
        owner: Owner,
        reporter: Reporter,
        clock_offset: float,
        lock_fd: int,
    ) -> None:
        self._nursery = nursery
        self._count = count
        self._config = config
        self._owner = owner
        self._reporter = reporter
        self._clock_offset = clock_offset
        self._lock_fd = lock_fd
        self._board = Board()
        self._receivers: dict[int, _Receiver] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None

    def start(self) -> tuple[str, int]:
        """Bind, and start every receiver; returns the address. Raises ``OSError``."""
        dicom = self._config.dicom
        self._socket = bind(dicom.host, dicom.port)
        begun = [threading.Event() for _ in range(self._count)]
        for slot, event in enumerate(begun):
            thread = threading.Thread(
                target=self._keep, args=(slot, event), name=f"receiver-{slot}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        deadline = time.monotonic() + _START_SECONDS
        if not all(event.wait(max(deadline - time.monotonic(), 0)) for event in begun):
            raise TimeoutError(f"a receiver process did not start within {_START_SECONDS:g} s: see the log")
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def listening(self) -> bool:
        return bool(self._receivers) and not self._stopping.is_set()

    @property
    def associations(self) -> int:
        """Negotiated associations open now, in all receivers."""
        return self._board.associations

    def last_movement(self, study: str) -> float | None:
        """Monotonic time of the newest bytes from an open association that brought some of ``study``."""
        return max((moved for moved in self._ask("movement", study) if moved is not None), default=None)

    def flush(self) -> None:
        """Return when everything that receivers have told by now has been handled."""
        self._ask("flush")

    def reload(self) -> None:
        """Receivers read the TLS certificates again."""
        self._ask("reload")

    def behind_changed(self) -> None:
        """The index took something, or can't: receivers see it on the board."""
        behind = self._owner.behind() is not None
        if behind != self._board.behind:
            self._board.behind = behind

    def _ask(self, name: str, *arguments: Any) -> list[Any]:
        """The answers of all receivers that give one."""
        found = []
        for receiver in list(self._receivers.values()):
            try:
                found.append(receiver.channel.call(name, *arguments, seconds=_ASK_SECONDS))
            except (NodeError, TimeoutError) as error:  # it is going, or beyond help: its end is dealt with
                _log.warning("receiver_silent", pid=receiver.pid, error=str(error) or type(error).__name__)
        return found

    # one thread a receiver

    def _keep(self, slot: int, begun: threading.Event) -> None:
        """Run one receiver after another in this slot, until the pool stops."""
        while not self._stopping.is_set():
            try:
                receiver = self._spawn(slot, begun)
            except OSError as error:
                _log.error("receiver_not_started", error=error)
                self._stopping.wait(_RESTART_SECONDS)
                continue
            self._receivers[slot] = receiver
            receiver.channel.run()
            self._receivers.pop(slot, None)
            receiver.channel.close()
            if not self._stopping.is_set():
                self._bury(receiver)
                self._stopping.wait(_RESTART_SECONDS)

    def _spawn(self, slot: int, begun: threading.Event) -> _Receiver:
        assert self._socket is not None
        own, other = socket.socketpair()
        with other:
            receiver = _Receiver(slot, Channel(own, self._handlers(begun)))
            descriptors = [other.fileno(), self._socket.fileno(), self._board.fd, self._lock_fd]
            receiver.pid = self._nursery.spawn(descriptors, Start(slot, self._clock_offset))
        return receiver

    def _handlers(self, begun: threading.Event) -> dict[str, Callable[..., Any]]:
        return {
            "ready": lambda _pid: begun.set(),
            "put": self._put,
            "reports": self._reports,
            "catch_up": self._catch_up,
        }

    def _put(self, item: Received | Rejection) -> None:
        self._owner.put(item)
        self.behind_changed()

    def _reports(self, reports: list[tuple[str, tuple[Any, ...]]]) -> None:
        for name, arguments in reports:
            getattr(self._reporter, name)(*arguments)

    def _catch_up(self) -> None:
        """For a query: what any receiver has answered with success is in its channel, then in the index."""
        self.flush()
        self._owner.catch_up()

    def _bury(self, receiver: _Receiver) -> None:
        """A receiver died: its associations are gone, what it acknowledged is not."""
        hint = "Its associations are lost; senders send again. Another is started."
        _log.error("receiver_died", pid=receiver.pid, hint=hint)
        self._board.clear(receiver.slot)
        try:
            self._owner.catch_up()
            count = self._owner.left_behind(f"{receiver.pid:x}")
        except (IndexUnavailable, OSError) as error:
            _log.error("receiver_left_objects", error=error, hint="They are taken in at the next start.")
        else:
            _log.info("recovered", objects=count)

    def stop(self, seconds: float) -> int:
        """Accept no more, let open associations end for ``seconds``, then cut; returns how many were cut."""
        self._stopping.set()
        if self._socket is not None:
            with suppress(OSError):  # wakes every accept; not every system allows it on a listener
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        receivers = list(self._receivers.values())
        with ThreadPoolExecutor(max(len(receivers), 1)) as threads:
            cut = sum(threads.map(lambda one: self._stop(one, seconds), receivers))
        for thread in self._threads:
            thread.join(_STOP_GRACE)
        return cut

    def _stop(self, receiver: _Receiver, seconds: float) -> int:
        try:
            return int(receiver.channel.call("stop", seconds, seconds=seconds + _STOP_GRACE))
        except (NodeError, TimeoutError) as error:
            _log.error("receiver_killed", pid=receiver.pid, error=str(error) or type(error).__name__)
            with suppress(ProcessLookupError):
                os.kill(receiver.pid, signal.SIGKILL)
            return 0
        finally:
            receiver.channel.close()

    def close(self) -> None:
        """Release what ``start`` took; after ``stop``."""
        self._board.close()


def processes(config: Config) -> int:
    """How many receivers are configured; 0: associations are threads of the node's own process."""
    configured = config.dicom.receivers
    if configured == "auto":
        return min(len(os.sched_getaffinity(0)), 4)
    return configured
