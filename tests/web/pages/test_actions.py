"""Which buttons there are: exactly what the table of commands allows."""

from __future__ import annotations

import pytest

from node.model import State
from node.web.pages import actions
from tests.web.pages.samples import STUDY, held


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("open", ["complete", "hold"]),
        ("held", ["complete", "reopen"]),
        ("complete", ["reopen"]),
        ("quarantined", ["complete"]),
    ],
)
def test_a_study_can_be_told_what_changes_it(state: State, names: list[str]) -> None:
    found = actions.study_actions(STUDY, state)
    assert [action.name for action in found] == names
    assert [action.url for action in found] == [f"/api/studies/{STUDY}/{name}" for name in names]


def test_completing_a_study_of_two_patients_is_asked_for_in_other_words() -> None:
    (action,) = actions.study_actions(STUDY, "quarantined")
    assert action.words.grave
    assert "disagree on the patient" in action.words.asks


def test_replay_of_what_one_button_can_carry() -> None:
    assert actions.replay([]) is None
    assert actions.replay(["x"] * (actions.MAX_IDS + 1)) is None
    found = actions.replay(["r5/1.2/1"])
    assert found is not None
    assert (found.url, found.ids) == ("/api/events/replay", ["r5/1.2/1"])


def test_quarantine_is_released_or_discarded_while_it_waits() -> None:
    names = [(action.name, action.url) for action in actions.quarantine_actions(held(7), True)]
    assert names == [("release", "/api/quarantine/7/release"), ("discard", "/api/quarantine/7/discard")]
    assert actions.quarantine_actions(held(state="released"), True) == []
    assert actions.quarantine_actions(held(state="discarded"), True) == []


def test_releasing_says_whether_a_stored_object_gives_way() -> None:
    collides, alone = (actions.quarantine_actions(held(), side)[0].words.asks for side in (True, False))
    assert "stored one goes to quarantine" in collides
    assert "stored one" not in alone


def test_a_study_in_quarantine_is_published_not_deleted() -> None:
    (action,) = actions.quarantine_actions(held(kind="study", reason="patient-conflict"), False)
    assert action.url == f"/api/studies/{STUDY}/complete"
