"""``python -m tests.bench [--quick] [--repeats N] [--json FILE] [--only TEXT]...``: the tables."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.bench import large, still, tables
from tests.bench.fhir import Huge, Outcome, build_and_check, huge
from tests.bench.figures import Bench, Section, rate
from tests.bench.loads import LOADS, Load, record
from tests.bench.machine import machine
from tests.bench.measure import Result, run
from tests.bench.receivers import ORTHANC_NONE, RECEIVERS, Receiver
from tests.bench.verdicts import verdicts

ASSOCIATIONS: Final = (1, 4)
SECTIONS: Final = (*still.SECTIONS, *large.SECTIONS)
_ONLY: Final = (
    "receivers whose name contains TEXT, and the lines that need no others; or lines: "
    + ", ".join(section.name for section in SECTIONS)
)


@dataclass
class _Tables:
    """The tables of receivers: what is to be run, and what came of it."""

    plans: list[list[tuple[Load, int, Receiver]]]  # of each repeat
    results: dict[tables.Cell, list[Result]] = field(default_factory=lambda: defaultdict(list))


def main(argv: list[str]) -> int:
    """Runs what ``argv`` asks for and prints it; 1 when a receiver failed or refused an object."""
    options = _options(argv)
    console = Console(width=None if sys.stdout.isatty() else 132)
    receivers = _present(console)
    sections = [section for section in SECTIONS if _chosen(section, receivers, options.only)]
    receivers = [one for one in receivers if not options.only or _named(one.name, options.only)]
    found = _Tables([_plan(order) for order in _orders(receivers, options.repeats)])
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="node-bench-") as folder, _bar(console) as bar:
        ran_on = machine(Path(folder))
        for line in ran_on.lines():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        data_sets = {load.name: record(load, Path(folder)) for load in LOADS}
        bench = Bench(Path(folder), data_sets, options.quick)
        once = sum(section.once for section in sections)
        total = sum(map(len, found.plans)) + (len(sections) - once) * options.repeats + once
        task = bar.add_task("", total=total)
        for section in sections:
            bar.update(task, description=f"{section.name}: prepared")
            section.prepare(bench)
        for repeat, plan in enumerate(found.plans):  # interleaved: what disturbs the machine disturbs all
            for load, count, receiver in plan:
                bar.update(task, description=f"{load.name}, {count} associations: {receiver.name}")
                _receive(bench, load, count, receiver, found.results, failures)
                bar.advance(task)
            for section in sections:
                if repeat and section.once:
                    continue
                bar.update(task, description=section.name)
                try:
                    section.work(bench)
                except (RuntimeError, OSError) as error:
                    failures.append(f"{section.name}: {error}")
                bar.advance(task)
        sizes = {name: path.stat().st_size for name, path in data_sets.items()}
    for load in LOADS:
        for count in ASSOCIATIONS:
            planned = [one for one in receivers if (load, count, one) in found.plans[0]]
            tables.loads(console, load, count, sizes[load.name], planned, found.results)
    fhir: list[Outcome | Huge] = [] if options.only else [*build_and_check(), huge()]
    for outcome in fhir:
        console.print(outcome.line(), highlight=False)
    said = verdicts(bench.figures)
    if said := [one for one in said if one.reached or not options.only]:
        tables.closing(console, said)
    for failure in dict.fromkeys(failures):
        console.print(f"failed: {failure}", markup=False, highlight=False)
    if options.json:
        document = _document(options, found.results, bench, failures) | {
            "machine": asdict(ran_on),
            "fhir": [asdict(outcome) for outcome in fhir],
        }
        Path(options.json).write_text(json.dumps(document))
    refused = any(result.refused for runs in found.results.values() for result in runs)
    return 1 if failures or refused else 0


def _orders(receivers: list[Receiver], repeats: int) -> list[list[Receiver]]:
    """Another receiver goes first in each repeat: who is the first to run again after a pause is not always the
    same one."""
    firsts = [len(receivers) * repeat // repeats for repeat in range(repeats)]
    return [receivers[first:] + receivers[:first] for first in firsts]


def _plan(receivers: list[Receiver]) -> list[tuple[Load, int, Receiver]]:
    return [
        (load, count, receiver)
        for load in LOADS
        for count in ASSOCIATIONS
        for receiver in receivers
        # Several associations of 200 MB take a minute a repeat and say nothing that one does not
        if load.frames == 1 or (count == 1 and receiver is not ORTHANC_NONE)
    ]


def _receive(
    bench: Bench,
    load: Load,
    count: int,
    receiver: Receiver,
    results: dict[tables.Cell, list[Result]],
    failures: list[str],
) -> None:
    each = load.objects(bench.quick, count, receiver.share)
    try:
        result = run(receiver, load, bench.data_sets[load.name], count, each)
    except RuntimeError as error:
        failures.append(f"{receiver.name}, {load.name}, {count} associations: {error}")
        return
    results[load.name, count, receiver.name].append(result)
    bench.figures.add(rate(load.name, count, receiver), result.objects_per_second)


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repeat, four minutes")
    parser.add_argument("--repeats", type=int, help="interleaved repeats; medians are shown (5, quick: 1)")
    parser.add_argument("--json", metavar="FILE", help="write every run's numbers too")
    parser.add_argument("--only", action="append", metavar="TEXT", help=_ONLY)
    options = parser.parse_args(argv)
    options.repeats = options.repeats or (1 if options.quick else 5)
    return options


def _present(console: Console) -> list[Receiver]:
    present = []
    for receiver in RECEIVERS:
        missing = receiver.missing()
        if missing:
            console.print(f"left out: {receiver.name}: {missing}", highlight=False)
        else:
            present.append(receiver)
    return present


def _named(name: str, only: list[str]) -> bool:
    return any(text in name for text in only)


def _chosen(section: Section, present: list[Receiver], only: list[str] | None) -> bool:
    """Its receivers are there; and it, or every one of them, is asked for."""
    if not all(receiver in present for receiver in section.needs):
        return False
    return (
        not only
        or _named(section.name, only)
        or all(_named(receiver.name, only) for receiver in section.needs)
    )


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _document(
    options: argparse.Namespace,
    results: dict[tables.Cell, list[Result]],
    bench: Bench,
    failures: list[str],
) -> dict[str, Any]:
    runs = [
        {"load": load, "associations": count, "receiver": name, **asdict(result)}
        for (load, count, name), measured in results.items()
        for result in measured
    ]
    kind = {"quick": options.quick, "repeats": options.repeats}
    return {
        **kind,
        "runs": runs,
        "figures": bench.figures.values,
        "verdicts": [asdict(one) for one in verdicts(bench.figures)],
        "failures": failures,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
