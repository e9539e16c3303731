"""Objects let out of quarantine, or deleted, on an operator's word.

Each decision is durable in the index before a file is touched, and every step after it can be made again: what a
crash leaves half done is finished at the next start (``settle``), before anything else is taken in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final, Protocol

from node.errors import DataSetError, IndexUnavailable, NodeError, QuarantineConflict, StorageError
from node.index import quarantine, rows
from node.index.engine import Engine
from node.index.intake import DUPLICATE, Fate, Intake, Observer, Sorted
from node.index.quarantine import QuarantineRows, Settled
from node.index.writer import IndexWriter
from node.model import ObjectKey, Received
from node.objects import filemeta
from node.objects.files import FileObjects
from node.recovery import read_object
from node.timing import Time

_JOB_SECONDS: Final = 30.0
_ROWS: Final = 500  # of a transaction
_STUDY_HINT: Final = (
    "`dicom-fhir-node complete UID` publishes the study as it is; a study is never deleted here."
)
_UNREADABLE_HINT: Final = (
    "The sender has to correct it; or correct the file in quarantine/ and release it then, or discard it."
)


class QuarantineObserver(Observer, Protocol):
    """What people want to know of decisions."""

    def released(self, reason: str, study: str, file: str) -> None:
        """An object was taken in, or (``file`` is empty) a study published, that had been held back."""

    def discarded(self, reason: str, study: str, file: str) -> None:
        """An object's bytes were deleted."""

    def unsettled(self, file: str, error: NodeError) -> None:
        """A decision of before a crash can't be carried out now; the next start tries again."""


