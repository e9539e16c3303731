"""Receiver processes: what one stores all know, one that dies loses nothing, limits hold across them."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from pynetdicom import AE

from tests.harness import NodeProcess, Nodes, eventually
from tests.scenarios.sender import SYNTAX, associated, instance, new_uid, send, store
from tests.scenarios.wire import Wire, associate

pytestmark = pytest.mark.slow

QUIET: dict[str, Any] = {"completion__quiet_seconds": "3600"}


def receivers(node: NodeProcess) -> list[int]:
    """Process ids of the receivers: the grandchildren of the node."""
    return [pid for nursery in children(node.process.pid) for pid in children(nursery)]


def children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def lives(pid: int) -> bool:
    """It runs; one that has ended and waits for whoever inherited it does not."""
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def replaced(node: NodeProcess, victim: int, count: int) -> bool:
    running = [pid for pid in receivers(node) if lives(pid)]
    return len(running) == count and victim not in running


def spread(node: NodeProcess, stack: ExitStack, count: int) -> list[object]:
    """``count`` open associations."""
    return [stack.enter_context(associated(node)) for _ in range(count)]


def test_associations_are_spread_over_the_receivers(nodes: Nodes) -> None:
    """Scanners that connect at once must not meet in one process while another has nothing to do."""
    node = nodes.start_process(dicom__receivers="2", **QUIET)
    workers = [psutil.Process(pid) for pid in receivers(node)]

    def held() -> list[int]:
        return [
            sum(one.status == psutil.CONN_ESTABLISHED for one in worker.net_connections("tcp"))
            for worker in workers
        ]

    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(Wire.established(node.port))
        eventually(lambda: sum(held()) == 12)
        assert min(held()) >= 4, held()  # six each, but a machine with much to do may wake one late


def test_what_any_receiver_stored_is_found_and_counted_at_once(nodes: Nodes) -> None:
    node = nodes.start_process(dicom__receivers="2", **QUIET)
    assert len(receivers(node)) == 2
    uid = new_uid()
    with ExitStack() as stack:
        for number in range(1, 9):
            association = stack.enter_context(associated(node))
            assert store(association, instance(uid, number)) == [0]
            assert node.metric("stores_total", '{calling_ae="other",status="0x0000"}') == number
            assert node.metric("associations_active") == number
            assert found(node, uid) == number
    eventually(lambda: node.metric("associations_active") == 0)
    assert node.stop() == 0
    assert "Traceback" not in node.log()


def found(node: NodeProcess, study: str) -> int:
    """Instances of ``study`` that C-FIND answers, over an association of its own."""
    from pydicom.dataset import Dataset

    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = study
    query.SeriesInstanceUID = f"{study}.1"
    query.SOPInstanceUID = ""
    ae = AE(ae_title="WS1")
    model = "1.2.840.10008.5.1.4.1.2.2.1"
    ae.add_requested_context(model, [SYNTAX])
    association = ae.associate("127.0.0.1", node.port, ae_title=node.ae_title)
    assert association.is_established
    answers = [status.Status for status, _ in association.send_c_find(query, model)]
    association.release()
    assert answers[-1] == 0
    return len(answers) - 1


def test_the_limit_of_associations_is_one_for_all(nodes: Nodes) -> None:
    node = nodes.start_process(dicom__receivers="2", dicom__max_associations="3", **QUIET)
    with ExitStack() as stack:
        spread(node, stack, 3)
        for _ in range(4):
            with Wire(node.port) as wire:
                wire.send(associate())
                assert wire.read_pdu() == (3, bytes((0, 2, 3, 2)))
    eventually(lambda: node.metric("associations_active") == 0)
    send(node, instance(new_uid(), 1))


def test_a_receiver_that_is_killed_loses_nothing_that_was_acknowledged(nodes: Nodes) -> None:
    """Its associations end; what it had answered is indexed, another takes its place, the node goes on."""
    node = nodes.start_process(dicom__receivers="2", **QUIET)
    uid = new_uid()
    answered: list[str] = []
    stop = threading.Event()

    def run(series: int) -> None:
        number = 0
        while not stop.is_set():
            with associated(node) as association:
                for _ in range(200):
                    number += 1
                    if stop.is_set() or store(association, instance(uid, number, series)) != [0]:
                        break
                    answered.append(f"{uid}.{series}.{number}")

    senders = [threading.Thread(target=run, args=(series,)) for series in range(1, 5)]
    for sender in senders:
        sender.start()
    for _ in range(3):
        enough = len(answered) + 20
        eventually(lambda enough=enough: len(answered) > enough)  # type: ignore[misc]
        victim = receivers(node)[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda victim=victim: replaced(node, victim, 2), 30)  # type: ignore[misc]
    stop.set()
    for sender in senders:
        sender.join(30)
    assert node.log().count('"receiver_died"') == 3
    incoming = node.data_dir / "incoming"
    eventually(lambda: not list(incoming.iterdir()))
    assert {path.stem for path in node.stored()} >= set(answered)
    assert node.get(f"/api/studies/{uid}")["instances"] >= len(answered)
    eventually(lambda: ready(node))
    assert node.stop() == 0


def ready(node: NodeProcess) -> bool:
    return not reasons(node)


def reasons(node: NodeProcess) -> dict[str, str]:
    """Why the node is not ready."""
    try:
        assert node.get("/readyz") == {"status": "ready"}
    except HTTPError as error:
        with error:
            return dict(json.load(error)["reasons"])
    return {}


def test_a_signal_to_all_of_them_is_the_nodes_to_answer(nodes: Nodes) -> None:
    """Ctrl-C and supervisors signal the whole group: open associations get their time all the same."""
    node = nodes.start_process("var", ("setsid",), dicom__receivers="2", **QUIET)
    uid = new_uid()
    with associated(node) as association:
        assert store(association, instance(uid, 1)) == [0]
        os.killpg(node.process.pid, signal.SIGINT)
        eventually(lambda: '"draining"' in node.log())
        assert store(association, instance(uid, 2)) == [0]
    assert node.stop() == 0
    assert "associations_cut" not in node.log()
    assert {path.stem for path in node.stored()} == {f"{uid}.1.{number}" for number in (1, 2)}
    assert not [line for line in node.log().splitlines() if '"level":"error"' in line or "Traceback" in line]


def test_what_starts_receivers_is_replaced_as_they_are(nodes: Nodes) -> None:
    node = nodes.start_process(dicom__receivers="2", **QUIET)
    (nursery,) = children(node.process.pid)
    first, second = receivers(node)
    os.kill(nursery, signal.SIGKILL)
    assert ready(node)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: "1 of 2" in reasons(node).get("receivers", ""))
    send(node, instance(new_uid(), 1))
    eventually(lambda: ready(node), 30)
    os.kill(second, signal.SIGKILL)
    eventually(lambda: len(receivers(node)) == 2, 30)
    eventually(lambda: ready(node), 30)
    send(node, instance(new_uid(), 1))
    assert node.log().count('"nursery_replaced"') == 1
    started = children(node.process.pid), receivers(node)
    assert [len(pids) for pids in started] == [1, 2]
    assert node.stop() == 0
    assert not any(lives(pid) for pids in started for pid in pids)


def test_receivers_do_not_outlive_their_node(nodes: Nodes) -> None:
    """A node that is killed leaves nobody who would go on acknowledging; the next one starts at once."""
    node = nodes.start_process(dicom__receivers="2", **QUIET)
    uid = new_uid()
    send(node, *(instance(uid, number) for number in range(1, 6)))
    orphans = receivers(node)
    node.kill()
    again = nodes.start_process(dicom__receivers="2", **QUIET)
    assert not any(lives(pid) for pid in orphans)
    assert again.get(f"/api/studies/{uid}")["instances"] == 5


def test_a_study_is_not_complete_while_any_receiver_gets_more_of_it(nodes: Nodes) -> None:
    """The clock asks all receivers whether an association that brought some of a study still moves."""
    node = nodes.start_process(dicom__receivers="2", completion__quiet_seconds="1")
    uid = new_uid()
    with ExitStack() as stack:
        spread(node, stack, 2)
        association = stack.enter_context(associated(node))
        assert store(association, instance(uid, 1)) == [0]
        assert store(association, *(instance(new_uid(), number) for number in range(2, 40))) == [0] * 38
    assert node.wait_for_events(39)
    assert node.events_of(uid)[0]["instances"] == 1


def test_one_process_is_a_choice(nodes: Nodes) -> None:
    node = nodes.start_process(dicom__receivers="0", **QUIET)
    assert children(node.process.pid) == []
    send(node, instance(new_uid(), 1))
    assert node.stop() == 0
