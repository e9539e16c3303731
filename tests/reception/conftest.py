"""One interpreter without threads for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.reception.alone import Alone


@pytest.fixture(scope="package")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with closing(Alone(tmp_path_factory.mktemp("alone"))) as alone:
        yield alone
