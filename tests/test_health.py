"""Readiness: each check says nothing or why; faults of the disk and the index become reasons."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from node.errors import IndexUnavailable
from node.health import SILENT, Check, Health, Prompt, folder_writable, listens, succeeds


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


# --- for somebody who can't wait


def test_checks_that_hang_are_a_reason_themselves() -> None:
    """As on a disk that does not answer; when it does again, so do they. They are not asked twice meanwhile."""
    goes_on, asked = threading.Event(), Counter[str]()

    def hang() -> dict[str, str]:
        asked["times"] += 1
        goes_on.wait(30)
        return {"space": "disk low"}

    prompt = Prompt(hang, wait_seconds=0.02)
    for _ in range(2):
        assert list(prompt()) == [SILENT]
    goes_on.set()
    assert Prompt(hang)() == {"space": "disk low"}
    assert asked["times"] == 2


def test_one_look_serves_all_that_ask_at_once() -> None:
    asked = Counter[str]()

    def ask() -> dict[str, str]:
        asked["times"] += 1
        return {}

    kept, fresh = Prompt(ask, keep_seconds=60), Prompt(ask, keep_seconds=-1)
    assert [kept(), kept()] == [{}, {}]
    assert asked["times"] == 1
    assert [fresh(), fresh()] == [{}, {}]
    assert asked["times"] == 3


def test_a_fault_of_ours_is_not_hidden_by_asking_promptly() -> None:
    def wrong() -> dict[str, str]:
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        Prompt(wrong)()


def test_checks_have_names() -> None:
    assert Health([Check("a", lambda: None), Check("b", lambda: "why")]).names == ("a", "b")
