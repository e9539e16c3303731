"""C-STORE end to end: DCMTK's clients and raw bytes against a running node, and what lies in the store then."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import AllTransferSyntaxes

from node import header
from node.objects import filemeta
from tests.harness import Address, LocalNode, Nodes, eventually
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
    Wire,
    associate,
    echo_rq,
    message,
    p_data,
    pdv,
    store_rq,
)
from tests.studies import BIG, ct, encoded
from tests.tools import dcmtk

SUCCESS = "0x0000"
UID = "1.2.826.0.1.3680043.8.498.6"
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
# From pydicom's package: the encodings that clients in the field send, each object another instance
SAMPLES = (
    "CT_small.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "image_dfl.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "JPEG-lossy.dcm",
    "JPEG2000.dcm",
    "MR_small_RLE.dcm",
)


def object_of(uid: str, /, **changes: Any) -> bytes:
    return encoded(ct(SOPInstanceUID=uid, **changes), EXPLICIT)


def stored_data(node: Address, uid: str) -> bytes:
    """The data set that the store holds for an instance, once the index has it."""
    (path,) = eventually(lambda: [path for path in node.stored() if path.name == f"{uid}.dcm"])
    with path.open("rb") as file:
        filemeta.read(file)
        return file.read()


def store(node: Address, uid: str, data: bytes | None = None, **more: str) -> str:
    """The status of one object on an association of its own."""
    with Wire(node.port) as peer:
        assert peer.send(associate(**more)).answer().startswith("accepted 1:0")  # type: ignore[arg-type]
        status = peer.send(message(STORE, store_rq(uid), data or object_of(uid))).status()
        assert peer.send(RELEASE).answer() == "released"
        return status


def folder(node: Address, name: str) -> list[str]:
    return sorted(str(path.relative_to(node.data_dir / name)) for path in (node.data_dir / name).rglob("*.*"))


# --- clients that nobody here wrote


@pytest.mark.dcmtk
def test_echoscu(nodes: Nodes) -> None:
    node = nodes.start(dicom__aliases='["OTHER"]')
    for title in (node.ae_title, "OTHER"):
        done = dcmtk("echoscu", "-aec", title, "127.0.0.1", str(node.port))
        assert done.returncode == 0, done.stdout
    done = dcmtk("echoscu", "-aec", "WRONG", "127.0.0.1", str(node.port))
    assert "Called AE Title Not Recognized" in done.stdout


def is_native(path: Path) -> bool:
    return pydicom.dcmread(path).file_meta.TransferSyntaxUID in (EXPLICIT, IMPLICIT, BIG)


def tags(dataset: pydicom.Dataset) -> list[int]:
    """Elements but for group lengths and trailing padding, which DCMTK leaves out when it sends."""
    return [int(tag) for tag in dataset.keys() if int(tag) & 0xFFFF and tag != 0xFFFCFFFC]  # noqa: SIM118


def _files_of(node: Address, uid: str) -> list[Path]:
    return [path for path in node.stored() if path.stem == uid]


@pytest.mark.dcmtk
@pytest.mark.parametrize("client", ["storescu", "dcmsend"])
def test_dcmtk_sends(nodes: Nodes, client: str) -> None:
    """Every sample is answered with success and reads in the store as it was sent, in its own encoding."""
    node = nodes.start()
    samples = [TEST_FILES / name for name in SAMPLES]
    options: tuple[str, ...] = ("--decompress-never", "--no-halt")
    if client == "storescu":  # it proposes no more than one compressed encoding
        samples, options = [path for path in samples if is_native(path)], ()
    done = dcmtk(client, *options, "-aec", node.ae_title, "127.0.0.1", str(node.port), *samples)
    assert done.returncode == 0, done.stdout
    for path in samples:
        sent = pydicom.dcmread(path)
        (found,) = eventually(partial(_files_of, node, sent.SOPInstanceUID))
        stored = pydicom.dcmread(found)
        assert tags(stored) == tags(sent)
        if not is_native(path):  # native ones DCMTK sends in whichever encoding was agreed
            assert stored.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
            assert stored.get("PixelData") == sent.get("PixelData")
    eventually(lambda: node.metric("stores_total", '{calling_ae="other",status="0x0000"}') == len(samples))


@pytest.mark.dcmtk
def test_storescu_repeats_and_aborts(nodes: Nodes) -> None:
    """The same objects again are answered with success and change nothing; an abort after them neither."""
    node = nodes.start()
    sample = TEST_FILES / "CT_small.dcm"
    done = dcmtk(
        "storescu", "--repeat", "5", "--abort", "-aec", node.ae_title, "127.0.0.1", str(node.port), sample
    )
    assert done.returncode == 0, done.stdout
    eventually(lambda: len(node.stored()) == 1 and not folder(node, "incoming"))
    eventually(lambda: node.metric("duplicates_total", '{kind="same"}') == 4)
    assert folder(node, "quarantine") == []


# --- bytes are kept as sent


def test_every_transfer_syntax_is_kept_byte_for_byte(nodes: Nodes) -> None:
    node = nodes.start()
    syntaxes = [str(uid) for uid in AllTransferSyntaxes] + ["1.2.840.113619.5.2", "1.2.3.4.5"]
    contexts = [(2 * at + 1, CT, [syntax]) for at, syntax in enumerate(syntaxes)]
    sent = {}
    with Wire.established(node.port, contexts) as peer:
        for context, _, (syntax,) in contexts:
            uid = f"{UID}.1.{context}"
            sent[uid] = in_syntax(uid, syntax)
            assert peer.send(message(context, store_rq(uid), sent[uid])).status() == SUCCESS, syntax
    for uid, data in sent.items():
        assert stored_data(node, uid) == data


def in_syntax(uid: str, syntax: str) -> bytes:
    """A CT object in the encoding of a syntax, with fragments where pixels are compressed."""
    written = syntax if syntax in (IMPLICIT, BIG) else EXPLICIT
    data = encoded(ct(SOPInstanceUID=uid), written)
    if syntax in header.DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush()
    if written != EXPLICIT or syntax == EXPLICIT:
        return data
    fragments = (
        struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"\xff\xd8\xff\xd9"
    )
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + fragments
    return data + pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_odd_data_sets_are_kept_as_they_are(nodes: Nodes) -> None:
    """Padding, odd lengths, elements out of order behind what is needed: not the node's to mend."""
    node = nodes.start()
    for number, tail in enumerate((bytes(1001), b"\x10\0\x20\0LO\x03\0ABC", os.urandom(5000), b"\xff"), 1):
        uid = f"{UID}.2.{number}"
        data = object_of(uid) + tail
        assert store(node, uid, data) == SUCCESS
        assert stored_data(node, uid) == data


