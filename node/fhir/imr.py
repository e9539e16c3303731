"""ImagingStudy of FHIR 4.0.1 as profiled by IHE RAD Interactive Multimedia Report 1.1.0.

https://profiles.ihe.net/RAD/IMR/1.1.0/StructureDefinition-imr-imagingstudy.html. Which endpoint serves the study
can't come from DICOM: it is configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.fhir import r4, terminology
from node.fhir import series as of_series
from node.fhir import study as of_study
from node.fhir.contained import Context, device_r4, endpoint_address, endpoint_r4
from node.fhir.datatypes import DICOM_UID, Json, compact, resource_id, string, uri
from node.fhir.modalities import ACQUISITION, DISPLAYS
from node.fhir.options import FhirOptions
from node.fhir.table import UNKNOWN, Absent, Page, Row, Section, fill
from node.model import Series, Study

TARGET: Final = "imr"
_DEFINITIONS: Final = "https://profiles.ihe.net/RAD/IMR/StructureDefinition/"
PROFILE: Final = _DEFINITIONS + "imr-imagingstudy"
ENDPOINT_PROFILE: Final = _DEFINITIONS + "imaging-study-endpoint"

_MODALITIES: Final[dict[str, Json]] = {
    code: {"system": terminology.DCM, "code": code, "display": display} for code, display in DISPLAYS.items()
}


def build(study: Study, options: FhirOptions) -> Json:
    """The resource as plain JSON values, the same bytes for the same study and options.

    ``options`` name an endpoint (``missing`` says so when they don't). Raises ResourceInvalid when
    ``require_patient_id`` asks for an identifier that the study does not have.
    """
    return {"resourceType": "ImagingStudy", **fill(STUDY, study, Context(study, options))}


def missing(options: FhirOptions) -> Iterator[tuple[str, str]]:
    """Key and message of what must be configured: the endpoint, which the profile demands."""
    if not endpoint_address(options):
        yield (
            "fhir.wado_rs_base",
            "IHE IMR demands an endpoint: give the DICOMweb base URL, or fhir.endpoint.address",
        )
    elif not _address("1.2", options):
        yield (
            "fhir.imr_endpoint_address_template",
            "makes no URL: start it with a slash to append it to the endpoint's address, or give a whole URL",
        )


def _address(study_uid: str, options: FhirOptions) -> str | None:
    """The endpoint's address, as the template has it where there is one."""
    template, base = options.imr_endpoint_address_template, endpoint_address(options)
    if not template or not base:
        return base
    tail = template.replace("{study_uid}", study_uid)
    return uri(base + tail if tail.startswith("/") else tail)


def _endpoints(study: Study, context: Context) -> list[Json]:
    body = endpoint_r4(context.options)
    address = _address(study.uid, context.options)
    if not body or not address:
        return []
    profiled = r4.profiled(ENDPOINT_PROFILE, {**body, "address": address})
    endpoint = context.contained.refer("endpoint", "Endpoint", profiled)
    return [endpoint] if endpoint else []


def _identifiers(study: Study, context: Context) -> list[Json]:
    """The Study Instance UID, and others, which must not have its system: the profile slices by it."""
    of_id = of_study.study_id(study, context)
    others = [*of_study.accessions(study, context), *([of_id] if of_id else [])]
    apart = (compact(**{**one, "system": None}) if one.get("system") == DICOM_UID else one for one in others)
    return [of_study.study_uid(study), *apart]


def _modalities(study: Study, _: Context) -> list[Json]:
    """Those that acquire (CID 29); the profile wants one, so without any all of them."""
    codes = of_study.modalities(study)
    acquiring = [code for code in codes if code in ACQUISITION]
    return r4.modalities(acquiring or codes, _MODALITIES, _MODALITIES["OT"])


def _modality(series: Series, _: Context) -> Json:
    return r4.modality(terminology.modality_code(series), _MODALITIES, _MODALITIES["OT"])


def _started(study: Study, context: Context) -> str | Absent:
    return of_study.started(study, context) or UNKNOWN


def _body_site(series: Series, context: Context) -> Json | None:
    """A Coding has no text: what has no code is left out, or only displayed where configured."""
    site = terminology.body_site(series, context.options) or {}
    found = r4.coding(site)
    if not found and context.options.bodysite_display_only:
        display = string(site.get("text", ""))
        return {"display": display} if display else None
    return found


SERIES: Final[tuple[Row[Series, Context], ...]] = (
    r4.SERIES_UID,
    r4.SERIES_NUMBER,
    Row(
        "modality",
        "1..1",
        "(0008,0060), (0008,0016)",
        "upper case; missing: by SOP class, else OT; a code that DCM does not have is OT, as sent in originalText",
        _modality,
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
        "the coded region, else SNOMED CT by PS3.16 Annex L; without a code omitted, "
        "or a display with `bodysite_display_only`",
        _body_site,
    ),
    r4.LATERALITY,
    r4.SPECIMEN,
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
        lambda one, context: of_series.performers(one, context, device_r4),
    ),
    r4.INSTANCES,
)

