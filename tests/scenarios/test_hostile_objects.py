"""Objects made to hurt whoever reads them, stored as they are into a node with receivers of their own.

What the node may do with one is to store its bytes, or to refuse it and keep the bytes in quarantine. Studies that
were made of such objects are completed, read and published like any other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from node.objects import filemeta
from tests.harness import NodeProcess, eventually, running_nodes
from tests.scenarios.monsters import MONSTERS, ROOT, SUCCESS
from tests.scenarios.watch import Watch, held
from tests.scenarios.wire import CT, ECHO, IMPLICIT, STORE, VERIFICATION, Wire, echo_rq, message, store_rq
from tests.tools import SHARED

pytestmark = pytest.mark.slow

GROWTH_MB = 100.0  # the process that reads documents is one more, and holds its bounds
FOLDERS = ("malformed", "fuzz_cat01_09", "uid_collisions", "private_tags")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The shared tool silences logging when it meets a file without UIDs, for the whole process."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    nodes = running_nodes(tmp_path_factory.mktemp("monsters") / "nodes")
    yield next(nodes).start_process(dicom__receivers="2", completion__quiet_seconds="1")
    next(nodes, None)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def kept(node: NodeProcess) -> set[str]:
    """Digests of every data set in the store and in quarantine."""
    found = set()
    for path in (*node.stored(), *(node.data_dir / "quarantine").rglob("*.dcm")):
        with path.open("rb") as file:
            filemeta.read(file)
            found.add(digest(file.read()))
    return found


def send(node: NodeProcess, uid: str, data: bytes, syntax: str) -> str:
    """The status of one C-STORE, on an association of its own; the node goes on to serve it."""
    contexts = ((STORE, CT, (syntax,)), (ECHO, VERIFICATION, (IMPLICIT,)))
    with Wire.established(node.port, contexts) as peer:
        status = peer.send(message(STORE, store_rq(uid), data, 100_000)).status()
        assert peer.send(message(ECHO, echo_rq())).status() == SUCCESS
    return status


def settle(node: NodeProcess) -> None:
    """Every study is complete, or was found unfit; nothing is under way, and nothing left of what was refused."""

    def settled() -> bool:
        states = {study["state"] for study in node.get("/api/studies?limit=1000")["studies"]}
        return states <= {"complete", "quarantined"}

    eventually(settled, 60)
    eventually(lambda: not list((node.data_dir / "incoming").iterdir()), 10)
    eventually(lambda: node.metric("outbox_pending") == 0, 30)
    assert node.get("/readyz") is not None


def check_places(node: NodeProcess) -> None:
    """Nothing was written outside ``data_dir``, and nothing in it under another name than digits and dots."""
    assert {path.name for path in node.data_dir.parent.iterdir()} == {
        node.data_dir.name,
        f"{node.data_dir.name}.log",
    }
    assert not Path("/tmp/evil").exists()
    for path in node.stored():
        parts = path.relative_to(node.data_dir / "objects").parts
        assert len(parts) == 3
        assert all(set(part.removesuffix(".dcm")) <= set("0123456789.") for part in parts), path
        assert not set(parts) & {".", ".."}


def test_monsters(node: NodeProcess) -> None:
    sent, expected, got = set(), {}, {}
    with Watch(node) as watch:
        for number, (name, monster) in enumerate(MONSTERS.items(), 1):
            uid = f"{ROOT}.{number}"
            data = monster.make(uid)
            sent.add(digest(data))
            expected[name], got[name] = monster.status, send(node, uid, data, monster.syntax)
        settle(node)
    assert got == expected
    watch.check(GROWTH_MB)
    assert sent <= kept(node), "every byte is kept, in the store or in quarantine"
    check_places(node)
    assert "evil" not in node.log()
    assert "patient name" not in node.log()


# --- objects that others found or made


def tool(name: str) -> ModuleType:
    """A module of the shared tools."""
    spec = importlib.util.spec_from_file_location(name, SHARED / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


MISSING_UID, OTHER_UID, NO_SYNTAX = "0xC000", "0xA900", "CTX-REJECTED 4"
# What these files get; all the others are stored. Their UIDs are missing, are none, or are behind the end of the
# file; or the command, which takes the UIDs from the file's meta information, names another object.
REFUSED = {
    "malformed": {
        MISSING_UID: "UN_sequence empty_charset_LEI meta_missing_tsyntax no_meta_group_length",
        OTHER_UID: "badVR rtplan_truncated",
    },
    "fuzz_cat01_09": {
        MISSING_UID: "TC0129_sopinstanceuid_over_1 TC0133_sopinstanceuid_over_10x TC0137_sopinstanceuid_empty "
        "TC0143_studyinstanceuid_over_1 TC0147_studyinstanceuid_over_10x TC0151_studyinstanceuid_empty "
        "TC0157_seriesinstanceuid_over_1 TC0161_seriesinstanceuid_over_10x TC0165_seriesinstanceuid_empty "
        "TC0233_rows_US_as_UL TC0345_deflate_corrupt TC0347_deflate_truncated TC0457_uid_uid_65chars_over "
        "TC0459_uid_uid_trailing_dot TC0461_uid_uid_leading_dot TC0463_uid_uid_double_dot TC0465_uid_uid_all_dots "
        "TC0467_uid_uid_empty TC0471_uid_collision",
        OTHER_UID: "TC0231_sopinstanceuid_UI_as_LO TC0391_meta_glen_zero TC0393_meta_glen_one TC0395_meta_glen_max "
        "TC0397_meta_glen_huge TC0399_sop_class_mismatch",
        NO_SYNTAX: "TC0401_invalid_ts",
    },
    "uid_collisions": {},
    "private_tags": {MISSING_UID: "nested_priv_SQ priv_SQ"},
}


@pytest.mark.shared
def test_files(node: NodeProcess, corpus: Path) -> None:
    """Every file of the folders, its data set sent untouched under the UIDs of its meta information."""
    raw = tool("rawstore")
    expected: dict[str, str] = {}
    got: dict[str, str] = {}
    sent: set[str] = set()
    with Watch(node) as watch:
        for folder in FOLDERS:
            refused = {name: status for status, names in REFUSED[folder].items() for name in names.split()}
            paths = sorted((corpus / folder).iterdir())
            expected |= {path.name: refused.get(path.stem, SUCCESS) for path in paths}
            with ThreadPoolExecutor(4) as senders:
                statuses = senders.map(
                    lambda path: raw.store("127.0.0.1", node.port, node.ae_title, str(path)), paths
                )
                got |= {path.name: status for path, status in zip(paths, statuses, strict=True)}
            sent |= {digest(raw.split(path.read_bytes())[3]) for path in paths if got[path.name] != NO_SYNTAX}
        settle(node)
    assert got == expected
    watch.check(GROWTH_MB)
    assert sent <= kept(node), "every byte is kept, in the store or in quarantine"
    check_places(node)


@pytest.mark.shared
def test_pdu_of_4_gb(node: NodeProcess) -> None:
    """A peer that announces it and begins to send: nothing of it is kept."""
    before = held(node.process.pid)
    command = [sys.executable, str(SHARED / "tools" / "bigpdu.py"), str(node.port), str(node.process.pid)]
    with Watch(node) as watch:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "refused after" in done.stdout
    assert watch.most - before.megabytes < 20
    watch.check(20)
