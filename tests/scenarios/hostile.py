"""What a hostile or broken peer sends, and what it gets: tables for test_hostile.py."""

from __future__ import annotations

import random
import struct

from tests.scenarios import wire
from tests.scenarios.wire import (
    ABORT,
    CT,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    RELEASE,
    STORE,
    VERIFICATION,
    associate,
    echo_rq,
    element,
    item,
    message,
    p_data,
    pdu,
    pdv,
    request,
    store_rq,
)
from tests.studies import ct, encoded

JPEG = "1.2.840.10008.1.2.4.50"
COMMITMENT = "1.2.840.10008.1.20.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SUCCESS = "0x0000"
NOT_DICOM, UNEXPECTED, INVALID = "aborted 2/1", "aborted 2/2", "aborted 2/6"


def instance(name: str) -> str:
    """A UID of its own for each case."""
    return f"1.2.826.0.1.3680043.8.498.5.{int.from_bytes(name.encode(), 'big') % 10**15}"


def data_set(uid: str, size: int = 0) -> bytes:
    """A CT object in explicit VR little endian, with ``size`` bytes of pixel data."""
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size) + bytes(size) if size else b""
    return encoded(ct(SOPInstanceUID=uid), EXPLICIT) + pixels


def corrupted(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


_REQUEST = associate()


def _with_unknown_items() -> bytes:
    return pdu(1, associate(user=item(0x77, b"abc"))[6:] + item(0x66, b"abc"))


_USER_IDENTITY = item(0x58, b"\x02\x01\0\x01u\0\x01p")
_USER_IDENTITY_OVERRUN = item(0x58, struct.pack(">BBH", 2, 1, 60000) + b"u")
_NAMELESS = item(0x20, bytes((1, 0, 0, 0)) + item(0x40, IMPLICIT.encode()))

# What a stranger sends first, and what comes back.
OPENINGS: dict[str, tuple[bytes, str]] = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", NOT_DICOM),
    "noise": (b"\xff" + random.Random(1).randbytes(4096), NOT_DICOM),
    "TLS hello to a plain port": (bytes.fromhex("16030100c8010000c40303") + bytes(200), NOT_DICOM),
    "unknown PDU type": (pdu(0x42, b"abcd"), NOT_DICOM),
    "PDU type 0": (pdu(0, b""), NOT_DICOM),
    "A-ASSOCIATE-RQ of 4 GB": (b"\x01\0\xff\xff\xff\xff" + bytes(200), INVALID),
    "A-ASSOCIATE-RQ of 10 bytes": (pdu(1, b"\0\x01" + bytes(8)), INVALID),
    "A-ASSOCIATE-RQ of nothing": (pdu(1, b""), INVALID),
    "A-ASSOCIATE-AC": (pdu(2, bytes(80)), UNEXPECTED),
    "A-ASSOCIATE-RJ": (pdu(3, bytes(4)), UNEXPECTED),
    "P-DATA before negotiation": (p_data(pdv(1, b"abcd", command=True)), UNEXPECTED),
    "release before negotiation": (RELEASE, UNEXPECTED),
    "release answer nobody waits for": (pdu(6, bytes(4)), UNEXPECTED),
    "abort before negotiation": (ABORT, "closed"),
    "abort of 4 GB": (b"\x07\0\xff\xff\xff\xff", INVALID),
    "abort without its fields": (pdu(7, b""), INVALID),
    "wrong called AE title": (associate(called="NOTME"), "rejected 1/1/7"),
    "called AE title in small letters": (associate(called="dicomfhir"), "rejected 1/1/7"),
    "blank AE titles": (associate(calling="", called=""), "rejected 1/1/7"),
    "blank calling AE title": (associate(calling=""), "accepted 1:0 3:0"),
    "controls in an AE title": (associate(calling="A\\\r\n\x1b[31m"), "accepted 1:0 3:0"),
    "bytes above ASCII in an AE title": (associate(calling=b"\xff\xfe\x80"), "accepted 1:0 3:0"),
    "protocol version 2": (associate(version=2), "rejected 1/2/2"),
    "other application context": (associate(application="1.2.840.10008.3.1.1.9"), "rejected 1/1/2"),
    "no presentation context": (associate([]), "accepted "),
    "private abstract syntax": (associate([(1, "1.2.3.4.5", [IMPLICIT])]), "accepted 1:0"),
    "unsupported abstract syntax": (associate([(1, COMMITMENT, [IMPLICIT])]), "accepted 1:3"),
    "abstract syntax that is no UID": (associate([(1, "1.2.x", [IMPLICIT])]), "accepted 1:3"),
    "unknown transfer syntax for storage": (associate([(1, CT, ["1.2.3.4.5"])]), "accepted 1:0"),
    "C-ECHO in JPEG": (associate([(1, VERIFICATION, [JPEG])]), "accepted 1:4"),
    "even context id": (associate([(2, VERIFICATION, [IMPLICIT])]), INVALID),
    "context id twice": (associate([(1, VERIFICATION, [IMPLICIT]), (1, CT, [EXPLICIT])]), INVALID),
    "128 contexts": (
        associate([(n, VERIFICATION, [IMPLICIT]) for n in range(1, 256, 2)]),
        "accepted " + " ".join(f"{n}:0" for n in range(1, 256, 2)),
    ),
    "5,000 contexts": (
        associate([((2 * n + 1) % 256, VERIFICATION, [IMPLICIT]) for n in range(5000)]), INVALID,
    ),
    "context without transfer syntax": (associate([(1, VERIFICATION, [])]), INVALID),
    "context without abstract syntax": (pdu(1, associate([])[6:] + _NAMELESS), INVALID),
    "context with an empty abstract syntax": (associate([(1, "", [IMPLICIT])]), INVALID),
    "item longer than its PDU": (corrupted(_REQUEST, _REQUEST.index(b"\x20\0", 74) + 2, b"\xff\xff"), INVALID),
    "no maximum length": (associate(max_pdu=None), "accepted 1:0 3:0"),
    "user identity": (associate(user=_USER_IDENTITY), "accepted 1:0 3:0"),
    "user identity longer than its item": (associate(user=_USER_IDENTITY_OVERRUN), "accepted 1:0 3:0"),
    "items that nobody knows": (_with_unknown_items(), "accepted 1:0 3:0"),
    "any number of operations at a time": (associate(user=item(0x53, bytes(4))), "accepted 1:0 3:0"),
    "30,000 empty items": (pdu(1, _REQUEST[6:] + bytes(30_000 * 4)), "accepted 1:0 3:0"),
}  # fmt: skip


