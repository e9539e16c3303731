"""What is amiss in an assembled study: a table of rules, each naming attributes and places, never values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from node.assemble.values import (
    moment_key,
    parse_date,
    parse_datetime,
    parse_offset,
    parse_time,
    parse_unsigned,
    resolve,
)
from node.model import Finding, Study
from node.terms import Moment

_Hit = tuple[str, str, int]  # DICOM keyword, UID, instances


def findings(study: Study) -> tuple[Finding, ...]:
    """Every rule of ``RULES`` over ``study``."""
    return tuple(Finding(rule, *hit) for rule, check in RULES.items() for hit in check(study))


def _moments(study: Study) -> Iterator[tuple[str, str, Moment]]:
    if study.started:
        yield "Study", study.uid, study.started
    for series in study.series:
        for instance in series.instances:
            if instance.acquisition:
                yield "Acquisition", series.uid, instance.acquisition
            if instance.content:
                yield "Content", series.uid, instance.content


def _illegal(study: Study, part: str, legal: Callable[[Moment], bool]) -> Iterator[_Hit]:
    counts: dict[tuple[str, str], int] = {}
    for of, uid, moment in _moments(study):
        if not legal(moment):
            counts[of + part, uid] = counts.get((of + part, uid), 0) + 1
    for (keyword, uid), instances in counts.items():
        yield keyword, uid, instances


def _legal_date(moment: Moment) -> bool:
    whole = not moment.datetime or parse_datetime(moment.datetime) is not None
    return whole and (not moment.date or parse_date(moment.date) is not None)


def _legal_time(moment: Moment) -> bool:
    return not moment.time or parse_time(moment.time) is not None


def _offsets(study: Study) -> Iterator[_Hit]:
    """A wrong offset costs the time: a dateTime without one is a date."""
    for series in study.series:
        moments = (study.started, series.started, series.acquired, series.content)
        if any(one and one.offset and parse_offset(one.offset) is None for one in moments):
            yield "TimezoneOffsetFromUTC", series.uid, len(series.instances)


def _numbers(study: Study) -> Iterator[_Hit]:
    for series in study.series:
        if series.number and parse_unsigned(series.number) is None:
            yield "SeriesNumber", series.uid, len(series.instances)
        wrong = sum(1 for one in series.instances if one.number and parse_unsigned(one.number) is None)
        if wrong:
            yield "InstanceNumber", series.uid, wrong


def _before_study(study: Study) -> Iterator[_Hit]:
    """R6 asks that no series starts before its study; whole days are compared where either has no time."""
    start = study.started and resolve(study.started)
    if not study.started or not start:
        return
    for series in study.series:
        own = series.started and resolve(series.started)
        if not series.started or not own:
            continue
        if start.time and own.time:
            before = (moment_key(series.started) or ()) < (moment_key(study.started) or ())
        else:
            before = own.date < start.date
        if before:
            yield "SeriesDate", series.uid, len(series.instances)


def _patients(study: Study) -> Iterator[_Hit]:
    if len(study.identities) > 1:
        yield "PatientID", study.uid, study.instance_count


def _nobody(study: Study) -> Iterator[_Hit]:
    if not study.patient.id:
        yield "PatientID", study.uid, study.instance_count


def _modality(study: Study) -> Iterator[_Hit]:
    for series in study.series:
        if not series.modality:
            yield "Modality", series.uid, len(series.instances)


def _sides(study: Study) -> Iterator[_Hit]:
    for series in study.series:
        if len(series.lateralities) > 1:
            yield "Laterality", series.uid, len(series.instances)


def _split(study: Study) -> Iterator[_Hit]:
    """One SOP Instance UID in two series: both are listed, each in its own."""
    seen: dict[str, str] = {}
    for series in study.series:
        twice = sum(1 for one in series.instances if seen.setdefault(one.uid, series.uid) != series.uid)
        if twice:
            yield "SOPInstanceUID", series.uid, twice


RULES: Final[dict[str, Callable[[Study], Iterator[_Hit]]]] = {
    "patient-conflict": _patients,
    "patient-id-missing": _nobody,
    "modality-missing": _modality,
    "date-invalid": lambda study: _illegal(study, "Date", _legal_date),
    "time-invalid": lambda study: _illegal(study, "Time", _legal_time),
    "offset-invalid": _offsets,
    "number-out-of-range": _numbers,
    "series-before-study": _before_study,
    "laterality-mixed": _sides,
    "instance-in-two-series": _split,
}

# Rules of others: assembling itself, and reading stored files.
_ELSEWHERE: Final = ("disagreement", "document-unreadable", "settings-unreadable", "documents-over-limit")

# What one target could not use (fhir/osiris).
TARGETS: Final = ("patient-size-impossible",)  # above 3 m: entered in centimetres

# What a document refers to or contains and no selection could be made of (fhir/selections).
SELECTIONS: Final = (
    "selection-instance-unknown",  # neither in the document's evidence nor in its study
    "selection-incomplete",  # a content item without what its kind must have
    "selection-number-repeated",  # two regions or segments of one number
    "selections-over-maximum",
    "selection-references-over-maximum",  # of performer, basedOn, focus or category; its selection stays
    "region-coordinates-invalid",
    "region-over-maximum",  # the region is left out, its selection stays
)

# Every value that data_quality_total{rule} can have.
NAMES: Final = (*_ELSEWHERE, *RULES, *TARGETS, *SELECTIONS)
