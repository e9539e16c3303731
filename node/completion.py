"""When a study is complete, and what operators may do to it: rules as tables, no clock, no I/O.

A study is *open* while instances come. It completes when nothing new has come for its quiet period, or when
it has been open for ``max_seconds``. An instance that comes after that opens the next version. Times are
seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, Literal

from node.errors import StudyConflict
from node.model import Reason, State, StudyState


@dataclass(frozen=True, slots=True)
class QuietRule:
    """One [[completion.rules]] entry; None matches anything, AE titles are shell patterns."""

    quiet_seconds: float
    called_ae: str | None = None
    calling_ae: str | None = None
    modality: str | None = None

    def matches(self, called_ae: str, calling_ae: str, modality: str) -> bool:
        return (
            (self.called_ae is None or fnmatchcase(called_ae, self.called_ae))
            and (self.calling_ae is None or fnmatchcase(calling_ae, self.calling_ae))
            and (self.modality is None or self.modality.upper() == modality.upper())
        )


@dataclass(frozen=True, slots=True)
class CompletionRules:
    """[completion] as values: the first rule that matches decides the quiet period."""

    quiet_seconds: float
    max_seconds: float
    rules: Sequence[QuietRule] = ()

    def quiet_for(self, called_ae: str, calling_ae: str, modality: str) -> float:
        """The quiet period in seconds after an instance of ``modality`` from ``calling_ae``."""
        for rule in self.rules:
            if rule.matches(called_ae, calling_ae, modality):
                return rule.quiet_seconds
        return self.quiet_seconds


def deadline(first_at: float, last_at: float, quiet_seconds: float, max_seconds: float) -> float:
    """When a study is looked at next: quiet period since its last instance, cap since its first."""
    return min(last_at + quiet_seconds, first_at + max_seconds)


def arrived(
    study: StudyState, count: int, now: float, quiet_seconds: float, max_seconds: float
) -> StudyState:
    """The study after ``count`` new instances came.

    With several modalities or callers in one version the longest quiet period holds: the slowest sender
    decides when nothing more is to be expected.
    """
    fresh = study.added == 0
    first_at = now if fresh else study.first_at
    quiet = quiet_seconds if fresh else max(quiet_seconds, study.quiet_seconds)
    state: State = "open" if study.state == "complete" else study.state
    due = deadline(first_at, now, quiet, max_seconds) if state == "open" else None
    return replace(
        study,
        state=state,
        added=study.added + count,
        first_at=first_at,
        last_at=now,
        quiet_seconds=quiet,
        deadline=due,
    )


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class Complete:
    """Publish the next version, for this reason."""

    reason: Reason


def decide(study: StudyState, now: float, moved_at: float | None, max_seconds: float) -> Wait | Complete:
    """What to do with an open study whose deadline has come.

    ``moved_at`` is when an open association that brought some of it last received bytes: while such an
    association is moving the study waits, but never beyond the cap.
    """
    cap = study.first_at + max_seconds
    if now >= cap:
        return Complete("max-age")
    quiet_until = study.last_at + study.quiet_seconds
    if moved_at is not None:
        quiet_until = max(quiet_until, moved_at + study.quiet_seconds)
    if now < quiet_until:
        return Wait(min(quiet_until, cap))
    return Complete("quiet")


def published(built: StudyState, current: StudyState, reason: Reason) -> StudyState | None:
    """The study after the version built from ``built`` goes out; None when it must not go out any more.

    What came while it was built (``current``) says that a study was not quiet. At the cap, or on an operator's
    word, the version goes out all the same and what came opens the next one: a stream that never pauses would
    otherwise never be published.
    """
    if (current.version, current.state) != (built.version, built.state):
        return None
    if reason == "quiet" and current.revision != built.revision:
        return None
    after = replace(current, version=current.version + 1, revision=current.revision + 1)
    left = current.added - built.added
    if left <= 0:
        return replace(after, state="complete", added=0, deadline=None)
    # Looked at at once: ``decide`` knows the quiet period and the cap.
    return replace(after, state="open", added=left, first_at=built.last_at, deadline=current.last_at)


Command = Literal["complete", "hold", "reopen", "replay"]

# What each operator command does in each state: the new state, or why not. "complete" publishes at once,
# from quarantine too: that is how an operator releases a study on purpose.
COMMANDS: Final[dict[tuple[Command, State], State | str]] = {
    ("complete", "open"): "complete",
    ("complete", "held"): "complete",
    ("complete", "quarantined"): "complete",
    ("complete", "complete"): "it is complete and published; reopen it to publish another version",
    ("hold", "open"): "held",
    ("hold", "held"): "held",
    ("hold", "quarantined"): "it is in quarantine, which holds it back already",
    ("hold", "complete"): "it is complete and published; there is nothing to hold back",
    ("reopen", "open"): "open",
    ("reopen", "held"): "open",
    ("reopen", "quarantined"): "its conflict is not settled; complete it to publish it as it is",
    ("reopen", "complete"): "open",
    # Events that were published go out again as they were; the study does not change, nor wait for them.
    ("replay", "open"): "open",
    ("replay", "held"): "held",
    ("replay", "quarantined"): "quarantined",
    ("replay", "complete"): "complete",
}

_STATES: Final = ("open", "held", "complete", "quarantined")


def command(study: StudyState, name: Command, now: float, max_seconds: float) -> StudyState:
    """The study after an operator's command; raises ``StudyConflict`` where the table says why not.

    ``complete`` leaves the state as it is: publication sets it, together with the events.
    """
    outcome = COMMANDS[name, study.state]
    if outcome not in _STATES:
        raise StudyConflict(f"can't {name} study {study.uid}: {outcome}")
    if name == "complete" or outcome == study.state:
        return study
    if outcome == "held":
        return replace(study, state="held", deadline=None)
    return replace(
        study,
        state="open",
        first_at=now,
        last_at=now,
        deadline=deadline(now, now, study.quiet_seconds, max_seconds),
    )
