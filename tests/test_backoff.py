"""The delays between attempts at a sink that is away."""

from __future__ import annotations

from node.outbox import Backoff


def test_backoff_doubles_to_its_cap_and_starts_again_after_success() -> None:
    backoff = Backoff(first=0.5, cap=30.0, chance=lambda: 0.0)
    assert [backoff.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next() == 0.5


def test_backoff_is_shortened_by_at_most_a_half() -> None:
    backoff = Backoff(first=4.0, cap=4.0, chance=lambda: 0.999999)
    assert 2.0 <= backoff.next() < 2.01


def test_backoff_survives_a_sink_that_is_away_for_years() -> None:
    backoff = Backoff(chance=lambda: 0.0)
    assert {backoff.next() for _ in range(5000)} >= {30.0}
