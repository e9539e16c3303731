"""The [[peers]] table: first match wins, strangers get what strangers get."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from node.peers import Peer, Peers

SCANNERS = Peer("CT*", ip_network("10.0.0.0/8"), frozenset(("echo", "store")), "Europe/Paris", "ISO_IR 100")
HERE = Peer("CT1", ip_network("192.168.1.7/32"))
SIX = Peer("MR?", ip_network("fd00::/8"))
ANYWHERE = Peer("WS[12]")
TABLE = Peers([SCANNERS, HERE, SIX, ANYWHERE], ["echo"])


@pytest.mark.parametrize(
    ("ae_title", "address", "expected"),
    [
        ("CT1", "10.1.2.3", SCANNERS),
        ("CT1", "192.168.1.7", HERE),
        ("CT1", "192.168.1.8", None),
        ("CT2", "192.168.1.7", None),
        ("ct1", "10.1.2.3", None),  # AE titles are case-sensitive (PS3.5 6.2)
        ("CT1", "::ffff:10.1.2.3", SCANNERS),
        ("MR1", "fd00::1", SIX),
        ("MR1", "fe80::1%eth0", None),
        ("MR12", "fd00::1", None),
        ("MR1", "10.0.0.1", None),
        ("WS2", "203.0.113.9", ANYWHERE),
        ("WS3", "203.0.113.9", None),
        ("", "10.1.2.3", None),
        ("CT1", None, SCANNERS),
    ],
)
def test_find(ae_title: str, address: str | None, expected: Peer | None) -> None:
    found = TABLE.find(ae_title, address)
    assert found == (expected or Peer("other", services=frozenset(("echo",))))


def test_strangers_can_be_refused_everything() -> None:
    assert Peers([], []).find("ANY", "127.0.0.1").services == frozenset()


def test_who_is_known_is_told_by_the_title_wherever_it_calls_from() -> None:
    """A caller of a list may have called from several addresses, and from none that is remembered."""
    assert [name for name in ("CT1", "CT9", "WS1", "WS3", "other") if TABLE.knows(name)] == [
        "CT1",
        "CT9",
        "WS1",
    ]
