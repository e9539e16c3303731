"""What the HTTP API answers, from the index: rows become JSON, commands go where they belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from node import envelope
from node.completion import Command
from node.errors import EventNotFound, StudyConflict, StudyNotFound
from node.index.outbox import Outbox, Record
from node.index.studies import Studies
from node.model import Reason
from node.timing import Time
from node.web.operate import Operations
from node.web.services import Json, WebServices
from node.web.show import MASKED, Show


class Backend:
    """Implements ``WebServices`` over the index.

    ``sizes(uid)`` tells the bytes of each series and when the last of them came; ``show`` how rows become JSON.
    ``publish(uid, reason)`` completes a study now; ``build(uid, profile)`` makes its resource as it would be
    published; ``flush`` returns when what was acknowledged is indexed; ``changed``/``replayed`` wake the clock
    and the relay; ``outputs`` maps profile names to output names.
    """

    def __init__(
        self,
        studies: Studies,
        outbox: Outbox,
        clock: Time,
        max_seconds: float,
        sizes: Callable[[str], Mapping[str, tuple[int, float]]],
        publish: Callable[[str, Reason], bool],
        build: Callable[[str, str], bytes],
        flush: Callable[[], None],
        changed: Callable[[], None],
        replayed: Callable[[], None],
        outputs: Mapping[str, str],
        show: Show = MASKED,
    ) -> None:
        self._studies = studies
        self._outbox = outbox
        self._clock = clock
        self._max_seconds = max_seconds
        self._sizes = sizes
        self._publish = publish
        self._build = build
        self._flush = flush
        self._changed = changed
        self._replayed = replayed
        self._outputs = outputs
        self._show = show

    def services(
        self,
        metrics: Callable[[str], tuple[bytes, str]],
        reasons: Callable[[], Mapping[str, str]],
        operations: Operations,
    ) -> WebServices:
        """The callables that the web application takes; ``operations`` has those that are not about one study."""
        return WebServices(
            studies=self.studies,
            study=self.study,
            resource=self.resource,
            complete=self.complete,
            hold=lambda uid: self._command(uid, "hold"),
            reopen=lambda uid: self._command(uid, "reopen"),
            events=self.events,
            event_data=self.event_data,
            replay=self.replay,
            quarantine=self.quarantine,
            quarantined=operations.quarantined,
            release=lambda number: operations.release(number, self.complete),
            discard=operations.discard,
            status=operations.status,
            callers=operations.callers,
            timeline=operations.timeline,
            metrics=metrics,
            reasons=reasons,
        )

    def studies(self, state: str | None, limit: int, offset: int) -> Sequence[Json]:
        return [self._show.study(row) for row in self._studies.summaries(state, limit, offset)]

    def study(self, uid: str) -> Json:
        row, series = self._studies.summary(uid)
        sizes = self._sizes(uid)
        return {**self._show.study(row), "series": [self._show.series(part, sizes) for part in series]}

    def resource(self, uid: str, profile: str, version: int | None) -> bytes:
        """A published version as it was published; without one (or with none named) the present state."""
        output = self._outputs.get(profile)
        if output is None:
            raise StudyNotFound(f"no output has profile {profile!r}; there are {', '.join(self._outputs)}")
        if version is not None:
            data = self._data(envelope.event_id(output, uid, version))
            if data is None:
                raise StudyNotFound(f"study {uid} has no version {version} of output {output}")
            return data
        self._flush()
        return self._build(uid, profile)

    def complete(self, uid: str) -> Json:
        """Publish now, whatever the clock thinks, unless there is nothing new to publish."""
        self._flush()
        self._studies.command(uid, "complete", self._clock.now(), self._max_seconds)
        if not self._publish(uid, "forced"):
            raise StudyConflict(f"study {uid} changed its state just now: look at it and try again")
        self._changed()
        study = self.study(uid)
        if study["state"] == "quarantined":
            raise StudyConflict(
                f"study {uid} is held back: see quarantine; complete it again to publish it as it is"
            )
        return study

    def _command(self, uid: str, name: Command) -> Json:
        self._flush()
        self._studies.command(uid, name, self._clock.now(), self._max_seconds)
        self._changed()
        return self.study(uid)

    def events(self, study: str | None, after: int | None, limit: int, with_data: bool) -> Sequence[Record]:
        return self._outbox.recent(limit, after, with_data, study)

    def event_data(self, event_id: str) -> bytes:
        data = self._data(event_id)
        if data is None:
            raise EventNotFound("no event has this id")
        return data

    def _data(self, event_id: str) -> bytes | None:
        """The resource kept aside when the event was shortened, else the event's own data."""
        full = self._studies.full_resource_of(event_id)
        return self._outbox.data_of(event_id) if full is None else full

    def replay(self, ids: Sequence[str]) -> Sequence[str]:
        found = self._outbox.replay(ids, self._clock.wall())
        self._replayed()
        return found

    def quarantine(self, limit: int, offset: int) -> Sequence[Json]:
        return [self._show.quarantined(row) for row in self._studies.quarantined(limit, offset)]
