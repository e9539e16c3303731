"""Schema 4: quarantined objects can be discarded, or take the place of the stored ones."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "4"
down_revision: Final = "3"


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("discarded_at", sa.Float))
    op.add_column("quarantine", sa.Column("displaced", sa.Integer))
