"""``reindex`` and ``conformance``."""

from __future__ import annotations

import typer

from node.cli import common
from node.cli.common import ConfigFile, add, load, out, reported


def register(app: typer.Typer) -> None:
    """Adds this group's commands."""
    panel = common.MAINTAIN
    add(app, reindex, panel, "dicom-fhir-node reindex --config node.toml  # with the node stopped")
    add(app, conformance, panel, "dicom-fhir-node conformance --config node.toml > conformance.md")


@reported
def reindex(config: ConfigFile = None) -> None:
    """Rebuild the index from the stored objects. The node must be stopped."""
    from node import logs
    from node.service import reindex as rebuild

    settings = load(config)
    logs.configure(settings.log.level, settings.log.format)
    out.print(f"{rebuild(settings)} objects indexed")


@reported
def conformance(config: ConfigFile = None) -> None:
    """Print the DICOM Conformance Statement (PS3.2) of this node as it is configured, as Markdown."""
    from node import conformance as statements

    print(statements.statement(load(config)), end="")
