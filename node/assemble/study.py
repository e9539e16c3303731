"""The rows of a study -> one model.Study, disagreements between instances settled by rule.

Pure, and the same result for every order of the rows: whatever depends on an order uses the study's own:
series and instances by (number, UID). A value that instances disagree about is the most frequent one; on a
tie, the one held by the instance that sorts first. Values are compared over distinct header sets with their
instance counts, so 24,000 instances cost little more than sorting them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeVar

from node.assemble import parts, quality
from node.assemble.parts import text
from node.assemble.values import earliest, moment_key, parse_integer, uid_key
from node.model import (
    Attributes,
    BodyPart,
    Finding,
    HeaderSet,
    Instance,
    InstanceRow,
    Organization,
    Patient,
    Series,
    Study,
)
from node.terms import Code, Identifier, Issuer, Moment, Person, Zone

T = TypeVar("T", bound=Hashable)

_NOBODY: Final = Person()
_NOWHERE: Final = Organization()


_Header = tuple[Attributes, parts.Schemes, Zone]


class _Set(NamedTuple):
    """One header set as one series uses it: with its coding schemes, its zone, how many instances have it."""

    attributes: Attributes
    known: parts.Schemes
    zone: Zone
    instances: int


@dataclass(frozen=True, slots=True)
class _Group:
    """The instances of one series in their order, its header sets in the order of their first instance."""

    uid: str
    number: str
    rows: tuple[InstanceRow, ...]
    sets: tuple[_Set, ...]


class _Votes:
    """Settles disagreements about ``uid`` over its header sets, and keeps what it found."""

    def __init__(self, uid: str, sets: Sequence[_Set]) -> None:
        self.uid = uid
        self.sets = sets
        self.findings: list[Finding] = []

    def majority(self, keyword: str, pick: Callable[[_Set], T | None], absent: T) -> T:
        """The most frequent value but None and ``absent``; the earliest of equally frequent ones."""
        counts: dict[T, int] = {}
        for one in self.sets:
            value = pick(one)
            if value is not None and value != absent:
                counts[value] = counts.get(value, 0) + one.instances
        if not counts:
            return absent
        winner = max(counts, key=lambda value: counts[value])  # max keeps the first of equals
        if len(counts) > 1:
            self.findings.append(
                Finding("disagreement", keyword, self.uid, sum(counts.values()) - counts[winner])
            )
        return winner

    def text(self, keyword: str) -> str:
        return self.majority(keyword, lambda one: text(one.attributes, keyword), "")

    def union(self, pick: Callable[[_Set], Iterable[T]]) -> tuple[T, ...]:
        return parts.distinct(value for one in self.sets for value in pick(one))

    def earliest(self, date: str, time: str) -> Moment | None:
        """The earliest pair of date and time, each pair from one instance."""
        found = [(moment, one.instances) for one in self.sets if (moment := _moment(one, date, time))]
        wrong = sum(instances for moment, instances in found if moment_key(moment) is None)
        if wrong:
            self.findings.append(Finding("date-invalid", date, self.uid, wrong))
        return earliest(moment for moment, _ in found)


def study(uid: str, headers: Sequence[HeaderSet], instances: Sequence[InstanceRow]) -> Study:
    """Merge a study: ``instances`` holds each (series, instance UID) once, ``headers`` the sets they name.

    Raises KeyError when an instance names a header set that is not there: the index is then inconsistent.
    """
    by_id = {
        one.id: (one.attributes, parts.schemes(one.attributes), parts.zone(one.attributes)) for one in headers
    }
    rows: dict[str, list[InstanceRow]] = {}
    for row in instances:
        rows.setdefault(row.series, []).append(row)
    groups = sorted((_group(series, of, by_id) for series, of in rows.items()), key=_group_key)
    merged = [_series(group) for group in groups]
    votes = _Votes(uid, [one for group in groups for one in group.sets])
    found = _study(uid, votes, tuple(one for one, _ in merged))
    findings = [*votes.findings, *(finding for _, of in merged for finding in of)]
    found = replace(found, findings=tuple(findings))
    return replace(found, findings=(*findings, *quality.findings(found)))


def _number_key(number: str) -> tuple[bool, int]:
    """Sorts IS values, those without one last."""
    value = parse_integer(number)
    return (value is None, value or 0)


def _group_key(group: _Group) -> tuple[object, ...]:
    return (*_number_key(group.number), uid_key(group.uid))


def _row_key(row: InstanceRow) -> tuple[object, ...]:
    return (*_number_key(text(row.attributes, "InstanceNumber")), uid_key(row.uid))


def _group(uid: str, rows: list[InstanceRow], by_id: dict[int, _Header]) -> _Group:
    ordered = tuple(sorted(rows, key=_row_key))
    counts: dict[int, int] = {}
    for row in ordered:
        counts[row.header] = counts.get(row.header, 0) + 1
    sets = tuple(_Set(*by_id[header], count) for header, count in counts.items())
    return _Group(uid, _Votes(uid, sets).text("SeriesNumber"), ordered, sets)


def _moment(one: _Set, date: str, time: str) -> Moment | None:
    return parts.moment(one.attributes, date, time, one.zone)


def _series(group: _Group) -> tuple[Series, list[Finding]]:
    votes = _Votes(group.uid, group.sets)
    instances = _instances(group)
    representative = _representative(group)
    size_and_weight = representative[1].attributes if representative else {}
    found = Series(
        uid=group.uid,
        number=votes.text("SeriesNumber"),
        modality=votes.text("Modality"),
        description=votes.text("SeriesDescription"),
        description_codes=votes.majority(
            "SeriesDescriptionCodeSequence",
            lambda one: parts.codes(one.attributes, "SeriesDescriptionCodeSequence", one.known),
            (),
        ),
        protocol=votes.text("ProtocolName"),
        started=votes.earliest("SeriesDate", "SeriesTime"),
        pps_started=votes.earliest("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
        acquired=earliest(one.acquisition for one in instances if one.acquisition),
        content=earliest(one.content for one in instances if one.content),
        body_parts=_body_parts(group.sets),
        lateralities=_lateralities(group, instances),
        frame_of_reference=votes.text("FrameOfReferenceUID"),
        devices=tuple(
            device
            for device in votes.union(lambda one: (parts.device(one.attributes),))
            if device != parts.device({})
        ),
        operators=_people(votes, "OperatorsName", "OperatorIdentificationSequence"),
        performers=_people(votes, "PerformingPhysicianName", "PerformingPhysicianIdentificationSequence"),
        institution=_institution(votes),
        department=_department(votes),
        performed_location=votes.text("PerformedLocation"),
        specimens=votes.union(lambda one: parts.specimens(one.attributes)),
        requests=votes.union(lambda one: parts.requests(one.attributes, one.known)),
        patient_size=text(size_and_weight, "PatientSize"),
        patient_weight=text(size_and_weight, "PatientWeight"),
        representative=representative[0].uid if representative else "",
        instances=instances,
    )
    return found, votes.findings


def _instances(group: _Group) -> tuple[Instance, ...]:
    known = {row.header: one for row, one in _with_sets(group)}
    return tuple(_instance(row, known[row.header]) for row in group.rows)


def _with_sets(group: _Group) -> Iterable[tuple[InstanceRow, _Set]]:
    """The first instance of each header set, with the set."""
    firsts: dict[int, InstanceRow] = {}
    for row in group.rows:
        firsts.setdefault(row.header, row)
    return zip(firsts.values(), group.sets, strict=True)


def _instance(row: InstanceRow, of: _Set) -> Instance:
    own = row.attributes
    acquired = parts.moment(own, "AcquisitionDate", "AcquisitionTime", of.zone, "AcquisitionDateTime")
    rows = own.get("Rows")
    return Instance(
        uid=row.uid,
        sop_class=row.sop_class,
        number=text(own, "InstanceNumber"),
        frames=text(own, "NumberOfFrames"),
        rows=int(rows[0]) if rows else 0,
        acquisition=acquired,
        content=parts.moment(own, "ContentDate", "ContentTime", of.zone),
        image_type=parts.texts(own, "ImageType"),
        laterality=text(own, "ImageLaterality") or text(own, "FrameLaterality"),
        labels=parts.labels(own, of.known),
        zone=of.zone,
    )


def _representative(group: _Group) -> tuple[InstanceRow, _Set] | None:
    """The image instance (it has Rows) with the smallest (Instance Number, UID): rows are in that order."""
    known = {row.header: one for row, one in _with_sets(group)}
    return next(((row, known[row.header]) for row in group.rows if row.attributes.get("Rows")), None)


def _body_parts(sets: Sequence[_Set]) -> tuple[BodyPart, ...]:
    """What the instances show, the most frequent first; those that say nothing are not counted."""
    counts: dict[BodyPart, int] = {}
    for attributes, known, _, instances in sets:
        region = next(iter(parts.sequence(attributes, "AnatomicRegionSequence")), {})
        found = BodyPart(
            parts.code(region, known),
            parts.codes(region, "AnatomicRegionModifierSequence", known),
            text(attributes, "BodyPartExamined"),
            0,
        )
        if found.region or found.examined:
            counts[found] = counts.get(found, 0) + instances
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])  # stable: equals keep their order
    return tuple(replace(part, instances=instances) for part, instances in ranked)


def _lateralities(group: _Group, instances: Sequence[Instance]) -> tuple[str, ...]:
    """Laterality (0020,0060) of each instance's header, else its own Image (0020,0062) or Frame Laterality."""
    of_set = {row.header: text(one.attributes, "Laterality") for row, one in _with_sets(group)}
    found = {of_set[row.header] or one.laterality for row, one in zip(group.rows, instances, strict=True)}
    return tuple(sorted(found - {""}))


