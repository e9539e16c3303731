"""Brings an index of an older schema forward, by Alembic; one file in ``versions/`` a step.

Revision ``"2"`` leads to schema 2, and so on: ``meta.schema`` is the number that decides, because the nodes
that wrote schema 1 read it to refuse an index that is too new for them. Alembic's own table is stamped from it
and kept where a migration has run. Steps are written out and never import ``schema``: they must do tomorrow
what they do today.

For a new step: change ``schema.py``, raise SCHEMA_VERSION, add ``versions/schema_N.py``; the tests compare what
the steps lead to with what ``schema.py`` makes. On SQLite foreign keys stay enforced inside the transaction
(https://sqlite.org/foreignkeys.html), so a batch that remakes ``study`` must remake ``series`` around it.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from node.errors import IndexUnavailable

LOCATION: Final = "node.index:migrations"


def configuration(connection: sa.Connection) -> Config:
    """Alembic's configuration over a connection of ours, without a file."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", LOCATION)
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: sa.Connection, version: int) -> None:
    """Bring the tables from schema ``version`` to the newest, in the caller's transaction.

    Raises ``IndexUnavailable`` when no step leads on from ``version``.
    """
    config = configuration(connection)
    try:
        command.stamp(config, str(version))
        command.upgrade(config, "head")
    except CommandError as error:
        raise IndexUnavailable(
            f"index {connection.engine.url.render_as_string()} has schema {version}, and there is no way on "
            f"from it ({error}): install the node again, or move the index away and reindex"
        ) from error
