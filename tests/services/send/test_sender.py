"""The requestor against real sockets: what goes out, what comes back, and what happens when a peer fails."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from rich.console import Console

from node.services.send import SendOptions, send
from node.services.send.address import Address
from node.services.send.ledger import Progress, SendSummary
from node.services.send.view import print_summary, send_with_progress
from tests.services.objects import DEFLATED, files, write
from tests.services.peer import ABORT, Peer, Stored

QUICK = SendOptions(retry_seconds=0.01, timeout=5)


def to(peer: Peer) -> Address:
    return Address("PEER", "127.0.0.1", peer.port)


def as_stored(peer: Peer) -> dict[str, bytes]:
    return {one.instance: one.data_set for one in peer.stored}


@pytest.mark.parametrize("max_pdu", [64, 4096, 16384, 0])
def test_data_sets_arrive_byte_for_byte_whatever_the_pdu(tmp_path: Path, max_pdu: int) -> None:
    sent = {}
    for number, syntax in enumerate(
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED), 1
    ):
        sent[f"1.2.3.4.{number}"] = write(tmp_path / f"{number}", number, syntax, pixels=40000)
    with Peer(max_pdu=max_pdu) as peer:
        summary = send([tmp_path], to(peer), QUICK)
    assert as_stored(peer) == sent
    assert {one.transfer_syntax for one in peer.stored} == {
        ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED,
    }  # fmt: skip
    assert peer.longest_pdu <= (max_pdu or 131072)
    assert peer.endings == [5]
    assert (summary.stored, summary.failed, summary.statuses, summary.exit_code) == (4, 0, {0: 4}, 0)
    assert summary.bytes == sum(map(len, sent.values()))


def test_names_itself_and_the_called_ae(tmp_path: Path) -> None:
    files(tmp_path, 1)
    with Peer() as peer:
        send([tmp_path], to(peer), SendOptions(calling_ae="ME"))
    assert (peer.requests[0].calling_ae_title.strip(), peer.requests[0].called_ae_title.strip()) == (
        "ME",
        "PEER",
    )


def test_several_associations_share_the_files(tmp_path: Path) -> None:
    sent = files(tmp_path, 40)
    together = threading.Barrier(3, timeout=10)
    first: set[int] = set()

    def status(_: Stored) -> tuple[int, str]:
        if threading.get_ident() not in first:
            first.add(threading.get_ident())
            together.wait()  # passes only when three associations are inside an object at the same time
        return 0, ""

    with Peer(status=status) as peer:
        summary = send([tmp_path], to(peer), SendOptions(associations=3, timeout=15))
    assert as_stored(peer) == sent
    assert (len(peer.requests), summary.associations, summary.stored) == (3, 3, 40)


def test_no_more_associations_than_files(tmp_path: Path) -> None:
    files(tmp_path, 2)
    with Peer() as peer:
        send([tmp_path], to(peer), SendOptions(associations=8))
    assert len(peer.requests) <= 2


def test_files_that_can_not_be_sent_count_into_the_total(tmp_path: Path) -> None:
    files(tmp_path, 2)
    seen: list[Progress] = []
    with Peer() as peer:
        summary = send([tmp_path, tmp_path / "nowhere"], to(peer), QUICK, seen.append)
    assert (summary.total, summary.stored, summary.failed) == (3, 2, 1)
    assert (seen[-1].done, seen[-1].total) == (3, 3)


def test_statuses_are_counted_and_failures_named(tmp_path: Path) -> None:
    files(tmp_path, 6)
    answers = {"1.2.3.4.2": (0xA700, "disk full"), "1.2.3.4.4": (0xB000, ""), "1.2.3.4.5": (0xC123, "")}
    with Peer(status=lambda stored: answers.get(stored.instance, (0, ""))) as peer:
        summary = send([tmp_path], to(peer), QUICK)
    assert summary.statuses == {0: 3, 0xA700: 1, 0xB000: 1, 0xC123: 1}
    assert (summary.stored, summary.failed, summary.exit_code) == (
        4,
        2,
        1,
    )  # a warning is stored: PS3.4 B.2.3
    reasons = {failure.path.name: (failure.status, failure.reason) for failure in summary.failures}
    assert reasons["002.dcm"] == (0xA700, "0xA700 Refused: Out of Resources: disk full")
    assert reasons["005.dcm"][0] == 0xC123


def test_the_list_of_failures_is_bounded(tmp_path: Path) -> None:
    files(tmp_path, 9)
    with Peer(status=lambda _: (0x0110, "")) as peer:
        summary = send([tmp_path], to(peer), SendOptions(max_failures=4))
    assert (summary.failed, len(summary.failures)) == (9, 4)


@pytest.mark.parametrize(
    ("result", "words"), [(3, "abstract syntax"), (4, "transfer syntax"), (2, "no reason")]
)
def test_a_refused_context_fails_only_its_own_objects(tmp_path: Path, result: int, words: str) -> None:
    files(tmp_path, 2)
    write(tmp_path / "big.dcm", 3, ExplicitVRBigEndian)
    with Peer(context_result=lambda _, syntax: result if syntax == ExplicitVRBigEndian else 0) as peer:
        summary = send([tmp_path], to(peer), QUICK)
    assert (summary.stored, summary.failed) == (2, 1)
    assert summary.failures[0].path.name == "big.dcm"
    assert summary.failures[0].reason.startswith("not accepted:")
    assert words in summary.failures[0].reason


def test_more_contexts_than_an_association_takes(tmp_path: Path) -> None:
    for number in range(1, 131):
        write(tmp_path / f"{number}", number, sop_class=f"1.2.840.10008.5.1.4.1.1.{number}")
    with Peer() as peer:
        summary = send([tmp_path], to(peer), QUICK)
    assert summary.stored == 130
    assert [len(request.presentation_context) for request in peer.requests] == [128, 2]


@pytest.mark.parametrize("fault", [ABORT, b""])
def test_a_lost_association_is_replaced_and_the_object_sent_again(tmp_path: Path, fault: bytes) -> None:
    sent = files(tmp_path, 5)
    notes: list[str] = []
    with Peer(fault=lambda number, _: fault if number == 3 else None) as peer:
        summary = send([tmp_path], to(peer), QUICK, lambda now: notes.append(now.note))
    assert as_stored(peer) == sent
    assert (summary.stored, summary.failed, summary.associations) == (5, 0, 2)
    assert summary.bytes == sum(map(len, sent.values()))  # the object sent twice counts once
    assert any("aborted" in note or "closed" in note for note in notes)


def test_an_object_its_peer_dies_of_does_not_hold_up_the_others(tmp_path: Path) -> None:
    files(tmp_path, 6)
    with Peer(fault=lambda _, stored: ABORT if stored.instance == "1.2.3.4.2" else None) as peer:
        summary = send([tmp_path], to(peer), SendOptions(retries=2, retry_seconds=0.01))
    assert (summary.stored, summary.failed) == (5, 1)
    assert summary.failures[0].path.name == "002.dcm"
    assert summary.failures[0].reason == "the peer aborted the association (service user, reason 0)"
    assert summary.associations == 4  # the first, the one for the others, and what is left of two retries


def test_without_retries_the_rest_is_reported(tmp_path: Path) -> None:
    files(tmp_path, 5)
    with Peer(fault=lambda number, _: ABORT if number == 3 else None) as peer:
        summary = send([tmp_path], to(peer), SendOptions(retries=0))
    assert (summary.stored, summary.failed, summary.exit_code) == (2, 3, 1)


def test_a_transient_rejection_is_tried_again(tmp_path: Path) -> None:
    files(tmp_path, 2)
    with Peer(reject=lambda number: (2, 3, 2) if number < 3 else None) as peer:
        summary = send([tmp_path], to(peer), QUICK)
    assert (summary.stored, len(peer.requests)) == (2, 3)


def test_a_permanent_rejection_is_not(tmp_path: Path) -> None:
    files(tmp_path, 2)
    with Peer(reject=lambda _: (1, 1, 7)) as peer:
        summary = send([tmp_path], to(peer), QUICK)
    assert (summary.failed, len(peer.requests)) == (2, 1)
    assert "1/1/7: called ae title not recognised" in summary.failures[0].reason


def test_nobody_listens(tmp_path: Path) -> None:
    files(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    summary = send([tmp_path], Address("PEER", "127.0.0.1", port), SendOptions(retries=1, retry_seconds=0.01))
    assert "Connection refused" in summary.failures[0].reason


def test_a_peer_that_says_nothing(tmp_path: Path) -> None:
    files(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("PEER", "127.0.0.1", server.getsockname()[1])
        summary = send([tmp_path], address, SendOptions(retries=0, timeout=0.2))
    assert "answer timeout of 0.2 s" in summary.failures[0].reason


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x02\0\0\0\0\x04\0\0\0\0",
        b"\x02\0\xff\xff\xff\xff",
        b"\x63\0\0\0\0\0",
    ],
)
def test_a_peer_that_is_no_dicom_peer(tmp_path: Path, answer: bytes) -> None:
    files(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            sock, _ = server.accept()
            with sock, contextlib.suppress(ConnectionResetError):  # it may hang up on such an answer
                sock.recv(65536)
                sock.sendall(answer)
                sock.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        summary = send([tmp_path], Address("PEER", "127.0.0.1", server.getsockname()[1]), QUICK)
        thread.join(10)
    assert (summary.failed, summary.associations) == (1, 0)


def test_a_file_that_shrinks_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    files(tmp_path, 3)
    big = write(tmp_path / "002.dcm", 2, pixels=400_000)

    def cut(now: Progress) -> None:
        if now.phase == "send" and now.done == 0:
            os.truncate(tmp_path / "002.dcm", 200_000)

    with Peer() as peer:
        summary = send([tmp_path], to(peer), SendOptions(retries=0), cut)
    assert len(big) > 400_000
    assert (summary.stored, summary.failed) == (2, 1)
    assert "ended while it was being sent" in summary.failures[0].reason
    assert 7 in peer.endings  # the message could not be completed: A-ABORT


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    files(tmp_path, 3)

    def remove(now: Progress) -> None:
        if now.phase == "send":
            (tmp_path / "002.dcm").unlink(missing_ok=True)

    with Peer() as peer:
        summary = send([tmp_path], to(peer), QUICK, remove)
    assert (summary.stored, summary.failed, summary.associations) == (2, 1, 1)


def test_memory_does_not_follow_the_size_of_an_object(tmp_path: Path) -> None:
    write(tmp_path / "big.dcm", 1, pixels=0)
    with (tmp_path / "big.dcm").open("ab") as file:  # a sparse file: zeros without the disk space
        file.truncate(600_000_000)
    script = (
        "import resource, sys; from pathlib import Path; from node.services.send.address import Address\n"
        "from node.services.send import send\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "summary = send([Path(sys.argv[1])], Address.parse(sys.argv[2]))\n"
        "print(summary.stored, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    with _Sink() as port:
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), f"SINK@127.0.0.1:{port}"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    stored, grown = map(int, run.stdout.split())
    assert stored == 1
    assert grown < 16_000  # kB


def test_ctrl_c_ends_even_when_the_peer_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, 5)
    over = threading.Event()
    monkeypatch.setattr("node.services.send.sender._GRACE_SECONDS", 0.1)

    def status(stored: Stored) -> tuple[int, str]:
        if stored.instance == "1.2.3.4.3":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # it waits in send()
            over.wait(10)
        return 0, ""

    with Peer(status=status) as peer:
        summary = send([tmp_path], to(peer), QUICK)
        over.set()
    assert (summary.interrupted, summary.exit_code) == (True, 130)
    assert (summary.stored, summary.failed) == (2, 3)
    assert {failure.reason for failure in summary.failures} == {"interrupted"}


def test_tls_against_a_peer_without_it(tmp_path: Path) -> None:
    """Told apart from a peer that is not there."""
    files(tmp_path, 1)
    with Peer() as peer:
        summary = send(
            [tmp_path], to(peer), SendOptions(tls=ssl.create_default_context(), retries=0, timeout=2)
        )
    assert "TLS handshake" in summary.failures[0].reason


@pytest.mark.openssl
def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    (tmp_path / "study").mkdir()
    sent = files(tmp_path / "study", 3)
    trusting = SendOptions(tls=ssl.create_default_context(cafile=str(certificate[0])), timeout=5)
    with Peer(tls=server) as peer:
        assert send([tmp_path / "study"], to(peer), trusting).stored == 3
    assert as_stored(peer) == sent


def test_nothing_to_send(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no images here, only words")
    summary = send([tmp_path], Address("PEER", "127.0.0.1", 1))
    assert (summary.skipped, summary.total, summary.exit_code) == ({"not DICOM": 1}, 0, 1)


@pytest.mark.parametrize("terminal", [True, False])
def test_what_people_see(tmp_path: Path, terminal: bool) -> None:
    files(tmp_path, 3)
    (tmp_path / "notes.txt").write_text("no images here, only words")
    console = Console(force_terminal=terminal, width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    hostile = "\x1b[2Jboo"
    with (
        console.file,
        Peer(status=lambda s: (0xA700, hostile) if s.instance.endswith("2") else (0, "")) as peer,
    ):
        summary = send_with_progress([tmp_path], to(peer), QUICK, console)
        print_summary(summary, console)
        text = console.export_text()
    assert "0x0000 x 2  Success" in text
    assert "0xA700 x 1  Refused: Out of Resources" in text
    assert f"not stored {tmp_path / '002.dcm'}: 0xA700" in text
    assert "passed over: 1 not DICOM" in text
    assert "\x1b[2J" not in text
    assert "3/3 objects" in text


def _summary(paths: list[Path], peer: Peer) -> SendSummary:
    return send(paths, to(peer), QUICK)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "rtplan.dcm", "image_dfl.dcm"]
)
def test_real_objects(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    with Peer() as peer:
        summary = _summary([path], peer)
    assert summary.stored == 1
    assert path.read_bytes().endswith(peer.stored[0].data_set)


class _Sink(Peer):
    """Takes an object without keeping it, so that a large one costs the test no memory."""

    def __enter__(self) -> int:  # type: ignore[override]
        Peer.__enter__(self)
        return self.port

    def _object(self, sock: socket.socket, pdu: bytes, syntaxes: dict[int, str]) -> tuple[Stored, int]:
        discard: Callable[[int], bytes] = sock.recv
        while pdu[11] != 2:
            head = b""
            while len(head) < 6:
                head += discard(6 - len(head))
            left = int.from_bytes(head[2:6], "big")
            body = bytearray()
            while len(body) < left:
                body += discard(left - len(body))
            pdu = head + bytes(body)
        return Stored("", "", syntaxes[pdu[10]], b""), 1
