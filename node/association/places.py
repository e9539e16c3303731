"""Who may have an association open, by the limits of [dicom] and [[peers]], and whose turn a connection is."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Protocol

from node.peers import Peer


class Places(Protocol):
    """Counts associations against the limits of [dicom] and [[peers]], wherever they are open."""

    def take(self, peer: Peer) -> str | None:
        """Count one more of ``peer`` in, or say why there is no room."""

    def give_back(self, peer: Peer) -> None:
        """One of ``peer`` has ended."""

    def connected(self, count: int) -> None:
        """So many connections are open here, associations or not."""

    def others_have_fewer(self) -> bool:
        """Another process accepts on the same socket and has fewer connections open."""


class OwnPlaces:
    """The places of a listener that is the only one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[Peer] = Counter()
        self._lock = threading.Lock()

    def take(self, peer: Peer) -> str | None:
        with self._lock:
            if self._taken.total() >= self._limit:
                return full(self._limit)
            if peer.max_associations and self._taken[peer] >= peer.max_associations:
                return full_of(peer)
            self._taken[peer] += 1
            return None

    def give_back(self, peer: Peer) -> None:
        with self._lock:
            self._taken[peer] -= 1

    def connected(self, count: int) -> None:
        """Nobody else wants to know."""

    def others_have_fewer(self) -> bool:
        return False


def full(limit: int) -> str:
    """Why nobody is let in."""
    return f"{limit} associations are open (dicom.max_associations)"


def full_of(peer: Peer) -> str:
    """Why no caller of this entry is let in."""
    return f"{peer.max_associations} associations of {peer.ae_title!r} are open ([[peers]] max_associations)"
