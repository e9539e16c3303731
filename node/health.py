"""Whether the node is ready, as a list of checks: each says nothing, or why it is not."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import NodeError

Probe = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be well; ``probe`` returns None, or the reason in words. It may block."""

    name: str
    probe: Probe


class Health:
    """The answer of ``/readyz``. ``reasons`` blocks as long as its probes do."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = tuple(checks)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the checks, in their order."""
        return tuple(check.name for check in self._checks)

    def reasons(self) -> dict[str, str]:
        """Check name -> why the node is not ready; empty when it is."""
        found = ((check.name, _ask(check.probe)) for check in self._checks)
        return {name: reason for name, reason in found if reason is not None}


def _ask(probe: Probe) -> str | None:
    try:
        return probe()
    except (NodeError, OSError) as error:
        return str(error) or type(error).__name__


def listens(listening: Callable[[], bool]) -> Probe:
    """Ready while ``listening()``."""
    return lambda: None if listening() else "the DICOM listener does not accept connections"


def folder_writable(folder: Path) -> Probe:
    """Ready when a file can be written in ``folder``, synced and removed."""

    def probe() -> str | None:
        # A name that no object can have, new each time: two probes at once must not meet
        path = folder / f".ready-{secrets.token_hex(8)}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, b"ready\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                path.unlink()
        except OSError as error:
            return f"{folder} can't be written: {error.strerror}"
        return None

    return probe


def succeeds(action: Callable[[], object]) -> Probe:
    """Ready when ``action`` returns; its ``NodeError`` or ``OSError`` becomes the reason."""

    def probe() -> None:
        action()

    return probe


SILENT: Final = "silent"  # stands beside the names of checks: they themselves do not answer


class Prompt:
    """``reasons`` for somebody who can't wait: what a disk that hangs does to a probe must not hide the rest.

    Any thread may call it. An answer is kept for ``keep_seconds``, so that one look serves all that ask at once.
    """

    def __init__(
        self, reasons: Callable[[], Mapping[str, str]], wait_seconds: float = 2.0, keep_seconds: float = 1.0
    ) -> None:
        self._reasons = reasons
        self._wait_seconds = wait_seconds
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._asked: Future[Mapping[str, str]] | None = None
        self._asked_at = 0.0

    def __call__(self) -> Mapping[str, str]:
        """Check name -> why; ``SILENT`` alone when there is no answer after ``wait_seconds``."""
        with self._lock:
            now = time.monotonic()
            asked = self._asked
            if asked is None or (asked.done() and now - self._asked_at > self._keep_seconds):
                asked = Future()
                # A thread of its own, that holds up no end of the process: it may hang for as long as the disk does
                threading.Thread(target=self._ask, args=(asked,), name="readiness", daemon=True).start()
                # Not before: one that can't be started never answers
                self._asked, self._asked_at = asked, now
        try:
            return asked.result(self._wait_seconds)
        except TimeoutError:
            return {SILENT: f"the checks have not answered for {time.monotonic() - self._asked_at:.0f} s"}

    def _ask(self, asked: Future[Mapping[str, str]]) -> None:
        try:
            asked.set_result(self._reasons())
        except BaseException as error:  # noqa: BLE001  raised where the answer is waited for
            asked.set_exception(error)
