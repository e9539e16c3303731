"""C-STORE (PS3.4 Annex B): success is answered once the object is on disk, whole, readable, identified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from node import header
from node.errors import DataSetError, DuplicateObject, NodeError, StorageError
from node.model import ObjectKey, RawHeader, Received, Rejection
from node.objects import filemeta
from node.objects.base import Incoming, ObjectStore
from node.objects.filemeta import FileMeta
from node.services import dimse
from node.services.base import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    Answer,
    Context,
    Operation,
    Refused,
    Service,
)
from node.services.dimse import Command
from node.timing import Time

# What a peer is told of the node's own troubles: paths and causes are for the node's log.
_NOT_STORED: Final = "the node can't store it now"
_STORED: Final = (Answer(dimse.SUCCESS),)


@dataclass(frozen=True, slots=True)
class StorePorts:
    """What the service hands on to. All are called from association threads.

    ``accepted`` takes a durable object to the index; ``rejected`` one that goes to quarantine; ``refusal``
    says why no object can be taken now (disk low, index stuck); ``collides`` whether a key is stored with
    other bytes, asked only when ``objects.on_duplicate`` is ``reject`` (else None).
    """

    accepted: Callable[[Received], None]
    rejected: Callable[[Rejection], None]
    refusal: Callable[[], str | None]
    collides: Callable[[Received], bool] | None = None


class StoreService(Service):
    """Starts one ``_StoreOperation`` an object.

    An association that has brought two will bring a third: its file is made while the peer reads the answer to the one
    before, when nobody waits for this process.
    """

    def __init__(self, objects: ObjectStore, ports: StorePorts, time: Time) -> None:
        self._objects = objects
        self._ports = ports
        self._time = time
        # By association that brought something: the file of what comes next, if it was made
        self._next: dict[int, Incoming | None] = {}

    def begin(self, context: Context, command: Command) -> Operation:
        if not command.has_data_set:
            return Refused(DataSetError.status, "C-STORE without a data set")
        try:
            refusal = self._ports.refusal()
            if refusal:
                return Refused(StorageError.status, refusal)
            incoming = self._next.get(context.association)
            if incoming is None:
                incoming = self._objects.prepare()
            else:
                self._next[context.association] = None
            incoming.start(_preamble(context, command))
        except NodeError as error:
            return Refused(error.status, _NOT_STORED, why=str(error))
        return _StoreOperation(incoming, context, command, self._objects, self._ports, self._time)

    def answered(self, context: Context) -> None:
        if context.association not in self._next:
            self._next[context.association] = None
        elif self._next[context.association] is None:
            with suppress(StorageError):  # ``begin`` meets the same, and has an answer to give
                self._next[context.association] = self._objects.prepare()

    def ended(self, association: int) -> None:
        incoming = self._next.pop(association, None)
        if incoming is not None:
            incoming.discard()


def _preamble(context: Context, command: Command) -> bytes:
    meta = FileMeta(
        sop_class=command.sop_class[:64],
        sop_instance=command.sop_instance[:64],
        transfer_syntax=context.transfer_syntax,
        sending_ae=context.calling_ae,
        receiving_ae=context.called_ae,
    )
    return filemeta.encode(meta, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)


class _StoreOperation:
    """One object, from its first fragment to its answer."""

    __slots__ = ("_broken", "_command", "_context", "_incoming", "_objects", "_ports", "_time")

    def __init__(
        self,
        incoming: Incoming,
        context: Context,
        command: Command,
        objects: ObjectStore,
        ports: StorePorts,
        time: Time,
    ) -> None:
        self._incoming = incoming
        self._context = context
        self._command = command
        self._objects = objects
        self._ports = ports
        self._time = time
        self._broken: StorageError | None = None

    def write(self, fragments: Sequence[memoryview]) -> None:
        """Append to the file. After a failed write the rest is dropped: the answer says why."""
        if self._broken is None:
            try:
                self._incoming.write(fragments)
            except StorageError as error:
                self._broken = error
                self._incoming.discard()

    def finish(self) -> Iterable[Answer]:
        """Scan, check, sync; only then 0x0000."""
        try:
            if self._broken is not None:
                raise self._broken
            self._store()
        except DataSetError as error:
            return (Answer(error.status, comment=str(error), why=self._set_aside(error)),)
        except DuplicateObject as error:
            return (Answer(error.status, comment=str(error)),)
        except NodeError as error:
            self._incoming.discard()
            return (Answer(error.status, comment=_NOT_STORED, why=str(error)),)
        return _STORED

    def _store(self) -> None:
        context, command = self._context, self._command
        raw = header.scan(self._incoming.read, context.transfer_syntax)
        key, sop_class = header.identify(raw)
        header.compare(key, sop_class, command.sop_class, command.sop_instance)
        received = self._received(key, sop_class, raw)
        self._incoming.commit()
        try:
            if self._ports.collides is None or not self._ports.collides(received):
                self._ports.accepted(received)
                return
        except NodeError:  # it will be answered as a failure, so it must not turn up after a restart
            self._objects.drop_waiting(received.name)
            raise
        self._ports.rejected(
            self._rejection("duplicate-rejected", f"{key.instance} is stored with other bytes")
        )
        raise DuplicateObject("SOP Instance UID is stored with other bytes")

    def _received(self, key: ObjectKey, sop_class: str, raw: RawHeader) -> Received:
        return Received(
            name=self._incoming.name,
            key=key,
            sop_class=sop_class,
            transfer_syntax=self._context.transfer_syntax,
            size=self._incoming.size,
            header=raw,
            calling_ae=self._context.calling_ae,
            called_ae=self._context.called_ae,
            received_at=self._time.now(),
            association=self._context.association,
        )

    def _set_aside(self, error: DataSetError) -> str:
        """Keep the bytes of a data set that can't be taken: they are whole, and may be all there is."""
        try:
            self._incoming.commit()
            self._ports.rejected(self._rejection(type(error).__name__, str(error)))
        except NodeError as failed:
            return f"{error}; not kept: {failed}"
        return str(error)

    def _rejection(self, reason: str, detail: str) -> Rejection:
        return Rejection(self._incoming.name, reason, detail, self._context.calling_ae, self._time.wall())

    def abandon(self) -> None:
        """The association ended inside the object: nothing is left of it."""
        self._incoming.discard()
