"""Who may call, and what is known of them: the [[peers]] table as values (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

ECHO: Final = "echo"
STORE: Final = "store"
FIND: Final = "find"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Peer:
    """One known caller; ``ae_title`` is a shell pattern and also the caller's label in metrics."""

    ae_title: str
    network: Network | None = None
    services: frozenset[str] = frozenset((ECHO, STORE, FIND))
    timezone: str | None = None
    charset: str | None = None

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

    def find(self, ae_title: str, address: str | None = None) -> Peer:
        """The entry for a caller; without an ``address`` (an object found at start) its title decides."""
        if address is not None and address.startswith("::ffff:"):
            address = address.removeprefix("::ffff:")  # an IPv4 caller on a dual-stack socket
        return next((peer for peer in self._peers if peer.matches(ae_title, address)), self._unknown)
