"""The sender: one process per association, standard library only, replaying bytes that were encoded before.

    python -m tests.bench.replay HOST PORT REQUEST DATASET SOP_CLASS COUNT SERIAL PDU

Connects, cuts the data set into PDUs of the size that the peer announces (``probe``), prints ``ready``, waits
for a line on stdin, negotiates, sends COUNT objects (one ``sendall`` each, UIDs patched in place), prints
results as JSON. Negotiating belongs to the measured time: a receiver of one process serves one association
after another, so the second could not have been negotiated before.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

INSTANCE, SERIES, STUDY = "0", "1", "2"
_LONGEST_PDU: Final = 131072  # for a peer that announces no limit
_C_STORE_RQ: Final = 0x0001


def uid(kind: str, serial: int) -> str:
    """44 characters, always: a UID that can be patched over another without moving a byte."""
    return f"2.25.1{kind}{serial:037d}"


def command(sop_class: str, instance: str) -> bytes:
    """A C-STORE-RQ command set (PS3.7 9.3.1.1), message id 1."""
    sop_class += "\0" * (len(sop_class) % 2)
    elements = (
        (0x0002, sop_class.encode()),
        (0x0100, struct.pack("<H", _C_STORE_RQ)),
        (0x0110, struct.pack("<H", 1)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, instance.encode()),
    )
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def message(sop_class: str, data_set: bytes, longest: int) -> bytearray:
    """The PDUs of one C-STORE-RQ: its command, then ``data_set`` in PDUs of at most ``longest`` bytes."""
    request = command(sop_class, uid(INSTANCE, 0))
    out = bytearray(struct.pack(">BxIIBB", 4, len(request) + 6, len(request) + 2, 1, 3) + request)
    fragment = (longest - 6) & ~1
    for at in range(0, len(data_set), fragment):
        part = data_set[at : at + fragment]
        last = 2 if at + fragment >= len(data_set) else 0
        out += struct.pack(">BxIIBB", 4, len(part) + 6, len(part) + 2, 1, last) + part
    return out


class Patcher:
    """Gives the message in ``buffer`` new UIDs, where its placeholders stand."""

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._places = {kind: _places(buffer, uid(kind, 0).encode()) for kind in (INSTANCE, SERIES, STUDY)}
        if len(self._places[INSTANCE]) != 2:
            raise ValueError("the SOP Instance UID must stand once in the command and once in the data set")

    def patch(self, kind: str, serial: int) -> None:
        value = uid(kind, serial).encode()
        for place in self._places[kind]:
            self._buffer[place : place + len(value)] = value


def _places(buffer: bytearray, value: bytes) -> list[int]:
    head = bytes(buffer[:8192])  # UIDs stand at the beginning; pixels are not searched
    found, at = [], head.find(value)
    while at >= 0:
        found.append(at)
        at = head.find(value, at + 1)
    return found


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """``size`` bytes, or ConnectionError when the peer closes before."""
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("the receiver closed the connection")
        data += part
    return data


def read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    """(PDU type, its variable part)."""
    kind, length = struct.unpack(">BxI", read_exactly(sock, 6))
    return kind, read_exactly(sock, length)


def announced(accept: bytes) -> int:
    """Maximum length of an A-ASSOCIATE-AC's variable part (PS3.8 9.3.3); its context must be accepted."""
    at, longest = 68, 0
    while at < len(accept):
        item, length = struct.unpack_from(">BxH", accept, at)
        if item == 0x21 and accept[at + 6] != 0:
            raise ConnectionError(f"presentation context refused with result {accept[at + 6]}")
        if item == 0x50:
            inner = at + 4
            while inner < at + 4 + length:
                sub, size = struct.unpack_from(">BxH", accept, inner)
                if sub == 0x51:
                    (longest,) = struct.unpack_from(">I", accept, inner + 4)
                inner += 4 + size
        at += 4 + length
    return longest or _LONGEST_PDU


def status(sock: socket.socket) -> int:
    """Status (0000,0900) of the next answer; the answers of all receivers fit in one PDU."""
    kind, body = read_pdu(sock)
    if kind != 4:
        raise ConnectionError(f"PDU type {kind} instead of an answer")
    at = 6
    while at < len(body):
        _, element, length = struct.unpack_from("<HHI", body, at)
        if element == 0x0900:
            return int(struct.unpack_from("<H", body, at + 8)[0])
        at += 8 + length
    raise ConnectionError("an answer without a status")


def connect(host: str, port: int) -> socket.socket:
    """A connection without Nagle's delay; every wait on it ends after two minutes."""
    sock = socket.create_connection((host, port), 120)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def negotiate(sock: socket.socket, request: bytes) -> int:
    """Sends the recorded A-ASSOCIATE-RQ; the maximum PDU length of the answer, ConnectionError if refused."""
    sock.sendall(request)
    kind, accept = read_pdu(sock)
    if kind != 2:
        raise ConnectionError(f"association not accepted: PDU type {kind} {accept.hex()}")
    return announced(accept)


def release(sock: socket.socket) -> None:
    """A-RELEASE-RQ and its answer."""
    sock.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")
    read_pdu(sock)


def probe(host: str, port: int, request: bytes) -> int:
    """The maximum PDU length that the receiver announces, from an association without an object."""
    with connect(host, port) as sock:
        longest = negotiate(sock, request)
        release(sock)
    return longest


def main(argv: list[str]) -> None:
    host, port, request, path, sop_class, count, serial, longest = argv
    sock = connect(host, int(port))
    buffer = message(sop_class, Path(path).read_bytes(), int(longest))
    patcher = Patcher(buffer)
    patcher.patch(STUDY, int(serial))
    patcher.patch(SERIES, int(serial))
    print("ready", flush=True)
    sys.stdin.readline()
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    begin = time.monotonic()
    if negotiate(sock, bytes.fromhex(request)) != int(longest):
        raise ConnectionError("the receiver announced another PDU length than before")
    for number in range(int(count)):
        patcher.patch(INSTANCE, int(serial) + number)
        before = time.monotonic()
        sock.sendall(buffer)
        statuses[status(sock)] += 1
        seconds.append(time.monotonic() - before)
    end = time.monotonic()
    release(sock)
    sock.close()
    result = {"begin": begin, "end": end, "seconds": seconds, "statuses": statuses}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
