"""Who may call, and what is known of them: the [[peers]] table as values (pure)."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

ECHO: Final = "echo"
STORE: Final = "store"
FIND: Final = "find"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a caller must say it is (PS3.7 D.3.3.7); without ``password`` the name is enough."""

    username: str
    password: str | None = field(default=None, repr=False)

    def matches(self, username: bytes, passcode: bytes | None) -> bool:
        """Whether these are the name and passcode; takes as long for a wrong one as for the right one."""
        named = hmac.compare_digest(username, self.username.encode())
        if self.password is None:
            return named
        return hmac.compare_digest(passcode or b"", self.password.encode()) and named


@dataclass(frozen=True, slots=True)
class Peer:
    """One known caller; ``ae_title`` is a shell pattern and also the caller's label in metrics.

    ``max_associations`` counts those of all callers that the entry matches; 0: only the node's own limit.
    """

    ae_title: str
    network: Network | None = None
    services: frozenset[str] = frozenset((ECHO, STORE, FIND))
    timezone: str | None = None
    charset: str | None = None
    max_associations: int = 0
    identity: Identity | None = None

    def matches(self, ae_title: str, address: str | None) -> bool:
        if not fnmatchcase(ae_title, self.ae_title):
            return False
        if self.network is None or address is None:
            return True
        return ipaddress.ip_address(address) in self.network


class Peers:
    """First match wins; callers without an entry get ``unknown_services``, none of which means refusal."""

    def __init__(self, peers: Sequence[Peer], unknown_services: Collection[str]) -> None:
        self._peers = tuple(peers)
        self._unknown = Peer("other", services=frozenset(unknown_services))

    @property
    def limited(self) -> tuple[Peer, ...]:
        """Entries with a limit of their own, in the order of the table."""
        return tuple(peer for peer in self._peers if peer.max_associations)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that a caller can have in metrics, once."""
        return tuple(dict.fromkeys(peer.ae_title for peer in (*self._peers, self._unknown)))

    def knows(self, ae_title: str) -> bool:
        """An entry may be meant for this caller, wherever it calls from."""
        return any(peer.matches(ae_title, None) for peer in self._peers)

    def find(self, ae_title: str, address: str | None = None) -> Peer:
        """The entry for a caller; without an ``address`` (an object found at start) its title decides."""
        if address is not None and address.startswith("::ffff:"):
            address = address.removeprefix("::ffff:")  # an IPv4 caller on a dual-stack socket
        return next((peer for peer in self._peers if peer.matches(ae_title, address)), self._unknown)
