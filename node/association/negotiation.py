"""Who may connect and for what: A-ASSOCIATE-RQ in, A-ASSOCIATE-AC or -RJ out (PS3.8 9.3.2 to 9.3.4, PS3.7 D).

The PDUs and the negotiation of contexts and roles are pynetdicom's; what is supported is decided here.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationVersionNameNotification,
    SCP_SCU_RoleSelectionNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from node.association import protocol
from node.errors import ProtocolError
from node.peers import Identity, Peer, Peers
from node.services import find
from node.services.base import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Context

VERIFICATION: Final = "1.2.840.10008.1.1"
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
DICOM_ROOT: Final = "1.2.840.10008."
STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
MAX_CONTEXTS: Final = 128  # odd ids 1 to 255, PS3.8 9.3.2.2
_KEPT_AGREEMENTS: Final = 64  # of 20 KB each at most

# Encodings of identifiers that the query service speaks, in the order in which the node prefers them
MESSAGE_SYNTAXES: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_ANY_TITLES: Final = b"ANY".ljust(16) * 2
_LEGAL_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")

# Items of an A-ASSOCIATE-RQ that the decoder knows (PS3.8 9.3.2, PS3.7 D.3.3)
_ITEM: Final = struct.Struct(">BxH")
_USER_INFORMATION: Final = 0x50
_ITEMS: Final = frozenset((0x10, 0x20, _USER_INFORMATION))
_USER_ITEMS: Final = frozenset(range(0x51, 0x5A))

# A-ASSOCIATE-RJ: (result, source, reason), PS3.8 Table 9-21
REJECT_CALLED_AE: Final = (1, 1, 7)
REJECT_CALLING_AE: Final = (1, 1, 3)
REJECT_APPLICATION_CONTEXT: Final = (1, 1, 2)
REJECT_PROTOCOL_VERSION: Final = (1, 2, 2)
REJECT_CONGESTION: Final = (2, 3, 2)
# An authorisation failure is rejected-permanent by the service provider, ACSE related (PS3.7 D.3.3.7); of the
# reasons that has, "no reason given" is the one that does not name another fault
REJECT_IDENTITY: Final = (1, 2, 1)

# User Identity Types (PS3.7 Table D.3-14): those that can be checked against a configuration, and the others
_USERNAME: Final = 1
_USERNAME_AND_PASSCODE: Final = 2
_OTHER_IDENTITIES: Final = {3: "a Kerberos ticket", 4: "a SAML assertion", 5: "a JSON web token"}

# Every class that PS3.6 Table A-1 knows as storage, retired ones included
STORAGE_CLASSES: Final = frozenset(
    uid
    for uid, (name, kind, *_rest) in UID_dictionary.items()
    if kind == "SOP Class" and "Storage" in name and "Commitment" not in name and "Media" not in name
)


@dataclass(frozen=True, slots=True)
class Rejected:
    """The A-ASSOCIATE-RJ to send, and why in words."""

    pdu: bytes
    why: str
    calling_ae: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The A-ASSOCIATE-AC to send, and what was agreed; ``max_pdu``: the peer's longest PDU (0: any)."""

    pdu: bytes
    calling_ae: str
    called_ae: str
    peer: Peer
    contexts: dict[int, Context]
    max_pdu: int


@lru_cache(maxsize=1024)  # asked for every object; callers choose the classes, so it is bounded
def is_storage(abstract_syntax: str) -> bool:
    """Standard storage classes, retired ones too, and every private class: what a private one means is the
    sender's business, its bytes are kept like any other's."""
    if not _LEGAL_UID.fullmatch(abstract_syntax) or len(abstract_syntax) > 64:
        return False
    if abstract_syntax in UID_dictionary:
        return abstract_syntax in STORAGE_CLASSES
    # A class newer than the dictionary: the standard gives storage classes numbers under this root.
    return abstract_syntax.startswith(STORAGE_ROOT) or not abstract_syntax.startswith(DICOM_ROOT)


