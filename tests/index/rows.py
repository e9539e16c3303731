"""Puts studies into an index the way its writer does, from plain attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from node.index import schema
from node.index.engine import Engine
from node.index.rows import search_columns

Attributes = Mapping[str, Sequence[Any]]

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"


def first(attributes: Attributes, keyword: str) -> str:
    return str(next(iter(attributes.get(keyword, ())), ""))


def add_study(
    engine: Engine,
    uid: str,
    attributes: Attributes,
    series: Mapping[str, tuple[Attributes, Mapping[str, Attributes]]],
    sop_class: str = CT,
) -> None:
    """``series``: UID -> (its attributes, instance UID -> own attributes)."""
    shared = {uid: {**attributes, **own} for uid, (own, _) in series.items()}
    modalities = sorted({first(each, "Modality") for each in shared.values()} - {""})
    with engine.write() as connection:
        connection.execute(
            sa.insert(schema.study).values(
                uid=uid,
                state="open",
                version=0,
                revision=1,
                added=0,
                instances=sum(len(instances) for _, instances in series.values()),
                series=len(series),
                created_at=0.0,
                first_at=0.0,
                last_at=0.0,
                quiet_seconds=60.0,
                calling_aes="[]",
                **search_columns(attributes),
                modalities="\\".join(modalities),
                sop_classes=sop_class,
                attributes=orjson.dumps(next(iter(shared.values()), attributes)),
            )
        )
        for series_uid, (_, instances) in series.items():
            connection.execute(
                sa.insert(schema.series).values(
                    study=uid,
                    uid=series_uid,
                    modality=first(shared[series_uid], "Modality"),
                    instances=len(instances),
                    attributes=orjson.dumps(shared[series_uid]),
                )
            )
            add_instances(connection, uid, series_uid, instances, sop_class)


def add_instances(
    connection: sa.Connection, study: str, series: str, instances: Mapping[str, Attributes], sop_class: str
) -> None:
    for uid, own in instances.items():
        connection.execute(
            sa.insert(schema.instance).values(
                study=study,
                series=series,
                uid=uid,
                header=0,
                sop_class=sop_class,
                transfer_syntax=EXPLICIT,
                size=1,
                calling_ae="TEST",
                received_at=0.0,
                attributes=orjson.dumps(own),
            )
        )
