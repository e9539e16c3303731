"""What an operator can do, as a table: the words of each button and of what it asks before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast, get_args
from urllib.parse import quote

from node.completion import COMMANDS, Command
from node.model import State


class Words(NamedTuple):
    """A button, the question it asks, what it says when it is done; ``grave`` can't be taken back."""

    label: str
    asks: str
    done: str
    grave: bool = False


class Action(NamedTuple):
    """A button on a page: a POST to ``url``, with ``ids`` in the body where it is a replay."""

    name: str
    words: Words
    url: str
    ids: Sequence[str] = ()


WORDS: Final[dict[str, Words]] = {
    "complete": Words(
        "Complete now",
        "Publish this study now, without waiting for its quiet period? What still comes opens the next version.",
        "The study is complete; its event is on its way.",
    ),
    "hold": Words(
        "Hold",
        "Keep this study from completing? It goes on taking images, and waits until it is completed or reopened.",
        "The study is held.",
    ),
    "reopen": Words(
        "Reopen",
        "Wait for more of this study? It completes when its quiet period has run down again.",
        "The study is open.",
    ),
    "replay": Words(
        "Replay",
        "Publish this again, byte for byte, under the same id? Consumers that know the id skip it.",
        "It is published again.",
    ),
    "release": Words(
        "Release",
        "Take this object in after all? It goes into its study, which gets a new version.",
        "The object is released.",
    ),
    "discard": Words(
        "Discard",
        "Delete these bytes? They are gone for good.",
        "The object is discarded.",
        grave=True,
    ),
}
# A study in quarantine is published by completing it; say what that means there
COMPLETE_CONFLICT: Final = Words(
    "Publish as it is",
    "Publish this study although its objects disagree on the patient? It goes out as one resource.",
    "The study is complete; its event is on its way.",
    grave=True,
)
# Another file stands for the same SOP Instance UID: releasing one puts the other in its place
RELEASE_COLLISION: Final = Words(
    "Release",
    "Let this object take the place of the stored one? The stored one goes to quarantine instead, and the study "
    "gets a new version.",
    "The object is released.",
)
# How many event ids one button carries; beyond it the command line does
MAX_IDS: Final = 200

_OPERATOR: Final[tuple[Command, ...]] = ("complete", "hold", "reopen")


def study_actions(uid: str, state: State) -> list[Action]:
    """The commands that change something in this state (completion.COMMANDS)."""
    found = []
    for name in _OPERATOR:
        outcome = COMMANDS[name, state]
        if outcome in get_args(State) and outcome != state:
            told = COMPLETE_CONFLICT if (name, state) == ("complete", "quarantined") else WORDS[name]
            found.append(Action(name, told, f"/api/studies/{quote(uid, safe='')}/{name}"))
    return found


def replay(ids: Sequence[str]) -> Action | None:
    """Publishes these events again; None when there are none, or too many for one button."""
    if not ids or len(ids) > MAX_IDS:
        return None
    return Action("replay", WORDS["replay"], "/api/events/replay", ids)


def quarantine_actions(row: dict[str, Any], collides: bool) -> list[Action]:
    """What can be done with a row of quarantine that still waits; ``collides`` with a stored object."""
    if row["state"] != "waiting":
        return []
    if row["kind"] == "study":
        complete = Action(
            "complete", COMPLETE_CONFLICT, f"/api/studies/{quote(row['study'], safe='')}/complete"
        )
        return [complete]
    address = f"/api/quarantine/{cast(int, row['id'])}"
    told = RELEASE_COLLISION if collides else WORDS["release"]
    return [
        Action("release", told, f"{address}/release"),
        Action("discard", WORDS["discard"], f"{address}/discard"),
    ]
