"""The index writer: one thread that takes what has landed, in batches, off the answer path.

For each batch: find the fate of every object, write its rows in one synced transaction, and only then move
the files. A crash in between leaves files in ``incoming``, and the same batch is made again at start.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol

from node.errors import IndexRefused, IndexUnavailable, NodeError, StorageError
from node.index.engine import Engine
from node.index.intake import DUPLICATE, Fate, Intake, Observer, Sorted
from node.model import ObjectKey, Received, Rejection
from node.timing import Time

# A batch takes a millisecond and 30 us an object, so that objects are let gather, the longer when they come without
# a pause; whoever can't wait says so.
BATCH_SECONDS: Final = 0.05
_BUSY_BATCH_SECONDS: Final = 0.25
MAX_BATCH: Final = 512
# Objects that may wait for the index. Beyond it a C-STORE waits, in the end for 0xA700: what is acknowledged but not
# indexed is safe on disk, yet nobody should wait for it for hours.
MAX_WAITING: Final = 4_096
# ... and what their headers may hold together: a usual one has 2 kB, a hostile one megabytes.
MAX_WAITING_BYTES: Final = 134_217_728
INDEX_ERROR: Final = "index-error"
_RETRY_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0)

# The machine's trouble: it concerns every object and passes, so it is waited for. Any other error of a file
# is that object's own, and holds up nobody.
_MACHINE: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
)

Item = Received | Rejection


class Files(Protocol):
    """What the writer asks of the object store."""

    def adopt(self, name: str, key: ObjectKey) -> None: ...

    def quarantine(self, name: str, reason: str) -> str: ...

    def quarantine_stored(self, key: ObjectKey, reason: str, name: str) -> str: ...

    def drop_waiting(self, name: str) -> None: ...


class WriterObserver(Observer, Protocol):
    """What people want to know of the writer."""

    def index_failed(self, error: NodeError, waiting: int) -> None:
        """A batch could not be written; it will be tried again."""

    def index_recovered(self) -> None:
        """The batch that could not be written is."""

    def object_failed(self, name: str, error: BaseException) -> None:
        """An object can't be indexed and goes to quarantine, or its file can't be moved and stays."""


class IndexWriter:
    """Takes objects in the order they came. ``changed`` is called after each commit, and when one failed."""

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        files: Files,
        clock: Time,
        observer: WriterObserver,
        changed: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._files = files
        self._clock = clock
        self._observer = observer
        self._changed = changed
        self._waiting: deque[Item] = deque()
        self._waiting_bytes = 0
        self._jobs: deque[tuple[Callable[[], bool], Future[bool]]] = deque()
        self._condition = threading.Condition()
        self._put = 0  # items handed over so far
        self._done = 0  # items committed so far
        self._wanted = 0  # how many items somebody waits for to be committed
        self._batch_at = float("-inf")  # monotonic seconds of the last batch
        self._failing: str | None = None
        self._stopping = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over a durable object; never blocks."""
        self.put_all((item,))

    def put_all(self, items: Sequence[Item]) -> None:
        """Hand over durable objects in the order they came; never blocks."""
        with self._condition:
            before = len(self._waiting)
            self._waiting.extend(items)
            self._waiting_bytes += sum(map(weight, items))
            self._put += len(items)
            # The writer waits for the first of a batch and for a full one: to wake it for each object of a
            # batch would cost the receivers more than their own work here.
            if before == 0 or before < MAX_BATCH <= len(self._waiting):
                self._condition.notify_all()

    def run(self, job: Callable[[], bool]) -> Future[bool]:
        """Have ``job`` done between two batches, in the writer's thread: no file comes under a key meanwhile.

        Its result, or what it raises, is the future's; a writer that ends cancels it.
        """
        future: Future[bool] = Future()
        with self._condition:
            if self._stopping or self._ended:
                future.cancel()
                return future
            self._jobs.append((job, future))
            self._condition.notify_all()
        return future

    def refusal(self) -> str | None:
        """Why no further object should be taken now, or None."""
        if self._ended:
            return f"index: {self._failing}"[:64]
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES:
            return f"{len(self._waiting)} objects wait for the index: {self._failing or 'it is behind'}"[:64]
        return None

    def wait_for_room(self, seconds: float) -> str | None:
        """``refusal``, after waiting for the index to catch up while nothing says that it can't."""
        if self.refusal() is None:
            return None
        with self._condition:
            self._condition.wait_for(
                lambda: self.refusal() is None or self._failing or self._ended or self._stopping, seconds
            )
        return self.refusal()

    @property
    def failing(self) -> str | None:
        """Why the newest batch can't be written, or None."""
        return self._failing

    @property
    def ended(self) -> bool:
        """A fault of ours has ended its thread: what waits for it waits in vain."""
        return self._ended

    def wait_until_current(self, seconds: float = 30.0) -> None:
        """Return when everything handed over before this call is indexed. Raises ``IndexUnavailable``."""
        with self._condition:
            target = self._put
            if self._done < target:
                self._wanted = max(self._wanted, target)
                self._condition.notify_all()
            reached = self._condition.wait_for(lambda: self._done >= target or self._failing, seconds)
            if self._done < target:
                why = self._failing if reached else f"not current after {seconds:g} s"
                raise IndexUnavailable(f"index is behind: {why}")

    def stop(self) -> None:
        """Write what has been handed over, then end. What can't be written waits in ``incoming``."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._write_batches()
        except BaseException:
            with self._condition:  # nobody waits for a writer that is gone, and nothing more is taken
                self._failing, self._ended = "the index writer has ended, see the log; restart the node", True
                self._condition.notify_all()
            self._changed()
            raise
        finally:
            with self._condition:
                for _, future in self._jobs:
                    future.cancel()
                self._jobs.clear()

    def _write_batches(self) -> None:
        while True:
            batch = self._next_batch()
            self._do_jobs()
            if not batch:
                if self._stopping:
                    return
                continue
            if not self._write_until_done(batch):
                return
            with self._condition:
                self._done += len(batch)
                self._condition.notify_all()
            self._changed()

    def _next_batch(self) -> list[Item]:
        """Up to ``MAX_BATCH`` items; waits a moment for more, because a commit costs the same for all."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._jobs or self._stopping)
            if not self._waiting:
                return []
            busy = time.monotonic() - self._batch_at < _BUSY_BATCH_SECONDS
            self._condition.wait_for(
                lambda: len(self._waiting) >= MAX_BATCH or self._hurried,
                _BUSY_BATCH_SECONDS if busy else BATCH_SECONDS,
            )
            self._batch_at = time.monotonic()
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            self._waiting_bytes -= sum(map(weight, batch))
            return batch

    @property
    def _hurried(self) -> bool:
        """Somebody waits for what waits here, for more than one batch perhaps, or for a job after it."""
        return self._done < self._wanted or bool(self._jobs) or self._stopping

    def _do_jobs(self) -> None:
        """What has been asked for by now; what is asked for meanwhile waits for the next batch."""
        for _ in range(len(self._jobs)):
            job, future = self._jobs.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001  it is for whoever asked
                future.set_exception(error)

    def _write_until_done(self, batch: list[Item]) -> bool:
        """Write a batch, again and again while the index is unavailable; False when told to stop."""
        attempt = 0
        while True:
            try:
                self._write(batch)
                self._failing = None
                if attempt:
                    self._observer.index_recovered()
                return True
            except (IndexUnavailable, StorageError) as error:
                self._failing = str(error)
                self._observer.index_failed(error, len(self._waiting) + len(batch))
            self._changed()
            with self._condition:
                self._condition.notify_all()  # whoever waits for the index is told why
                self._condition.wait_for(
                    lambda: self._stopping, _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                )
                if self._stopping and attempt > 0:
                    return False
            attempt += 1

    def _write(self, batch: Sequence[Item]) -> None:
        """One batch; when something in it can't be indexed at all, in ever smaller parts, to the one object.

        Raises ``IndexUnavailable`` and ``StorageError`` for what passes.
        """
        try:
            self._write_together(batch)
        except Exception as error:  # noqa: BLE001  an object that trips the index must not hold up the others
            self._intake.forget()
            _raise_if_passing(error)
            if len(batch) > 1:
                half = len(batch) // 2
                self._write(batch[:half])
                self._write(batch[half:])
                return
            self._set_aside(batch[0], error)

    def _set_aside(self, item: Item, error: Exception) -> None:
        """Quarantine an object that can't be indexed; where even that fails it stays in ``incoming``."""
        if not item.name:  # reindex: it stays under its key
            self._observer.object_failed(item.key.instance if isinstance(item, Received) else "", error)
            return
        self._observer.object_failed(item.name, error)
        why = f"{type(error).__name__} while indexing"
        rejection = Rejection(item.name, INDEX_ERROR, why, item.calling_ae, self._clock.wall())
        try:
            self._write_together([rejection])
        except Exception as again:  # noqa: BLE001  reported; the next start comes back to it
            self._intake.forget()
            _raise_if_passing(again)
            self._observer.object_failed(item.name, again)

    def _write_together(self, batch: Sequence[Item]) -> None:
        received = [item for item in batch if isinstance(item, Received)]
        rejections = [item for item in batch if isinstance(item, Rejection)]
        while received or rejections:
            with self._engine.read() as connection:
                fates = self._intake.sort_out(connection, received)
            with self._engine.write() as connection:
                self._intake.apply(connection, fates, self._clock.now(), self._clock.wall())
                self._intake.reject(connection, rejections)
            self._tell()
            for item in fates:
                self._place(item.received.name, self._move, item)
            for rejection in rejections:
                self._place(rejection.name, self._files.quarantine, rejection.name, rejection.reason)
            done = {id(item.received) for item in fates}
            received = [item for item in received if id(item) not in done]
            rejections = []

    def _tell(self) -> None:
        notes, self._intake.notes = self._intake.notes, []
        for note in notes:
            note(self._observer)

    def _place(self, name: str, move: Callable[..., object], *arguments: Any) -> None:
        """Move a file whose rows are committed. One that can't be moved stays, and the next start tries again."""
        try:
            move(*arguments)
        except (StorageError, OSError) as error:
            _raise_if_passing(error)
            self._observer.object_failed(name, error)

    def _move(self, item: Sorted) -> None:
        received, fate = item
        if not received.name:
            return  # reindex: it lies under its key already
        match fate:
            case Fate.NEW | Fate.RESTORED:
                self._files.adopt(received.name, received.key)
            case Fate.SAME:
                self._files.drop_waiting(received.name)
            case Fate.KEPT_OLD:
                self._files.quarantine(received.name, DUPLICATE)
            case Fate.REPLACED:
                self._files.quarantine_stored(received.key, DUPLICATE, received.name)
                self._files.adopt(received.name, received.key)


def weight(item: Item) -> int:
    """Bytes of the header that an object waits with."""
    return item.header.size if isinstance(item, Received) else 0


def _raise_if_passing(error: Exception) -> None:
    """Raise ``IndexUnavailable`` or ``StorageError`` for the machine's trouble; return for an object's own."""
    if isinstance(error, IndexUnavailable) and not isinstance(error, IndexRefused):
        raise error
    cause = error.__cause__ if isinstance(error, StorageError) else error
    if isinstance(cause, OSError) and cause.errno in _MACHINE:
        raise StorageError(str(error)) from cause
