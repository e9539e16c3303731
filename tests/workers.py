"""Which worker runs which tests, and in what order, when pytest-xdist spreads them.

By file: what a file starts for its tests is started once, not once a worker. (`--dist loadgroup` of xdist 3.8 would
do that by marker, but pytest 9.2 has ids that it can't write to, and it then spreads every test alone.) What takes
longest goes first, so that no worker is left with it at the end.
"""

from __future__ import annotations

from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# Files, or folders of them, that share something which takes its time to make; each tuple is handed out whole.
TOGETHER: Final = {
    "hapi": (
        "tests/fhir/test_outputs_corpus.py",
        "tests/fhir/validators/test_validators.py",
        "tests/fhir/selections/test_published.py",
    ),
    "wheel": ("tests/packages/",),
}

# The longest of the others, longest first; the rest follows as it was collected.
LONGEST: Final = (
    "tests/scenarios/test_kafka.py",
    "tests/scenarios/test_faults_kill.py",
    "tests/scenarios/test_kafka_security.py",
    "tests/scenarios/test_kafka_faults.py",
    "tests/publish/test_contract.py",
    "tests/scenarios/test_faults_io.py",
    "tests/scenarios/test_corpus.py",
)

_UNIT_OF: Final = {path: unit for unit, paths in TOGETHER.items() for path in paths}
_RANK: Final = {unit: at for at, unit in enumerate((*TOGETHER, *LONGEST))}


def unit(nodeid: str) -> str:
    """What the test is handed out with: its file, or a name in TOGETHER."""
    file = nodeid.partition("::")[0]
    return _UNIT_OF.get(file) or _UNIT_OF.get(f"{file.rpartition('/')[0]}/", file)


def rank(item: pytest.Item) -> int:
    """Where the test's unit stands in the order."""
    return _RANK.get(unit(item.nodeid), len(_RANK))


class ByUnit(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out units in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
