"""The few numbers that the owner and all receivers must see at once, in shared memory without a message.

The first word is the owner's: how the index stands. Behind it each receiver has a row: how many associations it has
open, how many of each [[peers]] entry with a limit of its own, and, if it runs, one more than its open connections. A
receiver writes only its own row, which the owner clears when the receiver has died, and the owner writes the first
word; aligned 32-bit values are written whole.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

_WORD: Final = 4
SLOTS: Final = 64


class Room(IntEnum):
    """Whether the index can take one more object."""

    THERE = 0
    LATER = 1  # it is behind: peers wait, in the end for 0xA700
    FAILING = 2  # it can't be written: there is nothing to wait for


class Board:
    """``limited`` is how many entries have a limit of their own. ``fd`` is the shared memory's descriptor: given,
    another process made it, for as many entries; without, it is made."""

    def __init__(self, limited: int = 0, fd: int | None = None) -> None:
        self._row = 2 + limited
        size = _WORD * (1 + SLOTS * self._row)
        if fd is None:
            fd = os.memfd_create("dicom-node-board")
            os.ftruncate(fd, size)
        self.fd = fd
        self._map = mmap.mmap(fd, size)
        self._view = memoryview(self._map).cast("I")
        self._lock = threading.Lock()

    @property
    def room(self) -> Room:
        """Whether the index can take more, as far as its owner has told."""
        return Room(self._view[0])

    @room.setter
    def room(self, value: Room) -> None:
        self._view[0] = value

    @property
    def associations(self) -> int:
        """Associations open in all receivers."""
        return self._sum(0)

    def associations_of(self, slot: int) -> int:
        """Associations open in one receiver."""
        return self._view[1 + slot * self._row]

    def connected(self, slot: int, count: int) -> None:
        """A receiver runs and has so many connections open, associations or not."""
        self._view[self._row * (1 + slot)] = 1 + count

    def has_fewer(self, slot: int) -> bool:
        """Another receiver runs and has fewer connections open."""
        connections = self._view[self._row :: self._row]
        return any(0 < others < connections[slot] for others in connections)

    def _sum(self, column: int) -> int:
        return sum(self._view[1 + column :: self._row])

    def clear(self, slot: int) -> None:
        """A receiver has gone, and its associations with it."""
        for column in range(self._row):
            self._view[1 + slot * self._row + column] = 0

    def take(self, slot: int, limits: Mapping[int, int]) -> int | None:
        """Count one more association of ``slot``, unless one of ``limits`` is reached: then say which.

        ``limits``: column -> how many may be open in all receivers; column 0 is any association, n that of the
        n-th entry that has a limit. The association is counted in each column named.
        """
        row = 1 + slot * self._row
        # A record lock excludes the other processes, not the threads of this one.
        with self._lock:
            fcntl.lockf(self.fd, fcntl.LOCK_EX)
            try:
                for column, limit in limits.items():
                    if self._sum(column) >= limit:
                        return column
                for column in limits:
                    self._view[row + column] += 1
                return None
            finally:
                fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def give_back(self, slot: int, columns: Iterable[int]) -> None:
        """An association of ``slot`` ended, which was counted in ``columns``."""
        row = 1 + slot * self._row
        with self._lock:
            for column in columns:
                self._view[row + column] -= 1

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self.fd)
