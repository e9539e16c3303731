"""The owner of the index as its receiver processes need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from node.association.receiver import Observer
from node.metrics import Stores
from node.model import Received, Rejection
from node.reception.board import Room


class Owner(Protocol):
    """What receivers hand over, and ask; ``node.reception.desk`` has it."""

    def put_all(self, items: Sequence[Received | Rejection]) -> None:
        """Durable objects and such for quarantine, in the order they came. Never blocks."""

    def room(self) -> Room:
        """Whether the index can take one more object now."""

    def catch_up(self) -> None:
        """Return when everything that was put is indexed. Raises ``IndexUnavailable``."""

    def left_behind(self, label: str) -> int:
        """Take in what a receiver that died had acknowledged but not told; returns how many objects."""


class Reporter(Observer, Protocol):
    """The observer of associations, which also hears of queries, and of many objects at once."""

    def stored_together(self, stores: Stores) -> None:
        """C-STOREs of one caller were answered with success."""

    def found(self, level: str, status: int) -> None:
        """A query ended."""
