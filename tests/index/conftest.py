"""Fixtures of the index's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.index.arrivals import Arrivals


@pytest.fixture
def make_arrivals(tmp_path: Path) -> Iterator[Callable[..., Arrivals]]:
    """Makes indexes with their stores; keyword arguments as ``Arrivals`` has them."""
    made: list[Arrivals] = []

    def make(name: str = "var", **given: object) -> Arrivals:
        made.append(Arrivals(tmp_path / name, **given))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for arrivals in made:
        arrivals.close()


@pytest.fixture
def arrivals(make_arrivals: Callable[..., Arrivals]) -> Arrivals:
    """An index with the defaults."""
    return make_arrivals()
