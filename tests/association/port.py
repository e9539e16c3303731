"""A listener with services and an observer put in by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from node.association.listener import Listener
from node.association.receiver import Timeouts
from node.services import dimse
from node.services.base import Answer, Context, Operation, Service
from node.services.dimse import Command
from tests.scenarios.wire import (
    STORE,
    message,
    store_rq,
)

QUICK = Timeouts(handshake=5, idle=5, transfer=5)


@dataclass
class Seen:
    """What the listener reported."""

    ended: list[tuple[str, str]] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    stores: list[tuple[int, int, str]] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)  # calling AE title of each store

    def stored(self, calling_ae: str, status: int, size: int, seconds: float, why: str) -> None:
        self.stores.append((status, size, why))
        self.callers.append(calling_ae)

    def association_ended(self, calling_ae: str, address: str, result: str, why: str, objects: int) -> None:
        self.ended.append((calling_ae, result))

    def failed(self, address: str, error: BaseException) -> None:
        self.faults.append(error)


@dataclass
class Sink(Service):
    """A storage service that keeps nothing: ``finish`` does what a test wants."""

    at_end: Callable[[], Iterable[Answer]] = lambda: (Answer(dimse.SUCCESS),)
    on_write: Callable[[], object] = lambda: None
    sizes: list[int] = field(default_factory=list)
    abandoned: int = 0
    told: list[str] = field(default_factory=list)  # what it heard between operations

    def begin(self, context: Context, command: Command) -> Operation:
        return self

    def write(self, fragments: Sequence[memoryview]) -> None:
        self.sizes.append(sum(map(len, fragments)))
        self.on_write()

    def finish(self) -> Iterable[Answer]:
        return self.at_end()

    def abandon(self) -> None:
        self.abandoned += 1

    def answered(self, context: Context) -> None:
        self.told.append(f"answered {context.association}")

    def ended(self, association: int) -> None:
        self.told.append(f"ended {association}")


@dataclass
class Port:
    listener: Listener
    number: int
    seen: Seen
    sink: Sink


Start = Callable[..., Port]


STORED = message(STORE, store_rq("1.2.3"), bytes(100))
