"""Forks receivers from a process that has the whole program loaded and no threads.

The owner runs threads, and a process that forks while others of its threads hold locks makes a child that may
never get them. So before the first thread is started the owner forks this one, which waits for requests.
Receivers share its memory until they write to it: each costs a few MB.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

_REPLY: Final = struct.Struct("<i")
_LONGEST: Final = 65_536

# What a receiver runs: the descriptors that it got, and the arguments.
Main = Callable[[Sequence[int], Any], None]


class Nursery:
    """Made by ``start`` in a process without other threads; ``spawn`` may then be called from any."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self._pid = pid
        self._lock = threading.Lock()

    @classmethod
    def start(cls, main: Main) -> Nursery:
        """Fork it; ``main`` is what every receiver runs."""
        owners, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            owners.close()
            _leave(lambda: _serve(own, main))
        own.close()
        return cls(owners, pid)

    def spawn(self, descriptors: Sequence[int], arguments: Any) -> int:
        """Fork a receiver that inherits ``descriptors``; returns its process id. Raises ``OSError``."""
        data = pickle.dumps(arguments)
        with self._lock:
            socket.send_fds(self._socket, [data], list(descriptors))
            reply = self._socket.recv(_REPLY.size)
        if len(reply) < _REPLY.size:
            raise ConnectionResetError("the process that forks receivers has gone: restart the node")
        (pid,) = _REPLY.unpack(reply)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return int(pid)

    def close(self) -> None:
        """End it; receivers that run go on until their channel is closed."""
        self._socket.close()
        with suppress(ChildProcessError):  # somebody else has waited for it
            os.waitpid(self._pid, 0)


def _serve(sock: socket.socket, main: Main) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal or supervisor tells all: the owner decides
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps; the owner sees the channel close
    gc.collect()
    gc.freeze()  # what is loaded stays shared: the collector would write to every object
    while True:
        data, descriptors, _, _ = socket.recv_fds(sock, _LONGEST, 8)
        if not data:
            return
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            sock.close()
            _leave(lambda: main(descriptors, pickle.loads(data)))  # noqa: B023  runs now; the owner's own
        for descriptor in descriptors:
            os.close(descriptor)
        sock.send(_REPLY.pack(pid))


def _leave(run: Callable[[], None]) -> None:
    """Run and end this process, whatever happens: a fork must never go on in its parent's code."""
    code = 1
    try:
        run()
        code = 0
    except BaseException:  # noqa: BLE001  said, and there is no caller left
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
