"""Schema 2: full resources by event id, because one study version can have many events of one output.

Until now each study version had one event an output, with the id ``{output}/{study}/{version}``.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "2"
down_revision: Final = "1"


def upgrade() -> None:
    """SQLite can't change a primary key: the table is made anew and takes the old one's rows and name."""
    made = op.create_table(
        "full_resource_2",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("study", sa.String(64), nullable=False),
        sa.Column("output", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    old = sa.table("full_resource", *map(sa.column, ("study", "output", "version", "data")))
    event_id = old.c.output + "/" + old.c.study + "/" + sa.cast(old.c.version, sa.String)
    rows = sa.select(event_id, old.c.study, old.c.output, old.c.version, old.c.data)
    op.execute(sa.insert(made).from_select(["event_id", "study", "output", "version", "data"], rows))
    op.drop_table("full_resource")
    op.rename_table("full_resource_2", "full_resource")
