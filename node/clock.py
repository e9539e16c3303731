"""Drives completion: sleeps until the next deadline, decides, publishes. Nothing polls.

One thread decides, and publishes what is quick. What documents contain is read from stored files, which can
take seconds: such studies are published in the reading lane, so that they hold up nobody but each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple, Protocol

from node import completion
from node.completion import Complete
from node.index.studies import Studies
from node.model import Reason, StudyState
from node.timing import Time

# After a failure: how long before it is tried again. A study's delays double up to the second value, so that
# one that can never be built costs nothing and fills no log.
_RETRY_SECONDS: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 300.0
_LONGEST_INDEX_RETRY_SECONDS: Final = 60.0  # the writer's next commit wakes the clock earlier
_REMEMBERED: Final = 10_000

LANE_THREADS: Final = 2
MAX_IN_LANE: Final = 256  # studies; each query for what is due names them
# Objects that come move deadlines on, mostly to later, with every batch of the index: those are looked at
# together. Two queries at each of fifty batches a second took a tenth of the node's time.
_ARRIVALS_SECONDS: Final = 0.1
# A study that finds the lane full keeps its place in line here, and is not due again for this long: neither
# the index nor the clock looks at a long line over and over. A restart brings it forward to its quiet period.
_IN_LINE_SECONDS: Final = 3600.0


class ClockObserver(Protocol):
    """What people want to know of the clock."""

    def clock_failed(self, study: str | None, error: BaseException) -> None:
        """A study (None: the index as a whole) could not be dealt with; it is tried again."""


class _Trouble(NamedTuple):
    """A study whose publication failed: how often, and when it is tried again."""

    failures: int
    retry_at: float


class _ReadingLane:
    """Studies that are published in threads of their own, in the order they came; used by the clock's thread.

    ``ended`` is called from a lane's thread when there is room for another one.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._inside: set[str] = set()
        self._line: dict[str, None] = {}  # the clock's thread only; a dict for its order
        self._closed = False
        self._pool = ThreadPoolExecutor(LANE_THREADS, "completion-reading")

    def inside(self) -> frozenset[str]:
        """The studies at hand or about to be."""
        with self._lock:
            return frozenset(self._inside)

    def enter(self, uid: str, job: Callable[[], None]) -> bool:
        """Have ``job`` run in the lane; False when it is full, and ``uid`` has a place in the line then."""
        with self._lock:
            if len(self._inside) >= MAX_IN_LANE:
                self._line[uid] = None
                return False
            self._inside.add(uid)
        self._line.pop(uid, None)
        # A fault that nobody caught is raised in the callback, where concurrent.futures logs it.
        self._pool.submit(self._run, uid, job).add_done_callback(Future.result)
        return True

    def next_in_line(self) -> str | None:
        """Take the first study from the line if there is room for it in the lane."""
        with self._lock:
            room = len(self._inside) < MAX_IN_LANE
        if not room or not self._line:
            return None
        uid = next(iter(self._line))
        del self._line[uid]
        return uid

    def close(self) -> None:
        """Begin no further study: they stay due in the index."""
        self._closed = True

    def join(self) -> None:
        """Return when the studies at hand are done."""
        self._pool.shutdown(wait=True)

    def _run(self, uid: str, job: Callable[[], None]) -> None:
        try:
            if not self._closed:
                job()
        finally:
            with self._lock:
                self._inside.discard(uid)
            self._ended()


