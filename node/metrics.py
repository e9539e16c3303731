"""What Prometheus sees of the node: one table of metrics, no global state, labels that stay few.

Label values are bounded: an AE title becomes the pattern of its [[peers]] entry or ``other``, and every other
label takes values that the node's own code chooses. Never a UID, never patient data.
"""

from __future__ import annotations

import platform
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Info, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from node.assemble.quality import NAMES as QUALITY_RULES
from node.errors import NodeError
from node.logs import get_logger
from node.model import Event
from node.peers import Peers

NAMESPACE: Final = "dicom_node"

# An object takes 0.4 to 1.2 ms when synced to a local disk; a 2 GB one or a dying disk takes minutes
_STORE: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120)
# Delivery takes milliseconds; behind a broker that is down events wait for hours
_LAG: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 14400)
# Around the quiet periods that are configured: 60 s by default, minutes for ultrasound, 2 h as hard cap
_QUIET: Final = (1, 2.5, 5, 10, 30, 60, 65, 90, 120, 180, 300, 330, 600, 1200, 1800, 3600, 7200)


class Row(NamedTuple):
    """One metric: its help text, its labels, and for a histogram its buckets in seconds."""

    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


COUNTERS: Final[dict[str, Row]] = {
    "associations_total": Row("Associations ended or refused, by how.", ("result",)),
    "stores_total": Row("C-STORE requests answered, by DIMSE status.", ("calling_ae", "status")),
    "store_bytes_total": Row("Bytes of data sets stored with success."),
    "finds_total": Row("C-FIND requests answered, by query level and final status.", ("level", "status")),
    "events_total": Row("Events written to the outbox.", ("output", "type")),
    "events_parked_total": Row("Events that the sink will never take.", ("output",)),
    "late_instances_total": Row("Instances that came after their study was complete.", ("calling_ae",)),
    "duplicates_total": Row("Objects whose SOP Instance UID was here already, by kind.", ("kind",)),
    "quarantined_total": Row("Objects and studies put into quarantine.", ("reason",)),
    "quarantine_released_total": Row(
        "Objects and studies that an operator let out of quarantine.", ("reason",)
    ),
    "quarantine_discarded_total": Row("Quarantined objects that an operator had deleted.", ("reason",)),
    "objects_deleted_total": Row("Objects deleted by retention, by why.", ("why",)),
    "data_quality_total": Row("Values that a resource could not use as sent, by rule.", ("rule",)),
}
HISTOGRAMS: Final[dict[str, Row]] = {
    "store_seconds": Row("C-STORE: whole request read to answer sent.", buckets=_STORE),
    "study_quiet_seconds": Row("Last instance of a study to its event written.", buckets=_QUIET),
    "publish_lag_seconds": Row("Event written to event delivered.", buckets=_LAG),
}
GAUGES: Final[dict[str, str]] = {
    "associations_active": "Associations open now.",
    "studies_open": "Studies that wait for completion.",
    "outbox_pending": "Events that wait for delivery.",
    "outbox_oldest_seconds": "Age of the oldest event that waits for delivery, 0 when none does.",
    "objects_bytes_free": "Bytes that can still be written where objects are kept.",
    "objects_bytes_min_free": "Free bytes below which associations are refused (objects.min_free_bytes).",
    "associations_limit": "Associations that may be open at a time (dicom.max_associations).",
    "outbox_parked": "Events parked now: the sink will never take them as they are.",
    "quarantine_waiting": "Objects and studies in quarantine that nobody has decided on yet.",
    "ready": "1 when /readyz says ready, else 0.",
    "receivers_running": "Receiver processes that take associations.",
    "receivers_configured": "Receiver processes that there should be, 0 when associations are threads.",
    "clock_seconds": "Time of the node's clock, seconds since the epoch.",
}
# Asked for at scrape time like gauges; with a label the source answers with a value for each of its values.
SAMPLED: Final[dict[str, Row]] = {
    "check_failing": Row("1 while a check of /readyz says why the node is not ready, else 0.", ("check",)),
    "receivers_died_total": Row("Receiver processes that ended without being told to."),
    "process_cpu_seconds_total": Row("CPU time of each process of the node.", ("process",)),
    "process_memory_bytes": Row(
        "Memory of each process of the node (Pss: shared parts divided).", ("process",)
    ),
    "process_open_fds": Row("Open file descriptors of each process of the node.", ("process",)),
}


