"""Identifiers for people who need not know whose they are: enough to tell two apart, too little to find somebody."""

from __future__ import annotations

import ast
import re
from typing import Final

BULLETS: Final = "••••"
_SHOWN: Final = 2  # characters
_LEAST: Final = 6  # of shorter identifiers nothing is shown: two characters of them would be too much
# A Python string literal, as patients are named by where a conflict is found (index.rows, holding)
_QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def mask(identifier: str) -> str:
    """Bullets and the last two characters; bullets alone of fewer than six, nothing of nothing.

    The number of bullets is always the same: how long an identifier is can tell whose system it is from.
    """
    if not identifier:
        return ""
    return BULLETS + (identifier[-_SHOWN:] if len(identifier) >= _LEAST else "")


def mask_quoted(text: str) -> str:
    """A sentence with each quoted identifier in it masked; the quotes stay."""
    return _QUOTED.sub(lambda found: f"'{mask(ast.literal_eval(found[0]))}'", text)
