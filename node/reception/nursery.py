"""Forks receivers from a process that has the whole program loaded and no threads.

The owner runs threads, and a process that forks while others of its threads hold locks makes a child that may
never get them. So before the first thread is started the owner forks this one, which waits for requests.
Receivers share its memory until they write to it: each costs a few MB.

When it has gone (killed by hand, or by a system that is out of memory) the next request is refused, and the one after
that makes a new interpreter take its place, since the owner may not fork by then. That one shares nothing with the
owner, which costs some 60 MB, and takes a second or two to load.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from node.logs import get_logger
from node.processes import python_path

_log = get_logger(__name__)

LOADED: Final = b"loaded"  # what a new interpreter says when it can be asked
_REPLY: Final = struct.Struct("<i")
_LONGEST: Final = 65_536
_MOST_DESCRIPTORS: Final = 8
_SPAWN_SECONDS: Final = 10.0  # a fork takes milliseconds
_LOAD_SECONDS: Final = 20.0  # a new interpreter with the whole program takes one or two
_TASKS: Final = Path("/proc/self/task")
_COMM: Final = Path("/proc/self/comm")

# What a receiver runs: the descriptors that it got, and the arguments.
Main = Callable[[Sequence[int], Any], None]
# What a new interpreter does first of all, where a fork finds it done: the log.
Prepare = Callable[[], None]


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

    def __init__(self, forker: _Forker, program: bytes) -> None:
        self._forker = forker
        self._program = program
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def start(cls, main: Main, prepare: Prepare) -> Nursery:
        """Fork it; ``main`` is what every receiver runs. Both arguments can be pickled.

        Raises ``RuntimeError`` where threads run.
        """
        program = pickle.dumps((main, prepare))
        settle()
        owners, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            owners.close()
            _leave(lambda: serve(own, main))
        own.close()
        return cls(_Forker(owners, pid), program)

    @property
    def pid(self) -> int:
        """Its process id; it may have ended."""
        return self._forker.pid

    def spawn(self, descriptors: Sequence[int], arguments: Any) -> Process:
        """Fork a process that inherits ``descriptors`` and standard streams, nothing else. Raises ``OSError``."""
        data = pickle.dumps(arguments)
        with self._lock:
            if self._forker.gone:
                self._replace()
            return self._forker.fork(data, descriptors)

    def _replace(self) -> None:
        if self._closed:
            raise _gone("it has been closed")
        before = self._forker.pid
        self._forker = successor = _Successor.started(self._program)
        if self._closed:  # by a thread that has not seen it yet; from here on ``close`` finds it
            successor.end()
        successor.await_loaded()
        hint = "Memory? It has gone, or did not answer; another forks receivers from now on."
        _log.warning("nursery_replaced", pid=before, hint=hint)

    def close(self) -> None:
        """End it; processes that it spawned run on."""
        self._closed = True
        self._forker.end()


class _Forker:
    """A process that runs ``serve``, forked from the owner, and the socket to it."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self._socket.settimeout(_SPAWN_SECONDS)
        self.pid = pid
        self.gone = False
        self._lock = threading.Lock()

    def fork(self, data: bytes, descriptors: Sequence[int]) -> Process:
        """Raises ``OSError``: the process that was asked for may run, with descriptors that nobody else has."""
        try:
            socket.send_fds(self._socket, [data], list(descriptors))
            reply, received, _, _ = socket.recv_fds(self._socket, _REPLY.size, 1)
        except OSError as error:
            self.end()  # its answer, should it come, would be taken for that to the next request
            raise _gone("it does not answer") from error
        if len(reply) < _REPLY.size:
            self.end()
            raise _gone("it has ended")
        (pid,) = _REPLY.unpack(reply)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return Process(pid, received[0])

    def end(self) -> None:
        """SIGKILL: it holds nothing that could be lost, and may be stopped."""
        with self._lock:
            if not self.gone:  # else its number may be another's by now
                self.gone = True
                self._socket.close()
                self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # somebody else has waited for it
            os.waitpid(self.pid, 0)


class _Successor(_Forker):
    """The same in an interpreter of its own."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes]) -> None:
        super().__init__(sock, process.pid)
        self._process = process

    @classmethod
    def started(cls, program: bytes) -> _Successor:
        """Raises ``OSError``."""
        owners, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with own, open(os.memfd_create("dicom-node-program"), "wb") as file:
                file.write(program)  # secrets are in it: nothing for a command line
                file.flush()
                passed = (own.fileno(), file.fileno())
                command = [sys.executable, "-P", "-m", "node.reception.successor", *map(str, passed)]
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=passed,
                    env={**os.environ, "PYTHONPATH": python_path()},
                    start_new_session=True,  # Ctrl-C while it loads is for the owner, too
                )
        except OSError:
            owners.close()
            raise
        return cls(owners, process)

    def await_loaded(self) -> None:
        """Raises ``OSError``."""
        self._socket.settimeout(_LOAD_SECONDS)
        try:
            loaded = self._socket.recv(len(LOADED)) == LOADED
        except OSError as error:
            self.end()
            raise _gone("another does not load") from error
        if not loaded:
            self.end()
            raise _gone("another can't load: see the log")
        self._socket.settimeout(_SPAWN_SECONDS)

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _gone(why: str) -> OSError:
    return ConnectionResetError(f"the process that forks receivers has gone: {why}")


def settle() -> None:
    """Before a process forks receivers, or what forks them. Raises ``RuntimeError`` where threads run."""
    threads = len(os.listdir(_TASKS))
    if threads > 1:
        raise RuntimeError(f"{threads} threads run: receivers must be prepared before the first is started")
    # What is loaded stays shared with all that are forked: the collector would write to every object of it.
    # 31 of 156 MB with two receivers.
    gc.collect()
    gc.freeze()


def serve(sock: socket.socket, main: Main) -> None:
    """Fork what ``sock`` asks for, until the owner has gone."""
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
