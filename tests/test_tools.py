"""What tests need of the machine: a missing program skips them, in CI fails them; what is exported is not seen."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest, tools


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A test that needs Kafka and the shared objects, on a machine without both."""
    monkeypatch.setattr(
        tools, "MISSING", {"kafka": "java not found", "shared": "no objects", "orthanc": None}
    )

    def made(*markers: str) -> Any:
        return SimpleNamespace(get_closest_marker=lambda name: name if name in markers else None)

    return made


def test_without_the_program_a_test_skips(marked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception, match="java not found"):
        conftest.pytest_runtest_setup(marked("kafka"))


def test_in_ci_it_fails(marked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "IN_CI", True)
    with pytest.raises(pytest.fail.Exception, match="java not found"):
        conftest.pytest_runtest_setup(marked("kafka"))
    with pytest.raises(pytest.skip.Exception, match="no objects"):
        conftest.pytest_runtest_setup(marked("shared"))


def test_what_is_there_runs(marked: Any) -> None:
    conftest.pytest_runtest_setup(marked("orthanc", "slow"))


@pytest.mark.parametrize("name", ["COLUMNS", "FORCE_COLOR", "NO_COLOR", "NODE_DICOM__PORT"])
def test_what_the_caller_exports_is_not_what_is_tested(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "20")
    conftest.pytest_configure()
    assert name not in os.environ
