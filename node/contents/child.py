"""The process that reads stored files: one request after the other, then gone with its parent.

It has a socket as standard input and nothing else of its parent's. Its memory is bounded for good, each
request by an alarm that ends it even when nobody is left to kill it, its idle time by the socket's timeout.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import signal
import socket
import sys
import warnings
from typing import Final, cast

from node.content import Kind, parse
from node.contents.protocol import LENGTH, MAX_ANSWER, READY, REQUEST, Answer, encode
from node.errors import ContentUnreadable

# The part of its memory that it may have used at most when it goes on: Python does not give all back.
_SPENT: Final = 3 / 8
_GRACE: Final = 2.0  # the parent, if there still is one, kills first


def main(memory: int, idle: float) -> None:
    """Serve requests on standard input until it ends, or for ``idle`` seconds without one."""
    warnings.simplefilter("ignore")  # pydicom's, about bad input; the whole process is for that
    logging.disable(logging.CRITICAL)  # likewise, and such words may hold values
    _bound(memory)
    with socket.socket(fileno=0) as parent:
        parent.settimeout(idle)
        parent.sendall(READY)
        while _serve(parent):
            if _peak() > memory * _SPENT:
                return


def _peak() -> int:
    """The most bytes resident so far; 0 where the system does not tell. ``getrusage`` would count what the
    parent had when it forked."""
    try:
        with open("/proc/self/status", "rb") as status:
            found = re.search(rb"^VmHWM:\s*(\d+) kB", status.read(), re.MULTILINE)
    except FileNotFoundError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _bound(memory: int) -> None:
    for limit, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _soft, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def _serve(parent: socket.socket) -> bool:
    """Answer one request; False when there will be no other."""
    try:
        request, descriptors, _flags, _address = socket.recv_fds(parent, REQUEST.size, 1)
    except (TimeoutError, ConnectionError):
        return False
    if len(request) != REQUEST.size or len(descriptors) != 1:
        return False  # the parent has gone
    seconds, kind = REQUEST.unpack(request)
    signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
    answer = _answer(descriptors[0], cast(Kind, kind.rstrip(b"\0").decode("ascii")))
    signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        parent.sendall(answer)
    except (TimeoutError, ConnectionError):
        return False
    return True


def _answer(descriptor: int, kind: Kind) -> bytes:
    try:
        with os.fdopen(descriptor, "rb") as file:
            encoded = encode(Answer("read", parse(file, kind)))
    except ContentUnreadable as error:
        return encode(Answer("unreadable", str(error)))
    except MemoryError:
        return encode(Answer("unreadable", "needs too much memory"))
    except OSError as error:
        return encode(Answer("failed", error.errno))
    if len(encoded) > MAX_ANSWER + LENGTH.size:
        return encode(Answer("unreadable", f"holds more than {MAX_ANSWER} bytes of values"))
    return encoded


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
