"""Faults of system calls in a running process, by strace (https://strace.io): one call fails, then all is well, or
the process is killed as it makes one.

``when=K`` is counted for each thread by itself, from the moment that strace is there. An association has a
thread of its own, so the K-th call of one store can be made to fail without a new node for each K.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tools import unavailable


class Injected:
    """What strace saw; complete when the block that it was made for has ended."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    @property
    def count(self) -> int:
        """Calls that were made to fail so far."""
        return self._trace.read_text(errors="replace").count("(INJECTED)")

    @property
    def text(self) -> str:
        return self._trace.read_text(errors="replace")


@contextmanager
def failing(
    pid: int, call: str, error: str, when: int | str, folder: Path, only: Path | None = None
) -> Iterator[Injected]:
    """The ``when``-th ``call`` of each thread of ``pid`` fails with ``error``; ``only`` counts calls on one path.

    ``call`` may name several, separated by commas, which are counted apart.
    """
    with _injecting(pid, call, f"error={error}:when={when}", folder, only) as injected:
        yield injected


@contextmanager
def killing(pid: int, call: str, when: int, folder: Path, only: Path | None) -> Iterator[Injected]:
    """A thread of ``pid`` that makes its ``when``-th ``call`` (on the path ``only``) gets SIGKILL instead."""
    with _injecting(pid, call, f"signal=KILL:when={when}", folder, only) as injected:
        yield injected


@contextmanager
def _injecting(pid: int, call: str, what: str, folder: Path, only: Path | None) -> Iterator[Injected]:
    trace = folder / "injected"
    trace.unlink(missing_ok=True)
    command = ["strace", "-f", "-p", str(pid), "-o", str(trace), "-e", f"trace={call}"]
    for one in call.split(","):
        command += ["-e", f"inject={one}:{what}"]
    if only is not None:
        command += ["-P", str(only)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    try:
        said = strace.stderr.readline()
        if "attached" not in said:
            strace.wait(20)
            unavailable(f"strace can't attach to a process: {said.strip()}")
        yield Injected(trace)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(20)
        strace.stderr.close()
