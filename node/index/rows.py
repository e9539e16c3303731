"""Rows of a batch: loading what it touches, changing it in memory, writing it back in few statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy import bindparam

from node import completion
from node.elements import ELEMENTS
from node.index import schema
from node.index.statements import RowInsert
from node.matching import name_key
from node.model import Attributes, ObjectKey, State, StudyState

_STUDY: Final = schema.study
_SERIES: Final = schema.series

_PATIENT_KEYS: Final = frozenset(row.keyword for row in ELEMENTS.values() if row.find == "PATIENT")
_STUDY_KEYS: Final = (
    frozenset(row.keyword for row in ELEMENTS.values() if row.find == "STUDY") | _PATIENT_KEYS
)
# Values that mean something only beside the other one of the same header.
_GOES_WITH: Final = {
    "StudyTime": "StudyDate",
    "TimezoneOffsetFromUTC": "StudyDate",
    "IssuerOfPatientID": "PatientID",
    "IssuerOfPatientIDQualifiersSequence": "PatientID",
    "IssuerOfAccessionNumberSequence": "AccessionNumber",
}

# Statements of every batch are made once: to build one takes longer than to run it.
_UIDS: Final[sa.BindParameter[str]] = bindparam("uids", expanding=True)
_KEYS: Final = sa.select(schema.instance.c.study, schema.instance.c.series, schema.instance.c.uid)
_WHERE_INDEXED: Final = _KEYS.where(schema.instance.c.uid.in_(_UIDS))
_STUDIES: Final = sa.select(_STUDY).where(_STUDY.c.uid.in_(_UIDS))
_SERIES_OF: Final = sa.select(_SERIES.c.study, _SERIES.c.uid).where(_SERIES.c.study.in_(_UIDS))
INSERT_INSTANCES: Final = RowInsert(schema.instance)
_INSERT_STUDY: Final = sa.insert(_STUDY)
_INSERT_SERIES: Final = sa.insert(_SERIES)
_REPLACE_INSTANCE: Final = (
    sa.update(schema.instance)
    .where(*(column == bindparam(f"b_{column.name}") for column in schema.instance.primary_key))
    .values({one.name: bindparam(f"b_{one.name}") for one in schema.instance.columns if not one.primary_key})
)
_UPDATE_STUDY: Final = (
    sa.update(_STUDY)
    .where(_STUDY.c.uid == bindparam("b_uid"))
    .values({column.name: bindparam(f"b_{column.name}") for column in _STUDY.columns if column.name != "uid"})
)
_THIS_SERIES: Final = (_SERIES.c.study == bindparam("b_study"), _SERIES.c.uid == bindparam("b_uid"))
_COUNT_SERIES: Final = (
    sa.update(_SERIES).where(*_THIS_SERIES).values(instances=_SERIES.c.instances + bindparam("b_count"))
)


def text(attributes: Attributes, keyword: str) -> str:
    """An attribute's values as one string, several joined by backslashes; "" when absent."""
    return "\\".join(value for value in attributes.get(keyword, ()) if isinstance(value, str))


def search_columns(attributes: Attributes) -> dict[str, str]:
    """A study's columns for C-FIND from the attributes of one header."""
    return {
        "patient_id": text(attributes, "PatientID"),
        "patient_issuer": text(attributes, "IssuerOfPatientID"),
        "patient_name_key": name_key(text(attributes, "PatientName")),
        "study_date": text(attributes, "StudyDate"),
        "study_time": text(attributes, "StudyTime"),
        "accession": text(attributes, "AccessionNumber"),
        "study_id": text(attributes, "StudyID"),
    }


