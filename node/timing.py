"""The node's time: seconds since the epoch that never jump while it runs, and how they are written."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Literal, Protocol


def rfc3339(at: float, timespec: Literal["milliseconds", "microseconds"] = "milliseconds") -> str:
    """Seconds since the epoch as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


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

    def __init__(self, offset: float | None = None) -> None:
        """``offset``: of another process of this node, whose clock this one shall agree with."""
        self.offset = time.time() - time.monotonic() if offset is None else offset

    def now(self) -> float:
        return self.offset + time.monotonic()

    def wall(self) -> float:
        return time.time()