def test_every_fragment_size(nodes: Nodes) -> None:
    node = nodes.start()
    data = object_of(f"{UID}.3") + os.urandom(300_000)
    for size in (777, 16_378, 65_536, 131_066):
        with Wire.established(node.port) as peer:
            assert peer.send(message(STORE, store_rq(f"{UID}.3"), data, size)).status() == SUCCESS
    assert stored_data(node, f"{UID}.3") == data
    eventually(lambda: node.metric("duplicates_total", '{kind="same"}') == 3)


# --- nothing half received


@pytest.mark.parametrize("ending", ["abort", "reset", "close"])
def test_nothing_is_left_of_a_broken_transfer(nodes: Nodes, ending: str) -> None:
    node = nodes.start()
    begun = (
        p_data(pdv(STORE, store_rq(f"{UID}.4"), command=True)),
        p_data(pdv(STORE, bytes(9_000), last=False)),
    )
    peer = Wire.established(node.port).send(*begun)
    eventually(lambda: folder(node, "incoming"))
    if ending == "abort":
        peer.send(ABORT)
    if ending == "reset":
        peer.reset()
    peer.socket.close()
    eventually(lambda: not folder(node, "incoming"))
    assert (folder(node, "objects"), folder(node, "quarantine")) == ([], [])
    assert node.get("/api/studies")["studies"] == []


def test_killed_inside_an_object(nodes: Nodes) -> None:
    """After kill -9 what was answered is there, what was not is gone."""
    node = nodes.start_process(completion__quiet_seconds="600")
    assert store(node, f"{UID}.5.1") == SUCCESS
    begun = (
        p_data(pdv(STORE, store_rq(f"{UID}.5.2"), command=True)),
        p_data(pdv(STORE, bytes(9_000), last=False)),
    )
    with Wire.established(node.port) as peer:
        peer.send(*begun)
        eventually(lambda: folder(node, "incoming"))
        node.kill()
    again = nodes.start()
    assert [path.stem for path in again.stored()] == [f"{UID}.5.1"]
    assert folder(again, "incoming") == []


def test_killed_between_two_objects(nodes: Nodes) -> None:
    """The file that was made for the next object is no object, and nothing to warn of."""
    node = nodes.start_process(completion__quiet_seconds="600")
    with Wire.established(node.port) as peer:
        for number in range(2):
            uid = f"{UID}.6.{number}"
            data = encoded(ct(SOPInstanceUID=uid), EXPLICIT)
            assert peer.send(message(STORE, store_rq(uid), data)).status() == "0x0000"
        eventually(lambda: len(node.stored()) == 2 and len(folder(node, "incoming")) == 1)
        node.kill()
    again = nodes.start_process()
    assert [path.stem for path in again.stored()] == [f"{UID}.6.0", f"{UID}.6.1"]
    assert folder(again, "incoming") == []
    assert "object_torn" not in again.log()


# --- who may


def test_unknown_callers_may_be_refused(nodes: Nodes) -> None:
    node = nodes.start(dicom__unknown_peers="[]")
    with Wire(node.port) as peer:
        assert peer.send(associate()).answer() == "rejected 1/1/3"
    eventually(lambda: node.metric("associations_total", '{result="rejected"}') == 1)


