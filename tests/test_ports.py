"""Ports that tests give to programs: none twice, none that the system gives to somebody else meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests import ports


def test_no_port_is_given_twice() -> None:
    """Two listeners of a broker on one port: a probe of a port at a time gives that once in thousands."""
    assert len({ports.free_port() for _ in range(500)}) == 500


def test_what_the_system_gives_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (limits := tmp_path / "limits").write_text("32768\t60999\n")
    monkeypatch.setattr(ports, "_GIVEN_BY_SYSTEM", limits)
    assert not set(ports._candidates()) & set(range(32_768, 61_000))


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken, free = server.getsockname()[1], ports.free_port()
        monkeypatch.setattr(ports, "_own", [taken, free])
        monkeypatch.setattr(ports, "_next", iter([taken, free]))
        assert ports.free_port() == free
        monkeypatch.setattr(ports, "_next", iter([taken]))
        with pytest.raises(RuntimeError, match=str(taken)):
            ports.free_port()


def test_workers_look_at_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        seen.append(set(ports._candidates()))
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("given", ["1024\t65535\n", "10000 65535", "49152 65535"])
def test_any_range_of_the_system_leaves_some(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (limits := tmp_path / "limits").write_text(given)
    monkeypatch.setattr(ports, "_GIVEN_BY_SYSTEM", limits)
    assert len(ports._candidates()) > 1_000
