"""Fixtures for every folder of tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.index.engine import Engine
from tests import tools, workers
from tests.fhir.validators.hapi import hapi
from tests.harness import Nodes, running_nodes
from tests.kafka_broker import kafka_broker

__all__ = ["hapi", "kafka_broker"]

_TERMINAL = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Starts nodes on free ports with their data under ``tmp_path``; stops them at the end."""
    yield from running_nodes(tmp_path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty index."""
    made = Engine(f"sqlite:///{tmp_path / 'index.db'}")
    made.create()
    yield made
    made.close()


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of shared test objects; tests that use it are marked ``shared``."""
    return tools.SHARED / "corpus"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key; tests that use it are marked ``openssl``."""
    return tools.make_certificate(tmp_path_factory.mktemp("tls"))


def pytest_configure() -> None:
    """What whoever runs the tests exports would be the width and colours of the node's consoles, and its settings."""
    for name in tuple(os.environ):
        if name in _TERMINAL or (name.startswith("NODE_") and name != "NODE_PICTURES"):
            del os.environ[name]


@pytest.hookimpl(optionalhook=True)  # xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> workers.ByUnit | None:
    """``--dist loadgroup`` is by the groups of ``workers``."""
    return workers.ByUnit(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.hookimpl(trylast=True)  # after what orders tests in another way
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=workers.rank)


@pytest.hookimpl(tryfirst=True)  # before fixtures try to start what is not there
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Marked tests skip where what they need is missing; in CI a missing tool fails them instead."""
    for name, why in tools.MISSING.items():
        if why is not None and item.get_closest_marker(name) is not None:
            if name == "shared":
                pytest.skip(why)
            tools.unavailable(why)
