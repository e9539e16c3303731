"""The threads of associations, used again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Crew:
    """Threads that serve one connection after another: to start one costs as much as a tenth of a short
    association. ``kept`` of those that have nothing to do wait for more."""

    def __init__(self, kept: int = 8) -> None:
        self._kept = kept
        self._idle = 0
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def run(self, work: Callable[[], None]) -> None:
        """Call ``work``, which must not raise, in a thread at once. Raises ``RuntimeError``: no thread is to be had."""
        with self._lock:
            waits = self._idle > 0
            self._idle -= waits
        if waits:
            self._work.put(work)
        else:
            threading.Thread(target=self._serve, args=([work],), name="association", daemon=True).start()

    def _serve(self, first: list[Callable[[], None]]) -> None:
        work: Callable[[], None] | None = first.pop()
        while work is not None:
            work()
            work = None  # nothing of a connection that has ended is held, also not by the arguments of the thread
            with self._lock:
                if self._idle >= self._kept:
                    return
                self._idle += 1
            work = self._work.get()

    def dismiss(self) -> None:
        """End those that wait, and the others when they are done."""
        with self._lock:
            waiting, self._idle, self._kept = self._idle, 0, 0
        for _ in range(waiting):
            self._work.put(None)
