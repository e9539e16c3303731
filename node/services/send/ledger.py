"""What became of every file of a ``send``: counts, failures, progress."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pynetdicom.status import STATUS_SUCCESS, STATUS_WARNING, STORAGE_SERVICE_CLASS_STATUS, code_to_category

from node.services.send.requestor import Answer
from node.services.send.sendable import NotSent, Sendable

_STORED: Final = (STATUS_SUCCESS, STATUS_WARNING)


@dataclass(frozen=True, slots=True)
class Progress:
    """What ``send`` tells while it works: files found so far (scan), or objects and bytes (send)."""

    phase: Literal["scan", "send"]
    done: int
    total: int
    bytes_done: int
    bytes_total: int
    failed: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """One file that was not stored, and why; ``status`` is None when the peer never answered."""

    path: Path
    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class SendSummary:
    """The outcome. ``statuses`` counts the answers by DIMSE status, ``skipped`` the files passed over by
    kind; ``failed`` counts all failures, ``failures`` names the first of them; ``bytes`` were answered, in
    ``seconds`` of sending."""

    total: int
    stored: int
    failed: int
    statuses: dict[int, int]
    skipped: dict[str, int]
    failures: tuple[Failure, ...]
    bytes: int
    seconds: float
    associations: int
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0: everything was stored; 1: something was not, or there was nothing to send; 130: interrupted."""
        if self.interrupted:
            return 130
        return 0 if self.failed == 0 and self.stored else 1


def status_text(status: int) -> str:
    """The name of a C-STORE status, as PS3.4 B.2.3 and PS3.7 C have it."""
    if status == 0:
        return "Success"
    category, name = STORAGE_SERVICE_CLASS_STATUS.get(status, (code_to_category(status), ""))
    return name or category


class Ledger:
    """What became of every file: the one thing the threads share besides the queue."""

    def __init__(self, max_failures: int, progress: Callable[[Progress], None]) -> None:
        self._lock = threading.Lock()
        self._max_failures = max_failures
        self._progress = progress
        self._total = self._stored = self._failed = self._associations = 0
        self._bytes_total = self._bytes_done = 0
        self._statuses: Counter[int] = Counter()
        self._skipped: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._phase: Literal["scan", "send"] = "scan"
        self._started = time.monotonic()

    def found(self, item: Sendable) -> None:
        with self._lock:
            self._total += 1
            self._bytes_total += item.length
            self._tell()

    def passed_over(self, item: NotSent) -> None:
        with self._lock:
            if item.skipped:
                self._skipped[item.skipped] += 1
            else:
                self._total += 1
                self._fail(Failure(item.path, item.reason))

    def start(self) -> None:
        with self._lock:
            self._phase, self._started = "send", time.monotonic()
            self._tell()

    def associated(self) -> None:
        with self._lock:
            self._associations += 1

    def note(self, text: str) -> None:
        with self._lock:
            self._tell(text)

    def moved(self, count: int) -> None:
        with self._lock:
            self._bytes_done += count
            self._tell()

    def answered(self, item: Sendable, answer: Answer) -> None:
        with self._lock:
            self._statuses[answer.status] += 1
            if code_to_category(answer.status) in _STORED:
                self._stored += 1
            else:
                text = f"0x{answer.status:04X} {status_text(answer.status)}"
                text += f": {answer.comment}" if answer.comment else ""
                self._fail(Failure(item.path, text, answer.status))
            self._tell()

    def failed(self, item: Sendable, reason: str) -> None:
        with self._lock:
            self._fail(Failure(item.path, reason))
            self._tell()

    def _fail(self, failure: Failure) -> None:
        self._failed += 1
        if len(self._failures) < self._max_failures:
            self._failures.append(failure)

    def _tell(self, note: str = "") -> None:
        done = self._stored + self._failed
        counts = (done, self._total, self._bytes_done, self._bytes_total, self._failed)
        self._progress(Progress(self._phase, *counts, note))

    def summary(self, interrupted: bool) -> SendSummary:
        with self._lock:
            return SendSummary(
                total=self._total,
                stored=self._stored,
                failed=self._failed,
                statuses=dict(sorted(self._statuses.items())),
                skipped=dict(sorted(self._skipped.items())),
                failures=tuple(self._failures),
                bytes=self._bytes_done,
                seconds=time.monotonic() - self._started,
                associations=self._associations,
                interrupted=interrupted,
            )
