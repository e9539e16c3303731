"""The bench on paper: a table for each load, and the closing one."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from tests.bench.loads import Load
from tests.bench.measure import Result
from tests.bench.receivers import STORESCP, Receiver
from tests.bench.verdicts import Verdict

Cell = tuple[str, int, str]  # load, associations, receiver
# "behind": what was still to be done when the last object had been answered, in all (Result.behind_ms)
_COLUMNS = (
    "objects/s",
    "MB/s",
    "p95 ms",
    "CPU ms\n/object",
    "CPU ms\nbehind",
    "peak\nRSS MB",
    "PDU",
    "refused",
    "x storescp",
)
_SAID = {True: "ok", False: "NOT", None: "-"}


def closing(console: Console, verdicts: list[Verdict]) -> None:
    """What was wanted beside what was reached."""
    table = Table(title="the node: reached and wanted")
    for column in ("line", "reached", "beside", "wanted", ""):
        table.add_column(column, overflow="fold")
    for one in verdicts:
        table.add_row(one.line, one.reached or "not run", one.beside, one.wanted, _SAID[one.ok])
    console.print(table, markup=False, highlight=False)


def _median(runs: list[Result], field: str) -> float:
    return float(statistics.median(getattr(result, field) for result in runs))


def loads(
    console: Console,
    load: Load,
    associations: int,
    size: int,
    receivers: list[Receiver],
    results: dict[Cell, list[Result]],
) -> None:
    rows = [(receiver, results.get((load.name, associations, receiver.name), [])) for receiver in receivers]
    if not any(runs for _, runs in rows):
        return
    plural = "" if associations == 1 else "s"
    table = Table(title=f"{load.name} ({size / 1e3:.0f} kB), {associations} association{plural}")
    table.add_column("receiver", no_wrap=True)
    table.add_column("synced")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    baseline = results.get((load.name, associations, STORESCP.name), [])
    for receiver, runs in rows:
        if not runs:
            table.add_row(receiver.name, receiver.durable, "failed")
            continue
        rate = _median(runs, "objects_per_second")
        ratio = f"{rate / _median(baseline, 'objects_per_second'):.2f}" if baseline else "-"
        table.add_row(
            receiver.name,
            receiver.durable,
            f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}",
            f"{_median(runs, 'mb_per_second'):,.0f}",
            f"{_median(runs, 'p95_ms'):.2f}",
            f"{_median(runs, 'cpu_ms'):.2f}",
            f"{_median(runs, 'behind_ms'):,.0f}",
            f"{_median(runs, 'peak_mb'):,.0f}",
            f"{runs[0].pdu}",
            f"{sum(result.refused for result in runs)}",
            ratio,
        )
    console.print(table)
