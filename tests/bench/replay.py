"""The sender: one process per association, standard library only, replaying bytes that were encoded before.

    python -m tests.bench.replay HOST PORT REQUEST DATASET SOP_CLASS COUNT SERIAL PDU

Connects, cuts the data sets into PDUs of the size that the peer announces (``probe``), prints ``ready``, waits
for a line on stdin, negotiates, sends COUNT objects (one ``sendall`` each), prints results as JSON. Negotiating
belongs to the measured time: a receiver of one process serves one association after another, so the second could
not have been negotiated before.

No two objects have the same header. There are several heads (``Messages``), which go in turn and differ in the
lengths of their values too; UIDs, times, positions and numbers are then written over in place, from the object's
serial number. Only the pixels are the same in all, and lie in memory once: to make an object takes 4 us, for the
sender shares the processors with the receiver.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

INSTANCE, SERIES, STUDY = "0", "1", "2"
_LONGEST_PDU: Final = 131072  # for a peer that announces no limit
_C_STORE_RQ: Final = 0x0001
_HEADS: Final = ".heads"
_DIGITS: Final = 37
_BEFORE_DIGITS: Final = 7


class Head(NamedTuple):
    """An encoded data set up to the value of its Pixel Data. ``instance`` stands where its SOP Instance UID goes;
    ``digits`` are (offset, width) of the digits that are another object's in every object."""

    data: bytes
    instance: str
    digits: list[tuple[int, int]]


def write_heads(path: Path, heads: list[Head]) -> None:
    """Puts ``heads`` beside the data set at ``path``, which begins with the first of them."""
    path.with_suffix(_HEADS).write_text(json.dumps([(head.data.hex(), *head[1:]) for head in heads]))


def read_heads(path: Path) -> list[Head]:
    """What ``write_heads`` put beside ``path``."""
    return [
        Head(bytes.fromhex(data), instance, [(at, width) for at, width in digits])
        for data, instance, digits in json.loads(path.with_suffix(_HEADS).read_text())
    ]


def uid(kind: str, serial: int, digits: int = _DIGITS) -> str:
    """``digits`` + 7 characters, always: a UID that can be written over another without moving a byte."""
    return f"2.25.1{kind}{serial:0{digits}d}"


def command(sop_class: str, instance: str) -> bytes:
    """A C-STORE-RQ command set (PS3.7 9.3.1.1), message id 1."""
    sop_class += "\0" * (len(sop_class) % 2)
    instance += "\0" * (len(instance) % 2)
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


def message(
    sop_class: str, data_set: bytes | bytearray, longest: int, instance: str = uid(INSTANCE, 0)
) -> bytearray:
    """The PDUs of one C-STORE-RQ: its command, then ``data_set`` in PDUs of at most ``longest`` bytes."""
    request = command(sop_class, instance)
    out = bytearray(_pdu(len(request), 3) + request)
    fragment = _fragment(longest)
    for at in range(0, len(data_set), fragment):
        part = data_set[at : at + fragment]
        out += _pdu(len(part), 2 if at + fragment >= len(data_set) else 0) + part
    return out


def _pdu(size: int, control: int) -> bytes:
    """What comes before a fragment of ``size`` bytes that is a PDU of its own (PS3.8 9.3.5, E.2)."""
    return struct.pack(">BxIIBB", 4, size + 6, size + 2, 1, control)


def _fragment(longest: int) -> int:
    return (longest - 6) & ~1


