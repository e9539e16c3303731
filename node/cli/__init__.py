"""``dicom-fhir-node``: the commands, one module a group of them in the order that ``--help`` shows.

Everything heavier than the words of a command is imported when that command runs: ``--help``, shell completion and
the commands that only ask a running node start without the node itself.

Exit status: 0 done; 1 refused or failed by the node, a peer or the data; 2 wrong words or configuration;
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from typing import Annotated, Final

import typer

from node.cli import look, maintain, operate, run, trying
from node.cli.common import examples

_HELP: Final = (
    "A DICOM node: scanners send to it (C-STORE), it keeps every object, and publishes each finished study as a FHIR "
    "event, to Kafka or to a file. No configuration is needed to begin."
)
_EXAMPLES: Final = (
    "dicom-fhir-node serve           # DICOM on 11112, HTTP on 8042, files in ./var",
    "dicom-fhir-node demo            # in a second terminal: a study, its event",
    "dicom-fhir-node COMMAND --help  # what a command does, with examples",
)
_EXIT: Final = """Exit status:
    0  done
    1  refused or failed: the node, a peer or the data
    2  wrong words or configuration
  130  interrupted"""

app = typer.Typer(
    name="dicom-fhir-node",
    help=_HELP,
    epilog=f"{examples(*_EXAMPLES)}\n\n{_EXIT}\n\ndocs/first-hour.md leads from here to a running service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(installed_version("dicom-fhir-node"))
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


for _group in (run, look, operate, trying, maintain):
    _group.register(app)


def main() -> None:
    """The console script."""
    try:
        app()
    except BrokenPipeError:
        # The reader of a pipe has gone (`events | head`): nothing more to say, and no traceback at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
