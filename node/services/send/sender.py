"""The C-STORE SCU: sends files as they are stored, over several associations, and says what became of each.

``send`` scans first, then lets one thread per association take files from a common queue. When an association
is lost, the files not yet answered go out again on a new one, at most ``retries`` times in a row without any
answer between. Each pair of SOP class and transfer syntax is a presentation context of its own, so a peer
can't ask for bytes other than those stored; more than 128 pairs go out in turns.
"""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.errors import AssociationRejected, FileShortened, NodeError
from node.services.send.address import Address, check_ae_title
from node.services.send.ledger import Ledger, Progress, SendSummary
from node.services.send.requestor import MAX_CONTEXTS, Context, Requestor
from node.services.send.sendable import Sendable, scan

_REPORT_BYTES: Final = 4 << 20  # inside a large object progress is told this often
_GRACE_SECONDS: Final = 2.0  # an interrupted association may end in order for this long


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """How to send. ``timeout`` (seconds) bounds each wait for the peer; ``retries`` new associations after a
    loss, the first after ``retry_seconds`` and each later one after twice as long; at most ``max_failures``
    failures are kept by name. ValueError when a value makes no sense."""

    calling_ae: str = "DICOMFHIR-SEND"
    associations: int = 1
    retries: int = 3
    retry_seconds: float = 1.0
    timeout: float = 30.0
    tls: ssl.SSLContext | None = None
    max_failures: int = 100

    def __post_init__(self) -> None:
        check_ae_title(self.calling_ae)
        if self.associations < 1 or self.retries < 0 or self.timeout <= 0 or self.retry_seconds < 0:
            raise ValueError("associations must be 1 or more, retries 0 or more, timeout above 0")


