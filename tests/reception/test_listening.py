"""Free space as the store service asks for it: seldom, and again soon."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from node.objects.files import FileObjects
from node.reception import listening
from node.reception.listening import Space


def test_free_space_is_asked_for_ten_times_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = FileObjects(tmp_path / "o", tmp_path / "i", tmp_path / "q", durable=False)
    now, free, asked = [100.0], [1_000], []
    monkeypatch.setattr(listening, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(objects, "free_bytes", lambda: asked.append(1) or free[0])
    space = Space(objects, 1_000)
    assert [space.full() for _ in range(100)] == [None] * 100
    assert len(asked) == 1
    free[0] = 199
    now[0] += 0.2
    assert "199 bytes free" in str(space.full())
    free[0] = 1_000
    now[0] += 0.2
    assert space.full() is None
    objects.close()
