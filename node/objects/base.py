"""What the node asks of an object store: durable bytes under names that the node chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from node.model import ObjectKey

Buffers = Sequence[bytes | bytearray | memoryview]


class Incoming(Protocol):
    """One object while it arrives. Exactly one of ``commit`` and ``discard`` ends it."""

    @property
    def name(self) -> str:
        """What it is called until it is under its key."""

    def start(self, preamble: bytes) -> None:
        """Begin the file with ``preamble`` (PS3.10 7.1: DICM, file meta)."""

    def write(self, fragments: Buffers) -> None:
        """Append fragments of the data set; raises ``StorageError``."""

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the data set just written (offset 0 is its first byte); shorter at its end."""

    @property
    def size(self) -> int:
        """Bytes of the data set so far."""

    def commit(self) -> None:
        """Make the object durable: when this returns it survives a power loss. Raises ``StorageError``."""

    def discard(self) -> None:
        """Leave nothing behind, unless committed before; never raises."""


class ObjectReader(Protocol):
    """Objects that lie under their key."""

    def open(self, key: ObjectKey) -> BinaryIO:
        """Read an object's file; raises ``FileNotFoundError``."""


class ObjectStore(ObjectReader, Protocol):
    """Objects wait in ``incoming`` until the index has them, then lie under their key."""

    def prepare(self) -> Incoming:
        """Make the file of an object that is expected; ``start`` it, or discard it. Raises ``StorageError``."""

    def waiting(self) -> Iterator[str]:
        """Names of committed objects that are not under their key yet, oldest first."""

    def adopt(self, name: str, key: ObjectKey) -> None:
        """Move an incoming object under its key, replacing what lies there; harmless when already moved."""

    def quarantine(self, name: str, reason: str) -> str:
        """Move an incoming object aside; returns its name there."""

    def open_waiting(self, name: str) -> BinaryIO:
        """Read an incoming object's file; raises ``FileNotFoundError``."""

    def keys(self) -> Iterator[ObjectKey]:
        """Every stored object (for ``reindex``)."""

    def drop_waiting(self, name: str) -> None:
        """Delete an incoming object that turned out to be the same bytes again."""

    def free_bytes(self) -> int:
        """Bytes that can still be written. Raises ``StorageError``."""
