"""Who may connect, and for what: decisions on single A-ASSOCIATE-RQs, read back by pynetdicom."""

from __future__ import annotations

import struct
from ipaddress import ip_network

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import AllTransferSyntaxes
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from node.association.negotiation import Accepted, Negotiator, Rejected, is_storage
from node.errors import ProtocolError
from node.peers import Identity, Peer, Peers
from tests.scenarios.wire import CT, EXPLICIT, IMPLICIT, VERIFICATION, Contexts, associate, item, pdu

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")

BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
HOSPITAL = Peer("CT*", ip_network("10.0.0.0/8"), frozenset(("echo", "store")))


def negotiator(*peers: Peer, unknown: tuple[str, ...] = ("echo",)) -> Negotiator:
    return Negotiator(["DICOMFHIR", "ALIAS"], Peers(peers, unknown), 131_072)


def accepted(request: bytes) -> Accepted:
    answer = negotiator().answer(request, "127.0.0.1", 7, lambda _peer: None)
    assert isinstance(answer, Accepted), answer
    return answer


def results(answer: Accepted) -> dict[int, tuple[int, str]]:
    """Context id -> (result, transfer syntax) as the peer reads them."""
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer.pdu)
    return {
        context.presentation_context_id or 0: (int(context.result or 0), str(context.transfer_syntax or ""))
        for context in decoded.presentation_context
    }


def refused(request: bytes, *peers: Peer, address: str = "127.0.0.1", **more: object) -> Rejected:
    answer = negotiator(*peers, unknown=more.get("unknown", ())).answer(  # type: ignore[arg-type]
        request, address, 7, lambda _peer: str(more.get("congestion", "")) or None
    )
    assert isinstance(answer, Rejected), answer
    return answer


CONTEXTS: dict[str, tuple[Contexts, dict[int, tuple[int, str]]]] = {
    "first in the sender's order": ([(1, CT, [JPEG, EXPLICIT, IMPLICIT])], {1: (0, JPEG)}),
    "each context has its own order": (
        [(1, CT, [EXPLICIT, JPEG]), (3, CT, [JPEG, EXPLICIT])], {1: (0, EXPLICIT), 3: (0, JPEG)},
    ),
    "one context a syntax": (
        [(5, CT, [BIG]), (9, CT, ["1.2.840.113619.5.2"])], {5: (0, BIG), 9: (0, "1.2.840.113619.5.2")},
    ),
    "syntax that is no UID is passed over": ([(1, CT, ["1.2.x", IMPLICIT])], {1: (0, IMPLICIT)}),
    "only a syntax that is no UID": ([(1, CT, ["1.2.x"])], {1: (4, "")}),
    "C-ECHO natively": ([(1, VERIFICATION, [JPEG, EXPLICIT])], {1: (0, EXPLICIT)}),
    "C-ECHO in JPEG alone": ([(1, VERIFICATION, [JPEG])], {1: (4, "")}),
    "C-FIND in big endian": ([(1, PATIENT_FIND, [BIG])], {1: (0, BIG)}),
    "C-MOVE": ([(1, STUDY_MOVE, [IMPLICIT])], {1: (3, "")}),
    "private class": ([(1, "1.3.12.2.1107.5.9.1", [EXPLICIT])], {1: (0, EXPLICIT)}),
    "UIDs padded by the sender": ([(1, CT + "\0", [EXPLICIT + "\0"])], {1: (0, EXPLICIT)}),
    "none": ([], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts(name: str) -> None:
    proposed, expected = CONTEXTS[name]
    answer = accepted(associate(proposed))
    found = results(answer)
    assert {number: found[number][0] for number in found} == {
        number: expected[number][0] for number in expected
    }
    agreed = {number: value for number, value in expected.items() if value[0] == 0}
    assert {number: (0, context.transfer_syntax) for number, context in answer.contexts.items()} == agreed
    assert {number: found[number] for number in agreed} == agreed


def test_every_transfer_syntax_for_storage() -> None:
    proposed = [(2 * at + 1, CT, [str(uid)]) for at, uid in enumerate(AllTransferSyntaxes)]
    answer = accepted(associate(proposed))
    assert [context.transfer_syntax for context in answer.contexts.values()] == [
        str(uid) for uid in AllTransferSyntaxes
    ]


def test_every_storage_class_of_the_standard() -> None:
    """The dictionary's names tell which they are; retired ones too. Queries and commitment are none."""
    for uid, (name, kind, *_rest) in UID_dictionary.items():
        if kind != "SOP Class":
            continue
        expected = "Storage" in name and not name.startswith(("Storage Commitment", "Media Storage"))
        if uid.startswith("1.2.840.10008."):
            assert is_storage(uid) == expected, (uid, name)


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        ("1.2.840.10008.5.1.4.1.1.999.1", True),  # newer than the dictionary
        ("1.2.840.10008.9.9.9", False),
        ("1.2.840.113619.4.26", True),
        ("1.2." + "3" * 61, False),
        ("1.2.a", False),
        ("", False),
        ("1..2", False),
    ],
)
def test_is_storage(uid: str, expected: bool) -> None:
    assert is_storage(uid) is expected


