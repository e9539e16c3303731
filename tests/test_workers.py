"""The groups that tests are handed out by: every file in them is there, and none that belongs there is left out."""

from __future__ import annotations

from itertools import chain

import pytest

from tests import workers
from tests.tools import ROOT

FILES = [*chain.from_iterable(workers.TOGETHER.values()), *workers.LONGEST]


@pytest.mark.parametrize("file", FILES)
def test_each_file_is_there(file: str) -> None:
    assert (ROOT / file).is_dir() if file.endswith("/") else (ROOT / file).is_file()
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


def test_the_wheel_is_built_and_installed_in_one_worker() -> None:
    """Its fixtures last as long as the session of a worker: two workers would build, and install, twice."""
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "packages").glob("test_*.py")]
    assert len(files) > 3
    assert {workers.unit(f"{file}::test_any") for file in files} == {"wheel"}


def test_no_test_names_a_group_that_nobody_looks_at() -> None:
    """Tests are handed out by ``workers.unit``; the marker of xdist has no effect beside it."""
    marker = "xdist_" + "group"
    paths = (ROOT / "tests").rglob("*.py")
    assert [str(path.relative_to(ROOT)) for path in paths if marker in path.read_text()] == []