def in_data_set(*then: bytes) -> bytes:
    """A C-STORE whose data set has begun, and what comes ``then``."""
    begun = p_data(pdv(STORE, store_rq("1.2.3"), command=True)), p_data(pdv(STORE, bytes(500), last=False))
    return b"".join((*begun, *then))


_ECHO_COMMAND = pdv(ECHO, echo_rq(), command=True)
_NO_FIELD = wire.command(element(0x0002, wire.uid(VERIFICATION)), element(0x0110, 1), element(0x0800, 0x0101))
_LONG_LENGTH = corrupted(echo_rq(), 16, b"\xff\xff\xff\x7f")

# What an established association sends, and how it ends.
BREACHES: dict[str, tuple[bytes, str]] = {
    "second A-ASSOCIATE-RQ": (associate(), UNEXPECTED),
    "A-ASSOCIATE-AC": (pdu(2, bytes(80)), UNEXPECTED),
    "release answer nobody waits for": (pdu(6, bytes(4)), UNEXPECTED),
    "unknown PDU type": (pdu(0x42, b"abcd"), NOT_DICOM),
    "unknown PDU type inside a data set": (in_data_set(pdu(0x42, b"abcd")), NOT_DICOM),
    "context that was not accepted": (p_data(pdv(99, echo_rq(), command=True)), INVALID),
    "P-DATA of nothing": (pdu(4, b""), INVALID),
    "PDV of length 0": (pdu(4, struct.pack(">I", 0)), INVALID),
    "PDV of length 0 in a longer PDU": (pdu(4, bytes(12)), INVALID),
    "PDV of length 1": (pdu(4, struct.pack(">IBB", 1, 3, 0)), INVALID),
    "PDV without a value": (p_data(pdv(ECHO, b"", command=True, last=False)), INVALID),
    "PDV longer than its PDU": (pdu(4, struct.pack(">IBB", 5000, 3, 3) + b"abcd"), INVALID),
    "PDU that ends inside a PDV header": (pdu(4, _ECHO_COMMAND + b"\0\0\0"), INVALID),
    "PDU longer than announced": (in_data_set(p_data(pdv(STORE, bytes(231_072), last=False))), INVALID),
    "PDU of 4 GB": (in_data_set(struct.pack(">BxIIBB", 4, 0xFFFFFFF0, 0xFFFFFFEC, 1, 0) + bytes(5000)), INVALID),
    "data set without its command": (p_data(pdv(STORE, bytes(1000))), INVALID),
    "noise as command": (p_data(pdv(ECHO, random.Random(2).randbytes(200), command=True)), INVALID),
    "command without its field": (p_data(pdv(ECHO, _NO_FIELD, command=True)), INVALID),
    "command element of 2 GB": (p_data(pdv(ECHO, _LONG_LENGTH, command=True)), INVALID),
    "command that does not end": (p_data(pdv(ECHO, bytes(12_000), command=True, last=False)) * 80, INVALID),
    "unknown command": (p_data(pdv(ECHO, request(0x0777), command=True)), INVALID),
    "response as request": (p_data(pdv(ECHO, request(0x8030), command=True)), INVALID),
    "command inside a data set": (in_data_set(p_data(_ECHO_COMMAND)), INVALID),
    "one data set over two contexts": (in_data_set(p_data(pdv(ECHO, bytes(500)))), INVALID),
    "one command over two contexts": (
        p_data(pdv(ECHO, echo_rq()[:20], command=True, last=False), pdv(STORE, echo_rq()[20:], command=True)),
        INVALID,
    ),
    "release inside a data set": (in_data_set(RELEASE), UNEXPECTED),
    "abort inside a data set": (in_data_set(ABORT), "closed"),
}  # fmt: skip


