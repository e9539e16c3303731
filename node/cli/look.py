"""``status``, ``studies``, ``events`` and ``quarantine``: what the running node says of itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli import common, screen
from node.cli.common import AsJson, ConfigFile, Url, add, client, err, out, reported, show
from node.cli.shell import quarantine_ids, study_uids

if TYPE_CHECKING:
    from node.client import Client

Wide = Annotated[
    bool, typer.Option("--wide", "-w", help="One row a line, however long, as when piped into a program.")
]


class State(StrEnum):
    """States of a study (node.model.State)."""

    OPEN = "open"
    HELD = "held"
    COMPLETE = "complete"
    QUARANTINED = "quarantined"


def register(app: typer.Typer) -> None:
    """Adds this group's commands."""
    add(
        app,
        status,
        common.LOOK,
        "dicom-fhir-node status",
        "watch dicom-fhir-node status",
        "dicom-fhir-node status --json | jq .outbox",
    )
    add(
        app,
        studies,
        common.LOOK,
        "dicom-fhir-node studies --state open",
        "dicom-fhir-node studies 1.2.840.113619.2.55.3  # one, with its series",
        "dicom-fhir-node studies --json | jq -r .uid",
    )
    add(
        app,
        events,
        common.LOOK,
        "dicom-fhir-node events --follow",
        "dicom-fhir-node events --study 1.2.840.113619.2.55.3 | jq .data",
    )
    add(
        app,
        quarantine,
        common.LOOK,
        "dicom-fhir-node quarantine                     # what waits, newest first",
        "dicom-fhir-node quarantine 7                   # both sides of a collision",
    )


@reported
def status(as_json: AsJson = False, url: Url = None, config: ConfigFile = None) -> None:
    """Say on one screen whether the node receives, what fills, what waits and what is wrong.

    Exit 1 when the node is not ready, and with --json too: it serves as a check.
    """
    said = client(url, config).status()
    if as_json:
        show(said, True)
    else:
        screen.print_status(said, out)
    if said["reasons"]:
        raise typer.Exit(1)


@reported
def studies(
    uid: Annotated[
        str | None,
        typer.Argument(metavar="UID", help="Study Instance UID: show this one", autocompletion=study_uids),
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, last changed first.")] = 100,
    wide: Wide = False,
    as_json: AsJson = False,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """List studies with state, counts, deadline and version; with a UID show one.

    On a terminal each has its UID on a line of its own, whole; in a pipe each is one line with the times as the API
    has them.
    """
    asked = client(url, config)
    if uid is not None:
        one = asked.study(uid)
        if as_json or not out.is_terminal:
            show(one, True)
        else:
            screen.print_study(one, out, time.time())
        return
    found = asked.studies(state.value if state else None, limit)
    if as_json:
        for row in found:
            show(row, True)
    elif wide or not out.is_terminal:
        screen.print_study_rows(found)
    else:
        screen.print_studies(found, out, time.time())


@reported
def events(
    study: Annotated[
        str | None, typer.Option(help="Only of this Study Instance UID.", autocompletion=study_uids)
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as they come; Ctrl-C ends it.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Begin with so many.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """Show events, the newest last: sent, pending (the sink has not taken it yet) or parked (it never will).

    On a terminal two lines each. In a pipe, and with --json, stdout has the CloudEvents as they are published, one a
    line; what is pending is among them, what is parked is not, and both are told on stderr. With --follow a terminal
    shows an event again when it is pending no longer.
    """
    asked = client(url, config)
    plain = as_json or not out.is_terminal
    found, after = asked.events(study, None, limit) if plain else asked.events(study, None, limit, False)
    printed = _print_cloud_event if plain else screen.event_printer(out)
    for row in found:
        printed(row)
    if not follow:
        return
    try:
        for row in asked.follow(study, after) if plain else as_they_come(asked, study, found, after):
            printed(row)
    except KeyboardInterrupt:
        raise typer.Exit from None


def as_they_come(
    asked: Client, study: str | None, found: Sequence[dict[str, Any]], after: int, pause: float = 1.0
) -> Iterator[dict[str, Any]]:
    """Rows of the event log behind ``after`` without their data, and those of ``found`` and later that were pending
    once more when they are not any longer; never ends."""
    waiting = {row["seq"] for row in found if row["state"] == "pending"}
    while True:
        rows, after = asked.events(study, after, 100, False)
        yield from rows
        waiting |= {row["seq"] for row in rows if row["state"] == "pending"}
        again = asked.events(study, min(waiting) - 1, 1000, False)[0] if waiting else []
        for row in again:
            if row["seq"] in waiting and row["state"] != "pending":
                waiting.remove(row["seq"])
                yield row
        if not rows:
            time.sleep(pause)


def _print_cloud_event(row: Mapping[str, Any]) -> None:
    event = row["event"]
    if row["parked_reason"] is not None:
        err.print(f"parked {event['id']}: {row['parked_reason']}", markup=False)
        return
    if row["sent_at"] is None:
        err.print(f"pending {event['id']}: not with the sink yet", markup=False)
    show(event, True)


@reported
def quarantine(
    number: Annotated[
        int | None, typer.Argument(metavar="ID", help="Show this one", autocompletion=quarantine_ids)
    ] = None,
    released: Annotated[bool, typer.Option("--released", help="Also what was dealt with.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """List what is held back and why; with an ID show one, with both sides of a collision."""
    asked = client(url, config)
    if number is not None:
        one = asked.quarantined(number)
        if as_json or not out.is_terminal:
            show(one, True)
        else:
            screen.print_quarantined(one, out, time.time())
        return
    rows = list(_waiting(asked, released))
    if as_json or not out.is_terminal:
        for row in rows:
            show(row, True)
    elif rows:
        screen.print_quarantine(rows, out, time.time())
    else:
        out.print("Nothing waits in quarantine.")


def _waiting(asked: Client, released: bool) -> Iterator[dict[str, Any]]:
    return (row for row in asked.quarantine() if released or row["state"] == "waiting")
