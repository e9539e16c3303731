"""The owner's side of the receivers: starts them, takes what they hand over, starts another when one dies."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from node import wiring
from node.association.listener import bind
from node.association.tls import TlsFiles
from node.config import Config
from node.errors import IndexUnavailable, NodeError
from node.logs import get_logger
from node.model import Received, Rejection
from node.reception.board import Board
from node.reception.channel import Channel, ChannelClosed
from node.reception.nursery import Nursery, Process
from node.reception.owner import Owner, Reporter
from node.reception.worker import Start, write_tls

_log = get_logger(__name__)

_START_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 2.0  # a receiver answers in less than a millisecond, unless the machine is beyond help
_SILENT_SECONDS: Final = 60.0  # ... or the receiver is: then it is ended
_SEND_SECONDS: Final = 10  # one that reads nothing at all for so long has gone, whatever it still does
_TOGETHER_SECONDS: Final = (
    0.002  # records of a busy receiver are read together; a query waits that long for them
)
_STOP_GRACE: Final = 10.0
_END_SECONDS: Final = 1.0  # a receiver ends by itself when its channel is closed
_RESTART_SECONDS: Final = (1.0, 30.0)  # the pause before another is started, and how long it may grow
_BURY_SECONDS: Final = 5.0
# What receivers may report to the observer
_REPORTS: Final = ("stored", "stored_together", "association_ended", "found")


class _Receiver:
    """One receiver process as the owner knows it; ``label`` marks what it writes in incoming/."""

    def __init__(self, slot: int, label: str, process: Process, channel: Channel) -> None:
        self.slot = slot
        self.label = label
        self.process = process
        self.channel = channel
        self.ready = False
        self._late: Future[Any] | None = None  # what it was asked first of all that it did not answer in time
        self._late_since = 0.0

    def ask(self, name: str, arguments: tuple[Any, ...]) -> Future[Any] | None:
        """Ask it, or None while an earlier question is not answered: it would only wait in the same queue."""
        if self._late is not None and not self._late.done():
            return None
        return self.channel.ask(name, *arguments)

    def missed(self, question: Future[Any]) -> None:
        """It did not answer in time."""
        if self._late is None or self._late.done():
            self._late, self._late_since = question, time.monotonic()

    @property
    def silent_for(self) -> float:
        """Seconds since it ought to have answered, 0.0 when it has."""
        if self._late is None or self._late.done():
            return 0.0
        return time.monotonic() - self._late_since


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
        tls: TlsFiles | None,
    ) -> None:
        self._nursery = nursery
        self._count = count
        self._config = config
        self._owner = owner
        self._reporters: dict[str, Callable[..., None]] = {name: getattr(reporter, name) for name in _REPORTS}
        self._clock_offset = clock_offset
        self._lock_fd = lock_fd
        self._tls_fd = write_tls(tls)
        self._board = Board(len(wiring.peers(config).limited))
        self._board_lock = threading.Lock()
        # Guards who is started with what: no receiver with certificates that were replaced meanwhile, none when
        # the others have been stopped.
        self._lock = threading.Lock()
        self._receivers: dict[int, _Receiver] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._died = 0
        self._socket: socket.socket | None = None

    def start(self) -> tuple[str, int]:
        """Bind, and start every receiver; returns the address. Raises ``OSError``."""
        dicom = self._config.dicom
        self._socket = bind(dicom.host, dicom.port)
        begun = [threading.Event() for _ in range(self._count)]
        for slot, event in enumerate(begun):
            self._run(self._keep, slot, event, name=f"receiver-{slot}")
        deadline = time.monotonic() + _START_SECONDS
        if not all(event.wait(max(deadline - time.monotonic(), 0)) for event in begun):
            raise TimeoutError(f"a receiver process did not start within {_START_SECONDS:g} s: see the log")
        host, port = self._socket.getsockname()[:2]
        return host, port

    def _run(self, work: Callable[..., None], *arguments: Any, name: str) -> None:
        thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
        thread.start()
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]

    @property
    def _ready(self) -> int:
        return sum(receiver.ready for receiver in list(self._receivers.values()))

    @property
    def listening(self) -> bool:
        return self._ready > 0 and not self._stopping.is_set()

    @property
    def lacking(self) -> str | None:
        """Why fewer receivers run than are configured, or None."""
        ready = self._ready
        if ready >= self._count:
            return None
        return f"{ready} of {self._count} receiver processes run: see the log"

    @property
    def counts(self) -> tuple[int, int, int]:
        """Receivers that run, that there should be, and that died so far."""
        return self._ready, self._count, self._died

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name; they may have ended meanwhile."""
        receivers = {f"receiver-{one.slot}": one.process.pid for one in list(self._receivers.values())}
        return {"nursery": self._nursery.pid, **receivers}

    @property
    def associations(self) -> int:
        """Negotiated associations open now, in all receivers."""
        return self._board.associations

    def last_movement(self, study: str) -> float | None:
        """Monotonic time of the newest bytes from an open association that brought some of ``study``."""
        answers, _ = self._ask("movement", study)
        return max((moved for moved in answers if moved is not None), default=None)

    def callers(self) -> dict[str, int]:
        """How many associations each calling AE title has open now; receivers that don't answer are left out."""
        answers, _ = self._ask("callers")
        return dict(sum(map(Counter, answers), Counter[str]()))

    def flush(self) -> None:
        """Return when everything that receivers have told by now has been handled."""
        self._ask("flush")

    def reload(self, tls: TlsFiles) -> None:
        """New certificates, for connections that are accepted from now on, by receivers of now or later."""
        with self._lock:
            os.close(self._tls_fd)
            self._tls_fd = write_tls(tls)
        self._ask("reload", tls)

    def room_changed(self) -> None:
        """The index took something, or can't: receivers see it on the board."""
        with self._board_lock:  # an answer that is older than another's must not be written over it
            room = self._owner.room()
            if room is not self._board.room:
                self._board.room = room

    def _ask(self, name: str, *arguments: Any) -> tuple[list[Any], list[int]]:
        """The answers of all receivers, and the process ids of those that gave none in time."""
        questions: list[tuple[_Receiver, Future[Any]]] = []
        answers: list[Any] = []
        silent: list[int] = []
        for receiver in list(self._receivers.values()):
            with suppress(ChannelClosed):  # it is going: its end is dealt with
                question = receiver.ask(name, arguments)
                if question is None:
                    self._still_silent(receiver, silent)
                else:
                    questions.append((receiver, question))
        deadline = time.monotonic() + _ASK_SECONDS
        for receiver, question in questions:
            pid = receiver.process.pid
            try:
                answers.append(question.result(max(deadline - time.monotonic(), 0)))
            except TimeoutError:
                _log.warning("receiver_silent", pid=pid, limit=_ASK_SECONDS)
                receiver.missed(question)
                silent.append(pid)
            except ChannelClosed:
                continue  # it is going
            except NodeError as error:
                _log.error("receiver_refused", pid=pid, kind=name, error=error)
        return answers, silent

    def _still_silent(self, receiver: _Receiver, silent: list[int]) -> None:
        silent.append(receiver.process.pid)
        if receiver.silent_for > _SILENT_SECONDS:
            hint = "It did not answer for too long. Another is started."
            _log.error("receiver_killed", pid=receiver.process.pid, seconds=_SILENT_SECONDS, hint=hint)
            receiver.process.kill()

    # one thread a receiver

    def _keep(self, slot: int, begun: threading.Event) -> None:
        """Run one receiver after another in this slot, until the pool stops."""
        shortest, longest = _RESTART_SECONDS
        pause = shortest
        while not self._stopping.is_set():
            try:
                receiver = self._spawn(slot, begun)
            except OSError as error:
                _log.error("receiver_not_started", error=error, backoff=pause)
            else:
                if receiver is None:
                    return
                if self._attend(receiver):
                    pause = shortest
            # One that dies at once, or can't be started, is not tried again and again without a pause.
            self._stopping.wait(pause)
            pause = min(2 * pause, longest)

    def _spawn(self, slot: int, begun: threading.Event) -> _Receiver | None:
        """A new receiver, or None when the pool has been stopped. Raises ``OSError``."""
        assert self._socket is not None
        with self._lock:
            if self._stopping.is_set():
                return None
            own, other = socket.socketpair()
            with other:
                label = secrets.token_hex(4)  # never a process id: those come again
                descriptors = [other.fileno(), self._socket.fileno(), self._board.fd, self._lock_fd]
                start = Start(slot, label, self._clock_offset)
                try:
                    process = self._nursery.spawn([*descriptors, self._tls_fd], start)
                except OSError:
                    own.close()
                    raise
            handlers = self._handlers(slot, begun)
            channel = Channel(own, handlers, send_seconds=_SEND_SECONDS, together=_TOGETHER_SECONDS)
            receiver = _Receiver(slot, label, process, channel)
            self._receivers[slot] = receiver
            return receiver

    def _handlers(self, slot: int, begun: threading.Event) -> dict[str, Callable[..., Any]]:
        def ready() -> None:
            self._receivers[slot].ready = True
            begun.set()

        return {"ready": ready, "put": self._put, "reports": self._report, "catch_up": self._catch_up}

    def _put(self, items: list[Received | Rejection]) -> None:
        self._owner.put_all(items)
        self.room_changed()

    def _report(self, reports: list[tuple[str, tuple[Any, ...]]]) -> None:
        for name, arguments in reports:
            try:
                self._reporters[name](*arguments)
            except Exception:  # noqa: BLE001  said; what can't be counted must not cost anybody an association
                _log.error("report_failed", kind=name, exc_info=True)

    def _catch_up(self) -> None:
        """For a query: what any receiver has answered with success is in its channel, then in the index."""
        _, silent = self._ask("flush")
        self._owner.catch_up()
        if silent:
            raise IndexUnavailable(f"receiver process {silent[0]} does not answer")

    def _attend(self, receiver: _Receiver) -> bool:
        """Take what a receiver hands over until it has ended; returns whether it had ever worked."""
        pid = receiver.process.pid
        _log.info("receiver_started", pid=pid, name=receiver.label)
        try:
            receiver.channel.run()
        except Exception:  # noqa: BLE001  said; nothing that this receiver may still send is understood
            _log.error("receiver_garbled", pid=pid, exc_info=True)
        finally:
            worked, receiver.ready = receiver.ready, False
            receiver.channel.close()
            self._await_end(receiver)
            self._receivers.pop(receiver.slot)
            self._board.clear(receiver.slot)
            receiver.process.close()
        if not self._stopping.is_set():
            with self._lock:
                self._died += 1
            hint = "Its associations are lost; senders send again. Another is started."
            _log.error("receiver_died", pid=pid, hint=hint)
            self._run(self._bury, receiver.label, name=f"burial-{receiver.slot}")
        return worked

    def _await_end(self, receiver: _Receiver) -> None:
        """Until it has ended it may write, and what it wrote can't be told from what it writes."""
        process = receiver.process
        if process.ended(_END_SECONDS):
            return
        process.kill()
        if not process.ended(_END_SECONDS):
            hint = "It was killed and does not end: a disk that does not answer?"
            _log.error("receiver_lingers", pid=process.pid, hint=hint)
        while not process.ended(_END_SECONDS) and not self._stopping.is_set():
            pass

    def _bury(self, label: str) -> None:
        """A receiver died: its associations are gone, what it acknowledged is not."""
        said = False
        while not self._stopping.is_set():
            try:
                self._owner.catch_up()
                count = self._owner.left_behind(label)
            except (NodeError, OSError) as error:
                if not said:
                    hint = "It is tried again and again; at the latest the next start takes them in."
                    _log.error("receiver_left_objects", name=label, error=error, hint=hint)
                said = True
                self._stopping.wait(_BURY_SECONDS)
            else:
                _log.info("recovered", name=label, objects=count)
                return

    def stop(self, seconds: float) -> int:
        """Accept no more, let open associations end for ``seconds``, then cut; returns how many were cut."""
        with self._lock:
            self._stopping.set()
            receivers = list(self._receivers.values())
        if self._socket is not None:
            with suppress(OSError):  # wakes every accept; not every system allows it on a listener
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        with ThreadPoolExecutor(max(len(receivers), 1)) as threads:
            cut = sum(threads.map(lambda one: self._stop(one, seconds), receivers))
        for thread in self._threads:
            thread.join(_STOP_GRACE)
        return cut

    def _stop(self, receiver: _Receiver, seconds: float) -> int:
        grace = 0.0 if receiver.silent_for else _STOP_GRACE
        try:
            return int(receiver.channel.call("stop", seconds, seconds=seconds + grace))
        except (NodeError, TimeoutError) as error:
            pid, why = receiver.process.pid, str(error) or "it did not answer"
            _log.error("receiver_killed", pid=pid, error=why)
            cut = self._board.associations_of(receiver.slot)
            receiver.process.kill()
            return cut
        finally:
            receiver.channel.close()

    def close(self) -> None:
        """Release what ``start`` took; after ``stop``."""
        self._board.close()
        os.close(self._tls_fd)


def processes(config: Config) -> int:
    """How many receivers are configured; 0: associations are threads of the node's own process."""
    configured = config.dicom.receivers
    if configured == "auto":
        # Two a processor: threads of one process wait for each other's turn to run Python. One index takes in what four
        # can bring.
        return min(2 * len(os.sched_getaffinity(0)), 4)
    return configured
