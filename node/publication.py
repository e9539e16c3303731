"""One version of a study becomes its events: rows -> model -> resources -> outbox, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

import orjson

from node import assemble, envelope
from node.documents import Need
from node.envelope import WHOLE_STUDY, Completion, Item, Output, Wrapped
from node.errors import (
    ContentReaderUnavailable,
    IndexUnavailable,
    ResourceInvalid,
    StorageError,
    StudyNotFound,
)
from node.fhir.options import FhirOptions
from node.fhir.targets import PROFILES, Profile
from node.holding import reason_to_hold
from node.index.studies import Publication, Studies, StudyRows
from node.model import Event, Finding, Reason, Study
from node.timing import Time

_MAX_UNREAD: Final = 20  # documents of a study that are named

# What says nothing of the study itself.
_PASSING: Final = (StorageError, OSError, ContentReaderUnavailable, IndexUnavailable)


class PublicationObserver(Protocol):
    """What people want to know of publication."""

    def published(self, study: str, version: int, reason: Reason, quiet: float, events: list[Event]) -> None:
        """A version is in the outbox, ``quiet`` seconds after its last instance."""

    def unfit(self, event: Event, reason: str) -> None:
        """A resource did not pass its check: its event is parked."""

    def found_amiss(self, study: str, findings: list[Finding]) -> None:
        """Values that could not be used as sent, or that disagree."""

    def unread(self, study: str, instance: str, why: str) -> None:
        """A document is published without what it contains; ``why`` holds no values."""

    def quarantined(self, reason: str, study: str, file: str, calling_ae: str) -> None:
        """A study is held back; ``file`` and ``calling_ae`` are of single objects, and empty."""

    def build_failed(self, study: str, error: BaseException) -> None:
        """A fault of ours while building a resource."""


@dataclass(frozen=True, slots=True)
class PublicationOptions:
    """``outputs`` in the order of their events; ``dataref`` gives the URL template of full resources
    (envelope.wrap); ``contents`` completes a study by what has to be read from its stored files."""

    outputs: Sequence[Output]
    fhir: FhirOptions
    ae_title: str
    max_event_bytes: int
    dataref: Callable[[], str]
    contents: Callable[[Study, frozenset[Need]], Study]


class _Made(NamedTuple):
    """One resource on its way into an event; ``fault`` is why it can't be published."""

    resource: Mapping[str, Any]
    item: Item
    fault: str | None