STUDY: Final[tuple[Row[Study, Context], ...]] = (
    Row(
        "id",
        "0..1",
        "(0020,000D)",
        "UUIDv5 of target and Study Instance UID",
        lambda study, _: resource_id(TARGET, study.uid),
    ),
    Row(
        "meta",
        "1..1",
        "fhir.source",
        "as `source`; claims the profile",
        lambda _, context: r4.meta(PROFILE, context),
    ),
    r4.NARRATIVE,
    Row(
        "identifier",
        "1..*",
        "(0020,000D), (0008,0050), (0008,0051), (0020,0010)",
        "Study Instance UID first, official, the only one of system `urn:dicom:uid`; accession numbers, type ACSN; "
        "Study ID, secondary, of `study_id_system`",
        _identifiers,
    ),
    r4.STATUS,
    Row(
        "modality",
        "1..*",
        "(0008,0060)",
        "of the series that acquire (CID 29), each once, in the order of the series; if none does, of all",
        _modalities,
    ),
    r4.SUBJECT,
    r4.ENCOUNTER,
    Row(
        "started",
        "1..1",
        "(0008,0020) (0008,0030)",
        "a pair of one instance; else the earliest series; else data-absent-reason; a time only with a known offset",
        _started,
    ),
    r4.BASED_ON,
    r4.REFERRER,
    r4.INTERPRETER,
    Row(
        "endpoint",
        "1..*",
        "fhir.wado_rs_base, fhir.endpoint, fhir.imr_endpoint_address_template",
        "contained, of the profile *imaging-study-endpoint*; the base URL unless the template says more",
        _endpoints,
    ),
    Row("numberOfSeries", "0..1", "counted", "what the node holds", lambda study, _: len(study.series)),
    Row("numberOfInstances", "0..1", "counted", "what the node holds", lambda study, _: study.instance_count),
    r4.PROCEDURE_CODE,
    Row(
        "location",
        "0..1",
        "(0008,0080), (0008,0082), (0008,1040), (0008,1041), (0040,0243)",
        "institution / department by name and code",
        of_study.location,
    ),
    r4.REASON_CODE,
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
    Row("contained", "1..*", "", "Endpoint and Devices, by id", of_study.contained),
)

PAGE: Final = Page(
    "ImagingStudy, IHE IMR (FHIR R4)",
    "The profile of IHE Interactive Multimedia Report 1.1.0 on FHIR 4.0.1. Needs `fhir.wado_rs_base` or "
    "`fhir.endpoint.address`.",
    (
        Section("ImagingStudy", STUDY),
        Section("ImagingStudy.series", SERIES),
        Section("ImagingStudy.series.instance", of_series.INSTANCE),
    ),
)
