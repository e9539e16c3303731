"""ImagingStudy of FHIR 5.0.0, base resource (https://hl7.org/fhir/R5/imagingstudy.html)."""

from __future__ import annotations

from typing import Final

from node.fhir import series as of_series
from node.fhir import study as of_study
from node.fhir import terminology
from node.fhir.contained import Context, device_r5, endpoint_r5
from node.fhir.datatypes import Json, resource_id
from node.fhir.options import FhirOptions
from node.fhir.table import Page, Row, Section, fill
from node.model import Series, Study

TARGET: Final = "r5"


def build(study: Study, options: FhirOptions) -> Json:
    """The resource as plain JSON values, the same bytes for the same study and options.

    Raises ResourceInvalid when ``require_patient_id`` asks for an identifier that the study does not have.
    """
    return {"resourceType": "ImagingStudy", **fill(STUDY, study, Context(study, options))}


def _identifiers(study: Study, context: Context) -> list[Json]:
    of_id = of_study.study_id(study, context)
    return [of_study.study_uid(study), *([of_id] if of_id else [])]


def _endpoints(_: Study, context: Context) -> list[Json]:
    endpoint = context.contained.refer("endpoint", "Endpoint", endpoint_r5(context.options))
    return [endpoint] if endpoint else []


def _body_site(series: Series, context: Context) -> Json | None:
    site = terminology.body_site(series, context.options)
    return {"concept": site} if site else None


SERIES: Final[tuple[Row[Series, Context], ...]] = (
    Row("uid", "1..1", "(0020,000E)", "Series Instance UID", lambda one, _: one.uid),
    Row("number", "0..1", "(0020,0011)", "0 to 2147483647, else omitted", of_series.number),
    Row(
        "modality",
        "1..1",
        "(0008,0060), (0008,0016)",
        "upper case; missing: by SOP class, else OT; a code that DCM does not have is text only",
        lambda one, _: terminology.modality(terminology.modality_code(one)),
    ),
    Row(
        "description",
        "0..1",
        "(0008,103E), (0008,103F), (0018,1030)",
        "Protocol Name only with `protocol_as_description`",
        of_series.description,
    ),
    Row("numberOfInstances", "0..1", "counted", "each SOP Instance UID once", of_series.instance_count),
    Row(
        "bodySite",
        "0..1",
        "(0008,2218), (0018,0015)",
        "as concept: the coded region, else SNOMED CT by PS3.16 Annex L; the text is (0018,0015) as sent",
        _body_site,
    ),
    Row(
        "laterality",
        "0..1",
        "(0020,0060), (0020,0062), (0020,9072)",
        "R, L, B in SNOMED CT (CID 244); both sides in one series are bilateral",
        lambda one, _: terminology.laterality(one.lateralities),
    ),
    Row("specimen", "0..*", "(0040,0551), (0040,0562), (0040,0512)", "by identifier", of_series.specimens),
    Row(
        "started",
        "0..1",
        "(0008,0021) (0008,0031), (0040,0244) (0040,0245), (0008,002A), (0008,0022) (0008,0032), "
        "(0008,0023) (0008,0033)",
        "the earliest pair; content date only for what is no image; a time only with a known offset",
        of_series.started,
    ),
    Row(
        "performer",
        "0..*",
        "(0008,0070), (0008,1090), (0018,1000), (0018,1020), (0008,1010), (0018,1002), (0008,1070), (0008,1050), "
        "(0008,0080)",
        "a contained Device each, people by identifier (names with `include_names`), function PRF; "
        "the institution when there is nobody else",
        lambda one, context: of_series.performers(one, context, device_r5),
    ),
    Row(
        "instance",
        "0..*",
        "",
        "by number, then UID; not with `include_instances = false`",
        of_series.instances,
    ),
)

STUDY: Final[tuple[Row[Study, Context], ...]] = (
    Row(
        "id",
        "0..1",
        "(0020,000D)",
        "UUIDv5 of target and Study Instance UID",
        lambda study, _: resource_id(TARGET, study.uid),
    ),
    Row("meta", "0..1", "fhir.source", "as `source`", of_study.meta),
    Row("text", "0..1", "", "only with `generate_narrative`; nothing about the patient", of_study.narrative),
    Row(
        "identifier",
        "0..*",
        "(0020,000D), (0020,0010)",
        "Study Instance UID first, official; Study ID, secondary, of `study_id_system`",
        _identifiers,
    ),
    Row(
        "status",
        "1..1",
        "",
        "available; entered-in-error or cancelled when rejection notes take back every instance",
        of_study.status,
    ),
    Row(
        "modality",
        "0..*",
        "(0008,0060)",
        "of all series, each once, in the order of the series",
        lambda study, _: [terminology.modality(value) for value in of_study.modalities(study)],
    ),
    Row(
        "subject",
        "1..1",
        "(0010,0020), (0010,0021), (0010,0024)",
        "Patient by identifier, type MR; without Patient ID data-absent-reason",
        of_study.subject,
    ),
    Row("encounter", "0..1", "(0038,0010), (0038,0014)", "by identifier, type VN", of_study.encounter),
    Row(
        "started",
        "0..1",
        "(0008,0020) (0008,0030)",
        "a pair of one instance; else the earliest series; a time only with a known offset",
        of_study.started,
    ),
    Row(
        "basedOn",
        "0..*",
        "(0008,0050), (0008,0051), (0040,0275), (0040,1001)",
        "a ServiceRequest for each accession number, type ACSN; without any, Requested Procedure IDs, type FILL",
        of_study.based_on,
    ),
    Row(
        "referrer",
        "0..1",
        "(0008,0090), (0008,0096)",
        "by identifier; name with `include_names`",
        of_study.referrer,
    ),
    Row("endpoint", "0..*", "fhir.wado_rs_base, fhir.endpoint", "contained, for studies", _endpoints),
    Row("numberOfSeries", "0..1", "counted", "what the node holds", lambda study, _: len(study.series)),
    Row("numberOfInstances", "0..1", "counted", "what the node holds", lambda study, _: study.instance_count),
    Row(
        "procedure",
        "0..*",
        "(0008,1032), (0032,1064), (0032,1060)",
        "as concept",
        lambda study, context: [{"concept": one} for one in of_study.procedures(study, context)],
    ),
    Row(
        "location",
        "0..1",
        "(0008,0080), (0008,0082), (0008,1040), (0008,1041), (0040,0243)",
        "institution / department by name and code",
        of_study.location,
    ),
    Row(
        "reason",
        "0..*",
        "(0040,100A), (0040,1002), (0008,1084), (0008,1080)",
        "as concept; admitting diagnoses only with `admitting_dx_as_reason` and no other reason",
        lambda study, context: [{"concept": one} for one in of_study.reasons(study, context)],
    ),
    Row(
        "description",
        "0..1",
        "(0008,1030), (0032,1060)",
        "the first that says anything",
        of_study.description,
    ),
    Row(
        "series",
        "0..*",
        "",
        "by number, then UID",
        lambda study, context: [fill(SERIES, one, context) for one in study.series],
    ),
    Row("contained", "0..*", "", "Endpoint and Devices, by id", of_study.contained),
)

PAGE: Final = Page(
    "ImagingStudy, FHIR R5",
    "The base resource of FHIR 5.0.0, without a profile.",
    (
        Section("ImagingStudy", STUDY),
        Section("ImagingStudy.series", SERIES),
        Section("ImagingStudy.series.instance", of_series.INSTANCE),
    ),
)
