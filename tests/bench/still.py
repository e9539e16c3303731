"""What the node costs when nothing is received: at rest, idle associations, and what many short ones leave."""

from __future__ import annotations

import contextlib
from typing import Final

from tests.bench import associations
from tests.bench.figures import Bench, Section
from tests.bench.loads import LOADS, Load, association_request
from tests.bench.measure import growth, lodged, serials
from tests.bench.receivers import FORK, NODE_FSYNC, NODE_NONE, Receiver, Running, started
from tests.bench.replay import connect, negotiate, probe, release
from tests.bench.stored import Stored
from tests.bench.watch import Watch, biggest, proportional

REST_MB: Final = "rest, MB"
REST_BIGGEST_MB: Final = "rest, biggest RSS, MB"
REST_CPU: Final = "rest, % of a core"
IDLE_CPU: Final = "100 idle associations, % of a core"
EMPTY_MB: Final = "growth by associations, MB"
EMPTY_RATE: Final = "associations a second"
BARE_MB: Final = "growth by bare connects, MB"
BARE_RATE: Final = "bare connects a second"
HUGE_MB: Final = "growth by 200 MB objects, MB"

IDLE: Final = 100
_SMALL: Final = next(load for load in LOADS if load.name == "MR 10 kB")
_HUGE: Final = next(load for load in LOADS if load.frames > 1)


def short_rate(receiver: Receiver) -> str:
    """The figure that holds associations of one object each a second."""
    return f"associations of one object a second: {receiver.name}"


def rest(bench: Bench) -> None:
    """A fresh node: at rest, then 100 idle associations, then many short ones, then as many bare connects."""
    seconds, many = (2.0, 1_000) if bench.quick else (10.0, 10_000)
    request = association_request(_SMALL, NODE_FSYNC.ae_title)
    with (
        lodged(bench.folder) as folder,
        started(NODE_FSYNC, folder) as running,
        Watch(running.process.pid) as watch,
    ):
        watch.settled_cpu()
        bench.figures.add(REST_MB, watch.now(proportional) / 1e6)
        bench.figures.add(REST_BIGGEST_MB, watch.now(biggest) / 1e6)
        bench.figures.add(REST_CPU, watch.share_of_a_core(seconds))
        for kind, grown, rate in (("empty", EMPTY_MB, EMPTY_RATE), ("bare", BARE_MB, BARE_RATE)):
            before = watch.now(proportional)
            bench.figures.add(rate, associations.run(running.host, running.port, request, kind, many))
            watch.settled_cpu()
            bench.figures.add(grown, (watch.now(proportional) - before) / 1e6)
        bench.figures.add(IDLE_CPU, idle(running, request, watch, seconds / 2))


def idle(running: Running, request: bytes, watch: Watch, seconds: float) -> float:
    """Percent of a core that ``IDLE`` open associations cost in the next ``seconds``."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(running.host, running.port)) for _ in range(IDLE)]
        for peer in peers:
            negotiate(peer, request)
        watch.settled_cpu()
        share = watch.share_of_a_core(seconds)
        for peer in peers:
            release(peer)  # fails when it has not been idle all the time, but cut
    return share


def short(bench: Bench) -> None:
    """Associations of one small object each, the node beside storescp --fork."""
    data_set = bench.data_sets[_SMALL.name]
    second = len(bench.figures.values[short_rate(NODE_NONE)]) % 2 == 1  # each goes first in turn
    for receiver in (FORK, NODE_NONE) if second else (NODE_NONE, FORK):
        request = association_request(_SMALL, receiver.ae_title)
        with lodged(bench.folder) as folder, started(receiver, folder) as running:
            longest = probe(running.host, running.port, request)
            first = serials()
            store = (str(data_set), _SMALL.sop_class, str(first), str(longest))
            count = 100 if bench.quick else 500
            reached = associations.run(running.host, running.port, request, "store", count, *store)
            Stored(data_set).check(folder / "data", range(first, first + count))
            bench.figures.add(short_rate(receiver), reached)


def huge(bench: Bench) -> None:
    """Memory while objects of 200 MB come."""
    load: Load = _HUGE
    each = load.objects(bench.quick, 1)
    bench.figures.add(HUGE_MB, growth(NODE_NONE, load, bench.data_sets[load.name], each))


SECTIONS: Final = (
    Section("short associations", (NODE_NONE, FORK), False, short),
    Section("memory", (NODE_NONE,), False, huge),
    Section("at rest", (NODE_FSYNC,), True, rest),
)
