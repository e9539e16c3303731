"""Many short associations, one after another: a process of its own, standard library only.

    python -m tests.bench.associations HOST PORT REQUEST KIND COUNT [DATASET SOP_CLASS SERIAL PDU]

KIND: ``store`` (negotiate, send one object, release), ``empty`` (negotiate, release) or ``bare`` (connect, and
close without a word). Prints the seconds that all COUNT took. Each is over before the next begins, also at the
receiver, which has to close in its turn: else a queue would be measured, not the receiver.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench.replay import Messages, connect, negotiate, release, status

_SECONDS: Final = 300.0
Talk = Callable[[socket.socket, int], None]


def run(host: str, port: int, request: bytes, kind: str, count: int, *store: str) -> float:
    """Associations (or connects) a second, in a process of its own. RuntimeError when one failed: if it returns,
    every object was answered with success, those of the serial numbers from SERIAL on."""
    arguments = [host, str(port), request.hex(), kind, str(count), *store]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.associations", *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise RuntimeError(f"{kind} associations: {ended.stderr.strip().splitlines()[-1]}")
    return count / float(ended.stdout)


def _storing(request: bytes, path: str, sop_class: str, serial: str, longest: str) -> Talk:
    messages = Messages(Path(path), sop_class, int(longest))
    messages.begin(int(serial))

    def talk(sock: socket.socket, number: int) -> None:
        pdus = messages.make(int(serial) + number)
        negotiate(sock, request)
        sock.sendall(pdus)
        answered = status(sock)
        if answered != 0:
            raise ConnectionError(f"object {number} was answered with 0x{answered:04X}")
        release(sock)

    return talk


def _empty(request: bytes) -> Talk:
    def talk(sock: socket.socket, number: int) -> None:
        negotiate(sock, request)
        release(sock)

    return talk


def _bare(_request: bytes) -> Talk:
    return lambda sock, number: None


_KINDS: Final[dict[str, Callable[..., Talk]]] = {"store": _storing, "empty": _empty, "bare": _bare}


def main(argv: list[str]) -> None:
    host, port, request, kind, count, *store = argv
    talk = _KINDS[kind](bytes.fromhex(request), *store)
    begin = time.monotonic()
    for number in range(int(count)):
        with connect(host, int(port)) as sock:
            talk(sock, number)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):  # an A-ABORT for who said nothing, then the end
                pass
    print(time.monotonic() - begin)


if __name__ == "__main__":
    main(sys.argv[1:])