def test_services_by_caller(nodes: Nodes) -> None:
    """0x0124 for what a caller may not do, on an association that goes on."""
    peers = [
        {"ae_title": "CT*", "address": "127.0.0.0/8", "services": ["echo", "store"]},
        {"ae_title": "WS*", "services": ["echo"]},
    ]
    node = nodes.start(peers=json.dumps(peers), dicom__unknown_peers='["store"]')
    assert store(node, f"{UID}.6", calling="CT7") == SUCCESS
    assert store(node, f"{UID}.7", calling="WS1") == "0x0124"
    with Wire(node.port) as peer:
        peer.send(associate(calling="STRANGER")).answer()
        assert peer.send(message(ECHO, echo_rq())).status() == "0x0124"
        assert peer.send(message(STORE, store_rq(f"{UID}.8"), object_of(f"{UID}.8"))).status() == SUCCESS
    eventually(lambda: node.metric("stores_total", '{calling_ae="CT*",status="0x0000"}') == 1)
    eventually(lambda: node.metric("stores_total", '{calling_ae="WS*",status="0x0124"}') == 1)
    assert not [path for path in node.stored() if path.stem == f"{UID}.7"]


# --- what is refused, and what becomes of it


def test_refused_objects_are_in_quarantine(nodes: Nodes) -> None:
    node = nodes.start()
    assert store(node, f"{UID}.9", object_of(f"{UID}.10")) == "0xA900"
    assert store(node, f"{UID}.9", b"\xde\xad" * 5_000) == "0xC000"
    assert store(node, f"{UID}.9", object_of(f"{UID}.9", StudyInstanceUID=None)) == "0xC000"
    eventually(lambda: len(folder(node, "quarantine")) == 3)
    assert {name.split("/")[0] for name in folder(node, "quarantine")} == {"DataSetError", "DataSetMismatch"}
    kept = eventually(lambda: node.get("/api/quarantine"))
    assert "PAT-0042" not in json.dumps(kept)
    assert node.stored() == []
    eventually(lambda: node.metric("quarantined_total", '{reason="DataSetError"}') == 2)


@pytest.mark.parametrize(
    ("policy", "status", "kept"),
    [("keep", SUCCESS, "ONE"), ("replace", SUCCESS, "TWO"), ("reject", "0x0111", "ONE")],
)
def test_same_uid_other_bytes(nodes: Nodes, policy: str, status: str, kept: str) -> None:
    """Whichever stays, the other is in quarantine: nothing is lost in silence."""
    node = nodes.start(objects__on_duplicate=policy)
    uid = f"{UID}.11"
    assert store(node, uid, object_of(uid, StudyDescription="ONE")) == SUCCESS
    stored_data(node, uid)
    assert store(node, uid, object_of(uid, StudyDescription="TWO")) == status
    eventually(lambda: len(folder(node, "quarantine")) == 1 and not folder(node, "incoming"))
    eventually(lambda: f"{kept} ".encode() in stored_data(node, uid))


# --- the node's own troubles


def test_disk_low_rejects_new_associations_for_now(nodes: Nodes) -> None:
    node = nodes.start(objects__min_free_bytes=str(10**18))
    with Wire(node.port) as peer:
        assert peer.send(associate()).answer() == "rejected 2/3/2"


def free(node: LocalNode, monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(node.node.objects, "free_bytes", lambda: free_bytes)


def test_disk_nearly_full_refuses_objects_but_not_echoes(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a fifth of min_free_bytes; with room again stores go on, on the same association."""
    node = nodes.start(objects__min_free_bytes="1000000")
    uid = f"{UID}.12"
    with Wire.established(node.port) as peer, monkeypatch.context() as patch:
        for free_bytes, status in (
            (10**9, SUCCESS),
            (500_000, SUCCESS),
            (199_999, "0xA700"),
            (10**9, SUCCESS),
        ):
            free(node, patch, free_bytes)
            assert peer.send(message(STORE, store_rq(uid), object_of(uid))).status() == status
            assert peer.send(message(ECHO, echo_rq())).status() == SUCCESS


def test_disk_error(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """0xA700 and nothing left; C-ECHO is served; stores resume without a restart."""
    node = nodes.start()
    real = os.fdatasync

    def broken(fd: int) -> None:
        if "/incoming/" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        assert store(node, f"{UID}.13") == "0xA700"
        wire.echo(node.port)
        assert folder(node, "incoming") == []
    assert store(node, f"{UID}.13") == SUCCESS
    assert stored_data(node, f"{UID}.13") == object_of(f"{UID}.13")


def test_comment_of_a_refusal_is_for_the_peer(nodes: Nodes) -> None:
    """What is wrong, in at most 64 characters; no path of the node."""
    node = nodes.start()
    with Wire.established(node.port, [(STORE, CT, [EXPLICIT]), (ECHO, VERIFICATION, [IMPLICIT])]) as peer:
        response = peer.send(message(STORE, store_rq("1.2.3"), bytes(1000))).read_response()
    comment = response[0x0902].decode().strip()
    assert comment == "no SOP Class UID (0008,0016)"
    assert response[0x1000] == wire.uid("1.2.3")
