"""ImagingStudy of FHIR 5.0.0, base resource (https://hl7.org/fhir/R5/imagingstudy.html)."""

from __future__ import annotations

from html import escape
from typing import Final

import orjson

from node.assemble.parts import joined
from node.assemble.values import earliest
from node.errors import ResourceInvalid
from node.fhir import terminology
from node.fhir.datatypes import (
    DATA_ABSENT,
    Json,
    compact,
    date_time,
    distinct,
    identifier,
    practitioner,
    reference,
    resource_id,
    string,
    uid,
    uid_identifier,
    unsigned,
    uri,
)
from node.fhir.options import FhirOptions
from node.fhir.sopclasses import Kind, kind
from node.model import Device, Instance, Labels, Organization, Series, Study
from node.terms import Code, Identifier, Moment, Person

TARGET: Final = "r5"
_ENDPOINT: Final = "wado-rs"


def build(study: Study, options: FhirOptions) -> Json:
    """The resource as plain JSON values, the same bytes for the same study and options.

    Raises ResourceInvalid when ``require_patient_id`` asks for an identifier that the study does not have.
    """
    devices = _Devices()
    series = [_series(one, options, devices) for one in study.series]
    modalities = dict.fromkeys(terminology.modality_code(one) for one in study.series)
    description = string(study.description) or _procedure_text(study)
    return compact(
        resourceType="ImagingStudy",
        id=resource_id(TARGET, study.uid),
        meta=compact(source=uri(options.source)),
        text=_narrative(study, description) if options.generate_narrative else None,
        contained=sorted([*_endpoints(options), *devices.resources], key=lambda one: str(one["id"])),
        identifier=_identifiers(study, options),
        status="available",
        modality=[terminology.modality(value) for value in modalities],
        subject=_subject(study, options),
        encounter=reference("Encounter", identifier(study.admission, options, "VN")),
        started=_study_started(study, options),
        basedOn=_based_on(study, options),
        referrer=_person(study.referrer, options),
        endpoint=[{"reference": f"#{_ENDPOINT}"}] if _endpoints(options) else None,
        numberOfSeries=len(study.series),
        numberOfInstances=study.instance_count,
        procedure=_procedures(study, options),
        location=_location(study, options),
        reason=_reasons(study, options),
        description=description,
        series=series,
    )


def _endpoints(options: FhirOptions) -> list[Json]:
    """The DICOMweb endpoint; its address is the base URL (https://hl7.org/fhir/R5/imagingstudy.html#endpoint)."""
    address = (uri(options.wado_rs_base) or "").rstrip("/")
    if not address:
        return []
    connection = {
        "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
        "code": "dicom-wado-rs",
        "display": "DICOM WADO-RS",
    }
    payload = {"system": terminology.DCM, "code": "113014", "display": "Study"}
    return [
        {
            "resourceType": "Endpoint",
            "id": _ENDPOINT,
            "status": "active",
            "connectionType": [{"coding": [connection]}],
            "payload": [{"type": [{"coding": [payload]}]}],
            "address": address,
        }
    ]


class _Devices:
    """The contained Devices: each distinct one once, with an id in the order of their series."""

    def __init__(self) -> None:
        self.resources: list[Json] = []
        self._ids: dict[bytes, str] = {}

    def reference(self, device: Device) -> Json | None:
        """A reference to ``device``; None when nothing is known of it."""
        station = string(device.station)
        body = compact(
            identifier=[uid_identifier(device.uid)] if uid(device.uid) else None,
            manufacturer=string(device.manufacturer),
            serialNumber=string(device.serial),
            name=[{"value": station, "type": "user-friendly-name"}] if station else None,
            modelNumber=string(device.model),
            version=[{"value": text} for value in device.software if (text := string(value))],
        )
        if not body:
            return None
        key = orjson.dumps(body)
        if key not in self._ids:
            self._ids[key] = f"dev{len(self._ids) + 1}"
            self.resources.append({"resourceType": "Device", "id": self._ids[key], **body})
        return {"reference": f"#{self._ids[key]}"}


