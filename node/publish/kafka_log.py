"""What aiokafka tells only its own log: listened to for the reason of an outage, kept from repeating it in ours.

aiokafka retries for ever and reports each attempt in several lines, about one a second; the error that says
why (a wrong password, a certificate) stands nowhere else. So its log is heard: the reason goes into the
node's own line and into the sink's state, the repetitions only into a log of level debug.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from node.logs import get_logger
from node.publish.kafka_faults import explained, telling

_log = get_logger(__name__)

_LIBRARY: Final = logging.getLogger("aiokafka")
_NODE: Final = logging.getLogger("node")

# Tasks inherit it from whoever creates them: a publisher hears what its own connections say, and no others'.
_listener: ContextVar[Heard | None] = ContextVar("kafka_listener", default=None)


class Heard:
    """The reason of the present outage, as far as aiokafka told it. ``where`` names the brokers."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._error: BaseException | None = None
        self._texts: set[str] = set()
        self._said = False
        self.in_flight = False  # a batch waits inside of aiokafka: nobody else reports the outage

    @property
    def trouble(self) -> str | None:
        """Why nothing can be reached; None while nothing is known against it."""
        return None if self._error is None else f"Kafka {self._where}: {explained(self._error)}"

    @property
    def error(self) -> BaseException | None:
        return self._error

    def clear(self) -> None:
        """The broker answers."""
        self._error = None
        self._texts.clear()
        self._said = False

    def note(self, error: BaseException) -> None:
        # "not ready" follows the error that says why, and must not take its place.
        if self._error is None or telling(error) or not telling(self._error):
            self._error = error
        if self.in_flight and not self._said:
            self._said = True
            hint = "Events wait; delivery goes on by itself when the cause named is mended."
            _log.warning("kafka_unreachable", why=self.trouble, hint=hint)

    def is_news(self, text: str) -> bool:
        """Whether a line without an error is worth showing: once, and not as an echo of a known outage."""
        if self._error is not None or text in self._texts:
            return False
        self._texts.add(text)
        return True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what the connections say that are made inside."""
        listen()
        before = _listener.set(self)
        try:
            yield
        finally:
            _listener.reset(before)


class _Ear(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        listener = _listener.get()
        arguments = record.args if isinstance(record.args, tuple) else ()
        error = next((one for one in arguments if isinstance(one, BaseException)), None)
        if listener is not None and error is not None:
            listener.note(error)
        if (
            listener is None
            or record.exc_info  # a fault of the library, not of the broker
            or _NODE.isEnabledFor(logging.DEBUG)
            or (error is None and listener.is_news(record.getMessage()))
        ):
            logging.getLogger().callHandlers(record)


_EAR: Final = _Ear()


def listen() -> None:
    """Put the ear between aiokafka's loggers and the node's log; again is nothing."""
    if _EAR not in _LIBRARY.handlers:
        _LIBRARY.addHandler(_EAR)
        _LIBRARY.propagate = False
