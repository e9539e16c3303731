"""Fixtures for every folder of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.index.engine import Engine
from tests import tools, workers
from tests.fhir.validators.hapi import hapi
from tests.harness import Nodes, running_nodes
from tests.kafka_broker import kafka_broker

__all__ = ["hapi", "kafka_broker"]


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


@pytest.hookimpl(optionalhook=True)  # xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> workers.ByUnit | None:
    """``--dist loadgroup`` is by the groups of ``workers``."""
    return workers.ByUnit(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.hookimpl(trylast=True)  # after what orders tests in another way
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked tests skip where what they need is missing; in CI a missing tool fails instead."""
    items.sort(key=workers.rank)
    for item in items:
        for name, why in tools.MISSING.items():
            if item.get_closest_marker(name) is None or why is None:
                continue
            if tools.IN_CI and name != "shared":
                item.add_marker(pytest.mark.usefixtures("tool_missing_in_ci"))
            else:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture
def tool_missing_in_ci() -> None:
    pytest.fail("CI=true and a tool is missing: " + "; ".join(why for why in tools.MISSING.values() if why))
