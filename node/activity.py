"""What came lately and who sent it, for people: minute counts of the last hour and a row a caller, in memory.

Fed where metrics are fed, in the process that owns the index. Metrics have no names of unknown callers, because
their labels must stay few; here the callers are bounded instead, and those seen longest ago become ``OTHER``, the
ones that sent nothing first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from node.timing import Time

MINUTES: Final = 60
STEP_SECONDS: Final = 60
MOST_CALLERS: Final = 200
OTHER: Final = "other"
_RELEASED: Final = "released"


class Received(NamedTuple):
    """Objects stored and their bytes in each of the last ``MINUTES``, the oldest first and the last that of the
    running minute; when the newest one came, in seconds since the epoch."""

    objects: tuple[int, ...]
    bytes: tuple[int, ...]
    last_at: float | None


@dataclass(slots=True)
class Caller:
    """What one calling AE title did since the node was started.

    ``failures``: stores not answered 0x0000; ``refused``: associations rejected, or ended other than by release;
    ``late``: instances for studies that were complete. ``last_seen`` may be from before the start.
    """

    calling_ae: str
    last_seen: float
    objects: int = 0
    bytes: int = 0
    failures: int = 0
    refused: int = 0
    late: int = 0

    def add(self, other: Caller) -> None:
        """Take in the counts of another."""
        self.last_seen = max(self.last_seen, other.last_seen)
        for name in ("objects", "bytes", "failures", "refused", "late"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Activity:
    """The recorder. Any thread may call it; what it holds is bounded whatever callers call themselves."""

    def __init__(self, clock: Time, most_callers: int = MOST_CALLERS) -> None:
        self._clock = clock
        self._most_callers = most_callers
        self._lock = threading.Lock()
        self._minutes = [-1] * MINUTES  # which minute since the epoch a place holds
        self._objects = [0] * MINUTES
        self._bytes = [0] * MINUTES
        self._last_at: float | None = None
        self._callers: OrderedDict[str, Caller] = OrderedDict()  # seen longest ago first

    def stored(self, calling_ae: str, status: int, size: int, objects: int = 1) -> None:
        """C-STOREs of ``objects`` with together ``size`` bytes were answered."""
        now = self._clock.now()
        minute = int(now // STEP_SECONDS)
        place = minute % MINUTES
        with self._lock:
            caller = self._caller(calling_ae, now)
            if status:
                caller.failures += objects
                return
            caller.objects += objects
            caller.bytes += size
            if self._minutes[place] != minute:
                self._minutes[place], self._objects[place], self._bytes[place] = minute, 0, 0
            self._objects[place] += objects
            self._bytes[place] += size
            self._last_at = now

    def association_ended(self, calling_ae: str, result: str) -> None:
        """``result`` as ``association.receiver.Observer`` has it; connections that never said who calls have no
        title, and are nobody's."""
        if calling_ae:
            with self._lock:
                self._caller(calling_ae, self._clock.now()).refused += result != _RELEASED

    def connected(self, calling_aes: Collection[str]) -> None:
        """These have associations open now, and may have sent nothing yet."""
        with self._lock:
            for calling_ae in calling_aes:
                if calling_ae not in self._callers:
                    self._caller(calling_ae, self._clock.now())

    def late(self, calling_ae: str, count: int) -> None:
        """Instances came for a study that was complete."""
        with self._lock:
            # Told by the index, which may be behind, or recovering: the caller is not there for that
            caller = self._callers.get(calling_ae)
            if caller is None:
                caller = self._caller(calling_ae, self._clock.now())
            caller.late += count

    def seed(self, seen: Mapping[str, float]) -> None:
        """What is known from before the start: calling AE title -> last seen, in seconds since the epoch."""
        with self._lock:
            for name, at in sorted(seen.items(), key=lambda one: one[1], reverse=True):
                if name and name not in self._callers and len(self._callers) < self._most_callers:
                    self._callers[name] = Caller(name, at)
            for name in sorted(self._callers, key=lambda one: self._callers[one].last_seen):
                self._callers.move_to_end(name)
            if seen:
                self._last_at = max(self._last_at or 0.0, *seen.values())

    def received(self) -> Received:
        """The last hour, as it is now."""
        running = int(self._clock.now() // STEP_SECONDS)
        with self._lock:
            places = [
                minute % MINUTES if self._minutes[minute % MINUTES] == minute else None
                for minute in range(running - MINUTES + 1, running + 1)
            ]
            return Received(
                tuple(0 if place is None else self._objects[place] for place in places),
                tuple(0 if place is None else self._bytes[place] for place in places),
                self._last_at,
            )

    def callers(self) -> list[Caller]:
        """Copies, last seen first."""
        with self._lock:
            found = [replace(caller) for caller in self._callers.values()]
        return sorted(found, key=lambda caller: caller.last_seen, reverse=True)

    def _caller(self, calling_ae: str, now: float) -> Caller:
        """The row of a caller that is heard of now; the lock is held."""
        callers = self._callers
        caller = callers.get(calling_ae)
        if caller is None:
            caller = callers[calling_ae] = Caller(calling_ae, now)
            if len(callers) - (OTHER in callers) > self._most_callers:
                self._make_room()
        caller.last_seen = now
        callers.move_to_end(calling_ae)
        return caller

    def _make_room(self) -> None:
        """The one seen longest ago becomes a part of ``OTHER``, which is never the one to go. Who has sent objects
        goes after those who have not: a scan that calls itself by many names must not hide the modalities."""
        *before, _newest = (name for name in self._callers if name != OTHER)
        gone = next((name for name in before if not self._callers[name].objects), before[0])
        other = self._callers.get(OTHER)
        if other is None:
            other = self._callers[OTHER] = Caller(OTHER, 0.0)
        other.add(self._callers.pop(gone))
