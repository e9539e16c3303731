"""Forks receivers from a process that has the whole program loaded and no threads.

The owner runs threads, and a process that forks while others of its threads hold locks makes a child that may
never get them. So before the first thread is started the owner forks this one, which waits for requests.
Receivers share its memory until they write to it: each costs a few MB.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from node.logs import get_logger

_log = get_logger(__name__)

_REPLY: Final = struct.Struct("<i")
_LONGEST: Final = 65_536
_MOST_DESCRIPTORS: Final = 8
_SPAWN_SECONDS: Final = 10.0  # a fork takes milliseconds
_TASKS: Final = Path("/proc/self/task")
_COMM: Final = Path("/proc/self/comm")

# What a receiver runs: the descriptors that it got, and the arguments.
Main = Callable[[Sequence[int], Any], None]


class Process:
    """A process that was spawned, held by a descriptor: its number may belong to another once it has ended."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def kill(self) -> None:
        """SIGKILL; harmless when it has ended, or is not held any more."""
        with self._lock, suppress(ProcessLookupError):
            if self._descriptor >= 0:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def ended(self, seconds: float) -> bool:
        """Whether it ends within ``seconds``, with all its threads."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Let go of it; it runs on if it runs."""
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1


class Nursery:
    """Made by ``start`` in a process without other threads; ``spawn`` may then be called from any."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self._socket.settimeout(_SPAWN_SECONDS)
        self._pid = pid
        self._lock = threading.Lock()
        self._gone = False

    @classmethod
    def start(cls, main: Main) -> Nursery:
        """Fork it; ``main`` is what every receiver runs. Raises ``RuntimeError`` where threads run."""
        threads = len(os.listdir(_TASKS))
        if threads > 1:
            raise RuntimeError(
                f"{threads} threads run: receivers must be prepared before the first is started"
            )
        owners, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        # What is loaded stays shared with all that are forked: the collector would write to every object of it.
        # 31 of 156 MB with two receivers.
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            owners.close()
            _leave(lambda: _serve(own, main))
        own.close()
        return cls(owners, pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._pid

    @property
    def gone(self) -> bool:
        """It has ended, or does not answer: nothing can be spawned any more."""
        return self._gone

    def spawn(self, descriptors: Sequence[int], arguments: Any) -> Process:
        """Fork a process that inherits ``descriptors`` and standard streams, nothing else. Raises ``OSError``."""
        data = pickle.dumps(arguments)
        with self._lock:
            if self._gone:
                raise _nursery_gone()
            try:
                socket.send_fds(self._socket, [data], list(descriptors))
                reply, received, _, _ = socket.recv_fds(self._socket, _REPLY.size, 1)
            except OSError as error:
                self._give_up()  # its answer, should it come, would be taken for that to the next request
                raise _nursery_gone() from error
            if len(reply) < _REPLY.size:
                self._give_up()
                raise _nursery_gone()
        (pid,) = _REPLY.unpack(reply)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return Process(pid, received[0])

    def _give_up(self) -> None:
        self._gone = True
        self._socket.close()

    def close(self) -> None:
        """End it; processes that it spawned run on."""
        self._socket.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)  # it holds nothing that could be lost, and may be stopped
        with suppress(ChildProcessError):  # somebody else has waited for it
            os.waitpid(self._pid, 0)


def _nursery_gone() -> OSError:
    return ConnectionResetError("the process that forks receivers has gone: restart the node")


def _serve(sock: socket.socket, main: Main) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal or supervisor tells all: the owner decides
    _call_it("dicom-nursery")
    with suppress(ConnectionError):  # the owner has gone
        while True:
            data, descriptors, _, _ = socket.recv_fds(sock, _LONGEST, _MOST_DESCRIPTORS)
            if not data:
                return
            _reap()
            _spawn(sock, main, data, descriptors)


def _spawn(sock: socket.socket, main: Main, data: bytes, descriptors: Sequence[int]) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid == 0:
        sock.close()
        _call_it("dicom-receiver")
        _leave(lambda: main(descriptors, pickle.loads(data)))
    for descriptor in descriptors:
        os.close(descriptor)
    if pid < 0:
        sock.send(_REPLY.pack(pid))
        return
    held = os.pidfd_open(pid)  # not reaped before the next request, so it is this one's number
    try:
        socket.send_fds(sock, [_REPLY.pack(pid)], [held])
    finally:
        os.close(held)


def _reap() -> None:
    """Let go of those that have ended: one that dies is followed by a request for another."""
    with suppress(ChildProcessError):  # none is left
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _call_it(name: str) -> None:
    """What ``ps -e`` and ``top`` show of this process."""
    with suppress(OSError):  # for people only; not every system has it
        _COMM.write_text(name)


def _leave(run: Callable[[], None]) -> None:
    """Run and end this process, whatever happens: a fork must never go on in its parent's code."""
    code = 1
    try:
        run()
        code = 0
    except BaseException:  # noqa: BLE001  said, and there is no caller left
        _log.error("process_failed", exc_info=True)
    finally:
        sys.stderr.flush()
        os._exit(code)