def in_tiny_fragments(data: bytes) -> bytes:
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
    return b"".join(p_data(pdv(STORE, piece, last=at == len(pieces))) for at, piece in enumerate(pieces, 1))


def stored_with(uid: str, *parts: bytes) -> bytes:
    return p_data(pdv(STORE, store_rq(uid), command=True)) + b"".join(parts)


def _odd_messages() -> dict[str, tuple[bytes, str]]:
    uids = {name: instance(name) for name in ("tiny", "one", "empty", "wrong", "no-store", "ab", "half")}
    echo = echo_rq()
    data = {name: data_set(uid) for name, uid in uids.items()}
    half = data["half"][:2000]
    return {
        "cancel without a query": (message(ECHO, wire.cancel_rq(7)) + message(ECHO, echo), SUCCESS),
        "cancel that claims a data set": (message(ECHO, wire.cancel_rq(7, 1)) + message(ECHO, echo), SUCCESS),
        "C-ECHO with a data set": (message(ECHO, request(0x0030, data=True), bytes(100)), SUCCESS),
        "C-GET": (message(ECHO, request(0x0010)), "0x0211"),
        "C-MOVE with identifier": (message(ECHO, request(0x0021, data=True), bytes(10)), "0x0211"),
        "N-CREATE": (message(ECHO, request(0x0140)), "0x0211"),
        "C-FIND that was not negotiated": (
            message(ECHO, request(0x0020, data=True, sop_class=wire.STUDY_FIND), bytes(10)), "0xA900",
        ),
        "C-STORE without a data set": (message(STORE, store_rq("1.2.3", data=False)), "0xC000"),
        "C-STORE of another class than its data set": (
            message(STORE, store_rq(uids["wrong"], sop_class=SECONDARY_CAPTURE), data["wrong"]), "0xA900",
        ),
        "C-STORE of another instance than its data set": (
            message(STORE, store_rq("1.2.3.4"), data["wrong"]), "0xA900",
        ),
        "C-STORE on a context for C-ECHO": (message(ECHO, store_rq(uids["no-store"]), data["no-store"]), "0x0122"),
        "C-STORE of zeros": (message(STORE, store_rq("1.2.3"), bytes(50_000)), "0xC000"),
        "C-STORE of noise": (message(STORE, store_rq("1.2.3"), random.Random(3).randbytes(50_000)), "0xC000"),
        "C-STORE of an empty data set": (stored_with("1.2.3", p_data(pdv(STORE, b""))), "0xC000"),
        "C-STORE of a header cut short": (message(STORE, store_rq(uids["half"]), half[:300]), "0xC000"),
        "fragments of 7 bytes": (stored_with(uids["tiny"], in_tiny_fragments(data["tiny"])), SUCCESS),
        "command and data set in one PDU": (
            p_data(pdv(STORE, store_rq(uids["one"]), command=True), pdv(STORE, data["one"])), SUCCESS,
        ),
        "three fragments of a command in one PDU": (
            p_data(
                pdv(ECHO, echo[:10], command=True, last=False),
                pdv(ECHO, echo[10:20], command=True, last=False),
                pdv(ECHO, echo[20:], command=True),
            ),
            SUCCESS,
        ),
        "empty last fragment": (
            stored_with(uids["empty"], p_data(pdv(STORE, data["empty"], last=False)), p_data(pdv(STORE, b""))),
            SUCCESS,
        ),
    }  # fmt: skip


ODD_MESSAGES = _odd_messages()
