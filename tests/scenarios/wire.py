"""A DICOM requestor in raw bytes: sends what a test tells it, right or wrong, and says what came back."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType

AE_TITLE = "DICOMFHIR"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
STORE, ECHO = 1, 3  # context ids that CONTEXTS proposes

Contexts = Sequence[tuple[int, str, Sequence[str]]]
CONTEXTS: Contexts = ((STORE, CT, (EXPLICIT,)), (ECHO, VERIFICATION, (IMPLICIT,)))

ABORT = bytes.fromhex("07000000000400000000")
RELEASE = bytes.fromhex("05000000000400000000")


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def context_item(number: int, abstract: str, transfer: Iterable[str]) -> bytes:
    syntaxes = b"".join(item(0x40, uid.encode()) for uid in transfer)
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract.encode()) + syntaxes)


def associate(
    contexts: Contexts = CONTEXTS,
    calling: str | bytes = "TESTER",
    called: str | bytes = AE_TITLE,
    max_pdu: int | None = 16384,
    user: bytes = b"",
    version: int = 1,
    application: str = APPLICATION_CONTEXT,
) -> bytes:
    """An A-ASSOCIATE-RQ PDU; ``user`` are further user information sub-items."""
    titles = b"".join(_encoded(title).ljust(16)[:16] for title in (called, calling))
    length = b"" if max_pdu is None else item(0x51, struct.pack(">I", max_pdu))
    information = item(0x50, length + item(0x52, b"1.2.826.0.1.3680043.8.498.1") + user)
    proposed = b"".join(context_item(*context) for context in contexts)
    body = struct.pack(">H2x", version) + titles + bytes(32)
    return pdu(1, body + item(0x10, application.encode()) + proposed + information)


def _encoded(title: str | bytes) -> bytes:
    return title if isinstance(title, bytes) else title.encode()


def pdv(context: int, value: bytes, command: bool = False, last: bool = True) -> bytes:
    return struct.pack(">IBB", len(value) + 2, context, command | last << 1) + value


def p_data(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


def element(number: int, value: bytes | int) -> bytes:
    value = struct.pack("<H", value) if isinstance(value, int) else value
    return struct.pack("<HHI", 0, number, len(value)) + value


def uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def command(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


def store_rq(instance: str, message: int = 1, sop_class: str = CT, data: bool = True) -> bytes:
    return command(
        element(0x0002, uid(sop_class)),
        element(0x0100, 0x0001),
        element(0x0110, message),
        element(0x0700, 0),
        element(0x0800, 0x0102 if data else 0x0101),
        element(0x1000, uid(instance)),
    )


def request(field: int, message: int = 1, data: bool = False, sop_class: str = VERIFICATION) -> bytes:
    return command(
        element(0x0002, uid(sop_class)),
        element(0x0100, field),
        element(0x0110, message),
        element(0x0800, 0x0102 if data else 0x0101),
    )


def echo_rq(message: int = 1) -> bytes:
    return request(0x0030, message)


def cancel_rq(message: int, data_set_type: int = 0x0101) -> bytes:
    return command(element(0x0100, 0x0FFF), element(0x0120, message), element(0x0800, data_set_type))


def message(context: int, command_set: bytes, data: bytes = b"", size: int = 16000) -> bytes:
    """A whole message: the command set in one PDU, the data set in as many as it takes."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    parts = [p_data(pdv(context, piece, last=at == len(pieces))) for at, piece in enumerate(pieces, 1)]
    return p_data(pdv(context, command_set, command=True)) + b"".join(parts)


class Wire:
    """One connection. ``answer`` tells in words what the node did next."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = bytearray()

    @classmethod
    def established(cls, port: int, contexts: Contexts = CONTEXTS, max_pdu: int = 16384) -> Wire:
        wire = cls(port)
        try:
            wire.send(associate(contexts, max_pdu=max_pdu))
            kind, body = wire.read_pdu()
            assert kind == 2, (kind, body)
        except BaseException:  # else nobody closes it: the peer may be killed at any moment
            wire.socket.close()
            raise
        return wire

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> Wire:
        self.socket.sendall(b"".join(data))
        return self

    def send_bytewise(self, data: bytes) -> Wire:
        """One segment a byte: Nagle is off."""
        for at in range(len(data)):
            self.socket.sendall(data[at : at + 1])
        return self

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            part = self.socket.recv(65536)
            if not part:
                raise EOFError("closed" if not self._data else "closed inside a PDU")
            self._data += part
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def read_response(self) -> dict[int, bytes]:
        """The next response's command set, element number -> value; data sets before it are skipped."""
        while True:
            parts = b""
            while True:
                kind, body = self.read_pdu()
                if kind != 4:
                    raise EOFError(_described(kind, body))
                parts += body[6:]
                if body[5] & 2:
                    break
            if body[5] & 1:
                return _elements(parts)

    def status(self) -> str:
        """The status of the next response as "0x0000", or what came instead of one."""
        try:
            response = self.read_response()
        except EOFError as error:
            return str(error)
        except ConnectionError:
            return "reset"
        return f"0x{struct.unpack('<H', response[0x0900])[0]:04X}"

    def answer(self) -> str:
        """What the node does next: a PDU in words, "closed", "reset" or "nothing"."""
        try:
            return _described(*self.read_pdu())
        except EOFError as error:
            return str(error)
        except ConnectionError:
            return "reset"
        except TimeoutError:
            return "nothing"


def _elements(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(data):
        _, number, length = struct.unpack_from("<HHI", data, at)
        found[number] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def _described(kind: int, body: bytes) -> str:
    match kind:
        case 2:
            results = [(body[at + 4], body[at + 6]) for at in _items(body, 0x21)]
            return "accepted " + " ".join(f"{number}:{result}" for number, result in results)
        case 3:
            return "rejected {}/{}/{}".format(*body[1:4])
        case 6:
            return "released"
        case 7:
            return "aborted {}/{}".format(*body[2:4])
    return f"PDU {kind}"


def _items(body: bytes, wanted: int) -> Iterable[int]:
    at = 68
    while at < len(body):
        if body[at] == wanted:
            yield at
        at += 4 + int.from_bytes(body[at + 2 : at + 4], "big")


def echo(port: int, seconds: float = 1.0) -> None:
    """A C-ECHO on an association of its own is answered with success within ``seconds``."""
    with Wire(port, timeout=seconds) as wire:
        assert wire.send(associate()).answer() == "accepted 1:0 3:0"
        assert wire.send(message(ECHO, echo_rq())).status() == "0x0000"
        assert wire.send(RELEASE).answer() == "released"