def _people(votes: _Votes, names: str, identification: str) -> tuple[Person, ...]:
    return votes.union(lambda one: parts.people(one.attributes, names, identification, one.known))


def _institution(votes: _Votes) -> Organization:
    return votes.majority(
        "InstitutionName",
        lambda one: parts.organization(
            one.attributes, "InstitutionName", "InstitutionCodeSequence", one.known, "InstitutionAddress"
        ),
        _NOWHERE,
    )


def _department(votes: _Votes) -> Organization:
    return votes.majority(
        "InstitutionalDepartmentName",
        lambda one: parts.organization(
            one.attributes,
            "InstitutionalDepartmentName",
            "InstitutionalDepartmentTypeCodeSequence",
            one.known,
        ),
        _NOWHERE,
    )


def _study(uid: str, votes: _Votes, series: tuple[Series, ...]) -> Study:
    def codes(keyword: str) -> tuple[Code, ...]:
        return votes.union(lambda one: parts.codes(one.attributes, keyword, one.known))

    def values(keyword: str) -> tuple[str, ...]:
        return tuple(
            value for value in votes.union(lambda one: parts.texts(one.attributes, keyword)) if value
        )

    reason = "ReasonForTheRequestedProcedure"
    return Study(
        uid=uid,
        patient=_patient(votes),
        id=votes.text("StudyID"),
        accessions=_accessions(votes),
        started=votes.majority("StudyDate", lambda one: _moment(one, "StudyDate", "StudyTime"), None),
        description=votes.text("StudyDescription"),
        referrer=_referrer(votes),
        readers=_people(
            votes, "NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence"
        ),
        procedure_codes=codes("ProcedureCodeSequence"),
        admitting=values("AdmittingDiagnosesDescription"),
        admitting_codes=codes("AdmittingDiagnosesCodeSequence"),
        admission=votes.majority(
            "AdmissionID",
            lambda one: parts.identifier(one.attributes, "AdmissionID", "IssuerOfAdmissionIDSequence"),
            None,
        ),
        procedure=votes.text("RequestedProcedureDescription"),
        procedure_id=votes.text("RequestedProcedureID"),
        requested_codes=codes("RequestedProcedureCodeSequence"),
        reasons=tuple(filter(None, votes.union(lambda one: (text(one.attributes, reason),)))),
        reason_codes=codes("ReasonForRequestedProcedureCodeSequence"),
        requests=parts.distinct(request for one in series for request in one.requests),
        institution=_institution(votes),
        department=_department(votes),
        performed_location=votes.text("PerformedLocation"),
        series=series,
        identities=_identities(votes),
        findings=(),
    )


