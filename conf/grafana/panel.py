"""What a panel of the dashboard is, as data. ``dashboard.py`` makes Grafana's JSON of all of them.

In expressions ``{S}`` and ``{S,more="..."}`` stand for the selector of the chosen nodes.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """How a panel shows its queries."""

    STAT = "stat"  # the value now
    LINES = "lines"
    STACK = "stack"  # lines on top of each other: the parts of a sum
    BARS = "bars"  # counts of an interval
    GAUGES = "gauges"  # a bar for each value, over the shown time
    STATES = "states"  # a band for each, coloured while its value is not 0


class Query(NamedTuple):
    """PromQL and the name of its series."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """``steps`` are thresholds: colour from a value on, the first one from the beginning. ``width`` of 24.
    ``empty`` stands where there is nothing to show; ``least`` is where the axis begins, None where the values do."""

    kind: Kind
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    height: int = 8
    texts: tuple[tuple[str, str, str], ...] = ()  # (value, text, colour)
    empty: str = ""
    least: float | None = 0


class Row(NamedTuple):
    """Panels under a title."""

    title: str
    panels: tuple[Panel, ...]


def now(title: str, description: str, unit: str, expr: str, *steps: tuple[float, str]) -> Panel:
    """A number at a glance, coloured from the values of ``steps`` on."""
    return Panel(Kind.STAT, title, description, unit, (Query(expr),), 4, ((None, "green"), *steps), 4)


def quantiles(metric: str) -> tuple[Query, ...]:
    """Of a histogram: the half, and what one in twenty and one in a hundred exceeds."""
    return tuple(
        Query(
            f"histogram_quantile({share / 100}, sum by (le) (rate({metric}_bucket{{S}}[$__rate_interval])))",
            f"p{share}",
        )
        for share in (50, 95, 99)
    )
