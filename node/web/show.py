"""Rows as the JSON that people look at: times as text, identifiers as far as they may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from node.holding import PATIENT_CONFLICT
from node.index import quarantine, rows
from node.quarantine import Side
from node.web.masking import mask, mask_quoted
from node.web.services import Json, instant

_TIMES: Final = frozenset(
    (
        "created_at",
        "first_at",
        "last_at",
        "deadline",
        "completed_at",
        "objects_deleted_at",
        "at",
        "released_at",
        "discarded_at",
    )
)
# Columns for C-FIND, for the completion rules, and what is shown by parts
_HIDDEN: Final = ("patient_issuer", "patient_name_key", "conflict", "revision", "attributes")
_IDENTIFIERS: Final = ("patient_id", "accession", "study_id")


class Show:
    """``identifiers``: http.show_identifiers. Without it patient ID, accession number and study ID are masked, and
    patient names are null."""

    def __init__(self, identifiers: bool) -> None:
        self.identifiers = identifiers

    def study(self, row: Mapping[str, Any]) -> Json:
        """A row of ``schema.study``."""
        attributes = orjson.loads(row["attributes"])
        values = {name: value for name, value in with_times(row).items() if name not in _HIDDEN}
        values |= {name: self.identifier(row[name]) for name in _IDENTIFIERS}
        values["patient_name"] = self.name(rows.text(attributes, "PatientName"))
        values["description"] = rows.text(attributes, "StudyDescription")
        values["calling_aes"] = orjson.loads(row["calling_aes"])
        values["modalities"] = [value for value in row["modalities"].split("\\") if value]
        values["sop_classes"] = [value for value in row["sop_classes"].split("\\") if value]
        values["number_of_series"] = values.pop("series")
        values["conflicting"] = row["conflict"] is not None
        return values

    def series(self, row: Mapping[str, Any], sizes: Mapping[str, tuple[int, float]]) -> Json:
        """A row of ``schema.series``; ``sizes`` by Series Instance UID: bytes, and when the last of them came."""
        attributes = orjson.loads(row["attributes"])
        size, last_at = sizes.get(row["uid"], (0, None))
        return {
            "uid": row["uid"],
            "modality": row["modality"],
            "instances": row["instances"],
            "number": rows.text(attributes, "SeriesNumber"),
            "description": rows.text(attributes, "SeriesDescription"),
            "body_part": rows.text(attributes, "BodyPartExamined"),
            "station": rows.text(attributes, "StationName"),
            "bytes": size,
            "last_at": instant(last_at),
        }

    def quarantined(self, row: Mapping[str, Any]) -> Json:
        """A row of ``schema.quarantine``."""
        values = with_times(row)
        values |= {"kind": quarantine.kind(row), "state": quarantine.decision(row)}
        if row["reason"] == PATIENT_CONFLICT and not self.identifiers:
            values["detail"] = mask_quoted(row["detail"])
        return values

    def side(self, side: Side) -> Json:
        """One side of a collision."""
        return {
            "size": side.size,
            "at": instant(side.at),
            "study": side.study,
            "series": side.series,
            "instance": side.instance,
            "sop_class": side.sop_class,
            "transfer_syntax": side.transfer_syntax,
            "calling_ae": side.calling_ae,
            "digest": side.digest,
            "unreadable": side.unreadable or None,
            "modality": rows.text(side.attributes, "Modality"),
            "series_number": rows.text(side.attributes, "SeriesNumber"),
            "instance_number": rows.text(side.attributes, "InstanceNumber"),
            "series_description": rows.text(side.attributes, "SeriesDescription"),
            "patient_id": self.identifier(rows.text(side.attributes, "PatientID")),
            "accession": self.identifier(rows.text(side.attributes, "AccessionNumber")),
            "patient_name": self.name(rows.text(side.attributes, "PatientName")),
        }

    def identifier(self, text: str) -> str:
        """An identifier of a person, a request or a visit."""
        return text if self.identifiers else mask(text)

    def name(self, text: str) -> str | None:
        """A person's name, as it stands in the data set (PS3.5 6.2.1)."""
        return text if self.identifiers else None


MASKED: Final = Show(identifiers=False)


def with_times(row: Mapping[str, Any]) -> Json:
    """A row with its times as text."""
    # SQLAlchemy's keys are a subclass of str, which orjson refuses
    return {str(name): instant(value) if name in _TIMES else value for name, value in row.items()}
