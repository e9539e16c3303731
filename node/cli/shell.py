"""Shell completion: what the running node knows, asked with little patience and never with an error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from node.client import Client

PATIENCE_SECONDS: Final = 0.5  # somebody has pressed Tab and waits

# Which studies a command can do something with; a command that is not here: any
_STATES: Final[dict[str, tuple[str, ...]]] = {
    "complete": ("open", "held", "quarantined"),
    "hold": ("open",),
    "reopen": ("held", "complete", "quarantined"),
}


def study_uids(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Study Instance UIDs that begin with ``incomplete``, and what a shell that shows more says of each; nothing
    when no node answers at once."""
    from node.cli import words

    wanted = _STATES.get(context.info_name or "")
    for one in _asked(context, lambda client: client.studies(limit=1000)):
        if one["uid"].startswith(incomplete) and (wanted is None or one["state"] in wanted):
            count = words.plural(one["instances"], "object")
            yield one["uid"], f"{one['state']}, {count} from {', '.join(one['calling_aes'])}"


def quarantine_ids(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Numbers of what waits in quarantine, and why it does."""
    for row in _asked(context, lambda client: client.quarantine()):
        if str(row["id"]).startswith(incomplete) and row["state"] == "waiting":
            yield str(row["id"]), row["reason"]


def _asked(
    context: typer.Context, question: Callable[[Client], Sequence[dict[str, Any]]]
) -> Sequence[dict[str, Any]]:
    from node.cli import common
    from node.errors import NodeError

    try:
        return question(
            common.client(context.params.get("url"), context.params.get("config"), PATIENCE_SECONDS)
        )
    except NodeError:  # a shell that waits for words can do nothing with a message
        return ()


def interactive() -> bool:
    """Somebody can be asked a question: input and the place of the question are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()
