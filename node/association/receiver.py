"""The receive loop: one thread, one socket, one buffer; every wait has a deadline."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from node.association import protocol
from node.association.negotiation import Accepted, Negotiator, Rejected, is_storage
from node.association.protocol import (
    Aborted,
    AssociateRequested,
    Breached,
    CommandReceived,
    DataReceived,
    Event,
    ReleaseRequested,
)
from node.association.transport import Deadline, Transport
from node.errors import DeadlineExceeded, NodeError, PeerGone, ProtocolError
from node.peers import ECHO, FIND, STORE, Peer
from node.services import dimse
from node.services.base import Answer, Context, Operation, Refused, Service
from node.services.dimse import Command

# Which right of [[peers]] services a request needs; other requests are no operation of this node
_NEEDS: Final = {dimse.C_ECHO_RQ: ECHO, dimse.C_STORE_RQ: STORE, dimse.C_FIND_RQ: FIND}

# How long, and how much, is read and dropped after an abort or reject: closing a socket with unread input
# resets the connection, and the peer may then never see the answer.
_LINGER_SECONDS: Final = 0.5
_LINGER_BYTES: Final = 4_194_304


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, as [dicom.timeouts] has them."""

    handshake: float
    idle: float
    transfer: float


class Observer(Protocol):
    """What people want to know of an association; called from its thread, must be quick."""

    def stored(self, calling_ae: str, status: int, size: int, seconds: float, why: str) -> None:
        """One C-STORE was answered; ``why`` it was refused, when it was."""

    def association_ended(self, calling_ae: str, address: str, result: str, why: str, objects: int) -> None:
        """``result`` is one of released, aborted, rejected, timeout, protocol-error, lost, failed."""

    def failed(self, address: str, error: BaseException) -> None:
        """A fault of ours ended the association."""


class Congestion(Protocol):
    """Whether one more association is let in."""

    def admit(self, peer: Peer) -> str | None:
        """Count an association of ``peer`` in and return None, or say why there is no room."""


