"""C-FIND on the index: SQL narrows by the search columns, ``node.matching`` decides on the attributes.

Every clause below accepts at least what the matching rule of its key accepts: what SQL leaves out could not
have matched. Results are read in pages, each in a short transaction of its own: a slow caller holds no
snapshot open, and 100,000 matches take the memory of their Study Instance UIDs and one page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

import orjson
import sqlalchemy as sa

from node.elements import BY_KEYWORD
from node.index.engine import Engine
from node.index.schema import instance, series, study
from node.matching import EMPTY, Criteria, date_interval, is_universal, is_wild, name_key, vr_of
from node.model import Attributes

Level = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
LEVELS: Final[tuple[Level, ...]] = ("PATIENT", "STUDY", "SERIES", "IMAGE")

# Keys that no header element holds: the level that they belong to (PS3.4 C.6.1.1, C.6.2.1).
COMPUTED: Final[Mapping[str, Level]] = {
    "NumberOfPatientRelatedStudies": "PATIENT",
    "NumberOfPatientRelatedSeries": "PATIENT",
    "NumberOfPatientRelatedInstances": "PATIENT",
    "StudyInstanceUID": "STUDY",
    "ModalitiesInStudy": "STUDY",
    "SOPClassesInStudy": "STUDY",
    "NumberOfStudyRelatedSeries": "STUDY",
    "NumberOfStudyRelatedInstances": "STUDY",
    "SeriesInstanceUID": "SERIES",
    "NumberOfSeriesRelatedInstances": "SERIES",
    "SOPInstanceUID": "IMAGE",
    "SOPClassUID": "IMAGE",
    "AvailableTransferSyntaxUID": "IMAGE",
}
KEY_LEVELS: Final[Mapping[str, str]] = {
    **{keyword: row.find for keyword, row in BY_KEYWORD.items() if row.find is not None},
    **COMPUTED,
}
_PATIENT_COUNTS: Final = frozenset(keyword for keyword, level in COMPUTED.items() if level == "PATIENT")

_STUDIES_A_PAGE: Final = 100
_ROWS_A_PAGE: Final = 500
_MAX_VALUES: Final = 10_000  # in one SQL IN; a longer list of UIDs is left to the matching rule

Clause = sa.ColumnElement[bool]
Narrow = Callable[[Sequence[str]], Clause | None]


# ---------------------------------------------------------------------------------- narrowing, as a table


def _in(column: sa.ColumnElement[str]) -> Narrow:
    def clause(values: Sequence[str]) -> Clause | None:
        return column.in_(values) if len(values) <= _MAX_VALUES else None

    return clause


def _starts_with(column: sa.ColumnElement[str], prefix: str) -> Clause:
    """A range, because LIKE can't use an index here; PostgreSQL needs the column in collation C."""
    return sa.and_(column >= prefix, column < prefix + "\U0010ffff")


def _literals(pattern: str, separators: str) -> list[str]:
    """The runs between wildcards and ``separators``; the first is empty when the pattern starts with one."""
    return re.split(f"[*?{separators}]", pattern)


def _text(column: sa.ColumnElement[str]) -> Narrow:
    def one(value: str) -> Clause | None:
        if not is_wild(value):
            return column == value
        prefix, *others = _literals(value, "")
        if prefix:
            return _starts_with(column, prefix)
        longest = max(others, key=len)
        return column.contains(longest, autoescape=True) if longest else None

    return _any_of(one)


def _name(column: sa.ColumnElement[str]) -> Narrow:
    """The family name's literal start, in the first component group or, after ``=``, in another one."""

    def one(value: str) -> Clause | None:
        prefix, *others = _literals(name_key(value), "^= ")
        if prefix:
            return sa.or_(_starts_with(column, prefix), column.contains("=" + prefix, autoescape=True))
        longest = max(others, key=len, default="")
        return column.contains(longest, autoescape=True) if longest else None

    return _any_of(one)


