"""Schema 1: where the steps begin. Nodes made it without Alembic, so it is only ever stamped."""

from __future__ import annotations

from typing import Final

revision: Final = "1"
down_revision: Final = None
