"""Files of every origin become the rows that the index would hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from node.model import InstanceRow, ObjectKey
from node.preview import Gathered, gather
from node.preview.files import MAX_NAMED
from tests.preview.made import write
from tests.studies import CT, ENCODINGS, STUDY, ct, item, made_study, rows, rtstruct

Told = list[tuple[int, int]]


def gathered(*paths: Path, study: str = "", told: Told | None = None) -> Gathered:
    def progress(done: int, total: int) -> None:
        if told is not None:
            told.append((done, total))

    return gather(paths, study, progress)


def contents(found: Gathered) -> list[tuple[str, str, Any]]:
    """Series, UID and all attributes of each instance of STUDY."""
    study = found.studies[STUDY]
    shared = {one.id: one.attributes for one in study.headers}
    return [(row.series, row.uid, {**shared[row.header], **row.attributes}) for row in study.rows()]


def indexed(*datasets: Any) -> list[tuple[str, str, Any]]:
    """The same as the index would have it."""
    headers, instances = rows(datasets)
    shared = {one.id: one.attributes for one in headers}
    return [(row.series, row.uid, {**shared[row.header], **row.attributes}) for row in instances]


def test_files_as_the_node_stores_them(tmp_path: Path) -> None:
    write(tmp_path, ct(1), ct(2), rtstruct())
    found = gathered(tmp_path)
    assert contents(found) == indexed(ct(1), ct(2), rtstruct())
    assert len(found.studies[STUDY].headers) == 2, "instances of a series share what is the same"
    assert (found.passed_over, found.unread, found.repeated) == ({}, [], 0)


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_data_sets_with_neither_preamble_nor_meta(tmp_path: Path, syntax: str) -> None:
    write(tmp_path, ct(1), syntax=syntax)
    assert contents(gathered(tmp_path)) == indexed(ct(1))


def test_files_of_other_programs(tmp_path: Path) -> None:
    made_study(tmp_path, STUDY, {"CT": 2, "MR": 1})
    assert [row.uid != "" for row in gathered(tmp_path).studies[STUDY].rows()] == [True] * 3


def test_rows_are_the_index_s(tmp_path: Path) -> None:
    (row,) = gathered(write(tmp_path, ct(1))).studies[STUDY].rows()
    own = orjson.loads(orjson.dumps(dict(row.attributes)))
    expected = InstanceRow(f"{STUDY}.1", f"{STUDY}.1.1", CT, "1.2.840.10008.1.2.1", 0, own, "")
    assert row == expected


def test_what_is_passed_over_and_what_can_not_be_read(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "down", ct(1))
    (tmp_path / "notes.txt").write_text("no DICOM at all")
    (tmp_path / "empty").write_bytes(b"")
    directory = item(FileSetID="X")
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    write(tmp_path, ct(2, StudyInstanceUID=None), ct(3, SOPClassUID="9.9.9.9"))
    third = tmp_path / f"{STUDY}.1.3.dcm"
    third.write_bytes(third.read_bytes().replace(b"9.9.9.9", b"no UID!"))
    found = gathered(tmp_path)
    assert found.passed_over == {"not DICOM": 1, "empty": 1, "DICOMDIR": 1}
    assert [(one.path.name, one.reason) for one in found.unread] == [
        (f"{STUDY}.1.2.dcm", "no Study Instance UID (0020,000D)"),
        (f"{STUDY}.1.3.dcm", "no legal SOP Class UID"),
    ]
    assert list(found.studies) == [STUDY]


def test_an_instance_that_lies_there_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a", ct(1, StudyDescription="first"))
    write(tmp_path / "b", ct(1, StudyDescription="second"), ct(1, 2))
    found = gathered(tmp_path)
    assert found.repeated == 1
    assert [attributes["StudyDescription"] for _, _, attributes in contents(found)] == [
        ["first"],
        ["CT THORAX"],
    ]
    with found.open(ObjectKey(STUDY, f"{STUDY}.1", f"{STUDY}.1.1")) as file:
        assert file.name.endswith(f"a/{STUDY}.1.1.dcm")


def test_only_one_study(tmp_path: Path) -> None:
    write(tmp_path, ct(1), ct(2, StudyInstanceUID="1.2.3"))
    found = gathered(tmp_path, study="1.2.3")
    assert list(found.studies) == ["1.2.3"]
    assert found.passed_over == {"of other studies": 1}


def test_progress_counts_files(tmp_path: Path) -> None:
    write(tmp_path, ct(1), ct(2))
    told: Told = []
    gathered(tmp_path, tmp_path / f"{STUDY}.1.1.dcm", told=told)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_only_some_unread_files_are_named(tmp_path: Path) -> None:
    for number in range(MAX_NAMED + 3):
        write(tmp_path, ct(number + 1, SeriesInstanceUID=None))
    found = gathered(tmp_path)
    assert (len(found.unread), found.unread_count) == (MAX_NAMED, MAX_NAMED + 3)


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (unread,) = gathered(tmp_path).unread
    assert unread.reason == "no such file"


@pytest.mark.parametrize(
    "key",
    [ObjectKey("9.9", f"{STUDY}.1", f"{STUDY}.1.1"), ObjectKey(STUDY, f"{STUDY}.1", "9.9")],
)
def test_no_file_of_an_unknown_instance(tmp_path: Path, key: ObjectKey) -> None:
    opened: Callable[[ObjectKey], object] = gathered(write(tmp_path, ct(1))).open
    with pytest.raises(FileNotFoundError):
        opened(key)


def test_where_instances_are(tmp_path: Path) -> None:
    write(tmp_path, ct(1), ct(1, 2, StudyInstanceUID="1.2.3"))
    found = gathered(tmp_path).locate([f"{STUDY}.2.1", "9.9"])
    assert found == {f"{STUDY}.2.1": ("1.2.3", f"{STUDY}.2")}
