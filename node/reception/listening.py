"""The listener with its services: the same whether it runs in the owner's process or in one of its own."""

from __future__ import annotations

from typing import Final, Protocol

from node import wiring
from node.association.listener import Listener, ListenerOptions
from node.association.negotiation import Negotiator
from node.association.places import Places
from node.association.receiver import Observer, Timeouts
from node.association.tls import TlsFiles
from node.config import Config
from node.errors import IndexUnavailable
from node.index.engine import Engine
from node.index.search import Search
from node.logs import get_logger
from node.model import Received, Rejection
from node.objects.files import FileObjects
from node.services import dimse
from node.services.echo import EchoService
from node.services.find import FindService
from node.services.store import StorePorts, StoreService
from node.timing import Time

_log = get_logger(__name__)

# statvfs for each object took 5 us. While there is much more than needed the free space is asked for anew after
# this long, in which a disk can't be filled by that much; near the limit, for each object.
_SPACE_SECONDS: Final = 0.1
_MUCH_MORE: Final = 1_000_000_000  # bytes
# How long an object waits at the door for an index that is behind: less than senders wait for an answer, and more than
# a disk hesitates. A sender that is slowed down does not notice; one that is refused has to send again.
PATIENCE_SECONDS: Final = 10.0


class Desk(Protocol):
    """What associations ask of whoever owns the index. Called from their threads."""

    def put(self, item: Received | Rejection) -> None:
        """Take a durable object, or one for quarantine. Raises ``NodeError`` when nobody can."""

    def catch_up(self) -> None:
        """Return when everything that was answered with success, by anybody, is in the index.

        Raises ``IndexUnavailable``."""

    def wait_for_room(self) -> str | None:
        """Why the index can take no more, though it had ``PATIENCE_SECONDS`` to catch up; None when it can."""

    def found(self, level: str, status: int) -> None:
        """A query ended."""


class Space:
    """What the free space of the object store says: no new associations, or no objects at all."""

    def __init__(self, objects: FileObjects, min_free_bytes: int, clock: Time) -> None:
        self._objects = objects
        self._least = min_free_bytes
        self._clock = clock
        self._ample_until = float("-inf")  # on the clock

    def low(self) -> str | None:
        """Why no association should begin (contract: A-ASSOCIATE-RJ 2/3/2). Raises ``StorageError``."""
        free = self._objects.free_bytes()
        return f"disk low: {free} bytes free (objects.min_free_bytes)" if free < self._least else None

    def full(self) -> str | None:
        """Why no object can be taken (0xA700). Raises ``StorageError``."""
        now = self._clock.now()
        if now < self._ample_until:
            return None
        free, least = self._objects.free_bytes(), self._least // 5
        self._ample_until = now + _SPACE_SECONDS if free > least + _MUCH_MORE else float("-inf")
        return f"disk full: {free} bytes free, {least} needed" if free < least else None


class _Ports:
    """The ports of the store service over a desk and an object store."""

    def __init__(self, config: Config, objects: FileObjects, desk: Desk, clock: Time) -> None:
        self.space = Space(objects, config.objects.min_free_bytes, clock)
        self._objects = objects
        self._desk = desk
        self.listener: Listener | None = None

    def accepted(self, received: Received) -> None:
        if self.listener is not None:
            self.listener.brought(received.association, received.key.study)
        self._desk.put(received)

    def refusal(self) -> str | None:
        return self.space.full() or self._desk.wait_for_room()

    def collides(self, received: Received) -> bool:
        self._desk.catch_up()
        return self._objects.same_bytes(received.name, received.key) is False

    def catch_up(self) -> None:
        """What was answered is found; but a disk that is full must not silence C-FIND."""
        try:
            self._desk.catch_up()
        except IndexUnavailable as error:
            _log.warning("find_without_newest", error=str(error), hint=error.hint)


def make_listener(
    config: Config,
    objects: FileObjects,
    engine: Engine,
    desk: Desk,
    observer: Observer,
    clock: Time,
    places: Places | None = None,
    tls: TlsFiles | None = None,
) -> Listener:
    """The DICOM side as configured; ``places`` counts associations where several processes share a limit,
    ``tls`` is what [dicom.tls] was found to name."""
    dicom = config.dicom
    ports = _Ports(config, objects, desk, clock)
    store = StorePorts(
        accepted=ports.accepted,
        rejected=desk.put,
        refusal=ports.refusal,
        collides=ports.collides if config.objects.on_duplicate == "reject" else None,
    )
    search = Search(engine)
    find = FindService(search, dicom.max_find_answers, dicom.ae_title, ports.catch_up, desk.found)
    ports.listener = Listener(
        ListenerOptions(
            host=dicom.host,
            port=dicom.port,
            max_associations=dicom.max_associations,
            max_pdu=dicom.max_pdu,
            timeouts=Timeouts(dicom.timeouts.handshake, dicom.timeouts.idle, dicom.timeouts.transfer),
            tls=tls.context() if tls else None,
        ),
        Negotiator({dicom.ae_title, *dicom.aliases}, wiring.peers(config), dicom.max_pdu),
        {
            dimse.C_ECHO_RQ: EchoService(),
            dimse.C_STORE_RQ: StoreService(objects, store, clock),
            dimse.C_FIND_RQ: find,
        },
        observer,
        ports.space.low,
        places,
    )
    return ports.listener