class StudyPublisher:
    """Publishes versions, and builds a study's resource for whoever asks. Safe from any thread.

    ``needs`` are what the outputs together need of the stored files.
    """

    def __init__(
        self,
        studies: Studies,
        options: PublicationOptions,
        clock: Time,
        observer: PublicationObserver,
        wake_relay: Callable[[], None],
    ) -> None:
        self._studies = studies
        self._options = options
        self._clock = clock
        self._observer = observer
        self._wake_relay = wake_relay
        needs = (PROFILES[output.profile].needs for output in options.outputs)
        self.needs: frozenset[Need] = frozenset().union(*needs)

    def publish(self, uid: str, reason: Reason, revision: int | None = None) -> bool:
        """Make the next version's events; False when the study is not (or no longer) to be published.

        ``revision``: the study was found quiet as of it, and is not when it has another one by now. Raises
        ``StudyNotFound``, ``IndexUnavailable``.
        """
        rows = self._studies.load(uid)
        state = rows.state
        if state.state == "complete" or (reason != "forced" and state.state != "open"):
            return False
        if reason == "quiet" and revision is not None and state.revision != revision:
            return False
        return self._publish(rows, reason)

    def resource(self, uid: str, profile: str) -> bytes:
        """The study as it stands, as one output's profile has it; a Bundle where that is several resources.

        Raises ``StudyNotFound``, ``ResourceInvalid``, ``StorageError``.
        """
        rows = self._studies.load(uid)
        if not rows.instances:
            raise StudyNotFound(f"study {uid} has no instances")
        study = assemble.study(uid, rows.headers, rows.instances)
        target = PROFILES[profile]
        study = self._options.contents(study, target.needs)
        found = [one.resource for one in target.build(study, self._options.fhir)]
        if target.kind == "imagingstudy":
            return orjson.dumps(found[0])
        entries = {"entry": [{"resource": resource} for resource in found]} if found else {}
        return orjson.dumps({"resourceType": "Bundle", "type": "collection", **entries})

    def _publish(self, rows: StudyRows, reason: Reason) -> bool:
        state, wall = rows.state, self._clock.wall()
        study = self._assembled(rows)
        # Out of quarantine an operator has let it go; on an open study ``complete`` answers another question.
        if study is not None and state.state != "quarantined":
            held = reason_to_hold(study, self._options.fhir)
            if held is not None:
                if not self._studies.quarantine(state, held.reason, held.detail, wall):
                    return False
                self._observer.quarantined(held.reason, state.uid, "", "")
                return True
        completion = Completion(
            study=state.uid,
            version=state.version + 1,
            reason=reason,
            at=wall,
            instances=len(rows.instances),
            series=len({row.series for row in rows.instances}),
            added=state.added,
            senders=rows.calling_aes,
        )
        publication = self._publication(study, completion)
        now = self._clock.now()
        if not self._studies.publish(state, reason, wall, publication):
            return False
        self._wake_relay()
        self._report(study, completion, publication, now - state.last_at)
        return True

    def _assembled(self, rows: StudyRows) -> Study | None:
        """The model; None when a fault of ours keeps it from being made: the events are parked then."""
        try:
            study = assemble.study(rows.state.uid, rows.headers, rows.instances)
            return self._options.contents(study, self.needs)
        except _PASSING:
            raise  # the disk, or the index, may answer again: the clock tries it later
        except Exception as error:  # noqa: BLE001  no study's data may stop the clock
            self._observer.build_failed(rows.state.uid, error)
            return None

    def _publication(self, study: Study | None, completion: Completion) -> Publication:
        events: list[Event] = []
        parked: dict[str, str] = {}
        full: dict[str, bytes] = {}
        for output in self._options.outputs:
            for made in self._distinct(output, completion, list(self._resources(study, output))):
                wrapped, fault = self._wrapped(output, completion, made)
                events.append(wrapped.event)
                if fault is not None:
                    parked[wrapped.event.id] = fault
                if wrapped.full is not None:
                    full[wrapped.event.id] = wrapped.full
        return Publication(events, parked, full)

    def _distinct(self, output: Output, completion: Completion, made: list[_Made]) -> Iterator[_Made]:
        """The same with an event id each that no other event has.

        Selections are named after their document, and one SOP Instance UID may be seen in two studies: then
        the second study's selections carry its UID in their place.
        """

        def of(item: Item) -> str:
            return envelope.event_id(output.name, completion.study, completion.version, item)

        named = [of(one.item) for one in made if one.item.source]
        seen = self._studies.taken(named, completion.study) if named else set()
        for one in made:
            item = one.item
            while item.source and of(item) in seen:
                item = item._replace(place=f"{item.place}@{completion.study}")
            seen.add(of(item))
            yield one._replace(item=item)

    def _wrapped(self, output: Output, completion: Completion, made: _Made) -> tuple[Wrapped, str | None]:
        """The event, and why it can't be published if so."""

        def wrap(resource: Mapping[str, Any]) -> Wrapped:
            return envelope.wrap(
                output,
                completion,
                resource,
                made.item,
                ae_title=self._options.ae_title,
                max_event_bytes=self._options.max_event_bytes,
                dataref=self._options.dataref(),
            )

        try:
            return wrap(made.resource), made.fault
        except Exception as error:  # noqa: BLE001  what can't be written as JSON is parked, not tried for ever
            self._observer.build_failed(completion.study, error)
            return wrap({}), made.fault or f"{type(error).__name__} while writing it as JSON: see the log"

    def _resources(self, study: Study | None, output: Output) -> Iterator[_Made]:
        """What the study becomes in this output, each with the reason if it can't be published.

        Where nothing can be built an empty resource is parked: a version is not published without a trace.
        """
        if study is None:
            yield _Made({}, WHOLE_STUDY, "the study can't be assembled: see the log")
            return
        profile = PROFILES[output.profile]
        try:
            built = profile.build(study, self._options.fhir)
        except ResourceInvalid as error:
            yield _Made({}, WHOLE_STUDY, str(error))
            return
        except Exception as error:  # noqa: BLE001  a fault in one target must not hold back the others
            self._observer.build_failed(study.uid, error)
            yield _Made({}, WHOLE_STUDY, f"{type(error).__name__} while building it: see the log")
            return
        for one in built:
            yield _Made(one.resource, Item(one.source, one.item), self._fault(study, profile, one.resource))

    def _fault(self, study: Study, profile: Profile, resource: Mapping[str, Any]) -> str | None:
        try:
            profile.check(resource)
        except ResourceInvalid as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  a fault in a check must not hold back the others
            self._observer.build_failed(study.uid, error)
            return f"{type(error).__name__} while checking it: see the log"
        return None

    def _report(
        self, study: Study | None, completion: Completion, publication: Publication, quiet: float
    ) -> None:
        fit = [event for event in publication.events if event.id not in publication.parked]
        self._observer.published(completion.study, completion.version, completion.reason, quiet, fit)
        for event in publication.events:
            if event.id in publication.parked:
                self._observer.unfit(event, publication.parked[event.id])
        if study is None:
            return
        unread = (one for one in study.documents if one.unread)
        for document in islice(unread, _MAX_UNREAD):
            self._observer.unread(completion.study, document.instance, document.unread)
        if findings := self._findings(study):
            self._observer.found_amiss(completion.study, findings)

    def _findings(self, study: Study) -> list[Finding]:
        """What is amiss in the study, and what each target could not use; said once however many use it."""
        targets = {output.profile: PROFILES[output.profile] for output in self._options.outputs}
        found = list(study.findings)
        for target in targets.values():
            try:
                found += target.findings(study, self._options.fhir)
            except Exception as error:  # noqa: BLE001  the version is out: what is amiss must not undo it
                self._observer.build_failed(study.uid, error)
        return list(dict.fromkeys(found))