@dataclass(frozen=True, slots=True)
class _Agreement:
    """What a proposal comes to, whoever makes it: the A-ASSOCIATE-AC but for its titles, the accepted contexts as
    (id, abstract syntax, transfer syntax), and the peer's longest PDU."""

    pdu: bytes
    contexts: tuple[tuple[int, str, str], ...]
    max_pdu: int


class _Agreements:
    """The newest agreements, by a digest of what was proposed.

    Devices propose the same with each association. To read a proposal and to answer it takes the decoder a quarter
    of a millisecond with one context and twenty with 128; a digest takes a few microseconds, and keeps nothing of
    the proposal.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, _Agreement] = {}
        self._lock = threading.Lock()

    @staticmethod
    def digest(pdu: bytes) -> bytes:
        """Of everything in an A-ASSOCIATE-RQ but the AE titles."""
        return hashlib.sha256(pdu[:10] + pdu[42:]).digest()

    def find(self, digest: bytes) -> _Agreement | None:
        return self._kept.get(digest)

    def keep(self, digest: bytes, agreement: _Agreement) -> None:
        with self._lock:
            self._kept.pop(digest, None)
            self._kept[digest] = agreement
            if len(self._kept) > _KEPT_AGREEMENTS:
                del self._kept[next(iter(self._kept))]


def _accepted(
    agreement: _Agreement, pdu: bytes, titles: tuple[str, str], peer: Peer, number: int
) -> Accepted:
    """The answer to ``pdu`` by an agreement; ``titles``: called and calling AE title."""
    return Accepted(
        # Titles are sent back as they came, PS3.8 Table 9-17
        pdu=agreement.pdu[:10] + pdu[10:42] + agreement.pdu[42:],
        calling_ae=titles[1],
        called_ae=titles[0],
        peer=peer,
        contexts={
            id: Context(id, abstract, transfer, titles[1], titles[0], number)
            for id, abstract, transfer in agreement.contexts
        },
        max_pdu=agreement.max_pdu,
    )


class Negotiator:
    """The node's side of every negotiation."""

    def __init__(self, ae_titles: Collection[str], peers: Peers, max_pdu: int) -> None:
        self._ae_titles = frozenset(ae_titles)
        self._peers = peers
        self._max_pdu = max_pdu
        self._agreements = _Agreements()

    def answer(
        self, pdu: bytes, address: str, number: int, admit: Callable[[Peer], str | None]
    ) -> Accepted | Rejected:
        """Decide on one A-ASSOCIATE-RQ; ``admit`` counts the peer's association in, or says why not now.

        Raises ``ProtocolError`` when the PDU can't be read.
        """
        if len(pdu) < 74:
            raise ProtocolError(
                "A-ASSOCIATE-RQ shorter than its fixed fields", reason=protocol.INVALID_PARAMETER
            )
        version, called, calling = struct.unpack_from(">H2x16s16s", pdu, 6)
        called_ae, calling_ae = _ae_title(called), _ae_title(calling)
        peer = self._peers.find(calling_ae, address)
        if not version & 1:
            return _rejected(REJECT_PROTOCOL_VERSION, f"protocol version 0x{version:04X}", calling_ae)
        # Who must identify itself is looked at anew each time.
        digest = None if peer.identity is not None else _Agreements.digest(pdu)
        agreement = self._agreements.find(digest) if digest else None
        request = None if agreement else _decode(pdu)
        if request is not None and request.application_context_name != APPLICATION_CONTEXT:
            return _rejected(REJECT_APPLICATION_CONTEXT, "application context name", calling_ae)
        if called_ae not in self._ae_titles:
            return _rejected(REJECT_CALLED_AE, f"called AE title {called_ae!r} is not ours", calling_ae)
        if not peer.services:
            return _rejected(REJECT_CALLING_AE, f"no [[peers]] entry lets {calling_ae!r} in", calling_ae)
        if peer.identity is not None:
            assert request is not None  # it is never remembered
            stranger = _stranger(peer.identity, _identities(request))
            if stranger:
                return _rejected(REJECT_IDENTITY, f"{calling_ae!r} {stranger}", calling_ae)
        congestion = admit(peer)
        if congestion:
            return _rejected(REJECT_CONGESTION, congestion, calling_ae)
        if agreement is None:
            assert request is not None
            agreement = self._agree(request, peer)
        if digest:
            self._agreements.keep(digest, agreement)
        return _accepted(agreement, pdu, (called_ae, calling_ae), peer, number)

    def _agree(self, request: A_ASSOCIATE, peer: Peer) -> _Agreement:
        roles = {
            item.sop_class_uid: (item.scu_role, item.scp_role)
            for item in request.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid is not None
        }
        results, role_items = _negotiate(request.presentation_context_definition_list, roles)
        return _Agreement(
            pdu=self._encode(results, [*role_items, *_identified(request, peer)]),
            contexts=tuple(
                (result.context_id, str(result.abstract_syntax), str(result.transfer_syntax[0]))
                for result in results
                if result.result == 0x00 and result.context_id is not None
            ),
            max_pdu=_peer_max_pdu(request.maximum_length_received),
        )

    def _encode(self, results: list[PresentationContext], user_items: list[Any]) -> bytes:
        answer = A_ASSOCIATE()
        answer.application_context_name = UID(APPLICATION_CONTEXT)
        answer.calling_ae_title = answer.called_ae_title = "ANY"
        answer.result = 0x00
        answer.result_source = 0x01
        answer.presentation_context_definition_results_list = results
        answer.maximum_length_received = self._max_pdu
        answer.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        answer.user_information += [version, *user_items]
        encoded = A_ASSOCIATE_AC()
        encoded.from_primitive(answer)
        pdu: bytes = encoded.encode()
        return pdu


