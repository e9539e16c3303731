"""The index's tables. The objects are the truth: every row but ``outbox`` can be rebuilt from them.

Times are seconds since the epoch (REAL); ``attributes`` are orjson bytes of ``model.Attributes``. The queries
are SQLAlchemy Core, so that the same tables serve SQLite now and PostgreSQL later.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

# Raised together with a step in migrations/versions/
SCHEMA_VERSION: Final = 4

# A key in ``meta`` while the index is made anew from the objects (index.rebuild).
REBUILDING: Final = "rebuilding"
# meta: a rebuild lacks nothing but the versions, which the sink has to tell
AWAITING_VERSIONS: Final = "awaiting-versions"

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

# One row a study. The search columns and ``attributes`` hold the values of its first header, and what that one
# left empty from later ones; the *_key columns are casefolded for case-insensitive matching.
study = Table(
    "study",
    metadata,
    Column("uid", String(64), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("added", Integer, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("series", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("quiet_seconds", Float, nullable=False),
    Column("deadline", Float),
    Column("completed_at", Float),
    Column("completion", String(12)),
    Column("conflict", String),
    Column("calling_aes", String, nullable=False),  # orjson list, in the order they first sent
    Column("patient_id", String, nullable=False),
    Column("patient_issuer", String, nullable=False),
    Column("patient_name_key", String, nullable=False),
    Column("study_date", String, nullable=False),
    Column("study_time", String, nullable=False),
    Column("accession", String, nullable=False),
    Column("study_id", String, nullable=False),
    Column("modalities", String, nullable=False),  # backslash separated, sorted
    Column("sop_classes", String, nullable=False),  # backslash separated, sorted
    Column("attributes", LargeBinary, nullable=False),
    Column("objects_deleted_at", Float),  # by retention; the rows outlive the objects
)
Index("study_deadline", study.c.deadline, sqlite_where=study.c.deadline.is_not(None))
Index("study_state", study.c.state)  # studies_open, at each scrape
Index("study_last", study.c.last_at)  # lists of studies, last changed first
Index("study_patient", study.c.patient_id)
Index("study_name", study.c.patient_name_key)
Index("study_date", study.c.study_date)
Index("study_accession", study.c.accession)

series = Table(
    "series",
    metadata,
    Column("study", String(64), primary_key=True),
    Column("uid", String(64), primary_key=True),
    Column("modality", String, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("attributes", LargeBinary, nullable=False),  # of its first header
    ForeignKeyConstraint(["study"], ["study.uid"]),
)
Index("series_uid", series.c.uid)

header = Table(
    "header",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", String(64), nullable=False),
    Column("series", String(64), nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    UniqueConstraint("study", "series", "digest"),
)

instance = Table(
    "instance",
    metadata,
    Column("study", String(64), primary_key=True),
    Column("series", String(64), primary_key=True),
    Column("uid", String(64), primary_key=True),
    Column("header", Integer, nullable=False),
    Column("sop_class", String(64), nullable=False),
    Column("transfer_syntax", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
)
Index("instance_uid", instance.c.uid)

# Pending: sent_at and parked_reason both NULL. ``data`` and ``attributes`` are final: never rebuilt.
outbox = Table(
    "outbox",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("output", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("study", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("sent_at", Float),
    Column("replayed_at", Float),
    Column("parked_reason", String),
    sqlite_autoincrement=True,
)
Index(
    "outbox_pending",
    outbox.c.seq,
    sqlite_where=text("sent_at IS NULL AND parked_reason IS NULL"),
    postgresql_where=text("sent_at IS NULL AND parked_reason IS NULL"),
)
Index(
    "outbox_parked",  # counted at each scrape; few, in a table that only grows
    outbox.c.seq,
    sqlite_where=text("parked_reason IS NOT NULL"),
    postgresql_where=text("parked_reason IS NOT NULL"),
)
Index("outbox_study", outbox.c.study, outbox.c.version)

# The full resource behind an event that was sent shortened (``dataref``); ``event_id`` is outbox.id.
full_resource = Table(
    "full_resource",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("study", String(64), nullable=False),
    Column("output", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# What was not taken: colliding bytes, unreadable data sets, studies of two patients.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("reason", String, nullable=False),
    Column("study", String(64)),
    Column("series", String(64)),
    Column("instance", String(64)),
    Column("name", String),  # file name in quarantine/, NULL when a study as a whole is held back
    Column("detail", String, nullable=False),
    Column("calling_ae", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("released_at", Float),
    Column("discarded_at", Float),  # the file was deleted by an operator
    Column("displaced", Integer),  # id of the row with the object whose place the released one took
)
