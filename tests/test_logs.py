"""Logs: allowed fields only, nothing of a data set, one line each, on the stream that was named."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from node import logs
from node.errors import StorageError

PACKAGE = Path(sys.modules["node"].__file__ or "").parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is global: what a test configures is undone."""
    root, node = logging.getLogger(), logging.getLogger("node")
    handlers, levels = list(root.handlers), (root.level, node.level)
    hook, raising = threading.excepthook, logging.raiseExceptions
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    node.setLevel(levels[1])
    threading.excepthook, logging.raiseExceptions = hook, raising
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_event_and_fields_in_order(out: io.StringIO) -> None:
    logs.get_logger("node.services.store").info("stored", study="1.2.3", seconds=0.5, objects=2)
    (line,) = lines(out)
    assert list(line) == ["timestamp", "level", "event", "logger", "study", "seconds", "objects"]
    assert (line["level"], line["event"], line["logger"]) == ("info", "stored", "node.services.store")
    assert line["timestamp"].endswith("Z")


def test_loggers_made_by_structlog_go_the_same_way(out: io.StringIO) -> None:
    structlog.get_logger("node.outbox").warning("interrupted", PatientID="X", error="e")
    assert lines(out)[0]["dropped"] == ["PatientID"]


def test_fields_off_the_list_are_dropped_and_named(out: io.StringIO) -> None:
    logs.get_logger("node.x").info("e", PatientName="DOE^JOHN", PatientID="ID-XYZZY", study="1.2")
    assert "DOE" not in out.getvalue()
    assert "XYZZY" not in out.getvalue()
    assert lines(out)[0]["dropped"] == ["PatientID", "PatientName"]
    assert lines(out)[0]["study"] == "1.2"


