"""What the parts report, told to people: each report becomes a metric, a log line, or both."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from typing import Final

from node.activity import Activity
from node.errors import NodeError
from node.logs import get_logger
from node.metrics import Metrics, Stores
from node.model import Event, Finding, Reason

_log = get_logger(__name__)

# Associations that end like this are worth a look; the others are the everyday of a busy port.
_NOTABLE: Final = frozenset(("rejected", "timeout", "protocol-error", "failed"))


# Lines about refused objects that a caller gets in a minute, and callers that are told apart in it: one that sends
# for ever what is not taken must fill neither the log's disk nor its rate limit. The metrics count every object.
_LINES: Final = 20
_MINUTE_SECONDS: Final = 60.0
_CALLERS: Final = 200


class _Sparing:
    """Lets so many lines a caller and minute pass, and counts the others. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._lines: Counter[str] = Counter()
        self._left_out = 0

    def __call__(self, calling_ae: str) -> int | None:
        """None: leave this line out. Else how many were left out since the last one that was not."""
        with self._lock:
            now = time.monotonic()
            if now - self._begun >= _MINUTE_SECONDS:
                self._begun = now
                self._lines.clear()
            caller = calling_ae if calling_ae in self._lines or len(self._lines) < _CALLERS else ""
            self._lines[caller] += 1
            if self._lines[caller] > _LINES:
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            return left_out


class Telemetry:
    """The observer of associations, index writer, clock, publication and relay. Any thread may call it."""

    def __init__(self, metrics: Metrics, activity: Activity | None = None) -> None:
        """``activity``: what the status page shows, beside the metrics."""
        self._metrics = metrics
        self._activity = activity
        self._index_error: str | None = None
        self._refused = _Sparing()

    # association/

    def stored(self, calling_ae: str, status: int, size: int, seconds: float, why: str) -> None:
        self._metrics.stored(calling_ae, status, size, seconds)
        if self._activity is not None:
            self._activity.stored(calling_ae, status, size)
        if not status:
            return
        left_out = self._refused(calling_ae)
        if left_out is not None:
            more = {"skipped": left_out} if left_out else {}
            status_ = f"0x{status:04X}"
            _log.warning("store_refused", calling_ae=calling_ae, status=status_, size=size, why=why, **more)

    def stored_together(self, stores: Stores) -> None:
        """``stored`` of several that were answered with success."""
        self._metrics.stored_together(stores)
        if self._activity is not None:
            self._activity.stored(stores.calling_ae, 0x0000, stores.bytes, stores.objects)

    def association_ended(self, calling_ae: str, address: str, result: str, why: str, objects: int) -> None:
        self._metrics.association(result)
        if self._activity is not None:
            self._activity.association_ended(calling_ae, result)
        level = _log.warning if result in _NOTABLE else _log.info
        level(
            "association_ended",
            calling_ae=calling_ae,
            address=address,
            result=result,
            why=why,
            objects=objects,
        )

    def failed(self, address: str, error: BaseException) -> None:
        log_failed_association(address, error)

    def found(self, level: str, status: int) -> None:
        self._metrics.found(level, status)

    # index writer

    def duplicate(self, kind: str) -> None:
        self._metrics.duplicate(kind)

    def late(self, calling_ae: str, count: int) -> None:
        self._metrics.late_instances(calling_ae, count)
        if self._activity is not None:
            self._activity.late(calling_ae, count)

    def quarantined(self, reason: str, study: str, file: str, calling_ae: str) -> None:
        """An object (``file`` below quarantine/), or a study as a whole; /api/quarantine has the details."""
        self._metrics.quarantined(reason)
        _log.warning("quarantined", reason=reason, study=study, file=file, calling_ae=calling_ae)

    # quarantine, by an operator

    def released(self, reason: str, study: str, file: str) -> None:
        """An object was taken in, or (``file`` is empty) a study published, that had been held back."""
        self._metrics.released(reason)
        _log.info("quarantine_released", reason=reason, study=study, file=file)

    def discarded(self, reason: str, study: str, file: str) -> None:
        """An object's bytes were deleted."""
        self._metrics.discarded(reason)
        _log.warning("quarantine_discarded", reason=reason, study=study, file=file)

    def unsettled(self, file: str, error: NodeError) -> None:
        """What an operator decided on a quarantined object before a crash can't be carried out now."""
        _log.error("quarantine_unsettled", file=file, **_fault(error))

    # index writer

    def index_failed(self, error: NodeError, waiting: int) -> None:
        if str(error) != self._index_error:  # an outage is logged once, not at every attempt
            _log.error("index_write_failed", error=str(error), hint=error.hint, waiting=waiting)
        self._index_error = str(error)

    def index_recovered(self) -> None:
        self._index_error = None
        _log.info("index_recovered")

    def object_failed(self, name: str, error: BaseException) -> None:
        _log.error("object_not_indexed", name=name, **_fault(error))

    # completion

    def clock_failed(self, study: str | None, error: BaseException) -> None:
        _log.error("completion_failed", study=study or "", **_fault(error))

    # publication

    def build_failed(self, study: str, error: BaseException) -> None:
        _log.error("resource_not_built", study=study, **_fault(error))

    def published(self, study: str, version: int, reason: Reason, quiet: float, events: list[Event]) -> None:
        """A version of a study is in the outbox."""
        self._metrics.study_quiet(quiet)
        for event in events:
            self._metrics.written(event)
        _log.info("study_completed", study=study, version=version, reason=reason, events=len(events))

    def unfit(self, event: Event, reason: str) -> None:
        """A resource did not pass its check: its event is parked."""
        self._metrics.parked(event)
        _log.error("event_parked", event_id=event.id, reason=reason)

    def unread(self, study: str, instance: str, why: str) -> None:
        """``data_quality_total`` counts it: it is one of the findings."""
        _log.warning("document_unread", study=study, instance=instance, why=why)

    def found_amiss(self, study: str, findings: list[Finding]) -> None:
        """Data quality: counted by rule, logged with keyword and UID, never with values."""
        for finding in findings:
            self._metrics.data_quality(finding.rule, finding.instances)
        # Disagreements are the many that say least: they make room for what cost a document or a selection.
        for finding in sorted(findings, key=lambda one: one.rule == "disagreement")[:20]:
            _log.info(
                "data_quality",
                study=study,
                rule=finding.rule,
                keyword=finding.keyword,
                uid=finding.uid,
                instances=finding.instances,
            )

    # retention

    def objects_deleted(self, study: str, objects: int, why: str) -> None:
        self._metrics.objects_deleted(why, objects)
        _log.info("objects_deleted", study=study, objects=objects, reason=why)

    def retention_failed(self, error: BaseException) -> None:
        _log.error("retention_failed", **_fault(error))

    # relay

    def delivered(self, event: Event, lag_seconds: float) -> None:
        self._metrics.delivered(event, lag_seconds)

    def parked(self, event: Event) -> None:
        self._metrics.parked(event)


def log_failed_association(address: str, error: BaseException) -> None:
    """A fault of ours ended an association."""
    _log.error("association_failed", address=address, **_fault(error))


def _fault(error: BaseException) -> dict[str, object]:
    """Type, text and place of a fault. Only the node's own errors are quoted: others may quote a data set."""
    frames = [
        f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)[-6:]
    ]
    if isinstance(error, NodeError):
        return {"error": str(error), "error_type": type(error).__name__, "hint": error.hint, "frames": frames}
    hint = "This is a fault of the node: please report it with this line."
    return {"error_type": type(error).__name__, "hint": hint, "frames": frames}
