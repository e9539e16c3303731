"""Study level values that the ImagingStudy of R4 and R5 share, each from the study model and the options.

Every function gives plain JSON values, None or an empty list where there is nothing to say. Rules: DICOM PS3.3
C.7.2 (study), C.7.1 (patient), 10.6 (request attributes); https://hl7.org/fhir/R5/imagingstudy-mappings.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from node.assemble.parts import joined
from node.assemble.values import earliest
from node.documents import KeyObjects
from node.errors import ResourceInvalid
from node.fhir import series as of_series
from node.fhir import terminology
from node.fhir.contained import Context
from node.fhir.datatypes import (
    DATA_ABSENT,
    Json,
    compact,
    date_time,
    distinct,
    identifier,
    practitioner,
    reference,
    string,
    uid_identifier,
    uri,
)
from node.fhir.people import person
from node.model import Study
from node.terms import Code, Identifier, Person

# Key object titles that take back what they refer to (PS3.16 CID 7010, IHE RAD IOCM), and what becomes of a
# study of which they take back everything.
REJECTIONS: Final = {
    "113001": "entered-in-error",
    "113037": "entered-in-error",
    "113038": "entered-in-error",
    "113039": "cancelled",
}

_NOT_ID: Final = re.compile(r"[^A-Za-z0-9\-.]+")


def meta(_: Study, context: Context) -> Json:
    return compact(source=uri(context.options.source))


def contained(_: Study, context: Context) -> list[Json]:
    """Those that other rows referred to: this row comes last in its table."""
    return context.contained.resources()


def study_uid(study: Study) -> Json:
    return uid_identifier(study.uid, "official")


def study_id(study: Study, context: Context) -> Json | None:
    """Study ID; without a configured system its assigner is the institution."""
    value = string(study.id)
    if not value:
        return None
    system = context.options.study_id_system or None
    institution = string(study.institution.name)
    assigner = {"display": institution} if institution and not system else None
    return compact(use="secondary", system=system, value=value, assigner=assigner)


def accessions(study: Study, context: Context) -> list[Json]:
    """Accession numbers as identifiers, the most frequent first; (0040,0275) may add others.

    A request item often repeats the number of the root without its issuer: that is the same request.
    """
    numbers = joined([*study.accessions, *(one.accession for one in study.requests if one.accession)])
    system = context.options.default_accession_system
    known = (identifier(number, context.options, "ACSN", system) for number in numbers)
    return distinct([one for one in known if one])


def status(study: Study, _: Context) -> str:
    """``available``, unless rejection notes take back every instance but themselves; a study of notes alone, about
    images elsewhere, is as good as it was."""
    rejected: set[str] = set()
    notes: set[str] = set()
    states: set[str] = set()
    for document in study.documents:
        content = document.content
        if isinstance(content, KeyObjects) and content.title_code in REJECTIONS:
            notes.add(document.instance)
            states.add(REJECTIONS[content.title_code])
            rejected |= {one.reference.instance for one in content.references}
    images = {one.uid for series in study.series for one in series.instances} - notes
    if not states or not images or images - rejected:
        return "available"
    return max(states)  # entered-in-error is the stronger word


def modalities(study: Study) -> list[str]:
    """The distinct modalities of all series, in the order of their first series."""
    return list(dict.fromkeys(terminology.modality_code(one) for one in study.series))


def literal(template: str, **values: str) -> str | None:
    """A literal reference from a configured template, its values made to fit FHIR's id; None without them."""
    fitting = {name: _NOT_ID.sub("-", value.strip())[:64] for name, value in values.items()}
    return template.format(**fitting) if template and all(fitting.values()) else None


def subject(study: Study, context: Context) -> Json:
    """The patient by identifier, or literally where the operator configured how.

    Raises ResourceInvalid when ``require_patient_id`` asks for an identifier that the study does not have.
    """
    patient, options = study.patient, context.options
    known = identifier(
        Identifier(patient.id, patient.issuer), options, "MR", options.default_patient_id_system
    )
    person = practitioner(Person(patient.name), None, options)
    display = person["display"] if person else None
    if known:
        at = literal(options.references.patient, patient_id=patient.id)
        return compact(reference=at, type="Patient", identifier=known, display=display)
    if options.require_patient_id:
        raise ResourceInvalid(
            f"ImagingStudy.subject: study {study.uid} has no Patient ID (0010,0020): enter it at the sender, "
            "or set fhir.require_patient_id = false"
        )
    absent = {"url": DATA_ABSENT, "valueCode": "unknown"}
    return {"extension": [absent], "type": "Patient", "display": display or "unknown"}


