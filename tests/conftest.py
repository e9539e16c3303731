"""Fixtures for every folder of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.index.engine import Engine
from tests import tools
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


def worker_group(item: pytest.Item) -> str | None:
    """Tests of one group run in one worker: they share something that takes its time to start. The validator
    is one for the session; the brokers of a file are its own, and each worker has one for the others."""
    if item.get_closest_marker("hapi") is not None:
        return "hapi"
    return f"kafka-{item.path.stem}" if item.get_closest_marker("kafka") is not None else None


@pytest.hookimpl(tryfirst=True)  # before the distribution looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked tests skip where what they need is missing; in CI a missing tool fails instead."""
    for item in items:
        group = worker_group(item)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))
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
