"""The composition root: builds the parts from the configuration, starts them in order, stops them in order."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version

from node import health, recovery, wiring
from node.association.listener import Listener, ListenerOptions
from node.association.negotiation import Negotiator
from node.association.receiver import Timeouts
from node.clock import CompletionClock
from node.config import Config
from node.errors import ConfigError, IndexCorrupt, IndexUnavailable
from node.index.intake import Intake, IntakeRules
from node.index.outbox import Outbox
from node.index.rebuild import forget_objects, is_empty, unfinished
from node.index.search import Search
from node.index.studies import Studies
from node.index.writer import IndexWriter
from node.logs import get_logger
from node.metrics import Metrics
from node.model import Reason, Received, StudyState
from node.outbox import Relay
from node.peers import Peers
from node.publication import PublicationOptions, StudyPublisher
from node.recovery import DataDirLock
from node.services import dimse
from node.services.echo import EchoService
from node.services.find import FindService
from node.services.store import StorePorts, StoreService
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

    def __init__(self, config: Config) -> None:
        self.config = config
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
            lambda: self.clock.wake(),
        )
        self.relay = Relay(self.outbox, wiring.sink(config), self._time.wall, self._telemetry)
        self.publisher = StudyPublisher(
            self.studies,
            PublicationOptions(
                outputs=wiring.outputs(config),
                fhir=config.fhir.options(),
                ae_title=config.dicom.ae_title,
                max_event_bytes=config.events.max_event_bytes,
                dataref=self._dataref,
                contents=lambda study, _needs: study,
            ),
            self._time,
            self._telemetry,
            self.relay.wake,
        )
        self.listener = self._make_listener(peers)
        self.clock = CompletionClock(
            self.studies,
            self._publish_due,
            self._moved_at,
            config.completion.max_seconds,
            self._time,
            self._telemetry,
            slow=lambda uid: False,
        )
        self._http_address = (config.http.host, config.http.port)
        self._watch()

    def _intake_rules(self, peers: Peers) -> IntakeRules:
        return IntakeRules(
            completion=wiring.rules(self.config),
            peers=peers,
            on_duplicate=self.config.objects.on_duplicate,
            quarantine_conflicts=self.config.fhir.on_patient_conflict == "quarantine",
        )

    def _make_listener(self, peers: Peers) -> Listener:
        dicom = self.config.dicom
        ports = StorePorts(
            accepted=self._accepted,
            rejected=self.writer.put,
            refusal=self._refusal,
            collides=self._collides if self.config.objects.on_duplicate == "reject" else None,
        )
        find = FindService(
            Search(self.engine),
            dicom.max_find_answers,
            dicom.ae_title,
            self._catch_up,
            self.metrics.found,
        )
        return Listener(
            ListenerOptions(
                host=dicom.host,
                port=dicom.port,
                max_associations=dicom.max_associations,
                max_pdu=dicom.max_pdu,
                timeouts=Timeouts(dicom.timeouts.handshake, dicom.timeouts.idle, dicom.timeouts.transfer),
                tls=wiring.tls(self.config),
            ),
            Negotiator({dicom.ae_title, *dicom.aliases}, peers, dicom.max_pdu),
            {
                dimse.C_ECHO_RQ: EchoService(),
                dimse.C_STORE_RQ: StoreService(self.objects, ports, self._time),
                dimse.C_FIND_RQ: find,
            },
            self._telemetry,
            self._congestion,
        )

    # what the parts ask of each other

    def _accepted(self, received: Received) -> None:
        self.listener.brought(received.association, received.key.study)
        self.writer.put(received)

    def _same_bytes(self, received: Received) -> bool | None:
        if not received.name:  # reindex: the object lies where it is indexed
            return True
        return self.objects.same_bytes(received.name, received.key)

    def _collides(self, received: Received) -> bool:
        self.writer.wait_until_current()
        return self.objects.same_bytes(received.name, received.key) is False

    def _refusal(self) -> str | None:
        least = self.config.objects.min_free_bytes // 5
        free = self.objects.free_bytes()
        if free < least:
            return f"disk full: {free} bytes free, {least} needed"
        return self.writer.refusal()

    def _congestion(self) -> str | None:
        least = self.config.objects.min_free_bytes
        free = self.objects.free_bytes()
        return f"disk low: {free} bytes free (objects.min_free_bytes)" if free < least else None

    def _moved_at(self, study: str) -> float | None:
        moved = self.listener.last_movement(study)
        return None if moved is None else self._time.now() - (time.monotonic() - moved)

    def _catch_up(self) -> None:
        """What was answered is found; but a disk that is full must not silence C-FIND."""
        try:
            self.writer.wait_until_current()
        except IndexUnavailable as error:
            _log.warning("find_without_newest", error=str(error), hint=error.hint)

    def _publish_due(self, study: StudyState, reason: Reason) -> bool:
        # What has been acknowledged by now may say that the study is not quiet after all.
        self.writer.wait_until_current()
        return self.publisher.publish(study.uid, reason, study.revision)

    def _dataref(self) -> str:
        host, port = self._http_address
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()  # every address is none that a consumer could ask
        return f"http://{_address(host, port)}/api/events/{{id}}/data"

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
                health.Check("index", health.succeeds(self.studies.check_writable)),
                health.Check("index-writer", lambda: self.writer.failing),
                health.Check("completion", lambda: None if self.clock.running else "its thread has ended"),
                health.Check("objects", health.folder_writable(wiring.objects_home(self.config))),
                health.Check("space", self._congestion),
                health.Check("sink", self._sink_stuck),
            ]
        ).reasons()

    # life

    def recover(self) -> None:
        """Make the index agree with the objects. Blocks; nothing listens yet."""
        self.engine.create()
        self.studies.bring_forward(self._time.now())
        self.writer.start()
        if unfinished(self.engine) or (is_empty(self.engine) and not self.objects.is_empty()):
            _log.warning("index_missing", hint="It is made anew from the stored objects.")
            recovery.rebuild(self.objects, self.writer, self.engine, self.config.events_path)
        waiting = recovery.waiting_objects(self.objects, self._time.wall())
        count = recovery.hand_over(waiting, self.writer.put, self.writer.wait_until_current)
        if count:
            _log.info("recovered", objects=count)

    async def run(self, ready: Callable[[str], None], stop: asyncio.Event | None = None) -> None:
        """Serve until ``stop`` is set, or SIGTERM or SIGINT comes, then drain. ``ready`` gets the one line."""
        stop = stop or asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, RuntimeError):  # not in the main thread: tests stop by event
                loop.add_signal_handler(number, stop.set)
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
                self.clock.start()
                ready(f"ready dicom={_address(host, port)} http={_address(*http.address)}")
                _log.info("ready", address=_address(host, port), url=f"http://{_address(*http.address)}/")
                congestion = self._congestion()
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
            self.publisher.publish,
            self.publisher.resource,
            self.writer.wait_until_current,
            self.clock.wake,
            self.relay.wake,
            {output.profile: output.name for output in reversed(config.outputs)},
        )
        app = create_app(
            backend.services(self.metrics.render, self._reasons),
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
        await asyncio.to_thread(self.writer.stop)
        await asyncio.to_thread(self.clock.stop)

    def close(self) -> None:
        """Release files; ``run`` does it at its end."""
        self.engine.close()
        self.objects.close()
        self._lock.release()


def reindex(config: Config) -> int:
    """Rebuild the index from the stored objects; returns how many. No node may be running in ``data_dir``.

    An index whose file is damaged is set aside, and a new one is made.
    """
    node = Node(config)
    try:
        try:
            node.engine.create()
            forget_objects(node.engine)
        except IndexCorrupt as error:
            aside = node.engine.set_aside(time.strftime("damaged-%Y%m%dT%H%M%S"))
            _log.warning("index_set_aside", path=str(aside), error=str(error))
            node.engine.create()
        node.writer.start()
        return recovery.rebuild(node.objects, node.writer, node.engine, config.events_path)
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
