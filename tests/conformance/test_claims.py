"""What the statement claims, against a running node: each status, rejection, abort and context is seen."""

from __future__ import annotations

import ast
import inspect
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from node import errors, header
from node.association import negotiation, receiver
from node.conformance import claims, statement
from node.errors import IndexUnavailable, NodeError
from node.index.search import Search
from node.objects.files import FileObjects
from node.services import dimse, echo, find, store
from node.services.base import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.services.send import SendOptions, send
from node.services.send.address import Address as SendTo
from tests.harness import LocalNode, Nodes, eventually, running_nodes
from tests.scenarios.sender import instance
from tests.scenarios.wire import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    VERIFICATION,
    Wire,
    associate,
    item,
    message,
    p_data,
    pdu,
    pdv,
    request,
    store_rq,
)
from tests.services.objects import files
from tests.studies import ct, encoded

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")

PEERS = [
    {"ae_title": "NOBODY", "services": []},
    {"ae_title": "MUTE", "services": ["store"]},
    {"ae_title": "DEAF", "services": ["echo"]},
    {"ae_title": "LOCKED", "username": "anna"},
    {"ae_title": "ONE", "max_associations": 1},
]
STORING, ECHOING, FINDING = 1, 3, 5
CONTEXTS = (
    (STORING, CT, (EXPLICIT,)),
    (ECHOING, VERIFICATION, (IMPLICIT,)),
    (FINDING, STUDY_FIND, (IMPLICIT,)),
)
STUDY = "1.2.826.0.1.3680043.8.498.41"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNode]:
    """A node with two studies that answers one match a query, in this process, where faults can be injected."""
    nodes = running_nodes(tmp_path_factory.mktemp("claims"))
    started = next(nodes).start(
        peers=json.dumps(PEERS),
        dicom__receivers="0",
        dicom__max_find_answers="1",
        objects__on_duplicate="reject",
        completion__quiet_seconds="3600",
    )
    for study in (STUDY, f"{STUDY}9"):
        uid = f"{study}.1"
        data = encoded(
            ct(SOPInstanceUID=uid, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.2"), EXPLICIT
        )
        assert ask(started, STORING, store_rq(uid), data) == 0x0000
    yield started
    next(nodes, None)


def ask(
    node: LocalNode,
    context: int,
    command: bytes,
    data: bytes = b"",
    calling: str = "TESTER",
    answers: int = 1,
) -> int:
    """The status of the last of ``answers`` to one request on an association of its own."""
    with Wire(node.port) as peer:
        assert peer.send(associate(CONTEXTS, calling=calling)).answer() == "accepted 1:0 3:0 5:0"
        peer.send(message(context, command, data))
        for _ in range(answers):
            response = peer.read_response()
    return int(struct.unpack("<H", response[0x0900])[0])


def put(uid: str, **changes: object) -> tuple[int, bytes, bytes]:
    return STORING, store_rq(uid), encoded(ct(SOPInstanceUID=uid, **changes), EXPLICIT)


def query(level: str = "STUDY", **keys: object) -> tuple[int, bytes, bytes]:
    asked = Dataset()
    if level:
        asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return FINDING, request(dimse.C_FIND_RQ, data=True, sop_class=STUDY_FIND), encoded(asked, IMPLICIT)


ECHO = (ECHOING, request(dimse.C_ECHO_RQ))
ONE = query(StudyInstanceUID=STUDY)


def failing(error: type[NodeError]) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error("made to fail")

    return fail


def no_space(patch: pytest.MonkeyPatch, node: LocalNode) -> int:
    """The disk fills up behind an association that is open."""
    with Wire(node.port) as peer:
        assert peer.send(associate(CONTEXTS)).answer() == "accepted 1:0 3:0 5:0"
        patch.setattr(FileObjects, "free_bytes", failing(errors.StorageError))
        # It was asked for the space a moment ago, and there was much
        return eventually(lambda: int(peer.send(message(*put(f"{STUDY}.7"))).status(), 16))


Seen = Callable[[pytest.MonkeyPatch, LocalNode], int]


def of(
    asked: tuple[int, bytes] | tuple[int, bytes, bytes], calling: str = "TESTER", answers: int = 1
) -> Seen:
    context, command, *data = asked
    return lambda _patch, node: ask(node, context, command, b"".join(data), calling, answers)


def broken(where: object, name: str, error: type[NodeError], asked: tuple[int, bytes, bytes]) -> Seen:
    def see(patch: pytest.MonkeyPatch, node: LocalNode) -> int:
        patch.setattr(where, name, failing(error))
        return ask(node, *asked)

    return see


NO_UID = encoded(ct(SOPInstanceUID=f"{STUDY}.5", StudyInstanceUID=None), EXPLICIT)

STATUSES: dict[tuple[str, int], Seen] = {
    ("C-ECHO", 0x0000): of(ECHO),
    ("C-ECHO", 0x0124): of(ECHO, calling="MUTE"),
    ("C-STORE", 0x0000): of(put(f"{STUDY}.3")),
    ("C-STORE", 0x0110): broken(header, "scan", NodeError, put(f"{STUDY}.4")),
    ("C-STORE", 0x0111): of(
        put(f"{STUDY}.1", StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.2", Rows=9)
    ),
    ("C-STORE", 0x0122): of((ECHOING, *put(f"{STUDY}.5")[1:])),
    ("C-STORE", 0x0124): of(put(f"{STUDY}.5"), calling="DEAF"),
    ("C-STORE", 0xA700): no_space,
    ("C-STORE", 0xA900): of((STORING, store_rq(f"{STUDY}.6"), put(f"{STUDY}.5")[2])),
    ("C-STORE", 0xC000): of((STORING, store_rq(f"{STUDY}.5"), NO_UID)),
    ("C-FIND", 0xFF00): of(ONE),
    ("C-FIND", 0xFF01): of(query(StudyInstanceUID=STUDY, PatientReligiousPreference="")),
    ("C-FIND", 0x0000): of(ONE, answers=2),
    ("C-FIND", 0xFE00): of(query(StudyInstanceUID=""), answers=2),
    ("C-FIND", 0x0110): broken(Search, "find", NodeError, ONE),
    ("C-FIND", 0x0124): of(ONE, calling="MUTE"),
    ("C-FIND", 0xA700): broken(Search, "find", IndexUnavailable, ONE),
    ("C-FIND", 0xA900): of(query(level="PATIENT")),
    ("C-FIND", 0xC000): of((*ONE[:2], b"\xff" * 20)),
    ("any other request", 0x0211): of((ECHOING, request(dimse.C_MOVE_RQ))),
}


@pytest.mark.parametrize(
    ("service", "code"), STATUSES, ids=lambda value: f"0x{value:04X}" if isinstance(value, int) else value
)
def test_status(node: LocalNode, monkeypatch: pytest.MonkeyPatch, service: str, code: int) -> None:
    assert STATUSES[service, code](monkeypatch, node) == code


def test_every_status_that_is_claimed_is_seen() -> None:
    claimed = [(service, row.code) for service, rows in claims.STATUSES.items() for row in rows]
    assert sorted(claimed) == sorted(STATUSES)


def test_every_status_that_can_be_answered_is_claimed() -> None:
    """Every ``Answer`` and ``Refused`` of the services is made of a constant, of a request's own status, or of a
    NodeError: all of them, and every error that can come that way, have a row."""
    found: set[int] = set()
    for module in (receiver, echo, store, find):
        for expression in status_expressions(module):
            if expression in ("error.status", "status", "request.pending"):
                continue  # an error's: below; a variable that holds one of the others
            found.add(eval(expression, vars(module)))
    found |= {dimse.PENDING, find.PENDING_UNSUPPORTED_KEYS}  # what request.pending is
    found |= {kind.status for kind in node_errors()}
    assert found == {row.code for rows in claims.STATUSES.values() for row in rows}


def status_expressions(module: ModuleType) -> Iterator[str]:
    for call in ast.walk(ast.parse(inspect.getsource(module))):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in ("Answer", "Refused")
        ):
            yield ast.unparse(call.args[0])


def node_errors(kind: type[NodeError] = NodeError) -> Iterator[type[NodeError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from node_errors(below)


# --- associations


def answered(node: LocalNode, request: bytes) -> str:
    with Wire(node.port) as peer:
        return peer.send(request).answer()


def second(node: LocalNode) -> str:
    with Wire(node.port) as peer:
        assert peer.send(associate(calling="ONE")).answer() == "accepted 1:0 3:0"
        return answered(node, associate(calling="ONE"))


REJECTIONS: dict[tuple[int, int, int], Callable[[LocalNode], str]] = {
    (1, 1, 2): lambda node: answered(node, associate(application="1.2.3")),
    (1, 1, 3): lambda node: answered(node, associate(calling="NOBODY")),
    (1, 1, 7): lambda node: answered(node, associate(called="OTHER")),
    (1, 2, 1): lambda node: answered(node, associate(calling="LOCKED")),
    (1, 2, 2): lambda node: answered(node, associate(version=2)),
    (2, 3, 2): second,
}


@pytest.mark.parametrize("claim", claims.REJECTIONS, ids=lambda claim: "/".join(map(str, claim.code)))
def test_rejection(node: LocalNode, claim: claims.Rejection) -> None:
    assert REJECTIONS[claim.code](node) == "rejected " + "/".join(map(str, claim.code))


ABORTS = {
    (2, 1): b"GET / HTTP/1.1\r\n",
    (2, 2): p_data(pdv(1, b"too early")),
    (2, 6): pdu(1, b"\0" * 20),
}


@pytest.mark.parametrize("code", ABORTS, ids=str)
def test_abort(node: LocalNode, code: tuple[int, int]) -> None:
    assert answered(node, ABORTS[code]) == "aborted {}/{}".format(*code)


def test_every_abort_that_is_claimed_is_seen() -> None:
    """2/0 comes with a timeout: below."""
    assert {claim.code for claim in claims.ABORTS} == {*ABORTS, (2, 0)}


def test_timeouts(nodes: Nodes) -> None:
    """Each of the three passes when the statement says, and not before."""
    node = nodes.start(
        dicom__receivers="0",
        dicom__timeouts__handshake="0.5",
        dicom__timeouts__idle="0.7",
        dicom__timeouts__transfer="0.6",
    )
    text = statement(node.node.config)
    half = p_data(pdv(ECHOING, b"\0", command=True, last=False))
    for sent, claimed, expected in (
        ((), "0.5", "aborted 2/0"),
        ((associate(CONTEXTS),), "0.7", "aborted 2/0"),
        ((associate(CONTEXTS), half), "0.6", "aborted 2/0"),
    ):
        assert f"| {claimed} s |" in text
        with Wire(node.port) as peer:
            for at, part in enumerate(sent):
                peer.send(part)
                if at == 0:
                    assert peer.answer() == "accepted 1:0 3:0 5:0"
            began = time.monotonic()
            assert peer.answer() == expected
            assert float(claimed) - 0.2 < time.monotonic() - began < float(claimed) + 10


def proposing(*contexts: tuple[str, list[str]]) -> AE:
    ae = AE(ae_title="TESTER")
    ae.requested_contexts = [build_context(abstract, syntaxes) for abstract, syntaxes in contexts]
    return ae


def established(node: LocalNode, ae: AE, extended: list[object] | None = None) -> Association:
    association = ae.associate("127.0.0.1", node.port, ae_title=node.ae_title, ext_neg=extended)  # type: ignore[arg-type]
    assert association.is_established
    return association


def released(association: Association) -> None:
    association.release()
    association.dul.join(10)


PRIVATE, PRIVATE_SYNTAX, JPEG = "1.3.12.2.1107.5.9.1", "1.2.840.113619.5.2", "1.2.840.10008.1.2.4.50"
NEWER = "1.2.840.10008.5.1.4.1.1.999.1"


def test_every_storage_class_in_any_transfer_syntax(node: LocalNode) -> None:
    """The first that is proposed; all classes of annex A, private ones, and those that are not known yet."""
    classes = sorted({*negotiation.STORAGE_CLASSES, PRIVATE, NEWER})
    for at in range(0, len(classes), negotiation.MAX_CONTEXTS):
        some = classes[at : at + negotiation.MAX_CONTEXTS]
        association = established(node, proposing(*((uid, [PRIVATE_SYNTAX, JPEG, EXPLICIT]) for uid in some)))
        agreed = {
            (str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts
        }
        released(association)
        assert agreed == {(uid, PRIVATE_SYNTAX) for uid in some}
        assert all(f"`{uid}`" in statement(node.node.config) for uid in some if uid not in (PRIVATE, NEWER))


def test_contexts_of_the_other_services(node: LocalNode) -> None:
    """The node's order counts; a syntax that is not claimed is refused, and so is a class that is not."""
    move = "1.2.840.10008.5.1.4.1.2.2.2"
    backwards = [*reversed(negotiation.MESSAGE_SYNTAXES)]
    supported = [VERIFICATION, *find.MODELS]
    association = established(
        node, proposing(*((uid, backwards) for uid in supported), (VERIFICATION, [JPEG]), (move, [IMPLICIT]))
    )
    agreed = {
        (str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts
    }
    refused = {(str(one.abstract_syntax), one.result) for one in association.rejected_contexts}
    released(association)
    assert agreed == {(uid, negotiation.MESSAGE_SYNTAXES[0]) for uid in supported}
    assert refused == {(VERIFICATION, 4), (move, 3)}


@pytest.mark.parametrize(
    ("scu", "scp", "result", "roles"),
    [(True, True, 0, (True, False)), (False, True, 1, None)],
    ids=["both", "scp"],
)
def test_roles(node: LocalNode, scu: bool, scp: bool, result: int, roles: tuple[bool, bool] | None) -> None:
    ae = proposing((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]))
    association = established(node, ae, [build_role(CT, scu_role=scu, scp_role=scp)])
    contexts = [*association.accepted_contexts, *association.rejected_contexts]
    (found,) = [one for one in contexts if one.abstract_syntax == CT]
    released(association)
    assert found.result == result
    assert roles is None or (found.as_scu, found.as_scp) == roles


def test_every_context_result_that_is_claimed_is_seen() -> None:
    assert {row.code for row in claims.CONTEXT_RESULTS} == {0, 1, 3, 4}


def test_who_the_node_is_and_what_it_does_not_negotiate(node: LocalNode) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    association = established(node, proposing((CT, [EXPLICIT])), [window])
    acceptor = association.acceptor
    assert acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert acceptor.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    assert acceptor.maximum_length == node.node.config.dicom.max_pdu
    answered = {type(one).__name__ for one in acceptor.user_information}
    released(association)
    assert answered == {
        "MaximumLengthNotification",
        "ImplementationClassUIDNotification",
        "ImplementationVersionNameNotification",
    }


def test_extended_negotiation_is_not_answered(node: LocalNode) -> None:
    uid = STUDY_FIND.encode()
    extended = item(0x56, struct.pack(">H", len(uid)) + uid + b"\1\1\1")
    with Wire(node.port) as peer:
        kind, body = peer.send(associate(CONTEXTS, user=extended)).read_pdu()
    assert kind == 2
    assert b"\1\1\1" not in body


def test_who_the_requestor_is(tmp_path: Path) -> None:
    """`send` names the same implementation, and one context for each pair of class and syntax."""
    files(tmp_path, 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = SendTo("ANY", *server.getsockname()[:2])
        sending = threading.Thread(target=send, args=([tmp_path], to, SendOptions(retries=0)))
        sending.start()
        peer, _ = server.accept()
        with peer:
            head = peer.recv(6, socket.MSG_WAITALL)
            body = peer.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)
        sending.join(20)
    proposed = A_ASSOCIATE_RQ()
    proposed.decode(head + body)
    primitive = proposed.to_primitive()
    assert primitive.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert primitive.maximum_length_received == 16384
    assert [str(one.abstract_syntax) for one in primitive.presentation_context_definition_list] == [CT]


def test_levels_and_unique_keys(node: LocalNode) -> None:
    """Every model answers at each level that it claims, with the unique keys down to it; others are 0xA900."""
    eventually(lambda: len(node.stored()) >= 2)
    ae = proposing(*((uid, [IMPLICIT]) for uid in find.MODELS))
    association = established(node, ae)
    for model, levels in find.MODELS.items():
        for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
            asked = Dataset()
            asked.QueryRetrieveLevel, asked.StudyInstanceUID = level, STUDY
            answers = list(association.send_c_find(asked, model))
            statuses = [answer.Status for answer, _ in answers]
            if level not in levels:
                assert statuses == [0xA900], (model, level)
                continue
            assert statuses[-1] in (0x0000, 0xFE00)
            identifier = answers[0][1]
            assert identifier is not None
            unique = {find.UNIQUE_KEYS[one] for one in levels[: levels.index(level) + 1]}
            assert unique <= {element.keyword for element in identifier}
            assert identifier.RetrieveAETitle == node.ae_title
    released(association)


def test_objects_of_no_study_are_answered_as_claimed(node: LocalNode) -> None:
    hanging = "1.2.840.10008.5.1.4.38.1"
    data = instance(STUDY, 8, SOPClassUID=hanging)
    del data.StudyInstanceUID
    association = established(node, proposing((hanging, [EXPLICIT])))
    assert association.send_c_store(data).Status == 0xC000
    released(association)
