"""What Kafka errors mean for an operator, and what of aiokafka's own log is heard and shown."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator

import aiokafka.errors as kafka_errors  # type: ignore[import-untyped]
import pytest
import structlog

from node.publish.kafka_faults import InvalidRecord, explained, refusal, somebody_has_to_act
from node.publish.kafka_log import Heard

LIBRARY = logging.getLogger("aiokafka.client")


def wrapped(cause: BaseException) -> Exception:
    """As aiokafka hands on what a socket said."""
    error: Exception = kafka_errors.KafkaConnectionError("Connection at broker:9092 closed")
    error.__cause__ = cause
    return error


def untrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


# error -> part of what is said, whether somebody has to act
EXPLAINED = [
    (kafka_errors.SaslAuthenticationFailed("no"), "sasl_username and sasl_password", True),
    (wrapped(ConnectionRefusedError(111, "refused")), "nothing listens there", False),
    (wrapped(EOFError("0 bytes read")), "hung up at once", False),
    (TimeoutError(), "no answer in time", False),
    (wrapped(ssl.SSLError(1, "alert")), "ssl_certfile, ssl_keyfile", True),
    (untrusted(10), "has expired", True),
    (untrusted(62), "another host name", True),
    (untrusted(19), "ssl_cafile", True),
    (kafka_errors.TopicAuthorizationFailedError("t"), "no right to the topic", True),
    (kafka_errors.InvalidTimestampError(), "set the node's clock", True),
    (kafka_errors.NotEnoughReplicasError(), "min.insync.replicas", False),
    (kafka_errors.CorruptRecordException(), "CorruptRecord", False),
]


@pytest.mark.parametrize(("error", "said", "act"), EXPLAINED)
def test_each_error_says_what_to_do(error: Exception, said: str, act: bool) -> None:
    assert said in explained(error)
    assert somebody_has_to_act(error) is act


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        (10, True),
        (18, True),
        (17, True),
        (44, True),
        (87, True),
        (29, False),
        (32, False),
        (3, False),
        (76, False),
    ],
)
def test_whose_fault_it_is(code: int, refused: bool) -> None:
    """By the broker's error code, as aiokafka hands it on."""
    assert (refusal(kafka_errors.for_code(code)()) is not None) is refused


def test_codes_that_the_library_does_not_know() -> None:
    assert kafka_errors.for_code(87) is InvalidRecord
    assert kafka_errors.for_code(90) is kafka_errors.InvalidProducerEpoch
    assert kafka_errors.for_code(74).retriable
    assert kafka_errors.for_code(12_345) is kafka_errors.UnknownError


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard("broker:9092")
    with made.listening():
        yield made


class _Shown(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("aiokafka"):
            self.lines.append(record.getMessage())


@pytest.fixture
def shown() -> Iterator[list[str]]:
    handler = _Shown()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


def test_the_reason_is_heard_and_not_repeated(heard: Heard, shown: list[str]) -> None:
    with structlog.testing.capture_logs() as lines:
        heard.in_flight = True
        for _ in range(3):
            LIBRARY.error("Unable connect to node with id %s: %s", 1, ConnectionRefusedError(111, "refused"))
            LIBRARY.error("Unable to update metadata from %s", [1])
            # follows from it, and must not take its place
            LIBRARY.warning("Cannot send to %s: %r", 1, kafka_errors.NodeNotReadyError("not ready"))
    assert shown == []
    assert [line["event"] for line in lines] == ["kafka_unreachable"]
    assert "nothing listens there" in (heard.trouble or "")


def test_debug_has_all(heard: Heard, shown: list[str]) -> None:
    before = logging.getLogger("node").level
    logging.getLogger("node").setLevel(logging.DEBUG)
    try:
        for _ in range(3):
            LIBRARY.error("Unable connect to node with id %s: %s", 1, TimeoutError())
    finally:
        logging.getLogger("node").setLevel(before)
    assert len(shown) == 3


def test_the_next_outage_is_told_again(heard: Heard) -> None:
    heard.in_flight = True
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            LIBRARY.error("Unable connect to node with id %s: %s", 1, TimeoutError())
            heard.clear()
    assert len(lines) == 2
    assert heard.trouble is None


def test_what_is_no_outage_is_shown_once(heard: Heard, shown: list[str]) -> None:
    for _ in range(3):
        LIBRARY.warning("Sending username and password in the clear")
    assert shown == ["Sending username and password in the clear"]


def test_faults_of_the_library_are_always_shown(heard: Heard, shown: list[str]) -> None:
    heard.note(TimeoutError())
    for _ in range(2):
        try:
            raise ValueError("odd")
        except ValueError:
            LIBRARY.exception("Unexpected error in sender routine")
    assert len(shown) == 2


def test_others_are_not_heard(shown: list[str]) -> None:
    made = Heard("broker:9092")
    with made.listening():
        pass
    LIBRARY.error("Unable connect to node with id %s: %s", 1, TimeoutError())
    assert made.trouble is None
    assert len(shown) == 1