class QuarantineDesk:
    """Decisions, one at a time. Any thread may call it; each call blocks until files are where they belong.

    ``changed`` is called when a study has changed. What concerns stored objects is done in the index writer's
    thread, between two batches: no other object comes under the same key meanwhile.
    """

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        writer: IndexWriter,
        objects: FileObjects,
        clock: Time,
        observer: QuarantineObserver,
        changed: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._writer = writer
        self._objects = objects
        self._clock = clock
        self._observer = observer
        self._changed = changed
        self._rows = QuarantineRows(engine)
        self._lock = threading.Lock()

    def release(self, number: int) -> None:
        """Let an object out: it takes the place of the one that it collided with, else it is taken in again.

        Raises ``QuarantineNotFound``, ``QuarantineConflict``, ``StorageError``, ``IndexUnavailable``.
        """
        with self._lock:
            row = self._object(number)
            if quarantine.decision(row) == "discarded":
                raise QuarantineConflict(f"object {number} was discarded: its bytes are deleted")
            if quarantine.decision(row) == "released":
                if not self._unfinished(number):
                    raise QuarantineConflict(f"object {number} was released before")
                return
            received = self._read(row)
            self._writer.wait_until_current()
            if not (self._collides(row["name"], received.key) and self._put_in_place(row, received)):
                self._take_in(row, received)
            self._observer.released(row["reason"], received.key.study, row["name"])

    def discard(self, number: int) -> None:
        """Delete an object's bytes; harmless when they are deleted.

        Raises ``QuarantineNotFound``, ``QuarantineConflict``, ``StorageError``, ``IndexUnavailable``.
        """
        with self._lock:
            row = self._object(number)
            if quarantine.decision(row) == "released":
                raise QuarantineConflict(f"object {number} was released: it is not in quarantine any more")
            fresh = quarantine.decision(row) == "waiting"
            if fresh:
                self._rows.discard(number, self._clock.wall())
            self._objects.delete_quarantined(row["name"])
            if fresh:
                self._observer.discarded(row["reason"], row["study"] or "", row["name"])

    def settle(self) -> None:
        """At start, before anything is taken in: carry out what was decided and a crash left half done.

        Objects to be taken in again are in incoming/ then, with all that waits there.
        """
        for one in self._rows.settled():
            try:
                self._finish(one)
            except (NodeError, OSError) as error:
                failed = error if isinstance(error, NodeError) else StorageError(str(error))
                self._observer.unsettled(one.file, failed)

    def find_lost(self) -> int:
        """After the index was made anew: objects in quarantine that no row tells of get one; returns how many."""
        lost = self._rows.unknown(list(self._objects.quarantined()))
        for start in range(0, len(lost), _ROWS):
            self._rows.add([self._found(file) for file in lost[start : start + _ROWS]])
        return len(lost)

    def _found(self, file: str) -> dict[str, Any]:
        """The row of a file that only its folder and itself tell of."""
        reason = file.partition("/")[0]
        detail = "found in quarantine/ when the index was made anew"
        key, calling_ae, at = None, "", self._clock.wall()
        try:
            with self._objects.open_quarantined(file) as opened:
                received = read_object(opened, "", None)
            key, calling_ae, at = received.key, received.calling_ae, received.received_at
        except (DataSetError, OSError) as error:
            detail += f"; it can't be read: {error if isinstance(error, DataSetError) else error.strerror}"
        return rows.quarantine_row(reason, detail, calling_ae, at, key, file)

    def _object(self, number: int) -> Mapping[str, Any]:
        row = self._rows.row(number)
        if quarantine.kind(row) == "study":
            raise QuarantineConflict(f"{number} is study {row['study']}, not an object", _STUDY_HINT)
        return row

    def _read(self, row: Mapping[str, Any]) -> Received:
        """What the index needs of a quarantined file. Raises ``QuarantineConflict`` when it can't be taken."""
        try:
            with self._objects.open_quarantined(row["name"]) as file:
                return read_object(file, "", None)
        except FileNotFoundError:
            hint = "Somebody has moved or deleted it: discard it, so that it does not wait any more."
            raise QuarantineConflict(f"{row['name']} is not in quarantine/ any more", hint) from None
        except DataSetError as error:
            raise QuarantineConflict(f"it still can't be taken: {error}", _UNREADABLE_HINT) from error
        except OSError as error:
            raise StorageError(f"read quarantine/{row['name']}: {error.strerror}") from error

    def _collides(self, file: str, key: ObjectKey) -> bool:
        """Another object is stored and indexed under ``key``, with other bytes."""
        if not self._is_stored(key):
            return False
        try:
            with self._objects.open(key) as stored, self._objects.open_quarantined(file) as held:
                return not filemeta.same_data_set(stored, held)
        except FileNotFoundError:  # its objects are deleted (retention): nothing is in the way
            return False
        except DataSetError:  # the stored one does not begin as it should: here is one that does
            return True
        except OSError as error:
            raise StorageError(f"compare {file} with {key.instance}: {error.strerror}") from error

    def _is_stored(self, key: ObjectKey) -> bool:
        return self._rows.place_of(key.instance, key) == key and self._objects.path(key).exists()

    def _take_in(self, row: Mapping[str, Any], received: Received) -> None:
        """Through the same intake as if it had come now, under a name that no former row of quarantine has."""
        name = self._objects.new_name()
        self._rows.release(row["id"], self._clock.wall())
        self._objects.retake(row["name"], name)
        self._writer.put(received._replace(name=name))
        self._writer.wait_until_current()

    def _put_in_place(self, row: Mapping[str, Any], received: Received) -> bool:
        """False when the place has become empty meanwhile."""
        try:
            return self._in_writer(lambda: self._swap(row, received))
        finally:  # where only the files could not be moved, the study's rows have changed all the same
            self._changed()

    def _swap(self, row: Mapping[str, Any], received: Received) -> bool:
        """Rows in one transaction, as for ``objects.on_duplicate = replace``; then the files."""
        if not self._is_stored(received.key):  # retention works in this thread too
            return False
        name = self._objects.new_name()
        item = Sorted(received._replace(name=name), Fate.REPLACED)
        displaced = f"{DUPLICATE}/{name}.dcm"
        wall = self._clock.wall()
        try:
            with self._engine.write() as connection:
                sender = quarantine.sender_of(connection, received.key)
                self._intake.apply(connection, [item], self._clock.now(), wall)
                other = quarantine.describe_displaced(connection, displaced, sender, row["id"])
                quarantine.mark_released(connection, row["id"], wall, other)
        except BaseException:
            self._intake.forget()
            raise
        notes, self._intake.notes = self._intake.notes, []
        for note in notes:
            note(_Told(self._observer, displaced, sender))
        self._exchange(row["name"], name, received.key)
        return True

    def _exchange(self, file: str, name: str, key: ObjectKey) -> None:
        """``file`` from quarantine to ``key``, what lies there to quarantine as ``name``; a step that was made before
        does nothing.

        The object waits in incoming/ meanwhile: where the index is lost too, it is found there.
        """
        self._objects.retake(file, name)
        self._objects.quarantine_stored(key, DUPLICATE, name)
        self._objects.adopt(name, key)

    def _unfinished(self, number: int) -> bool:
        """Carry out a release that failed or was cut off after it was decided; False when it is all done."""
        found = self._rows.settled(number)
        if not found or not self._is_half_done(found[0]):
            return False
        one = found[0]
        if one.displaced is not None:
            self._in_writer(lambda: self._finish(one))
            return True
        row = self._rows.row(number)
        self._take_in(row, self._read(row))
        return True

    def _is_half_done(self, one: Settled) -> bool:
        if self._objects.is_quarantined(one.file):
            return True
        return one.displaced is not None and self._objects.is_waiting(_stem(one.displaced))

    def _finish(self, one: Settled) -> bool:
        """The files of one decision; False when nothing was left to do."""
        if not self._is_half_done(one):
            return False
        if one.discarded:
            self._objects.delete_quarantined(one.file)
        elif one.displaced is None or one.key is None:
            self._objects.retake(one.file, self._objects.new_name())
        else:
            self._exchange(one.file, _stem(one.displaced), one.key)
        return True

    def _in_writer(self, job: Callable[[], bool]) -> bool:
        """Have ``job`` done by the index writer. Raises what it raises, or ``IndexUnavailable``."""
        future: Future[bool] = self._writer.run(job)
        try:
            return future.result(_JOB_SECONDS)
        except CancelledError:
            raise IndexUnavailable("the index writer is stopping: try again when the node runs") from None
        except FutureTimeout:
            if future.cancel():
                why = self._writer.failing or "it is busy"
                raise IndexUnavailable(f"the index writer did not come to it: {why}") from None
            # It has begun, and what it does to files can't be left half known: a disk may be slow
            while not self._writer.ended and not wait((future,), _JOB_SECONDS).done:
                pass
            if not future.done():
                raise IndexUnavailable("the index writer ended in the middle: restart the node") from None
            return future.result()


class _Told:
    """The observer of a release: nothing came late or twice, but what went to quarantine is told, and that
    ``displaced`` came from ``sender``."""

    def __init__(self, observer: Observer, displaced: str, sender: str) -> None:
        self._observer = observer
        self._displaced = displaced
        self._sender = sender

    def quarantined(self, reason: str, study: str, file: str, calling_ae: str) -> None:
        """The displaced object; or the study, when it turns out to be two patients' now."""
        came_from = self._sender if file == self._displaced else calling_ae
        self._observer.quarantined(reason, study, file, came_from)

    def duplicate(self, kind: str) -> None:
        """The object was counted when it came."""

    def late(self, calling_ae: str, count: int) -> None:
        """It did not come now."""


def _stem(file: str) -> str:
    """The name in incoming/ of an object that is called ``file`` in quarantine/."""
    return file.rpartition("/")[2].removesuffix(".dcm")
