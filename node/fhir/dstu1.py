"""ImagingStudy of FHIR DSTU1, 0.0.82 (http://hl7.org/fhir/DSTU1/imagingstudy.html).

No ``id``, ``meta`` or ``status`` at the root; a reference has no identifier, so persons are contained; codes are
bare, UIDs are of the datatype oid, ``sopclass`` is one word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from node.assemble.values import INT32_MAX, parse_integer
from node.errors import ResourceInvalid
from node.fhir import datatypes, terminology
from node.fhir import series as of_series
from node.fhir import study as of_study
from node.fhir.contained import Context
from node.fhir.datatypes import Json, compact, identifier, string
from node.fhir.dstu1_terms import (
    GENDER_SYSTEM,
    GENDERS,
    SERIES_MODALITIES,
    STUDY_MODALITIES,
    record_type,
)
from node.fhir.names import human_names
from node.fhir.options import FhirOptions
from node.fhir.people import person
from node.fhir.table import Page, Row, Section, fill
from node.model import Instance, Patient, Series, Study
from node.terms import Moment, Person

TARGET: Final = "dstu1"

# DSTU1's own pattern of the datatype, behind its prefix: it looks at no root.
_OID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*\Z")
# The XML Schema builds on xs:dateTime, which has no second 60.
_LEAP_SECOND = re.compile(r"T[0-9:]{5}:60")


@dataclass(slots=True)
class _InSeries(Context):
    """What the rows of an instance look at beside it."""

    series: Series = field(kw_only=True)


def build(study: Study, options: FhirOptions) -> Json:
    """The resource as plain JSON values, the same bytes for the same study and options.

    Raises ResourceInvalid for a UID that an oid can't be, and when ``require_patient_id`` asks for an identifier
    that the study does not have.
    """
    return {"resourceType": "ImagingStudy", **fill(STUDY, study, Context(study, options))}


def _uid(element: str, of: Callable[[Any], str]) -> Callable[[Any, Context], str]:
    """A UID as oid. One with a leading zero (illegal by PS3.5 9.1, but seen) is neither repaired nor left out."""

    def value(subject: Any, _: Context) -> str:
        uid = of(subject)
        if not _OID.match(uid):
            raise ResourceInvalid(
                f"{TARGET} {element}: {uid} is no oid, whose components are numbers without leading zeros (as PS3.5 "
                "9.1 has it for UIDs too): correct it at the sender; outputs of later FHIR versions carry it"
            )
        return f"urn:oid:{uid}"

    return value


def _date_time(moment: Moment | None, context: Context) -> str | None:
    found = datatypes.date_time(moment, context.options.default_timezone)
    return found.partition("T")[0] if found and _LEAP_SECOND.search(found) else found


def _integer(raw: str) -> int | None:
    number = parse_integer(raw)
    return number if number is not None and -INT32_MAX - 1 <= number <= INT32_MAX else None


def _labelled(known: Json, label: str, use: str | None = None) -> Json:
    """An Identifier of R4 and R5 in DSTU1's terms: it has a label where those have a type."""
    rest = {name: member for name, member in known.items() if name not in ("type", "use")}
    return compact(use=use or known.get("use"), label=label, **rest)


def _subject(study: Study, context: Context) -> Json:
    """A contained Patient, or literally where the operator configured how."""
    logical = of_study.subject(study, context)
    if "reference" in logical:
        return compact(reference=logical["reference"], display=logical.get("display"))
    body = _patient(study.patient, logical.get("identifier"), context)
    return context.contained.refer("pat", "Patient", body) or {"display": "unknown"}


def _patient(patient: Patient, known: Json | None, context: Context) -> Json:
    ids = [_labelled(known, "MR", "usual")] if known else []
    for other in patient.other_ids:
        found = identifier(other, context.options)
        if found and not (known and _same(found, known)):
            ids.append({"use": "secondary", **found})
    return compact(
        identifier=datatypes.distinct(ids),
        name=human_names(patient.name) if context.options.include_names else [],
        gender=_gender(patient.sex),
        birthDate=datatypes.date_time(Moment(date=patient.birth_date), ""),
    )


def _same(one: Json, other: Json) -> bool:
    return all(one.get(name) == other.get(name) for name in ("system", "value"))


def _gender(sex: str) -> Json | None:
    if sex.strip().upper() not in GENDERS:
        return None
    code, display = GENDERS[sex.strip().upper()]
    return {"coding": [{"system": GENDER_SYSTEM, "code": code, "display": display}]}


