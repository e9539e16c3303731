"""The upper layer machine: every cell of its table, every breach, any chunking, any bytes."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.association import protocol
from node.association.protocol import (
    Aborted,
    AssociateRequested,
    Breached,
    CommandReceived,
    DataReceived,
    Pdu,
    Protocol,
    ReleaseRequested,
    State,
)
from node.errors import ProtocolError
from node.services import dimse
from tests.scenarios import wire
from tests.scenarios.wire import (
    ABORT,
    ECHO,
    RELEASE,
    STORE,
    associate,
    echo_rq,
    message,
    p_data,
    pdu,
    pdv,
    store_rq,
)

MAX_PDU = 16_384
ALL = (associate(), pdu(2, bytes(80)), pdu(3, bytes(4)), p_data(pdv(ECHO, echo_rq(), command=True)), RELEASE)
PDUS = dict(zip(Pdu, (*ALL, pdu(6, bytes(4)), ABORT), strict=True))
OTHER = 0x42


def machine(state: State, max_pdu: int = MAX_PDU) -> Protocol:
    """A machine brought into ``state`` the way an association gets there."""
    found = Protocol(max_pdu)
    if state is not State.AWAIT_REQUEST:
        found.receive(memoryview(associate()))
    if state in (State.ESTABLISHED, State.RELEASING, State.CLOSING):
        found.establish([STORE, ECHO])
    if state is State.RELEASING:
        found.receive(memoryview(RELEASE))
    if state is State.CLOSING:
        found.close()
    assert found.state is state
    return found


def received(state: State, data: bytes, chunk: int | None = None) -> list[Any]:
    """What a machine in ``state`` makes of ``data``: events, data sets joined, or the breach as (source, reason)."""
    found: list[Any] = []
    tested = machine(state)
    try:
        for at in range(0, len(data), chunk or len(data)):
            found += plain(tested.receive(memoryview(data)[at : at + (chunk or len(data))]))
    except ProtocolError as error:
        found.append((error.source, error.reason))
    return joined(found)


def plain(events: list[protocol.Event]) -> list[Any]:
    """Events with their fragments copied out of the buffer, as (bytes, last); a breach as (source, reason)."""
    found: list[Any] = []
    for event in events:
        match event:
            case DataReceived():
                found.append((b"".join(event.fragments), event.last))
            case Breached():
                found.append((event.error.source, event.error.reason))
            case _:
                found.append(event)
    return found


def joined(events: list[Any]) -> list[Any]:
    """Pieces of one data set put together."""
    result: list[Any] = []
    for event in events:
        if result and _open_data(result[-1]) and isinstance(event, tuple) and isinstance(event[0], bytes):
            result[-1] = (result[-1][0] + event[0], event[1])
        else:
            result.append(event)
    return result


def _open_data(event: Any) -> bool:
    return isinstance(event, tuple) and isinstance(event[0], bytes) and not event[1]


REQUESTED = [AssociateRequested(associate())]
ECHOED = [CommandReceived(ECHO, dimse.decode(echo_rq()))]
ABORTED = [Aborted(0, 0)]
UNEXPECTED = [(2, protocol.UNEXPECTED_PDU)]

# The table of protocol.py: what is not named here is an abort for an unexpected PDU.
CELLS: dict[tuple[State, Pdu], list[Any]] = {
    (State.AWAIT_REQUEST, Pdu.ASSOCIATE_RQ): REQUESTED,
    (State.AWAIT_REQUEST, Pdu.ABORT): ABORTED,
    (State.NEGOTIATING, Pdu.ABORT): ABORTED,
    (State.ESTABLISHED, Pdu.P_DATA): ECHOED,
    (State.ESTABLISHED, Pdu.RELEASE_RQ): [ReleaseRequested()],
    (State.ESTABLISHED, Pdu.ABORT): ABORTED,
    (State.RELEASING, Pdu.ABORT): ABORTED,
    **{(State.CLOSING, kind): [] for kind in Pdu},
}
AFTER: dict[tuple[State, Pdu], State] = {
    (State.AWAIT_REQUEST, Pdu.ASSOCIATE_RQ): State.NEGOTIATING,
    (State.ESTABLISHED, Pdu.P_DATA): State.ESTABLISHED,
    (State.ESTABLISHED, Pdu.RELEASE_RQ): State.RELEASING,
}


@pytest.mark.parametrize("kind", Pdu)
@pytest.mark.parametrize("state", State)
def test_cell(state: State, kind: Pdu) -> None:
    assert received(state, PDUS[kind]) == CELLS.get((state, kind), UNEXPECTED)


@pytest.mark.parametrize(("state", "kind"), [cell for cell, events in CELLS.items() if events])
def test_state_after(state: State, kind: Pdu) -> None:
    tested = machine(state)
    tested.receive(memoryview(PDUS[kind]))
    assert tested.state is AFTER.get((state, kind), State.CLOSING)


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSING])
@pytest.mark.parametrize("kind", [0, 8, OTHER, 255])
def test_unknown_pdu_is_known_by_its_first_byte(state: State, kind: int) -> None:
    assert received(state, bytes((kind,))) == [(2, protocol.UNRECOGNIZED_PDU)]


def test_states_carry_the_names_of_the_standard() -> None:
    assert [state.value for state in State] == ["Sta2", "Sta3", "Sta6", "Sta8", "Sta13"]


def in_data_set(*then: bytes) -> bytes:
    return p_data(pdv(STORE, store_rq("1.2"), command=True), pdv(STORE, b"data", last=False)) + b"".join(then)


LONG_COMMAND = p_data(pdv(ECHO, bytes(9_000), command=True, last=False))
INVALID = {
    "P-DATA of nothing": pdu(4, b""),
    "P-DATA shorter than a PDV header": pdu(4, bytes(5)),
    "P-DATA longer than announced": struct.pack(">BxI", 4, MAX_PDU + 1),
    "release of 5 bytes": pdu(5, bytes(5)),
    "release of 3 bytes": pdu(5, bytes(3)),
    "abort of 4 GB": b"\x07\0\xff\xff\xff\xff",
    "PDV of length 0": pdu(4, struct.pack(">IBB", 0, ECHO, 3)),
    "PDV of length 1": pdu(4, struct.pack(">IBB", 1, ECHO, 3)),
    "PDV overrun by one": pdu(4, struct.pack(">IBB", 7, ECHO, 3) + b"1234"),
    "PDV header overrun": pdu(4, pdv(ECHO, echo_rq(), command=True) + bytes(5)),
    "empty command fragment": p_data(pdv(ECHO, b"", command=True)),
    "empty fragment in the middle": in_data_set(p_data(pdv(STORE, b"", last=False))),
    "context not accepted": p_data(pdv(5, echo_rq(), command=True)),
    "data set without a command": p_data(pdv(STORE, b"data")),
    "data set after its end": message(STORE, store_rq("1.2"), b"data") + p_data(pdv(STORE, b"more")),
    "data set over two contexts": in_data_set(p_data(pdv(ECHO, b"data"))),
    "data set of a command without one": p_data(pdv(ECHO, echo_rq(), command=True), pdv(ECHO, b"data")),
    "command inside a data set": in_data_set(p_data(pdv(STORE, echo_rq(), command=True))),
    "command over two contexts": p_data(pdv(ECHO, b"12", True, False), pdv(STORE, b"34", True)),
    "command too long": LONG_COMMAND * 2,
    "command that is none": p_data(pdv(ECHO, b"no command set", command=True)),
}


@pytest.mark.parametrize("name", INVALID)
@pytest.mark.parametrize("chunk", [None, 1])
def test_invalid_parameter(name: str, chunk: int | None) -> None:
    assert received(State.ESTABLISHED, INVALID[name], chunk)[-1] == (2, protocol.INVALID_PARAMETER)


def test_release_inside_a_data_set() -> None:
    assert received(State.ESTABLISHED, in_data_set(RELEASE), 1)[-1] == (2, protocol.UNEXPECTED_PDU)


def test_release_inside_a_command() -> None:
    begun = p_data(pdv(ECHO, echo_rq()[:10], command=True, last=False))
    assert received(State.ESTABLISHED, begun + RELEASE) == UNEXPECTED


@pytest.mark.parametrize("max_pdu", [1_000, 200_000])
def test_associate_request_has_a_bound_of_its_own(max_pdu: int) -> None:
    bound = max(max_pdu, protocol.ASSOCIATE_BOUND)
    assert Protocol(max_pdu).receive(memoryview(struct.pack(">BxI", 1, bound))) == []
    with pytest.raises(ProtocolError, match="longer than"):
        Protocol(max_pdu).receive(memoryview(struct.pack(">BxI", 1, bound + 1)))


def test_longest_pdu_announced_is_taken() -> None:
    data = bytes(MAX_PDU - 6)
    events = received(State.ESTABLISHED, message(STORE, store_rq("1.2"), data, size=MAX_PDU - 6))
    assert events[1:] == [(data, True)]


def test_fragments_are_views_not_copies() -> None:
    tested, data = machine(State.ESTABLISHED), message(STORE, store_rq("1.2"), bytes(1000), size=400)
    events = tested.receive(memoryview(data))
    fragments = events[1].fragments  # type: ignore[union-attr]
    assert [len(fragment) for fragment in fragments] == [400, 400, 200]
    assert all(fragment.obj is data for fragment in fragments)


def test_empty_last_fragment_ends_a_data_set() -> None:
    stream = in_data_set(p_data(pdv(STORE, b"")), message(ECHO, echo_rq()))
    events = received(State.ESTABLISHED, stream)
    assert events[1:] == [(b"data", True), *ECHOED]


def test_inside_pdu_and_message() -> None:
    tested = machine(State.ESTABLISHED)

    def seen(data: bytes) -> tuple[bool, bool]:
        tested.receive(memoryview(data))
        return tested.inside_pdu, tested.inside_message

    whole = message(STORE, store_rq("1.2"), b"data")
    command_end = len(whole) - 16
    assert seen(whole[:3]) == (True, True)
    assert seen(whole[3:20]) == (True, True)
    assert seen(whole[20:command_end]) == (False, True)
    assert seen(whole[command_end:]) == (False, False)
    assert tested.pdus == 3  # the association request is one too


VALID = {
    "echoes": message(ECHO, echo_rq(1)) + message(ECHO, echo_rq(2)) + RELEASE,
    "store, echo": message(STORE, store_rq("1.2"), bytes(range(256)) * 9, 700)
    + message(ECHO, echo_rq())
    + ABORT,
    "several PDVs a PDU": p_data(
        pdv(STORE, store_rq("1.2")[:30], command=True, last=False),
        pdv(STORE, store_rq("1.2")[30:], command=True),
        pdv(STORE, b"first", last=False),
        pdv(STORE, b"second", last=False),
    )
    + p_data(pdv(STORE, b"third", last=False), pdv(STORE, b""))
    + RELEASE,
}


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=40))
def test_any_chunking_gives_the_same_events(name: str, cuts: list[int]) -> None:
    data = VALID[name]
    whole = received(State.ESTABLISHED, data)
    tested = machine(State.ESTABLISHED)
    events: list[Any] = []
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(bounds):
        events += plain(tested.receive(memoryview(data)[start:end]))
    assert joined(events) == whole
    assert received(State.ESTABLISHED, data, 1) == whole


_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([*PDUS.values(), in_data_set(), *VALID.values(), *INVALID.values()]),
)


@settings(max_examples=300, deadline=None)
@given(state=st.sampled_from(State), pieces=st.lists(_PIECES, max_size=6), chunk=st.integers(1, 500))
def test_any_bytes_give_events_or_a_protocol_error(state: State, pieces: list[bytes], chunk: int) -> None:
    tested, data = machine(state), b"".join(pieces)
    try:
        for at in range(0, len(data), chunk):
            tested.receive(memoryview(data)[at : at + chunk])
            assert _buffered(tested) <= protocol.ASSOCIATE_BOUND + protocol.COMMAND_BOUND
            if tested.state is State.ESTABLISHED:
                assert len(tested._partial) < 6
    except ProtocolError as error:
        assert error.reason in (
            protocol.UNRECOGNIZED_PDU,
            protocol.UNEXPECTED_PDU,
            protocol.INVALID_PARAMETER,
        )


def _buffered(tested: Protocol) -> int:
    return len(tested._partial) + len(tested._command)


def test_memory_does_not_grow_with_the_object() -> None:
    tested = machine(State.ESTABLISHED)
    tested.receive(memoryview(in_data_set()))
    piece = p_data(pdv(STORE, bytes(16_000), last=False))
    tested.receive(memoryview(piece))
    tracemalloc.start()
    try:
        for _ in range(500):
            tested.receive(memoryview(piece))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (protocol.abort(2, 6), (7, 4, 0, 0, 2, 6)),
        (protocol.reject(1, 2, 3), (3, 4, 0, 1, 2, 3)),
        (protocol.RELEASE_RP, (6, 4, 0, 0, 0, 0)),
    ],
)
def test_answers(data: bytes, fields: tuple[int, ...]) -> None:
    assert struct.unpack(">BxIBBBB", data) == fields


def test_wire_helpers_agree_with_pynetdicom() -> None:
    """The bytes that these tests send are what a DICOM library reads as meant."""
    from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF

    request = A_ASSOCIATE_RQ()
    request.decode(associate())
    assert [context.abstract_syntax for context in request.presentation_context] == [
        wire.CT,
        wire.VERIFICATION,
    ]
    data = P_DATA_TF()
    data.decode(p_data(pdv(ECHO, echo_rq(), command=True)))
    assert data.presentation_data_value_items[0].presentation_data_value == b"\x03" + echo_rq()
