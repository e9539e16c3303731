"""Readiness: each check says nothing or why; faults of the disk and the index become reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import IndexUnavailable
from node.health import Check, Health, folder_writable, listens, succeeds


def test_ready_when_every_check_is_silent(tmp_path: Path) -> None:
    health = Health([Check("store", folder_writable(tmp_path)), Check("dicom", listens(lambda: True))])
    assert health.reasons() == {}


def test_each_reason_under_its_name() -> None:
    health = Health([Check("dicom", listens(lambda: False)), Check("space", lambda: "disk low")])
    assert health.reasons() == {
        "dicom": "the DICOM listener does not accept connections",
        "space": "disk low",
    }


def test_the_folder_probe_leaves_nothing(tmp_path: Path) -> None:
    assert folder_writable(tmp_path)() is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    (reason,) = Health([Check("store", folder_writable(tmp_path / "gone"))]).reasons().values()
    assert reason == f"{tmp_path / 'gone'} can't be written: No such file or directory"


def test_errors_of_the_node_are_reasons() -> None:
    def write() -> None:
        raise IndexUnavailable("index var/index.db: disk I/O error")

    assert Health([Check("index", succeeds(write))]).reasons() == {
        "index": "index var/index.db: disk I/O error"
    }


def test_an_error_without_text_is_still_a_reason() -> None:
    def write() -> None:
        raise OSError

    assert Health([Check("index", succeeds(write))]).reasons() == {"index": "OSError"}


def test_faults_of_ours_are_not_hidden() -> None:
    def wrong() -> str:
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        Health([Check("x", wrong)]).reasons()
