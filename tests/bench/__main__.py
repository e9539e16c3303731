"""``python -m tests.bench [--quick] [--repeats N] [--json FILE] [--only TEXT]...``: the tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.bench.fhir import Huge, Outcome, build_and_check, huge
from tests.bench.loads import LOADS, Load, record
from tests.bench.measure import Result, run
from tests.bench.receivers import BASELINE, RECEIVERS, Receiver

ASSOCIATIONS = (1, 4)
Cell = tuple[str, int, str]  # load, associations, receiver


def main(argv: list[str]) -> int:
    """Runs what ``argv`` asks for and prints it; 1 when a receiver failed or refused an object."""
    options = _options(argv)
    console = Console(width=None if sys.stdout.isatty() else 132)
    receivers = _present(options.only, console)
    plan = [
        (load, count, receiver)
        for load in LOADS
        for count in ASSOCIATIONS
        for receiver in receivers
        if not (options.quick and load.frames > 1 and count > 1)
    ]
    results: dict[Cell, list[Result]] = defaultdict(list)
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="node-bench-") as folder, _bar(console) as bar:
        data_sets = {load.name: record(load, Path(folder)) for load in LOADS}
        task = bar.add_task("", total=len(plan) * options.repeats)
        for _ in range(options.repeats):  # interleaved: what disturbs the machine disturbs all
            for load, count, receiver in plan:
                bar.update(task, description=f"{load.name}, {count} associations: {receiver.name}")
                each = load.objects(options.quick, count)
                try:
                    result = run(receiver, load, data_sets[load.name], count, each)
                    results[load.name, count, receiver.name].append(result)
                except RuntimeError as error:
                    failures.append(f"{receiver.name}, {load.name}, {count} associations: {error}")
                bar.advance(task)
        sizes = {name: path.stat().st_size for name, path in data_sets.items()}
    for load in LOADS:
        for count in ASSOCIATIONS:
            _print(console, load, count, sizes[load.name], receivers, results)
    for failure in dict.fromkeys(failures):
        console.print(f"failed: {failure}", markup=False, highlight=False)
    fhir: list[Outcome | Huge] = [*build_and_check(), huge()]
    for outcome in fhir:
        console.print(outcome.line(), highlight=False)
    if options.json:
        Path(options.json).write_text(
            json.dumps(_document(options, results, failures, [asdict(outcome) for outcome in fhir]))
        )
    refused = any(result.refused for runs in results.values() for result in runs)
    return 1 if failures or refused else 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repeat, less than two minutes")
    parser.add_argument("--repeats", type=int, help="interleaved repeats; medians are shown (5, quick: 1)")
    parser.add_argument("--json", metavar="FILE", help="write every run's numbers too")
    parser.add_argument("--only", action="append", metavar="TEXT", help="receivers whose name contains TEXT")
    options = parser.parse_args(argv)
    options.repeats = options.repeats or (1 if options.quick else 5)
    return options


def _present(only: list[str] | None, console: Console) -> list[Receiver]:
    present = []
    for receiver in RECEIVERS:
        if only and not any(text in receiver.name for text in only):
            continue
        missing = receiver.missing()
        if missing:
            console.print(f"left out: {receiver.name}: {missing}", highlight=False)
        else:
            present.append(receiver)
    return present


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _median(runs: list[Result], field: str) -> float:
    return float(statistics.median(getattr(result, field) for result in runs))


def _print(
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
    columns = ("objects/s", "MB/s", "p95 ms", "CPU ms/object", "peak MB", "PDU", "refused", "x storescp")
    table.add_column("receiver")
    table.add_column("synced")
    for column in columns:
        table.add_column(column, justify="right")
    baseline = results.get((load.name, associations, BASELINE), [])
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
            f"{_median(runs, 'peak_mb'):,.0f}",
            f"{runs[0].pdu}",
            f"{sum(result.refused for result in runs)}",
            ratio,
        )
    console.print(table)


def _document(
    options: argparse.Namespace,
    results: dict[Cell, list[Result]],
    failures: list[str],
    fhir: list[dict[str, Any]],
) -> dict[str, Any]:
    runs = [
        {"load": load, "associations": count, "receiver": name, **asdict(result)}
        for (load, count, name), measured in results.items()
        for result in measured
    ]
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    kind = {"quick": options.quick, "repeats": options.repeats}
    return {**kind, "machine": machine, "runs": runs, "failures": failures, "fhir": fhir}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
