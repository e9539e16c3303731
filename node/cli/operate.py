"""``complete``, ``hold``, ``reopen``, ``replay``, ``release`` and ``discard``: an operator's hand on a running node."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from node.cli import common, screen
from node.cli.common import ConfigFile, StudyUid, Url, add, client, err, out, reported, show
from node.cli.screen import Row
from node.cli.shell import interactive, quarantine_ids

QuarantineId = Annotated[
    int,
    typer.Argument(metavar="ID", help="Its number, as `quarantine` shows it", autocompletion=quarantine_ids),
]


def register(app: typer.Typer) -> None:
    """Adds this group's commands."""
    uid = "1.2.840.113619.2.55.3"
    panel = common.OPERATE
    add(app, complete, panel, f"dicom-fhir-node complete {uid}")
    add(app, hold, panel, f"dicom-fhir-node hold {uid}  # a series is being corrected")
    add(app, reopen, panel, f"dicom-fhir-node reopen {uid}")
    add(app, replay, panel, f"dicom-fhir-node replay r5/{uid}/1")
    add(app, release, panel, "dicom-fhir-node quarantine", "dicom-fhir-node release 7")
    add(app, discard, panel, "dicom-fhir-node discard 7", "dicom-fhir-node discard 7 --yes  # in a script")


@reported
def complete(uid: StudyUid, url: Url = None, config: ConfigFile = None) -> None:
    """Publish a study now, without waiting for the quiet period; also one in quarantine."""
    _tell_study(client(url, config).command(uid, "complete"))


@reported
def hold(uid: StudyUid, url: Url = None, config: ConfigFile = None) -> None:
    """Keep an open study from being published until it is reopened or completed."""
    _tell_study(client(url, config).command(uid, "hold"))


@reported
def reopen(uid: StudyUid, url: Url = None, config: ConfigFile = None) -> None:
    """Wait for more: a held study goes on, a complete one will be published as another version."""
    _tell_study(client(url, config).command(uid, "reopen"))


@reported
def replay(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Event ids, as `events` prints them")],
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """Publish events again, byte for byte, with the same id; also those that are parked.

    Exit 1 when one of the ids is unknown; the others are published.
    """
    answer = client(url, config).replay(ids)
    for event_id in answer["replayed"]:
        out.print(f"replayed {event_id}", markup=False)
    for event_id in answer["unknown"]:
        err.print(f"unknown {event_id}", markup=False)
    if answer["unknown"]:
        raise typer.Exit(1)


@reported
def release(number: QuarantineId, url: Url = None, config: ConfigFile = None) -> None:
    """Take what is in quarantine after all; docs/first-hour.md says what that means for each reason."""
    _tell_held(client(url, config).release(number))


@reported
def discard(
    number: QuarantineId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    config: ConfigFile = None,
) -> None:
    """Give up what is in quarantine: its bytes are deleted for good. Asks first."""
    asked = client(url, config)
    if not yes:
        row = asked.quarantined(number)
        what = row["name"] or f"study {row['study']}"
        err.print(f"{number}: {row['reason']}, {what} from {row['calling_ae']}", markup=False)
        err.print(row["detail"], markup=False)
        if not interactive():
            err.print("Not discarded: nobody can be asked here. Give --yes.")
            raise typer.Exit(2)
        typer.confirm("Delete it for good?", abort=True, err=True)
    _tell_held(asked.discard(number))


def _tell_study(row: Row) -> None:
    """The study after the command: in a line on a terminal, else all of it."""
    if out.is_terminal:
        screen.print_studies([row], out, time.time())
    else:
        show(row, True)


def _tell_held(row: Row) -> None:
    if out.is_terminal:
        screen.print_quarantine([row], out, time.time())
    else:
        show(row, True)