def test_no_field_of_a_person_is_on_the_list() -> None:
    person = (
        "patient",
        "name_",
        "birth",
        "sex",
        "accession",
        "physician",
        "description",
        "comment",
        "dataset",
    )
    assert [name for name in logs.FIELDS if any(word in name for word in person)] == []


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("A\nB", "A\\x0aB"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("a\u2028b\u202e", "a\\u2028b\\u202e"),
        ("é漢", "é漢"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_escaped(out: io.StringIO, sent: str, written: str) -> None:
    logs.get_logger("node.x").info("refused", calling_ae=sent, peer=[sent])
    (line,) = lines(out)
    assert (line["calling_ae"], line["peer"]) == (written, [written])


def test_control_characters_in_event_names_too(out: io.StringIO) -> None:
    logs.get_logger("node.x").info("a\nb")
    assert lines(out)[0]["event"] == "a\\x0ab"


def test_long_values_are_cut(out: io.StringIO) -> None:
    logs.get_logger("node.x").info("e", uid="1" * 5000, rows=list(range(5000)), size=2**70)
    (line,) = lines(out)
    assert line["uid"] == "1" * logs.MAX_VALUE + "… (5000 characters)"
    assert line["rows"] == list(range(logs.MAX_ITEMS))
    assert line["size"] == str(2**70)


def test_other_types_show_their_type_only(out: io.StringIO) -> None:
    class DataSet:
        def __repr__(self) -> str:
            return "DOE^JOHN"

    logs.get_logger("node.x").info("e", bytes=b"DOE", reason=DataSet(), path=Path("a/b"), error=None)
    (line,) = lines(out)
    assert (line["bytes"], line["reason"], line["path"], line["error"]) == (
        "<bytes>",
        "<DataSet>",
        "a/b",
        None,
    )


def test_exceptions_tell_type_and_place_not_text(out: io.StringIO) -> None:
    try:
        raise ValueError("DOE^JOHN")
    except ValueError:
        logs.get_logger("node.x").exception("failed", study="1.2")
    (line,) = lines(out)
    assert line["error_type"] == "ValueError"
    assert line["frames"][-1].startswith("test_logs.py:")
    assert "DOE" not in out.getvalue()


def test_errors_of_the_node_tell_their_text(out: io.StringIO) -> None:
    logs.get_logger("node.x").error("failed", exc_info=StorageError("incoming: No space left"))
    assert lines(out)[0]["error"] == "incoming: No space left"


def test_levels(out: io.StringIO) -> None:
    log = logs.get_logger("node.x")
    log.debug("hidden")
    log.info("shown")
    logs.configure("error", "json", out)
    log.warning("hidden")
    log.error("shown")
    assert [line["event"] for line in lines(out)] == ["shown", "shown"]


def test_trusted_libraries_are_quoted_from_warning_on(out: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started")
    logging.getLogger("aiokafka.conn").warning("Unable to connect to %s:%d", "broker", 9092)
    (line,) = lines(out)
    assert (line["event"], line["library"]) == ("library_message", "aiokafka.conn")
    assert line["why"] == "Unable to connect to broker:9092"


@pytest.mark.parametrize("library", ["pydicom", "pynetdicom.assoc", "sqlalchemy.engine", "anything"])
def test_what_other_libraries_quote_is_not_repeated(out: io.StringIO, library: str) -> None:
    name = "DOE^JOHN"
    logging.getLogger(library).error(f"Invalid value {name}")
    logging.getLogger(library).error("Invalid value %s", name)
    assert [line["event"] for line in lines(out)] == ["library_complaint"] * 2
    assert all("test_logs.py:" in line["at"] for line in lines(out))
    assert "DOE" not in out.getvalue()


def test_an_exception_in_a_trusted_library_keeps_its_text_to_itself(out: io.StringIO) -> None:
    try:
        raise KeyError("DOE^JOHN")
    except KeyError:
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=True)
    (line,) = lines(out)
    assert line["error_type"] == "KeyError"
    assert "DOE" not in out.getvalue()


def test_warnings_of_python_go_the_same_way(out: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logs.configure("info", "json", out)
        warnings.warn("Invalid value for VR PN: DOE^JOHN", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(out)
    assert (line["event"], line["error_type"]) == ("python_warning", "UserWarning")
    assert "DOE" not in out.getvalue()


def test_a_thread_that_fails_is_logged_without_the_text(out: io.StringIO) -> None:
    def fail() -> None:
        raise RuntimeError("DOE^JOHN")

    thread = threading.Thread(target=fail, name="association-7")
    # pytest puts a hook of its own in place, which would report the exception as a warning
    threading.excepthook = logs._thread_failed
    thread.start()
    thread.join()
    (line,) = lines(out)
    assert (line["event"], line["thread"], line["error_type"]) == (
        "thread_failed",
        "association-7",
        "RuntimeError",
    )
    assert "DOE" not in out.getvalue()


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    logs.configure("info", "auto", terminal)
    logs.get_logger("node.x").info("started", port=104)
    logs.configure("info", "auto", pipe)
    logs.get_logger("node.x").info("started", port=104)
    assert not terminal.getvalue().startswith("{")
    assert "started" in terminal.getvalue()
    assert lines(pipe)[0]["port"] == 104


def test_console_lines_are_single_lines_too() -> None:
    stream = io.StringIO()
    logs.configure("info", "console", stream)
    logs.get_logger("node.x").info("refused", calling_ae="A\nB\x1b[0m", PatientName="DOE")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert "DOE" not in stream.getvalue()


def test_a_reader_that_went_away_does_no_harm() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    logs.configure("info", "json", Gone())
    logs.get_logger("node.x").info("stored")


def test_stderr_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.get_logger("node.x").info("started")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "started"


def logged_fields() -> Iterator[tuple[str, str]]:
    """File:line and field name of every keyword that any module hands to a logger."""
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            owner = ast.unparse(call.func.value).rpartition(".")[2].strip("_")
            if owner in ("log", "logger") and call.func.attr in (
                "debug",
                "info",
                "warning",
                "error",
                "exception",
            ):
                for keyword in call.keywords:
                    if keyword.arg not in (None, "exc_info"):
                        yield f"{path.relative_to(PACKAGE)}:{call.lineno}", str(keyword.arg)


def test_every_field_that_the_code_logs_is_on_the_list() -> None:
    fields = list(logged_fields())
    assert fields
    assert [(place, name) for place, name in fields if name not in logs.FIELDS] == []