def _identifiers(study: Study, options: FhirOptions) -> list[Json]:
    found = [uid_identifier(study.uid, "official")]
    value = string(study.id)
    if value:
        system = options.study_id_system or None
        institution = string(study.institution.name)
        assigner = {"display": institution} if institution and not system else None
        found.append(compact(use="secondary", system=system, value=value, assigner=assigner))
    return found


def _subject(study: Study, options: FhirOptions) -> Json:
    patient = study.patient
    known = identifier(
        Identifier(patient.id, patient.issuer), options, "MR", options.default_patient_id_system
    )
    person = practitioner(Person(patient.name), None, options)
    display = person["display"] if person else None
    if known:
        return compact(type="Patient", identifier=known, display=display)
    if options.require_patient_id:
        raise ResourceInvalid(
            f"ImagingStudy.subject: study {study.uid} has no Patient ID (0010,0020): enter it at the sender, "
            "or set fhir.require_patient_id = false"
        )
    absent = {"url": DATA_ABSENT, "valueCode": "unknown"}
    return {"extension": [absent], "type": "Patient", "display": display or "unknown"}


def _person(person: Person, options: FhirOptions) -> Json | None:
    """A logical Practitioner; the first coded identification that has a value identifies."""
    for entry in person.codes:
        coded = terminology.coding(entry, options)
        value = coded["code"] if coded else string(entry.value)
        if value:
            known = compact(system=coded["system"] if coded else None, value=value)
            return practitioner(person, known, options)
    return practitioner(person, None, options)


def _moment(series: Series) -> Moment | None:
    """When a series started: the first source that gives a date, content only for what is no image."""
    content = None if series.representative else series.content
    sources = (series.started, series.pps_started, series.acquired, content)
    return next((moment for moment in sources if date_time(moment, "")), None)


def _study_started(study: Study, options: FhirOptions) -> str | None:
    found = date_time(study.started, options.default_timezone)
    if found:
        return found
    starts = (_moment(one) for one in study.series)
    return date_time(earliest(one for one in starts if one), options.default_timezone)


def _based_on(study: Study, options: FhirOptions) -> list[Json]:
    """One ServiceRequest an accession number; without any, the requested procedures' ids."""
    # A request item often repeats the number of the root without its issuer: that is the same request.
    numbers = joined([*study.accessions, *(one.accession for one in study.requests if one.accession)])
    system = options.default_accession_system
    known = [identifier(number, options, "ACSN", system) for number in numbers]
    if not any(known):
        ids = [study.procedure_id, *(one.procedure_id for one in study.requests)]
        known = [identifier(Identifier(value), options, "FILL") for value in ids]
    requests = (reference("ServiceRequest", one) for one in known)
    return distinct([one for one in requests if one])


def _procedure_text(study: Study) -> str | None:
    texts = (study.procedure, *(one.procedure for one in study.requests))
    return next((text for raw in texts if (text := string(raw))), None)


def _procedures(study: Study, options: FhirOptions) -> list[Json]:
    requested = [*study.requested_codes, *(code for one in study.requests for code in one.procedure_codes)]
    found = terminology.concepts(study.procedure_codes or requested, options)
    text = _procedure_text(study)
    if not found and text:
        found = [{"text": text}]
    return [{"concept": one} for one in found]


def _reasons(study: Study, options: FhirOptions) -> list[Json]:
    codes = [*study.reason_codes, *(code for one in study.requests for code in one.reason_codes)]
    texts = [*study.reasons, *(one.reason for one in study.requests)]
    found = _coded_and_text(codes, texts, options)
    if not found and options.admitting_dx_as_reason:
        found = _coded_and_text([*study.admitting_codes], [*study.admitting], options)
    return [{"concept": one} for one in found]


