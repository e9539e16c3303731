"""A C-STORE acceptor for tests of the requestor: real sockets, and faults where a test wants them."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

ABORT = b"\x07\0\0\0\0\x04\0\0\0\0"
RELEASED = b"\x06\0\0\0\0\x04\0\0\0\0"


@dataclass
class Stored:
    """One object as it came: the command's UIDs, its context's transfer syntax, the bytes of the data set."""

    sop_class: str
    instance: str
    transfer_syntax: str
    data_set: bytes


@dataclass
class Peer:
    """Answers ``status(stored)``, or does to the socket what ``fault(number, stored)`` tells: abort or close.

    ``context_result`` decides on each proposed (abstract, transfer syntax); ``reject`` gives the numbers of an
    A-ASSOCIATE-RJ for the association of that number, or None; both count from 1.
    """

    max_pdu: int = 16384
    status: Callable[[Stored], tuple[int, str]] = lambda _: (0, "")
    fault: Callable[[int, Stored], bytes | None] = lambda _number, _stored: None
    context_result: Callable[[str, str], int] = lambda _abstract, _transfer: 0
    reject: Callable[[int], tuple[int, int, int] | None] = lambda _: None
    tls: ssl.SSLContext | None = None
    stored: list[Stored] = field(default_factory=list)
    requests: list[A_ASSOCIATE_RQ] = field(default_factory=list)
    longest_pdu: int = 0
    endings: list[int] = field(default_factory=list)

    def __enter__(self) -> Peer:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._count = 0
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._server.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:  # the test is over
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(10)
            try:
                if self.tls is None:
                    self._converse(sock)
                    return
                with self.tls.wrap_socket(sock, server_side=True) as encrypted:
                    self._converse(encrypted)
            except OSError:  # the requestor closed, which some tests are about
                self.endings.append(-1)

    def _converse(self, sock: socket.socket) -> None:
        request = A_ASSOCIATE_RQ()
        request.decode(self._pdu(sock)[1])
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        refusal = self.reject(number)
        if refusal:
            rejection = A_ASSOCIATE_RJ()
            rejection.result, rejection.source, rejection.reason_diagnostic = refusal
            sock.sendall(rejection.encode())
            return
        syntaxes = self._accept_association(sock, request)
        while True:
            kind, pdu = self._pdu(sock)
            if kind != 4:
                self.endings.append(kind)
                if kind == 5:
                    sock.sendall(RELEASED)
                return
            stored, message_id = self._object(sock, pdu, syntaxes)
            with self._lock:
                self._count += 1
                fault = self.fault(self._count, stored)
            if fault is not None:
                sock.sendall(fault)
                return
            status, comment = self.status(stored)
            with self._lock:
                self.stored.append(stored)
            sock.sendall(_answer(pdu[10], message_id, status, comment))

    def _accept_association(self, sock: socket.socket, request: A_ASSOCIATE_RQ) -> dict[int, str]:
        primitive = request.to_primitive()
        syntaxes: dict[int, str] = {}
        contexts = primitive.presentation_context_definition_list
        for context in contexts:
            context.result = self.context_result(
                str(context.abstract_syntax), str(context.transfer_syntax[0])
            )
            assert context.context_id is not None
            syntaxes[context.context_id] = str(context.transfer_syntax[0])
        primitive.presentation_context_definition_results_list = contexts
        primitive.maximum_length_received = self.max_pdu
        primitive.result = 0
        sock.sendall(A_ASSOCIATE_AC(primitive).encode())
        return syntaxes

    def _object(self, sock: socket.socket, pdu: bytes, syntaxes: dict[int, str]) -> tuple[Stored, int]:
        parts = {0: bytearray(), 1: bytearray()}
        context_id = pdu[10]
        while True:
            if pdu[10] != context_id or struct.unpack_from(">I", pdu, 6)[0] != len(pdu) - 10:
                raise AssertionError("a PDV of another context, or of another length than its PDU")
            control = pdu[11]
            parts[control & 1] += pdu[12:]
            if control == 2:
                break
            kind, pdu = self._pdu(sock)
            if kind != 4:
                self.endings.append(kind)
                raise ConnectionError("the requestor ended the association inside an object")
        command, at = {}, 0
        while at < len(parts[1]):
            _, element, length = struct.unpack_from("<HHI", parts[1], at)
            command[element] = bytes(parts[1][at + 8 : at + 8 + length])
            at += 8 + length
        uids = [command[tag].rstrip(b"\0").decode() for tag in (0x0002, 0x1000)]
        stored = Stored(uids[0], uids[1], syntaxes[context_id], bytes(parts[0]))
        return stored, struct.unpack("<H", command[0x0110])[0]

    def _pdu(self, sock: socket.socket) -> tuple[int, bytes]:
        head = _exactly(sock, 6)
        kind, length = struct.unpack(">BxI", head)
        self.longest_pdu = max(self.longest_pdu, length if kind == 4 else 0)
        return kind, head + _exactly(sock, length)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def _answer(context_id: int, message_id: int, status: int, comment: str) -> bytes:
    text = comment.encode() + b" " * (len(comment) % 2)
    body = b"".join(
        struct.pack("<HHIH", 0, tag, 2, value)
        for tag, value in ((0x0100, 0x8001), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status))
    )
    if comment:
        body += struct.pack("<HHI", 0, 0x0902, len(text)) + text
    body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    # in two PDUs: a requestor must put fragments of a command together
    pdus = ((0x01, body[:20]), (0x03, body[20:]))
    return b"".join(
        struct.pack(">BxIIBB", 4, len(part) + 6, len(part) + 2, context_id, control) + part
        for control, part in pdus
    )
