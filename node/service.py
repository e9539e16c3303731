"""The node's life: recover, start the parts in order, stop them in order."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version

from node import logs, recovery, wiring
from node.config import Config
from node.errors import CannotListen, ConfigError
from node.index.overview import Overview
from node.index.quarantine import QuarantineRows
from node.index.rebuild import is_empty, unfinished
from node.logs import get_logger
from node.parts import DISTRIBUTION, Parts, address
from node.quarantine import Sides
from node.reception import worker
from node.reception.nursery import Nursery
from node.reception.pool import Pool, processes
from node.recovery import Recall
from node.settings import is_loopback
from node.web import operate
from node.web.app import create_app
from node.web.backend import Backend
from node.web.server import HttpServer, serve_http
from node.web.services import WebServices
from node.web.show import Show

_log = get_logger(__name__)


class Node(Parts):
    """The whole node; ``run`` serves."""

    def __init__(self, config: Config, nursery: Nursery | None = None) -> None:
        """``nursery``: objects are received by processes that it forks, else by threads of this one."""
        super().__init__(config, nursery)
        self._reloading = threading.Lock()

    def recover(self) -> None:
        """Make the index agree with the objects. Blocks; nothing listens yet."""
        recovery.open_index(self.engine)
        recovery.carry_clock(self.studies, self._time.offset)
        self.studies.bring_forward(self._time.now())
        self.writer.start()
        self.quarantine.settle()
        if not self._recall.look() and (
            unfinished(self.engine) or (is_empty(self.engine) and not self.objects.is_empty())
        ):
            _log.warning("index_missing", hint="It is made anew from the stored objects.")
            self.rebuild()
        waiting = recovery.waiting_objects(self.objects, self._time.wall())
        count = recovery.hand_over(waiting, self.writer.put, self.writer.wait_until_current)
        if count:
            _log.info("recovered", objects=count)
        self.activity.seed(Overview(self.engine).last_seen())

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
        self.quarantine.settle()  # the index is to tell what lies where after it
        remembers = wiring.sink_remembers(self.config)
        path = self.config.events_path
        count = recovery.rebuild(self.objects, self.writer, self.engine, path, sink_remembers=remembers)
        found = self.quarantine.find_lost()
        if found:
            _log.warning(
                "quarantine_found", objects=found, hint="/api/quarantine lists them; release or discard them."
            )
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
                _log.info(
                    "tls_not_configured", hint="SIGHUP reads the files of [dicom.tls] anew; there are none."
                )
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
        with suppress(NotImplementedError, RuntimeError):  # without TLS too: it must not end the node
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
                ready(f"ready dicom={address(host, port)} http={address(*http.address)}")
                _log.info("ready", address=address(host, port), url=f"http://{address(*http.address)}/")
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
            where = address(self.config.dicom.host, self.config.dicom.port)
            raise CannotListen("dicom", where, error) from error

    def _services(self) -> WebServices:
        """What people ask of the node, and tell it."""
        config, overview = self.config, Overview(self.engine)
        show = Show(config.http.show_identifiers)
        backend = Backend(
            self.studies,
            self.outbox,
            self._time,
            config.completion.max_seconds,
            overview.series_sizes,
            self._publish_now,
            self.publisher.resource,
            self._catch_up,
            self.clock.wake,
            self.relay.wake,
            {output.profile: output.name for output in reversed(config.outputs)},
            show,
        )
        about = operate.About(
            ae_title=config.dicom.ae_title,
            version=version(DISTRIBUTION),
            started_at=self._time.wall(),
            sink=config.events.sink,
            max_associations=config.dicom.max_associations,
            min_free_bytes=config.objects.min_free_bytes,
        )
        parts = operate.Parts(
            studies=self.studies,
            outbox=self.outbox,
            overview=overview,
            quarantine=QuarantineRows(self.engine),
            objects=self.objects,
            desk=self.quarantine,
            sides=Sides(lambda calling_ae: self.peers.find(calling_ae).charset),
            activity=self.activity,
            clock=self._time,
            reasons=self._prompt,
            associations=lambda: self.listener.associations,
            callers=self.listener.callers,
            knows=self.peers.knows,
            published=self._telemetry.released,
        )
        return backend.services(self._render, self._reasons, operate.Operations(about, parts, show))

    async def _serve_http(self) -> HttpServer:
        config = self.config
        app = create_app(
            self._services(),
            loopback=is_loopback(config.http.host),
            token=config.http.token.get_secret_value(),
            allowed_hosts=config.http.allowed_hosts,
        )
        server = await serve_http(app, config.http.host, config.http.port, closing=app.state.live.close)
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
        self._reader.close()  # a study whose files are being read stays due, and is published after the restart
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
    if not processes(config):
        return None
    prepare = partial(logs.configure, config.log.level, config.log.format)
    return Nursery.start(partial(worker.main, config), prepare)


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
