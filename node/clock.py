"""Drives completion: sleeps until the next deadline, decides, publishes. One thread, nothing polls."""

from __future__ import annotations

import threading
from collections.abc import Callable
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


class ClockObserver(Protocol):
    """What people want to know of the clock."""

    def clock_failed(self, study: str | None, error: BaseException) -> None:
        """A study (None: the index as a whole) could not be dealt with; it is tried again."""


class _Trouble(NamedTuple):
    """A study whose publication failed: how often, and when it is tried again."""

    failures: int
    retry_at: float


class CompletionClock:
    """``publish(study, reason)`` makes a version's events, or says False when the study is not what it was;
    ``moved_at(uid)`` is when an open association that brought some of the study last received bytes (seconds
    since the epoch), None without one."""

    def __init__(
        self,
        studies: Studies,
        publish: Callable[[StudyState, Reason], bool],
        moved_at: Callable[[str], float | None],
        max_seconds: float,
        clock: Time,
        observer: ClockObserver,
    ) -> None:
        self._studies = studies
        self._publish = publish
        self._moved_at = moved_at
        self._max_seconds = max_seconds
        self._clock = clock
        self._observer = observer
        self._condition = threading.Condition()
        self._changed = True
        self._stopping = False
        self._troubles: dict[str, _Trouble] = {}
        self._failures = 0  # of the index, in a row
        self._thread = threading.Thread(target=self._run, name="completion-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Deadlines have changed."""
        with self._condition:
            self._changed = True
            self._condition.notify_all()

    def stop(self) -> None:
        """End after the study at hand."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            pause = self.tick()
            with self._condition:
                self._condition.wait_for(lambda: self._changed or self._stopping, pause)
                self._changed = False

    @property
    def running(self) -> bool:
        """Deadlines are watched."""
        return self._thread.is_alive()

    def tick(self) -> float | None:
        """Deal with every study that is due; returns how long to sleep then (None: until woken)."""
        try:
            for study in self._studies.due(self._clock.now()):
                if self._stopping:
                    return None
                self._look_at(study)
            next_deadline = self._studies.next_deadline()
        except Exception as error:  # noqa: BLE001  without this thread no study would ever complete
            self._observer.clock_failed(None, error)
            self._failures += 1
            return _delay(self._failures - 1, _LONGEST_INDEX_RETRY_SECONDS)
        self._failures = 0
        return None if next_deadline is None else max(next_deadline - self._clock.now(), 0.0)

    def _look_at(self, study: StudyState) -> None:
        """Publish or postpone; every way out moves the deadline on, so that nothing is due for ever."""
        now = self._clock.now()
        trouble = self._troubles.get(study.uid)
        if trouble is not None and now < trouble.retry_at:
            self._studies.postpone(study, trouble.retry_at)
            return
        decision = completion.decide(study, now, self._moved_at(study.uid), self._max_seconds)
        if not isinstance(decision, Complete):
            self._studies.postpone(study, decision.until)
            return
        try:
            published = self._publish(study, decision.reason)
        except Exception as error:  # noqa: BLE001  one study must not hold up the others
            self._observer.clock_failed(study.uid, error)
            self._studies.postpone(study, self._retry_at(study.uid, now))
            return
        self._troubles.pop(study.uid, None)
        if not published:  # it changed, and has a deadline of its own then
            self._studies.postpone(study, now + _RETRY_SECONDS)

    def _retry_at(self, uid: str, now: float) -> float:
        if len(self._troubles) > _REMEMBERED:
            self._troubles.clear()
        failures = self._troubles.get(uid, _Trouble(0, 0.0)).failures
        retry_at = now + _delay(failures, _LONGEST_RETRY_SECONDS)
        self._troubles[uid] = _Trouble(failures + 1, retry_at)
        return retry_at


def _delay(failures: int, longest: float) -> float:
    return min(_RETRY_SECONDS * 2.0 ** min(failures, 16), longest)