class Label(NamedTuple):
    """What a label says, and its values where they are the code's own few."""

    help: str
    values: tuple[str, ...] = ()


OTHER: Final = "other"
RESULTS: Final = ("released", "aborted", "rejected", "timeout", "protocol-error", "lost", "failed")
# Of C-STORE: PS3.4 B.2.3 and PS3.7 annex C. What else is answered begins to be counted with its first.
STATUSES: Final = ("0x0000", "0x0111", "0x0122", "0x0124", "0xA700", "0xA900", "0xC000")
DUPLICATES: Final = ("same", "other-bytes", "series-in-two-studies", "instance-in-two-series")
REASONS: Final = (
    "duplicate",
    "duplicate-rejected",
    "DataSetError",
    "DataSetMismatch",
    "patient-conflict",
    "no-patient-id",
)
LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE", OTHER)
LABELS: Final[dict[str, Label]] = {
    "calling_ae": Label("`ae_title` of the caller's `[[peers]]` entry, else `other`"),
    "status": Label("DIMSE status, four hex digits after `0x`"),
    "result": Label("how the association ended", RESULTS),
    "level": Label("query level, `other` for what is none", LEVELS),
    "output": Label("name of the `[[outputs]]` entry"),
    "type": Label("CloudEvents type"),
    "kind": Label("what came twice", DUPLICATES),
    "reason": Label("why it was put aside", REASONS),
    "why": Label("which rule of `[retention]`", ("age", "space")),
    "rule": Label("what was amiss", QUALITY_RULES),
    "check": Label("part of the node, as in `/readyz`"),
    "process": Label("`node`, `nursery`, `receiver-0`, `receiver-1` …"),
    "version": Label("of dicom-fhir-node"),
    "python": Label("version of the interpreter"),
}


class Stores(NamedTuple):
    """C-STOREs of one caller that were answered 0x0000: how many, their bytes of data sets, and the seconds they
    took: all of them, and how many ended in each bucket of ``store_seconds``, the last without bound."""

    calling_ae: str
    objects: int
    bytes: int
    seconds: float
    buckets: tuple[int, ...]


def summed(stores: Iterable[tuple[str, int, float]]) -> list[Stores]:
    """C-STOREs answered 0x0000, each as (calling AE title, bytes, seconds), by caller."""
    found: dict[str, list[tuple[int, float]]] = {}
    for calling_ae, size, seconds in stores:
        found.setdefault(calling_ae, []).append((size, seconds))
    sums = []
    for calling_ae, each in found.items():
        sizes, times = zip(*each, strict=True)
        buckets = Tally(bisect_left(_STORE, seconds) for seconds in times)
        counts = tuple(buckets[place] for place in range(len(_STORE) + 1))
        sums.append(Stores(calling_ae, len(each), sum(sizes), sum(times), counts))
    return sums


