"""The exception tree: each class knows its DICOM status, whether a retry can help, and a hint for the operator."""

from __future__ import annotations

import errno
import os
from typing import ClassVar


class NodeError(Exception):
    """Base of every error that this package raises on purpose.

    ``status`` is the DIMSE status a C-STORE answers with when the error reaches it (PS3.4 B.2.3, PS3.7 C),
    ``retriable`` tells whether the same request can succeed later, ``hint`` says what an operator can do.
    """

    status: ClassVar[int] = 0x0110
    retriable: ClassVar[bool] = False
    hint: ClassVar[str] = "This is a fault of the node: please report it with the log lines around it."


class ConfigError(NodeError):
    """The configuration can't be used; ``problems`` has one line per key."""

    hint = (
        "Correct what is named: node.toml, as it is shipped, says what each key takes; `dicom-fhir-node check-config` "
        "tells whether it is right, without starting."
    )

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CannotStart(ConfigError):
    """The machine is not, or not yet, as the configuration says: a port or a folder in use, a disk that is away.

    Not the words are wrong, and it may pass by itself: what starts the node (systemd) is to try again.
    """

    retriable = True
    hint = "Mend what is named, or name another in the configuration, and start again."


class CannotListen(CannotStart):
    """``where``, which [``table``] names, can't be listened on."""

    def __init__(self, table: str, where: str, error: OSError) -> None:
        # socket.create_server adds the address once more to what the system says; look-ups count below zero.
        number = error.errno or 0
        said = os.strerror(number) if number > 0 else error.strerror or str(error)
        advice = {
            errno.EADDRINUSE: "; `ss -ltnp` tells which program has it",
            errno.EADDRNOTAVAIL: "; `ip address` lists the addresses of this machine",
            errno.EACCES: "; ports below 1024 need CAP_NET_BIND_SERVICE, see docs/install.md",
        }.get(number, "")
        super().__init__([f"[{table}] host, port: {where} can't be listened on: {said}{advice}"])


class ProtocolError(NodeError):
    """The peer broke the upper layer protocol; the association ends with A-ABORT (PS3.8 9.3.8).

    ``source`` 0 = service user, 2 = service provider; ``reason`` as in PS3.8 Table 9-26.
    """

    hint = "The peer does not speak DICOM as PS3.8 has it; look at its log."

    def __init__(self, what: str, reason: int = 0, source: int = 2) -> None:
        super().__init__(what)
        self.reason = reason
        self.source = source


class PeerGone(NodeError):
    """The peer closed, reset or aborted the connection."""

    retriable = True
    hint = "The peer or the network ended the connection; nothing half received is kept."


class AssociationRejected(NodeError):
    """The peer answered A-ASSOCIATE-RJ; ``result``, ``source``, ``reason`` as in PS3.8 Table 9-21."""

    hint = "Look at the AE titles on both sides, and at the peer's list of known callers."

    def __init__(self, what: str, result: int, source: int, reason: int) -> None:
        super().__init__(f"the peer rejected the association {result}/{source}/{reason}: {what}")
        self.result = result
        self.source = source
        self.reason = reason

    @property
    def transient(self) -> bool:
        """The same request can be accepted later (result 2)."""
        return self.result == 2


class FileShortened(NodeError):
    """A file ended before the length it had when its sending began: the message can't be completed."""

    hint = "Send it again when nobody writes to it any more."


class DeadlineExceeded(NodeError):
    """The peer sent nothing, or not enough, before its deadline; ``timeout`` names the one that passed."""

    retriable = True
    hint = "Look at the network, or raise the value in [dicom.timeouts]."

    def __init__(self, timeout: str, seconds: float) -> None:
        super().__init__(f"{timeout} timeout of {seconds:g} s passed")
        self.timeout = timeout
        self.seconds = seconds


class DataSetError(NodeError):
    """The data set can't be read or lacks a legal identifying UID; the bytes go to quarantine."""

    status = 0xC000
    hint = "Look at the object in quarantine; the sender has to correct it."


class DataSetMismatch(DataSetError):
    """SOP class or instance in the command differ from those in the data set (PS3.4 B.2.3)."""

    status = 0xA900
    hint = "The sender's command and object disagree; correct the sender."


class ContentUnreadable(NodeError):
    """What a stored document contains can't be read; the reason holds no values."""

    hint = "Look at the stored object: it is published without what it contains."


class ContentTooSlow(ContentUnreadable):
    """Reading took longer than its deadline, and was ended."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"reading it took more than {seconds:g} s")
        self.seconds = seconds


class ContentReaderUnavailable(NodeError):
    """The process that reads documents can't be started, or is being ended: nothing is known of the document."""

    retriable = True
    hint = "Look at the memory and the number of processes the node may have; its log says more."


class DuplicateObject(NodeError):
    """The same SOP Instance UID with other bytes, while ``objects.on_duplicate`` is ``reject``."""

    status = 0x0111
    hint = "The bytes are in quarantine; set objects.on_duplicate to keep or replace to take such objects."


class StorageError(NodeError):
    """The object could not be written and synced; nothing of it is left."""

    status = 0xA700
    retriable = True
    hint = "Look at the free space and the health of the disk that holds data_dir."


class IndexUnavailable(NodeError):
    """The index can't be read or written."""

    status = 0xA700
    retriable = True
    hint = "Look at the disk that holds the index; `dicom-fhir-node reindex` rebuilds it from the objects."


class IndexCorrupt(IndexUnavailable):
    """The index's file is damaged, or is no database: no retry can help."""

    retriable = False
    hint = (
        "Restart the node, or stop it and run `dicom-fhir-node reindex`: the file is set aside and a new index is "
        "made from the stored objects."
    )


class IndexRefused(IndexUnavailable):
    """The database will not take these rows, now or later: something in them is the fault, not the disk."""

    retriable = False
    hint = "This is a fault of the node: please report it with the log lines around it."


class QueryError(NodeError):
    """A C-FIND identifier that can't be answered (PS3.4 C.4.1.1.4: 0xA900)."""

    status = 0xA900
    hint = "Correct the query: level, unique keys above it, or the matching value named."


class IdentifierError(NodeError):
    """The identifier of a C-FIND can't be decoded (PS3.4 C.4.1.1.4: 0xC000, unable to process)."""

    status = 0xC000
    hint = "The caller's identifier is broken, or not in the transfer syntax it negotiated."


class StudyNotFound(NodeError):
    """No study has this UID."""

    hint = "`dicom-fhir-node studies` lists what is here."


class EventNotFound(NodeError):
    """No event has this id."""

    hint = "`dicom-fhir-node events` lists what was published; an id has slashes and goes in as it is."


class StudyConflict(NodeError):
    """The command does not apply to the study's present state."""

    hint = "`dicom-fhir-node studies UID` shows its state."


class QuarantineNotFound(NodeError):
    """Nothing in quarantine has this number."""

    hint = "`dicom-fhir-node quarantine` lists what is there, newest first."


class QuarantineConflict(NodeError):
    """The command does not apply to what is in quarantine under this number."""

    hint = "`dicom-fhir-node quarantine ID` shows its state."

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        if hint:
            self.hint = hint  # type: ignore[misc]


class ResourceInvalid(NodeError):
    """A built FHIR resource does not pass its check; its event is parked with this reason."""

    hint = "Look at the source attribute named; the study can be replayed after it is corrected."


class PublishUnavailable(NodeError):
    """The sink can't be reached now; events wait in the outbox."""

    retriable = True
    hint = "Look at the broker or the disk; delivery goes on by itself when it is back."
