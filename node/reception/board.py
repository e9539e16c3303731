"""The few numbers that the owner and all receivers must see at once, in shared memory without a message.

A receiver writes only its own slot, the owner only the flag; aligned 32-bit values are written whole.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from typing import Final

_SIZE: Final = 4096
SLOTS: Final = 64


class Board:
    """``fd`` is the shared memory's descriptor: given, another process made it; without, it is made."""

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            fd = os.memfd_create("dicom-node-board")
            os.ftruncate(fd, _SIZE)
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)
        self._view = memoryview(self._map).cast("I")
        self._lock = threading.Lock()

    @property
    def behind(self) -> bool:
        """The index can't take more now: receivers answer 0xA700."""
        return self._view[0] != 0

    @behind.setter
    def behind(self, value: bool) -> None:
        self._view[0] = int(value)

    @property
    def associations(self) -> int:
        """Associations open in all receivers."""
        return sum(self._view[1 : 1 + SLOTS])

    def clear(self, slot: int) -> None:
        """A receiver has gone, and its associations with it."""
        self._view[1 + slot] = 0

    def take(self, slot: int, limit: int) -> bool:
        """Count one more association of ``slot``, unless ``limit`` are open in all."""
        # A record lock excludes the other processes, not the threads of this one.
        with self._lock:
            fcntl.lockf(self.fd, fcntl.LOCK_EX)
            try:
                if self.associations >= limit:
                    return False
                self._view[1 + slot] += 1
                return True
            finally:
                fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def give_back(self, slot: int) -> None:
        """An association of ``slot`` ended."""
        with self._lock:
            self._view[1 + slot] -= 1

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self.fd)
