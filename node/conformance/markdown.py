"""The few pieces of Markdown that the statement is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; bars in cells are escaped."""
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def bullets(items: Iterable[str]) -> str:
    """A list, one item a line."""
    return "\n".join(f"* {item}" for item in items)


def code(values: Iterable[object]) -> str:
    """Values as code, separated by commas."""
    return ", ".join(f"`{value}`" for value in values)


def blocks(*parts: str) -> str:
    """Paragraphs, tables and headings with an empty line between them."""
    return "\n\n".join(part for part in parts if part)
