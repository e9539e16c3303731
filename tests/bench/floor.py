"""The floor: the least a receiver can do in this language: read PDUs, write payload, sync if told, answer.

    python -m tests.bench.floor FOLDER none|fsync

Prints ``ready PORT``. It checks nothing and builds no index: what it costs, every receiver pays. A process for each
association: threads would wait for the interpreter's lock, and the least be more than it has to be.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

from tests.bench.replay import read_exactly

_PDU: Final = 131072


def accept_of(request: bytes) -> bytes:
    """An A-ASSOCIATE-AC that accepts context 1 in its first transfer syntax (PS3.8 9.3.3)."""
    at, syntax = 68, b""
    while at < len(request):
        item, length = struct.unpack_from(">BxH", request, at)
        if item == 0x20:
            inner = at + 8
            while inner < at + 4 + length:
                sub, size = struct.unpack_from(">BxH", request, inner)
                if sub == 0x40:
                    syntax = request[inner : inner + 4 + size]
                inner += 4 + size
        at += 4 + length
    context = struct.pack(">BxHBxBx", 0x21, 4 + len(syntax), 1, 0) + syntax
    user = struct.pack(">BxHI", 0x51, 4, _PDU)
    user = struct.pack(">BxH", 0x50, len(user)) + user
    name = b"1.2.840.10008.3.1.1.1"
    body = request[:68] + struct.pack(">BxH", 0x10, len(name)) + name + context + user
    return struct.pack(">BxI", 2, len(body)) + body


def answer_to(command: bytes) -> bytes:
    """A C-STORE-RSP of status 0 to ``command``, without the optional class and instance (PS3.7 9.3.1.2)."""
    message_id = 1
    at = 0
    while at < len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        if element == 0x0110:
            (message_id,) = struct.unpack_from("<H", command, at + 8)
        at += 8 + length
    fields = ((0x0100, 0x8001), (0x0120, message_id), (0x0800, 0x0101), (0x0900, 0))
    body = b"".join(struct.pack("<HHIH", 0, tag, 2, value) for tag, value in fields)
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    return struct.pack(">BxIIBB", 4, len(body) + 6, len(body) + 2, 1, 3) + body


def serve(sock: socket.socket, folder: Path, sync: bool) -> None:
    """One association, until it is released."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _, length = struct.unpack(">BxI", read_exactly(sock, 6))
    sock.sendall(accept_of(read_exactly(sock, length)))
    buffer = bytearray(_PDU + 6)
    view = memoryview(buffer)
    parent = os.open(folder, os.O_RDONLY)
    number = 0
    while _header(sock, view)[0] == 4:
        command = bytes(_payload(sock, view)[1])
        number += 1
        target = os.open(folder / f"{os.getpid()}-{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        last = 0
        while not last & 2:
            _header(sock, view)
            last, data = _payload(sock, view)
            while data:
                data = data[os.write(target, data) :]
        if sync:
            os.fdatasync(target)
            os.fsync(parent)
        os.close(target)
        sock.sendall(answer_to(command))
    sock.sendall(b"\x06\0\0\0\0\x04\0\0\0\0")
    sock.close()
    os.close(parent)


def _header(sock: socket.socket, view: memoryview) -> tuple[int, int]:
    _fill(sock, view[:6])
    kind, length = struct.unpack_from(">BxI", view)
    return kind, length


def _payload(sock: socket.socket, view: memoryview) -> tuple[int, memoryview]:
    """(message control header, fragment) of the PDU whose header lies in ``view``; one PDV each."""
    (length,) = struct.unpack_from(">I", view, 2)
    _fill(sock, view[6 : 6 + length])
    return view[11], view[12 : 6 + length]


def _fill(sock: socket.socket, into: memoryview) -> None:
    while into:
        count = sock.recv_into(into)
        if not count:
            raise ConnectionError("the sender closed the connection")
        into = into[count:]


def main(argv: list[str]) -> None:
    folder, sync = Path(argv[0]), argv[1] == "fsync"
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        print(f"ready {server.getsockname()[1]}", flush=True)
        while True:
            sock, _ = server.accept()
            if os.fork() == 0:
                server.close()
                serve(sock, folder, sync)
                return
            sock.close()
            _reap()


def _reap() -> None:
    """Take note of the children that have ended: their CPU counts through this process."""
    with contextlib.suppress(ChildProcessError):  # there is none left
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
