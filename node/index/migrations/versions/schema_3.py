"""Schema 3: studies whose objects retention has deleted say since when."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "3"
down_revision: Final = "2"


def upgrade() -> None:
    op.add_column("study", sa.Column("objects_deleted_at", sa.Float))
