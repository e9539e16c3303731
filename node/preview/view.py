"""How far a preview is, for people: a bar on a terminal once it takes long, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from node.model import Finding
from node.preview.files import MAX_NAMED, Gathered
from node.preview.resources import Preview

_LONG: Final = 1.0  # seconds after which the bar appears
_MAX_FINDINGS: Final = 50  # of one study


@contextmanager
def reading(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Shows (done, total) files on ``console``; what it showed is gone when it ends."""
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("reading files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=console, transient=True)
    task = bar.add_task("")
    appears = monotonic() + _LONG

    def show(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if not bar.live.is_started and monotonic() > appears:
            bar.start()

    try:
        yield show
    finally:
        bar.stop()


def tell_of_files(gathered: Gathered, console: Console) -> None:
    """What was passed over, what could not be read and why."""
    for kind, count in sorted(gathered.passed_over.items()):
        _line(console, f"passed over: {count} {kind}")
    if gathered.repeated:
        _line(console, f"passed over: {gathered.repeated} of instances that another file holds")
    for path, reason in gathered.unread:
        _line(console, f"not read: {path}: {reason}")
    if gathered.unread_count > MAX_NAMED:
        _line(console, f"... and {gathered.unread_count - MAX_NAMED} more not read")


def tell_of_study(preview: Preview, console: Console) -> None:
    """What is amiss in its data, by attribute and UID, and why it, or a part of it, would not be published."""
    for finding in preview.findings[:_MAX_FINDINGS]:
        _line(console, _finding(finding))
    if len(preview.findings) > _MAX_FINDINGS:
        _line(console, f"... and {len(preview.findings) - _MAX_FINDINGS} more findings")
    for fault in preview.faults:
        _line(console, f"not published: study {preview.study}: {fault}")


def _finding(finding: Finding) -> str:
    instances = "1 instance" if finding.instances == 1 else f"{finding.instances} instances"
    return f"{finding.rule}: {finding.keyword}, {instances} of {finding.uid}"


def _line(console: Console, text: str) -> None:
    """On one line, without the control characters that a terminal would obey: names of files hold any."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    console.print(shown, markup=False, highlight=False, soft_wrap=True)