def _date(column: sa.ColumnElement[str]) -> Narrow:
    """The column holds dates as they were sent: YYYYMMDD, or ACR-NEMA's YYYY.MM.DD and its relatives."""

    def one(value: str) -> Clause | None:
        found = date_interval(value)
        if found is None:
            return None
        spellings = [[sep.join((end[:4], end[4:6], end[6:])) for end in found] for sep in ("", ".", "-", "/")]
        return sa.or_(*(column.between(low, high) for low, high in spellings))

    return _any_of(one)


def _contains(column: sa.ColumnElement[str]) -> Narrow:
    """For columns that hold several values."""
    return _any_of(lambda value: None if is_wild(value) else column.contains(value, autoescape=True))


def _any_of(one: Callable[[str], Clause | None]) -> Narrow:
    def clause(values: Sequence[str]) -> Clause | None:
        clauses = [one(value) for value in values] if len(values) <= _MAX_VALUES else [None]
        found = [each for each in clauses if each is not None]
        return sa.or_(*found) if len(found) == len(clauses) else None

    return clause


def _below(column: sa.ColumnElement[str], uid: sa.ColumnElement[str]) -> Narrow:
    """Studies that hold a series or an instance with one of these UIDs."""

    def clause(values: Sequence[str]) -> Clause | None:
        if len(values) > _MAX_VALUES:
            return None
        return study.c.uid.in_(sa.select(column).where(uid.in_(values)).scalar_subquery())

    return clause


STUDY_NARROWING: Final[Mapping[str, Narrow]] = {
    "StudyInstanceUID": _in(study.c.uid),
    "PatientID": _text(study.c.patient_id),
    "PatientName": _name(study.c.patient_name_key),
    "AccessionNumber": _text(study.c.accession),
    "StudyID": _text(study.c.study_id),
    "StudyDate": _date(study.c.study_date),
    "ModalitiesInStudy": _contains(study.c.modalities),
    "Modality": _contains(study.c.modalities),
    "SOPClassesInStudy": _contains(study.c.sop_classes),
    "SOPClassUID": _contains(study.c.sop_classes),
    "SeriesInstanceUID": _below(series.c.study, series.c.uid),
    "SOPInstanceUID": _below(instance.c.study, instance.c.uid),
}
SERIES_NARROWING: Final[Mapping[str, Narrow]] = {
    "SeriesInstanceUID": _in(series.c.uid),
    "Modality": _text(series.c.modality),
}
INSTANCE_NARROWING: Final[Mapping[str, Narrow]] = {
    "SeriesInstanceUID": _in(instance.c.series),
    "SOPInstanceUID": _in(instance.c.uid),
    "SOPClassUID": _in(instance.c.sop_class),
}


def _narrowed(table: Mapping[str, Narrow], query: Attributes) -> list[Clause]:
    clauses = []
    for keyword, narrow in table.items():
        values = [str(value).strip(" \0") for value in query.get(keyword, ())]
        if not is_universal(vr_of(keyword), values) and EMPTY not in values:
            clauses.append(narrow(values))
    return [clause for clause in clauses if clause is not None]


# ------------------------------------------------------------------------------------------------- search


class _Plan(NamedTuple):
    """A query taken apart: what each level decides, and what has to be looked up besides."""

    query: Attributes
    level: Level
    study: Criteria
    series: Criteria
    image: Criteria
    counts: bool  # of the patient
    example: bool  # values of one instance, for an answer above the IMAGE level


