"""What must hold of any bytes: one function a target. Each takes a seed or its damage and raises when it does not.

A target reads its parameters off the front of the bytes, so that whoever makes them decides those too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from node import extract, header
from node.association import protocol
from node.association.negotiation import Accepted, Negotiator, Rejected
from node.association.protocol import Protocol, State
from node.elements import WANTED
from node.errors import DataSetError, ProtocolError
from node.layout import Layouts
from node.peers import Identity, Peer, Peers
from tests.association.test_protocol import joined, plain
from tests.scenarios.hostile import BREACHES, ODD_MESSAGES, OPENINGS
from tests.scenarios.monsters import MONSTERS
from tests.scenarios.wire import ABORT, CONTEXTS, ECHO, RELEASE, STORE, associate, echo_rq, message, store_rq
from tests.studies import BIG, EXPLICIT, IMPLICIT, ct, encoded
from tests.test_header import DEFLATED, JPEG, Reader
from tests.test_layout import Forgetful

MAX_PDU: Final = 16_384
_LONGEST_SEED: Final = 20_000
_LARGE: Final = re.compile(r"\d+,000|\d+ MB|a million")  # of the monsters
_SYNTAXES: Final = (EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG, "1.2.3")
_STATES: Final = (State.AWAIT_REQUEST, State.ESTABLISHED)
_BREACHES: Final = (protocol.UNRECOGNIZED_PDU, protocol.UNEXPECTED_PDU, protocol.INVALID_PARAMETER)
_NEGOTIATOR: Final = Negotiator(
    ["DICOMFHIR"], Peers([Peer("LOCKED", identity=Identity("anna", "secret"))], ("echo", "store")), 131_072
)

# A breach is told as (source, reason)
Told = list[Any]


def _machine(state: State) -> Protocol:
    made = Protocol(MAX_PDU)
    if state is State.ESTABLISHED:
        made.receive(memoryview(associate()))
        made.establish([STORE, ECHO])
    return made


def _told(machine: Protocol, pieces: Iterator[memoryview]) -> Told:
    """What a machine says of ``pieces``, and that it keeps no more than it must."""
    found: Told = []
    for piece in pieces:
        try:
            events = machine.receive(piece)
        except ProtocolError as error:
            assert error.reason in _BREACHES
            return joined([*found, (error.source, error.reason)])
        found += plain(events)
        if events and isinstance(events[-1], protocol.Breached):
            assert events[-1].error.reason in _BREACHES
            return joined(found)
        if machine.state is State.ESTABLISHED:
            assert len(machine._partial) < 6
        assert len(machine._partial) <= protocol.ASSOCIATE_BOUND
        assert len(machine._command) <= protocol.COMMAND_BOUND
    return joined(found)


def _pieces(data: bytes, sizes: bytes) -> Iterator[memoryview]:
    """``data`` cut into pieces of ``sizes``, again and again; of 1 without any."""
    view, at, number = memoryview(data), 0, 0
    while at < len(view):
        size = sizes[number % len(sizes)] + 1 if sizes else 1
        yield view[at : at + size]
        at, number = at + size, number + 1


def upper_layer(data: bytes) -> None:
    """Any bytes, however they are cut, are the same events, and at most one breach; nothing else is raised."""
    state, cuts, data = _STATES[data[0] % 2] if data else _STATES[0], data[1:5], data[5:]
    whole = _told(_machine(state), iter([memoryview(data)]))
    cut = _told(_machine(state), _pieces(data, cuts))
    assert cut == whole, (cut, whole)


def negotiation(data: bytes) -> None:
    """An A-ASSOCIATE-RQ is accepted, rejected or a breach; the answer is one whole PDU."""
    pdu = b"\x01\0" + len(data).to_bytes(4, "big") + data
    try:
        answer = _NEGOTIATOR.answer(pdu, "127.0.0.1", 1, lambda _peer: None)
    except ProtocolError as error:
        assert error.reason == protocol.INVALID_PARAMETER
        assert "secret" not in str(error)
        return
    assert answer.pdu[0] == (
        protocol.Pdu.ASSOCIATE_AC if isinstance(answer, Accepted) else protocol.Pdu.ASSOCIATE_RJ
    )
    assert int.from_bytes(answer.pdu[2:6], "big") == len(answer.pdu) - 6
    assert answer.calling_ae.isprintable()
    assert isinstance(answer, Accepted) or answer.why.isprintable()
    if isinstance(answer, Rejected):
        return
    assert answer.calling_ae != "LOCKED" or b"anna" in data
    assert all(number % 2 for number in answer.contexts)


_LAYOUTS: Final = Layouts()  # learns from all that is scanned here


def _scanned_with(layouts: Layouts, data: bytes, syntax: str) -> dict[int, bytes]:
    usual, header._layouts = header._layouts, layouts
    try:
        return header.scan(Reader(data), syntax).elements
    finally:
        header._layouts = usual


def data_set(data: bytes) -> None:
    """Any bytes have a header, bounded in every way; who it is is known or told to be unknown."""
    syntax, data = _SYNTAXES[data[0] % len(_SYNTAXES)] if data else EXPLICIT, data[1:]
    reader = Reader(data)
    found = header.scan(reader, syntax)
    assert found.elements.keys() <= WANTED
    again, walked = (_scanned_with(layouts, data, syntax) for layouts in (_LAYOUTS, Forgetful()))
    assert again == found.elements == walked
    assert reader.farthest <= header.MAX_SCANNED + header.MAX_VALUE + header.WINDOW
    for value in found.elements.values():
        assert len(value) <= header.MAX_VALUE
        assert syntax == DEFLATED or value in data
    try:
        key, sop_class = header.identify(found)
    except DataSetError:
        return
    for uid in (key.study, key.series, key.instance, sop_class):
        assert set(uid) <= set("0123456789.")
        assert len(uid) <= 64
        assert ".." not in uid


def attributes(data: bytes) -> None:
    """Whatever was found in a header can be decoded: rows for the index are made of it."""
    syntax, data = _SYNTAXES[data[0] % len(_SYNTAXES)] if data else EXPLICIT, data[1:]
    found = header.scan(Reader(data), syntax)
    extract.shared(found, None)
    extract.own(found, None)


Target = Callable[[bytes], None]
TARGETS: Final[dict[str, Target]] = {
    "upper_layer": upper_layer,
    "negotiation": negotiation,
    "data_set": data_set,
    "attributes": attributes,
}


@lru_cache
def seeds(name: str) -> tuple[bytes, ...]:
    """Bytes to begin with, parameters in front: what the tables of the scenarios send."""
    if name == "upper_layer":
        openings = [b"\0\3\xff\0\0" + data for data, _ in OPENINGS.values()]
        talk = associate() + message(ECHO, echo_rq()) + message(STORE, store_rq("1.2"), bytes(300), 100)
        inside = [b"\1\7\xff\0\0" + data for data, _ in (*BREACHES.values(), *ODD_MESSAGES.values())]
        found = [*openings, *inside, b"\1\0\0\0\0" + talk[len(associate()) :] + RELEASE + ABORT]
    elif name == "negotiation":
        requests = [data for data, _ in OPENINGS.values() if data[:1] == b"\1"]
        requests.append(associate(CONTEXTS, calling="LOCKED"))
        found = [data[6:] for data in requests]
    else:
        found = [bytes((n,)) + encoded(ct(), syntax) for n, syntax in enumerate(_SYNTAXES[:3])]
        found += [
            bytes((_SYNTAXES.index(one.syntax),)) + one.make("1.2.3")
            for name, one in MONSTERS.items()
            if not _LARGE.match(name)
        ]
    return tuple(data for data in found if len(data) <= _LONGEST_SEED)