class CompletionClock:
    """``publish(study, reason)`` makes a version's events, or says False when the study is not what it was;
    ``moved_at(uid)`` is when an open association that brought some of the study last received bytes (seconds
    since the epoch), None without one; ``slow(uid)`` tells that publishing the study means reading its files.
    ``publish`` and ``observer`` are called from several threads, for one study from one at a time."""

    def __init__(
        self,
        studies: Studies,
        publish: Callable[[StudyState, Reason], bool],
        moved_at: Callable[[str], float | None],
        max_seconds: float,
        clock: Time,
        observer: ClockObserver,
        slow: Callable[[str], bool],
    ) -> None:
        self._studies = studies
        self._publish = publish
        self._moved_at = moved_at
        self._max_seconds = max_seconds
        self._clock = clock
        self._observer = observer
        self._slow = slow
        self._condition = threading.Condition()
        self._changed = True
        self._arrived = False
        self._stopping = False
        self._troubles: dict[str, _Trouble] = {}  # guarded by _condition
        self._failures = 0  # of the index, in a row
        self._lane = _ReadingLane(ended=self.wake)
        self._thread = threading.Thread(target=self._run, name="completion-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Deadlines have changed."""
        with self._condition:
            self._changed = True
            self._condition.notify_all()

    def arrived(self) -> None:
        """Objects came, and moved deadlines; looked at within ``_ARRIVALS_SECONDS``."""
        with self._condition:
            if not self._arrived:
                self._arrived = True
                self._condition.notify_all()

    def stop(self) -> None:
        """End after the studies at hand, inline and in the lane."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        self._lane.close()
        if self._thread.is_alive():
            self._thread.join()
        self._lane.join()

    def _run(self) -> None:
        while not self._stopping:
            pause = self.tick()
            with self._condition:
                self._condition.wait_for(lambda: self._changed or self._arrived or self._stopping, pause)
                if self._arrived:
                    self._condition.wait_for(lambda: self._changed or self._stopping, _ARRIVALS_SECONDS)
                self._changed = self._arrived = False

    @property
    def running(self) -> bool:
        """Deadlines are watched."""
        return self._thread.is_alive()

    def tick(self) -> float | None:
        """Deal with every study that is due; returns how long to sleep then (None: until woken)."""
        try:
            while not self._stopping and (uid := self._lane.next_in_line()) is not None:
                self._look_at(self._studies.state(uid))
            for study in self._studies.due(self._clock.now(), without=self._lane.inside()):
                if self._stopping:
                    return None
                self._look_at(study)
            next_deadline = self._studies.next_deadline(without=self._lane.inside())
        except Exception as error:  # noqa: BLE001  without this thread no study would ever complete
            self._observer.clock_failed(None, error)
            self._failures += 1
            return _delay(self._failures - 1, _LONGEST_INDEX_RETRY_SECONDS)
        self._failures = 0
        return None if next_deadline is None else max(next_deadline - self._clock.now(), 0.0)

    def _look_at(self, study: StudyState) -> None:
        """Publish or postpone; every way out moves the deadline on, so that nothing is due for ever."""
        if study.deadline is None:  # held or published while it stood in line
            return
        now = self._clock.now()
        with self._condition:
            trouble = self._troubles.get(study.uid)
        if trouble is not None and now < trouble.retry_at:
            self._studies.postpone(study, trouble.retry_at)
            return
        decision = completion.decide(study, now, self._moved_at(study.uid), self._max_seconds)
        if not isinstance(decision, Complete):
            self._studies.postpone(study, decision.until)
        elif not self._is_slow(study.uid):
            self._complete(study, decision.reason)
        elif not self._lane.enter(study.uid, partial(self._complete_in_lane, study, decision.reason)):
            self._studies.postpone(study, now + _IN_LINE_SECONDS)

    def _is_slow(self, uid: str) -> bool:
        try:
            return self._slow(uid)
        except Exception as error:  # noqa: BLE001  the study is published all the same, inline
            self._observer.clock_failed(uid, error)
            return False

    def _complete_in_lane(self, study: StudyState, reason: Reason) -> None:
        try:
            self._complete(study, reason)
        except Exception as error:  # noqa: BLE001  the index does not take when to try again, so it is kept here
            self._observer.clock_failed(None, error)
            self._retry_at(study.uid)

    def _complete(self, study: StudyState, reason: Reason) -> None:
        try:
            published = self._publish(study, reason)
        except Exception as error:  # noqa: BLE001  one study must not hold up the others
            self._observer.clock_failed(study.uid, error)
            self._studies.postpone(study, self._retry_at(study.uid))
            return
        with self._condition:
            self._troubles.pop(study.uid, None)
        if not published:  # it changed, and has a deadline of its own then
            self._studies.postpone(study, self._clock.now() + _RETRY_SECONDS)

    def _retry_at(self, uid: str) -> float:
        """Note that a study failed once more; when it is tried again."""
        with self._condition:
            if len(self._troubles) > _REMEMBERED:
                self._troubles.clear()
            failures = self._troubles.get(uid, _Trouble(0, 0.0)).failures
            retry_at = self._clock.now() + _delay(failures, _LONGEST_RETRY_SECONDS)
            self._troubles[uid] = _Trouble(failures + 1, retry_at)
            return retry_at


def _delay(failures: int, longest: float) -> float:
    return min(_RETRY_SECONDS * 2.0 ** min(failures, 16), longest)
