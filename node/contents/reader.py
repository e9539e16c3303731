"""Reads stored files in processes of its own, which may take only so much time and memory.

A process is started when there is something to read, by a clean interpreter: it has no socket, thread or
lock of the node's. It gets an open file, never a path, and ends when it was idle, when the node ends in
whatever way, or when a document takes too long.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Final

from node.content import Kind, Settings
from node.content.kinds import WITH_PIXELS
from node.contents import protocol
from node.documents import Content
from node.errors import ContentReaderUnavailable, ContentTooSlow, ContentUnreadable
from node.processes import python_path

MAX_FILE: Final = 536_870_912  # of a document; images are read up to their pixel data, however long that is
MEMORY: Final = 1_073_741_824  # address space of one process
SECONDS: Final = 10.0  # for one document
IDLE_SECONDS: Final = 60.0
START_SECONDS: Final = 30.0
END_SECONDS: Final = 5.0
_CHUNK: Final = 1_048_576


class _EndedError(Exception):
    """The process has ended; ``code`` as in ``Popen.returncode``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended with {code}")
        self.code = code


class ContentReader:
    """Safe from any thread; at most ``processes`` documents are read at a time, other callers wait."""

    def __init__(
        self,
        processes: int = 1,
        seconds: float = SECONDS,
        memory: int = MEMORY,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """``seconds`` is the deadline of one document, ``memory`` the bytes of address space of a process."""
        self.seconds = seconds
        self._memory = memory
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._running: set[_Process] = set()
        self._closed = False
        self._places: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(processes):
            self._places.put(None)

    def __enter__(self) -> ContentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(
        self, open_file: Callable[[], BinaryIO], kind: Kind, seconds: float | None = None
    ) -> Content | Settings:
        """What a file holds; ``seconds`` is this one's deadline, if it has less than others.

        ``open_file`` gives a file with a descriptor, which is handed over and then closed.

        Raises ``ContentUnreadable`` for whatever is wrong with the file (``ContentTooSlow`` when it took too
        long), what ``open_file`` raises, OSError when its bytes can't be had, ``ContentReaderUnavailable``.
        """
        with open_file() as file:
            if kind not in WITH_PIXELS and os.fstat(file.fileno()).st_size > MAX_FILE:
                raise ContentUnreadable(f"the file is longer than {MAX_FILE} bytes")
            answer = self._ask(file.fileno(), kind, self.seconds if seconds is None else seconds)
        if answer.outcome == "failed":
            raise OSError(answer.value, os.strerror(answer.value))
        if answer.outcome == "unreadable":
            raise ContentUnreadable(answer.value)
        found: Content | Settings = answer.value
        return found

    def close(self) -> None:
        """End the processes; who waits for one gets ``ContentReaderUnavailable``."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()
        # Those that are being asked right now are let go by who asks.
        idle: list[_Process | None] = []
        while not self._places.empty():
            try:
                idle.append(self._places.get_nowait())
            except queue.Empty:
                break  # somebody else took it, and will find it dead
        for one in idle:
            self._forget(one)
            self._places.put(None)

    def _ask(self, descriptor: int, kind: Kind, seconds: float) -> protocol.Answer:
        process = self._places.get()
        kept: _Process | None = None
        try:
            # One that ended of itself (idle, or grown large) says nothing about this file: the next one does.
            for _ in range(2):
                if process is None or process.ended:
                    self._forget(process)
                    process = None
                    process = self._start()
                try:
                    answer = process.ask(descriptor, kind, seconds)
                except _EndedError as error:
                    self._forget(process)
                    process = None
                    self._refuse_when_closed()
                    if error.code != 0:
                        raise ContentUnreadable(f"the reading process {_how(error.code)}") from None
                else:
                    kept = process
                    return answer
            raise ContentReaderUnavailable("the reading process ends before it reads")
        finally:
            if kept is None:
                self._forget(process)
            self._places.put(kept)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ContentReaderUnavailable("the reader of documents is closed")

    def _start(self) -> _Process:
        with self._lock:
            self._refuse_when_closed()
            process = _Process(self._memory, self._idle_seconds)
            self._running.add(process)
        try:
            process.await_ready()
        except (TimeoutError, _EndedError) as error:
            self._forget(process)
            self._refuse_when_closed()
            raise ContentReaderUnavailable(f"the reading process did not start: {error}") from error
        return process

    def _forget(self, process: _Process | None) -> None:
        if process is not None:
            process.kill()
            process.release()
            with self._lock:
                self._running.discard(process)


def _how(code: int) -> str:
    if code > 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


class _Process:
    """One reading process and the socket to it; used by one thread at a time, ``kill`` by any."""

    def __init__(self, memory: int, idle_seconds: float) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs:
                self._popen: subprocess.Popen[bytes] = subprocess.Popen(
                    [sys.executable, "-P", "-m", "node.contents.child", str(memory), str(idle_seconds)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    # Ctrl-C is for the node, which ends it.
                    start_new_session=True,
                )
        except OSError as error:
            self._socket.close()
            raise ContentReaderUnavailable(f"can't start a process: {error.strerror}") from error

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    @property
    def pid(self) -> int:
        return self._popen.pid

    def await_ready(self) -> None:
        self._receive(len(protocol.READY), time.monotonic() + START_SECONDS)

    def ask(self, descriptor: int, kind: Kind, seconds: float) -> protocol.Answer:
        """Raises ``ContentTooSlow`` and ``_EndedError``; it can't be asked again after either."""
        request = protocol.REQUEST.pack(seconds, kind.encode("ascii"))
        deadline = time.monotonic() + seconds
        try:
            try:
                socket.send_fds(self._socket, [request], [descriptor])
            except ConnectionError:
                raise self._end() from None
            (length,) = protocol.LENGTH.unpack(self._receive(protocol.LENGTH.size, deadline))
            return protocol.decode(self._receive(length, deadline))
        except TimeoutError:
            raise ContentTooSlow(seconds) from None

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait()

    def release(self) -> None:
        self._socket.close()

    def _end(self) -> _EndedError:
        """It has closed its socket, so it is about to end."""
        try:
            return _EndedError(self._popen.wait(timeout=END_SECONDS))
        except subprocess.TimeoutExpired:
            self.kill()
            return _EndedError(self._popen.returncode)

    def _receive(self, size: int, deadline: float) -> bytearray:
        if size > protocol.MAX_ANSWER:
            raise ContentUnreadable("the reading process answers with too much")
        received = bytearray()
        while len(received) < size:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part = self._socket.recv(min(_CHUNK, size - len(received)))
            except ConnectionError:
                part = b""
            if not part:
                raise self._end()
            received += part
        return received


def _environment() -> dict[str, str]:
    """Where modules are, and nothing of what the node's own environment may hold."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ}
    return {**kept, "PYTHONPATH": python_path(), "PYTHONUTF8": "1"}
