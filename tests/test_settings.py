"""The tables of keys, and that conf/node.toml tells the truth about them."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from node import settings
from node.config import Config, key_paths, load

SHIPPED = Path(__file__).parent.parent / "conf" / "node.toml"
KEY_LINE = re.compile(r"#(\w+ = |\[)")


def with_examples() -> str:
    """The shipped file with the examples that are commented out."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    return "\n".join(line[1:] if KEY_LINE.match(line) else line for line in lines)


def paths_in(table: dict[str, Any], above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, value in table.items():
        found.add((*above, name))
        below = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        if isinstance(below, dict):
            found |= paths_in(below, (*above, name))
    return found


def test_shipped_file_has_every_key_and_no_other() -> None:
    assert paths_in(tomllib.loads(with_examples())) == set(key_paths())


def test_shipped_file_gives_every_default() -> None:
    stated = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    assert load(SHIPPED, {}).model_dump() == Config().model_dump()
    optional = {("peers",), ("dicom", "tls"), ("completion", "rules")}
    expected = {path for path in key_paths() if not any(path[: len(o)] == o for o in optional)}
    assert paths_in(stated) == expected


def test_shipped_examples_are_legal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    for name in ("node.crt", "node.key"):
        (tmp_path / "conf" / name).write_text("")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "node.toml"
    file.write_text(with_examples(), encoding="utf-8")
    config = load(file, {})
    assert config.peers
    assert config.completion.rules
    assert config.dicom.tls


def test_every_key_of_the_shipped_file_has_a_line_about_it() -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    told = re.compile(r"# \S")
    bare = [line for above, line in pairwise(lines) if re.match(r"#?\w+ = ", line) and not told.match(above)]
    assert bare == []


def test_every_table_forbids_unknown_keys_and_is_frozen() -> None:
    tables = [
        value
        for value in vars(settings).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == settings.__name__
    ]
    assert len(tables) > 10
    assert all(t.model_config["frozen"] and t.model_config["extra"] == "forbid" for t in tables)
