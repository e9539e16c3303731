"""The chart of the last hour, drawn and said."""

from __future__ import annotations

import pytest

from node.web.pages.chart import HEIGHT, chart, scale
from tests.web.pages.samples import NOW


def receiving(*objects: int) -> dict[str, object]:
    return {"step_seconds": 60, "objects": [*objects], "bytes": [1000 * n for n in objects], "last_at": None}


@pytest.mark.parametrize(("most", "top"), [(0, 1), (1, 1), (2, 2), (3, 5), (6, 10), (99, 100), (101, 200)])
def test_the_scale_is_a_round_number_above_the_most(most: int, top: int) -> None:
    assert scale(most) == top


def test_bars_stand_on_the_base_line_and_reach_their_share_of_the_top() -> None:
    drawn = chart(receiving(0, 10, 5, 0), NOW)
    assert (drawn.top, drawn.width) == (10, 40)
    assert [(bar.x, bar.height) for bar in drawn.bars] == [(10, HEIGHT), (20, HEIGHT / 2)]
    assert all(bar.y + bar.height == HEIGHT for bar in drawn.bars)


def test_each_minute_says_when_it_was_and_what_came() -> None:
    """14:14:00 is the first second of the running minute, the last of the four."""
    assert [bar.tells for bar in chart(receiving(1, 0, 0, 2), NOW).bars] == [
        "14:11 UTC: 1 object, 1.00 kB",
        "14:14 UTC: 2 objects, 2.00 kB",
    ]


def test_the_whole_chart_in_words() -> None:
    told = chart(receiving(0, 10, 5, 0), NOW)
    assert told.tells == "15 objects (15.0 kB) in the last hour, at most 10 a minute."
    assert told.top_at == "2026-09-21T14:12:00.000Z"
    silent = chart(receiving(0, 0), NOW)
    assert (silent.tells, silent.top_at) == ("Nothing was received in the last hour.", "")
    assert not silent.bars