def _referrer(votes: _Votes) -> Person:
    def pick(one: _Set) -> Person | None:
        names, coded = "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence"
        return next(iter(parts.people(one.attributes, names, coded, one.known)), None)

    return votes.majority("ReferringPhysicianName", pick, _NOBODY)


def _with_issuer(
    votes: _Votes, keyword: str, issuer: str, pick: Callable[[_Set], Identifier | None]
) -> Identifier | None:
    """The most frequent value, and the most frequent issuer among the instances that hold this value."""

    def value(one: _Set) -> str:
        found = pick(one)
        return found.value if found else ""

    winner = votes.majority(keyword, value, "")
    if not winner:
        return None
    holders = _Votes(votes.uid, [one for one in votes.sets if value(one) == winner])
    of = holders.majority(issuer, lambda one: found.issuer if (found := pick(one)) else None, Issuer())
    votes.findings.extend(holders.findings)
    return Identifier(winner, of)


def _patient(votes: _Votes) -> Patient:
    ids = _with_issuer(
        votes, "PatientID", "IssuerOfPatientID", lambda one: parts.patient_identifier(one.attributes)
    )
    return Patient(
        id=ids.value if ids else "",
        issuer=ids.issuer if ids else Issuer(),
        other_ids=votes.union(lambda one: parts.other_ids(one.attributes)),
        name=votes.text("PatientName"),
        birth_date=votes.text("PatientBirthDate"),
        sex=votes.text("PatientSex"),
    )


def _accessions(votes: _Votes) -> tuple[Identifier, ...]:
    number, issuer = "AccessionNumber", "IssuerOfAccessionNumberSequence"

    def pick(one: _Set) -> Identifier | None:
        return parts.identifier(one.attributes, number, issuer)

    first = _with_issuer(votes, number, issuer, pick)
    if first is None:
        return ()
    others = votes.union(lambda one: (found,) if (found := pick(one)) else ())
    return (first, *parts.joined([other for other in others if other.value != first.value]))


def _identities(votes: _Votes) -> tuple[Identifier, ...]:
    """The distinct patients: an empty Patient ID names nobody, an empty issuer contradicts none."""
    return parts.joined(
        votes.union(lambda one: (found,) if (found := parts.patient_identifier(one.attributes)) else ())
    )
