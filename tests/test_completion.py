"""Completion rules: the tables walked whole, and properties that hold for any history."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import completion
from node.completion import COMMANDS, Command, Complete, CompletionRules, QuietRule, Wait
from node.errors import StudyConflict
from node.model import Reason, State, StudyState

STATES: tuple[State, ...] = get_args(State)
NAMES: tuple[Command, ...] = get_args(Command)
REASONS: tuple[Reason, ...] = get_args(Reason)
MAX = 7200.0


def study(**changes: object) -> StudyState:
    fresh = StudyState(
        uid="1.2.3",
        state="open",
        version=0,
        revision=3,
        added=2,
        first_at=1000.0,
        last_at=1010.0,
        quiet_seconds=60.0,
        deadline=1070.0,
        conflict=None,
    )
    return replace(fresh, **changes)  # type: ignore[arg-type]


times = st.floats(0, 1e9)
periods = st.floats(0.001, 1e5)
states = st.builds(
    study,
    state=st.sampled_from(STATES),
    version=st.integers(0, 5),
    added=st.integers(0, 5),
    first_at=times,
    last_at=times,
    quiet_seconds=periods,
)


# --- rules


@pytest.mark.parametrize(
    ("called", "calling", "modality", "seconds"),
    [
        ("NODE", "CT1", "CT", 60),
        ("NODE", "CT1", "US", 300),
        ("NODE", "CT1", "us", 300),
        ("SLOW", "US7", "US", 10),
        ("SLOW", "CT1", "US", 300),
        ("NODE", "us7", "CT", 60),
        ("TELE", "ANY", "", 900),
    ],
)
def test_the_first_rule_that_matches(called: str, calling: str, modality: str, seconds: float) -> None:
    rules = CompletionRules(
        60,
        MAX,
        [
            QuietRule(10, called_ae="SLOW", calling_ae="US?"),
            QuietRule(300, modality="US"),
            QuietRule(900, called_ae="TELE*"),
        ],
    )
    assert rules.quiet_for(called, calling, modality) == seconds


# --- arrivals


@given(states, st.integers(1, 9), times, periods)
def test_any_arrival(before: StudyState, count: int, now: float, quiet: float) -> None:
    after = completion.arrived(before, count, now, quiet, MAX)
    assert after.added == before.added + count
    assert after.last_at == now
    assert after.version == before.version
    assert after.state == ("open" if before.state == "complete" else before.state)
    assert (after.deadline is not None) == (after.state == "open"), "only open studies are waited for"
    if after.deadline is not None:
        assert after.deadline <= now + after.quiet_seconds
        assert after.deadline <= after.first_at + MAX
    if before.added:
        assert after.quiet_seconds == max(before.quiet_seconds, quiet)
        assert after.first_at == before.first_at, "the cap counts from the first instance of the version"
    else:
        assert (after.first_at, after.quiet_seconds) == (now, quiet)


# --- decisions


@given(states, times, st.none() | times)
def test_any_decision_moves_on(before: StudyState, now: float, moved_at: float | None) -> None:
    """Wait is always for later, and never beyond the cap: nothing spins, nothing waits for ever."""
    decision = completion.decide(before, now, moved_at, MAX)
    cap = before.first_at + MAX
    if isinstance(decision, Wait):
        assert now < decision.until <= cap
    else:
        assert (decision.reason == "max-age") == (now >= cap)


@given(states, times, st.none() | times)
def test_waiting_leads_to_completion(before: StudyState, now: float, moved_at: float | None) -> None:
    decision = completion.decide(before, now, moved_at, MAX)
    if isinstance(decision, Wait):
        assert isinstance(completion.decide(before, decision.until, moved_at, MAX), Complete)


@pytest.mark.parametrize(
    ("now", "moved_at", "decision"),
    [
        (1069.9, None, Wait(1070.0)),
        (1070.0, None, Complete("quiet")),
        (1070.0, 1060.0, Wait(1120.0)),
        (1070.0, 1000.0, Complete("quiet")),
        (8200.0, 8199.0, Complete("max-age")),
        (8190.0, 8189.0, Wait(8200.0)),
    ],
)
def test_decisions(now: float, moved_at: float | None, decision: Wait | Complete) -> None:
    assert completion.decide(study(), now, moved_at, MAX) == decision


# --- publication


@pytest.mark.parametrize("reason", REASONS)
def test_nothing_new_while_it_was_built(reason: Reason) -> None:
    after = completion.published(study(), study(), reason)
    assert after is not None
    assert (after.state, after.version, after.added, after.deadline) == ("complete", 1, 0, None)
    assert after.revision == study().revision + 1


@pytest.mark.parametrize(
    ("current", "reason", "goes_out"),
    [
        (study(revision=4, added=3), "quiet", False),
        (study(revision=4, added=3), "max-age", True),
        (study(revision=4, added=3), "forced", True),
        (study(revision=4, state="held"), "forced", False),
        (study(revision=4, state="quarantined"), "max-age", False),
        (study(revision=4, state="complete", version=1, added=0), "forced", False),
        (study(revision=5, version=1, added=1), "max-age", False),
    ],
)
def test_what_changed_while_it_was_built(current: StudyState, reason: Reason, goes_out: bool) -> None:
    after = completion.published(study(), current, reason)
    assert (after is not None) is goes_out
    if after is not None:
        assert (after.state, after.version, after.added) == ("open", 1, 1)
        assert after.deadline is not None


# --- commands


def test_the_table_of_commands_is_whole() -> None:
    assert set(COMMANDS) == set(product(NAMES, STATES))


@pytest.mark.parametrize(("name", "state"), list(product(NAMES, STATES)))
def test_every_command_in_every_state(name: Command, state: State) -> None:
    before = study(state=state, deadline=1070.0 if state == "open" else None)
    outcome = COMMANDS[name, state]
    if outcome not in STATES:
        with pytest.raises(StudyConflict, match=outcome):
            completion.command(before, name, 5000.0, MAX)
        return
    after = completion.command(before, name, 5000.0, MAX)
    if name == "complete" or outcome == state:
        assert after is before, "publication sets the state, together with its events"
        return
    assert after.state == outcome
    assert after.deadline == (5060.0 if outcome == "open" else None)
    assert (after.version, after.added) == (before.version, before.added)


def test_a_reopened_study_has_its_whole_time_again() -> None:
    after = completion.command(study(state="held", first_at=0.0), "reopen", 9000.0, MAX)
    assert isinstance(completion.decide(after, 9000.0, None, MAX), Wait)