class Patcher:
    """Gives the message in ``buffer`` new UIDs, where its placeholders stand, and other ``digits``."""

    def __init__(
        self, buffer: bytearray, instance: str = uid(INSTANCE, 0), digits: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.buffer = buffer
        self._instance_digits = len(instance) - _BEFORE_DIGITS
        placeholders = {INSTANCE: instance, SERIES: uid(SERIES, 0), STUDY: uid(STUDY, 0)}
        self._places = {kind: _places(buffer, value.encode()) for kind, value in placeholders.items()}
        if len(self._places[INSTANCE]) != 2:
            raise ValueError("the SOP Instance UID must stand once in the command and once in the data set")
        widths = sorted({width for _, width in digits})
        self._digits = [
            (10 ** (width - 1), [slice(at, at + width) for at, other in digits if other == width])
            for width in widths
        ]

    def patch(self, kind: str, serial: int) -> None:
        digits = self._instance_digits if kind == INSTANCE else _DIGITS
        value = uid(kind, serial, digits).encode()
        for place in self._places[kind]:
            self.buffer[place : place + len(value)] = value

    def number(self, serial: int) -> None:
        """The instance UID of ``serial``, and its digits wherever they stand: never with a zero first."""
        self.patch(INSTANCE, serial)
        buffer = self.buffer
        for least, places in self._digits:
            value = b"%d" % (least + serial % (9 * least))
            for place in places:
                buffer[place] = value


def _places(buffer: bytearray, value: bytes) -> list[int]:
    head = bytes(buffer[:8192])  # UIDs stand at the beginning; pixels are not searched
    found, at = [], head.find(value)
    while at >= 0:
        found.append(at)
        at = head.find(value, at + 1)
    return found


class Messages:
    """The C-STORE-RQs of one sender, made in one buffer, one after another.

    The pixels and the PDU headers between them stand at the end of the buffer and never move; before them comes
    what belongs to the object: command, first PDU header of the data set, head. All PDUs but the last are full; of
    heads that are not the longest the first is shorter by as much.
    """

    def __init__(self, path: Path, sop_class: str, longest: int) -> None:
        heads = read_heads(path)
        most = max(len(head.data) for head in heads)
        data_set = bytearray(path.read_bytes())
        self._pixels = len(data_set) - len(heads[0].data)
        data_set[: len(heads[0].data)] = bytes(most)
        first = min(len(data_set), _fragment(longest))
        if first < most:
            raise ValueError(
                f"a header of {most} bytes does not fit in a PDU of {longest}: the sender needs it to"
            )
        last = 2 if first == len(data_set) else 0
        self._heads = [_front(sop_class, head, first - most + len(head.data), last) for head in heads]
        self._sizes = [len(head.data) for head in heads]
        self._room = max(len(head.buffer) for head in self._heads)
        self._buffer = message(sop_class, data_set, longest)
        before = len(_pdu(0, 0)) * 2 + len(command(sop_class, uid(INSTANCE, 0))) + most
        self._buffer[:before] = bytes(self._room)
        self._view = memoryview(self._buffer)

    def begin(self, serial: int) -> None:
        """Every object from now on is of the study and the series with this serial number."""
        for head in self._heads:
            head.patch(STUDY, serial)
            head.patch(SERIES, serial)

    def make(self, serial: int) -> memoryview:
        """The PDUs of the object ``serial``; they stand until the next is made."""
        head = self._heads[serial % len(self._heads)]
        head.number(serial)
        at = self._room - len(head.buffer)
        self._view[at : self._room] = head.buffer
        return self._view[at:]

    def size(self, serial: int) -> int:
        """Bytes of the data set of the object ``serial``."""
        return self._sizes[serial % len(self._sizes)] + self._pixels


def _front(sop_class: str, head: Head, first: int, last: int) -> Patcher:
    """A message up to its pixels, whose first PDU of the data set holds ``first`` bytes of it."""
    request = command(sop_class, head.instance)
    before = _pdu(len(request), 3) + request + _pdu(first, last)
    digits = [(len(before) + at, width) for at, width in head.digits]
    return Patcher(bytearray(before + head.data), head.instance, digits)


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
    messages = Messages(Path(path), sop_class, int(longest))
    first = int(serial)
    messages.begin(first)
    print("ready", flush=True)
    sys.stdin.readline()
    seconds: list[float] = []
    answers: list[int] = []
    begin = time.monotonic()
    if negotiate(sock, bytes.fromhex(request)) != int(longest):
        raise ConnectionError("the receiver announced another PDU length than before")
    for number in range(first, first + int(count)):
        pdus = messages.make(number)
        before = time.monotonic()
        sock.sendall(pdus)
        answers.append(status(sock))
        seconds.append(time.monotonic() - before)
    end = time.monotonic()
    release(sock)
    sock.close()
    stored = [first + place for place, answer in enumerate(answers) if answer == 0]
    result = {
        "begin": begin,
        "end": end,
        "seconds": seconds,
        "statuses": Counter(answers),
        "stored": stored,
        "bytes": sum(map(messages.size, stored)),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
