"""The [[peers]] table on a running node: who must say who they are, and how many of one kind are let in."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from tests.harness import DEFAULTS, NodeProcess, Nodes, eventually, running_nodes
from tests.scenarios import wire
from tests.scenarios.sender import SYNTAX, instance, new_uid
from tests.scenarios.test_receivers import receivers
from tests.scenarios.wire import CONTEXTS, STORE, Wire, associate, item, message, store_rq
from tests.studies import CT
from tests.tools import dcmtk

pytestmark = pytest.mark.slow

SECRET = "correct-h\u00f6rse"
WRONG = "battery-staple"
PEERS = [
    {"ae_title": "LOCKED", "username": "anna", "password": SECRET},
    {"ae_title": "NAMED", "username": "bert"},
    {"ae_title": "FEW*", "max_associations": 2},
    {"ae_title": "ASKER", "services": ["find"], "address": "127.0.0.0/8"},
    {"ae_title": "AWAY", "address": "192.0.2.0/24"},
]
ACCEPTED, STRANGER, FULL = "accepted 1:0 3:0", "rejected 1/2/1", "rejected 2/3/2"
GIVEN: dict[str, Any] = {
    "peers": json.dumps(PEERS),
    "dicom__unknown_peers": "[]",
    "dicom__max_associations": "12",
    "completion__quiet_seconds": "3600",
}


@pytest.fixture(scope="module", params=["0", "2"], ids=["one-process", "receivers"])
def shared_node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    nodes = running_nodes(tmp_path_factory.mktemp("peers"))
    yield next(nodes).start_process(dicom__receivers=request.param, **GIVEN)
    next(nodes, None)


@pytest.fixture
def node(shared_node: NodeProcess) -> Iterator[NodeProcess]:
    """No secret is told: neither the configured one nor what somebody tried, whatever a test did."""
    node = shared_node
    yield node
    for secret in (SECRET, WRONG, "horse", "h\\u00f6rse", "staple"):
        assert secret not in node.log()
    assert "Traceback" not in node.log()
    eventually(lambda: node.metric("associations_active") == 0)


# --- user identity (PS3.7 D.3.3.7)


def identity(kind: int, primary: bytes, secondary: bytes = b"", respond: bool = False) -> bytes:
    """The sub-item of an A-ASSOCIATE-RQ (PS3.7 Table D.3-14)."""
    fields = (struct.pack(">H", len(one)) + one for one in (primary, secondary))
    return item(0x58, bytes((kind, respond)) + b"".join(fields))


RIGHT = identity(2, b"anna", SECRET.encode())
IDENTITIES: dict[str, tuple[str, bytes, str]] = {
    "right": ("LOCKED", RIGHT, ACCEPTED),
    "none": ("LOCKED", b"", STRANGER),
    "other password": ("LOCKED", identity(2, b"anna", WRONG.encode()), STRANGER),
    "password with more behind it": ("LOCKED", identity(2, b"anna", SECRET.encode() + b"\0"), STRANGER),
    "begin of the password": ("LOCKED", identity(2, b"anna", SECRET.encode()[:-1]), STRANGER),
    "password in Latin-1": ("LOCKED", identity(2, b"anna", SECRET.encode("latin-1")), STRANGER),
    "empty password": ("LOCKED", identity(2, b"anna"), STRANGER),
    "other name": ("LOCKED", identity(2, b"bert", SECRET.encode()), STRANGER),
    "name in capitals": ("LOCKED", identity(2, b"ANNA", SECRET.encode()), STRANGER),
    "no name": ("LOCKED", identity(2, b"", SECRET.encode()), STRANGER),
    "name alone": ("LOCKED", identity(1, b"anna"), STRANGER),
    "name alone, with a field it has not": ("LOCKED", identity(1, b"anna", SECRET.encode()), STRANGER),
    "right and another": ("LOCKED", RIGHT + identity(1, b"anna"), STRANGER),
    "Kerberos": ("LOCKED", identity(3, b"anna"), STRANGER),
    "SAML": ("LOCKED", identity(4, SECRET.encode()), STRANGER),
    "web token": ("LOCKED", identity(5, b"anna", SECRET.encode()), STRANGER),
    "cut short": ("LOCKED", item(0x58, b"\x02\0\0"), "aborted 2/6"),
    "longer than its item": ("LOCKED", item(0x58, struct.pack(">BBH", 2, 0, 60000) + b"anna"), STRANGER),
    "only a name is asked for": ("NAMED", identity(1, b"bert"), ACCEPTED),
    "only a name is asked for, a password given": ("NAMED", identity(2, b"bert", b"any"), ACCEPTED),
    "other name, only a name is asked for": ("NAMED", identity(1, b"anna"), STRANGER),
    "nobody asks": ("FEW1", identity(2, b"whoever", b"whatever"), ACCEPTED),
    "nobody asks, SAML": ("FEW1", identity(4, b"<saml/>"), ACCEPTED),
}  # fmt: skip


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity(node: NodeProcess, name: str) -> None:
    calling, offered, expected = IDENTITIES[name]
    with Wire(node.port) as peer:
        answer = peer.send(associate(calling=calling, user=offered)).answer()
    assert answer == expected


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("calling", "options", "let_in"),
    [
        ("LOCKED", ("-usr", "anna", "-pwd", SECRET), True),
        ("LOCKED", ("-usr", "anna", "-pwd", SECRET, "-rsp"), True),
        ("LOCKED", ("-usr", "anna", "-pwd", WRONG), False),
        ("LOCKED", ("-usr", "anna", "-epw"), False),
        ("LOCKED", ("-usr", "anna"), False),
        ("LOCKED", (), False),
        ("NAMED", ("-usr", "bert", "-rsp"), True),
        ("FEW1", ("-usr", "anna", "-pwd", WRONG), True),
    ],
)
def test_dcmtk(
    node: NodeProcess, tmp_path: Path, calling: str, options: tuple[str, ...], let_in: bool
) -> None:
    file = tmp_path / "ct.dcm"
    instance(new_uid(), 1).save_as(file, enforce_file_format=True)
    to = ("-aet", calling, "-aec", node.ae_title, "127.0.0.1", str(node.port), file)
    done = dcmtk("storescu", "-v", *options, *to)
    assert (done.returncode == 0) == let_in, done.stdout
    if not let_in:
        assert "Rejected Permanent, Source: Service Provider (ACSE Related)" in done.stdout


@pytest.mark.dcmtk
@pytest.mark.parametrize("option", ["--kerberos", "--saml", "--jwt"])
def test_dcmtk_with_what_can_not_be_checked(node: NodeProcess, tmp_path: Path, option: str) -> None:
    """Refused, and the log says which kind it was."""
    for name in ("ct.dcm", "ticket"):
        instance(new_uid(), 1).save_as(tmp_path / name, enforce_file_format=True)
    to = ("-aet", "LOCKED", "-aec", node.ae_title, "127.0.0.1", str(node.port), tmp_path / "ct.dcm")
    assert dcmtk("storescu", option, tmp_path / "ticket", *to).returncode != 0
    kind = {"--kerberos": "a Kerberos ticket", "--saml": "a SAML assertion", "--jwt": "a JSON web token"}[
        option
    ]
    eventually(lambda: f"'LOCKED' identifies itself by {kind}, not by username" in node.log())


def identified(node: NodeProcess, calling: str, kind: int, password: str, respond: bool) -> list[Any]:
    """The identity items of the A-ASSOCIATE-AC that pynetdicom gets."""
    offered = UserIdentityNegotiation()
    offered.user_identity_type = kind
    offered.positive_response_requested = respond
    offered.primary_field = b"anna" if calling == "LOCKED" else b"bert"
    if kind == 2:
        offered.secondary_field = password.encode()
    ae = AE(ae_title=calling)
    ae.add_requested_context(CT, [SYNTAX])
    association = ae.associate("127.0.0.1", node.port, ae_title=node.ae_title, ext_neg=[offered])
    assert association.is_established
    answer = association.acceptor.primitive
    association.release()
    association.dul.join(10)
    assert answer is not None
    return [one for one in answer.user_information if isinstance(one, UserIdentityNegotiation)]


@pytest.mark.parametrize(("calling", "kind"), [("LOCKED", 2), ("NAMED", 1), ("NAMED", 2)])
def test_pynetdicom_is_told_that_it_was_recognized(node: NodeProcess, calling: str, kind: int) -> None:
    """When it asks: a response of length zero (PS3.7 Table D.3-15)."""
    responses = identified(node, calling, kind, SECRET, respond=True)
    assert [one.server_response for one in responses] == [b""]
    assert identified(node, calling, kind, SECRET, respond=False) == []


def test_an_identity_that_nobody_checks_gets_no_response(node: NodeProcess) -> None:
    with Wire(node.port) as peer:
        peer.send(associate(calling="FEW1", user=identity(1, b"x", respond=True)))
        kind, body = peer.read_pdu()
    assert kind == 2
    assert b"\x59\0\0" not in body


# --- limits


def test_the_limit_of_an_entry(node: NodeProcess) -> None:
    """It holds for all callers of the entry, in all receivers; others do not notice."""
    with ExitStack() as stack:
        open_ones = [stack.enter_context(Wire(node.port)) for _ in range(2)]
        for number, peer in enumerate(open_ones):
            assert peer.send(associate(calling=f"FEW{number}")).answer() == ACCEPTED
        for number in range(6):
            with Wire(node.port) as peer:
                assert peer.send(associate(calling=f"FEW{number}")).answer() == FULL
        with Wire(node.port) as peer:
            assert peer.send(associate(calling="NAMED", user=identity(1, b"bert"))).answer() == ACCEPTED
        assert open_ones[0].send(wire.RELEASE).answer() == "released"
        eventually(lambda: node.metric("associations_active") == 1)
        with Wire(node.port) as peer:
            assert peer.send(associate(calling="FEW9")).answer() == ACCEPTED
    assert "2 associations of 'FEW*' are open ([[peers]] max_associations)" in node.log()


def test_the_nodes_own_limit_counts_them_too(node: NodeProcess) -> None:
    with ExitStack() as stack:
        for _ in range(12):
            peer = stack.enter_context(Wire(node.port))
            assert peer.send(associate(calling="NAMED", user=identity(1, b"bert"))).answer() == ACCEPTED
        peer = stack.enter_context(Wire(node.port))
        assert peer.send(associate(calling="FEW1")).answer() == FULL


def test_a_receiver_that_dies_gives_its_places_back(nodes: Nodes) -> None:
    node = nodes.start_process(dicom__receivers="2", **GIVEN)
    with ExitStack() as stack:
        for _ in range(2):
            peer = stack.enter_context(Wire(node.port))
            assert peer.send(associate(calling="FEW1")).answer() == ACCEPTED
        for pid in receivers(node):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: node.metric("associations_active") == 0)

        def let_in() -> bool:
            with Wire(node.port) as peer:
                return peer.send(associate(calling="FEW1")).answer() == ACCEPTED

        eventually(let_in)


# --- the rest of the table


@pytest.mark.parametrize(
    ("calling", "expected"),
    [("ASKER", ACCEPTED), ("AWAY", "rejected 1/1/3"), ("FEWER", ACCEPTED), ("few1", "rejected 1/1/3")],
)
def test_who_may_call(node: NodeProcess, calling: str, expected: str) -> None:
    with Wire(node.port) as peer:
        assert peer.send(associate(calling=calling)).answer() == expected


def test_services(node: NodeProcess) -> None:
    with Wire(node.port) as peer:
        peer.send(associate(CONTEXTS, calling="ASKER")).answer()
        assert peer.send(message(STORE, store_rq("1.2.3"), bytes(10))).status() == "0x0124"


def test_check_config_masks_the_secret(tmp_path: Path) -> None:
    environ = os.environ | DEFAULTS | {"NODE_DATA_DIR": str(tmp_path), "NODE_PEERS": json.dumps(PEERS)}
    command = [sys.executable, "-m", "node", "check-config"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert 'password = "********"' in done.stdout
    assert 'username = "anna"' in done.stdout
    assert SECRET not in done.stdout + done.stderr
    nameless = json.dumps([{"ae_title": "A", "password": SECRET}])
    done = subprocess.run(
        command,
        env=environ | {"NODE_PEERS": nameless},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "[[peers]] #1 username: is needed with password" in done.stderr
    assert SECRET not in done.stderr
