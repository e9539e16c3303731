"""Which files are taken for sendable, and as what."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.services.send.sendable import NotSent, Sendable, inspect, scan
from tests.services.objects import DEFLATED, encoded, meta, write


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize(
    "transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED]
)
def test_inspects_every_encoding(tmp_path: Path, transfer_syntax: str, preamble: bool) -> None:
    path = tmp_path / "object"
    head = (b"\0" * 128 + b"DICM" if preamble else b"") + meta("9.9", transfer_syntax)
    data_set = encoded("1.2.3.4.5", transfer_syntax)
    path.write_bytes(head + data_set)
    # the data set's own instance UID, not the file meta information's
    expected = Sendable(path, CTImageStorage, "1.2.3.4.5", transfer_syntax, len(head), len(data_set))
    assert inspect(path) == expected


@pytest.mark.parametrize(
    "transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_guesses_the_encoding_that_nothing_declares(tmp_path: Path, transfer_syntax: str) -> None:
    for head in (b"", b"\0" * 128 + b"DICM", meta("1.2", None)):
        path = tmp_path / "object"
        data_set = encoded("1.2.3.4.5", transfer_syntax)
        path.write_bytes(head + data_set)
        assert inspect(path) == Sendable(
            path, CTImageStorage, "1.2.3.4.5", transfer_syntax, len(head), len(data_set)
        )


@pytest.mark.parametrize(
    ("content", "skipped"),
    [
        (b"", "empty"),
        (b"hello, world: this is a text", "not DICOM"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 300, "not DICOM"),
        (b"\0" * 300, "not DICOM"),
        (b"\x08\0", "not DICOM"),
        (b"\x08\0\x05\0garbage that begins like an element", "not DICOM"),
    ],
)
def test_passes_over_what_is_not_dicom(tmp_path: Path, content: bytes, skipped: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    found = inspect(path)
    assert isinstance(found, NotSent)
    assert found.skipped == skipped


def test_names_what_claims_to_be_dicom_and_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "cut.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + meta("1.2", ExplicitVRLittleEndian)[:30])
    found = inspect(path)
    assert isinstance(found, NotSent)
    assert found.skipped is None


def test_scan_walks_folders_in_order_and_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for number, name in enumerate(("b/c/1.dcm", "b/2.dcm", "a.dcm")):
        write(tmp_path / name, number + 1)
    dicomdir = get_testdata_file("DICOMDIR")
    missing = tmp_path / "nowhere"
    found = list(scan([tmp_path, Path(str(dicomdir)), missing]))
    assert [one.path.name for one in found] == ["a.dcm", "2.dcm", "1.dcm", "DICOMDIR", "nowhere"]
    assert found[3] == NotSent(Path(str(dicomdir)), "a DICOMDIR", skipped="DICOMDIR")
    assert found[4] == NotSent(missing, "no such file")