def _peer_max_pdu(announced: int | None) -> int:
    """What may be sent to the peer; less than a PDV header and 64 bytes can't carry an answer sensibly."""
    if not announced:
        return 0
    return max(announced, 70)


def _identities(request: A_ASSOCIATE) -> list[UserIdentityNegotiation]:
    return [item for item in request.user_information if isinstance(item, UserIdentityNegotiation)]


def _stranger(wanted: Identity, offered: list[UserIdentityNegotiation]) -> str | None:
    """Why the caller is not whom its [[peers]] entry names, without a word of what it said; None: it is."""
    if len(offered) != 1:
        return "gives no user identity" if not offered else "gives more than one user identity"
    kind = offered[0].user_identity_type
    if kind not in (_USERNAME, _USERNAME_AND_PASSCODE):
        return f"identifies itself by {_OTHER_IDENTITIES.get(kind or 0, 'what is unknown')}, not by username"
    passcode = offered[0].secondary_field if kind == _USERNAME_AND_PASSCODE else None
    if wanted.password is not None and passcode is None:
        return "gives a username without its password"
    if not wanted.matches(offered[0].primary_field or b"", passcode):
        return "gives another username or password than its [[peers]] entry"
    return None


def _identified(request: A_ASSOCIATE, peer: Peer) -> list[UserIdentityNegotiation]:
    """The positive response, where an identity was checked and the caller wants to be told (PS3.7 D.3.3.7.2).

    An identity that nobody checked gets none: the caller may then decide that this is not enough.
    """
    if peer.identity is None or not any(one.positive_response_requested for one in _identities(request)):
        return []
    response = UserIdentityNegotiation()
    response.server_response = b""  # of length zero for usernames, Table D.3-15
    return [response]