@dataclass(slots=True)
class StudyChange:
    """One study's row while a batch is applied to it; ``values`` are its columns."""

    values: dict[str, Any]
    is_new: bool
    arrivals: Counter[str] = field(default_factory=Counter)  # calling AE title -> instances
    new_series: dict[str, dict[str, Any]] = field(default_factory=dict)
    known_series: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)  # series -> instances of known series
    quiet_seconds: float = 0.0
    _described: bool = True

    @classmethod
    def new(cls, uid: str, now: float, version: int = 0) -> StudyChange:
        """A study that is not in the index; ``version`` is the last that was published of it before."""
        values = {
            "uid": uid,
            "state": "open",
            "version": version,
            "revision": 0,
            "added": 0,
            "instances": 0,
            "series": 0,
            "created_at": now,
            "first_at": now,
            "last_at": now,
            "quiet_seconds": 0.0,
            "deadline": None,
            "completed_at": None,
            "completion": None,
            "conflict": None,
            "calling_aes": b"[]",
            "modalities": "",
            "sop_classes": "",
            "attributes": b"{}",
            "objects_deleted_at": None,
            **search_columns({}),
        }
        return cls(values, is_new=True, _described=False)

    @property
    def uid(self) -> str:
        return str(self.values["uid"])

    @property
    def version(self) -> int:
        return int(self.values["version"])

    @property
    def state(self) -> State:
        state: State = self.values["state"]
        return state

    @property
    def conflict(self) -> str | None:
        conflict: str | None = self.values["conflict"]
        return conflict

    def describe(self, series: str, modality: str, attributes: Attributes) -> bool:
        """Take in a distinct set of shared attributes; True when its series is new to the study."""
        found = search_columns(attributes)
        if not self._described:
            self.values.update(found, attributes=orjson.dumps(attributes))
            self._described = True
        elif not _other_patient(self.values, found):
            self._fill(attributes)
        elif not self.values["conflict"]:
            self.values["conflict"] = (
                f"patient {self.values['patient_id']!r} (issuer {self.values['patient_issuer']!r}) and "
                f"patient {found['patient_id']!r} (issuer {found['patient_issuer']!r}) in one study"
            )
        self.values["modalities"] = _with(self.values["modalities"], modality)
        if series in self.known_series or series in self.new_series:
            return False
        self.new_series[series] = {
            "study": self.uid,
            "uid": series,
            "modality": modality,
            "instances": 0,
            "attributes": orjson.dumps(attributes),
        }
        return True

    def _fill(self, attributes: Attributes) -> None:
        """Take from a later header what the earlier ones left empty, so that C-FIND finds the study by it."""
        kept = orjson.loads(self.values["attributes"])
        if not kept.get("PatientID") and attributes.get("PatientID"):
            kept = {name: values for name, values in kept.items() if name not in _PATIENT_KEYS}
        later = {
            name: values
            for name, values in attributes.items()
            if name in _STUDY_KEYS
            and values
            and not kept.get(name)
            and not kept.get(_GOES_WITH.get(name, name))
        }
        if later:
            merged = kept | later
            self.values.update(search_columns(merged), attributes=orjson.dumps(merged))

    def expect(self, calling_ae: str, sop_class: str, quiet_seconds: float) -> None:
        """Instances like this come: what they mean for the study, however many they are."""
        self.arrivals.setdefault(calling_ae, 0)  # in the order in which callers are first met
        self.quiet_seconds = max(self.quiet_seconds, quiet_seconds)
        self.values["sop_classes"] = _with(self.values["sop_classes"], sop_class)

    def add(self, series: str, calling_ae: str, arrived: int, new: int) -> None:
        """``arrived`` instances came, ``new`` of them to the study; the others took the place of stored ones."""
        self.arrivals[calling_ae] += arrived
        self.values["instances"] += new
        if series in self.new_series:
            self.new_series[series]["instances"] += new
        elif new:
            self.counts[series] += new

    def arrive(self, now: float, max_seconds: float) -> None:
        """Move state, deadline and counts on (completion.arrived)."""
        after = completion.arrived(
            state_of(self.values), self.arrivals.total(), now, self.quiet_seconds, max_seconds
        )
        callers = orjson.loads(self.values["calling_aes"])
        callers += [ae for ae in self.arrivals if ae not in callers]
        self.values.update(
            state=after.state,
            added=after.added,
            first_at=after.first_at,
            last_at=after.last_at,
            quiet_seconds=after.quiet_seconds,
            deadline=after.deadline,
            revision=self.values["revision"] + 1,
            series=self.values["series"] + len(self.new_series),
            calling_aes=orjson.dumps(callers).decode(),
            objects_deleted_at=None,
        )

    def quarantine(self) -> bool:
        """Hold the study back; False when it was held back before."""
        if self.values["state"] == "quarantined":
            return False
        self.values.update(state="quarantined", deadline=None)
        return True


