"""Reading processes, seen from outside: which there are, whether they live, making them stand still."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from node.contents import ContentReader
from tests.content.made import STORAGE, code, document, image, stored
from tests.harness import eventually

KOS = STORAGE + "88.59"


def key_object_file() -> bytes:
    return stored(document(code("113000"), [image()], "88.59"))


def opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def pid_of(reader: ContentReader) -> int:
    """The reader's only process."""
    (process,) = reader._running
    return process.pid


def await_end(pid: int, seconds: float = 20.0) -> None:
    """Returns when the process has ended; woken by the kernel."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
    assert ready, f"process {pid} still runs"


@contextmanager
def standing_still(reader: ContentReader) -> Iterator[int]:
    """The reader's process takes requests from nobody."""
    pid = pid_of(reader)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # what the test was about


def await_request(reader: ContentReader) -> None:
    """Returns when a request lies before the process, which has not taken it."""
    (process,) = reader._running

    def unsent() -> int:
        (size,) = struct.unpack("i", fcntl.ioctl(process._socket, termios.TIOCOUTQ, bytes(4)))
        return int(size)

    eventually(unsent)


class InThread:
    """A call in a thread of its own; ``result`` waits for it and gives what it returned or raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._outcome: object = None
        self._thread = threading.Thread(target=self._run, args=(call,))
        self._thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            self._outcome = call()
        except Exception as error:  # noqa: BLE001  handed to whoever asks
            self._outcome = error

    def result(self) -> object:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self._outcome
