"""Deletes the objects of old studies, where the operator asked for it: by age, or when space runs short.

Only of studies that are complete and whose events the sink has: never of one that is open, held, in quarantine,
or that has an event waiting or parked. The oldest completed go first. The files go before the index says so: a
crash in between leaves a study that is taken up again.

All of it happens in the index writer's thread: no object can come under a key while the file there is deleted,
so what is acknowledged meanwhile is kept, and opens the study's next version.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from node.index.retention import Expirable, RetentionRows
from node.model import ObjectKey
from node.timing import Time

_DAY: Final = 86_400.0
_PORTION: Final = 500  # files deleted before the writer gets its turn again
_RETRY_SECONDS: Final = 60.0
# How often free space is looked at while objects come: deleting takes longer than that to be needed again.
_SPACE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class RetentionOptions:
    """``max_age_days`` since a study was completed (0: any), ``min_free_bytes`` on the disk of the objects
    (0: any); ``keep_index`` leaves the rows, so that the study is still found and its late instances amend it."""

    max_age_days: float = 0
    min_free_bytes: int = 0
    keep_index: bool = True

    @property
    def wanted(self) -> bool:
        """Anything is to be deleted at all."""
        return self.max_age_days > 0 or self.min_free_bytes > 0


class Files(Protocol):
    """What retention asks of the object store."""

    def delete(self, key: ObjectKey) -> None:
        """Delete an object; harmless when it is gone. Raises ``StorageError``."""

    def free_bytes(self) -> int:
        """Raises ``StorageError``."""


class RetentionObserver(Protocol):
    """What people want to know of it."""

    def objects_deleted(self, study: str, objects: int, why: str) -> None:
        """A study's objects are gone; ``why`` is age or space."""

    def retention_failed(self, error: BaseException) -> None:
        """Nothing could be deleted; it is tried again."""


class Retention:
    """``in_writer`` runs a job in the index writer's thread and gives its future."""

    def __init__(
        self,
        rows: RetentionRows,
        files: Files,
        options: RetentionOptions,
        in_writer: Callable[[Callable[[], bool]], Future[bool]],
        clock: Time,
        observer: RetentionObserver,
    ) -> None:
        self._rows = rows
        self._files = files
        self._options = options
        self._in_writer = in_writer
        self._clock = clock
        self._observer = observer
        self._condition = threading.Condition()
        self._changed = False
        self._looked_at = float("-inf")
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin, if anything is to be deleted at all."""
        if self._options.wanted:
            self._thread.start()

    def wake(self) -> None:
        """Objects came, or a study was published: there may be less space, or something to delete."""
        now = self._clock.now()
        if self._options.min_free_bytes and now - self._looked_at >= _SPACE_SECONDS:
            self._looked_at = now
            with self._condition:
                self._changed = True
                self._condition.notify_all()

    def stop(self) -> None:
        """End after the files at hand."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            pause = self.tick()
            with self._condition:
                self._condition.wait_for(lambda: self._changed or self._stopping, pause)
                self._changed = False

    def tick(self) -> float | None:
        """Delete what is due; returns the seconds until something may be due again (None: until woken)."""
        try:
            for study, why in self._due():
                if self._stopping:
                    return None
                self._delete(study, why)
            return self._next()
        except Exception as error:  # noqa: BLE001  told; without this thread nothing would be deleted any more
            self._observer.retention_failed(error)
            return _RETRY_SECONDS

    def _due(self) -> Iterator[tuple[Expirable, str]]:
        options = self._options
        if options.max_age_days:
            before = self._clock.wall() - options.max_age_days * _DAY
            for study in self._rows.oldest(before):
                yield study, "age"
        if options.min_free_bytes and self._files.free_bytes() < options.min_free_bytes:
            for study in self._rows.oldest():
                yield study, "space"
                if self._files.free_bytes() >= options.min_free_bytes:
                    return

    def _next(self) -> float | None:
        if not self._options.max_age_days:
            return None
        first = self._rows.first_completed_at()
        if first is None:
            return self._options.max_age_days * _DAY
        return max(first + self._options.max_age_days * _DAY - self._clock.wall(), 1.0)

    def _delete(self, study: Expirable, why: str) -> None:
        """Portion by portion; given up as soon as the study is not what it was, or the node ends."""
        keys = self._rows.objects(study.uid)
        for start in range(0, len(keys), _PORTION):
            portion, last = keys[start : start + _PORTION], start + _PORTION >= len(keys)
            try:
                if not self._in_writer(partial(self._delete_portion, study, portion, last)).result():
                    return
            except CancelledError:
                return
        self._observer.objects_deleted(study.uid, len(keys), why)

    def _delete_portion(self, study: Expirable, keys: list[ObjectKey], last: bool) -> bool:
        """Runs in the writer's thread. False when something came for the study, or a command."""
        if not self._rows.still(study):
            return False
        for key in keys:
            self._files.delete(key)
        if last:
            self._rows.gone(study, self._clock.wall(), self._options.keep_index)
        return True
