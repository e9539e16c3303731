"""The upper layer protocol of an acceptor, sans I/O: bytes in, events out (PS3.8 9.2, 9.3).

No socket, no clock. ``receive`` takes what came off the wire, in pieces of any size, and gives events in
order. Fragments of a data set are views into the bytes given: they are valid until the next call, and are
never joined. What is buffered is bounded: PDU headers, an A-ASSOCIATE-RQ, and one command set.

The acceptor's part of the state table (PS3.8 Table 9-10); it never asks for a release itself, so states 7 and
9 to 12 do not occur:

=============  ================  ============  ==============  =============  ==========
received       AWAIT_REQUEST     NEGOTIATING   ESTABLISHED     RELEASING      CLOSING
               (Sta2)            (Sta3)        (Sta6)          (Sta8)         (Sta13)
=============  ================  ============  ==============  =============  ==========
A-ASSOCIATE-RQ associate (AE-6)  abort (AA-8)  abort (AA-8)    abort (AA-8)   ignore
P-DATA-TF      abort (AA-1)      abort (AA-8)  data (DT-2)     abort (AA-8)   ignore
A-RELEASE-RQ   abort (AA-1)      abort (AA-8)  release (AR-2)  abort (AA-8)   ignore
A-ABORT        aborted (AA-2)    aborted AA-3  aborted (AA-3)  aborted (AA-3) ignore
all others     abort (AA-1)      abort (AA-8)  abort (AA-8)    abort (AA-8)   ignore
=============  ================  ============  ==============  =============  ==========
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from node.errors import ProtocolError
from node.services import dimse
from node.services.dimse import Command


class State(enum.Enum):
    """Where the association stands; values are the names of PS3.8 9.2.1."""

    AWAIT_REQUEST = "Sta2"
    NEGOTIATING = "Sta3"
    ESTABLISHED = "Sta6"
    RELEASING = "Sta8"
    CLOSING = "Sta13"


class Pdu(enum.IntEnum):
    """PDU types (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


# A-ABORT reasons of the service provider (PS3.8 Table 9-26)
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6

# Least that an A-ASSOCIATE-RQ may take whatever the node announces for P-DATA: 128 contexts with 30 transfer
# syntaxes each need less than 128 KiB.
ASSOCIATE_BOUND: Final = 131_072
COMMAND_BOUND: Final = 16_384
# Enum members are looked up and hashed in Python: the usual PDU must not pay for that (5 us an object)
_P_DATA: Final = int(Pdu.P_DATA)
_ESTABLISHED: Final = State.ESTABLISHED
_CLOSING: Final = State.CLOSING
_FIXED_LENGTH: Final = {Pdu.RELEASE_RQ: 4, Pdu.RELEASE_RP: 4, Pdu.ABORT: 4}

_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_BOTH_HEADERS = struct.Struct(">BxIIBB")
_PDV_OVERHEAD: Final = 2  # context id and message control header count into a PDV's length

RELEASE_RP: Final = struct.pack(">BBI4x", Pdu.RELEASE_RP, 0, 4)


def abort(source: int, reason: int) -> bytes:
    """An A-ABORT PDU (PS3.8 9.3.8)."""
    return struct.pack(">BBIBBBB", Pdu.ABORT, 0, 4, 0, 0, source, reason)


def reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return struct.pack(">BBIBBBB", Pdu.ASSOCIATE_RJ, 0, 4, 0, result, source, reason)


@dataclass(frozen=True, slots=True)
class AssociateRequested:
    """A whole A-ASSOCIATE-RQ, header included; answer with ``establish`` or ``close``."""

    pdu: bytes


class CommandReceived(NamedTuple):  # these two come with every object: made in a third of a dataclass's time
    """A command set came in; when it says so, ``DataReceived`` follow until ``last``."""

    context_id: int
    command: Command


class DataReceived(NamedTuple):
    """Fragments of the current data set, views into the bytes given to ``receive``."""

    fragments: list[memoryview]
    last: bool


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """Answer with ``RELEASE_RP``."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer aborted; nothing is answered."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Breached:
    """The peer broke the protocol behind the events before this one: handle those, then raise ``error``."""

    error: ProtocolError


Event = AssociateRequested | CommandReceived | DataReceived | ReleaseRequested | Aborted | Breached


class Protocol:
    """One association's protocol machine; ``max_pdu`` is what the node announces and the longest it takes."""

    def __init__(self, max_pdu: int) -> None:
        self.state = State.AWAIT_REQUEST
        self.pdus = 0  # PDUs begun so far: lets the receiver time each one
        self._max_pdu = max_pdu
        self._contexts: Collection[int] = ()
        self._partial = bytearray()  # a PDU or PDV header, or a control PDU, that is not whole yet
        self._type = 0
        self._left = -1  # bytes of the current PDU still to come; -1: its header is not whole
        self._pdv_left = 0  # bytes of the current PDV's value still to come
        self._pdv_control = 0
        self._command = bytearray()
        self._command_context = 0
        self._data_context = 0  # the context whose data set is under way; 0: none

    @property
    def inside_pdu(self) -> bool:
        """Part of a PDU has come and the rest has not."""
        return self._left >= 0 or bool(self._partial)

    @property
    def inside_message(self) -> bool:
        """Part of a message (command set or data set) has come and the rest has not."""
        return self.inside_pdu or bool(self._command) or self._data_context != 0

    def establish(self, context_ids: Collection[int]) -> None:
        """The A-ASSOCIATE-AC goes out with these accepted contexts."""
        self._contexts = context_ids
        self.state = State.ESTABLISHED

    def close(self) -> None:
        """A reject, abort or release answer goes out: what still comes is ignored."""
        self.state = State.CLOSING

    def receive(self, data: memoryview) -> list[Event]:
        """Events in the order they came. Raises ``ProtocolError``: send its A-ABORT and close.

        What was whole before a breach counts, however the network cut the bytes: with events before it in the
        same bytes it is the last of them, ``Breached``.
        """
        events: list[Event] = []
        position, end = 0, len(data)
        try:
            while position < end and self.state is not _CLOSING:
                if self._left < 0:
                    usual = self._usual_p_data(data, position, events)
                    position = usual or self._pdu_header(data, position)
                elif self._type == _P_DATA:
                    position = self._p_data(data, position, events)
                else:
                    position = self._control(data, position, events)
        except ProtocolError as error:
            if not events:
                raise
            events.append(Breached(error))
        return events

    def _usual_p_data(self, data: memoryview, position: int, events: list[Event]) -> int:
        """Take what nearly all PDUs are, in one go: a P-DATA-TF of one PDV, with a command set that is here to its
        last byte, or with data. Returns the new position; 0 when it is anything else, which the other methods
        take (and check) step by step, and then nothing has changed."""
        if self._partial or len(data) - position < 12:
            return 0
        kind, pdu_size, pdv_size, context_id, control = _BOTH_HEADERS.unpack_from(data, position)
        size: int = pdv_size - _PDV_OVERHEAD
        if kind != _P_DATA or pdu_size != pdv_size + 4 or pdu_size > self._max_pdu or size <= 0:
            return 0
        begin = position + 12
        taken = min(size, len(data) - begin)
        if control == 3:
            if taken < size or size > COMMAND_BOUND or self._command or self._data_context:
                return 0
            if self.state is not _ESTABLISHED or context_id not in self._contexts:
                return 0
            self._command_context = context_id
            self._take_command(bytes(data[begin : begin + size]), events)
        else:
            under_way = self._data_context
            if control not in (0, 2) or not taken or not under_way or context_id != under_way:
                return 0
            if taken < size:
                self._type, self._left = kind, size - taken
                self._pdv_left, self._pdv_control = size - taken, control
            self._add_fragment(data[begin : begin + taken], control == 2 and taken == size, events)
        self.pdus += 1
        return begin + taken

    def _collect(self, data: memoryview, position: int, size: int) -> int:
        """Take bytes until ``_partial`` holds ``size``; returns the new position."""
        taken = min(size - len(self._partial), len(data) - position)
        self._partial += data[position : position + taken]
        return position + taken

    def _pdu_header(self, data: memoryview, position: int) -> int:
        if not self._partial:
            self.pdus += 1
            if len(data) - position >= 6:  # the usual case, without a copy
                self._begin_pdu(*_HEADER.unpack_from(data, position))
                return position + 6
        position = self._collect(data, position, 6)
        self._check_type(self._partial[0])  # not DICOM: known by the first byte
        if len(self._partial) == 6:
            header = _HEADER.unpack(self._partial)
            self._partial.clear()
            self._begin_pdu(*header)
        return position

    def _check_type(self, kind: int) -> None:
        if not 1 <= kind <= 7:
            raise ProtocolError(f"PDU type 0x{kind:02X} is not DICOM", reason=UNRECOGNIZED_PDU)
        if (self.state, kind) not in _ACTIONS:
            name = Pdu(kind).name.replace("_", "-")
            raise ProtocolError(f"{name} PDU not expected in {self.state.value}", reason=UNEXPECTED_PDU)

    def _begin_pdu(self, kind: int, length: int) -> None:
        if kind == _P_DATA and self.state is _ESTABLISHED and 6 <= length <= self._max_pdu:
            self._type, self._left = kind, length
            return
        self._check_type(kind)
        if kind == Pdu.P_DATA:
            bound = self._max_pdu
        elif kind == Pdu.ASSOCIATE_RQ:
            bound = max(self._max_pdu, ASSOCIATE_BOUND)
        else:
            bound = _FIXED_LENGTH[Pdu(kind)]
        if length > bound:
            raise ProtocolError(f"PDU of {length} bytes is longer than {bound}", reason=INVALID_PARAMETER)
        if kind == Pdu.P_DATA and length < 6:
            raise ProtocolError("P-DATA-TF without a whole PDV", reason=INVALID_PARAMETER)
        if length < _FIXED_LENGTH.get(Pdu(kind), 1):
            raise ProtocolError(f"{Pdu(kind).name} PDU of {length} bytes", reason=INVALID_PARAMETER)
        self._type, self._left = kind, length

    def _control(self, data: memoryview, position: int, events: list[Event]) -> int:
        position = self._collect(data, position, self._left)
        if len(self._partial) == self._left:
            body, kind = bytes(self._partial), self._type
            self._partial.clear()
            self._left = -1
            _ACTIONS[self.state, kind](self, body, events)
        return position

    def _associate(self, body: bytes, events: list[Event]) -> None:
        self.state = State.NEGOTIATING
        events.append(AssociateRequested(_HEADER.pack(Pdu.ASSOCIATE_RQ, len(body)) + body))

    def _release(self, _body: bytes, events: list[Event]) -> None:
        if self._command or self._data_context:
            raise ProtocolError("A-RELEASE-RQ inside a message", reason=UNEXPECTED_PDU)
        self.state = State.RELEASING
        events.append(ReleaseRequested())

    def _aborted(self, body: bytes, events: list[Event]) -> None:
        self.state = State.CLOSING
        events.append(Aborted(body[2], body[3]))

    def _p_data(self, data: memoryview, position: int, events: list[Event]) -> int:
        """Take one PDV header, or the part of a PDV's value that is here."""
        if not self._pdv_left:
            if not self._partial and len(data) - position >= 6:
                self._begin_pdv(*_PDV_HEADER.unpack_from(data, position))
                position += 6
            else:
                position = self._collect(data, position, 6)
                if len(self._partial) < 6:
                    return position
                header = _PDV_HEADER.unpack(self._partial)
                self._partial.clear()
                self._begin_pdv(*header)
        taken = min(self._pdv_left, len(data) - position)
        self._pdv_left -= taken
        self._left -= taken
        last = self._pdv_control & 2 != 0 and not self._pdv_left
        if self._pdv_control & 1:
            self._command += data[position : position + taken]
            if last:
                self._end_command(events)
        elif taken or last:
            self._add_fragment(data[position : position + taken], last, events)
        if not self._left:
            self._left = -1
        elif not self._pdv_left and self._left < 6:
            raise ProtocolError("P-DATA-TF ends inside a PDV header", reason=INVALID_PARAMETER)
        return position + taken

    def _begin_pdv(self, length: int, context_id: int, control: int) -> None:
        self._left -= 6
        size = length - _PDV_OVERHEAD
        if not 0 <= size <= self._left:
            raise ProtocolError(f"PDV of {length} bytes overruns its PDU", reason=INVALID_PARAMETER)
        # An empty last fragment may end a data set (some senders do); any other empty one is an error.
        if size == 0 and control & 3 != 2:
            raise ProtocolError("PDV without a value", reason=INVALID_PARAMETER)
        if context_id not in self._contexts:
            raise ProtocolError(f"PDV on context {context_id}, not accepted", reason=INVALID_PARAMETER)
        if control & 1:
            self._begin_command_fragment(context_id, size)
        elif self._data_context != context_id:
            raise ProtocolError("data set fragment without its command", reason=INVALID_PARAMETER)
        self._pdv_left, self._pdv_control = size, control

    def _begin_command_fragment(self, context_id: int, size: int) -> None:
        if self._data_context:
            raise ProtocolError("command fragment inside a data set", reason=INVALID_PARAMETER)
        if self._command and self._command_context != context_id:
            raise ProtocolError("one command set over two contexts", reason=INVALID_PARAMETER)
        if len(self._command) + size > COMMAND_BOUND:
            raise ProtocolError(f"command set longer than {COMMAND_BOUND} bytes", reason=INVALID_PARAMETER)
        self._command_context = context_id

    def _end_command(self, events: list[Event]) -> None:
        whole = bytes(self._command)
        self._command.clear()
        self._take_command(whole, events)

    def _take_command(self, whole: bytes, events: list[Event]) -> None:
        command = dimse.decode(whole)
        if command.has_data_set:
            self._data_context = self._command_context
        events.append(CommandReceived(self._command_context, command))

    def _add_fragment(self, fragment: memoryview, last: bool, events: list[Event]) -> None:
        if last:
            self._data_context = 0
        previous = events[-1] if events else None
        if isinstance(previous, DataReceived) and not previous.last:
            if len(fragment):
                previous.fragments.append(fragment)
            if last:
                events[-1] = DataReceived(previous.fragments, True)
        else:
            events.append(DataReceived([fragment] if len(fragment) else [], last))


_Action = Callable[[Protocol, bytes, list[Event]], None]


def _streamed(_protocol: Protocol, _body: bytes, _events: list[Event]) -> None:
    """P-DATA-TF never comes here whole: ``_p_data`` streams it."""
    raise AssertionError("P-DATA-TF is streamed")


_ACTIONS: Final[dict[tuple[State, int], _Action]] = {
    (State.AWAIT_REQUEST, Pdu.ASSOCIATE_RQ): Protocol._associate,
    (State.AWAIT_REQUEST, Pdu.ABORT): Protocol._aborted,
    (State.NEGOTIATING, Pdu.ABORT): Protocol._aborted,
    (State.ESTABLISHED, Pdu.P_DATA): _streamed,
    (State.ESTABLISHED, Pdu.RELEASE_RQ): Protocol._release,
    (State.ESTABLISHED, Pdu.ABORT): Protocol._aborted,
    (State.RELEASING, Pdu.ABORT): Protocol._aborted,
}
