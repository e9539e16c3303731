"""What a large study costs, in processor time: the limits are ten times what it takes."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from node.fhir.options import EndpointOptions, FhirOptions, OsirisOptions, ReasonReference
from node.fhir.targets import PROFILES
from node.model import Study
from tests.studies import assembled, ct

OPTIONS = FhirOptions(
    wado_rs_base="https://pacs.example.org/dicomweb",
    endpoint=EndpointOptions(name="Archive"),
    osiris=OsirisOptions(ReasonReference(system="https://ris.example.org/accession")),
)


def _study(instances: int) -> Study:
    found = assembled([ct(1)])
    (series,) = found.series
    many = (replace(series.instances[0], uid=f"{series.uid}.{at}", number=str(at)) for at in range(instances))
    return replace(found, series=(replace(series, instances=tuple(many)),))


def _seconds(work: Callable[[], Any]) -> float:
    """Processor seconds of the second run: the first one imports what it needs."""
    work()
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize("name", ["r5", "imr", "osiris", "dstu1"])
def test_the_check_of_3000_instances(name: str) -> None:
    ((resource, *_),) = PROFILES[name].build(_study(3000), OPTIONS)
    assert _seconds(lambda: PROFILES[name].check(resource)) < 0.15


def test_the_check_reads_values_that_nothing_shares() -> None:
    ((resource, *_),) = PROFILES["r5"].build(_study(3000), OPTIONS)
    apart = orjson.loads(orjson.dumps(resource))
    assert _seconds(lambda: PROFILES["r5"].check(apart)) < 0.15


def test_24000_instances() -> None:
    study = _study(24_000)

    def publish() -> bytes:
        ((resource, *_),) = PROFILES["r5"].build(study, OPTIONS)
        PROFILES["r5"].check(resource)
        return orjson.dumps(resource)

    assert _seconds(publish) < 1
    tracemalloc.start()
    try:
        publish()
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()
