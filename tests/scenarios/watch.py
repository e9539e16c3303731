"""Watches a node while somebody mistreats it: C-ECHO from another caller, and what all its processes hold."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import psutil  # type: ignore[import-untyped]  # it ships no types

from tests.harness import NodeProcess
from tests.scenarios import wire

PAUSE = 0.1
SAMPLED = 5  # memory is looked at once in so many echoes
MEGABYTE = 1_048_576


@dataclass(frozen=True)
class Held:
    """What the processes of a node hold together at one moment."""

    processes: tuple[int, ...]
    megabytes: float  # proportional set size: what they share counts once
    descriptors: int
    threads: int


def held(pid: int) -> Held:
    """The process and its descendants; one that ends meanwhile counts nothing."""
    root = psutil.Process(pid)
    pids, size, descriptors, threads = [], 0, 0, 0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            size += process.memory_full_info().pss
            descriptors += process.num_fds()
            threads += process.num_threads()
            pids.append(process.pid)
    return Held(tuple(sorted(pids)), size / MEGABYTE, descriptors, threads)


class Watch:
    """Inside it a C-ECHO is sent every tenth of a second, on an association of its own."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self.before = held(node.process.pid)
        self.most = self.before.megabytes
        self.echoes = 0
        self.slowest = 0.0
        self.failures: list[str] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.wait(PAUSE):
            began = time.monotonic()
            try:
                wire.echo(self._node.port, seconds=5)
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            self.slowest = max(self.slowest, time.monotonic() - began)
            if not self.echoes % SAMPLED:  # the kernel walks all their pages for it
                self.most = max(self.most, held(self._node.process.pid).megabytes)
            self.echoes += 1

    def check(self, growth: float) -> None:
        """Nobody else noticed, memory grew by less than ``growth`` MB, and no process died."""
        assert not self.failures
        assert self.echoes
        assert self.slowest < 1, f"C-ECHO took {self.slowest:.2f} s"
        assert self.most - self.before.megabytes < growth, (
            f"{self.before.megabytes:.0f} to {self.most:.0f} MB"
        )
        lost = set(self.before.processes) - set(held(self._node.process.pid).processes)
        assert not lost, f"processes {lost} of {self.before.processes} have gone"
        assert "Traceback" not in self._node.log()
