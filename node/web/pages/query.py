"""What an address asks a page for, checked as the JSON API checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

from node.web.api import STATES, checked_uid
from node.web.errors import BadRequest

PAGE_ROWS: Final = 50


class Query(NamedTuple):
    """Empty and zero are the defaults: no study, any state, the first page, the newest events."""

    uid: str = ""
    row: int = 0
    state: str = ""
    offset: int = 0
    study: str = ""

    def address(self, path: str, offset: int = 0) -> str:
        """``path`` of a list with this query's filter, from ``offset`` on."""
        asked = {"state": self.state, "study": self.study, "offset": offset}
        kept = {name: value for name, value in asked.items() if value}
        return f"{path}?{urlencode(kept)}" if kept else path


def parse(parameters: Mapping[str, str]) -> Query:
    """Path and query parameters as one; raises ``BadRequest`` for what can't be meant."""
    state = parameters.get("state", "")
    if state and state not in STATES:
        raise BadRequest("state: not a state of a study", f"Use one of {', '.join(STATES)}.")
    uid, study = parameters.get("uid", ""), parameters.get("study", "")
    return Query(
        checked_uid(uid) if uid else "",
        _number(parameters, "row"),
        state,
        _number(parameters, "offset"),
        checked_uid(study) if study else "",
    )


def _number(parameters: Mapping[str, str], name: str) -> int:
    text = parameters.get(name, "0")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise BadRequest(f"{name}: not a number that can be used", "Give a whole number from 0.")
    return int(text)
