"""The groups that tests are handed out by: every file in them is there, and none that belongs there is left out."""

from __future__ import annotations

from itertools import chain

import pytest

from tests import workers
from tests.tools import ROOT

FILES = [*chain.from_iterable(workers.TOGETHER.values()), *workers.LONGEST]


@pytest.mark.parametrize("file", FILES)
def test_each_file_is_there(file: str) -> None:
    assert (ROOT / file).is_file()
    assert FILES.count(file) == 1


def test_all_that_ask_hapi_share_its_process() -> None:
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "@pytest.mark.hapi" in path.read_text() and path.name != "test_workers.py"
    }
    assert marked == set(workers.TOGETHER["hapi"])


def test_a_unit_is_a_file_or_several() -> None:
    assert workers.unit("tests/test_peers.py::test_any[a::b]") == "tests/test_peers.py"
    assert {workers.unit(f"{file}::test_any") for file in workers.TOGETHER["hapi"]} == {"hapi"}
