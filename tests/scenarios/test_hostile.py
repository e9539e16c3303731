"""What bad input gets: every case is answered as promised, and the next caller notices nothing."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import LocalNode, eventually, running_nodes
from tests.scenarios import wire
from tests.scenarios.hostile import (
    BREACHES,
    NOT_DICOM,
    ODD_MESSAGES,
    OPENINGS,
    SUCCESS,
    data_set,
    in_data_set,
    instance,
)
from tests.scenarios.wire import (
    ABORT,
    ECHO,
    RELEASE,
    STORE,
    Wire,
    associate,
    echo_rq,
    message,
    p_data,
    pdu,
    pdv,
    store_rq,
)

# pydicom warns of every UID that is none; what is checked here is what the node makes of them
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")

SECONDS = 1.0  # of each timeout


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNode]:
    nodes = running_nodes(tmp_path_factory.mktemp("hostile"))
    limits = {f"dicom__timeouts__{name}": str(SECONDS) for name in ("handshake", "idle", "transfer")}
    yield next(nodes).start(dicom__max_associations="50", **limits)
    next(nodes, None)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(node: LocalNode) -> Iterator[None]:
    """After each case a C-ECHO is answered within a second, and no part of an object stays."""
    yield
    wire.echo(node.port)
    eventually(lambda: not node.incoming(), 5)


@pytest.mark.parametrize("name", OPENINGS)
def test_opening(node: LocalNode, name: str) -> None:
    data, expected = OPENINGS[name]
    began = time.monotonic()
    with Wire(node.port) as peer:
        assert peer.send(data).answer() == expected
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("name", BREACHES)
def test_breach(node: LocalNode, name: str) -> None:
    data, expected = BREACHES[name]
    with Wire.established(node.port) as peer:
        began = time.monotonic()
        answer = peer.send(data).answer()
        while answer == "PDU 4":  # to what was whole before the breach
            answer = peer.answer()
        assert answer == expected
        assert time.monotonic() - began < 1


def test_what_was_whole_before_a_breach_counts(node: LocalNode) -> None:
    """However the network cuts the bytes: here they come in one segment."""
    uid = instance("before-breach")
    with Wire.established(node.port) as peer:
        peer.send(message(STORE, store_rq(uid), data_set(uid)) + pdu(0x42, b"abcd"))
        assert peer.status() == SUCCESS
        assert peer.answer() == NOT_DICOM
    eventually(lambda: any(uid in path.name for path in node.stored()))


@pytest.mark.parametrize("name", ODD_MESSAGES)
def test_odd_message(node: LocalNode, name: str) -> None:
    """Odd, but a message: it gets a status, and the association goes on."""
    data, expected = ODD_MESSAGES[name]
    with Wire.established(node.port) as peer:
        assert peer.send(data).status() == expected
        assert peer.send(message(ECHO, echo_rq())).status() == SUCCESS
        assert peer.send(RELEASE).answer() == "released"


def test_one_byte_a_segment(node: LocalNode) -> None:
    with Wire.established(node.port) as peer:
        assert peer.send_bytewise(message(ECHO, echo_rq())).status() == SUCCESS


def test_requests_ahead_of_their_answers(node: LocalNode) -> None:
    uids = [f"{instance('ahead')}.{n}" for n in range(4)]
    with Wire.established(node.port) as peer:
        peer.send(*(message(STORE, store_rq(uid, n), data_set(uid)) for n, uid in enumerate(uids)))
        responses = [peer.read_response() for _ in uids]
    assert [response[0x0900] for response in responses] == [b"\0\0"] * 4
    assert [response[0x0120][0] for response in responses] == [0, 1, 2, 3]


@pytest.mark.parametrize("longest", [0, 1, 7, 0xFFFFFFFF])
def test_peer_with_an_odd_maximum_length(node: LocalNode, longest: int) -> None:
    with Wire.established(node.port, max_pdu=longest) as peer:
        assert peer.send(message(ECHO, echo_rq())).status() == SUCCESS


def test_half_close_after_the_request(node: LocalNode) -> None:
    uid = instance("half-close")
    with Wire.established(node.port) as peer:
        peer.send(message(STORE, store_rq(uid), data_set(uid))).socket.shutdown(1)
        assert peer.status() == SUCCESS


@pytest.mark.parametrize("ending", ["fin", "reset"])
def test_peer_gone_inside_an_object(node: LocalNode, ending: str) -> None:
    with Wire.established(node.port) as peer:
        peer.send(in_data_set())
        eventually(node.incoming)
        if ending == "reset":
            peer.reset()
        else:
            peer.socket.shutdown(1)
            assert peer.answer() == "closed"


def test_peer_gone_before_the_answer(node: LocalNode) -> None:
    """The object counts as received; sending it again is harmless."""
    uid = instance("gone")
    with Wire.established(node.port) as peer:
        peer.send(message(STORE, store_rq(uid), data_set(uid)))
        peer.reset()
    eventually(lambda: any(uid in path.name for path in node.stored()))
    with Wire.established(node.port) as peer:
        assert peer.send(message(STORE, store_rq(uid), data_set(uid))).status() == SUCCESS


def _dribble(peer: Wire, data: bytes, pause: float = SECONDS / 5) -> None:
    """One byte at a time, never silent for long, until the node has had enough."""
    peer.socket.settimeout(pause)
    for at in range(len(data)):
        try:
            peer.socket.sendall(data[at : at + 1])
            peer.socket.recv(1, 2)  # MSG_PEEK: whatever comes ends the dribble
        except TimeoutError:
            continue
        except ConnectionError:
            return
        peer.socket.settimeout(20)
        return


SLOW: dict[str, tuple[bool, Callable[[Wire], object]]] = {
    "silent from the start": (False, lambda peer: None),
    "half a PDU header": (False, lambda peer: peer.send(b"\x01\0\0")),
    "half an A-ASSOCIATE-RQ": (False, lambda peer: peer.send(associate()[:100])),
    "A-ASSOCIATE-RQ a byte at a time": (False, lambda peer: _dribble(peer, associate())),
    "idle association": (True, lambda peer: None),
    "half a PDU header between messages": (True, lambda peer: peer.send(b"\x04\0\0")),
    "silent inside a data set": (True, lambda peer: peer.send(in_data_set())),
    "silent inside a command": (True, lambda peer: peer.send(p_data(pdv(3, b"\0" * 8, True, last=False)))),
    "silent inside a PDU": (True, lambda peer: peer.send(in_data_set(p_data(pdv(STORE, bytes(100)))[:50]))),
    "PDU a byte at a time": (
        True,
        lambda peer: (peer.send(in_data_set()), _dribble(peer, p_data(pdv(STORE, bytes(100))))),
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow(node: LocalNode, name: str) -> None:
    """A-ABORT when the timeout has passed, counted from its start; never before it."""
    established, act = SLOW[name]
    began = time.monotonic()
    with Wire.established(node.port) if established else Wire(node.port) as peer:
        act(peer)
        assert peer.answer() in ("aborted 2/0", "closed")
        assert SECONDS - 0.1 < time.monotonic() - began < SECONDS + 1


def test_answers_that_nobody_reads(node: LocalNode) -> None:
    """Back-pressure, then the transfer timeout; the caller's association is gone and nobody else's."""
    with Wire.established(node.port) as peer:
        peer.socket.settimeout(10)
        flood = message(ECHO, echo_rq()) * 500
        with pytest.raises(ConnectionError):
            while True:
                peer.send(flood)


def test_more_associations_than_allowed(node: LocalNode) -> None:
    eventually(lambda: node.metric("associations_active") == 0)
    peers = [Wire(node.port) for _ in range(70)]
    try:
        for peer in peers:
            peer.send(associate())
        answers = [peer.answer() for peer in peers]
    finally:
        for peer in peers:
            peer.socket.close()
    assert answers.count("accepted 1:0 3:0") == 50
    assert answers.count("rejected 2/3/2") == 20
    eventually(lambda: node.metric("associations_active") == 0)


def test_silent_connections_do_not_keep_others_out(node: LocalNode) -> None:
    """Beyond their number the oldest of those that never negotiate make room."""
    silent = [Wire(node.port) for _ in range(300)]
    try:
        wire.echo(node.port)
    finally:
        for peer in silent:
            peer.socket.close()


def test_every_ending_is_counted(node: LocalNode) -> None:
    before = {
        name: node.metric("associations_total", f'{{result="{name}"}}') for name in ("aborted", "timeout")
    }
    with Wire.established(node.port) as peer:
        assert peer.send(ABORT).answer() == "closed"
    with Wire(node.port) as peer:
        assert peer.answer() == "aborted 2/0"

    def counted(name: str) -> bool:
        return node.metric("associations_total", f'{{result="{name}"}}') == before[name] + 1

    eventually(lambda: counted("aborted") and counted("timeout"))


def test_no_thread_is_left(node: LocalNode) -> None:
    with Wire.established(node.port) as peer:
        assert peer.send(pdu(0x42, b"")).answer() == NOT_DICOM
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("association-")])


def test_nothing_was_written_outside_the_data_folder(node: LocalNode) -> None:
    """A UID is never a path: what is stored lies under digits and dots, the rest in quarantine."""
    uid = "../../../../tmp/evil"
    with Wire.established(node.port) as peer:
        assert peer.send(message(STORE, store_rq(uid), _with_uid(uid))).status() == "0xC000"
    root = node.data_dir / "objects"
    for path in node.stored():
        assert all(
            set(part.removesuffix(".dcm")) <= set("0123456789.") for part in path.relative_to(root).parts
        )
    assert not Path("/tmp/evil").exists()


def _with_uid(uid: str) -> bytes:
    """A data set whose SOP Instance UID is ``uid``, whatever that is."""
    marker = "1.2.826.0.1.3680043.8.498.77777777"
    data = data_set(marker)
    old = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", len(wire.uid(marker))) + wire.uid(marker)
    assert old in data
    return data.replace(old, struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", len(wire.uid(uid))) + wire.uid(uid))
