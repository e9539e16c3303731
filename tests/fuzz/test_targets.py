"""Every target with its seeds, and with what hypothesis makes of them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import damaged
from tests.fuzz.targets import TARGETS, seeds

# Decoders warn of every value that is none; here nearly all are.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    known = seeds(name)
    assert len(known) > 20
    for data in known:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_seeds(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(damaged(name)))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)
