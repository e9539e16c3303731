"""The composition root: builds the parts from the configuration, starts them in order, stops them in order."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version

from node import health, recovery, wiring
from node.association.listener import Listener
from node.clock import CompletionClock
from node.config import Config
from node.contents import ContentReader, Contents, slow
from node.errors import ConfigError
from node.index.intake import Intake, IntakeRules
from node.index.outbox import Outbox
from node.index.rebuild import is_empty, unfinished
from node.index.retention import RetentionRows
from node.index.studies import Studies
from node.index.writer import IndexWriter
from node.logs import get_logger
from node.metrics import Metrics
from node.model import Reason, Received, StudyState
from node.outbox import Relay
from node.peers import Peers
from node.publication import PublicationOptions, StudyPublisher
from node.reception import worker
from node.reception.desk import IndexDesk
from node.reception.listening import Space, make_listener
from node.reception.nursery import Nursery
from node.reception.pool import Pool, processes
from node.recovery import DataDirLock, Recall
from node.retention import Retention
from node.settings import is_loopback
from node.telemetry import Telemetry
from node.timing import SystemTime
from node.web.app import create_app
from node.web.backend import Backend
from node.web.server import HttpServer, serve_http

_log = get_logger(__name__)
DISTRIBUTION = "dicom-fhir-node"


class Node:
    """The whole node. Built by the constructor, which touches only ``data_dir``; ``run`` serves."""

    def __init__(self, config: Config, nursery: Nursery | None = None) -> None:
        """``nursery``: objects are received by processes that it forks, else by threads of this one."""
        self.config = config
        self._nursery = nursery
        self._time = SystemTime()
        self._lock = DataDirLock(config.data_dir)
        peers = wiring.peers(config)
        self.metrics = Metrics(peers, version(DISTRIBUTION))
        self._telemetry = Telemetry(self.metrics)
        self.objects = wiring.objects(config)
        self.engine = wiring.engine(config)
        self.studies = Studies(self.engine)
        self.outbox = Outbox(self.engine)
        self.writer = IndexWriter(
            self.engine,
            Intake(self._intake_rules(peers), self._same_bytes),
            self.objects,
            self._time,
            self._telemetry,
            self._indexed,
        )
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
        self.listener = self._make_listener(nursery)
        self._space = Space(self.objects, config.objects.min_free_bytes)
        self.clock = CompletionClock(
            self.studies,
            self._publish_due,
            self._moved_at,
            config.completion.max_seconds,
            self._time,
            self._telemetry,
            self._slow,
        )
        self.retention = Retention(
            RetentionRows(self.engine),
            self.objects,
            wiring.retention(config),
            self.writer.run,
            self._time,
            self._telemetry,
        )
        self._http_address = (config.http.host, config.http.port)
        self._reloading = threading.Lock()
        self._watch()

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
            count = processes(config)
            return Pool(nursery, count, config, desk, self._telemetry, self._time.offset, self._lock.fd, tls)
        return make_listener(config, self.objects, self.engine, desk, self._telemetry, self._time, tls=tls)

    # what the parts ask of each other

    def _indexed(self) -> None:
        self.clock.wake()
        self.retention.wake()
        if isinstance(self.listener, Pool):
            self.listener.behind_changed()

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

    def _publish_due(self, study: StudyState, reason: Reason) -> bool:
        # What has been acknowledged by now may say that the study is not quiet after all.
        self.writer.wait_until_current()
        return self.publisher.publish(study.uid, reason, study.revision)

    def _publish_now(self, uid: str, reason: Reason) -> bool:
        self._recall.check()
        return self.publisher.publish(uid, reason)

    def _receivers_lacking(self) -> str | None:
        return self.listener.lacking if isinstance(self.listener, Pool) else None

    def _not_completing(self) -> str | None:
        return self._recall.why or (None if self.clock.running else "its thread has ended")

    def _dataref(self) -> str:
        host, port = self._http_address
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()  # every address is none that a consumer could ask
        return f"http://{_address(host, port)}/api/events/{{id}}/data"

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
        }
        for name, source in gauges.items():
            self.metrics.watch(name, source)

    def _oldest_seconds(self) -> float:
        oldest = self.outbox.backlog().oldest_at
        return 0.0 if oldest is None else max(0.0, self._time.wall() - oldest)

    def _sink_stuck(self) -> str | None:
        state = self.relay.health()
        if state.stuck_since is None:
            return None
        seconds = self._time.wall() - state.stuck_since
        return f"{state.pending} events wait, for {seconds:.0f} s: {state.last_error}"

    def _reasons(self) -> dict[str, str]:
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
        ).reasons()

    # life

    def recover(self) -> None:
        """Make the index agree with the objects. Blocks; nothing listens yet."""
        recovery.open_index(self.engine)
        recovery.carry_clock(self.studies, self._time.offset)
        self.studies.bring_forward(self._time.now())
        self.writer.start()
        if not self._recall.look() and (
            unfinished(self.engine) or (is_empty(self.engine) and not self.objects.is_empty())
        ):
            _log.warning("index_missing", hint="It is made anew from the stored objects.")
            self.rebuild()
        waiting = recovery.waiting_objects(self.objects, self._time.wall())
        count = recovery.hand_over(waiting, self.writer.put, self.writer.wait_until_current)
        if count:
            _log.info("recovered", objects=count)

    def reindex(self) -> int:
        """``rebuild`` by command, nothing runs: what the sink has to tell is asked for at once."""
        count = self.rebuild()
        if self._recall.pending:
            sink = wiring.sink(self.config)
            recall = Recall(self.engine, sink, self.config.events_path, lambda: None)
            recall.look()
            asyncio.run(recovery.recall_now(recall, sink))
        return count

    def rebuild(self) -> int:
        """Make the index anew; returns how many objects."""
        remembers = wiring.sink_remembers(self.config)
        path = self.config.events_path
        count = recovery.rebuild(self.objects, self.writer, self.engine, path, sink_remembers=remembers)
        self._recall.look()
        return count

    def reload_tls(self) -> None:
        """Read the files of [dicom.tls] anew (SIGHUP); broken ones change nothing."""
        with self._reloading:  # the last signal's files are the ones that stay
            try:
                tls = wiring.tls(self.config)
            except ConfigError as error:
                hint = "The certificates in use stay. Correct the file, then send SIGHUP again."
                _log.error("tls_not_reloaded", error=str(error), hint=hint)
                return
            if tls is None:
                return
            if isinstance(self.listener, Pool):
                self.listener.reload(tls)
            else:
                self.listener.use_tls(tls.context())
            _log.info("tls_reloaded")

    async def run(self, ready: Callable[[str], None], stop: asyncio.Event | None = None) -> None:
        """Serve until ``stop`` is set, or SIGTERM or SIGINT comes, then drain. ``ready`` gets the one line."""
        stop = stop or asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, RuntimeError):  # not in the main thread: tests stop by event
                loop.add_signal_handler(number, stop.set)
        if self.config.dicom.tls is not None:  # else there is nothing to read anew
            with suppress(NotImplementedError, RuntimeError):
                loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, self.reload_tls))
        try:
            await asyncio.to_thread(self.recover)
            if not stop.is_set():
                await self._serve(ready, stop)
        finally:
            await asyncio.to_thread(self.writer.stop)
            self.close()
        _log.info("stopped")

    async def _serve(self, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        """Each part is stopped in the reverse order of its start, however far the start came."""
        stop_relay = asyncio.Event()
        relay = asyncio.create_task(self.relay.run(stop_relay), name="relay")
        try:
            http = await self._serve_http()
            try:
                host, port = await asyncio.to_thread(self._listen)
                if not self._recall.pending:
                    self.clock.start()
                self.retention.start()
                ready(f"ready dicom={_address(host, port)} http={_address(*http.address)}")
                _log.info("ready", address=_address(host, port), url=f"http://{_address(*http.address)}/")
                congestion = self._space.low()
                if congestion:  # it listens and refuses everybody: say so before somebody calls
                    _log.warning("not_ready", check="space", why=congestion)
                await _first_of(stop.wait(), relay, http.failed())
            finally:
                await self._drain()
                await http.stop()
        finally:
            stop_relay.set()
            await relay

    def _listen(self) -> tuple[str, int]:
        try:
            return self.listener.start()
        except OSError as error:
            where = _address(self.config.dicom.host, self.config.dicom.port)
            raise ConfigError(
                [f"[dicom] host, port: {where} can't be listened on: {error.strerror}"]
            ) from error

    async def _serve_http(self) -> HttpServer:
        config = self.config
        backend = Backend(
            self.studies,
            self.outbox,
            self._time,
            config.completion.max_seconds,
            self._publish_now,
            self.publisher.resource,
            self.writer.wait_until_current,
            self.clock.wake,
            self.relay.wake,
            {output.profile: output.name for output in reversed(config.outputs)},
        )
        app = create_app(
            backend.services(self._render, self._reasons),
            loopback=is_loopback(config.http.host),
            token=config.http.token.get_secret_value(),
            allowed_hosts=config.http.allowed_hosts,
        )
        server = await serve_http(app, config.http.host, config.http.port)
        self._http_address = server.address
        return server

    async def _drain(self) -> None:
        """Stop in the order of the data path: no more objects, then no more index, then no more versions."""
        _log.info("draining", seconds=self.config.shutdown_seconds)
        cut = await asyncio.to_thread(self.listener.stop, self.config.shutdown_seconds)
        if cut:
            _log.warning("associations_cut", count=cut, limit=self.config.shutdown_seconds)
        await asyncio.to_thread(self.retention.stop)
        await asyncio.to_thread(self.writer.stop)
        await asyncio.to_thread(self.clock.stop)

    def close(self) -> None:
        """Release files; ``run`` does it at its end."""
        self._reader.close()
        if isinstance(self.listener, Pool):
            self.listener.close()
        if self._nursery is not None:
            self._nursery.close()
        self.engine.close()
        self.objects.close()
        self._lock.release()


def receivers(config: Config) -> Nursery | None:
    """What forks receiver processes, if they are configured; to be called before any thread is started."""
    return Nursery.start(partial(worker.main, config)) if processes(config) else None


def reindex(config: Config) -> int:
    """Rebuild the index from the stored objects; returns how many. No node may be running in ``data_dir``.

    An index whose file is damaged is set aside, and a new one is made.
    """
    node = Node(config)
    try:
        recovery.open_index(node.engine)
        node.writer.start()
        return node.reindex()
    finally:
        node.writer.stop()
        node.close()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _first_of(*waits: Awaitable[object]) -> None:
    """Return when one of these is done; raise what it raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            if task.get_name() != "relay":  # it is stopped by its own event
                task.cancel()