def encounter(study: Study, context: Context) -> Json | None:
    known = identifier(study.admission, context.options, "VN")
    if not known or not study.admission:
        return None
    at = literal(context.options.references.encounter, admission_id=study.admission.value)
    return compact(reference=at, type="Encounter", identifier=known)


def started(study: Study, context: Context) -> str | None:
    """Study Date and Time, else the earliest start of a series."""
    zone = context.options.default_timezone
    found = date_time(study.started, zone)
    if found:
        return found
    starts = (of_series.moment(one) for one in study.series)
    return date_time(earliest(one for one in starts if one), zone)


def based_on(study: Study, context: Context) -> list[Json]:
    """One ServiceRequest an accession number; without any, the requested procedures' ids."""
    options = context.options
    found = []
    for known in accessions(study, context):
        at = literal(options.references.service_request, accession=known["value"])
        found.append(compact(reference=at, type="ServiceRequest", identifier=known))
    if not found:
        ids = [study.procedure_id, *(one.procedure_id for one in study.requests)]
        filler = (identifier(Identifier(value), options, "FILL") for value in ids)
        found = [one for known in filler if (one := reference("ServiceRequest", known))]
    return distinct(found)


def referrer(study: Study, context: Context) -> Json | None:
    return person(study.referrer, context)


def interpreters(study: Study, context: Context) -> list[Json]:
    return distinct([one for reader in study.readers if (one := person(reader, context))])


def procedure_text(study: Study) -> str | None:
    texts = (study.procedure, *(one.procedure for one in study.requests))
    return next((text for raw in texts if (text := string(raw))), None)


def procedures(study: Study, context: Context) -> list[Json]:
    """CodeableConcepts of what was done, else of what was requested, else the request's words."""
    requested = [*study.requested_codes, *(code for one in study.requests for code in one.procedure_codes)]
    found = terminology.concepts(study.procedure_codes or requested, context.options)
    text = procedure_text(study)
    return found or ([{"text": text}] if text else [])


def reasons(study: Study, context: Context) -> list[Json]:
    """CodeableConcepts of why the procedure was requested; admitting diagnoses only where configured."""
    codes = [*study.reason_codes, *(code for one in study.requests for code in one.reason_codes)]
    texts = [*study.reasons, *(one.reason for one in study.requests)]
    found = _coded_and_text(codes, texts, context)
    if not found and context.options.admitting_dx_as_reason:
        found = _coded_and_text(study.admitting_codes, study.admitting, context)
    return found


def _coded_and_text(codes: Sequence[Code], texts: Sequence[str], context: Context) -> list[Json]:
    """Codes first, then the texts that none of them says already."""
    found = terminology.concepts(codes, context.options)
    said = {one.get("text") for one in found}
    for raw in texts:
        text = string(raw)
        if text and text not in said:
            said.add(text)
            found.append({"text": text})
    return found


def location(study: Study, context: Context) -> Json | None:
    """Institution and department by name, and by the code of the department, else of the institution."""
    department = string(study.department.name) or string(study.performed_location)
    names = [name for name in (string(study.institution.name), department) if name]
    known = of_series.identified((*study.department.codes, *study.institution.codes), context)
    return reference("Location", known, " / ".join(names) or None)


def description(study: Study, _: Context) -> str | None:
    return string(study.description) or procedure_text(study)


def narrative(study: Study, context: Context) -> Json | None:
    """Counts, modalities and description as XHTML where configured; nothing about the patient."""
    if not context.options.generate_narrative:
        return None
    lines = [
        f"Imaging study {study.uid}",
        description(study, context) or "",
        f"{', '.join(modalities(study))}: {len(study.series)} series, {study.instance_count} instances",
    ]
    body = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}
