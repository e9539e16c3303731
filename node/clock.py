"""Drives completion: sleeps until the next deadline, decides, publishes. One thread, nothing polls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from node import completion
from node.completion import Complete
from node.errors import NodeError
from node.index.studies import Studies
from node.model import Reason, StudyState
from node.timing import Time

# After a failure of the index or of one study's publication: how long before it is tried again.
_RETRY_SECONDS: Final = 5.0


class ClockObserver(Protocol):
    """What people want to know of the clock."""

    def clock_failed(self, study: str | None, error: BaseException) -> None:
        """A study (None: the index as a whole) could not be dealt with; it is tried again."""


class CompletionClock:
    """``publish(uid, reason)`` makes a version's events; ``moved_at(uid)`` is when an open association that
    brought some of the study last received bytes (seconds since the epoch), None without one."""

    def __init__(
        self,
        studies: Studies,
        publish: Callable[[str, Reason], bool],
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

    def tick(self) -> float | None:
        """Deal with every study that is due; returns how long to sleep then (None: until woken)."""
        failed = False
        try:
            for study in self._studies.due(self._clock.now()):
                if self._stopping:
                    return None
                failed |= not self._look_at(study)
            next_deadline = self._studies.next_deadline()
        except NodeError as error:
            self._observer.clock_failed(None, error)
            return _RETRY_SECONDS
        if next_deadline is None:
            return None
        pause = max(next_deadline - self._clock.now(), 0.0)
        return max(pause, _RETRY_SECONDS) if failed else pause

    def _look_at(self, study: StudyState) -> bool:
        now = self._clock.now()
        decision = completion.decide(study, now, self._moved_at(study.uid), self._max_seconds)
        try:
            if isinstance(decision, Complete):
                self._publish(study.uid, decision.reason)
            else:
                self._studies.postpone(study, decision.until)
        except Exception as error:  # noqa: BLE001  one study must not hold up the others
            self._observer.clock_failed(study.uid, error)
            return False
        return True