def send(
    paths: Sequence[Path],
    to: Address,
    options: SendOptions | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> SendSummary:
    """Sends every DICOM file under ``paths`` to ``to``; never raises for a file or a peer.

    ``progress`` is called under a lock, from any of the sending threads: it should be quick. Ctrl-C releases
    the associations (or aborts them in the middle of an object) and returns a summary with ``interrupted``.
    """
    options = options or SendOptions()
    ledger = Ledger(options.max_failures, progress)
    try:
        queue = _scan(paths, ledger)
    except KeyboardInterrupt:
        return ledger.summary(interrupted=True)
    interrupted = False
    for part in _parts(queue):
        if not _Round(part, to, options, ledger).run():
            interrupted = True
            break
    return ledger.summary(interrupted)


def _scan(paths: Sequence[Path], ledger: Ledger) -> list[Sendable]:
    found = []
    for item in scan(paths):
        if isinstance(item, Sendable):
            found.append(item)
            ledger.found(item)
        else:
            ledger.passed_over(item)
    ledger.start()
    return found


def _parts(queue: Sequence[Sendable]) -> list[deque[Sendable]]:
    """Splits by presentation context, so that no association needs more than 128 of them."""
    by_context: dict[Context, deque[Sendable]] = {}
    for item in queue:
        by_context.setdefault((item.sop_class, item.transfer_syntax), deque()).append(item)
    groups = list(by_context.values())
    if len(groups) <= MAX_CONTEXTS:
        return [deque(queue)] if groups else []  # in the order of the files, whatever their contexts
    parts = []
    for at in range(0, len(groups), MAX_CONTEXTS):
        parts.append(deque(item for group in groups[at : at + MAX_CONTEXTS] for item in group))
    return parts


class _Interrupted(Exception):  # no error: it carries Ctrl-C out of the middle of an object
    """The user asked to stop."""


@dataclass
class _Round:
    """One queue, sent by up to ``options.associations`` threads."""

    queue: deque[Sendable]
    to: Address
    options: SendOptions
    ledger: Ledger
    stop: threading.Event = field(default_factory=threading.Event)
    live: set[Requestor] = field(default_factory=set)
    working: int = 0
    idle: threading.Condition = field(default_factory=threading.Condition)
    lost: str = "not sent"
    contexts: tuple[Context, ...] = ()

    def __post_init__(self) -> None:
        self.contexts = tuple(dict.fromkeys((item.sop_class, item.transfer_syntax) for item in self.queue))

    def run(self) -> bool:
        """Sends until the queue is empty or the peer is given up; False when the user interrupted."""
        try:
            for number in range(min(self.options.associations, len(self.queue))):
                with self.idle:
                    self.working += 1
                threading.Thread(target=self._thread, name=f"send-{number}", daemon=True).start()
            self._wait(None)
        except KeyboardInterrupt:
            self._interrupt()
        while self.queue:
            item = self.queue.popleft()
            self.ledger.failed(item, "interrupted" if self.stop.is_set() else self.lost + _suspicion(item))
        return not self.stop.is_set()

    def _interrupt(self) -> None:
        self.stop.set()
        if not self._wait(_GRACE_SECONDS):
            for requestor in list(self.live):
                requestor.interrupt()
            self._wait(_GRACE_SECONDS)

    def _wait(self, seconds: float | None) -> bool:
        """True when no thread works any more. Not ``Thread.join``: Python 3.11 takes a thread for ended when
        Ctrl-C interrupts that."""
        with self.idle:
            return self.idle.wait_for(lambda: self.working == 0, seconds)

    def _thread(self) -> None:
        try:
            self._work()
        finally:
            with self.idle:
                self.working -= 1
                self.idle.notify_all()

    def _work(self) -> None:
        """One association after another, until nothing is left or too many in a row brought no answer."""
        fruitless = 0
        while self.queue and not self.stop.is_set():
            meter = _Meter(self.ledger, self.stop)
            try:
                self._associate(meter)
            except FileShortened:
                continue  # the file's fault, not the peer's: it is reported, the others go on
            except NodeError as error:
                fruitless = 1 if meter.answers else fruitless + 1
                self.lost = str(error)
                if fruitless > self.options.retries or not _worth_a_retry(error):
                    return
                self.ledger.note(f"{error}; trying again ({fruitless} of {self.options.retries})")
                self.stop.wait(self.options.retry_seconds * 2 ** (fruitless - 1))

    def _associate(self, meter: _Meter) -> None:
        options = self.options
        requestor = Requestor.open(self.to, options.calling_ae, self.contexts, options.timeout, options.tls)
        self.ledger.associated()
        self.live.add(requestor)
        try:
            while not self.stop.is_set() and (item := self._next()):
                self._store(requestor, item, meter)
            _release(requestor, self.ledger)
        except _Interrupted:
            requestor.abort()
        finally:
            self.live.discard(requestor)
            requestor.close()

    def _next(self) -> Sendable | None:
        try:
            return self.queue.popleft()
        except IndexError:  # another association took the last one
            return None

    def _store(self, requestor: Requestor, item: Sendable, meter: _Meter) -> None:
        context = (item.sop_class, item.transfer_syntax)
        if context not in requestor.accepted:
            refused = requestor.refused[context]
            self.ledger.failed(item, f"{refused} ({_named(context, refused)})")
            return
        try:
            with item.path.open("rb") as file:
                file.seek(item.offset)
                answer = requestor.store(context, item.sop_instance, file, item.length, meter.moved)
        except (OSError, FileShortened) as error:
            self.ledger.failed(item, f"file can't be read: {getattr(error, 'strerror', None) or error}")
            if meter.drop():  # the peer waits for the rest of it
                requestor.abort()
                raise FileShortened(str(item.path)) from error
        except (NodeError, _Interrupted):
            meter.drop()
            self.queue.append(item)  # behind the others: an object its peer can't take must not hold them up
            raise
        else:
            meter.answered()
            self.ledger.answered(item, answer)


class _Meter:
    """Counts one association's answers and the bytes of its present object, and stops an interrupted one."""

    def __init__(self, ledger: Ledger, stop: threading.Event) -> None:
        self.answers = 0
        self._sent = self._told = 0
        self._ledger = ledger
        self._stop = stop

    def moved(self, size: int) -> None:
        """A fragment of ``size`` bytes has gone out."""
        self._sent += size
        if self._stop.is_set():
            raise _Interrupted
        if self._sent - self._told >= _REPORT_BYTES:
            self._tell(self._sent)

    def answered(self) -> None:
        """The object has its answer: its bytes count."""
        self.answers += 1
        self._tell(self._sent)
        self._sent = self._told = 0

    def drop(self) -> bool:
        """The object has no answer: its bytes do not count. True when some of them had gone out."""
        some = self._sent > 0
        self._tell(0)
        self._sent = self._told = 0
        return some

    def _tell(self, sent: int) -> None:
        if sent != self._told:
            self._ledger.moved(sent - self._told)
            self._told = sent


def _release(requestor: Requestor, ledger: Ledger) -> None:
    try:
        requestor.release()
    except NodeError as error:  # every object has its answer: nothing is lost with the association
        ledger.note(f"the association did not end in order: {error}")


def _worth_a_retry(error: NodeError) -> bool:
    if isinstance(error, AssociationRejected):
        return error.transient
    return error.retriable


def _suspicion(item: Sendable) -> str:
    """PS3.8 E.2 wants fragments of even length, and DCMTK aborts on an odd one; bytes are sent as stored."""
    return " (its data set has an odd length, which many peers do not take)" if item.length % 2 else ""


def _named(context: Context, reason: str) -> str:
    return context[1] if "transfer syntax" in reason else context[0]
