"""TLS on the DICOM port: the handshake is bounded, in the association's own thread, and can be cut."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from node.association.receiver import Timeouts
from tests.association.port import Start
from tests.harness import eventually
from tests.scenarios.wire import (
    CONTEXTS,
    RELEASE,
    STORE,
    Wire,
    associate,
    message,
    store_rq,
)

pytestmark = pytest.mark.openssl


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def tls_wire(number: int, certificate: tuple[Path, Path]) -> Wire:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    wire = Wire(number)
    wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
    return wire


def test_tls(start: Start, server_tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    port = start(tls=server_tls)
    with tls_wire(port.number, certificate) as peer:
        assert peer.send(associate(CONTEXTS)).answer() == "accepted 1:0 3:0"
        assert peer.send(message(STORE, store_rq("1.2"), bytes(500_000), 100_000)).status() == "0x0000"
        assert peer.send(RELEASE).answer() == "released"
    assert sum(port.sink.sizes) == 500_000


def test_tls_handshake_keeps_nobody_waiting(
    start: Start, server_tls: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    port = start(tls=server_tls, timeouts=Timeouts(handshake=1, idle=5, transfer=5))
    with Wire(port.number) as silent, tls_wire(port.number, certificate) as peer:
        assert peer.send(associate()).answer() == "accepted 1:0 3:0"
        assert silent.answer() == "closed"
    eventually(lambda: ("", "timeout") in port.seen.ended)


def test_plain_dicom_to_a_tls_port(start: Start, server_tls: ssl.SSLContext) -> None:
    port = start(tls=server_tls)
    with Wire(port.number) as peer:
        peer.send(associate())
        eventually(lambda: port.seen.ended == [("", "lost")])
    assert not port.seen.faults


@pytest.mark.parametrize("negotiated", [True, False])
def test_stop_cuts_tls_connections_too(
    start: Start, server_tls: ssl.SSLContext, certificate: tuple[Path, Path], negotiated: bool
) -> None:
    port = start(tls=server_tls)
    with tls_wire(port.number, certificate) if negotiated else Wire(port.number) as peer:
        if negotiated:
            assert peer.send(associate()).answer() == "accepted 1:0 3:0"
        eventually(lambda: port.listener._connections)
        began = time.monotonic()
        assert port.listener.stop(0.05) == negotiated
        assert time.monotonic() - began < 3
    assert len(port.seen.ended) == 1