def _negotiate(
    proposed: list[PresentationContext], roles: dict[UID, tuple[bool | None, bool | None]]
) -> tuple[list[PresentationContext], list[Any]]:
    """Each context on its own, so that the sender's order of transfer syntaxes counts in each."""
    results: list[PresentationContext] = []
    role_items: dict[str, Any] = {}
    for context in proposed:
        answered, items = negotiate_as_acceptor([context], _supported(context), roles)
        results += answered
        role_items.update((str(item.sop_class_uid), item) for item in items)
    return results, list(role_items.values())


def _supported(proposed: PresentationContext) -> list[PresentationContext]:
    """What pynetdicom may accept of one context: a storage class in whatever transfer syntax the sender names
    first, because the bytes are kept as sent."""
    abstract = str(proposed.abstract_syntax)
    if abstract == VERIFICATION or abstract in find.MODELS:
        return [_context(abstract, MESSAGE_SYNTAXES)]
    if is_storage(abstract):
        legal = [str(uid) for uid in proposed.transfer_syntax if _LEGAL_UID.fullmatch(str(uid))]
        return [_context(abstract, legal)]
    return []


def _context(abstract_syntax: str, transfer_syntaxes: Collection[str]) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = UID(abstract_syntax)
    for uid in transfer_syntaxes:
        context.add_transfer_syntax(uid)
    # As an acceptor we are the SCP only; a proposed SCP role (C-GET) is answered with 0.
    context.scu_role, context.scp_role = True, False
    return context


def _decode(pdu: bytes) -> A_ASSOCIATE:
    request = A_ASSOCIATE_RQ()
    try:
        # Titles are read by _ae_title; the decoder refuses those that are blank or hold control characters.
        request.decode(pdu[:10] + _ANY_TITLES + pdu[42:74] + _known(pdu[74:], _ITEMS))
        primitive = request.to_primitive()
        contexts = primitive.presentation_context_definition_list
    except ProtocolError:
        raise
    except Exception as error:  # the decoder meets bytes it was not made for in many ways
        raise ProtocolError(
            f"A-ASSOCIATE-RQ can't be decoded: {type(error).__name__}", reason=protocol.INVALID_PARAMETER
        ) from error
    ids = [context.context_id for context in contexts]
    if (
        len(ids) > MAX_CONTEXTS
        or len(set(ids)) != len(ids)
        or any(number is None or number % 2 == 0 for number in ids)
    ):
        raise ProtocolError(
            "presentation context ids must be odd and different, 128 at most",
            reason=protocol.INVALID_PARAMETER,
        )
    if not all(context.abstract_syntax and context.transfer_syntax for context in contexts):
        raise ProtocolError(
            "a presentation context proposes no abstract or no transfer syntax",
            reason=protocol.INVALID_PARAMETER,
        )
    return primitive


def _known(items: bytes, kinds: Collection[int]) -> bytes:
    """Variable items without those of other ``kinds``, which are to be ignored (PS3.8 9.3.1, PS3.7 D.3.3)."""
    kept, at = [], 0
    while at + _ITEM.size <= len(items):
        kind, length = _ITEM.unpack_from(items, at)
        at += _ITEM.size
        if length > len(items) - at:
            raise ProtocolError(f"item 0x{kind:02X} overruns its PDU", reason=protocol.INVALID_PARAMETER)
        if kind in kinds:
            value = items[at : at + length]
            if kind == _USER_INFORMATION:
                value = _known(value, _USER_ITEMS)
            kept.append(_ITEM.pack(kind, len(value)) + value)
        at += length
    return b"".join(kept)


def _ae_title(raw: bytes) -> str:
    """Spaces around an AE title don't count (PS3.5 6.2); what is not printable ASCII is shown as ``?``."""
    return "".join(chr(b) if 0x20 <= b < 0x7F else "?" for b in raw.strip(b" \0"))


def _rejected(code: tuple[int, int, int], why: str, calling_ae: str) -> Rejected:
    return Rejected(protocol.reject(*code), why, calling_ae)