def _other_patient(values: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    """Two identities that contradict each other; an empty one says nothing (PatientID is type 2)."""
    if not values["patient_id"] or not found["patient_id"]:
        return False
    if values["patient_id"] != found["patient_id"]:
        return True
    issuers = {values["patient_issuer"], found["patient_issuer"]} - {""}
    return len(issuers) > 1


def _with(joined: str, value: str) -> str:
    values = set(joined.split("\\")) - {""}
    if not value or value in values:
        return joined
    return "\\".join(sorted({*values, value}))


def state_of(values: Mapping[str, Any]) -> StudyState:
    """The study row as the completion rules see it."""
    return StudyState(
        uid=values["uid"],
        state=values["state"],
        version=values["version"],
        revision=values["revision"],
        added=values["added"],
        first_at=values["first_at"],
        last_at=values["last_at"],
        quiet_seconds=values["quiet_seconds"],
        deadline=values["deadline"],
        conflict=values["conflict"],
    )


def instances_by_uid(connection: sa.Connection, uids: Collection[str]) -> dict[str, list[ObjectKey]]:
    """Where SOP Instance UIDs are indexed already."""
    found: dict[str, list[ObjectKey]] = {}
    for row in connection.execute(_WHERE_INDEXED, {"uids": list(uids)}):
        found.setdefault(row.uid, []).append(ObjectKey(row.study, row.series, row.uid))
    return found


def replace_instances(connection: sa.Connection, found: Iterable[Sequence[Any]]) -> None:
    """Write rows of ``instance`` over those with the same keys; values in the order of its columns."""
    names = [f"b_{column.name}" for column in schema.instance.columns]
    connection.execute(_REPLACE_INSTANCE, [dict(zip(names, row, strict=True)) for row in found])


def published_version(connection: sa.Connection, uid: str) -> int:
    """The last version of a study that the outbox has an event of, 0 without any."""
    query = sa.select(sa.func.max(schema.outbox.c.version)).where(schema.outbox.c.study == uid)
    return int(connection.scalar(query) or 0)


def restored(connection: sa.Connection, uids: Collection[str]) -> None:
    """Objects of these studies are there again: retention may look at them again."""
    connection.execute(
        sa.update(_STUDY)
        .where(_STUDY.c.uid.in_(list(uids)), _STUDY.c.objects_deleted_at.is_not(None))
        .values(objects_deleted_at=None)
    )


def load_changes(connection: sa.Connection, uids: Collection[str]) -> dict[str, StudyChange]:
    """The studies that are there already, with their series."""
    if not uids:
        return {}
    found = {
        row["uid"]: StudyChange(dict(row), is_new=False)
        for row in connection.execute(_STUDIES, {"uids": list(uids)}).mappings()
    }
    for row in connection.execute(_SERIES_OF, {"uids": list(found)}):
        found[row.study].known_series.add(row.uid)
    return found


def save_changes(connection: sa.Connection, changes: Iterable[StudyChange]) -> None:
    """Write studies and series back."""
    new_studies, old_studies, new_series, counts = [], [], [], []
    for change in changes:
        if change.is_new:
            new_studies.append(change.values)
        else:
            old_studies.append({f"b_{name}": value for name, value in change.values.items()})
        new_series += list(change.new_series.values())
        counts += [
            {"b_study": change.uid, "b_uid": uid, "b_count": count} for uid, count in change.counts.items()
        ]
    for statement, values in (
        (_INSERT_STUDY, new_studies),
        (_UPDATE_STUDY, old_studies),
        (_INSERT_SERIES, new_series),
        (_COUNT_SERIES, counts),
    ):
        if values:
            connection.execute(statement, values)


def find_or_add_header(
    connection: sa.Connection, key: ObjectKey, digest: bytes, attributes: Attributes
) -> int:
    """The id of a distinct set of shared attributes in a series."""
    table = schema.header
    found = connection.scalar(
        sa.select(table.c.id).where(
            table.c.study == key.study, table.c.series == key.series, table.c.digest == digest
        )
    )
    if found is not None:
        return int(found)
    values = {"study": key.study, "series": key.series, "digest": digest}
    insert = sa.insert(table).values(**values, attributes=orjson.dumps(attributes)).returning(table.c.id)
    return int(connection.execute(insert).scalar_one())


def series_elsewhere(connection: sa.Connection, key: ObjectKey) -> bool:
    """The Series Instance UID is in use in another study."""
    query = sa.select(_SERIES.c.study).where(_SERIES.c.uid == key.series, _SERIES.c.study != key.study)
    return connection.execute(query.limit(1)).first() is not None


def quarantine_row(
    reason: str, detail: str, calling_ae: str, at: float, place: ObjectKey | str | None = None, name: str = ""
) -> dict[str, Any]:
    """A row of ``quarantine``. ``place``: the object's key, or the study that is held back as a whole;
    ``name`` is the object's file in quarantine/."""
    key = place if isinstance(place, ObjectKey) else None
    return {
        "reason": reason,
        "study": key.study if key else place,
        "series": key.series if key else None,
        "instance": key.instance if key else None,
        "name": name or None,
        "detail": detail,
        "calling_ae": calling_ae,
        "at": at,
    }


def add_quarantine(connection: sa.Connection, found: Sequence[Mapping[str, Any]]) -> None:
    """Quarantine rows, but for what has its row already: objects of a batch repeated after a crash, studies
    that a rebuild finds in conflict again."""
    if not found:
        return
    table = schema.quarantine
    names = [row["name"] for row in found if row["name"] is not None]
    studies = [row["study"] for row in found if row["name"] is None]
    waiting = sa.and_(table.c.study.in_(studies), table.c.name.is_(None), table.c.released_at.is_(None))
    known = {
        (row.name, row.reason, row.study)
        for row in connection.execute(
            sa.select(table.c.name, table.c.reason, table.c.study).where(
                sa.or_(table.c.name.in_(names), waiting)
            )
        )
    }
    known_names = {name for name, _, _ in known if name is not None}
    fresh = [
        dict(row)
        for row in found
        if row["name"] not in known_names and (row["name"], row["reason"], row["study"]) not in known
    ]
    if fresh:
        connection.execute(sa.insert(table), fresh)


def release_quarantine(connection: sa.Connection, uid: str, wall: float) -> None:
    """Publishing a quarantined study settles its entry."""
    table = schema.quarantine
    connection.execute(
        sa.update(table)
        .where(table.c.study == uid, table.c.name.is_(None), table.c.released_at.is_(None))
        .values(released_at=wall)
    )
