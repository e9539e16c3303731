"""What the gauges of a node that is not well say: readiness by check, limits, what waits."""

from __future__ import annotations

from tests.harness import Nodes, eventually
from tests.scenarios.sender import associated, instance, new_uid, send, store


def test_a_full_disk_is_a_check_that_fails(nodes: Nodes) -> None:
    node = nodes.start(objects__min_free_bytes=str(10**15), dicom__max_associations="7")
    assert node.metric("ready") == 0
    assert node.metric("check_failing", '{check="space"}') == 1
    assert node.metric("check_failing", '{check="index"}') == 0
    assert node.metric("check_failing", '{check="silent"}') == 0
    assert node.metric("objects_bytes_free") < node.metric("objects_bytes_min_free") == 10**15
    assert node.metric("associations_limit") == 7
    # associations are threads of this one process
    assert node.metric("receivers_configured") == node.metric("receivers_running") == 0
    assert node.metric("process_open_fds", '{process="node"}') > 0


def test_what_waits_in_quarantine_until_somebody_decides(nodes: Nodes) -> None:
    node = nodes.start(completion__quiet_seconds="3600")
    assert node.metric("ready") == 1
    broken = instance(new_uid(), 1)
    del broken.StudyInstanceUID
    with associated(node) as association:
        assert store(association, broken) == [0xC000]
    eventually(lambda: node.metric("quarantine_waiting") == 1)
    uid = new_uid()
    send(node, instance(uid, 1), instance(uid, 2, PatientID="P2"))
    eventually(lambda: node.metric("quarantine_waiting") == 2)
    node.post(f"/api/studies/{uid}/complete")
    eventually(lambda: node.metric("quarantine_waiting") == 1)
    assert node.metric("quarantined_total", '{reason="DataSetError"}') == 1
