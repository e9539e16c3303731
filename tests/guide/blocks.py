"""A page of Markdown as the blocks that a reader copies: commands with what they show, and configuration.

* A ``console`` block has commands after ``$ ``, continued as a shell would, and below each what it
  shows: ``…`` stands for anything in a line, alone on a line for any lines. ``^C`` ends the node that runs.
* A comment ``<!-- not run: why -->`` before a block says why no test can run it.
* A ``toml`` block is a configuration that loads; one whose first line is ``# node.toml`` goes to the end of that
  file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INTERRUPT: Final = "^C"

_BLOCK: Final = re.compile(
    r"(?:^<!-- not run: (?P<why>[^>]+?) -->\n+)?^```(?P<language>[a-z]+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``line`` is that of its fence, ``why`` the reason for which it is not run."""

    page: str
    line: int
    language: str
    text: str
    why: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command and what it shows, both as they are written."""

    place: str
    text: str
    shown: tuple[str, ...]


def blocks(path: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    text = path.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(path.name, line, found["language"], found["text"], found["why"] or "")


def commands(block: Block) -> list[Command]:
    """Of a ``console`` block."""
    found: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ ") or line == INTERRUPT:
            found.append((number, [line.removeprefix("$ ")], []))
        elif found and _unfinished(found[-1][1]):
            found[-1][1].append(line)
        elif found:
            found[-1][2].append(line)
        else:
            raise AssertionError(f"{block.page}:{number}: a console block begins with a command")
    return [
        Command(f"{block.page}:{number}", "\n".join(lines), tuple(_without_blank_ends(shown)))
        for number, lines, shown in found
    ]


def _unfinished(lines: list[str]) -> bool:
    """The shell would ask for more: after a backslash or a pipe, or inside braces."""
    text = "\n".join(lines)
    return lines[-1].endswith(("\\", "|")) or (bool(re.search(r"\{\s*$", lines[0])) and "\n  }" not in text)


def _without_blank_ends(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    """What the output must match as a whole; nothing shown matches anything."""
    if not shown:
        return re.compile(r".*", re.DOTALL)
    parts = []
    for line in shown:
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*")
        else:
            parts.append("[^\n]*".join(map(re.escape, line.rstrip().split("…"))) + r"[ \t]*\n")
    return re.compile("".join(parts))
