"""What the node says, laid out for a terminal of 80 columns; UIDs and ids stand whole on lines of their own.

Colours are rich's business: none where output is no terminal, or NO_COLOR is set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.cli import words

Row = Mapping[str, Any]
Cell = str | Text

_STYLES: Final = {
    "open": "cyan",
    "held": "yellow",
    "complete": "green",
    "quarantined": "red",
    "sent": "green",
    "pending": "yellow",
    "parked": "red",
    "waiting": "yellow",
}
_TIMES: Final = frozenset(
    (
        "created_at",
        "first_at",
        "last_at",
        "deadline",
        "completed_at",
        "at",
        "released_at",
        "objects_deleted_at",
    )
)
_NOTHING: Final[tuple[Any, ...]] = (None, "", [], {}, False)  # 0 equals False and goes with it
_ANY_WIDTH: Final = 10_000


def _styled(name: str) -> Text:
    return Text(name, _STYLES.get(name, ""))


def _named(
    headings: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Cell]]],
    console: Console,
    right: frozenset[str],
) -> None:
    """Rows under headings, each below its name, which is whole and alone on its line: to be copied. What is too
    long for the terminal is cut in the last column, never in a name."""
    texts = [
        (name, [Text(cell) if isinstance(cell, str) else cell for cell in cells]) for name, cells in rows
    ]
    widths = [
        max(len(heading), *(cells[place].cell_len for _, cells in texts))
        for place, heading in enumerate(headings)
    ]

    def line(cells: Sequence[Text], style: str = "") -> Text:
        whole = Text("  ", style)
        for heading, cell, width in zip(headings, cells, widths, strict=True):
            padding = " " * (width - cell.cell_len)
            whole.append_text(Text(padding) + cell if heading in right else cell + Text(padding)).append("  ")
        whole.rstrip()
        return whole

    _cut(line([Text(heading) for heading in headings], "dim"), console)
    for name, cells in texts:
        console.print(name, style="bold", markup=False, soft_wrap=True)
        _cut(line(cells), console)


def _cut(line: Text, console: Console) -> None:
    """One line, and no more of it than the terminal is wide."""
    console.print(line, soft_wrap=False, no_wrap=True, overflow="ellipsis")


# --- studies

_STUDY_COLUMNS: Final = ("study", "state", "version", "series", "instances", "added", "deadline", "from")
_COUNTS: Final = frozenset(("version", "series", "instances", "added"))


def print_study_rows(found: Sequence[Row]) -> None:
    """One row a line, UID first, times as the API has them: for programs and wide terminals."""
    table = Table(box=None, pad_edge=False)
    for column in _STUDY_COLUMNS:
        table.add_column(column, no_wrap=True, justify="right" if column in _COUNTS else "left")
    for row in found:
        counts = (row["version"], row["number_of_series"], row["instances"], row["added"])
        table.add_row(
            row["uid"],
            row["state"],
            *map(str, counts),
            row["deadline"] or "",
            ", ".join(row["calling_aes"]),
        )
    # A UID that is cut or folded can't be copied into the next command: a narrow terminal wraps whole lines.
    Console(width=_ANY_WIDTH, highlight=False).print(table)


def print_studies(found: Sequence[Row], console: Console, now: float) -> None:
    """The same for eyes: what it is, how much has come, when it goes out, how long ago the last came."""
    if not found:
        console.print("No studies.")
        return
    rows = [
        (
            row["uid"],
            (
                _styled(row["state"]),
                str(row["version"] or "-"),
                "/".join(row["modalities"]) or "-",
                f"{row['instances']:,}",
                str(row["number_of_series"]),
                str(row["added"]) if row["version"] else "-",
                _due(row, now),
                words.ago(row["last_at"], now),
                ", ".join(row["calling_aes"]),
            ),
        )
        for row in found
    ]
    headings = ("state", "version", "kind", "objects", "series", "new", "goes out", "last came", "from")
    _named(headings, rows, console, frozenset(("version", "objects", "series", "new")))


def _due(row: Row, now: float) -> str:
    if row["state"] == "complete":
        return f"out {words.ago(row['completed_at'], now)}"
    return words.until(row["deadline"], now) if row["deadline"] else "by hand"


def print_study(row: Row, console: Console, now: float) -> None:
    """One study: its values, then its series."""
    print_fields({name: value for name, value in row.items() if name != "series"}, console, now)
    series = row["series"]
    if not series:
        return
    console.print()
    rows = [(part["uid"], (part["modality"] or "-", f"{part['instances']:,}")) for part in series]
    _named(("modality", "objects"), rows, console, frozenset(("objects",)))


def print_fields(row: Row, console: Console, now: float) -> None:
    """Names and values of one thing, a line each; what is empty is left out, times also say how far they are."""
    width = max(len(name) for name in row)
    for name, value in row.items():
        if value in _NOTHING:
            continue
        if isinstance(value, Mapping):
            console.print(Text(name.replace("_", " "), "dim"))
            for key, inner in value.items():
                if inner not in _NOTHING:
                    console.print(Text.assemble("  ", (f"{key.replace('_', ' ')}  ", "dim"), _text(inner)))
            continue
        label = f"{name.replace('_', ' '):<{width}}  "
        console.print(Text.assemble((label, "dim"), _value(name, value, now)), soft_wrap=True)


def _value(name: str, value: Any, now: float) -> Text:
    if name in _TIMES:
        there = words.ago(value, now) if (words.instant(value) or 0) <= now else words.until(value, now)
        return Text(f"{words.clock(value, now)}, {there}")
    return _styled(value) if name == "state" else Text(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- events


def event_printer(console: Console) -> Callable[[Row], None]:
    """Prints an event in two lines: its id, then what became of it and what it says."""

    def show(row: Row) -> None:
        event = row["event"]
        now = time.time()
        console.print(event["id"], style="bold", markup=False, soft_wrap=True)
        said = Text.assemble("  ", _styled(row["state"]), f"  {words.clock(row['created_at'], now)}  ")
        said.append(f"{_happened(event['type'])}, {words.plural(event['instances'], 'object')} ")
        said.append(f"({event['completion']}), to {row['topic']}{_took(row)}")
        _cut(said, console)
        if row["parked_reason"] is not None:
            console.print(f"  {row['parked_reason']}", style="red", markup=False, soft_wrap=True)

    return show


def _happened(kind: str) -> str:
    """``completed`` of ``org.dicom-fhir-node.imagingstudy.completed.v1``."""
    return kind.rsplit(".", 2)[-2] if kind.count(".") > 1 else kind


def _took(row: Row) -> str:
    created, sent = words.instant(row["created_at"]), words.instant(row["sent_at"])
    return "" if created is None or sent is None else f" after {words.duration(sent - created)}"


# --- quarantine


def print_quarantine(found: Sequence[Row], console: Console, now: float) -> None:
    """What is held back: number, why, since when, from whom, then what it is about and the reason in words."""
    for row in found:
        head = Text.assemble((f"{row['id']:>4}  ", "bold"), (row["reason"], "red"))
        head.append(f"  {words.ago(row['at'], now)}")
        head.append(f"  from {row['calling_ae']}" if row["calling_ae"] else "")
        if row["state"] != "waiting":
            head.append(f"  {row['state']}", "green")
        _cut(head, console)
        for line in (row["instance"] or row["study"], row["detail"]):
            if line:
                console.print(f"      {line}", markup=False, soft_wrap=True)


def print_quarantined(row: Row, console: Console, now: float) -> None:
    """One thing held back; of an object that collided both sides, beside each other where they differ."""
    held, stored = row.get("held"), row.get("stored")
    print_fields({name: value for name, value in row.items() if name not in ("held", "stored")}, console, now)
    if not held:
        return
    console.print()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for heading in ("in quarantine", "stored") if stored else ("in quarantine",):
        table.add_column(heading, overflow="fold")
    for name, value in held.items():
        sides = [_side(name, value, now), *((_side(name, stored[name], now),) if stored else ())]
        if any(sides) and {side.plain for side in sides} != {row.get(name)}:  # else it is said above
            style = "bold" if stored and len({side.plain for side in sides}) > 1 else ""
            table.add_row(Text(name.replace("_", " "), "dim"), *sides, style=style)
    console.print(table, soft_wrap=False)


def _side(name: str, value: Any, now: float) -> Text:
    return Text() if value in _NOTHING else _value(name, value, now)


# --- status


def print_status(said: Row, console: Console) -> None:
    """Everything of ``/api/status`` on one screen; what is wrong comes first."""
    now = words.instant(said["now"]) or 0.0
    up = words.duration(now - (words.instant(said["started_at"]) or now))
    title = Text.assemble((said["ae_title"], "bold"), f"  dicom-fhir-node {said['version']}, up {up}  ")
    title.append_text(Text("not ready", "bold red") if said["reasons"] else Text("ready", "bold green"))
    _cut(title, console)
    for name, reason in said["reasons"].items():
        console.print(Text.assemble((f"  {name}: ", "red"), reason), soft_wrap=False)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, tell in _STATUS:
        table.add_row(name, tell(said, now))
    console.print(table, soft_wrap=False)


def _receiving(said: Row, now: float) -> str:
    receiving = said["receiving"]
    objects, last = receiving["objects"], receiving["last_at"]
    minutes = words.duration(len(objects) * receiving["step_seconds"])
    count = words.plural(sum(objects), "object")
    since = f", last {words.ago(last, now)}" if last else ""
    return f"{words.sparkline(objects)}\n{count}, {words.size(sum(receiving['bytes']))} in {minutes}{since}"


def _associations(said: Row, _: float) -> str:
    return f"{said['associations']['active']} of {said['associations']['limit']}"


def _studies(said: Row, _: float) -> str:
    return ", ".join(f"{count} {name}" for name, count in said["studies"].items())


def _outbox(said: Row, _: float) -> Text:
    outbox = said["outbox"]
    text = Text(f"{outbox['pending']} pending")
    if outbox["pending"]:
        text.append(f", the oldest for {words.duration(outbox['oldest_seconds'] or 0)}", "yellow")
    text.append(f", {outbox['parked']} parked", "red" if outbox["parked"] else "")
    return text.append(f", to {outbox['sink']}" if outbox.get("sink") else "")


def _quarantine(said: Row, _: float) -> Text:
    waiting = said["quarantine"]["waiting"]
    return Text(f"{waiting} waiting", "red" if waiting else "")


def _disk(said: Row, _: float) -> Text:
    free, least = said["disk"]["free"], said["disk"]["min_free"]
    if free is None:
        return Text("does not tell how much is free", "red")
    total = said["disk"].get("total")
    of = f" of {words.size(total)}" if total else ""
    low = "red" if free < least else "yellow" if free < 2 * least else ""
    return Text(f"{words.size(free)} free{of}; refuses below {words.size(least)}", low)


_STATUS: Final[tuple[tuple[str, Callable[[Row, float], Cell]], ...]] = (
    ("receiving", _receiving),
    ("associations", _associations),
    ("studies", _studies),
    ("outbox", _outbox),
    ("quarantine", _quarantine),
    ("disk", _disk),
)
