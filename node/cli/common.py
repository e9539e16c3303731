"""What the groups of commands share: options, errors as a line and a hint, consoles, the client of the node."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, ParamSpec, TypeVar

import typer
from rich.console import Console

from node.cli.shell import study_uids
from node.errors import ConfigError, NodeError

if TYPE_CHECKING:
    from node.client import Client
    from node.config import Config

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Headings of --help, in its order
RUN: Final = "Run"
LOOK: Final = "Look"
OPERATE: Final = "Operate a running node"
TRY: Final = "Send and try"
MAINTAIN: Final = "Maintain"

out: Final = Console(soft_wrap=True, highlight=False)
err: Final = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; without it the defaults run.", dir_okay=False),
]
Url = Annotated[
    str | None, typer.Option("--url", help="The node's HTTP address; default: from the configuration.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one value a line, for programs.")]
StudyUid = Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID", autocompletion=study_uids)]


def examples(*lines: str) -> str:
    """What stands at the end of a help page."""
    return "\n".join(("Examples:", *(f"$ {line}" for line in lines)))


def add(
    app: typer.Typer, command: Callable[..., None], panel: str, *shown: str, name: str | None = None
) -> None:
    """A command under the heading ``panel``, with ``shown`` as its examples; its docstring is its help."""
    # Typer joins the lines of the first paragraph only.
    paragraphs = cleandoc(command.__doc__ or "").split("\n\n")
    text = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    app.command(name, help=text, epilog=examples(*shown), rich_help_panel=panel)(command)


def reported(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Errors as a line and a hint instead of a traceback; exit 2 for words of the
    configuration, which no second try mends, 1 for the rest."""

    @wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            for problem in error.problems:
                err.print(problem, markup=False)
            err.print(error.hint, style="dim", markup=False)
            raise typer.Exit(1 if error.retriable else 2) from error
        except NodeError as error:
            err.print(str(error), markup=False)
            err.print(error.hint, style="dim", markup=False)
            raise typer.Exit(1) from error

    return run


def load(config: Path | None) -> Config:
    """The configuration in force. Raises ``ConfigError``."""
    from node import config as configuration  # brings the profiles with it: half a second

    return configuration.load(config, os.environ)


def client(url: str | None, config: Path | None, patience: float | None = None) -> Client:
    """The running node's HTTP API: at ``url``, or where the configuration has it; ``patience``: seconds that each
    answer may take. Raises ``ConfigError``."""
    from node.client import TIMEOUT_SECONDS, Client

    http = load(config).http
    # A node that listens on every address is asked on this machine's own.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)
    host = f"[{host}]" if ":" in host else host
    where = url or f"http://{host}:{http.port}"
    return Client(where, http.token.get_secret_value(), patience or TIMEOUT_SECONDS)


def show(value: Any, as_json: bool) -> None:
    """A JSON value: in colours and indented on a terminal, else on one line."""
    import orjson

    text = orjson.dumps(value).decode()
    if as_json or not out.is_terminal:
        print(text, flush=True)
    else:
        out.print_json(text)
