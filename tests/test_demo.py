"""The demo: its study is valid, and against a real node it shows the event of exactly that study."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from rich.console import Console

from node.client import Client
from node.demo import make_study, run_demo
from tests.harness import LocalNode, Nodes

NOW = datetime(2024, 5, 1, 10, 15, 30)


@pytest.fixture
def console() -> Iterator[Console]:
    """Not a terminal; what it printed is in ``export_text``."""
    with open(os.devnull, "w") as sink:
        yield Console(record=True, width=200, force_terminal=False, file=sink)


def demonstrate(node: LocalNode, console: Console, **how: object) -> bool:
    to = f"{node.ae_title}@127.0.0.1:{node.port}"
    return run_demo(to, Client(f"http://127.0.0.1:{node.http_port}"), console, **how)  # type: ignore[arg-type]


def test_study_is_valid_and_consistent(tmp_path: Path) -> None:
    study = make_study(tmp_path, NOW)
    images = [dcmread(path) for path in sorted(tmp_path.iterdir())]
    assert len(images) == 24
    assert {image.StudyInstanceUID for image in images} == {study}
    assert len({image.SeriesInstanceUID for image in images}) == 2
    assert len({image.SOPInstanceUID for image in images}) == 24
    for image in images:
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert len(image.PixelData) == image.Rows * image.Columns * 2
        assert len(set(image.PixelData)) > 2  # a picture, not a blank
        assert (image.StudyDate, image.StudyTime) == ("20240501", "101530")
        assert image.SOPInstanceUID.is_valid
        assert image.SeriesInstanceUID.is_valid


def test_every_run_makes_another_study(tmp_path: Path) -> None:
    uids = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        uids.add(make_study(tmp_path / name, NOW))
    assert len(uids) == 2


def test_completes_as_an_operator_when_the_quiet_period_is_long(nodes: Nodes, console: Console) -> None:
    node = nodes.start(completion__quiet_seconds="600")
    assert demonstrate(node, console, patience=0.3)
    (event,) = node.events()
    text = console.export_text()
    assert event["id"] in text
    assert (event["completion"], event["instances"], event["seriescount"]) == ("forced", 24, 2)
    assert f"complete {event['subject']}" in text
    assert "24/24 objects" in text
    assert "... and 11 more" in text
    assert event["callingae"] == "DEMO"


def test_waits_for_the_quiet_period_when_told(nodes: Nodes, console: Console) -> None:
    node = nodes.start(completion__quiet_seconds="1")
    assert demonstrate(node, console, wait=True, patience=0)
    assert [event["completion"] for event in node.events()] == ["quiet"]
    assert "Not waiting" not in console.export_text()


def test_says_how_to_start_a_node_when_none_runs(console: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not run_demo("DICOMFHIR@127.0.0.1:11112", Client(f"http://127.0.0.1:{port}"), console)
    assert "make run" in console.export_text()


def test_says_when_the_dicom_port_is_another_ones(nodes: Nodes, console: Console) -> None:
    node = nodes.start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    client = Client(f"http://127.0.0.1:{node.http_port}")
    assert not run_demo(f"DICOMFHIR@127.0.0.1:{closed}", client, console)
    assert "0 stored, 24 not stored" in console.export_text()


def test_says_why_when_the_node_takes_no_objects(nodes: Nodes, console: Console) -> None:
    node = nodes.start(dicom__unknown_peers="[]")
    assert not demonstrate(node, console)
    assert "not stored" in console.export_text()
    assert node.events() == []
