"""Messages and calls over a socket pair: order, errors, and ends that die, lie, or do not read."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.errors import DeadlineExceeded, IndexUnavailable
from node.model import ObjectKey, Received
from node.reception import channel
from node.reception.channel import Channel, ChannelClosed, ChannelGarbled, Kind
from tests.harness import eventually
from tests.studies import raw_header

Handlers = Mapping[str, Callable[..., Any]]


class Pair:
    """Two ends, each with a thread that reads."""

    def __init__(self, stack: ExitStack, here: Handlers, there: Handlers) -> None:
        ends = socket.socketpair()
        self.here, self.there = Channel(ends[0], here), Channel(ends[1], there)
        self.readers = [threading.Thread(target=end.run) for end in (self.here, self.there)]
        for end, thread in zip((self.here, self.there), self.readers, strict=True):
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(end.close)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Raw:
    """One channel, and the bytes at its other end."""

    def __init__(self, stack: ExitStack, handlers: Handlers, **options: int) -> None:
        ours, self.socket = socket.socketpair()
        self.socket.settimeout(10)
        self.channel = Channel(ours, handlers, **options)
        self.raised: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        stack.callback(self.socket.close)
        stack.callback(self.thread.join, 10)
        stack.callback(self.channel.close)

    def _run(self) -> None:
        try:
            self.channel.run()
        except BaseException as error:  # noqa: BLE001  looked at by the test
            self.raised = error

    def start(self) -> None:
        self.thread.start()

    def end(self) -> BaseException | None:
        """What ``run`` raised; it must return by itself."""
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.raised


def framed(message: object) -> bytes:
    data = pickle.dumps(message)
    return struct.pack("<I", len(data)) + data


def test_what_was_told_is_handled_in_order_and_before_a_later_answer(stack: ExitStack) -> None:
    seen: list[int] = []
    pair = Pair(stack, {}, {"note": seen.append, "count": lambda: len(seen)})
    for number in range(1_000):
        pair.here.tell("note", number)
    assert pair.here.call("count", seconds=10) == 1_000
    assert seen == list(range(1_000))


def test_what_is_told_while_a_call_is_answered_comes_before_the_answer(stack: ExitStack) -> None:
    """The order that C-FIND relies on: an answer to "flush" says that all records told before have arrived."""
    seen: list[int] = []

    def flush() -> None:
        for number in range(100):
            pair.there.tell("note", number)

    pair = Pair(stack, {"note": seen.append}, {"flush": flush})
    pair.here.call("flush", seconds=10)
    assert seen == list(range(100))


def test_calls_wait_beside_each_other_and_hold_up_nobody(stack: ExitStack) -> None:
    release = threading.Event()
    pair = Pair(stack, {}, {"wait": lambda: release.wait(10), "at_once": lambda: 1})
    waiting = pair.here.ask("wait")
    assert pair.here.call("at_once", seconds=10) == 1
    assert not waiting.done()
    release.set()
    assert waiting.result(10) is True


def test_both_ends_call_each_other_at_once(stack: ExitStack) -> None:
    pair = Pair(stack, {"back": lambda: 1}, {"there": lambda: pair.there.call("back", seconds=10) + 1})
    assert pair.here.call("there", seconds=10) == 2


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (IndexUnavailable("index is behind"), IndexUnavailable, "index is behind"),
        (DeadlineExceeded("idle", 3), RuntimeError, "DeadlineExceeded"),  # it can't be unpickled
        (KeyError("name"), KeyError, "name"),
    ],
)
def test_a_handlers_error_is_the_callers(
    stack: ExitStack, raised: Exception, expected: type[Exception], text: str
) -> None:
    def fail() -> None:
        raise raised

    pair = Pair(stack, {}, {"fail": fail})
    with pytest.raises(expected, match=text):
        pair.here.call("fail", seconds=10)
    assert pair.here.ask("fail").exception(10) is not None


def test_a_call_of_nothing_known_is_the_callers_error(stack: ExitStack) -> None:
    pair = Pair(stack, {}, {})
    with pytest.raises(KeyError):
        pair.here.call("unheard-of", seconds=10)


def test_an_answer_that_comes_too_late_finds_nobody(stack: ExitStack) -> None:
    release = threading.Event()
    pair = Pair(stack, {}, {"wait": lambda: release.wait(10), "at_once": lambda: 1})
    with pytest.raises(TimeoutError):
        pair.here.call("wait", seconds=0.01)
    assert pair.here._waiting == {}
    release.set()
    assert pair.here.call("at_once", seconds=10) == 1


def test_an_end_that_goes_ends_every_call(stack: ExitStack) -> None:
    raw = Raw(stack, {})
    raw.start()
    calls = [raw.channel.ask("never", number) for number in range(3)]
    raw.socket.recv(65536)
    raw.socket.close()
    for call in calls:
        assert isinstance(call.exception(10), ChannelClosed)
    assert raw.end() is None
    for use in (raw.channel.tell, raw.channel.ask):
        with pytest.raises(ChannelClosed):
            use("anything")
    assert raw.channel._waiting == {}


@pytest.mark.parametrize("kept", [0, 3, 4, 20])
def test_a_message_that_its_sender_did_not_finish_is_nothing(stack: ExitStack, kept: int) -> None:
    """A receiver that is killed while it tells: what was whole counts, the rest never happened."""
    seen: list[str] = []
    raw = Raw(stack, {"note": seen.append})
    whole = framed((Kind.TELL, 0, "note", ("whole",)))
    cut = framed((Kind.TELL, 0, "note", ("cut" * 100,)))[:kept]
    raw.socket.sendall(whole + cut)
    raw.socket.close()
    raw.start()
    assert raw.end() is None
    assert seen == ["whole"]


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<I", channel.MAX_MESSAGE + 1),
        struct.pack("<I", 3) + b"abc",
        framed("not four values"),
        framed(None),
    ],
)
def test_what_is_no_message_ends_the_channel(stack: ExitStack, sent: bytes) -> None:
    raw = Raw(stack, {})
    raw.start()
    raw.socket.sendall(sent)
    assert isinstance(raw.end(), ChannelGarbled)
    assert raw.socket.recv(1) == b""  # the other end sees it too, and can't write into the void
    with pytest.raises(ChannelClosed):
        raw.channel.tell("anything")


def test_a_told_message_that_nobody_handles_ends_the_channel(stack: ExitStack) -> None:
    raw = Raw(stack, {})
    raw.start()
    raw.socket.sendall(framed((Kind.TELL, 0, "unheard-of", ())))
    assert isinstance(raw.end(), KeyError)
    assert raw.socket.recv(1) == b""


def test_a_message_may_be_longer_than_the_sockets_buffer(stack: ExitStack) -> None:
    """Both ends send at once what fits into no buffer; each reads while it sends."""
    seen: list[int] = []
    handlers = {"note": lambda data: seen.append(len(data))}
    pair = Pair(stack, handlers, handlers)
    senders = [
        threading.Thread(target=end.tell, args=("note", bytes(4_000_000))) for end in (pair.here, pair.there)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(10)
    eventually(lambda: seen == [4_000_000] * 2)


def test_a_message_longer_than_any_is_not_sent(stack: ExitStack) -> None:
    pair = Pair(stack, {}, {"length": len})
    with pytest.raises(ValueError, match="at most"):
        pair.here.tell("length", bytes(channel.MAX_MESSAGE))
    assert pair.here.call("length", b"123", seconds=10) == 3


def test_an_end_that_does_not_read_counts_as_gone(stack: ExitStack) -> None:
    raw = Raw(stack, {}, send_seconds=1)
    raw.start()
    waiting = raw.channel.ask("never")
    with pytest.raises(ChannelClosed, match="does not read"):
        raw.channel.tell("note", bytes(8_000_000))
    assert isinstance(waiting.exception(10), ChannelClosed)
    assert raw.end() is None


def switches(thread: threading.Thread) -> int:
    """How often the thread has gone to sleep."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def test_who_tells_is_not_woken_when_it_is_read(stack: ExitStack) -> None:
    """A thread that waits in recv would be, by the kernel, for each message."""
    read = threading.Semaphore(0)
    pair = Pair(stack, {}, {"note": lambda _number: read.release()})
    pair.here.tell("note", 0)
    assert read.acquire(timeout=10)
    before = switches(pair.readers[0])
    for number in range(200):
        pair.here.tell("note", number)
        assert read.acquire(timeout=10)
    assert switches(pair.readers[0]) - before < 20


