"""Memory does not depend on the size of an object: 2 GB pass through a real node."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from tests.harness import NodeProcess, Nodes
from tests.scenarios.wire import EXPLICIT, STORE, Wire, message, p_data, pdv, store_rq
from tests.studies import ct, encoded

UID = "1.2.826.0.1.3680043.8.498.9"
SIZE = 2_000_000_000
PIECE = 131_066  # a PDU of 128 KiB
GROWTH_KB = 32 * 1024


def kilobytes(node: NodeProcess, field: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (the most so far) of the node, from /proc."""
    for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise AssertionError(f"no {field}")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_gigabytes(nodes: Nodes, tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 2 * SIZE:
        pytest.skip("needs 4 GB of free disk")
    node = nodes.start_process()
    try:
        with Wire.established(node.port) as peer:
            small = encoded(ct(SOPInstanceUID=f"{UID}.1"), EXPLICIT)
            assert peer.send(message(STORE, store_rq(f"{UID}.1"), small)).status() == "0x0000"
            before = kilobytes(node, "VmRSS")
            assert send_stream(peer) == "0x0000"
            grown = kilobytes(node, "VmHWM") - before
        assert grown < GROWTH_KB, f"grew by {grown} kB"
        assert any(path.stat().st_size > SIZE for path in node.data_dir.rglob("*.dcm"))
    finally:
        node.stop()
        shutil.rmtree(node.data_dir)


def send_stream(peer: Wire) -> str:
    """One object of 2 GB that nobody ever holds; its status."""
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, SIZE)
    front = encoded(ct(SOPInstanceUID=f"{UID}.2"), EXPLICIT) + pixels
    peer.socket.settimeout(120)
    peer.send(p_data(pdv(STORE, store_rq(f"{UID}.2"), command=True)), p_data(pdv(STORE, front, last=False)))
    piece = p_data(pdv(STORE, bytes(PIECE), last=False))
    for _ in range(SIZE // PIECE):
        peer.socket.sendall(piece)
    return peer.send(p_data(pdv(STORE, bytes(SIZE % PIECE)))).status()