def _practitioner(of: Person, context: Context) -> Json | None:
    """A contained Practitioner, if it would say anything."""
    known = (person(of, context) or {}).get("identifier")
    names = human_names(of.name) if context.options.include_names else []
    body = compact(identifier=[known] if known else [], name=names[0] if names else None)
    return context.contained.refer("prac", "Practitioner", body)


def _interpreter(study: Study, context: Context) -> Json | None:
    return _practitioner(study.readers[0], context) if study.readers else None


def _accession(study: Study, context: Context) -> Json | None:
    numbers = of_study.accessions(study, context)
    return {name: member for name, member in numbers[0].items() if name != "type"} if numbers else None


def _identifiers(study: Study, context: Context) -> list[Json]:
    of_id = of_study.study_id(study, context)
    further = [_labelled(one, "Accession Number") for one in of_study.accessions(study, context)[1:]]
    return [*([_labelled(of_id, "Study ID")] if of_id else []), *further]


def _modalities(study: Study, _: Context) -> list[str]:
    return [code for code in of_study.modalities(study) if code in STUDY_MODALITIES]


def _modality(series: Series, _: Context) -> str:
    code = terminology.modality_code(series)
    return code if code in SERIES_MODALITIES else "OT"


def _clinical_information(study: Study, _: Context) -> str | None:
    reasons = (*study.reasons, *(one.reason for one in study.requests))
    return _joined(*reasons) or _joined(*study.admitting)


def _joined(*texts: str) -> str | None:
    return "; ".join(dict.fromkeys(text for raw in texts if (text := string(raw)))) or None


def _coding(concept: Json) -> Json:
    """A Coding of a CodeableConcept; words alone are its display."""
    return dict(concept["coding"][0]) if concept.get("coding") else {"display": concept["text"]}


def _procedures(study: Study, context: Context) -> list[Json]:
    return [_coding(one) for one in terminology.concepts(study.procedure_codes, context.options)]


def _body_site(series: Series, context: Context) -> Json | None:
    site = terminology.body_site(series, context.options)
    if not site or not (site.get("coding") or context.options.bodysite_display_only):
        return None
    return _coding(site)


def _url(context: Context, *below: str) -> str | None:
    """Where WADO-RS (PS3.18 10.4) has it."""
    base = (datatypes.uri(context.options.wado_rs_base) or "").rstrip("/")
    return "/".join((base, "studies", context.study.uid, *below)) if base else None


def _availability(_: Any, context: Context) -> str | None:
    return context.options.availability or None


_AVAILABILITY: Final[Row[Any, Context]] = Row(
    "availability", "0..1", "fhir.availability", "absent without it", _availability
)


def _instances(series: Series, context: Context) -> list[Json]:
    within = _InSeries(context.study, context.options, context.contained, series=series)
    return [fill(INSTANCE, one, within) for one in series.instances]


def _instance_url(instance: Instance, context: _InSeries) -> str | None:
    if not context.options.instance_urls:
        return None
    return _url(context, "series", context.series.uid, "instances", instance.uid)


def _series(study: Study, context: Context) -> list[Json]:
    if not context.options.include_instances:
        return []
    return [fill(SERIES, one, context) for one in study.series if one.instances]


INSTANCE: Final[tuple[Row[Instance, _InSeries], ...]] = (
    Row(
        "number",
        "0..1",
        "(0020,0013)",
        "any integer of 32 bits, also negative",
        lambda one, _: _integer(one.number),
    ),
    Row(
        "uid",
        "1..1",
        "(0008,0018)",
        "as `urn:oid:`",
        _uid("ImagingStudy.series.instance.uid", lambda one: str(one.uid)),
    ),
    Row(
        "sopclass",
        "1..1",
        "(0008,0016)",
        "as `urn:oid:`",
        _uid("ImagingStudy.series.instance.sopclass", lambda one: str(one.sop_class)),
    ),
    Row(
        "type",
        "0..1",
        "(0008,0016)",
        "the Directory Record Type (0004,1430) that objects of the SOP class have on media",
        lambda one, _: record_type(one.sop_class),
    ),
    Row(
        "title",
        "0..1",
        "(0040,A043), (0042,0010), (0070,0080), (0070,0081), (3006,0002), (300A,0002), (3004,000A), (0008,0008)",
        "by kind of object; Image Type only with `title_from_image_type`",
        of_series.title,
    ),
    Row("url", "0..1", "fhir.wado_rs_base", "WADO-RS address, only with `instance_urls`", _instance_url),
)

