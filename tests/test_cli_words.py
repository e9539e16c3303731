"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from node.cli import words

NOON = words.instant("2026-11-22T12:00:00Z")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0.0 s"), (0.04, "0.0 s"), (0.3, "0.3 s"), (0.99, "1 s"), (59.6, "60 s"), (119, "119 s"),
        (120, "2 min"), (7199, "2 h 00 min"), (7500, "2 h 05 min"), (172_000, "47 h 47 min"), (176_400, "2 d 1 h"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (5e9, "5.0 GB"), (2.5e13, "25.0 TB")],
)
def test_sizes(count: float, said: str) -> None:
    assert words.size(count) == said


def test_times_beside_now() -> None:
    assert NOON is not None
    assert words.ago("2026-11-22T11:58:00.500Z", NOON) == "2 min ago"
    assert words.until("2026-11-22T12:00:38Z", NOON) == "in 38 s"
    assert words.until("2026-11-22T11:59:59Z", NOON) == "due"
    assert (words.ago(None, NOON), words.until(None, NOON), words.clock(None, NOON)) == ("", "", "")


def test_a_clock_time_has_its_day_when_that_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NOON is not None
    assert len(words.clock("2026-11-22T11:59:00Z", NOON)) == len("11:59:00")
    assert words.clock("2026-11-20T11:59:00Z", NOON).startswith("2026-11-20 ")


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([0, 0, 0], "▁▁▁"), ([0, 1, 1000], "▁▂█"), ([5, 5], "██"), ([0, 50, 100], "▁▅█")],
)
def test_the_least_that_came_is_not_drawn_as_nothing(values: list[float], line: str) -> None:
    assert words.sparkline(values) == line


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "object", "1 object"),
        (2400, "object", "2,400 objects"),
        (2, "study", "2 studies"),
        (3, "series", "3 series"),
    ],
)
def test_plurals(count: int, noun: str, said: str) -> None:
    assert words.plural(count, noun) == said
