"""A completion clock over a real index, with a time that tests move and publications that they can hold up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

from node.clock import CompletionClock
from node.index.studies import Publication
from node.model import Reason, StudyState
from tests.index.arrivals import Arrivals
from tests.studies import STUDY

MAX = 7200.0


class Gate:
    """Where slow publications wait; open unless a test shuts it."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._opened.set()
        self.waiting: Queue[str] = Queue()  # who has come to it, in that order

    def shut(self) -> None:
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    def pass_through(self, uid: str) -> None:
        self.waiting.put(uid)
        assert self._opened.wait(30)


class Bench:
    """An index, a clock over it, and what the clock did."""

    def __init__(self, folder: Path) -> None:
        self.arrivals = Arrivals(folder)
        self.time = self.arrivals.time
        self.published: list[tuple[str, Reason]] = []
        self.failures: list[tuple[str | None, BaseException]] = []
        self.moved: dict[str, float] = {}
        self.before_publish: Callable[[StudyState], None] = lambda study: None
        self.slow: set[str] = set()
        self.gate = Gate()
        self.clock = CompletionClock(
            self.arrivals.studies, self._publish, self.moved.get, MAX, self.time, self, self.is_slow
        )

    def is_slow(self, uid: str) -> bool:
        return uid in self.slow

    def clock_failed(self, study: str | None, error: BaseException) -> None:
        self.failures.append((study, error))

    def _publish(self, study: StudyState, reason: Reason) -> bool:
        self.before_publish(study)
        if study.uid in self.slow:
            self.gate.pass_through(study.uid)
        done = self.arrivals.studies.publish(study, reason, self.time.wall(), Publication([], {}, {}))
        if done:
            self.published.append((study.uid, reason))
        return done


def made(folder: Path) -> Iterator[Bench]:
    """A bench, and its end: what the fixtures yield from."""
    bench = Bench(folder)
    yield bench
    bench.gate.open()
    bench.clock.stop()
    bench.arrivals.close()


def other(number: int) -> str:
    """The UID of another study than ``STUDY``."""
    return f"{STUDY}.{number}"


def fail(_: StudyState) -> None:
    raise RuntimeError("a fault of ours")
