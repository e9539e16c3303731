"""The shared battery against a node with receivers of their own: each case gets the answer that is promised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Nodes, eventually
from tests.scenarios.sender import instance, new_uid
from tests.scenarios.watch import Watch
from tests.tools import SHARED

pytestmark = [pytest.mark.shared, pytest.mark.slow]

SECONDS = "1"  # of each timeout
GROWTH_MB = 80.0  # 200 associations are let in at once: a thread and a buffer each
NOT_DICOM, UNEXPECTED, INVALID = (f"A-ABORT src=2 reason={reason}" for reason in (1, 2, 6))
TIMEOUT = "A-ABORT src=2 reason=0"
ACCEPTED = "A-AC ctx=[0] maxpdu=131072"
# Its C-STORE commands name another instance than the data set that it is given
OTHER_UID = "status 0xA900"
SUCCESS = "status 0x0000"

# Case -> what comes back; contract: what bad input gets.
ANSWERS: dict[str, str] = {
    "http_get": NOT_DICOM,
    "random_4k": "A-ABORT",  # the first byte may be a PDU type
    "tls_hello_to_plain": NOT_DICOM,
    "unknown_pdu_type": NOT_DICOM,
    "silent_connect": TIMEOUT,
    "half_header": TIMEOUT,
    "assoc_len_4gb": INVALID,
    "slow_loris_assoc": "answered early",
    "release_before_assoc": UNEXPECTED,
    "pdata_before_assoc": UNEXPECTED,
    "abort_before_assoc": "closed",
    "wrong_called_ae": "A-REJECT 1/1/7",
    "blank_aes": "A-REJECT 1/1/7",
    "ae_with_controls": ACCEPTED,
    "protocol_version_2": "A-REJECT 1/2/2",
    "wrong_app_context": "A-REJECT 1/1/2",
    "no_contexts": "A-AC ctx=[] maxpdu=131072",
    "unknown_abstract": ACCEPTED,
    "unknown_ts": ACCEPTED,
    "even_ctx_id": INVALID,
    "dup_ctx_id": INVALID,
    "ctx_128": ACCEPTED,
    "ctx_5000": INVALID,
    "ctx_no_ts": INVALID,
    "item_len_overrun": ACCEPTED,  # it hits the padding of a title
    "no_maxlen_item": ACCEPTED,
    "user_identity_pw": ACCEPTED,
    "user_identity_bad_len": ACCEPTED,
    "async_window_unlimited": ACCEPTED,
    "second_assoc_rq": UNEXPECTED,
    "unknown_ctx_pdv": INVALID,
    "pdata_len_0": INVALID,
    "pdv_len_0": INVALID,
    "pdv_len_1": INVALID,
    "pdv_len_overrun": INVALID,
    "pdu_over_max": INVALID,
    "pdu_declares_4gb": INVALID,
    "dataset_without_command": INVALID,
    "command_garbage": INVALID,
    "command_without_field": INVALID,
    "command_never_ends_1MB": INVALID,
    "unknown_command": INVALID,
    "response_as_request": INVALID,
    "cancel_without_find": SUCCESS,
    "store_no_dataset": "status 0xC000",
    "store_wrong_class_for_ctx": OTHER_UID,
    "store_on_verification_ctx": "status 0x0122",
    "echo_with_dataset": SUCCESS,
    "find_not_negotiated": "status 0xA900",
    "one_byte_segments": SUCCESS,
    "one_byte_pdvs": OTHER_UID,
    "many_pdvs_one_pdu": SUCCESS,
    "command_and_data_in_one_pdu": OTHER_UID,
    "empty_last_pdv": OTHER_UID,
    "pipelined_stores_no_window": "0xA900 0xA900 0xA900 0xA900",
    "new_command_mid_dataset": INVALID,
    "other_ctx_mid_dataset": INVALID,
    "abort_mid_dataset": "closed",
    "release_mid_dataset": UNEXPECTED,
    "fin_mid_dataset": "closed",
    "rst_mid_dataset": "we reset",
    "halfclose_after_store": OTHER_UID,
    "gone_before_response": "we reset before the response",
    "stall_mid_dataset": TIMEOUT,
    "idle_association": TIMEOUT,
    "peer_maxpdu_tiny": SUCCESS,
    "peer_never_reads": "swallowed 20,000 echoes, answers unread",
    "assoc_200_open": "{'A-AC': 200}",
}


def test_battery(nodes: Nodes, tmp_path: Path) -> None:
    timeouts = {f"dicom__timeouts__{name}": SECONDS for name in ("handshake", "idle", "transfer")}
    file = tmp_path / "ct.dcm"
    instance(new_uid(), 1).save_as(file, enforce_file_format=True)
    node = nodes.start_process(
        dicom__receivers="2",
        dicom__max_associations="250",
        dicom__unknown_peers='["echo", "store", "find"]',
        completion__quiet_seconds="1",
        **timeouts,
    )
    script = SHARED / "tools" / "battery.py"
    command = [sys.executable, str(script), "127.0.0.1", str(node.port), node.ae_title, str(file)]
    with Watch(node) as watch:
        done = subprocess.run(
            command, env=os.environ | {"CAP": "10"}, capture_output=True, text=True, timeout=100, check=True
        )
    got, echoes = {}, {}
    for line in done.stdout.splitlines():
        name, answer, _seconds, echo = (part.strip() for part in line.split("|"))
        got[name], echoes[name] = answer, echo
    assert got.keys() == ANSWERS.keys()
    for name, expected in ANSWERS.items():
        assert (
            got[name] == expected
            or (expected == "A-ABORT" and got[name].startswith(expected))
            or not expected
        )
        status, _, seconds = echoes[name].removeprefix("echo ").partition(" ")
        assert status == "0x0000"
        assert float(seconds.removesuffix("s")) < 1, name
    watch.check(GROWTH_MB)
    eventually(lambda: node.metric("associations_active") == 0)
    assert not list((node.data_dir / "incoming").iterdir())