class Search:
    """Answers queries from the index; thread-safe, raises ``IndexUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, level: Level, query: Attributes) -> Iterator[dict[str, Any]]:
        """Every match of ``query`` as one flat record: keyword -> values, keys of the levels above included.

        Keys of a lower level than ``level`` are compared with, and answered from, the first series and
        instance, as Orthanc does. A missing unique key of a level above searches across (PS3.4 C.4.1.2 in
        its relational form). Patients come by Patient ID, everything else newest study first.
        """
        plan = _plan(level, query)
        studies = self._studies(plan)
        if level == "PATIENT":
            yield from self._patients(plan, studies)
        elif level == "STUDY":
            yield from (record for _, record in studies)
        else:
            for row, record in studies:
                yield from self._series(plan, row, record)

    def _studies(self, plan: _Plan) -> Iterator[tuple[sa.Row[Any], dict[str, Any]]]:
        uids = self._candidates(plan)
        while page := list(islice(uids, _STUDIES_A_PAGE)):
            with self._engine.read() as connection:
                rows = {
                    row.uid: row for row in connection.execute(sa.select(study).where(study.c.uid.in_(page)))
                }
            for row in (rows[uid] for uid in page if uid in rows):
                record = _study_record(row)
                if plan.counts:
                    record |= self._patient_counts(row)
                if plan.example and plan.level in ("PATIENT", "STUDY"):
                    record = self._example(plan, instance.c.study == row.uid) | record
                if plan.study.matches(_in_study(record, plan)):
                    yield row, record

    def _candidates(self, plan: _Plan) -> Iterator[str]:
        order = (
            (study.c.patient_id, study.c.patient_issuer, study.c.patient_name_key, study.c.uid)
            if plan.level == "PATIENT"
            else (sa.func.replace(study.c.study_date, ".", "").desc(), study.c.uid.desc())
        )
        narrowing = _narrowed(STUDY_NARROWING, plan.query)
        with self._engine.read() as connection:
            return iter(connection.scalars(sa.select(study.c.uid).where(*narrowing).order_by(*order)).all())

    def _patients(
        self, plan: _Plan, studies: Iterator[tuple[sa.Row[Any], dict[str, Any]]]
    ) -> Iterator[dict[str, Any]]:
        last = None
        for row, record in studies:
            if (patient := _patient(row)) != last:
                last = patient
                yield record

    def _series(self, plan: _Plan, parent: sa.Row[Any], above: dict[str, Any]) -> Iterator[dict[str, Any]]:
        where = [series.c.study == parent.uid, *_narrowed(SERIES_NARROWING, plan.query)]
        for row in self._pages(series, series.c.uid, where):
            record = _series_record(row, above, plan.study.keys)
            if plan.example and plan.level == "SERIES":
                same = sa.and_(instance.c.study == row.study, instance.c.series == row.uid)
                record = self._example(plan, same) | record
            if plan.series.matches(record):
                if plan.level == "SERIES":
                    yield record
                else:
                    yield from self._instances(plan, row, record)

    def _instances(self, plan: _Plan, parent: sa.Row[Any], above: dict[str, Any]) -> Iterator[dict[str, Any]]:
        where = [
            instance.c.study == parent.study,
            instance.c.series == parent.uid,
            *_narrowed(INSTANCE_NARROWING, plan.query),
        ]
        for row in self._pages(instance, instance.c.uid, where):
            record = above | _instance_record(row)
            if plan.image.matches(record):
                yield record

    def _pages(self, table: sa.Table, key: sa.Column[str], where: Sequence[Clause]) -> Iterator[sa.Row[Any]]:
        last = ""
        while True:
            page = sa.select(table).where(*where, key > last).order_by(key).limit(_ROWS_A_PAGE)
            with self._engine.read() as connection:
                rows = connection.execute(page).all()
            yield from rows
            if len(rows) < _ROWS_A_PAGE:
                return
            last = rows[-1].uid

    def _patient_counts(self, row: sa.Row[Any]) -> dict[str, Any]:
        same = [study.c.patient_id == row.patient_id, study.c.patient_issuer == row.patient_issuer]
        if not row.patient_id:
            same.append(study.c.patient_name_key == row.patient_name_key)
        counts = sa.select(sa.func.count(), sa.func.sum(study.c.series), sa.func.sum(study.c.instances))
        with self._engine.read() as connection:
            studies, all_series, instances = connection.execute(counts.where(*same)).one()
        return {
            "NumberOfPatientRelatedStudies": [studies],
            "NumberOfPatientRelatedSeries": [all_series],
            "NumberOfPatientRelatedInstances": [instances],
        }

    def _example(self, plan: _Plan, where: Clause) -> dict[str, Any]:
        """The first instance, of those that the query names if it names any, with the UID of its series."""
        first = (
            sa.select(instance)
            .where(where, *_narrowed(INSTANCE_NARROWING, plan.query))
            .order_by(instance.c.series, instance.c.uid)
            .limit(1)
        )
        with self._engine.read() as connection:
            row = connection.execute(first).one_or_none()
        return {} if row is None else _instance_record(row) | {"SeriesInstanceUID": [row.series]}


def _plan(level: Level, query: Attributes) -> _Plan:
    known = {keyword for keyword in query if keyword in KEY_LEVELS}
    depth = LEVELS.index(level)

    def criteria(at: Level) -> Criteria:
        # the lowest level that is asked for also decides on the keys below it
        lowest = LEVELS.index(at) == max(depth, LEVELS.index("STUDY"))
        first = 0 if at == "STUDY" else LEVELS.index(at)
        last = len(LEVELS) if lowest else LEVELS.index(at) + 1
        return Criteria(query, {keyword for keyword in known if KEY_LEVELS[keyword] in LEVELS[first:last]})

    below = {keyword for keyword in known if LEVELS.index(KEY_LEVELS[keyword]) > max(depth, 1)}
    return _Plan(
        query=query,
        level=level,
        study=criteria("STUDY"),
        series=criteria("SERIES"),
        image=criteria("IMAGE"),
        counts=not _PATIENT_COUNTS.isdisjoint(known),
        example=any(KEY_LEVELS[keyword] == "IMAGE" or keyword == "SeriesInstanceUID" for keyword in below),
    )


# ------------------------------------------------------------------------------------------------ records


def _patient(row: sa.Row[Any]) -> tuple[str, str, str]:
    """Who it is: Patient ID and its issuer; without an ID the name keeps people apart."""
    return row.patient_id, row.patient_issuer, "" if row.patient_id else row.patient_name_key


def _attributes(row: sa.Row[Any]) -> dict[str, Any]:
    return dict(orjson.loads(row.attributes))


def _split(column: str) -> list[str]:
    return column.split("\\") if column else []


def _study_record(row: sa.Row[Any]) -> dict[str, Any]:
    return _attributes(row) | {
        "StudyInstanceUID": [row.uid],
        "ModalitiesInStudy": _split(row.modalities),
        "SOPClassesInStudy": _split(row.sop_classes),
        "NumberOfStudyRelatedSeries": [row.series],
        "NumberOfStudyRelatedInstances": [row.instances],
    }


def _in_study(record: dict[str, Any], plan: _Plan) -> Attributes:
    """What study level keys are compared with: above the series, Modality means any in the study."""
    if "Modality" not in plan.study.keys:
        return record
    return record | {"Modality": record["ModalitiesInStudy"]}


def _series_record(row: sa.Row[Any], above: dict[str, Any], decided: frozenset[str]) -> dict[str, Any]:
    """What the series' own header says, also of its study; only the keys in ``decided``, by which the study
    was chosen, stay as they were, so that an answer always agrees with its query."""
    own = _attributes(row)
    return {
        **{keyword: values for keyword, values in above.items() if KEY_LEVELS.get(keyword) != "SERIES"},
        **{keyword: values for keyword, values in own.items() if keyword not in decided},
        "SeriesInstanceUID": [row.uid],
        "NumberOfSeriesRelatedInstances": [row.instances],
    }


def _instance_record(row: sa.Row[Any]) -> dict[str, Any]:
    return _attributes(row) | {
        "SOPInstanceUID": [row.uid],
        "SOPClassUID": [row.sop_class],
        "AvailableTransferSyntaxUID": [row.transfer_syntax],
    }
