from __future__ import annotations

from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from node.model import Finding
from node.preview import Gathered, Preview, view
from node.preview.files import MAX_NAMED, Unread


@pytest.fixture
def terminal() -> Console:
    return Console(file=StringIO(), force_terminal=True, width=100, force_interactive=True)


def shown(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_no_bar_for_what_is_quick(terminal: Console) -> None:
    with view.reading(terminal) as show:
        show(1, 2)
        show(2, 2)
    assert "reading" not in shown(terminal)


def test_a_bar_for_what_takes_long(terminal: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.5, 1.5, 1.6])
    monkeypatch.setattr(view, "monotonic", lambda: next(now))
    with view.reading(terminal) as show:
        show(1, 30)
        assert "reading" not in shown(terminal)
        show(12, 30)
        show(13, 30)
    assert "reading files" in shown(terminal)
    assert "12/30" in shown(terminal)


def test_nothing_where_nobody_looks() -> None:
    console = Console(file=StringIO())
    with view.reading(console) as show:
        show(1, 2)
    assert shown(console) == ""


def test_files_that_are_in_no_study() -> None:
    console = Console(file=StringIO())
    gathered = Gathered(
        passed_over=Counter({"not DICOM": 2, "DICOMDIR": 1}),
        unread=[Unread(Path("bad\x1b[31m\nname"), "no SOP Class UID (0008,0016)")],
        unread_count=MAX_NAMED + 4,
        repeated=5,
    )
    view.tell_of_files(gathered, console)
    assert shown(console).splitlines() == [
        "passed over: 1 DICOMDIR",
        "passed over: 2 not DICOM",
        "passed over: 5 of instances that another file holds",
        "not read: bad?[31m?name: no SOP Class UID (0008,0016)",
        "... and 4 more not read",
    ]


def test_a_study_s_findings_and_faults() -> None:
    console = Console(file=StringIO(), width=20)
    findings = (Finding("disagreement", "StudyDate", "1.2.3", 1), *[Finding("x", "Y", "1.2", 7)] * 60)
    view.tell_of_study(Preview("1.2", [], ["r5 ImagingStudy.status: [why]"], findings), console)
    lines = shown(console).splitlines()
    assert lines[0] == "disagreement: StudyDate, 1 instance of 1.2.3"
    assert lines[1] == "x: Y, 7 instances of 1.2"
    assert lines[-2] == "... and 11 more findings"
    assert lines[-1] == "not published: study 1.2: r5 ImagingStudy.status: [why]"
    assert len(lines) == 52
