"""Ports for programs that must be told one before they start: Kafka, Orthanc, DCMTK.

A port that the system gave to a probe and took back may be given to the next probe, too, or to whoever connects or
listens before the program does, or while a broker is down that will come back there. So these are ports that the
system gives to nobody by itself, and none is given twice in a row of thousands.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from pathlib import Path
from typing import Final

_LOWEST, _HIGHEST = 10_000, 65_535  # servers of a machine have their ports below
_WORKERS = 16
_IANA = "49152 65535"  # RFC 6335 section 6, where the system does not tell
_GIVEN_BY_SYSTEM: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _candidates() -> list[int]:
    """What the system does not give, in an order of this process's own: two workers don't look at the same."""
    text = _GIVEN_BY_SYSTEM.read_text() if _GIVEN_BY_SYSTEM.exists() else _IANA
    first, last = (int(limit) for limit in text.split())
    ports = range(_LOWEST, _HIGHEST + 1)
    left = [port for port in ports if not first <= port <= last] or list(ports)  # it may give them all
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    own = left[worker::_WORKERS]
    start = os.getpid() % len(own)  # what a run just before had may not be free at once
    return own[start:] + own[:start]


_own: Final = _candidates()
_next: Final = itertools.cycle(_own)


def free_port() -> int:
    """A TCP port that nothing listens on; one that was given comes again after all the others."""
    for port in itertools.islice(_next, len(_own)):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                continue
            return port
    raise RuntimeError(f"none of {len(_own)} ports is free, from {min(_own)} to {max(_own)}")
