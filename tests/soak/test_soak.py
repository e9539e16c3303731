"""The soak in its shortest form, and that it would tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.scenarios.watch import Held
from tests.soak.__main__ import main, verdict
from tests.soak.clients import Record

CALM = Held((1, 2), 100.0, 50, 20)


@pytest.mark.slow
def test_a_short_soak(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--minutes", "0.1"])
    assert status == 0, capsys.readouterr().out


@pytest.fixture
def record() -> Record:
    made = Record()
    for what in ("C-STORE", "C-FIND"):
        made.seconds[what].append(0.01)
    return made


def test_steady_is_fine(record: Record) -> None:
    assert verdict([CALM] * 20, record, "") == []


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (replace(CALM, descriptors=90), "descriptors"),
        (replace(CALM, threads=90), "threads"),
        (replace(CALM, processes=(1, 3)), "died"),
    ],
)
def test_what_is_left_at_rest_is_told(record: Record, last: Held, said: str) -> None:
    problems = verdict([*[CALM] * 20, last], record, "")
    assert len(problems) == 1
    assert said in problems[0]


def test_growth_is_told(record: Record) -> None:
    samples = [replace(CALM, megabytes=100.0 + number) for number in range(40)]
    assert "memory grew by" in verdict(samples, record, "")[0]


def test_errors_and_silence_are_told(record: Record) -> None:
    with record.timed("C-STORE"):
        raise TimeoutError("late")
    assert verdict([CALM] * 20, record, "") == [
        "1 errors of good clients, first: C-STORE: TimeoutError: late"
    ]
    assert "not one C-FIND: nothing was proved" in verdict([CALM] * 20, Record(), "")
    assert verdict([CALM] * 20, record, "Traceback (most recent call last)")[-1].startswith("the log")
