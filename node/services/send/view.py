"""``send`` for people: a progress bar on a terminal, plain lines elsewhere, and a summary by status."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from node.services.send.address import Address
from node.services.send.ledger import Progress, SendSummary, status_text
from node.services.send.sender import SendOptions, send

_PLAIN_STEPS: Final = 10  # lines a redirected run prints while it sends


def send_with_progress(
    paths: Sequence[Path], to: Address, options: SendOptions, console: Console
) -> SendSummary:
    """Sends and shows how it goes; the summary is returned, not printed. Errors: those of ``send``."""
    view = _bar if console.is_terminal else _lines
    with view(to, console) as show:
        return send(paths, to, options, show)


def print_summary(summary: SendSummary, console: Console) -> None:
    """Counts by status, files passed over, failures with file and reason, rate."""
    for status, count in summary.statuses.items():
        console.print(f"0x{status:04X} x {count}  {status_text(status)}", highlight=False)
    for kind, count in summary.skipped.items():
        console.print(f"passed over: {count} {escape(kind)}", highlight=False)
    for failure in summary.failures:
        line = f"[red]not stored[/red] {escape(str(failure.path))}: {escape(_one_line(failure.reason))}"
        console.print(line, highlight=False, soft_wrap=True)
    unnamed = summary.failed - len(summary.failures)
    if unnamed:
        console.print(f"... and {unnamed} more not stored", highlight=False)
    if summary.interrupted:
        left = summary.total - summary.stored - summary.failed
        console.print(f"interrupted: {max(left, 0)} objects were not looked at", highlight=False)
    seconds = max(summary.seconds, 1e-6)
    console.print(
        f"{summary.stored} stored, {summary.failed} not stored, {summary.bytes / 1e6:.1f} MB in "
        f"{summary.seconds:.1f} s ({summary.stored / seconds:.0f} objects/s, "
        f"{summary.bytes / 1e6 / seconds:.0f} MB/s), {summary.associations} associations",
        highlight=False,
        soft_wrap=True,
    )
    if not summary.total and not summary.failed:
        console.print("no DICOM files found", highlight=False)


@contextmanager
def _bar(to: Address, console: Console) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[objects]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("looking for DICOM files", total=None, objects="")

        def show(now: Progress) -> None:
            if now.note:
                bar.console.print(escape(_one_line(now.note)), highlight=False)
            if now.phase == "scan":
                bar.update(task, objects=f"{now.total} objects")
                return
            failed = f" [red]{now.failed} failed[/red]" if now.failed else ""
            objects = f"{now.done}/{now.total} objects{failed}"
            where = f"sending to {escape(str(to))}"
            bar.update(
                task, description=where, objects=objects, completed=now.bytes_done, total=now.bytes_total
            )

        yield show


@contextmanager
def _lines(to: Address, console: Console) -> Iterator[Callable[[Progress], None]]:
    told = -1

    def show(now: Progress) -> None:
        nonlocal told
        if now.note:
            console.print(escape(_one_line(now.note)), highlight=False)
        if now.phase == "scan" or not now.total:
            return
        step = now.done * _PLAIN_STEPS // now.total
        if step > told:
            told = step
            failed = f", {now.failed} failed" if now.failed else ""
            line = f"sending to {escape(str(to))}: {now.done}/{now.total} objects{failed}"
            console.print(line, highlight=False)

    yield show


def _one_line(text: str) -> str:
    """A peer's words and file names on one line, without the control characters a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