class _Histogram(Collector):
    """prometheus_client's own takes one value at a time; this one takes counts that were made elsewhere, too."""

    def __init__(self, name: str, row: Row) -> None:
        self._name = name
        self._row = row
        self._lock = threading.Lock()
        self._counts = [0] * (len(row.buckets) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """One value."""
        with self._lock:
            self._counts[bisect_left(self._row.buckets, seconds)] += 1
            self._sum += seconds

    def add(self, counts: Sequence[int], seconds: float) -> None:
        """Several: how many in each bucket, the last without bound, and their sum."""
        with self._lock:
            self._counts = [mine + more for mine, more in zip(self._counts, counts, strict=True)]
            self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            counts, seconds = tuple(self._counts), self._sum
        bounds = (*self._row.buckets, float("inf"))
        family = HistogramMetricFamily(f"{NAMESPACE}_{self._name}", self._row.help)
        totals = accumulate(map(float, counts))
        family.add_metric((), [*zip(map(floatToGoString, bounds), totals, strict=True)], seconds)
        yield family


class _Gauges(Collector):
    """Values asked for at scrape time; one that can't be had is left out, the others are still seen."""

    def __init__(self) -> None:
        self.sources: dict[str, Callable[[], float]] = {}
        self.sampled: dict[str, Callable[[], Mapping[str, float]]] = {}
        self._log = get_logger(__name__)

    def collect(self) -> Iterator[Metric]:
        for name, documentation in GAUGES.items():
            family = GaugeMetricFamily(f"{NAMESPACE}_{name}", documentation)
            source = self.sources.get(name)
            if source is not None:
                try:
                    family.add_metric((), float(source()))
                except (NodeError, OSError) as error:
                    self._log.warning("metric_unavailable", metric=name, error=error)
            yield family
        for name, row in SAMPLED.items():
            yield self._sampled(name, row)

    def _sampled(self, name: str, row: Row) -> Metric:
        # The type knows how its name ends: the family of a counter is named without _total
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(f"{NAMESPACE}_{name}", row.help, labels=row.labels)
        try:
            for label, value in self.sampled.get(name, dict)().items():
                family.add_metric((label,) if row.labels else (), value)
        except (NodeError, OSError) as error:
            self._log.warning("metric_unavailable", metric=name, error=error)
        return family


class _WithoutCreated(Collector):
    """Creation times would be gauges of their own in the text format, and series of their own in Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family


class Metrics:
    """Every metric of the node, in a registry of its own. All methods may be called from any thread.

    ``peers`` bounds the ``calling_ae`` labels; ``gauges`` are the sources of ``GAUGES`` by name (``watch``
    adds them later), called at each scrape from the scraping thread.
    """

    def __init__(
        self, peers: Peers, version: str, gauges: Mapping[str, Callable[[], float]] | None = None
    ) -> None:
        self._registry = CollectorRegistry()
        self._counters = {name: self._counter(name, row) for name, row in COUNTERS.items()}
        self._histograms = {name: _Histogram(name, row) for name, row in HISTOGRAMS.items()}
        for histogram in self._histograms.values():
            self._registry.register(histogram)
        self._gauges = _Gauges()
        self._registry.register(self._gauges)
        build = Info(f"{NAMESPACE}_build", "What is running.", registry=self._registry)
        build.info({"version": version, "python": platform.python_version()})
        ProcessCollector(registry=self._registry)
        # Callers choose their titles: the caches are bounded, and what falls out is found again
        self._label = lru_cache(maxsize=1024)(lambda calling_ae: peers.find(calling_ae).ae_title)
        self._children: dict[tuple[str, ...], Any] = {}
        self._store_bytes = self._counters["store_bytes_total"]
        self._store_seconds = self._histograms["store_seconds"]
        self._begin(peers.labels)
        for name, source in (gauges or {}).items():
            self.watch(name, source)

    def _counter(self, name: str, row: Row) -> Counter:
        return Counter(f"{NAMESPACE}_{name}", row.help, row.labels, registry=self._registry)

    def _begin(self, callers: Iterable[str]) -> None:
        """Begin at 0 what can be told before: increase() does not see the event that a series begins with."""
        for caller in callers:
            self._count("late_instances_total", caller, amount=0)
            for status in STATUSES:
                self._count("stores_total", caller, status, amount=0)
        for level in LEVELS:
            self._count("finds_total", level, STATUSES[0], amount=0)
        for name, row in COUNTERS.items():
            if len(row.labels) == 1:
                for value in LABELS[row.labels[0]].values:
                    self._count(name, value, amount=0)

    def begin(self, output: str, types: Iterable[str]) -> None:
        """An output that is configured, and the types of its events: they are counted from 0."""
        self._count("events_parked_total", output, amount=0)
        for kind in types:
            self._count("events_total", output, kind, amount=0)

    def watch(self, name: str, source: Callable[[], float]) -> None:
        """Name a gauge's source; a ``NodeError`` or ``OSError`` of it leaves the gauge out of that scrape."""
        if name not in GAUGES:
            raise KeyError(f"{name} is not in metrics.GAUGES")
        self._gauges.sources[name] = source

    def sample(self, name: str, source: Callable[[], Mapping[str, float]]) -> None:
        """Name the source of one of ``SAMPLED``: label value -> number, or {"": number} without a label."""
        if name not in SAMPLED:
            raise KeyError(f"{name} is not in metrics.SAMPLED")
        self._gauges.sampled[name] = source

    def _count(self, name: str, *labels: str, amount: float = 1) -> None:
        # labels() takes a lock that all threads share and formats every value anew; the child is enough
        key = (name, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._counters[name].labels(*labels)
        child.inc(amount)

    def association(self, result: str) -> None:
        """An association ended; ``result`` as ``association.receiver.Observer`` has it."""
        self._count("associations_total", result)

    def stored(self, calling_ae: str, status: int, size: int, seconds: float) -> None:
        """A C-STORE was answered: ``size`` bytes of data set, ``seconds`` from request to answer."""
        self._count("stores_total", self._label(calling_ae), f"0x{status:04X}")
        self._store_seconds.observe(seconds)
        if status == 0x0000:
            self._store_bytes.inc(size)

    def stored_together(self, stores: Stores) -> None:
        """``stored`` of several."""
        self._count("stores_total", self._label(stores.calling_ae), STATUSES[0], amount=stores.objects)
        self._store_seconds.add(stores.buckets, stores.seconds)
        self._store_bytes.inc(stores.bytes)

    def found(self, level: str, status: int) -> None:
        """A C-FIND got its final answer; ``level`` as it was asked for, which may be anything."""
        known = level if level in LEVELS else OTHER
        self._count("finds_total", known, f"0x{status:04X}")

    def written(self, event: Event) -> None:
        """``event`` is in the outbox; its CloudEvents type is the label."""
        self._count("events_total", event.output, str(event.attributes["type"]))

    def study_quiet(self, seconds: float) -> None:
        """A study completed ``seconds`` after its last instance."""
        self._histograms["study_quiet_seconds"].observe(seconds)

    def delivered(self, event: Event, lag_seconds: float) -> None:
        """The sink has ``event``, ``lag_seconds`` after it was written to the outbox."""
        self._histograms["publish_lag_seconds"].observe(lag_seconds)

    def parked(self, event: Event) -> None:
        """The sink will never take ``event``."""
        self._count("events_parked_total", event.output)

    def late_instances(self, calling_ae: str, count: int = 1) -> None:
        """Instances came for a study that was complete."""
        self._count("late_instances_total", self._label(calling_ae), amount=count)

    def duplicate(self, kind: str) -> None:
        """An object came again; ``kind`` as ``index.intake.Observer`` has it."""
        self._count("duplicates_total", kind)

    def quarantined(self, reason: str) -> None:
        """An object or study went to quarantine; ``reason`` from the code's own few."""
        self._count("quarantined_total", reason)

    def released(self, reason: str) -> None:
        """An operator let an object or study out of quarantine."""
        self._count("quarantine_released_total", reason)

    def discarded(self, reason: str) -> None:
        """An operator had a quarantined object deleted."""
        self._count("quarantine_discarded_total", reason)

    def objects_deleted(self, why: str, count: int) -> None:
        """Retention deleted objects; ``why`` is age or space."""
        self._count("objects_deleted_total", why, amount=count)

    def data_quality(self, rule: str, count: int = 1) -> None:
        """A mapping rule met values that it could not use as sent."""
        self._count("data_quality_total", rule, amount=count)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Exposition and its content type: OpenMetrics when ``accept`` asks for it, else text 0.0.4."""
        encode, content_type = choose_encoder(accept)
        return encode(_WithoutCreated(self._registry)), content_type
