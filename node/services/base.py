"""What a DIMSE service is to the receiver: an operation that takes a data set and gives answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from node.services.dimse import Command

# Who we are in associations and file meta information (PS3.7 D.3.3.2): a UID derived from a UUID (PS3.5 B.2)
IMPLEMENTATION_CLASS_UID: Final = "2.25.337339782236195725356425579772467491427"
IMPLEMENTATION_VERSION_NAME: Final = "DICOMFHIR_010"


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context, and who proposed it."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    calling_ae: str
    called_ae: str
    association: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: status, encoded identifier of a C-FIND match, Error Comment.

    ``why`` is for the node's log where it says more than the comment, which the peer sees.
    """

    status: int
    identifier: bytes | None = None
    comment: str | None = None
    why: str | None = None


class Operation(Protocol):
    """One request being carried out: ``write`` and ``finish`` in order, ``abandon`` at any time."""

    def write(self, fragments: Sequence[memoryview]) -> None:
        """Take fragments of the data set. They point into the receive buffer: use them now, keep none."""

    def finish(self) -> Iterable[Answer]:
        """The data set is whole: carry the request out. Lazy answers may be cut short by C-CANCEL."""

    def abandon(self) -> None:
        """The association ended inside the message: leave nothing behind."""


class Service(Protocol):
    """Starts operations; one object serves every association."""

    def begin(self, context: Context, command: Command) -> Operation:
        """Raises nothing for bad input: the operation's answers say what is wrong with it."""

    def answered(self, context: Context) -> None:
        """The last answer of an operation that was not refused is out: time to prepare for the next, while the peer
        reads and writes."""
        return

    def ended(self, association: int) -> None:
        """Nothing more comes from an association, whatever it brought before: give back what was prepared."""
        return


class Refused:
    """An operation that takes the data set, keeps nothing of it, and answers one status."""

    def __init__(self, status: int, comment: str | None = None, why: str | None = None) -> None:
        self._answer = Answer(status, comment=comment, why=why)

    def write(self, fragments: Sequence[memoryview]) -> None:
        """The bytes are dropped: the peer may send its data set to the end before it reads the answer."""

    def finish(self) -> Iterable[Answer]:
        return (self._answer,)

    def abandon(self) -> None:
        """There is nothing to undo."""
