"""One association on the requestor's side: connect, negotiate, C-STORE, release.

Proposal and answers are pynetdicom's PDU classes. The fragments of a data set are not: pynetdicom's
``Association.send_c_store`` either decodes the whole object into memory, or (by a global switch) puts every
fragment of the file into a queue without bound while a second thread polls it once a millisecond. Here a
fragment goes from the file into one reused buffer and from there into the socket, so that memory does not
depend on the size of the object and no byte of it is changed.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

from pydicom.uid import UID
from pynetdicom.pdu import (
    A_ABORT_RQ,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
)
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from node.errors import (
    AssociationRejected,
    DeadlineExceeded,
    FileShortened,
    NodeError,
    PeerGone,
    ProtocolError,
)
from node.services import dimse
from node.services.base import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.services.send.address import Address

MAX_CONTEXTS: Final = 128  # odd presentation context identifiers 1..255, PS3.8 9.3.2.2

_APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
ANNOUNCED_PDU: Final = 16384  # a requestor of C-STORE only receives small answers
_ANSWER_BOUND: Final = 1 << 20  # no PDU that answers us is longer; a length above it is not read
LARGEST_PDU: Final = 131072  # measured: longer PDUs are slower, whatever the peer would take
_SMALLEST_PDU: Final = 64
_SHORTEST_ACCEPT: Final = 74  # its fixed fields, PS3.8 9.3.3: pynetdicom's decoder takes less without a word
_PDV_OVERHEAD: Final = 6  # item length, context id, message control header: PS3.8 9.3.5.1

_ASSOCIATE_AC, _ASSOCIATE_RJ, _P_DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = 2, 3, 4, 5, 6, 7
_COMMAND, _LAST = 0x01, 0x02  # message control header, PS3.8 E.2

# PS3.8 Table 9-18: what the acceptor says of a presentation context
_CONTEXT_RESULTS: Final = {
    1: "not accepted: user rejection",
    2: "not accepted: no reason given",
    3: "not accepted: abstract syntax not supported",
    4: "not accepted: transfer syntax not supported",
}

# What pynetdicom's decoders raise on bytes that are not the PDU they claim to be
_UNDECODABLE: Final = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    struct.error,
    NotImplementedError,
)

Context = tuple[str, str]  # abstract syntax (SOP Class UID), transfer syntax


class Answer(NamedTuple):
    """A C-STORE answer: DIMSE status (PS3.7 C, PS3.4 B.2.3) and Error Comment, empty when there is none."""

    status: int
    comment: str


class Requestor:
    """An established association. ``accepted`` maps a proposed context to its identifier, ``refused`` to why.

    Every method raises PeerGone when the peer aborts or the connection ends, DeadlineExceeded when nothing
    came for ``timeout`` seconds, ProtocolError when what came is not DICOM; the association is over then.
    """

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self.accepted: dict[Context, int] = {}
        self.refused: dict[Context, str] = {}
        self._sock = sock
        self._timeout = timeout
        self._message_id = 0
        self._fragment = 0
        self._buffer = memoryview(bytearray(0))

    @classmethod
    def open(
        cls,
        to: Address,
        calling_ae: str,
        contexts: Iterable[Context],
        timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> Requestor:
        """Connects and negotiates up to 128 ``contexts``, each with its one transfer syntax.

        Raises AssociationRejected besides the errors of the class.
        """
        requestor = cls(_connect(to, timeout, tls), timeout)
        try:
            requestor._negotiate(to.ae_title, calling_ae, list(contexts))
        except BaseException:
            requestor.close()
            raise
        return requestor

    def _negotiate(self, called_ae: str, calling_ae: str, contexts: list[Context]) -> None:
        self._send(_associate_request(called_ae, calling_ae, contexts))
        kind, pdu = self._read_pdu()
        if kind == _ASSOCIATE_RJ:
            raise _rejection(pdu)
        if kind != _ASSOCIATE_AC:
            raise ProtocolError(f"the peer answered A-ASSOCIATE-RQ with PDU type 0x{kind:02X}")
        if len(pdu) < _SHORTEST_ACCEPT:
            raise ProtocolError(f"the peer's A-ASSOCIATE-AC has {len(pdu)} bytes")
        try:
            decoded = A_ASSOCIATE_AC()
            decoded.decode(pdu)
            answer = decoded.to_primitive()
            results = answer.presentation_context_definition_results_list
            longest = answer.maximum_length_received or LARGEST_PDU  # 0: no limit, PS3.8 D.1
        except _UNDECODABLE as error:
            raise ProtocolError(f"the peer's A-ASSOCIATE-AC can't be read: {error}") from error
        if longest < _SMALLEST_PDU:
            raise ProtocolError(f"the peer announced a maximum PDU length of {longest} bytes")
        self._fragment = (min(longest, LARGEST_PDU) - _PDV_OVERHEAD) & ~1
        self._buffer = memoryview(bytearray(12 + self._fragment))
        proposed = {2 * place + 1: context for place, context in enumerate(contexts)}
        self.refused = dict.fromkeys(contexts, "not accepted: the peer did not answer this context")
        for result in results:
            context = proposed.get(result.context_id or 0)
            if context is None:
                continue
            if result.result != 0:
                self.refused[context] = _CONTEXT_RESULTS.get(
                    result.result or 0, f"not accepted: result {result.result}"
                )
            elif [str(uid) for uid in result.transfer_syntax] != [context[1]]:
                self.refused[context] = "not accepted: the peer chose a transfer syntax that was not proposed"
            else:
                self.accepted[context] = result.context_id or 0
                del self.refused[context]

    def store(
        self,
        context: Context,
        instance: str,
        data_set: BinaryIO,
        length: int,
        sent: Callable[[int], None] = lambda _: None,
    ) -> Answer:
        """Sends one object: ``length`` bytes of ``data_set`` as they are, and waits for the answer.

        ``sent`` hears the bytes of each fragment that has gone out; what it raises ends the object in the
        middle, and the caller has to ``abort``. FileShortened when the file ends before ``length`` bytes.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        context_id = self.accepted[context]
        command = dimse.store_request(self._message_id, context[0], instance)
        head = dimse.p_data(context_id, command, True, self._fragment + _PDV_OVERHEAD)
        left = length
        while True:
            size = min(left, self._fragment)
            left -= size
            last = 0 if left else _LAST
            struct.pack_into(">BxIIBB", self._buffer, 0, _P_DATA, size + 6, size + 2, context_id, last)
            _fill(data_set, self._buffer[12 : 12 + size])
            # the command and the first fragment in one segment: the peer wakes once for a small object
            self._send(head + self._buffer[: 12 + size] if head else self._buffer[: 12 + size])
            head = b""
            sent(size)
            if not left:
                return self._store_answer()

    def _store_answer(self) -> Answer:
        command = bytearray()
        deadline = time.monotonic() + self._timeout
        while True:
            kind, pdu = self._read_pdu(deadline)
            if kind != _P_DATA:
                raise self._ended_by(kind, pdu)
            for control, fragment in _pdvs(pdu):
                if not control & _COMMAND:
                    raise ProtocolError("the peer's C-STORE answer carries a data set")
                command += fragment
                if len(command) > _ANSWER_BOUND:
                    raise ProtocolError("the peer's C-STORE answer does not end")
                if control & _LAST:
                    return self._matched(dimse.decode_response(bytes(command)))

    def _matched(self, response: dimse.Response) -> Answer:
        if response.field != dimse.C_STORE_RQ | dimse.RESPONSE or response.message_id != self._message_id:
            raise ProtocolError(
                f"the peer answered command 0x{response.field:04X} to message {response.message_id}, "
                f"not C-STORE-RSP to message {self._message_id}"
            )
        return Answer(response.status, response.comment)

    def release(self) -> None:
        """Ends the association in order (PS3.8 7.2) and closes the connection."""
        try:
            self._send(A_RELEASE_RQ().encode())
            deadline = time.monotonic() + self._timeout
            while True:
                kind, pdu = self._read_pdu(deadline)
                if kind == _RELEASE_RP:
                    return
                if kind != _RELEASE_RQ:
                    raise self._ended_by(kind, pdu)
                self._send(A_RELEASE_RP().encode())  # both asked at once: PS3.8 9.2, the collision states
        finally:
            self.close()

    def abort(self) -> None:
        """Ends the association at once with A-ABORT (source: service user); a peer already gone is fine."""
        pdu = A_ABORT_RQ()
        pdu.source = 0
        pdu.reason_diagnostic = 0
        try:
            self._sock.settimeout(1.0)
            self._sock.sendall(pdu.encode())
        except OSError:
            return  # A-ABORT is a courtesy: closing the connection says the same (PS3.8 9.2, event 17)
        finally:
            self.close()

    def interrupt(self) -> None:
        """Wakes a thread that waits in another method of this object; callable from any thread."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already, so nobody waits

    def close(self) -> None:
        """Closes the connection without a word; safe to repeat."""
        self._sock.close()

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._sock.settimeout(self._timeout)
            self._sock.sendall(data)
        except TimeoutError as error:
            raise DeadlineExceeded("send", self._timeout) from error
        except OSError as error:
            raise self._why_gone(error) from error

    def _why_gone(self, error: OSError) -> NodeError:
        """A peer that aborts says so before it closes: its A-ABORT may still be waiting to be read."""
        try:
            return self._ended_by(*self._read_pdu(time.monotonic() + 1.0))
        except NodeError:
            return PeerGone(f"connection lost: {error.strerror or error}")

    def _ended_by(self, kind: int, pdu: bytes) -> NodeError:
        if kind == _ABORT:
            return PeerGone(_abort_reason(pdu))
        if kind == _RELEASE_RQ:
            return PeerGone("the peer asked to release the association before it answered")
        return ProtocolError(f"the peer sent PDU type 0x{kind:02X} where an answer was due")

    def _read_pdu(self, deadline: float | None = None) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._timeout if deadline is None else deadline
        kind, length = struct.unpack(">BxI", self._read(6, deadline))
        if length > _ANSWER_BOUND:
            raise ProtocolError(f"the peer sent a PDU (type 0x{kind:02X}) of {length} bytes")
        return kind, struct.pack(">BxI", kind, length) + self._read(length, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded("answer", self._timeout)
            try:
                self._sock.settimeout(left)
                part = self._sock.recv(size - len(data))
            except TimeoutError as error:
                raise DeadlineExceeded("answer", self._timeout) from error
            except OSError as error:
                raise PeerGone(f"connection lost: {error.strerror or error}") from error
            if not part:
                raise PeerGone("the peer closed the connection")
            data += part
        return bytes(data)


def _connect(to: Address, timeout: float, tls: ssl.SSLContext | None) -> socket.socket:
    try:
        sock = socket.create_connection((to.host, to.port), timeout)
    except TimeoutError as error:
        raise DeadlineExceeded("connection", timeout) from error
    except OSError as error:
        raise PeerGone(f"can't connect to {to.host}:{to.port}: {error.strerror or error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return sock
    try:
        return tls.wrap_socket(sock, server_hostname=to.host)
    except OSError as error:
        sock.close()
        raise PeerGone(f"TLS handshake with {to.host}:{to.port} failed: {error}") from error


def _associate_request(called_ae: str, calling_ae: str, contexts: list[Context]) -> bytes:
    if not 0 < len(contexts) <= MAX_CONTEXTS:
        raise ValueError(
            f"an association proposes 1 to {MAX_CONTEXTS} presentation contexts, not {len(contexts)}"
        )
    length = MaximumLengthNotification()
    length.maximum_length_received = ANNOUNCED_PDU
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    proposed = []
    for place, (abstract, transfer) in enumerate(contexts):
        context = build_context(UID(abstract), UID(transfer))
        context.context_id = 2 * place + 1
        proposed.append(context)
    request = A_ASSOCIATE()
    request.application_context_name = UID(_APPLICATION_CONTEXT)
    request.calling_ae_title = calling_ae
    request.called_ae_title = called_ae
    request.presentation_context_definition_list = proposed
    request.user_information = [length, implementation, version]
    return A_ASSOCIATE_RQ(request).encode()


def _rejection(pdu: bytes) -> AssociationRejected:
    try:
        decoded = A_ASSOCIATE_RJ()
        decoded.decode(pdu)
        numbers = (decoded.result or 0, decoded.source or 0, decoded.reason_diagnostic or 0)
        return AssociationRejected(decoded.reason_str.lower(), *numbers)
    except _UNDECODABLE as error:
        raise ProtocolError(f"the peer's A-ASSOCIATE-RJ can't be read: {error}") from error


def _abort_reason(pdu: bytes) -> str:
    source, reason = pdu[8:10] if len(pdu) == 10 else (2, 0)
    who = "service user" if source == 0 else "service provider"
    return f"the peer aborted the association ({who}, reason {reason})"


def _pdvs(pdu: bytes) -> Iterator[tuple[int, bytes]]:
    """(message control header, fragment) of each presentation data value, PS3.8 9.3.5.1."""
    at = 6
    while at < len(pdu):
        if at + 6 > len(pdu):
            raise ProtocolError("the peer's P-DATA-TF ends inside an item")
        (length,) = struct.unpack_from(">I", pdu, at)
        end = at + 4 + length
        if length < 2 or end > len(pdu):
            raise ProtocolError(f"the peer's P-DATA-TF has an item of {length} bytes")
        yield pdu[at + 5], pdu[at + 6 : end]
        at = end


def _fill(data_set: BinaryIO, into: memoryview) -> None:
    done = 0
    while done < len(into):
        count = data_set.readinto(into[done:])  # type: ignore[attr-defined]  # every binary file has it
        if not count:
            raise FileShortened("the file ended while it was being sent")
        done += count
