"""The owner of the index as its receiver processes need it."""

from __future__ import annotations

from typing import Protocol

from node.association.receiver import Observer
from node.model import Received, Rejection


class Owner(Protocol):
    """What receivers hand over, and ask; ``node.reception.desk`` has it."""

    def put(self, item: Received | Rejection) -> None:
        """A durable object, or one for quarantine. Never blocks."""

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
