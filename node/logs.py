"""Structured logs on stderr: an event name and fields from an allow-list, never patient data.

Everything passes through the same processors: the node's own events, the standard library's loggers of other
packages, Python's warnings, and exceptions that end a thread. What other packages write can quote a data set,
so only those named in ``TRUSTED`` are quoted; of the others it is told who complained and where.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor

from node.errors import NodeError

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

# Field names that a log line may have. Nothing from a data set that tells of a person belongs here.
_GROUPS: Final = {
    "identifiers": "study series instance sop_class transfer_syntax uid event_id association context",
    "parties": "calling_ae called_ae ae_title aliases peer address host port url client",
    "states": "state version completion deadline query_level status result reason kind",
    "rules": "rule why code tag keyword vr",
    "delivery": "output topic seq partition offset sink profile attempts backoff",
    "places": "path file files name key",
    "counts": "count total added objects instances studies events rows batch pending waiting failed skipped",
    "amounts": "size bytes free_bytes limit seconds quiet_seconds max_seconds timeout age lag",
    "faults": "error error_type hint at frames",
    "parts": "metric check checks method route variable library thread pid signal",
}
FIELDS: Final = frozenset(name for names in _GROUPS.values() for name in names.split())
TRUSTED: Final = ("aiokafka", "asyncio", "uvicorn")
MAX_VALUE: Final = 500  # characters of one value
MAX_ITEMS: Final = 20  # values of one list

_ALWAYS: Final = ("timestamp", "level", "event", "logger")
_INTERNAL: Final = frozenset(("_record", "_from_structlog", "exc_info", "stack_info"))
# C0, DEL, C1, line and paragraph separators, and the marks that reorder text on a terminal
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_WARNING_HEAD: Final = re.compile(r"(?P<at>.+?:\d+): (?P<type>\w+):")


def get_logger(name: str) -> BoundLogger:
    """A logger for a module's ``__name__``; quiet about its destination until ``configure``."""
    return structlog.stdlib.get_logger(name)


def configure(level: Level = "info", format: Format = "auto", stream: TextIO | None = None) -> None:
    """Send all logs to ``stream`` (stderr): once, at the start of a command.

    ``auto`` is for people on a terminal and JSON lines elsewhere. Other packages are heard from warning on.
    """
    target = sys.stderr if stream is None else stream
    console = format == "console" or (format == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[_only_safe, _renderer(console, target.isatty())],
            foreign_pre_chain=[_foreign, *_STAMPS],
        )
    )
    logging.raiseExceptions = False  # a reader of stderr that went away must not end an association
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("node").setLevel(level.upper())
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_STAMPS, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


_STAMPS: Final[Sequence[Processor]] = (
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def _renderer(console: bool, colors: bool) -> Processor:
    if console:
        return structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
    return structlog.processors.JSONRenderer(serializer=lambda fields, **_: orjson.dumps(fields).decode())


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    """Python's own hook prints the exception's text, which can quote what a peer sent."""
    if args.exc_value is None:
        return
    get_logger("node.thread").error(
        "thread_failed",
        thread=args.thread.name if args.thread else "",
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )


def _foreign(_logger: Any, _method: str, fields: EventDict) -> EventDict:
    """What another package logged: quoted when it is trusted, else only who and where."""
    record: logging.LogRecord = fields["_record"]
    kept: EventDict = {name: fields[name] for name in _INTERNAL if name in fields}
    kept["library"] = record.name
    if record.name.split(".")[0] in TRUSTED:
        return {**kept, "event": "library_message", "why": fields["event"]}
    warned = _WARNING_HEAD.match(str(fields["event"])) if record.name == "py.warnings" else None
    if warned:
        return {**kept, "event": "python_warning", "at": warned["at"], "error_type": warned["type"]}
    return {**kept, "event": "library_complaint", "at": f"{record.pathname}:{record.lineno}"}


def _only_safe(_logger: Any, _method: str, fields: EventDict) -> EventDict:
    """The last word on what is written: allowed names, printable and bounded values, no exception texts."""
    failure = _exception(fields.get("exc_info"), fields.get("_record"))
    dropped = sorted(fields.keys() - FIELDS - set(_ALWAYS) - _INTERNAL)
    safe: EventDict = {name: _value(fields[name]) for name in _ALWAYS if name in fields}
    safe.update((name, _value(value)) for name, value in fields.items() if name in FIELDS)
    safe.update(failure)
    if dropped:
        safe["dropped"] = [printable(name) for name in dropped[:MAX_ITEMS]]
    return safe


def _exception(given: Any, record: Any) -> Mapping[str, Any]:
    """Type and frames; the text only of the node's own errors, others may quote what they choked on."""
    if given is None and record is not None:
        given = record.exc_info
    error = given if isinstance(given, BaseException) else (given[1] if isinstance(given, tuple) else None)
    if error is None and given is True:
        error = sys.exc_info()[1]
    if error is None:
        return {}
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    told: MutableMapping[str, Any] = {
        "error_type": type(error).__name__,
        "frames": [f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in frames],
    }
    if isinstance(error, NodeError):
        told["error"] = printable(str(error))
    return told


def _value(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, str | Path):
        return printable(str(value))
    if isinstance(value, NodeError | OSError):
        return printable(str(value))
    if isinstance(value, Mapping):
        return {printable(str(key)): _value(item) for key, item in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(item) for item in list(value)[:MAX_ITEMS]]
    return f"<{type(value).__name__}>"  # its repr might be a data set


def printable(text: str) -> str:
    """``text`` on one line: control characters as ``\\xNN`` or ``\\uNNNN``, cut after ``MAX_VALUE``."""
    cut = text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"
    return _CONTROL.sub(_escape, cut)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