SERIES: Final[tuple[Row[Series, Context], ...]] = (
    Row(
        "number",
        "0..1",
        "(0020,0011)",
        "any integer of 32 bits, also negative",
        lambda one, _: _integer(one.number),
    ),
    Row(
        "modality",
        "1..1",
        "(0008,0060), (0008,0016)",
        "missing: by SOP class; OT for a code that is not among the 53 of http://hl7.org/fhir/vs/modality",
        _modality,
    ),
    Row(
        "uid",
        "1..1",
        "(0020,000E)",
        "as `urn:oid:`",
        _uid("ImagingStudy.series.uid", lambda one: str(one.uid)),
    ),
    Row("description", "0..1", "(0008,103E)", "as sent", lambda one, _: string(one.description)),
    Row("numberOfInstances", "1..1", "counted", "each SOP Instance UID once", of_series.instance_count),
    _AVAILABILITY,
    Row(
        "url",
        "0..1",
        "fhir.wado_rs_base",
        "WADO-RS address of the series",
        lambda one, context: _url(context, "series", one.uid),
    ),
    Row(
        "bodySite",
        "0..1",
        "(0008,2218), (0018,0015)",
        "the coded region, else SNOMED CT by PS3.16 Annex L; words alone only with `bodysite_display_only`",
        _body_site,
    ),
    Row(
        "dateTime",
        "0..1",
        "(0008,0021) (0008,0031)",
        "the earliest pair; a time only with a known offset",
        lambda one, context: _date_time(one.started, context),
    ),
    Row("instance", "1..*", "", "by number, then UID", _instances),
)

STUDY: Final[tuple[Row[Study, Context], ...]] = (
    Row(
        "dateTime",
        "0..1",
        "(0008,0020) (0008,0030)",
        "a pair of one instance; a time only with a known offset",
        lambda study, context: _date_time(study.started, context),
    ),
    Row(
        "subject",
        "1..1",
        "(0010,0020), (0010,0021), (0010,0024), (0010,1002), (0010,0010), (0010,0040), (0010,0030)",
        "a contained Patient: Patient ID (usual, label MR), other ids (secondary), gender, birthDate, names with "
        "`include_names`; display `unknown` when there is nothing of all that",
        _subject,
    ),
    Row("uid", "1..1", "(0020,000D)", "as `urn:oid:`", _uid("ImagingStudy.uid", lambda one: str(one.uid))),
    Row(
        "accessionNo",
        "0..1",
        "(0008,0050), (0008,0051), (0040,0275)",
        "the most frequent number",
        _accession,
    ),
    Row(
        "identifier",
        "0..*",
        "(0020,0010), (0008,0050), (0040,0275)",
        "Study ID, secondary, of `study_id_system`; further numbers have the label Accession Number",
        _identifiers,
    ),
    Row(
        "modality",
        "0..*",
        "(0008,0060)",
        "of all series, each once; only the 36 of http://hl7.org/fhir/vs/imaging-modality",
        _modalities,
    ),
    Row(
        "referrer",
        "0..1",
        "(0008,0090), (0008,0096)",
        "a contained Practitioner by identifier; name with `include_names`",
        lambda study, context: _practitioner(study.referrer, context),
    ),
    _AVAILABILITY,
    Row(
        "url",
        "0..1",
        "fhir.wado_rs_base",
        "WADO-RS address of the study",
        lambda _, context: _url(context),
    ),
    Row("numberOfSeries", "1..1", "counted", "what the node holds", lambda study, _: len(study.series)),
    Row("numberOfInstances", "1..1", "counted", "what the node holds", lambda study, _: study.instance_count),
    Row(
        "clinicalInformation",
        "0..1",
        "(0040,1002), (0008,1080)",
        "reasons for the requested procedure, else admitting diagnoses, joined by `; `",
        _clinical_information,
    ),
    Row(
        "procedure",
        "0..*",
        "(0008,1032)",
        "a Coding each; of a scheme that nobody knows only its meaning, as display",
        _procedures,
    ),
    Row(
        "interpreter",
        "0..1",
        "(0008,1060), (0008,1062)",
        "the first physician reading the study, as a contained Practitioner",
        _interpreter,
    ),
    Row("description", "0..1", "(0008,1030)", "as sent", lambda study, _: string(study.description)),
    Row(
        "series",
        "0..*",
        "",
        "by number, then UID; left out with `include_instances = false`, as a series must have instances",
        _series,
    ),
    Row("contained", "0..*", "", "Patient and Practitioners, by id", of_study.contained),
)

PAGE: Final = Page(
    "ImagingStudy, FHIR DSTU1",
    "The resource of FHIR 0.0.82. A study with a UID that its datatype oid can't hold (a component with a leading "
    "zero) is not published in this output.",
    (
        Section("ImagingStudy", STUDY),
        Section("ImagingStudy.series", SERIES),
        Section("ImagingStudy.series.instance", INSTANCE),
    ),
)