def _ends_with(notes: list[int], number: int) -> bool:
    return notes[-1:] == [number]


def test_messages_that_keep_coming_gather(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[int] = []
    pauses: list[float] = []
    now = [100.0]
    monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=pauses.append))
    raw = Raw(stack, {"note": notes.append}, together=1)
    raw.start()
    for number, later, expected in ((1, 0, []), (2, 0.5, [1]), (3, 5.0, [1])):
        now[0] += later
        data = pickle.dumps((Kind.TELL, 0, "note", (number,)))
        raw.socket.sendall(struct.pack("<I", len(data)) + data)
        eventually(partial(_ends_with, notes, number))
        assert pauses == expected
    raw.socket.sendall(struct.pack("<I", len(data)))  # nothing gathers inside a message
    eventually(lambda: pauses == [1, 1])
    raw.socket.sendall(data)
    eventually(lambda: notes == [1, 2, 3, 3])
    assert pauses == [1, 1]


def test_a_record_comes_as_it_went(stack: ExitStack) -> None:
    key, header = ObjectKey("1.2", "1.2.3", "1.2.3.4"), raw_header({0x00080018: b"1.2.3.4\0"}, True, False)
    sent = Received("a-1", key, "1.2.5", "1.2.840.10008.1.2", 10, header, "CT1", "NODE", 1.5, 7)
    arrived: list[Received] = []
    Pair(stack, {}, {"put": arrived.append}).here.tell("put", sent)
    eventually(lambda: arrived == [sent])
    assert type(arrived[0]) is Received
