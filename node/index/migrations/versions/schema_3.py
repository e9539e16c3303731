"""Schema 3: studies whose objects retention has deleted say since when; parked events have an index."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "3"
down_revision: Final = "2"


def upgrade() -> None:
    op.add_column("study", sa.Column("objects_deleted_at", sa.Float))
    parked = sa.text("parked_reason IS NOT NULL")
    op.create_index("outbox_parked", "outbox", ["seq"], sqlite_where=parked, postgresql_where=parked)