REJECTIONS = {
    "called AE title": (associate(called="OTHER"), {"unknown": ("echo",)}, (1, 1, 7)),
    "unknown caller": (associate(), {}, (1, 1, 3)),
    "known title from elsewhere": (associate(calling="CT1"), {"address": "192.168.0.1"}, (1, 1, 3)),
    "application context": (associate(application="1.2.3"), {"unknown": ("echo",)}, (1, 1, 2)),
    "protocol version": (associate(version=6), {"unknown": ("echo",)}, (1, 2, 2)),
    "congestion": (associate(), {"unknown": ("echo",), "congestion": "disk low"}, (2, 3, 2)),
}


@pytest.mark.parametrize("name", REJECTIONS)
def test_rejection(name: str) -> None:
    request, more, expected = REJECTIONS[name]
    answer = refused(request, HOSPITAL, **more)  # type: ignore[arg-type]
    assert struct.unpack(">BxIxBBB", answer.pdu) == (3, 4, *expected)


def test_rejected_callers_are_not_counted_in() -> None:
    def admit(_peer: Peer) -> str | None:
        raise AssertionError("asked for room before the caller was known")

    answer = negotiator(unknown=()).answer(associate(), "127.0.0.1", 7, admit)
    assert isinstance(answer, Rejected)


def test_what_was_agreed() -> None:
    tested = negotiator(HOSPITAL)
    request = associate(calling=" CT7 ", called="ALIAS", version=0x8001)
    answer = tested.answer(request, "10.1.2.3", 7, lambda _peer: None)
    assert isinstance(answer, Accepted)
    assert (answer.calling_ae, answer.called_ae, answer.peer) == ("CT7", "ALIAS", HOSPITAL)
    assert answer.pdu[10:42] == request[10:42]  # titles go back as they came
    context = answer.contexts[1]
    assert (context.abstract_syntax, context.calling_ae, context.association) == (CT, "CT7", 7)
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer.pdu)
    assert decoded.user_information is not None
    assert decoded.user_information.maximum_length == 131_072


@pytest.mark.parametrize(("announced", "used"), [(16384, 16384), (0, 0), (None, 0), (7, 70), (70, 70)])
def test_peers_maximum_length(announced: int | None, used: int) -> None:
    assert accepted(associate(max_pdu=announced)).max_pdu == used


def test_controls_in_titles_are_shown_as_question_marks() -> None:
    assert accepted(associate(calling="A\r\n\x1b[31m")).calling_ae == "A???[31m"


def test_role_selection_leaves_the_node_the_scp() -> None:
    role = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1")
    decoded = A_ASSOCIATE_AC()
    decoded.decode(accepted(associate(user=role)).pdu)
    answered = [
        (entry.scu_role, entry.scp_role)
        for entry in decoded.to_primitive().user_information
        if isinstance(entry, SCP_SCU_RoleSelectionNegotiation)
    ]
    assert answered == [(True, False)]


def test_unknown_items_are_ignored() -> None:
    request = pdu(1, associate(user=item(0x7F, b"abc"))[6:] + item(0x66, b"x"))
    assert results(accepted(request)) == results(accepted(associate()))


UNREADABLE = {
    "short": pdu(1, bytes(60)),
    "even context id": associate([(2, CT, [EXPLICIT])]),
    "context id 0": associate([(0, CT, [EXPLICIT])]),
    "context id twice": associate([(1, CT, [EXPLICIT]), (1, CT, [IMPLICIT])]),
    "129 contexts": associate([(1, CT, [EXPLICIT])] * 129),
    "no transfer syntax": associate([(1, CT, [])]),
    "UID of 65": associate([(1, "1." + "2" * 63, [EXPLICIT])]),
    "item overrun": pdu(1, associate()[6:] + b"\x50\0\0\x09abc"),
    "sub-item overrun": associate(user=b"\x51\0\0\x09abc"),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.filterwarnings("ignore:The value length:UserWarning")
def test_unreadable(name: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        negotiator().answer(UNREADABLE[name], "127.0.0.1", 7, lambda _peer: None)
    assert caught.value.reason == 6


ANNA = Peer("LOCKED", identity=Identity("anna", "s\u00e9same"))


@pytest.mark.parametrize(
    ("username", "passcode", "expected"),
    [
        (b"anna", "s\u00e9same".encode(), True),
        (b"anna", "s\u00e9same".encode("latin-1"), False),
        (b"anna", b"", False),
        (b"anna", None, False),
        (b"ann", "as\u00e9same".encode(), False),
        (b"", "s\u00e9same".encode(), False),
        (b"\xff\xfe", b"\xff", False),
    ],
)
def test_identity_matches(username: bytes, passcode: bytes | None, expected: bool) -> None:
    assert ANNA.identity is not None
    assert ANNA.identity.matches(username, passcode) is expected
    assert "same" not in repr(ANNA)


def test_a_stranger_takes_no_place() -> None:
    """Whoever can't say who it is must not keep those out who can."""

    def admit(_peer: Peer) -> str | None:
        raise AssertionError("asked for room before the caller was known")

    answer = negotiator(ANNA).answer(associate(calling="LOCKED"), "127.0.0.1", 7, admit)
    assert isinstance(answer, Rejected)
    assert struct.unpack(">BxIxBBB", answer.pdu) == (3, 4, 1, 2, 1)
    assert answer.why == "'LOCKED' gives no user identity"
