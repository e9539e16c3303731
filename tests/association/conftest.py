"""Listeners for one test."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from node.association.listener import Listener, ListenerOptions
from node.association.negotiation import Negotiator
from node.association.places import Places
from node.association.receiver import Timeouts
from node.peers import Peers
from node.services import dimse
from node.services.echo import EchoService
from tests.association.port import QUICK, Port, Seen, Sink, Start


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Listener] = []

    def make(
        sink: Sink | None = None,
        timeouts: Timeouts = QUICK,
        tls: ssl.SSLContext | None = None,
        max_associations: int = 10,
        congested: Callable[[], str | None] = lambda: None,
        host: str = "127.0.0.1",
        places: Places | None = None,
    ) -> Port:
        seen, sink = Seen(), sink or Sink()
        listener = Listener(
            ListenerOptions(host, 0, max_associations, 131_072, timeouts, tls),
            Negotiator(["DICOMFHIR"], Peers((), ("echo", "store")), 131_072),
            {dimse.C_ECHO_RQ: EchoService(), dimse.C_STORE_RQ: sink},
            seen,
            congested,
            places,
        )
        started.append(listener)
        return Port(listener, listener.start()[1], seen, sink)

    yield make
    for listener in started:
        listener.stop(0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("association-")]
