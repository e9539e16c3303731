"""What the relay asks of a sink. One file a sink; ``tests/publish/test_contract.py`` runs over them all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from node.errors import PublishUnavailable
from node.model import Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event: ``refused`` is None when the sink has it durably, else why it never will."""

    event: Event
    refused: str | None = None


class Published(NamedTuple):
    """The newest version of a study that an event tells of, and how many instances it had."""

    version: int
    instances: int


class SinkRefuses(PublishUnavailable):
    """The sink answers, but not as it is configured here or there: somebody has to correct it."""

    hint = "Correct what the error names; delivery goes on by itself then, nothing is lost meanwhile."


class PartlyPublished(PublishUnavailable):
    """Some of a batch has an outcome, the rest can't be delivered now because of their ``topics``.

    Saves what is known to be out from being published again, and other topics from waiting with these.
    """

    hint = "Look at the topics named; other topics go on meanwhile, and these by themselves when they can."

    def __init__(self, what: str, outcomes: Sequence[Outcome], topics: Collection[str]) -> None:
        super().__init__(what)
        self.outcomes = list(outcomes)
        self.topics = frozenset(topics)


@dataclass(slots=True)
class Batch:
    """What became of the events handed to one ``publish`` so far, for publishers that take several steps.

    ``left`` are those without an outcome, ``ready`` those of them whose topic can be written now.
    """

    events: Sequence[Event]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)  # topic -> why it can't be written now

    def settle(self, event: Event, refused: str | None = None) -> None:
        self.outcomes[id(event)] = Outcome(event, refused)

    def left(self) -> list[Event]:
        return [event for event in self.events if id(event) not in self.outcomes]

    def ready(self) -> list[Event]:
        return [event for event in self.left() if event.topic not in self.waiting]

    def delivered(self) -> list[str]:
        return [outcome.event.id for outcome in self.outcomes.values() if outcome.refused is None]


class Publisher(Protocol):
    """A sink of events. Any method may raise ``PublishUnavailable``: nothing is lost, the relay comes again.

    An implementation owns no state that matters: which events are out is decided by the sink itself.
    """

    async def start(self) -> None:
        """Connect. May be called again after ``stop``."""

    async def already_out(self, events: Sequence[Event]) -> set[str]:
        """The ids among ``events`` (pending after a restart) that the sink has already, so far as known.

        The events come without their data.
        """

    async def publish(self, events: Sequence[Event]) -> list[Outcome]:
        """Deliver ``events``, those of one study in the order given; returns once each is durable or refused.

        After ``PublishUnavailable`` some may have been delivered: the same ids are then published again, but
        for those that ``PartlyPublished`` has an outcome of.
        """

    async def published(self) -> Mapping[str, Published]:
        """The versions that the sink itself remembers, by Study Instance UID, for an index made anew.

        Empty for a sink that remembers none.
        """

    async def remembers(self) -> bool:
        """Whether every version published so far is in ``published``; True for a sink that remembers none."""

    async def remember(self, versions: Mapping[str, Published]) -> None:
        """Make it so, from an index that knows: these versions are out."""

    def trouble(self) -> str | None:
        """Why the batch at hand takes its time, so far as known. Callable from any thread."""

    async def stop(self) -> None:
        """Close; never raises."""
