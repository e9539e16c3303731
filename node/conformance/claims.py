"""What the node answers, refuses and ends: one row a code, with the code taken from where the node has it.

The tests hold both directions: every row is seen on a running node or its service, and every code that the
services, the negotiation and the protocol machine can give has a row.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from node import errors
from node.association import negotiation, protocol
from node.services import dimse, find


class Status(NamedTuple):
    """One status of one DIMSE service: the standard's name for it (PS3.7 Annex C, PS3.4 B.2.3 and C.4.1.1.4), when
    the node answers with it, and what a peer can do."""

    code: int
    meaning: str
    when: str
    remedy: str = ""

    @property
    def text(self) -> str:
        return f"0x{self.code:04X}"


_NOT_AUTHORIZED: Final = Status(
    dimse.NOT_AUTHORIZED,
    "Refused: Not authorized",
    "the caller's `services` do not have this one",
    "Correct `[[peers]]` or `dicom.unknown_peers`.",
)
_FAULT: Final = Status(
    errors.NodeError.status,
    "Processing failure",
    "a fault of the node itself",
    "Report it with the log lines around it.",
)

ECHO: Final = (Status(dimse.SUCCESS, "Success", "always, to who may ask"), _NOT_AUTHORIZED)

STORE: Final = (
    Status(dimse.SUCCESS, "Success", "{durable}; also for bytes that are stored already"),
    _FAULT,
    Status(
        errors.DuplicateObject.status,
        "Duplicate SOP Instance",
        'the SOP Instance UID is stored with other bytes, and `objects.on_duplicate` is "reject"; '
        "the bytes are in quarantine",
        "Look at both in quarantine; the sender has used a UID twice.",
    ),
    Status(
        dimse.SOP_CLASS_NOT_SUPPORTED,
        "Refused: SOP Class not supported",
        "the C-STORE came on a presentation context that is not for storage",
        "Correct the sender.",
    ),
    _NOT_AUTHORIZED,
    Status(
        errors.StorageError.status,
        "Refused: Out of Resources",
        "nothing was kept: the disk is full or low (below a fifth of `objects.min_free_bytes`), a write or sync "
        "failed, or too many objects wait for the index, which fails or has been behind for 10 seconds",
        "Send it again later; the node takes objects again by itself.",
    ),
    Status(
        errors.DataSetMismatch.status,
        "Error: Data Set does not match SOP Class",
        "SOP Class or SOP Instance UID of the command differ from the data set's; the bytes are in quarantine",
        "Correct the sender.",
    ),
    Status(
        errors.DataSetError.status,
        "Error: Cannot understand",
        "the data set can't be read, or has no legal SOP Class, SOP Instance, Study or Series Instance UID; the "
        "bytes are in quarantine",
        "Look at the object in quarantine; the sender has to correct it.",
    ),
)

FIND: Final = (
    Status(dimse.PENDING, "Pending", "one match; every key asked for is supported"),
    Status(
        find.PENDING_UNSUPPORTED_KEYS,
        "Pending, optional keys not supported",
        "one match; some of the keys asked for are not among those listed here, and come back empty",
    ),
    Status(dimse.SUCCESS, "Success", "all matches have been sent"),
    Status(
        find.CUT,
        "Cancel",
        "a C-CANCEL came, or `dicom.max_find_answers` matches have been sent; the comment tells which",
        "Narrow the query.",
    ),
    _FAULT,
    _NOT_AUTHORIZED,
    Status(
        errors.IndexUnavailable.status,
        "Refused: Out of Resources",
        "the index can't be read now",
        "Ask again later.",
    ),
    Status(
        errors.QueryError.status,
        "Error: Data Set does not match SOP Class",
        "no Query/Retrieve Level, one that the model does not have, or a presentation context that is not for queries",
        "Correct the query.",
    ),
    Status(
        errors.IdentifierError.status,
        "Unable to process",
        "the identifier is missing, can't be decoded in its transfer syntax, is longer than 1 MiB or nested too deep",
        "Correct the query.",
    ),
)

OTHERS: Final = (
    Status(
        dimse.UNRECOGNIZED_OPERATION,
        "Unrecognized operation",
        "C-GET, C-MOVE or any DIMSE-N request",
    ),
)

STATUSES: Final = {"C-ECHO": ECHO, "C-STORE": STORE, "C-FIND": FIND, "any other request": OTHERS}


class Rejection(NamedTuple):
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4, Table 9-21): result, source and reason, their names, and when."""

    code: tuple[int, int, int]
    meaning: str
    when: str


REJECTIONS: Final = (
    Rejection(
        negotiation.REJECT_APPLICATION_CONTEXT,
        "permanent, service user, application context name not supported",
        "the application context is not DICOM's",
    ),
    Rejection(
        negotiation.REJECT_CALLING_AE,
        "permanent, service user, calling AE title not recognized",
        "no `[[peers]]` entry matches title and address, and `dicom.unknown_peers` is empty; or the entry that does "
        "has no services",
    ),
    Rejection(
        negotiation.REJECT_CALLED_AE,
        "permanent, service user, called AE title not recognized",
        "the called AE title is none of the node's",
    ),
    Rejection(
        negotiation.REJECT_IDENTITY,
        "permanent, service provider (ACSE), no reason given",
        "the caller's entry asks for a user identity, and it gave none, another, or one of a type that can't be "
        "checked",
    ),
    Rejection(
        negotiation.REJECT_PROTOCOL_VERSION,
        "permanent, service provider (ACSE), protocol version not supported",
        "bit 0 of the protocol version is not set",
    ),
    Rejection(
        negotiation.REJECT_CONGESTION,
        "transient, service provider (presentation), local limit exceeded",
        "`dicom.max_associations`, or `max_associations` of the caller's entry, are open; less than "
        "`objects.min_free_bytes` are free; or the node is stopping",
    ),
)


class Abort(NamedTuple):
    """An A-ABORT of the node (PS3.8 9.3.8, Table 9-26): source and reason, the reason's name, and when."""

    code: tuple[int, int]
    meaning: str
    when: str


_PROVIDER: Final = 2

ABORTS: Final = (
    Abort(
        (_PROVIDER, 0),
        "reason not specified",
        "a timeout passed, or a fault of the node ended the association",
    ),
    Abort((_PROVIDER, protocol.UNRECOGNIZED_PDU), "unrecognized PDU", "the first byte is no PDU type"),
    Abort(
        (_PROVIDER, protocol.UNEXPECTED_PDU),
        "unexpected PDU",
        "a PDU that does not belong in this state (PS3.8 Table 9-10)",
    ),
    Abort(
        (_PROVIDER, protocol.INVALID_PARAMETER),
        "invalid PDU parameter value",
        "a PDU longer than announced, or items, fragments or a command set that break PS3.8 or PS3.7",
    ),
)


class ContextResult(NamedTuple):
    """The answer to one proposed presentation context (PS3.8 Table 9-18)."""

    code: int
    meaning: str
    when: str


CONTEXT_RESULTS: Final = (
    ContextResult(0, "acceptance", "abstract syntax and one of the transfer syntaxes are supported"),
    ContextResult(1, "user rejection", "the requestor proposed not to be the SCU of this SOP Class"),
    ContextResult(3, "abstract syntax not supported", "none of the SOP Classes of this statement"),
    ContextResult(4, "transfer syntaxes not supported", "none of the proposed ones can be taken"),
)
