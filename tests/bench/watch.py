"""What a receiver's processes take together: CPU and memory, from Linux's /proc."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]  # it ships no types

_QUIET_SECONDS: Final = 0.5  # work behind the answers is over when no more than two ticks fall into this
_QUIET_CPU: Final = 0.02
_SETTLE_SECONDS: Final = 20.0
_CPUCLOCK_SCHED: Final = 2  # clock_getcpuclockid(3), as glibc makes it: whole processes, in nanoseconds

Size = Callable[[Sequence[psutil.Process]], int]


def resident(processes: Sequence[psutil.Process]) -> int:
    """Bytes resident in all of them, pages they share counted in each; at least the first one's VmHWM."""
    total = sum(_each(processes, lambda process: process.memory_info().rss))
    return max(total, _kilobytes(processes[0].pid, "status", "VmHWM") * 1024)


def proportional(processes: Sequence[psutil.Process]) -> int:
    """Bytes resident in all of them, pages they share counted once (proc_pid_smaps(5): Pss)."""
    return sum(_each(processes, lambda process: _kilobytes(process.pid, "smaps_rollup", "Pss"))) * 1024


def biggest(processes: Sequence[psutil.Process]) -> int:
    """Bytes resident in the largest of them."""
    return max(_each(processes, lambda process: process.memory_info().rss), default=0)


def _each(processes: Sequence[psutil.Process], size: Callable[[psutil.Process], int]) -> list[int]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended: it takes nothing
            found.append(int(size(process)))
    return found


def _kilobytes(pid: int, file: str, field: str) -> int:
    with contextlib.suppress(OSError):  # it ended
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


class Watch:
    """A process and all it started. Inside ``with``, ``peak`` follows ``size`` every ``seconds``."""

    def __init__(self, pid: int, size: Size = resident, seconds: float = 0.02) -> None:
        self.peak = 0
        self._root = psutil.Process(pid)
        self._size = size
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, self.now(self._size))  # a short life may lie between two samples

    def now(self, size: Size) -> int:
        """Bytes by ``size``; 0 when the process has gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return size(self._tree())
        return 0

    def settled_cpu(self) -> float:
        """CPU seconds so far, after waiting (bounded) until the processes have come to rest."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        before, now = -1.0, self.cpu()
        while now - before > _QUIET_CPU and time.monotonic() < deadline:
            self._stop.wait(_QUIET_SECONDS)
            before, now = now, self.cpu()
        return now

    def share_of_a_core(self, seconds: float) -> float:
        """Percent of one core that they use in the next ``seconds``. Ticks (10 ms for each process) would be
        too coarse for what is nearly nothing."""
        pids = [process.pid for process in self._tree()]
        before, begin = sum(map(_cpu_clock, pids)), time.monotonic()
        self._stop.wait(seconds)
        return 100 * (sum(map(_cpu_clock, pids)) - before) / (time.monotonic() - begin)

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def cpu(self) -> float:
        """CPU seconds so far, in ticks of 10 ms for each process. Ended children count through their parent."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended: its parent's children_* have it
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def _sample(self) -> None:
        while not self._stop.wait(self._seconds):
            self.peak = max(self.peak, self.now(self._size))


def _cpu_clock(pid: int) -> float:
    """CPU seconds of a process so far. Raises ``OSError`` when it has gone."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
