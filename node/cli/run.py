"""``serve`` and ``check-config``: the node itself, and what it would be."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from node.cli import common
from node.cli.common import ConfigFile, add, err, load, reported
from node.errors import CannotStart


def register(app: typer.Typer) -> None:
    """Adds this group's commands."""
    add(
        app,
        serve,
        common.RUN,
        "dicom-fhir-node serve                          # defaults: data in ./var",
        "dicom-fhir-node serve --config node.toml",
        "NODE_DICOM__PORT=11113 dicom-fhir-node serve   # any key as a variable",
    )
    add(
        app,
        check_config,
        common.RUN,
        "dicom-fhir-node check-config --config node.toml",
        "dicom-fhir-node check-config > effective.toml  # the summary stays here",
        name="check-config",
    )


@reported
def serve(config: ConfigFile = None) -> None:
    """Run the node until SIGTERM or SIGINT (Ctrl-C), then drain.

    When everything listens it prints one line: ready dicom=HOST:PORT http=HOST:PORT. SIGHUP reads the files of
    dicom.tls anew. A stop lets open associations end, for shutdown_seconds at most. The log goes to stderr.
    """
    from node import logs
    from node.service import Node, receivers

    settings = load(config)
    logs.configure(settings.log.level, settings.log.format)
    try:
        nursery = receivers(settings)  # before anything starts a thread
        node = Node(settings, nursery)
        asyncio.run(node.run(lambda line: print(line, flush=True)))
    except OSError as error:
        raise CannotStart([f"can't start: {error}"]) from error


@reported
def check_config(
    config: ConfigFile = None,
    summary: Annotated[
        bool | None,
        typer.Option("--summary/--no-summary", help="Say in words what would run; default: on a terminal."),
    ] = None,
) -> None:
    """Show what would run: every key in force, secrets masked; exit 2 with every problem found.

    The keys go to stdout as TOML, the summary and warnings to stderr. Files that are named are read; nothing is
    listened on, connected to or written.
    """
    from node import config as configuration
    from node.cli import plan

    settings = load(config)
    plan.check_files(settings)
    print(configuration.effective(settings), end="", flush=True)
    if summary or (summary is None and err.is_terminal):
        plan.print_summary(settings, err)
    plan.print_warnings(settings, err)