def _coded_and_text(codes: list[Code], texts: list[str], options: FhirOptions) -> list[Json]:
    """Codes first, then the texts that none of them says already."""
    found = terminology.concepts(codes, options)
    said = {one.get("text") for one in found}
    for raw in texts:
        text = string(raw)
        if text and text not in said:
            said.add(text)
            found.append({"text": text})
    return found


def _location(study: Study, options: FhirOptions) -> Json | None:
    department = string(study.department.name) or string(study.performed_location)
    names = [name for name in (string(study.institution.name), department) if name]
    identified = _identified((*study.department.codes, *study.institution.codes), options)
    return reference("Location", identified, " / ".join(names) or None)


def _identified(codes: tuple[Code, ...], options: FhirOptions) -> Json | None:
    """The first coded entry that has a system, as Identifier."""
    for entry in codes:
        coded = terminology.coding(entry, options)
        if coded:
            return {"system": coded["system"], "value": coded["code"]}
    return None


def _series(series: Series, options: FhirOptions, devices: _Devices) -> Json:
    site = terminology.body_site(series, options)
    specimens = (identifier(one, options) for one in series.specimens)
    return compact(
        uid=series.uid,
        number=unsigned(series.number),
        modality=terminology.modality(terminology.modality_code(series)),
        description=_description(series, options),
        numberOfInstances=len(series.instances),
        bodySite={"concept": site} if site else None,
        laterality=terminology.laterality(series.lateralities),
        specimen=[one for known in specimens if (one := reference("Specimen", known))],
        started=date_time(_moment(series), options.default_timezone),
        performer=_performers(series, options, devices),
        instance=[_instance(one, options) for one in series.instances] if options.include_instances else None,
    )


def _description(series: Series, options: FhirOptions) -> str | None:
    protocol = series.protocol if options.protocol_as_description else ""
    sources = (series.description, *(entry.meaning for entry in series.description_codes), protocol)
    return next((text for raw in sources if (text := string(raw))), None)


def _performers(series: Series, options: FhirOptions, devices: _Devices) -> list[Json]:
    """Devices, then people; the institution only where there is nobody else."""
    actors = [devices.reference(one) for one in series.devices]
    actors += [_person(one, options) for one in (*series.operators, *series.performers)]
    known = [actor for actor in actors if actor]
    if not known and (organization := _organization(series.institution, options)):
        return [{"actor": organization}]
    return [{"function": terminology.PERFORMER, "actor": actor} for actor in distinct(known)]


def _organization(institution: Organization, options: FhirOptions) -> Json | None:
    return reference("Organization", _identified(institution.codes, options), string(institution.name))


def _instance(instance: Instance, options: FhirOptions) -> Json:
    return compact(
        uid=instance.uid,
        sopClass=terminology.sop_class(instance.sop_class),
        number=unsigned(instance.number),
        title=_title(instance, options),
    )


# Which labels an object of a kind is called by, the first that says anything.
_TITLES: Final[dict[Kind, tuple[str, ...]]] = {
    "image": (),
    "report": ("concept",),
    "document": ("document_title", "concept"),
    "content": ("content_label", "content_description"),
    "structure-set": ("structure_set_label",),
    "plan": ("plan_label",),
    "dose": ("dose_summation",),
}


def _title(instance: Instance, options: FhirOptions) -> str | None:
    of = kind(instance.sop_class)
    if of == "image":
        return string("\\".join(instance.image_type)) if options.title_from_image_type else None
    labels = instance.labels or Labels()
    for name in _TITLES[of]:
        label = getattr(labels, name)
        text = string(label.meaning if isinstance(label, Code) else label or "")
        if text:
            return text
    return None


def _narrative(study: Study, description: str | None) -> Json:
    """Counts, modalities and description as XHTML; nothing about the patient."""
    modalities = ", ".join(dict.fromkeys(terminology.modality_code(one) for one in study.series))
    lines = [
        f"Imaging study {study.uid}",
        description or "",
        f"{modalities}: {len(study.series)} series, {study.instance_count} instances",
    ]
    body = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}
