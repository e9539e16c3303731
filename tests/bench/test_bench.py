"""The bench measures what it says: its sender's bytes are DICOM, and a receiver that loses objects is caught."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.filereader import read_dataset

from tests.bench.fhir import build_and_check, huge
from tests.bench.loads import LOADS, Load, record
from tests.bench.measure import run
from tests.bench.receivers import RECEIVERS, Receiver
from tests.bench.replay import INSTANCE, SERIES, STUDY, Patcher, message, uid

SMALL = next(load for load in LOADS if load.name == "MR 10 kB")
FLOOR = next(receiver for receiver in RECEIVERS if receiver.name == "floor, fsync")
STORESCP = next(receiver for receiver in RECEIVERS if receiver.name == "storescp")
NODE = next(receiver for receiver in RECEIVERS if receiver.name == "node, fsync")


def joined(pdus: bytes) -> tuple[bytes, bytes]:
    """(command set, data set) out of P-DATA-TF PDUs of one PDV each."""
    parts: dict[int, bytes] = {0: b"", 1: b""}
    at = 0
    while at < len(pdus):
        length = int.from_bytes(pdus[at + 2 : at + 6], "big")
        parts[pdus[at + 11] & 1] += pdus[at + 12 : at + 6 + length]
        at += 6 + length
    return parts[1], parts[0]


@pytest.mark.parametrize("load", [load for load in LOADS if load.frames == 1], ids=lambda load: load.name)
def test_loads_have_the_size_they_are_named_for(tmp_path: Path, load: Load) -> None:
    size = record(load, tmp_path).stat().st_size
    named = {"CT 525 kB": 525_000, "MR 10 kB": 10_000}[load.name]
    assert abs(size - named) < 0.02 * named


@pytest.mark.parametrize("longest", [4096, 16384, 131072])
def test_patched_messages_are_new_objects_of_the_same_bytes(tmp_path: Path, longest: int) -> None:
    data_set = record(SMALL, tmp_path).read_bytes()
    buffer = message(SMALL.sop_class, data_set, longest)
    patcher = Patcher(buffer)
    for kind, serial in ((STUDY, 7), (SERIES, 8), (INSTANCE, 9)):
        patcher.patch(kind, serial)
    command, sent = joined(bytes(buffer))
    assert uid(INSTANCE, 9).encode() in command
    assert len(sent) == len(data_set)
    decoded = read_dataset(BytesIO(sent), False, True)
    assert decoded.SOPInstanceUID == uid(INSTANCE, 9)
    assert decoded.StudyInstanceUID == uid(STUDY, 7)
    assert decoded.SeriesInstanceUID == uid(SERIES, 8)
    assert decoded.SOPInstanceUID.is_valid
    assert decoded.PixelData == read_dataset(BytesIO(data_set), False, True).PixelData


@pytest.mark.parametrize("associations", [1, 2])
def test_floor_takes_every_object(tmp_path: Path, associations: int) -> None:
    result = run(FLOOR, SMALL, record(SMALL, tmp_path), associations, 20)
    assert result.refused == 0
    assert result.objects_per_second > 0
    assert result.peak_mb > 1


@pytest.mark.dcmtk
def test_storescp_takes_associations_one_after_another(tmp_path: Path) -> None:
    result = run(STORESCP, SMALL, record(SMALL, tmp_path), 2, 5)
    assert (result.refused, result.pdu) == (0, 16384)


def test_node_takes_every_object(tmp_path: Path) -> None:
    result = run(NODE, SMALL, record(SMALL, tmp_path), 2, 20)
    assert (result.refused, result.pdu) == (0, 131072)


def test_success_without_bytes_on_disk_is_caught(tmp_path: Path) -> None:
    def command(data: Path, port: int) -> tuple[list[str], dict[str, str]]:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        return [sys.executable, "-m", "tests.bench.floor", str(elsewhere), "none"], {}

    liar = replace(FLOOR, command=command)
    with pytest.raises(RuntimeError, match="bytes on disk"):
        run(liar, SMALL, record(SMALL, tmp_path), 1, 3)


def test_receiver_that_does_not_start_says_why(tmp_path: Path) -> None:
    def command(data: Path, port: int) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-c", "raise SystemExit('no luck')"], {}

    broken = Receiver("broken", "X", "no", lambda: None, command, re.compile("ready (1)"))
    with pytest.raises(RuntimeError, match="no luck"):
        run(broken, SMALL, record(SMALL, tmp_path), 1, 1)


def test_fhir_lines_measure_the_real_thing() -> None:
    lines = build_and_check()
    assert [line.profile for line in lines] == ["r5", "imr", "osiris"]
    assert all(line.built_ms > 0 and line.checked_ms > 0 for line in lines)
    assert re.match(r"r5, 24000 CT instances, from index rows: \d+\.\d\d s", huge().line())
