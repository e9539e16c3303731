"""``python -m tests.soak --minutes 10``: four scanners, four attackers and a reader against one node.

Exit status 1 when memory, descriptors or threads of the node's processes grew, when one of them died, or when the
scanners or the reader met any error.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.harness import NodeProcess, eventually, running_nodes
from tests.scenarios.watch import Held, held
from tests.soak.clients import Record, crew

# Growth from the second quarter to the last; a busy node's connections come and go.
MEGABYTES: Final = 15.0
# Growth from rest to rest: pools of threads grow to their sizes when many ask at once by chance, leaks go on.
DESCRIPTORS: Final = 16
THREADS: Final = 24
SAMPLES: Final = 60
WARM_UP: Final = 0.2  # of the time: what is loaded, opened or started once is no growth
REST_SECONDS: Final = 10.0
TIMEOUTS: Final = {f"dicom__timeouts__{name}": "2" for name in ("handshake", "idle", "transfer")}


def load(node: NodeProcess, seconds: float, record: Record) -> list[Held]:
    """All clients for so long; what the node held meanwhile, and at rest at the end."""
    samples = []
    over = threading.Event()
    threads = [threading.Thread(target=run, args=(over,), name="client") for run in crew(node, record)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        over.wait(min(seconds / SAMPLES, max(end - time.monotonic(), 0)))
        samples.append(held(node.process.pid))
    over.set()
    for thread in threads:
        thread.join(30)
    eventually(lambda: not node.metric("associations_active"), REST_SECONDS)
    eventually(
        lambda: not node.metric("studies_open") and not node.metric("outbox_pending"), 6 * REST_SECONDS
    )
    return [*samples, held(node.process.pid)]


def soak(node: NodeProcess, seconds: float, record: Record) -> list[Held]:
    """Run the load; what the node held, at rest first and last."""
    rest = load(node, seconds * WARM_UP, record)[-1]
    return [rest, *load(node, seconds * (1 - WARM_UP), record)]


def verdict(samples: Sequence[Held], record: Record, log: str) -> list[str]:
    """What went wrong, in words."""
    first, last, busy = samples[0], samples[-1], samples[1:-1]
    quarter = max(len(busy) // 4, 1)
    early, late = busy[quarter : 2 * quarter] or busy, busy[-quarter:]
    grown = statistics.median(s.megabytes for s in late) - statistics.median(s.megabytes for s in early)
    found = (
        [f"{len(record.errors)} errors of good clients, first: {record.errors[0]}"] if record.errors else []
    )
    if grown > MEGABYTES:
        found.append(f"memory grew by {grown:.1f} MB from the second quarter to the last")
    if last.descriptors > first.descriptors + DESCRIPTORS:
        found.append(f"{last.descriptors} descriptors at rest, {first.descriptors} before")
    if last.threads > first.threads + THREADS:
        found.append(f"{last.threads} threads at rest, {first.threads} before")
    if lost := set(first.processes) - set(last.processes):
        found.append(f"processes {sorted(lost)} have died")
    if "Traceback" in log or "association_failed" in log:
        found.append("the log tells of a fault of the node")
    for what in ("C-STORE", "C-FIND"):
        if not record.seconds[what]:
            found.append(f"not one {what}: nothing was proved")
    return found


def table(samples: Sequence[Held], record: Record) -> str:
    lines = [f"{'':14}{'at rest':>10}{'busy, most':>12}{'at rest':>10}"]
    for name in ("megabytes", "descriptors", "threads"):
        values = [float(getattr(sample, name)) for sample in samples]
        lines.append(f"{name:14}{values[0]:10.0f}{max(values[1:-1]):12.0f}{values[-1]:10.0f}")
    lines.append(f"{'':14}{'count':>10}{'median ms':>12}{'p99 ms':>10}{'most ms':>10}")
    for what, seconds in sorted(record.seconds.items()):
        ordered = sorted(seconds)
        at = [ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]]
        lines.append(
            f"{what:14}{len(ordered):10}{at[0] * 1000:12.1f}{at[1] * 1000:10.1f}{at[2] * 1000:10.1f}"
        )
    lines.append(f"{'attacks':14}{record.attacks:10}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--receivers", default="2", help="as dicom.receivers; 0 = one process")
    given = parser.parse_args(arguments)
    record = Record()
    with tempfile.TemporaryDirectory() as folder:
        nodes = running_nodes(Path(folder) / "nodes")
        node = next(nodes).start_process(
            dicom__receivers=given.receivers,
            completion__quiet_seconds="2",
            **TIMEOUTS,
        )
        samples = soak(node, given.minutes * 60, record)
        problems = verdict(samples, record, node.log())
        next(nodes, None)
    print(table(samples, record))
    print("\n".join(problems) or "no growth, no error for the good ones")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
