"""Readiness: each check says nothing or why; faults of the disk and the index become reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import IndexUnavailable
from node.health import Check, Health, enough_space, folder_writable, listens, sink_moves, succeeds


def test_ready_when_every_check_is_silent(tmp_path: Path) -> None:
    health = Health([Check("store", folder_writable(tmp_path)), Check("dicom", listens(lambda: True))])
    assert health.reasons() == {}
    assert health.names == ("store", "dicom")


def test_each_reason_under_its_name() -> None:
    health = Health([Check("dicom", listens(lambda: False)), Check("space", enough_space(lambda: 10, 20))])
    assert health.reasons() == {
        "dicom": "the DICOM listener does not accept connections",
        "space": "10 bytes are free, objects.min_free_bytes is 20",
    }


def test_space_that_is_just_enough() -> None:
    assert enough_space(lambda: 20, 20)() is None


def test_the_folder_probe_leaves_nothing(tmp_path: Path) -> None:
    assert folder_writable(tmp_path)() is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    (reason,) = Health([Check("store", folder_writable(tmp_path / "gone"))]).reasons().values()
    assert "No such file or directory" in reason


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


@pytest.mark.parametrize(
    ("age", "failure", "stuck"),
    [
        (0, None, False),
        (500, None, False),
        (5, "refused", False),
        (60, "refused", False),
        (61, "refused", True),
    ],
)
def test_a_sink_is_stuck_when_it_fails_and_events_wait_too_long(
    age: float, failure: str | None, stuck: bool
) -> None:
    reason = sink_moves(lambda: age, 60, lambda: failure)()
    assert (reason is not None) is stuck
    if reason:
        assert reason == "events have waited for 61 s: refused"
