"""The node's time: seconds since the epoch that never jump while it runs."""

from __future__ import annotations

import time
from typing import Protocol


class Time(Protocol):
    """What the node asks of time; tests put their own in."""

    def now(self) -> float:
        """Seconds since the epoch, steady: deadlines are counted on it."""

    def wall(self) -> float:
        """Seconds since the epoch as the machine's clock has it now: what people and events are told."""


class SystemTime:
    """The wall clock as it stood at start, carried on by the monotonic clock.

    An operator or NTP that sets the clock by an hour makes no study complete early and holds none back.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset + time.monotonic()

    def wall(self) -> float:
        return time.time()
