"""What a proposal came to is remembered, and what depends on the caller is not."""

from __future__ import annotations

import struct
import threading

import pytest

from node.association import negotiation
from node.association.negotiation import Accepted, Negotiator, Rejected
from node.errors import ProtocolError
from node.peers import Identity, Peer, Peers
from tests.scenarios.wire import CONTEXTS, CT, EXPLICIT, IMPLICIT, associate, item

STORE = frozenset(("store",))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The proposals that had to be decoded."""
    seen: list[bytes] = []
    decode = negotiation._decode

    def noted(pdu: bytes) -> object:
        seen.append(pdu)
        return decode(pdu)

    monkeypatch.setattr(negotiation, "_decode", noted)
    return seen


def negotiator(*peers: Peer) -> Negotiator:
    return Negotiator({"DICOMFHIR", "OTHER"}, Peers(peers, ["echo", "store"]), 131072)


def accepted(negotiator: Negotiator, pdu: bytes, number: int = 1) -> Accepted:
    answer = negotiator.answer(pdu, "10.0.0.1", number, lambda _: None)
    assert isinstance(answer, Accepted)
    return answer


def test_the_same_proposal_is_read_once_and_answered_the_same(decoded: list[bytes]) -> None:
    one = negotiator()
    first = accepted(one, associate())
    again = accepted(one, associate())
    assert len(decoded) == 1
    assert first == again


def test_titles_and_number_are_those_of_each_association(decoded: list[bytes]) -> None:
    one = negotiator()
    accepted(one, associate())
    other = accepted(one, associate(calling="CT2", called="OTHER"), number=7)
    assert len(decoded) == 1
    assert other.pdu[10:42] == b"OTHER".ljust(16) + b"CT2".ljust(16)
    context = other.contexts[1]
    assert (context.calling_ae, context.called_ae, context.association) == ("CT2", "OTHER", 7)
    fresh = accepted(negotiator(), associate(calling="CT2", called="OTHER"), number=7)
    assert other == fresh


@pytest.mark.parametrize(
    "other",
    [
        associate(contexts=((1, CT, (IMPLICIT,)),)),
        associate(contexts=((1, CT, (IMPLICIT, EXPLICIT)),)),
        associate(contexts=((3, CT, (EXPLICIT,)),)),
        associate(max_pdu=8192),
        associate(max_pdu=None),
        associate(user=item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1")),
    ],
)
def test_another_proposal_is_another_agreement(decoded: list[bytes], other: bytes) -> None:
    one = negotiator()
    accepted(one, associate(contexts=((1, CT, (EXPLICIT, IMPLICIT)),)))
    assert accepted(one, other) == accepted(negotiator(), other)
    assert len(decoded) == 3


def test_what_is_remembered_lets_nobody_in(decoded: list[bytes]) -> None:
    one = negotiator(Peer("SHUT", None, frozenset()), Peer("CT*", None, STORE))
    accepted(one, associate(calling="CT1"))
    for pdu, code in (
        (associate(calling="CT1", called="ELSEWHERE"), negotiation.REJECT_CALLED_AE),
        (associate(calling="SHUT"), negotiation.REJECT_CALLING_AE),
        (associate(calling="CT1", version=2), negotiation.REJECT_PROTOCOL_VERSION),
        (associate(calling="CT1", application="1.2.3"), negotiation.REJECT_APPLICATION_CONTEXT),
    ):
        answer = one.answer(pdu, "10.0.0.1", 1, lambda _: None)
        assert isinstance(answer, Rejected)
        assert tuple(answer.pdu[7:10]) == code
    full = one.answer(associate(calling="CT1"), "10.0.0.1", 1, lambda _: "full")
    assert isinstance(full, Rejected)
    assert full.why == "full"


def test_an_identity_is_checked_each_time(decoded: list[bytes]) -> None:
    known = Peer("CT1", None, STORE, identity=Identity("jane", "secret"))
    one = negotiator(known)
    user = item(0x58, b"\2\1" + struct.pack(">H", 4) + b"jane" + struct.pack(">H", 6) + b"secret")
    right = associate(calling="CT1", user=user)
    assert isinstance(one.answer(associate(calling="CT1"), "10.0.0.1", 1, lambda _: None), Rejected)
    accepted(one, associate(calling="CT2"))  # nobody in particular: remembered
    assert isinstance(one.answer(associate(calling="CT1"), "10.0.0.1", 1, lambda _: None), Rejected)
    told = accepted(one, right)
    assert item(0x59, b"\0\0") in told.pdu
    assert item(0x59, b"\0\0") not in accepted(one, associate(calling="CT2", user=user)).pdu
    assert accepted(one, right) == told
    assert len(decoded) == 6


def test_what_can_not_be_read_is_not_remembered(decoded: list[bytes]) -> None:
    one = negotiator()
    broken = associate()[:-3]
    for _ in range(2):
        with pytest.raises(ProtocolError):
            one.answer(broken, "10.0.0.1", 1, lambda _: None)
    assert len(decoded) == 2


def test_few_are_remembered_and_those_in_use_stay(decoded: list[bytes]) -> None:
    one = negotiator()
    usual = associate(contexts=CONTEXTS)
    for number in range(3 * negotiation._KEPT_AGREEMENTS):
        accepted(one, associate(max_pdu=16384 + number))
        accepted(one, usual)
    assert len(one._agreements._kept) == negotiation._KEPT_AGREEMENTS
    assert decoded.count(usual) == 1


def test_threads_may_agree_at_once() -> None:
    one = negotiator()
    pdus = [associate(max_pdu=16384 + number) for number in range(100)]
    failed: list[BaseException] = []

    def run() -> None:
        try:
            for number, pdu in enumerate(pdus):
                assert accepted(one, pdu).max_pdu == 16384 + number
        except BaseException as error:  # noqa: BLE001  told by the test
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failed == []
