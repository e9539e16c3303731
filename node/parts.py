"""The node's parts, made from the configuration and connected; nothing of them runs yet."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Final

from node import health, processes, wiring
from node.activity import Activity
from node.association.listener import Listener
from node.clock import CompletionClock
from node.config import Config
from node.contents import ContentReader, Contents, slow
from node.envelope import event_type
from node.index.intake import Intake, IntakeRules
from node.index.outbox import Outbox
from node.index.retention import RetentionRows
from node.index.studies import Studies
from node.index.writer import IndexWriter
from node.metrics import Metrics
from node.model import Reason, Received, StudyState
from node.outbox import Relay
from node.peers import Peers
from node.publication import PublicationOptions, StudyPublisher
from node.quarantine import QuarantineDesk
from node.reception.desk import IndexDesk
from node.reception.listening import Space, make_listener
from node.reception.nursery import Nursery
from node.reception.pool import Pool
from node.reception.pool import processes as receivers_configured
from node.recovery import DataDirLock, Recall
from node.retention import Retention
from node.telemetry import Telemetry
from node.timing import SystemTime

DISTRIBUTION: Final = "dicom-fhir-node"


class Parts:
    """Every part, and what the parts ask of each other. Making them touches only ``data_dir``."""

    def __init__(self, config: Config, nursery: Nursery | None = None) -> None:
        """``nursery``: objects are received by processes that it forks, else by threads of this one."""
        self.config = config
        self._nursery = nursery
        self._time = SystemTime()
        self._lock = DataDirLock(config.data_dir)
        self.peers = wiring.peers(config)
        self.metrics = Metrics(self.peers, version(DISTRIBUTION))
        self.activity = Activity(self._time)
        self._telemetry = Telemetry(self.metrics, self.activity)
        self.objects = wiring.objects(config)
        self.engine = wiring.engine(config)
        self.studies = Studies(self.engine)
        self.outbox = Outbox(self.engine)
        intake = Intake(self._intake_rules(self.peers), self._same_bytes)
        around = self._time, self._telemetry, self._index_changed
        self.writer = IndexWriter(self.engine, intake, self.objects, *around)
        self.quarantine = QuarantineDesk(self.engine, intake, self.writer, self.objects, *around)
        self._connect_publication()
        self.listener = self._make_listener(nursery)
        self._space = Space(self.objects, config.objects.min_free_bytes, self._time)
        self.retention = Retention(
            RetentionRows(self.engine),
            self.objects,
            wiring.retention(config),
            self.writer.run,
            self._time,
            self._telemetry,
        )
        self._http_address = (config.http.host, config.http.port)
        self._health = self._checks()
        self._prompt = health.Prompt(self._reasons)
        self._watch()

    def _connect_publication(self) -> None:
        """What comes behind the index: clock, publisher, relay."""
        config = self.config
        sink = wiring.sink(config)
        self._recall = Recall(self.engine, sink, config.events_path, lambda: self.clock.start())
        self.relay = Relay(self.outbox, sink, self._time.wall, self._telemetry, first=self._recall.settle)
        self._reader = ContentReader(processes=2)
        self._contents = Contents(self.objects, self._reader, self.studies.locate)
        self.publisher = StudyPublisher(
            self.studies,
            PublicationOptions(
                outputs=wiring.outputs(config),
                fhir=config.fhir.options(),
                ae_title=config.dicom.ae_title,
                max_event_bytes=config.events.max_event_bytes,
                dataref=self._dataref,
                contents=self._contents.fill,
            ),
            self._time,
            self._telemetry,
            self.relay.wake,
        )
        self.clock = CompletionClock(
            self.studies,
            self._publish_due,
            self._moved_at,
            config.completion.max_seconds,
            self._time,
            self._telemetry,
            self._slow,
        )

    def _intake_rules(self, peers: Peers) -> IntakeRules:
        return IntakeRules(
            completion=wiring.rules(self.config),
            peers=peers,
            on_duplicate=self.config.objects.on_duplicate,
            quarantine_conflicts=self.config.fhir.on_patient_conflict == "quarantine",
        )

    def _make_listener(self, nursery: Nursery | None) -> Listener | Pool:
        config = self.config
        desk = IndexDesk(self.writer, self.objects, self.metrics, self._time)
        tls = wiring.tls(config)
        if nursery is not None:
            count = receivers_configured(config)
            return Pool(nursery, count, config, desk, self._telemetry, self._time.offset, self._lock.fd, tls)
        return make_listener(config, self.objects, self.engine, desk, self._telemetry, self._time, tls=tls)

    # what the parts ask of each other

    def _index_changed(self) -> None:
        self.clock.arrived()
        self.retention.wake()
        if isinstance(self.listener, Pool):
            self.listener.room_changed()

    def _same_bytes(self, received: Received) -> bool | None:
        if not received.name:  # reindex: the object lies where it is indexed
            return True
        return self.objects.same_bytes(received.name, received.key)

    def _moved_at(self, study: str) -> float | None:
        moved = self.listener.last_movement(study)
        return None if moved is None else self._time.now() - (time.monotonic() - moved)

    def _slow(self, study: str) -> bool:
        """Publishing it means reading stored files."""
        return slow(self.studies.sop_classes(study), self.publisher.needs)

    def _catch_up(self) -> None:
        """What any receiver has answered with success by now is in the index. Raises ``IndexUnavailable``."""
        if isinstance(self.listener, Pool):
            self.listener.flush()
        self.writer.wait_until_current()

    def _publish_due(self, study: StudyState, reason: Reason) -> bool:
        # What has been acknowledged by now may say that the study is not quiet after all.
        self._catch_up()
        return self.publisher.publish(study.uid, reason, study.revision)

    def _publish_now(self, uid: str, reason: Reason) -> bool:
        self._recall.check()
        return self.publisher.publish(uid, reason)

    def _receivers_lacking(self) -> str | None:
        return self.listener.lacking if isinstance(self.listener, Pool) else None

    def _not_completing(self) -> str | None:
        return self._recall.why or (None if self.clock.running else "its thread has ended")

    def _dataref(self) -> str:
        if public := self.config.http.public_url.rstrip("/"):
            root = public.replace("{", "{{").replace("}", "}}")  # the envelope formats it
            return f"{root}/api/events/{{id}}/data"
        host, port = self._http_address
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()  # every address is none that a consumer could ask
        return f"http://{address(host, port)}/api/events/{{id}}/data"

    def _render(self, accept: str) -> tuple[bytes, str]:
        if isinstance(self.listener, Pool):
            self.listener.flush()
        return self.metrics.render(accept)

    def _watch(self) -> None:
        gauges: dict[str, Callable[[], float]] = {
            "associations_active": lambda: self.listener.associations,
            "studies_open": self.studies.open_count,
            "outbox_pending": lambda: self.outbox.backlog().pending,
            "outbox_oldest_seconds": self._oldest_seconds,
            "objects_bytes_free": self.objects.free_bytes,
            "objects_bytes_min_free": lambda: self.config.objects.min_free_bytes,
            "associations_limit": lambda: self.config.dicom.max_associations,
            "outbox_parked": lambda: self.outbox.backlog().parked,
            "quarantine_waiting": self.studies.quarantine_waiting,
            "ready": lambda: not self._prompt(),
            "receivers_running": lambda: self._receiver_counts()[0],
            "receivers_configured": lambda: self._receiver_counts()[1],
            "clock_seconds": self._time.wall,
        }
        for name, source in gauges.items():
            self.metrics.watch(name, source)
        for output in wiring.outputs(self.config):
            self.metrics.begin(output.name, [event_type(output.kind, version) for version in (1, 2)])
        self.metrics.sample("check_failing", self._failing)
        self.metrics.sample("receivers_died_total", lambda: {"": self._receiver_counts()[2]})
        self.metrics.sample("process_cpu_seconds_total", partial(self._of_processes, processes.cpu_seconds))
        self.metrics.sample("process_memory_bytes", partial(self._of_processes, processes.memory_bytes))
        self.metrics.sample("process_open_fds", partial(self._of_processes, processes.open_fds))

    def _receiver_counts(self) -> tuple[int, int, int]:
        return self.listener.counts if isinstance(self.listener, Pool) else (0, 0, 0)

    def _failing(self) -> dict[str, float]:
        reasons = self._prompt()
        return {name: name in reasons for name in (*self._health.names, health.SILENT)}

    def _of_processes(self, ask: Callable[[int], float]) -> dict[str, float]:
        """What ``ask`` tells of each process that runs; one that has just ended is left out."""
        found = {}
        others = self.listener.pids if isinstance(self.listener, Pool) else {}
        for name, pid in {"node": os.getpid(), **others}.items():
            with suppress(OSError):
                found[name] = ask(pid)
        return found

    def _oldest_seconds(self) -> float:
        oldest = self.outbox.backlog().oldest_at
        return 0.0 if oldest is None else max(0.0, self._time.wall() - oldest)

    def _sink_stuck(self) -> str | None:
        state = self.relay.health()
        if state.stuck_since is None:
            return None
        seconds = self._time.wall() - state.stuck_since
        waiting = "1 event waits" if state.pending == 1 else f"{state.pending} events wait"
        return f"{waiting}, for {seconds:.0f} s: {state.last_error}"

    def _reasons(self) -> dict[str, str]:
        return self._health.reasons()

    def _checks(self) -> health.Health:
        return health.Health(
            [
                health.Check("dicom", health.listens(lambda: self.listener.listening)),
                health.Check("receivers", self._receivers_lacking),
                health.Check("index-damage", self.engine.damage),
                health.Check("index", health.succeeds(self.studies.check_writable)),
                health.Check("index-writer", lambda: self.writer.failing),
                health.Check("completion", self._not_completing),
                health.Check("objects", health.folder_writable(wiring.objects_home(self.config))),
                health.Check("space", self._space.low),
                health.Check("sink", self._sink_stuck),
            ]
        )


def address(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
