"""The bench measures what it says: its sender's bytes are DICOM, and a receiver that loses objects is caught."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from tests.bench import stored
from tests.bench.fhir import build_and_check, huge
from tests.bench.header import VARIANTS, instance_uid
from tests.bench.loads import LOADS, Load, record
from tests.bench.measure import run
from tests.bench.receivers import RECEIVERS, Receiver
from tests.bench.replay import SERIES, STUDY, Messages, read_heads, uid

SMALL = next(load for load in LOADS if load.name == "MR 10 kB")
FLOOR = next(receiver for receiver in RECEIVERS if receiver.name == "floor, fsync")
STORESCP = next(receiver for receiver in RECEIVERS if receiver.name == "storescp")
NODE = next(receiver for receiver in RECEIVERS if receiver.name == "node, fsync")


# What another object has otherwise, and no two of a series have the same.
OF_AN_OBJECT = {
    "SOPInstanceUID",
    "InstanceCreationTime",
    "AcquisitionTime",
    "ContentTime",
    "ReferencedImageSequence.ReferencedSOPInstanceUID",
    "ImagePositionPatient",
    "SliceLocation",
}
# What differs from that of the object before.
ALWAYS = OF_AN_OBJECT | {
    "InstanceNumber",
    "AcquisitionNumber",
    "Exposure",
    "XRayTubeCurrent",
    "WindowCenter",
    "WindowWidth",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "(0019,1001)",
    "(0019,1002)",
    "(0019,1003)",
    "(0019,1004)",
}
SOMETIMES = {"SoftwareVersions"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded load of small objects."""
    return record(SMALL, tmp_path_factory.mktemp("load"))


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
@pytest.mark.parametrize("first", [0, VARIANTS - 3, 10**24])
def test_messages_are_objects_of_one_study_and_the_same_pixels(small: Path, longest: int, first: int) -> None:
    pixels = read_dataset(BytesIO(small.read_bytes()), False, True).PixelData
    messages = Messages(small, SMALL.sop_class, longest)
    messages.begin(7)
    instances = set()
    for serial in range(first, first + VARIANTS + 1):
        pdus = bytes(messages.make(serial))
        command, sent = joined(pdus)
        assert len(sent) == messages.size(serial)
        decoded = read_dataset(BytesIO(sent), False, True)
        assert decoded.SOPInstanceUID == instance_uid(serial % VARIANTS, serial)
        assert decoded.SOPInstanceUID.is_valid
        assert decoded.SOPInstanceUID.encode() in command
        assert (decoded.StudyInstanceUID, decoded.SeriesInstanceUID) == (uid(STUDY, 7), uid(SERIES, 7))
        assert decoded.PixelData == pixels
        instances.add(decoded.SOPInstanceUID)
    assert len(instances) == VARIANTS + 1


def test_pdus_are_as_a_sender_fills_them(tmp_path: Path) -> None:
    load = next(load for load in LOADS if load.name == "CT 525 kB")
    messages = Messages(record(load, tmp_path), load.sop_class, 16384)
    for serial in range(VARIANTS):
        pdus = bytes(messages.make(serial))
        lengths, at = [], 0
        while at < len(pdus):
            lengths.append(int.from_bytes(pdus[at + 2 : at + 6], "big"))
            at += 6 + lengths[-1]
        assert at == len(pdus)
        first, *full, _ = lengths[1:]
        assert 16384 - 64 <= first <= 16384
        assert set(full) == {16384}
        controls = [pdus[12 + sum(lengths[:n]) + 6 * n - 1] for n in range(len(lengths))]
        assert controls == [3, *[0] * (len(lengths) - 2), 2]


def elements(data_set: bytes) -> dict[str, object]:
    """Value by path of all elements, those of items too."""
    found: dict[str, object] = {}

    def take(data_set: Dataset, path: str) -> None:
        for element in data_set:
            if element.VR == "SQ":
                for item in element.value:
                    take(item, f"{path}{element.keyword}.")
            else:
                found[path + (element.keyword or str(element.tag))] = element.value

    take(read_dataset(BytesIO(data_set), False, True), "")
    return found


def test_objects_differ_as_those_of_a_series_do(small: Path) -> None:
    messages = Messages(small, SMALL.sop_class, 131072)
    made = [
        elements(joined(bytes(messages.make(serial)))[1]) for serial in range(9_000, 9_000 + 2 * VARIANTS)
    ]
    pairs = list(pairwise(made))
    always = {name for name in made[0] if all(one[name] != other[name] for one, other in pairs)}
    assert always == ALWAYS
    changing = {name for name in made[0] if any(one[name] != other[name] for one, other in pairs)}
    assert changing - always == SOMETIMES
    alone = {name: len({str(one[name]) for one in made}) for name in OF_AN_OBJECT}
    assert alone == dict.fromkeys(OF_AN_OBJECT, 2 * VARIANTS)


def test_lengths_differ_as_those_of_a_series_do(small: Path) -> None:
    heads = [read_dataset(BytesIO(head.data), False, True) for head in read_heads(small)]
    assert {len(head.SOPInstanceUID) for head in heads} == {41, 42, 43, 44}
    lengths = {
        name: {len(str(head[name].value)) for head in heads}
        for name in (
            "InstanceNumber",
            "SliceLocation",
            "ImagePositionPatient",
            "Exposure",
            "SoftwareVersions",
        )
    }
    assert all(len(found) > 1 for found in lengths.values()), lengths
    assert lengths["InstanceNumber"] == {1, 2, 3, 4}


def test_a_header_that_does_not_fit_in_a_pdu_is_refused(small: Path) -> None:
    with pytest.raises(ValueError, match="does not fit in a PDU of 2048"):
        Messages(small, SMALL.sop_class, 2048)


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


def test_success_without_bytes_on_disk_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_SECONDS", 0)

    def command(data: Path, port: int) -> tuple[list[str], dict[str, str]]:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        return [sys.executable, "-m", "tests.bench.floor", str(elsewhere), "none"], {}

    liar = replace(FLOOR, command=command)
    with pytest.raises(RuntimeError, match="3 objects answered with success, 0 on disk"):
        run(liar, SMALL, record(SMALL, tmp_path), 1, 2)


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
