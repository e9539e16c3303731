"""Writes out where each element of a target comes from: Markdown, made of the very rows that build it."""

from __future__ import annotations

from collections.abc import Iterator

from node.fhir.table import Page

_HEAD = ("element", "cardinality", "source", "rule")


def page(of: Page) -> str:
    """The page of one target as Markdown, one table a section."""
    return "\n".join(_lines(of)) + "\n"


def _lines(of: Page) -> Iterator[str]:
    yield f"# {of.title}"
    yield ""
    yield of.about
    for section in of.sections:
        yield ""
        yield f"## {section.path}"
        yield ""
        yield _row(*_HEAD)
        yield _row(*("---" for _ in _HEAD))
        for row in section.rows:
            yield _row(f"`{row.element}`", row.card, row.source, row.rule)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