class Receiver:
    """One association, from its first byte to its end; ``run`` blocks until then."""

    def __init__(
        self,
        transport: Transport,
        address: str,
        number: int,
        accepted_at: float,
        negotiator: Negotiator,
        services: Mapping[int, Service],
        timeouts: Timeouts,
        max_pdu: int,
        observer: Observer,
    ) -> None:
        self.number = number
        self.last_activity = accepted_at  # monotonic seconds of the last bytes received
        self.calling_ae = ""
        self._address = address
        self._transport = transport
        self._negotiator = negotiator
        self._services = services
        self._timeouts = timeouts
        self._observer = observer
        self._protocol = protocol.Protocol(max_pdu)
        self._handshake = Deadline("handshake", timeouts.handshake, accepted_at)
        self._agreed: Accepted | None = None
        self._command: CommandReceived | None = None
        self._operation: Operation | None = None
        self._backlog: deque[Event] = deque()
        self._pdu_number, self._pdu_began = 0, accepted_at
        self._whole_at = accepted_at  # when the last byte of the current request was there
        self._objects = 0
        self._received = 0  # bytes of the current data set

    def run(self, buffer: memoryview, congested: Congestion) -> None:
        """Serve the association to its end. Nothing that the peer does makes this raise."""
        result, why = "failed", ""
        try:
            result, why = self._serve(buffer, congested)
        except ProtocolError as error:
            result, why = "protocol-error", str(error)
            self._farewell(protocol.abort(error.source, error.reason), buffer)
        except DeadlineExceeded as error:
            result, why = "timeout", str(error)
            self._farewell(protocol.abort(2, 0), buffer)
        except PeerGone as error:
            result, why = "lost", str(error)
        except Exception as error:  # noqa: BLE001  one association's fault must not end another's
            why = type(error).__name__
            self._observer.failed(self._address, error)
            self._farewell(protocol.abort(2, 0), buffer)
        finally:
            if self._operation is not None:
                self._operation.abandon()
            self._transport.close()
            for service in self._services.values():
                service.ended(self.number)
            self._observer.association_ended(self.calling_ae, self._address, result, why, self._objects)

    def _serve(self, buffer: memoryview, congested: Congestion) -> tuple[str, str]:
        while True:
            for event in self._receive(buffer):
                ending = self._handle(event, buffer, congested)
                if ending is not None:
                    return ending

    def _receive(self, buffer: memoryview) -> list[Event]:
        """The next events: those kept back while a query was answered, else what the socket brings."""
        if self._backlog:
            events = list(self._backlog)
            self._backlog.clear()
            return events
        deadline = self._deadline(time.monotonic())
        size = self._transport.receive_into(buffer, deadline)
        self.last_activity = time.monotonic()
        return self._protocol.receive(buffer[:size])

    def _deadline(self, now: float) -> Deadline:
        """Which of the three timeouts runs now, and since when.

        What passed since the last bytes was the node's own time (a slow disk, a long query): it is not held
        against the peer. A PDU's time runs from its first byte, however its bytes trickle in.
        """
        machine, timeouts = self._protocol, self._timeouts
        if self._agreed is None:
            return self._handshake
        if machine.inside_pdu:
            if machine.pdus != self._pdu_number:
                self._pdu_number, self._pdu_began = machine.pdus, now
            else:
                self._pdu_began += now - self.last_activity
            return Deadline("transfer", timeouts.transfer, self._pdu_began)
        if machine.inside_message:
            return Deadline("transfer", timeouts.transfer, now)
        return Deadline("idle", timeouts.idle, now)

    def _handle(self, event: Event, buffer: memoryview, congested: Congestion) -> tuple[str, str] | None:
        """Act on one event; returns how the association ended, once it has."""
        match event:
            case DataReceived():
                self._data(event)
            case CommandReceived():
                self._begin(event)
            case AssociateRequested():
                return self._associate(event, buffer, congested)
            case ReleaseRequested():
                self._farewell(protocol.RELEASE_RP, buffer, half_close=False)
                return "released", ""
            case Aborted():
                return "aborted", f"source {event.source} reason {event.reason}"
            case Breached():
                raise event.error
        return None

    def _associate(
        self, event: AssociateRequested, buffer: memoryview, congested: Congestion
    ) -> tuple[str, str] | None:
        answer = self._negotiator.answer(event.pdu, self._address, self.number, congested.admit)
        self.calling_ae = answer.calling_ae
        if isinstance(answer, Rejected):
            self._farewell(answer.pdu, buffer)
            return "rejected", answer.why
        self._send(answer.pdu)
        self._agreed = answer
        self._protocol.establish(answer.contexts)
        return None

    def _begin(self, event: CommandReceived) -> None:
        self._received = 0
        command = event.command
        if command.field == dimse.C_CANCEL_RQ:
            return  # its query has been answered meanwhile
        self._command = event
        self._operation = self._start(self._context(event), command)
        if not command.has_data_set:
            self._finish()

    def _context(self, event: CommandReceived) -> Context:
        assert self._agreed is not None
        return self._agreed.contexts[event.context_id]

    def _start(self, context: Context, command: Command) -> Operation:
        assert self._agreed is not None
        service, right = self._services.get(command.field), _NEEDS.get(command.field)
        if service is None or right is None:
            return Refused(dimse.UNRECOGNIZED_OPERATION, f"{command.name} is not supported")
        if right not in self._agreed.peer.services:
            return Refused(dimse.NOT_AUTHORIZED, f"{command.name} is not allowed for this caller")
        if command.field == dimse.C_STORE_RQ and not is_storage(context.abstract_syntax):
            return Refused(dimse.SOP_CLASS_NOT_SUPPORTED, "this presentation context is not for storage")
        return service.begin(context, command)

    def _data(self, event: DataReceived) -> None:
        assert self._operation is not None
        self._received += sum(map(len, event.fragments))
        self._operation.write(event.fragments)
        if event.last:
            self._finish()

    def _finish(self) -> None:
        """The request is whole: carry it out and send its answers."""
        self._whole_at = time.monotonic()
        assert self._operation is not None
        assert self._command is not None
        operation, request = self._operation, self._command
        answer: Answer | None = None
        answers = iter(operation.finish())
        try:
            for answer in answers:
                self._send(self._encoded(request, answer))
                if answer.identifier is not None and self._cancelled(request.command):
                    self._send(self._encoded(request, Answer(dimse.CANCELLED)))
                    break
        finally:
            close = getattr(answers, "close", None)
            if close is not None:
                close()
            if answer is not None and request.command.field == dimse.C_STORE_RQ:
                self._count(answer)  # also when the peer did not wait for it: the object was received
        self._operation = None
        service = self._services.get(request.command.field)
        if service is not None and not isinstance(operation, Refused):
            service.answered(self._context(request))

    def _count(self, answer: Answer) -> None:
        self._objects += answer.status == dimse.SUCCESS
        seconds = time.monotonic() - self._whole_at
        why = answer.why or answer.comment or ""
        self._observer.stored(self.calling_ae, answer.status, self._received, seconds, why)

    def _encoded(self, request: CommandReceived, answer: Answer) -> bytes:
        assert self._agreed is not None
        has_data = answer.identifier is not None
        if not has_data and not answer.comment:
            return dimse.answer(request.command, request.context_id, answer.status, self._agreed.max_pdu)
        command_set = dimse.response(request.command, answer.status, answer.comment, has_data)
        pdus = dimse.p_data(request.context_id, command_set, True, self._agreed.max_pdu)
        if answer.identifier is not None:
            pdus += dimse.p_data(request.context_id, answer.identifier, False, self._agreed.max_pdu)
        return pdus

    def _cancelled(self, command: Command) -> bool:
        """A C-CANCEL-RQ for this request came in meanwhile (PS3.7 9.3.2.3); what else came waits its turn."""
        if self._backlog or not self._transport.has_input():
            return False
        buffer = memoryview(bytearray(65536))
        for event in self._receive(buffer):
            match event:
                case CommandReceived(command=Command(field=dimse.C_CANCEL_RQ, message_id=command.message_id)):
                    return True
                case DataReceived():
                    kept = [memoryview(bytes(fragment)) for fragment in event.fragments]
                    self._backlog.append(DataReceived(kept, event.last))
                case Aborted():
                    raise PeerGone("aborted by the peer while its query was answered")
                case _:
                    self._backlog.append(event)
        return False

    def _send(self, data: bytes) -> None:
        self._transport.send(data, Deadline("transfer", self._timeouts.transfer, time.monotonic()))

    def _farewell(self, pdu: bytes, buffer: memoryview, half_close: bool = True) -> None:
        """Send a last PDU, then give the peer a moment to read it and close (state 13 of PS3.8 9.2).

        After a release the peer closes first (AR-4); a requestor that finds the connection closed under it
        takes that for an abort.
        """
        self._protocol.close()
        deadline = Deadline("linger", _LINGER_SECONDS, time.monotonic())
        dropped = 0
        try:
            self._transport.send(pdu, deadline)
            if half_close:
                self._transport.end_of_output()
            while dropped < _LINGER_BYTES and time.monotonic() < deadline.at:
                dropped += self._transport.receive_into(buffer, deadline)
        except NodeError:
            return  # gone or silent: either way the connection is closed next
