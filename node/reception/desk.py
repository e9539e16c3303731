"""The owner of the index as associations see it, in its own process."""

from __future__ import annotations

from collections.abc import Sequence

from node import recovery
from node.index.writer import IndexWriter
from node.metrics import Metrics
from node.model import Received, Rejection
from node.objects.files import FileObjects
from node.reception.board import Room
from node.reception.listening import PATIENCE_SECONDS
from node.timing import Time


class IndexDesk:
    """Takes what associations stored, for the index writer."""

    def __init__(self, writer: IndexWriter, objects: FileObjects, metrics: Metrics, clock: Time) -> None:
        self._writer = writer
        self._objects = objects
        self._metrics = metrics
        self._clock = clock

    def put(self, item: Received | Rejection) -> None:
        """A durable object, or one for quarantine, on its way to the index."""
        self._writer.put(item)

    def put_all(self, items: Sequence[Received | Rejection]) -> None:
        """Several, in the order they came."""
        self._writer.put_all(items)

    def catch_up(self) -> None:
        """Everything that was put is indexed when this returns. Raises ``IndexUnavailable``."""
        self._writer.wait_until_current()

    def room(self) -> Room:
        """Whether the index can take one more object now."""
        if self._writer.refusal() is None:
            return Room.THERE
        return Room.FAILING if self._writer.failing else Room.LATER

    def wait_for_room(self) -> str | None:
        """Why the index can take no more, though it had time to catch up; None when it can."""
        return self._writer.wait_for_room(PATIENCE_SECONDS)

    def found(self, level: str, status: int) -> None:
        """A query ended."""
        self._metrics.found(level, status)

    def left_behind(self, label: str) -> int:
        """Take in what a receiver process that died had acknowledged but not told; returns how many objects."""
        waiting = recovery.waiting_objects(self._objects, self._clock.wall(), label)
        return recovery.hand_over(waiting, self._writer.put, self._writer.wait_until_current)
