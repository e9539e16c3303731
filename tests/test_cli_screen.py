"""What a terminal of 80 columns shows of the API's answers: names whole, nothing wider, colours only where wanted."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from itertools import islice
from typing import Any, cast

import pytest
from rich.console import Console

from node.cli import look, screen, words
from node.client import Client

UID = "1.2.826.0.1.3680043.8.498.5879109178135785124610823581329612759"  # 64 characters: as long as they get
NOW = words.instant("2026-11-22T12:00:00Z") or 0.0
AT = "2026-11-22T11:59:30.000Z"
STUDY: dict[str, Any] = {
    "uid": UID, "state": "open", "version": 0, "added": 2400, "instances": 2400, "number_of_series": 12,
    "deadline": "2026-11-22T12:00:30.000Z", "first_at": AT, "last_at": AT, "completed_at": None,
    "calling_aes": ["CT1", "WORKSTATION-NO-9", "ANOTHER-ONE-HERE"], "modalities": ["CT", "SR"],
    "conflicting": False, "series": [{"uid": f"{UID[:-2]}.1", "modality": "CT", "instances": 2400}],
}  # fmt: skip
EVENT: dict[str, Any] = {
    "seq": 1, "state": "sent", "topic": "imaging-study", "parked_reason": None,
    "created_at": AT, "sent_at": "2026-11-22T11:59:30.400Z",
    "event": {
        "id": f"imagingselection/{UID}/12/1", "type": "org.dicom-fhir-node.imagingstudy.amended.v1",
        "instances": 2400, "completion": "quiet",
    },
}  # fmt: skip
HELD: dict[str, Any] = {
    "id": 7, "reason": "duplicate", "study": UID, "instance": f"{UID[:-2]}.1", "calling_ae": "CT1", "at": AT,
    "detail": "same SOP Instance UID, other bytes; stored: the bytes received before", "state": "waiting",
    "held": {"size": 100, "name": ""}, "differs": ["PatientName", "PatientID"],
}  # fmt: skip
STATUS: dict[str, Any] = {
    "ae_title": "DICOMFHIR", "version": "0.1.0", "now": "2026-11-22T12:00:00Z",
    "started_at": "2026-11-22T09:00:00Z", "reasons": {},
    "associations": {"active": 3, "limit": 100},
    "receiving": {"step_seconds": 60, "objects": [0] * 58 + [1, 90], "bytes": [0] * 59 + [5e7], "last_at": AT},
    "studies": {"open": 2, "held": 0, "quarantined": 1, "complete": 12},
    "outbox": {"pending": 4, "parked": 1, "oldest_seconds": 75.0, "sink": "kafka"},
    "quarantine": {"waiting": 2},
    "disk": {"free": 8_000_000_000, "min_free": 5_000_000_000, "total": 500_000_000_000},
}  # fmt: skip


def shown(draw: Callable[[Console], object], width: int = 80, colours: bool = False) -> list[str]:
    text = StringIO()
    draw(Console(file=text, width=width, force_terminal=colours, soft_wrap=True, highlight=False))
    return text.getvalue().splitlines()


DRAWINGS: dict[str, tuple[Callable[[Console], object], tuple[str, ...]]] = {
    "studies": (lambda console: screen.print_studies([STUDY, STUDY], console, NOW), (UID,)),
    "study": (lambda console: screen.print_study(STUDY, console, NOW), (f"{UID[:-2]}.1",)),
    "event": (lambda console: screen.event_printer(console)(EVENT), (EVENT["event"]["id"],)),
    "sides": (lambda console: screen.print_quarantined(HELD, console, NOW), ()),
    "quarantine": (lambda console: screen.print_quarantine([HELD], console, NOW), (f"      {UID[:-2]}.1",)),
    "status": (lambda console: screen.print_status(STATUS, console), ()),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_names_are_whole_lines_and_the_rest_fits(name: str) -> None:
    draw, names = DRAWINGS[name]
    for width in (80, 60):
        lines = shown(draw, width)
        assert set(names) <= set(lines), "to be copied"
        for line in lines:
            assert len(line) <= width or UID[:-2] in line or HELD["detail"] in line, line


@pytest.mark.parametrize("name", DRAWINGS)
def test_colours_only_on_a_terminal_that_wants_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, _ = DRAWINGS[name]
    for variable in ("NO_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(variable, raising=False)
    assert "\x1b[" not in "\n".join(shown(draw))
    assert "\x1b[" in "\n".join(shown(draw, colours=True))
    monkeypatch.setenv("NO_COLOR", "1")
    coloured = [f"\x1b[{code}m" for code in range(30, 38)]
    assert not any(code in line for code in coloured for line in shown(draw, colours=True))


def test_a_study_says_when_it_goes_out() -> None:
    _, _, row = shown(lambda console: screen.print_studies([STUDY], console, NOW), 120)
    assert row.split() == [
        "open", "-", "CT/SR", "2,400", "12", "-", "in", "30", "s", "30", "s", "ago",
        "CT1,", "WORKSTATION-NO-9,", "ANOTHER-ONE-HERE",
    ]  # fmt: skip
    held = {**STUDY, "state": "held", "deadline": None, "version": 1, "added": 3}
    done = {**held, "state": "complete", "completed_at": "2026-11-22T11:00:00Z"}
    drawn = "\n".join(shown(lambda console: screen.print_studies([held, done], console, NOW), 120))
    assert "by hand" in drawn
    assert "out 60 min ago" in drawn
    assert shown(lambda console: screen.print_studies([], console, NOW)) == ["No studies."]


def test_an_event_says_what_became_of_it() -> None:
    lines = shown(lambda console: screen.event_printer(console)(EVENT), 120)
    assert "amended, 2,400 objects (quiet), to imaging-study after 0.4 s" in lines[1]
    assert lines[1].split()[0] == "sent"
    parked = {**EVENT, "state": "parked", "sent_at": None, "parked_reason": "MESSAGE_TOO_LARGE"}
    lines = shown(lambda console: screen.event_printer(console)(parked))
    assert lines[1].split()[0] == "parked"
    assert lines[2] == "  MESSAGE_TOO_LARGE"


def test_one_thing_in_full_leaves_out_what_is_empty() -> None:
    lines = shown(lambda console: screen.print_fields(HELD, console, NOW))
    assert "differs     PatientName, PatientID" in lines
    assert "held" in lines
    assert "  size  100" in lines
    assert not any("name" in line.split() for line in lines)


def test_a_collision_shows_where_its_sides_differ() -> None:
    held = {
        "size": 284,
        "instance": HELD["instance"],
        "patient_id": "••••42",
        "modality": "CT",
        "patient_name": None,
    }
    row = {**HELD, "held": held, "stored": {**held, "size": 286, "patient_id": "••••17"}}
    lines = shown(lambda console: screen.print_quarantined(row, console, NOW))
    below = [line.split() for line in lines[lines.index("") + 1 :]]
    assert below == [
        ["in", "quarantine", "stored"], ["size", "284", "286"], ["patient", "id", "••••42", "••••17"],
        ["modality", "CT", "CT"],
    ]  # fmt: skip
    alone = shown(lambda console: screen.print_quarantined({**row, "stored": None}, console, NOW))
    assert "stored" not in alone[alone.index("") + 1]


def test_the_status_has_what_is_wrong_first() -> None:
    lines = shown(lambda console: screen.print_status(STATUS, console))
    assert lines[0] == "DICOMFHIR  dicom-fhir-node 0.1.0, up 3 h 00 min  ready"
    text = "\n".join(lines)
    assert "▁▁▂█" in text
    for said in (
        "91 objects, 50.0 MB in 60 min, last 30 s ago", "3 of 100", "1 quarantined, 12 complete",
        "4 pending, the oldest for 75 s, 1 parked, to kafka", "2 waiting",
        "8.0 GB free of 500.0 GB; refuses below 5.0 GB",
    ):  # fmt: skip
        assert said in text
    broken = {
        **STATUS,
        "reasons": {"sink": "[4 events] wait"},
        "disk": {"free": None, "min_free": 0, "total": None},
    }
    lines = shown(lambda console: screen.print_status(broken, console))
    assert lines[0].endswith("not ready")
    assert lines[1] == "  sink: [4 events] wait", "what the node says is no markup"
    assert lines[-1].split() == ["disk", "does", "not", "tell", "how", "much", "is", "free"]


def test_what_was_pending_is_shown_again_when_it_is_out() -> None:
    """Each question to the API is answered with the next state of its log."""
    states = [
        {2: "pending", 3: "pending"},
        {2: "pending", 3: "pending"},
        {},
        {2: "sent", 3: "pending"},
        {3: "sent"},
    ]

    class Log:
        def events(self, study: str | None, after: int, limit: int, with_data: bool) -> tuple[list[Any], int]:
            assert (study, with_data) == (None, False)
            rows: list[dict[str, Any]] = [
                {"seq": seq, "state": state} for seq, state in states.pop(0).items() if seq > after
            ]
            return rows[:limit], max([after, *(row["seq"] for row in rows)])

    pending = {"seq": 1, "state": "pending"}
    states[1] = {1: "sent", **states[1]}
    rows = look.as_they_come(cast(Client, Log()), None, [pending, {"seq": 0, "state": "sent"}], 1, pause=0)
    assert [(row["seq"], row["state"]) for row in islice(rows, 4)] == [
        (2, "pending"), (3, "pending"), (1, "sent"), (2, "sent"),
    ]  # fmt: skip
